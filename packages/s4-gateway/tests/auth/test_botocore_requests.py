"""Requests as botocore makes and signs them, over many shapes of keys, queries and bodies."""

import io
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import urlsplit

import botocore.session
import pytest
from botocore.awsrequest import AWSPreparedRequest, AWSResponse
from botocore.config import Config

from s4_gateway.auth import Authenticator, KeyStore
from s4_gateway.call import Call
from s4_gateway.errors import S3Error

from .helpers import ACCESS_KEY, SECRET_KEY, Body, make_call

KEYS = [
    "plain", "a b", "a  b", "ünïcode/☃", "//", "a//b", "/lead", "..", "a/../b", "./a", "a+b", "a%2Fb", "a%20b", "%", "%zz", "a&b=c?d#e",
    "~-_.!*'()", ";:@$,", "[]{}|\\^`<>\"", "\x01\x1f", "\x7f", "tail/", "a\tb", "é" * 500,
]  # fmt: skip


class Wire:
    """A botocore client whose requests are kept and never sent."""

    def __init__(self, *, secret: str = SECRET_KEY, endpoint: str = "http://gateway.test:8014", **config: Any) -> None:
        session = botocore.session.Session()
        self.sent: list[AWSPreparedRequest] = []
        self.client = session.create_client(
            "s3",
            region_name="eu-west-3",
            endpoint_url=endpoint,
            aws_access_key_id=ACCESS_KEY,
            aws_secret_access_key=secret,
            config=Config(s3={"addressing_style": "path"}, **config),
        )
        self.client.meta.events.register("before-send.s3", self._keep)

    def _keep(self, request: AWSPreparedRequest, **_: object) -> AWSResponse:
        self.sent.append(request)
        raw = io.BytesIO(b"")
        raw.stream = lambda *_: iter(())  # type: ignore[attr-defined]
        return AWSResponse(request.url, 200, {}, raw)

    def call(self) -> Call:
        """The last request as the gateway sees it."""
        request = self.sent[-1]
        return call_of(request.method, request.url, dict(request.headers.items()), _wire_body(request.body))


def call_of(method: str, url: str, headers: dict[str, Any], body: bytes = b"") -> Call:
    """A call out of method, URL, headers (host is added as an HTTP client adds it) and body."""
    parts = urlsplit(url)
    texts = {name.lower(): value.decode("latin-1") if isinstance(value, bytes) else str(value) for name, value in headers.items()}
    texts.setdefault("host", parts.netloc)
    pieces = [body[i : i + 1000] for i in range(0, len(body), 1000)]
    return make_call(method, parts.path, parts.query, headers=texts, body=Body(pieces, size=len(body)))


def _wire_body(body: Any) -> bytes:
    if body is None:
        return b""
    return body if isinstance(body, bytes) else bytes(body.read())


@pytest.fixture(scope="module", autouse=True)
def _no_ambient_settings() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        for name in ("AWS_PROFILE", "AWS_SESSION_TOKEN", "AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3", "AWS_DEFAULT_PROFILE"):
            patch.delenv(name, raising=False)
        patch.setenv("AWS_CONFIG_FILE", "/nonexistent")
        patch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/nonexistent")
        yield


@pytest.fixture(scope="module")
def wire() -> Wire:
    """A client over plain HTTP with the right secret."""
    return Wire()


@pytest.fixture
def auth() -> Authenticator:
    """Knows the example pair and goes by the real clock, as botocore does."""
    return Authenticator(KeyStore({ACCESS_KEY: SECRET_KEY}))


OPERATIONS: dict[str, Callable[[Any], object]] = {
    **{f"get {key[:20]!r}": lambda c, key=key: c.get_object(Bucket="bucket", Key=key) for key in KEYS},
    "list queries": lambda c: c.list_objects_v2(Bucket="bucket", Prefix="a b/ü+&=%2F~*", Delimiter="/", StartAfter="☃", MaxKeys=0),
    "list buckets": lambda c: c.list_buckets(),
    "subresource": lambda c: c.list_multipart_uploads(Bucket="bucket"),
    "part": lambda c: c.upload_part(Bucket="bucket", Key="k", UploadId="a/b+c==", PartNumber=10000, Body=b"x" * 5000),
    "bytes with metadata": lambda c: c.put_object(Bucket="bucket", Key="k", Body=b"x" * 3000, Metadata={"a": " x   y ", "b": "1,2"}),
    "copy": lambda c: c.copy_object(Bucket="bucket", Key="k", CopySource={"Bucket": "b", "Key": "ü +%/.."}),
    "delete many": lambda c: c.delete_objects(Bucket="bucket", Delete={"Objects": [{"Key": "a"}]}),
    "range and conditions": lambda c: c.get_object(Bucket="bucket", Key="k", Range="bytes=0-9", IfMatch='"abc"'),
    "overrides": lambda c: c.get_object(Bucket="bucket", Key="k", ResponseContentDisposition='attachment; filename="a b.txt"'),
}


