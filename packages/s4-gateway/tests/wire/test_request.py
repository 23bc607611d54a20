"""From scopes to calls."""

from urllib.parse import quote, unquote_to_bytes

import pytest
from hypothesis import given
from hypothesis import strategies as st

from s4_gateway.errors import S3Error
from s4_gateway.wire.request import new_request_id

from .helpers import BotoClient, parse

KEYS = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=60)
DOMAIN = "s3.example.com"


def refusal(method: str, target: bytes | str, headers: dict[str, str] | None = None, **options: object) -> S3Error:
    """The error that a request is refused with."""
    with pytest.raises(S3Error) as caught:
        parse(method, target, headers or {}, **options)
    return caught.value


def test_a_call_holds_the_request() -> None:
    """Everything the rest needs: decoded and as on the wire."""
    headers = [(b"host", b"h"), (b"x-amz-meta-a", b" \xc3\xa9\t"), (b"x-amz-meta-b", b"1"), (b"x-amz-meta-b", b"2")]
    call = parse("GET", b"/bkt/a%2Fb+c?versionId=null&response-expires=a+b%2Bc&partNumber=1&empty&=x", headers)
    assert (call.operation, call.method, call.bucket, call.key, call.resource) == ("GetObject", "GET", "bkt", "a/b+c", "/bkt/a/b+c")
    assert call.query == {"versionId": "null", "response-expires": "a b+c", "partNumber": "1", "empty": "", "": "x"}
    assert call.headers == {"host": "h", "x-amz-meta-a": "Ã©", "x-amz-meta-b": "1,2"}
    assert call.raw_headers == tuple(headers)
    assert (call.raw_path, call.raw_query) == (b"/bkt/a%2Fb+c", b"versionId=null&response-expires=a+b%2Bc&partNumber=1&empty&=x")
    assert (call.source_ip, call.principal, call.body.size) == ("192.0.2.7", None, 0)


def test_request_ids_are_16_hex_digits_and_differ() -> None:
    """Each request has an id of its own."""
    seen = {new_request_id() for _ in range(100)} | {parse().request_id}
    assert len(seen) == 101
    assert all(one == f"{int(one, 16):016X}" for one in seen)


@pytest.mark.parametrize(
    ("target", "bucket", "key"),
    [
        ("/", "", ""),
        ("/bkt", "bkt", ""),
        ("/bkt/", "bkt", ""),
        ("/bkt//", "bkt", "/"),
        ("/bkt/.", "bkt", "."),
        ("/bkt/a/../b", "bkt", "a/../b"),
        ("/bkt/a//b/", "bkt", "a//b/"),
        ("/bkt/%2e%2e/%2F%25", "bkt", "..//%"),
        ("/bkt/+", "bkt", "+"),
        ("/bkt/%20", "bkt", " "),
        ("/bkt/%00%01%0a", "bkt", "\x00\x01\n"),
        ("/bkt/\u00e9", "bkt", "\u00e9"),
        ("/bkt/%C3%A9", "bkt", "\u00e9"),
        ("/%62kt/k", "bkt", "k"),
        ("/Old_Bucket.1/k", "Old_Bucket.1", "k"),
        ("/bkt/?prefix=/", "bkt", ""),
    ],
)
def test_path_style(target: str, bucket: str, key: str) -> None:
    """The first segment is the bucket, everything behind its slash the key, decoded once and otherwise untouched."""
    call = parse("GET", target)
    assert (call.bucket, call.key) == (bucket, key)


@given(KEYS)
def test_any_key_arrives(key: str) -> None:
    """A key of up to 1,024 bytes of UTF-8 arrives however it was encoded."""
    assert parse("GET", f"/bkt/{quote(key, safe='')}").key == key
    assert parse("GET", f"/bkt/{quote(key, safe='/~')}").key == key
    assert parse("GET", "/bkt/" + "".join(f"%{byte:02x}" for byte in key.encode())).key == key


@given(st.binary(max_size=40), st.binary(max_size=40))
def test_any_target_is_a_call_or_refused(path: bytes, query: bytes) -> None:
    """No bytes break the parser."""
    try:
        call = parse("GET", b"/" + path.replace(b"?", b"") + b"?" + query, {"host": f"bkt.{DOMAIN}"}, domain=DOMAIN)
    except S3Error as error:
        outcome = error.status
    else:
        outcome = 200 if call.bucket == "bkt" and call.key.encode() == unquote_to_bytes(path.replace(b"?", b"")) else 0
    assert outcome in (200, 400)


