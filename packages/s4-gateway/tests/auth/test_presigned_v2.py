"""URLs presigned with Signature Version 2: those of botocore, what they cover, their life, and what they cannot be used for."""

import base64
import hmac
import time
from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any
from urllib.parse import quote, urlsplit

import botocore.session
import pytest
from botocore.config import Config
from hypothesis import given
from hypothesis import strategies as st

from s4_gateway import sigv4
from s4_gateway.auth import Authenticator, KeyStore
from s4_gateway.auth.presigned_v2 import SIGNED_PARAMETERS
from s4_gateway.call import Call
from s4_gateway.errors import S3Error
from s4_gateway.wire.request import RequestParser
from s4_gateway.wire.routes import ROUTES

from .helpers import ACCESS_KEY, NOW, SECRET_KEY, authenticator

UNSIGNED_ROUTING = sorted(frozenset[str]().union(*(route.parameters for route in ROUTES)) - SIGNED_PARAMETERS)
KEYS = ["plain", "a b", "ünïcode/☃", "//", "/lead", "..", "a+b", "a%2Fb", "%", "a&b=c?d#e", "~-_.!*'()", ";:@$,", "\x01\x1f", "bucket/k"]


@pytest.fixture(scope="module", autouse=True)
def _no_ambient_settings() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        for name in ("AWS_PROFILE", "AWS_SESSION_TOKEN", "AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3", "AWS_DEFAULT_PROFILE"):
            patch.delenv(name, raising=False)
        patch.setenv("AWS_CONFIG_FILE", "/nonexistent")
        patch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/nonexistent")
        yield


@cache
def client_of(style: str, secret: str) -> Any:
    """A client at its defaults."""
    return botocore.session.Session().create_client(
        "s3",
        region_name="us-east-1",
        endpoint_url="http://gateway.test:8014",
        aws_access_key_id=ACCESS_KEY,
        aws_secret_access_key=secret,
        config=Config(s3={"addressing_style": style}),
    )


def botocore_url(operation: str, *, style: str = "path", secret: str = SECRET_KEY, expires: int = 60, **arguments: Any) -> str:
    """What a client at its defaults presigns for the first region."""
    url: str = client_of(style, secret).generate_presigned_url(operation, Params=arguments, ExpiresIn=expires)
    assert "AWSAccessKeyId=" in url
    return url


async def _no_body() -> Any:
    return {"type": "http.request"}


def call_of(method: str, url: str, headers: Mapping[str, str] | None = None, repeated: tuple[tuple[str, str], ...] = ()) -> Call:
    """The URL's request as the wire layer parses it."""
    parts = urlsplit(url)
    pairs = [("host", parts.netloc), ("content-length", "0"), *(headers or {}).items(), *repeated]
    scope = {
        "method": method,
        "raw_path": parts.path.encode(),
        "query_string": parts.query.encode(),
        "headers": [(name.encode(), value.encode()) for name, value in pairs],
    }
    return RequestParser(domain="gateway.test").parse(scope, _no_body)


def refused(call: Call, code: str, auth: Authenticator | None = None) -> S3Error:
    """The error of a call that must be refused with this code."""
    with pytest.raises(S3Error) as error:
        (auth or authenticator()).authenticate(call)
    assert error.value.code == code
    return error.value


def signed(resource: str = "/bkt/key", query: str = "", *, method: str = "GET", expires: object = NOW + 60, head: str = "\n") -> str:
    """A URL with the signature of this canonical resource, straight from the specification; `head` is MD5, newline, type."""
    text = f"{method}\n{head}\n{expires}\n{resource}"
    signature = base64.b64encode(hmac.digest(SECRET_KEY.encode(), text.encode(), "sha1")).decode()
    claim = f"AWSAccessKeyId={ACCESS_KEY}&Expires={quote(str(expires))}&Signature={quote(signature, safe='')}"
    return f"http://gateway.test/bkt/key?{query}{'&' if query else ''}{claim}"


@pytest.fixture
def auth() -> Authenticator:
    """Knows the example pair and goes by the real clock, as botocore does."""
    return Authenticator(KeyStore({ACCESS_KEY: SECRET_KEY}))


def test_published_example() -> None:
    """The guide's presigned URL is accepted."""
    keys = KeyStore({"AKIAIOSFODNN7EXAMPLE": "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"})
    url = (
        "http://johnsmith.gateway.test/photos/puppy.jpg?AWSAccessKeyId=AKIAIOSFODNN7EXAMPLE&Signature=NpgCjnDzrM%2BWFzoENXmpNDUsSn8%3D"
        "&Expires=1175139620"
    )

    assert Authenticator(keys, clock=lambda: 1175139620).authenticate(call_of("GET", url)).principal is not None


