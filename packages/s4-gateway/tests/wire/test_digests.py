"""Promised checksums."""

import hashlib
import zlib
from base64 import b64encode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from s4_gateway.errors import S3Error
from s4_gateway.wire.digests import ALGORITHMS, UNBUILT_ALGORITHMS, Promised, checksum_headers

from .helpers import SNAPSHOT

CRC = b64encode(zlib.crc32(b"x").to_bytes(4, "big")).decode()
MD5 = hashlib.md5(b"x").digest()


def refusal(headers: dict[str, str], *, composite: bool = False) -> str:
    """The code these headers are refused with."""
    with pytest.raises(S3Error) as caught:
        Promised.from_headers(headers, composite=composite)
    assert caught.value.status in (400, 501)
    return caught.value.code


def test_nothing_promised() -> None:
    """Without such headers there is no promise."""
    assert Promised.from_headers({"content-type": "text/plain", "x-amz-checksum-mode": "ENABLED"}) == Promised()


@pytest.mark.parametrize("algorithm", sorted(ALGORITHMS))
def test_each_algorithm_in_a_header(algorithm: str) -> None:
    """A value of the algorithm's length is kept as sent, with and without the SDK's own header."""
    value = b64encode(bytes(ALGORITHMS[algorithm])).decode()
    expected = Promised(checksums={algorithm: value}, algorithm=algorithm)
    assert Promised.from_headers({f"x-amz-checksum-{algorithm}": value}) == expected
    assert Promised.from_headers({f"x-amz-checksum-{algorithm}": value, "x-amz-sdk-checksum-algorithm": algorithm.upper()}) == expected


@pytest.mark.parametrize("algorithm", sorted(ALGORITHMS))
def test_each_algorithm_in_a_trailer(algorithm: str) -> None:
    """An announced trailer is remembered by its algorithm, whatever the case of its name."""
    headers = {"x-amz-trailer": f"X-Amz-Checksum-{algorithm.upper()}", "x-amz-sdk-checksum-algorithm": algorithm.upper()}
    assert Promised.from_headers(headers) == Promised(trailer=algorithm, algorithm=algorithm)


def test_content_md5() -> None:
    """Content-MD5 is decoded and may stand beside a checksum."""
    promised = Promised.from_headers({"content-md5": b64encode(MD5).decode(), "x-amz-checksum-crc32": CRC})
    assert (promised.md5, promised.checksums) == (MD5, {"crc32": CRC})


def test_create_names_algorithm_and_type() -> None:
    """CreateMultipartUpload and CopyObject name an algorithm without sending a value."""
    assert Promised.from_headers({"x-amz-checksum-algorithm": "CRC32C", "x-amz-checksum-type": "FULL_OBJECT"}) == Promised(
        algorithm="crc32c", type="FULL_OBJECT"
    )


def test_complete_sends_composite_values() -> None:
    """CompleteMultipartUpload may promise a checksum of checksums; elsewhere that is no value."""
    headers = {"x-amz-checksum-crc32": f"{CRC}-3", "x-amz-checksum-type": "COMPOSITE"}
    assert Promised.from_headers(headers, composite=True).checksums == {"crc32": f"{CRC}-3"}
    assert refusal(headers) == "InvalidRequest"
    for parts in ("", "0", "10001", "x", "-1", "\u0663"):
        assert refusal({"x-amz-checksum-crc32": f"{CRC}-{parts}"}, composite=True) == "InvalidRequest"