@pytest.mark.parametrize("length", [1023, 1024])
def test_long_keys(length: int) -> None:
    """1,024 bytes are a key."""
    assert len(parse("GET", "/bkt/" + "k" * length).key) == length
    assert parse("GET", "/bkt/" + "%C3%A9" * (length // 2)).key == "é" * (length // 2)


@pytest.mark.parametrize("key", ["k" * 1025, "%C3%A9" * 513, "%F0%9F%98%80" * 257, "k" * 100_000])
def test_longer_keys_are_refused(key: str) -> None:
    """1,025 bytes are none, however few characters they are."""
    assert refusal("GET", f"/bkt/{key}").code == "KeyTooLongError"


@pytest.mark.parametrize(
    "target",
    [b"", b"*", b"bkt/k", b"/bkt/%", b"/bkt/%4", b"/bkt/%zz", b"/bkt/%FF", b"/bkt/\xff", b"/bkt/%ED%A0%80", b"/%FF/k", b"/bkt/k?a=%FF"],
)
def test_bad_uris(target: bytes) -> None:
    """What does not decode to UTF-8 is InvalidURI."""
    error = refusal("GET", target)
    assert (error.code, error.status) == ("InvalidURI", 400)


@pytest.mark.parametrize("bucket", ["", "ab", "-abc", ".abc", "a..b", "b%2Fc", "b c", "b%00c", "é" * 3, "b" * 256, "..", "%2e%2e"])
def test_bad_bucket_names(bucket: str) -> None:
    """What no store can have as bucket is refused, whatever is asked of it."""
    for method, target in (("GET", f"/{bucket}/k"), ("PUT", f"/{bucket}/k")):
        assert refusal(method, target, {"content-length": "0"}).code == "InvalidBucketName"


@pytest.mark.parametrize(
    ("host", "target", "bucket", "key"),
    [
        (f"bkt.{DOMAIN}", "/a/b", "bkt", "a/b"),
        (f"bkt.{DOMAIN}:8014", "/a/b", "bkt", "a/b"),
        (f"BKT.{DOMAIN.upper()}", "/a", "bkt", "a"),
        (f"bkt.{DOMAIN}.", "/a", "bkt", "a"),
        (f"my.dotted.{DOMAIN}", "/", "my.dotted", ""),
        (f"bkt.{DOMAIN}", "//a", "bkt", "/a"),
        (f"bkt.{DOMAIN}", "/bkt/a", "bkt", "bkt/a"),
        (DOMAIN, "/bkt/a", "bkt", "a"),
        (f"{DOMAIN}:8014", "/", "", ""),
        (f".{DOMAIN}", "/bkt/a", "bkt", "a"),
        (f"not{DOMAIN}", "/bkt/a", "bkt", "a"),
        (f"{DOMAIN}.evil.org", "/bkt/a", "bkt", "a"),
        ("127.0.0.1:8014", "/bkt/a", "bkt", "a"),
        ("[::1]:8014", "/bkt/a", "bkt", "a"),
        ("localhost", "/bkt/a", "bkt", "a"),
        ("", "/bkt/a", "bkt", "a"),
    ],
)
def test_virtual_hosts(host: str, target: str, bucket: str, key: str) -> None:
    """With a domain, a host below it names the bucket; every other host is path style."""
    call = parse("GET", target, {"host": host}, domain=DOMAIN)
    assert (call.bucket, call.key) == (bucket, key)


def test_without_domain_the_host_does_not_matter() -> None:
    """Virtual hosts need a setting: otherwise nobody's Host header chooses a bucket."""
    assert parse("GET", "/bkt/a", {"host": f"other.{DOMAIN}"}).bucket == "bkt"
    assert parse("GET", "/bkt/a", {"host": f"other.{DOMAIN}"}, domain=f".{DOMAIN.upper()}.").bucket == "other"


@pytest.mark.parametrize(
    ("method", "target", "headers", "operation"),
    [
        ("PUT", "/bkt/k?x-id=CopyObject", {"content-length": "0"}, "PutObject"),
        ("PUT", "/bkt/k?X-Amz-Signature=a&X-Amz-Date=b&x-amz-acl=private", {"content-length": "0"}, "PutObject"),
        ("PUT", "/bkt/k", {"x-amz-copy-source": "/bkt/l"}, "CopyObject"),
        ("PUT", "/bkt/k?x-amz-copy-source=%2Fbkt%2Fl", {"content-length": "0"}, "PutObject"),
        ("PUT", "/bkt/?x-id=CreateBucket", {}, "CreateBucket"),
        ("DELETE", "/bkt/k?versionId=null", {}, "DeleteObject"),
        ("GET", "/bkt?list-type=2", {}, "ListObjectsV2"),
    ],
)
def test_operations(method: str, target: str, headers: dict[str, str], operation: str) -> None:
    """Method, address, sub-resource and copy header make the operation; nothing else does."""
    assert parse(method, target, headers).operation == operation


def test_an_empty_version_is_no_version() -> None:
    """`?versionId=` must not read, or delete, the latest version."""
    assert refusal("DELETE", "/bkt/k?versionId=").code == "InvalidArgument"
    assert refusal("GET", "/bkt/k?versionId").code == "InvalidArgument"


def test_the_first_of_several_parameters_counts() -> None:
    """A parameter sent twice has its first value."""
    assert parse("GET", "/bkt?prefix=a&prefix=b").query == {"prefix": "a"}


def test_body_sizes() -> None:
    """Content-Length is the size; without it there is no body, unless the transfer is chunked."""
    assert parse("PUT", "/bkt/k", {"content-length": "12"}).body.size == 12
    assert parse("PUT", "/bkt/k", {"transfer-encoding": "chunked"}).body.size is None
    assert parse("POST", "/bkt?delete").body.size == 0


def test_uploads_need_a_length() -> None:
    """S3 answers 411 to an upload that says nothing about its length."""
    for target in ("/bkt/k", "/bkt/k?uploadId=u&partNumber=1"):
        assert refusal("PUT", target).code == "MissingContentLength"


@pytest.mark.parametrize("length", ["-1", "1 2", "five", "", "0x10", "1,1", "9" * 30])
def test_bad_lengths(length: str) -> None:
    """A length that is none is refused, and the connection is not used again."""
    error = refusal("PUT", "/bkt/k", {"content-length": length})
    assert (error.code, error.close) == ("InvalidArgument", True)


def test_bodies_above_the_limit_are_refused_unread() -> None:
    """What cannot be stored is refused before a byte of it is read; of aws-chunked bodies the decoded length counts."""
    limit = {"max_body_bytes": 1000}
    assert parse("PUT", "/bkt/k", {"content-length": "1000"}, **limit).body.size == 1000
    error = refusal("PUT", "/bkt/k", {"content-length": "1001"}, **limit)
    assert (error.code, error.close, error.fields["ProposedSize"]) == ("EntityTooLarge", True, "1001")
    framed = {"content-length": "1200", "x-amz-decoded-content-length": "1000"}
    assert parse("PUT", "/bkt/k", framed, **limit).body.size == 1200
    assert refusal("PUT", "/bkt/k", framed | {"x-amz-decoded-content-length": "1001"}, **limit).code == "EntityTooLarge"
    assert parse("PUT", "/bkt/k", {"content-length": str(5 * 2**30)}).body.size == 5 * 2**30
    assert refusal("PUT", "/bkt/k", {"content-length": str(5 * 2**30 + 1)}).code == "EntityTooLarge"


def test_refused_requests_with_a_body_close() -> None:
    """The next request would begin in the middle of an unread body."""
    assert refusal("PUT", "/bkt/%FF", {"content-length": "5"}).close
    assert refusal("PUT", "/bkt/%FF", {"transfer-encoding": "chunked"}).close
    assert not refusal("GET", "/bkt/%FF").close
    assert not refusal("GET", "/bkt/%FF", {"content-length": "0"}).close


@pytest.fixture(scope="module")
def boto() -> BotoClient:
    """A client without a network."""
    return BotoClient()


@given(KEYS, st.text(st.characters(exclude_categories=["Cs"]), max_size=20))
def test_what_botocore_sends_is_understood(boto: BotoClient, key: str, prefix: str) -> None:
    """Keys and parameters of botocore's own requests come out as they were given."""
    method, target = boto.request("head_object", Bucket="bkt", Key=key)
    call = parse(method, target)
    assert (call.operation, call.bucket, call.key) == ("HeadObject", "bkt", key)
    method, target = boto.request("list_objects_v2", Bucket="bkt", Prefix=prefix, Delimiter="/")
    call = parse(method, target)
    assert call.operation == "ListObjectsV2"
    assert call.query == {"list-type": "2", "prefix": prefix, "delimiter": "/", "encoding-type": "url"}