@pytest.mark.parametrize("style", ["path", "virtual"])
@pytest.mark.parametrize("key", KEYS, ids=repr)
def test_botocore_urls_are_accepted(auth: Authenticator, key: str, style: str) -> None:
    """URLs of every object operation are accepted as they are, and refused for another method and with another secret."""
    for operation, method in (("get_object", "GET"), ("put_object", "PUT"), ("head_object", "HEAD"), ("delete_object", "DELETE")):
        url = botocore_url(operation, style=style, Bucket="bucket", Key=key)
        call = call_of(method, url)
        assert (call.bucket, call.key) == ("bucket", key)
        principal = auth.authenticate(call).principal
        assert principal is not None
        assert principal.access_key == ACCESS_KEY
        refused(call_of("GET" if method == "DELETE" else "DELETE", url), "SignatureDoesNotMatch", auth)
        strange = botocore_url(operation, style=style, secret="wrong", Bucket="bucket", Key=key)
        refused(call_of(method, strange), "SignatureDoesNotMatch", auth)


@pytest.mark.parametrize("style", ["path", "virtual"])
@pytest.mark.parametrize(
    ("operation", "method", "arguments"),
    [
        ("list_objects", "GET", {"Prefix": "a b/ü+&=%~*", "Delimiter": "/"}),
        ("get_object", "GET", {"Key": "k", "VersionId": "3/L4+kq=", "ResponseContentDisposition": 'attachment; filename="a & b+ü.txt"'}),
        ("get_object", "GET", {"Key": "k", "ResponseContentType": "text/plain", "ResponseCacheControl": "no-cache", "PartNumber": 1}),
        ("upload_part", "PUT", {"Key": "k", "UploadId": "a/b+c==", "PartNumber": 10}),
        ("create_multipart_upload", "POST", {"Key": "k"}),
        ("complete_multipart_upload", "POST", {"Key": "k", "UploadId": "u"}),
        ("abort_multipart_upload", "DELETE", {"Key": "k", "UploadId": "u"}),
        ("list_multipart_uploads", "GET", {}),
        ("get_object_tagging", "GET", {"Key": "k"}),
        ("head_bucket", "HEAD", {}),
    ],
)
def test_botocore_urls_with_parameters(auth: Authenticator, style: str, operation: str, method: str, arguments: dict[str, Any]) -> None:
    """Sub-resources and overrides are signed decoded, in path and virtual-host style."""
    url = botocore_url(operation, style=style, Bucket="bucket", **arguments)

    assert auth.authenticate(call_of(method, url)).principal is not None


def test_headers_moved_into_the_query_come_back(auth: Authenticator) -> None:
    """Content-Type, Content-MD5 and x-amz-* of a URL are headers of the call; repeating them is harmless, changing them is refused."""
    arguments: dict[str, Any] = {"ContentType": "text/x", "ContentMD5": "1B2M2Y8AsgTpgAmY7PhCfg==", "Metadata": {"a": "b c"}}
    url = botocore_url("put_object", Bucket="bucket", Key="k", **arguments)
    headers = {"content-type": "text/x", "content-md5": "1B2M2Y8AsgTpgAmY7PhCfg==", "x-amz-meta-a": "b c"}

    call = auth.authenticate(call_of("PUT", url))

    assert headers.items() <= call.headers.items()
    assert {(name.encode(), value.encode()) for name, value in headers.items()} <= set(call.raw_headers)
    again = auth.authenticate(call_of("PUT", url, headers))
    assert len(again.raw_headers) == len({name for name, _ in again.raw_headers})
    for name in headers:
        refused(call_of("PUT", url, {**headers, name: "other"}), "AccessDenied", auth)
    refused(call_of("PUT", url.replace("text%2Fx", "text%2Fy")), "SignatureDoesNotMatch", auth)
    refused(call_of("PUT", url.replace("x-amz-meta-a", "x-amz-meta-b")), "SignatureDoesNotMatch", auth)


@pytest.mark.parametrize("name", ["x-amz-meta-a", "x-amz-acl", "x-amz-copy-source", "content-type", "content-md5"])
def test_nothing_signed_can_be_added(name: str) -> None:
    """Headers that the signature covers cannot be added, as headers or as parameters."""
    url = signed(method="PUT")

    refused(call_of("PUT", url, {name: "v"}), "SignatureDoesNotMatch")
    refused(call_of("PUT", f"{url}&{name}=v"), "NotImplemented" if name == "x-amz-copy-source" else "SignatureDoesNotMatch")