@pytest.mark.parametrize(
    ("headers", "code"),
    [
        ({"content-md5": ""}, "InvalidDigest"),
        ({"content-md5": "not base64"}, "InvalidDigest"),
        ({"content-md5": "\xe9"}, "InvalidDigest"),
        ({"content-md5": CRC}, "InvalidDigest"),
        ({"x-amz-checksum-crc32": ""}, "InvalidRequest"),
        ({"x-amz-checksum-crc32": "AAAA"}, "InvalidRequest"),
        ({"x-amz-checksum-crc32": "%%%%%%=="}, "InvalidRequest"),
        ({"x-amz-checksum-sha256": CRC}, "InvalidRequest"),
        ({"x-amz-checksum-crc32": CRC, "x-amz-checksum-crc32c": CRC}, "InvalidRequest"),
        ({"x-amz-checksum-crc32": CRC, "x-amz-trailer": "x-amz-checksum-crc32"}, "InvalidRequest"),
        ({"x-amz-checksum-crc31": CRC}, "InvalidRequest"),
        ({"x-amz-sdk-checksum-algorithm": "CRC32"}, "InvalidRequest"),
        ({"x-amz-sdk-checksum-algorithm": "CRC32C", "x-amz-checksum-crc32": CRC}, "InvalidRequest"),
        ({"x-amz-sdk-checksum-algorithm": "ROT13", "x-amz-checksum-crc32": CRC}, "InvalidRequest"),
        ({"x-amz-checksum-algorithm": "CRC32C", "x-amz-checksum-crc32": CRC}, "InvalidRequest"),
        ({"x-amz-checksum-algorithm": "ROT13"}, "InvalidRequest"),
        ({"x-amz-checksum-algorithm": "SHA256", "x-amz-checksum-type": "FULL_OBJECT"}, "InvalidRequest"),
        ({"x-amz-checksum-algorithm": "CRC64NVME", "x-amz-checksum-type": "COMPOSITE"}, "InvalidRequest"),
        ({"x-amz-checksum-type": "WHOLE"}, "InvalidRequest"),
        ({"x-amz-trailer": "x-amz-meta-late"}, "InvalidRequest"),
        ({"x-amz-trailer": "x-amz-checksum-type"}, "InvalidRequest"),
        ({"x-amz-trailer": "x-amz-checksum-crc32, x-amz-checksum-sha1"}, "InvalidRequest"),
        ({"x-amz-trailer": ""}, "InvalidRequest"),
        ({"x-amz-trailer": "x-amz-checksum-sha512"}, "NotImplemented"),
        ({"x-amz-checksum-xxhash3": CRC}, "NotImplemented"),
        ({"x-amz-checksum-algorithm": "SHA512"}, "NotImplemented"),
    ],
)
def test_refusals(headers: dict[str, str], code: str) -> None:
    """Malformed, several, contradicting and unknown promises are refused: none is dropped."""
    assert refusal(headers) == code


def test_every_algorithm_of_s3_is_known() -> None:
    """Each algorithm of the service model is either checked or refused by name."""
    assert set(SNAPSHOT["algorithms"]) == ALGORITHMS.keys() | UNBUILT_ALGORITHMS


@given(
    st.dictionaries(
        st.sampled_from(
            [
                "content-md5",
                "x-amz-trailer",
                "x-amz-checksum-type",
                "x-amz-sdk-checksum-algorithm",
                *(f"x-amz-checksum-{a}" for a in ALGORITHMS),
            ]
        ),
        st.text(st.characters(max_codepoint=255)),
    )
)
def test_no_header_breaks_the_parser(headers: dict[str, str]) -> None:
    """Any values give promises or an S3 error."""
    try:
        outcome = len(Promised.from_headers(headers).checksums)
    except S3Error as error:
        outcome = error.status
    assert outcome in (0, 1, 400, 501)


def test_response_headers() -> None:
    """Answers show checksums with their type; a type alone says nothing."""
    assert checksum_headers({"crc32": CRC}, "FULL_OBJECT") == {"x-amz-checksum-crc32": CRC, "x-amz-checksum-type": "FULL_OBJECT"}
    assert checksum_headers({"crc32": CRC}, None) == {"x-amz-checksum-crc32": CRC}
    assert checksum_headers({}, "FULL_OBJECT") == {}