@pytest.mark.parametrize("operation", OPERATIONS.values(), ids=OPERATIONS)
def test_signed_requests_are_accepted(wire: Wire, auth: Authenticator, operation: Callable[[Any], object]) -> None:
    """Whatever botocore signs with the right secret is accepted, in any region."""
    operation(wire.client)

    principal = auth.authenticate(wire.call()).principal

    assert principal is not None
    assert principal.access_key == ACCESS_KEY


@pytest.mark.parametrize("operation", OPERATIONS.values(), ids=OPERATIONS)
def test_requests_signed_with_another_secret_are_refused(
    auth: Authenticator, operation: Callable[[Any], object], strange_wire: Wire
) -> None:
    """The same requests with a wrong secret are SignatureDoesNotMatch."""
    operation(strange_wire.client)

    with pytest.raises(S3Error) as error:
        auth.authenticate(strange_wire.call())
    assert error.value.code == "SignatureDoesNotMatch"


@pytest.fixture(scope="module")
def strange_wire() -> Wire:
    """A client with a wrong secret."""
    return Wire(secret="not-the-secret")


async def test_unsigned_trailer_upload_decodes(auth: Authenticator) -> None:
    """Over TLS botocore sends a stream with an unsigned trailer: its data and checksum arrive."""
    wire = Wire(endpoint="https://gateway.test")
    data = bytes(range(256)) * 9000
    wire.client.put_object(Bucket="bucket", Key="k", Body=io.BytesIO(data), ChecksumAlgorithm="CRC32")
    call = wire.call()
    assert call.headers["x-amz-content-sha256"] == "STREAMING-UNSIGNED-PAYLOAD-TRAILER"

    body = auth.authenticate(call).body
    got = b"".join([bytes(piece) async for piece in body])

    assert got == data
    assert body.size == len(data)
    assert body.announced_trailers == body.trailers.keys() == {"x-amz-checksum-crc32"}


@pytest.mark.parametrize("key", KEYS, ids=[repr(key[:20]) for key in KEYS])
def test_presigned_urls_are_accepted(auth: Authenticator, key: str) -> None:
    """URLs presigned by botocore are accepted as they are, and refused for another method."""
    wire = Wire(signature_version="s3v4")
    url = wire.client.generate_presigned_url("get_object", Params={"Bucket": "bucket", "Key": key}, ExpiresIn=60)

    assert auth.authenticate(call_of("GET", url, {})).principal is not None
    with pytest.raises(S3Error) as error:
        auth.authenticate(call_of("PUT", url, {}))
    assert error.value.code == "SignatureDoesNotMatch"


def test_presigned_put_with_signed_headers_needs_these_headers(auth: Authenticator) -> None:
    """Headers that botocore signs into a URL must come with exactly their values."""
    wire = Wire(signature_version="s3v4")
    params = {"Bucket": "bucket", "Key": "k", "ContentType": "text/plain", "Metadata": {"a": "b"}}
    url = wire.client.generate_presigned_url("put_object", Params=params, ExpiresIn=60)
    headers = {"content-type": "text/plain", "x-amz-meta-a": "b"}

    assert auth.authenticate(call_of("PUT", url, headers, b"data")).principal is not None
    for wrong in ({**headers, "x-amz-meta-a": "c"}, {"x-amz-meta-a": "b"}, {}):
        with pytest.raises(S3Error) as error:
            auth.authenticate(call_of("PUT", url, wrong, b"data"))
        assert error.value.code == "SignatureDoesNotMatch"


def test_signature_version_2_in_headers_is_refused_clearly(auth: Authenticator) -> None:
    """A header signed with version 2 is told to use version 4."""
    wire = Wire(signature_version="s3")
    wire.client.get_object(Bucket="bucket", Key="k")
    assert wire.call().headers["authorization"].startswith("AWS ")

    with pytest.raises(S3Error, match="use AWS4-HMAC-SHA256") as error:
        auth.authenticate(wire.call())
    assert error.value.code == "InvalidRequest"