def test_signed_headers_sent_as_headers() -> None:
    """Headers of the canonical amz headers are trimmed, sorted and joined."""
    url = signed("x-amz-acl:private\nx-amz-meta-a:1,2\n/bkt/key", method="PUT", head="\ntext/x")
    headers = {"x-amz-acl": "private", "content-type": "text/x"}
    pairs = (("x-amz-meta-a", "1"), ("x-amz-meta-a", "2"))

    assert authenticator().authenticate(call_of("PUT", url, headers, pairs)).principal is not None
    refused(call_of("PUT", url, headers, pairs[::-1]), "SignatureDoesNotMatch")
    refused(call_of("PUT", url, headers, (*pairs, ("x-amz-acl", "private"))), "SignatureDoesNotMatch")


@pytest.mark.parametrize("value", ["a%0D%0Ax-amz-acl%3Aprivate", "a%00", "%7F"])
def test_no_header_is_injected(value: str) -> None:
    """A parameter that is no header value is refused before its signature is looked at."""
    refused(call_of("GET", f"{signed()}&x-amz-meta-a={value}"), "AccessDenied")
    refused(call_of("GET", f"{signed()}&x-amz-%0A=a"), "AccessDenied")


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("/bkt/", "/bkz/"), ("/key?", "/kex?"), ("/key?", "/%6Bey?"), ("versionId=1", "versionId=2"), ("versionId=1", "versionid=1"),
        ("versionId=1&", ""), (f"Expires={NOW + 60}", f"Expires={NOW + 61}"), (f"Expires={NOW + 60}", f"Expires=0{NOW + 60}"),
        ("&Signature=", "&Signature=a"), ("&Expires", "&partNumber=1&Expires"), ("&Expires", "&response-expires=1&Expires"),
    ],
)  # fmt: skip
def test_every_signed_part_counts(old: str, new: str) -> None:
    """A URL changed in any part that the version covers does not match."""
    url = signed("/bkt/key?versionId=1", "versionId=1")
    assert old in url
    assert authenticator().authenticate(call_of("GET", url)).principal is not None

    refused(call_of("GET", url.replace(old, new)), "SignatureDoesNotMatch")


def test_a_mismatch_tells_what_was_signed() -> None:
    """The fields let a client find its mistake."""
    error = refused(call_of("GET", signed("/other/key")), "SignatureDoesNotMatch")

    assert error.fields["StringToSign"] == f"GET\n\n\n{NOW + 60}\n/bkt/key"


def test_parameters_count_decoded_and_in_any_order() -> None:
    """Names and values are read as routing reads them; parameters of an application are no concern of the signature."""
    url = signed("/bkt/key?response-expires=a b&versionId=1", "version%49d=1&x=y&response-expires=a+b")

    assert authenticator().authenticate(call_of("GET", url)).principal is not None


@pytest.mark.parametrize("name", UNSIGNED_ROUTING)
def test_operations_outside_the_signature_are_refused(name: str) -> None:
    """A URL with a parameter that chooses an operation and that the version does not sign is refused, with any value."""
    encoded = f"%{ord(name[0]):02X}{name[1:]}"
    for extra in (name, f"{name}=2", f"{encoded}=2"):
        for method in ("GET", "PUT"):
            try:
                call = call_of(method, f"{signed(method=method)}&{extra}")
            except S3Error:
                continue  # The router knows no such operation.
            refused(call, "AccessDenied")


def test_unsigned_operations_include_those_that_exist() -> None:
    """Attributes and renaming are outside the version's list, so that the refusal is about something."""
    assert {"attributes", "renameObject", "list-type", "legal-hold", "retention"} <= set(UNSIGNED_ROUTING)


def test_overrides_cannot_be_split_into_an_operation() -> None:
    """Text that was signed as an override is not another operation when it is sent as two parameters."""
    resource = "/bkt/key?response-content-disposition=a&tagging=b"
    whole, split = "response-content-disposition=a%26tagging%3Db", "response-content-disposition=a&tagging=b"

    assert authenticator().authenticate(call_of("GET", signed(resource, whole))).operation == "GetObject"
    refused(call_of("GET", signed(resource, split)), "AccessDenied")


def test_a_url_is_good_to_its_end() -> None:
    """The end is inclusive; after it the answer is that of S3, with the times."""
    call = call_of("GET", signed())

    assert authenticator(lambda: NOW + 60).authenticate(call).principal is not None
    error = refused(call, "AccessDenied", authenticator(lambda: NOW + 61))
    assert error.message == "Request has expired"
    assert error.fields == {"Expires": "2013-05-24T00:01:00Z", "ServerTime": "2013-05-24T00:01:01Z"}


