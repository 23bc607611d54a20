"""The running server verifies what it is sent: keys, times, hosts, bodies."""

import time
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest
from botocore.exceptions import ClientError
from clients.s3 import client
from clients.wire import Wire, path_of
from servers.behind import Behind
from servers.gateways import Gateway


def test_wrong_keys(gateway: Gateway, behind: Behind, bucket: str) -> None:
    """A wrong secret is SignatureDoesNotMatch, an unknown key InvalidAccessKeyId; neither stores anything."""
    for access_key, secret_key, code in (
        (gateway.access_key, gateway.secret_key + "x", "SignatureDoesNotMatch"),
        ("AKIDUNKNOWN", gateway.secret_key, "InvalidAccessKeyId"),
    ):
        s3 = client(gateway.endpoint, access_key, secret_key)
        for step in (s3.list_buckets, lambda: s3.put_object(Bucket=bucket, Key="key", Body=b"x")):  # noqa: B023
            with pytest.raises(ClientError) as caught:
                step()
            assert caught.value.response["Error"]["Code"] == code
            assert caught.value.response["ResponseMetadata"]["HTTPStatusCode"] == 403
    assert behind.keys(bucket) == []


def test_anonymous_requests(wire: Wire, bucket: str) -> None:
    """Who does not sign may do nothing, and learns nothing of what there is."""
    for method, path in (
        ("GET", "/"),
        ("GET", f"/{bucket}"),
        ("PUT", path_of(bucket, "key")),
        ("GET", path_of(bucket, "key")),
        ("GET", path_of(bucket, "x.s4index")),
        ("DELETE", path_of(bucket, "key")),
        ("POST", f"/{bucket}?delete"),
        ("GET", "/no-such-bucket"),
    ):
        answer = wire.request(method, path, b"x" if method == "PUT" else b"", signed=False)
        assert (method, path, answer.status, answer.code) == (method, path, 403, "AccessDenied")


def test_what_is_signed_cannot_be_changed(wire: Wire, bucket: str) -> None:
    """A request whose path, header or query is not the one that was signed is refused."""
    wire.request("PUT", path_of(bucket, "key"), b"body")
    signed = wire.head_of("GET", path_of(bucket, "key"), {"x-amz-meta-a": "1", "content-length": "0"}).decode()
    for changed in (
        signed.replace("/key HTTP", "/kez HTTP"),
        signed.replace("GET /", "DELETE /"),
        signed.replace("x-amz-meta-a: 1", "x-amz-meta-a: 2"),
        signed.replace("x-amz-meta-a: 1", "x-amz-meta-a: 1\r\nx-amz-meta-a: 2"),
        signed.replace("/key HTTP", "/key?versionId=null HTTP"),
    ):
        assert changed != signed
        answer = wire.send(changed.encode(), "GET")
        assert (answer.status, answer.code) == (403, "SignatureDoesNotMatch")


def test_presigned_urls_end(gateway: Gateway, bucket: str) -> None:
    """A presigned URL works until it expires, and for no other key."""
    s3 = gateway.client(signature_version="s3v4")
    s3.put_object(Bucket=bucket, Key="key", Body=b"body")
    url = s3.generate_presigned_url("get_object", Params={"Bucket": bucket, "Key": "key"}, ExpiresIn=1)
    with urlopen(url, timeout=30) as answer:
        assert answer.read() == b"body"
    time.sleep(2.1)
    for refused in (url, url.replace("/key?", "/other?")):
        with pytest.raises(HTTPError) as caught:
            urlopen(refused, timeout=30)
        assert caught.value.code == 403
        caught.value.close()
    late = s3.generate_presigned_url("get_object", Params={"Bucket": bucket, "Key": "key"}, ExpiresIn=8 * 24 * 3600)
    with pytest.raises(HTTPError) as caught:
        urlopen(Request(late), timeout=30)
    assert caught.value.code in (400, 403)
    caught.value.close()


@pytest.mark.parametrize("length", [0, 5, 100_000, 3_000_000])
@pytest.mark.parametrize("with_trailer", [False, True])
def test_signed_chunks(wire: Wire, bucket: str, length: int, with_trailer: bool) -> None:
    """A body in signed chunks is stored; one with a chunk that was changed is refused, and nothing is stored."""
    body = bytes(range(256)) * (length // 256 + 1)
    body = body[:length]
    head, framed = wire.signed_chunks("PUT", path_of(bucket, "key"), body, with_trailer=with_trailer)
    answer = wire.send(head + framed, "PUT")
    assert answer.status == 200, answer.body
    assert wire.request("GET", path_of(bucket, "key")).body == body
    if length:
        head, framed = wire.signed_chunks("PUT", path_of(bucket, "other"), body, with_trailer=with_trailer)
        at = framed.index(b"\r\n") + 2
        answer = wire.send(head + framed[:at] + bytes([framed[at] ^ 1]) + framed[at + 1 :], "PUT")
        assert (answer.status, answer.code) == (403, "SignatureDoesNotMatch")
        assert wire.request("HEAD", path_of(bucket, "other")).status == 404


def test_buckets_named_like_our_pages(gateway: Gateway, wire: Wire) -> None:
    """/health, /ready and /metrics answer unsigned GET and HEAD; signed requests reach buckets of these names."""
    for name in ("health", "ready", "metrics"):
        for method in ("GET", "HEAD"):
            assert wire.request(method, f"/{name}", signed=False).status == 200
        assert wire.request("PUT", f"/{name}", signed=False).status == 403
        assert wire.request("GET", f"/{name}").code == "NoSuchBucket"
    s3 = gateway.client()
    s3.create_bucket(Bucket="metrics")
    s3.put_object(Bucket="metrics", Key="key", Body=b"x")
    assert s3.list_objects_v2(Bucket="metrics")["KeyCount"] == 1
    assert b"s4_gateway_requests_total" in wire.request("GET", "/metrics", signed=False).body
    s3.delete_object(Bucket="metrics", Key="key")
    s3.delete_bucket(Bucket="metrics")
