"""The examples that AWS publishes, with their signatures.

Source: Amazon S3 API Reference, "Authenticating Requests (AWS Signature Version 4)", the example calculations of its sections on the
Authorization header (single chunk, multiple chunks, trailing headers) and on query parameters.
"""

import pytest

from s4_gateway import sigv4
from s4_gateway.auth.chunked import ChunkedDecoder, SignatureChain

from .helpers import ACCESS_KEY, NOW, SECRET_KEY, Body, authenticator, chunked_wire, make_call

SIGNER = sigv4.Signer(ACCESS_KEY, SECRET_KEY)
HOST = "examplebucket.s3.amazonaws.com"

HEADER_EXAMPLES = {
    "get object": (
        ("GET", "/test.txt", "", {"range": "bytes=0-9"}, sigv4.EMPTY_SHA256),
        "f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41",
    ),
    "put object": (
        (
            "PUT",
            "/test%24file.text",
            "",
            {"date": "Fri, 24 May 2013 00:00:00 GMT", "x-amz-storage-class": "REDUCED_REDUNDANCY"},
            "44ce7dd67c959e0d3524ffac1771dfbba87d2b6b4b4e99e42034a8b803f8b072",
        ),
        "98ad721746da40c64f1a55b78f14c238d841ea1380cd77a1b5971af0ece108bd",
    ),
    "get bucket lifecycle": (
        ("GET", "/", "lifecycle", {}, sigv4.EMPTY_SHA256),
        "fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543",
    ),
    "list objects": (
        ("GET", "/", "max-keys=2&prefix=J", {}, sigv4.EMPTY_SHA256),
        "34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7",
    ),
}


@pytest.mark.parametrize(("request_", "signature"), HEADER_EXAMPLES.values(), ids=HEADER_EXAMPLES)
def test_header_examples_are_signed_as_published(request_: tuple[str, str, str, dict[str, str], str], signature: str) -> None:
    """The signer calculates the published signature, and the authenticator accepts it."""
    method, path, query, headers, payload_hash = request_
    signed = SIGNER.sign(method, path, query, headers={"host": HOST, **headers}, payload_hash=payload_hash, when=NOW)

    assert signed["authorization"].rpartition("=")[2] == signature

    call = make_call(method, path, query, headers=signed, body=Body(size=0 if method == "GET" else 21))
    principal = authenticator().authenticate(call).principal
    assert principal is not None
    assert principal.access_key == ACCESS_KEY


def test_presigned_example_is_signed_as_published() -> None:
    """The published presigned URL, and its acceptance within its day."""
    query = SIGNER.presign("GET", "/test.txt", "", headers={"host": HOST}, expires=86400, when=NOW)

    assert query == (
        "X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=AKIAIOSFODNN7EXAMPLE%2F20130524%2Fus-east-1%2Fs3%2Faws4_request"
        "&X-Amz-Date=20130524T000000Z&X-Amz-Expires=86400&X-Amz-SignedHeaders=host"
        "&X-Amz-Signature=aeeed9bbccd4d02ee5c0109b86d86835f995330da4c265957d157751f604d404"
    )
    call = make_call("GET", "/test.txt", query, headers={"host": HOST})
    assert authenticator(lambda: NOW + 86400).authenticate(call).principal is not None


def _seed(payload_hash: str, extra: dict[str, str]) -> str:
    headers = {
        "host": "s3.amazonaws.com",
        "x-amz-storage-class": "REDUCED_REDUNDANCY",
        "content-encoding": "aws-chunked",
        "x-amz-decoded-content-length": "66560",
        **extra,
    }
    signed = SIGNER.sign("PUT", "/examplebucket/chunkObject.txt", "", headers=headers, payload_hash=payload_hash, when=NOW)
    return signed["authorization"].rpartition("=")[2]


def _chain(seed: str) -> SignatureChain:
    key = sigv4.signing_key(SECRET_KEY, "20130524", "us-east-1")
    return SignatureChain(key, ACCESS_KEY, "20130524T000000Z", "20130524/us-east-1/s3/aws4_request", seed)


CHUNK_LINES = (
    "10000;chunk-signature=ad80c730a21e5b8d04586a2213dd63b9a0e99e0e2307b0ade35a65485a288648",
    "400;chunk-signature=0055627c9e194cb4542bae2aa5492e3c1575bbb81b612b7d234b86a503ef5497",
    "0;chunk-signature=b6c6ea8a5354eaf15b3cb7646744f4275b71ea724fed81ceb9323e279d449df9",
)


def test_chunked_example_decodes() -> None:
    """The published chunked upload: seed signature, three chunk signatures, 65 KiB of `a`."""
    seed = _seed(sigv4.STREAMING_SIGNED, {"content-length": "66824"})
    assert seed == "4f232c4386841ef735655705268965c44a0e4690baa4adea153f7db9fa80a0a9"
    first, second, last = (line.encode() + b"\r\n" for line in CHUNK_LINES)
    wire = first + b"a" * 65536 + b"\r\n" + second + b"a" * 1024 + b"\r\n" + last + b"\r\n"
    assert len(wire) == 66824

    decoder = ChunkedDecoder(66560, chain=_chain(seed))
    data = b"".join(decoder.feed(wire))
    decoder.finish()

    assert data == b"a" * 66560
    assert chunked_wire([b"a" * 65536, b"a" * 1024], seed=seed) == wire


TRAILER_CHUNK_LINES = (
    "10000;chunk-signature=b474d8862b1487a5145d686f57f013e54db672cee1c953b3010fb58501ef5aa2",
    "400;chunk-signature=1c1344b170168f8e65b41376b44b20fe354e373826ccbbe2c1d40a8cae51e5c7",
    "0;chunk-signature=2ca2aba2005185cf7159c6277faf83795951dd77a3a99e6e65d5c9f85863f992",
)


def test_trailer_example_decodes() -> None:
    """The published chunked upload with a signed CRC32C trailer."""
    seed = _seed(sigv4.STREAMING_SIGNED_TRAILER, {"x-amz-trailer": "x-amz-checksum-crc32c"})
    assert seed == "106e2a8a18243abcf37539882f36619c00e2dfc72633413f02d3b74544bfeb8e"
    first, second, last = (line.encode() + b"\r\n" for line in TRAILER_CHUNK_LINES)
    trailer = (
        b"x-amz-checksum-crc32c:sOO8/Q==\r\n"
        b"x-amz-trailer-signature:d81f82fc3505edab99d459891051a732e8730629a2e4a59689829ca17fe2e435\r\n\r\n"
    )
    wire = first + b"a" * 65536 + b"\r\n" + second + b"a" * 1024 + b"\r\n" + last + trailer

    decoder = ChunkedDecoder(66560, announced=frozenset({"x-amz-checksum-crc32c"}), signed_trailer=True, chain=_chain(seed))
    data = b"".join(decoder.feed(wire))
    decoder.finish()

    assert data == b"a" * 66560
    assert decoder.trailers == {"x-amz-checksum-crc32c": "sOO8/Q=="}