def test_the_longest_life_is_that_of_version_4() -> None:
    """Seven days and the skew of a signer's clock; one second more is refused."""
    longest = NOW + sigv4.MAX_PRESIGNED_SECONDS + 900

    assert authenticator().authenticate(call_of("GET", signed(expires=longest))).principal is not None
    for late in (longest + 1, 10**18 - 1):
        assert refused(call_of("GET", signed(expires=late)), "AuthorizationQueryParametersError").status == 400


def test_botocore_life_is_capped(auth: Authenticator) -> None:
    """A URL that botocore makes for eight days is refused, one for seven is good."""
    week = 7 * 24 * 3600
    good, late = (botocore_url("get_object", Bucket="bucket", Key="k", expires=life) for life in (week, week + 24 * 3600))

    assert auth.authenticate(call_of("GET", good)).principal is not None
    assert refused(call_of("GET", late), "AuthorizationQueryParametersError", auth).status == 400
    refused(call_of("GET", good), "AccessDenied", Authenticator(KeyStore({ACCESS_KEY: SECRET_KEY}), clock=lambda: time.time() + week + 60))


@pytest.mark.parametrize("expires", ["", "-1", "1.5", "1e9", "x", "9" * 19, "\uff11"])
def test_malformed_ends_are_denied(expires: str) -> None:
    """Expires is a number of seconds since the epoch."""
    refused(call_of("GET", signed(expires=expires)), "AccessDenied")


@pytest.mark.parametrize("name", ["AWSAccessKeyId", "Signature", "Expires"])
def test_all_three_parameters_are_required_once(name: str) -> None:
    """A URL without one of them, or with one twice, is denied."""
    url = signed()

    refused(call_of("GET", url.replace(f"{name}=", f"x{name}=")), "AccessDenied")
    refused(call_of("GET", f"{url}&{name}=1"), "AccessDenied")


@pytest.mark.parametrize("extra", ["versionId=1&versionId=1", "x=1&%78=2", "x-amz-meta-a=1&X-Amz-Meta-A=1"])
def test_duplicates_are_refused(extra: str) -> None:
    """Readers of different occurrences would disagree on what was signed."""
    error = refused(call_of("GET", f"{signed()}&{extra}"), "AccessDenied")

    assert "more than once" in error.message


@pytest.mark.parametrize("name", ["Algorithm", "Credential", "Date", "Expires", "SignedHeaders", "Signature", "Region-Set"])
def test_one_mechanism_only(name: str) -> None:
    """Parameters of version 4, and an Authorization header of either version, are refused beside version 2."""
    refused(call_of("GET", f"{signed()}&X-Amz-{name}=1"), "InvalidArgument")
    for value in ("AWS a:b", "AWS4-HMAC-SHA256 Credential=a"):
        refused(call_of("GET", signed(), {"authorization": value}), "InvalidArgument")


def test_keys() -> None:
    """Unknown keys are InvalidAccessKeyId, malformed ones denied, and session tokens belong to none."""
    error = refused(call_of("GET", signed().replace(ACCESS_KEY, "AKIDOTHER")), "InvalidAccessKeyId")
    assert error.fields == {"AWSAccessKeyId": "AKIDOTHER"}
    refused(call_of("GET", signed().replace(ACCESS_KEY, "a%0Ab")), "AccessDenied")
    refused(call_of("GET", f"{signed()}&x-amz-security-token=t"), "InvalidToken")


def test_the_body_is_not_signed() -> None:
    """Without x-amz-content-sha256 the body is as it came; chunk signatures have nothing to go on from."""
    call = call_of("PUT", signed(method="PUT"))
    assert authenticator().authenticate(call).body is call.body
    names = {"x-amz-content-sha256": sigv4.STREAMING_SIGNED, "x-amz-decoded-content-length": "0"}
    lines = "".join(f"{name}:{value}\n" for name, value in names.items())

    refused(call_of("PUT", signed(f"{lines}/bkt/key", method="PUT"), names), "InvalidRequest")


@given(st.text(alphabet="ASignatureExp=&%0123 +x-amz", max_size=60))
def test_any_query_is_answered(text: str) -> None:
    """Junk behind a mark is refused by an S3 error and by nothing else."""
    query = quote(text, safe="=&%+")
    try:
        call = call_of("GET", f"http://gateway.test/bkt/key?AWSAccessKeyId={ACCESS_KEY}&Signature=x&{query}")
    except S3Error:
        return
    with pytest.raises(S3Error):
        authenticator().authenticate(call)
