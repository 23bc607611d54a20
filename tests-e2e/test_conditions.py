"""Conditional reads and writes, judged on what clients see."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from botocore.exceptions import ClientError
from clients.wire import Wire, path_of
from s4_codecs.testing.workloads import WORKLOADS
from servers.behind import Behind
from servers.gateways import Gateway

MIB = 2**20
PAST, FUTURE = "Wed, 21 Oct 2015 07:28:00 GMT", "Sat, 21 Oct 2045 07:28:00 GMT"
SIZES = pytest.mark.parametrize("size", [1000, 9 * MIB], ids=["buffered", "streamed"])


@SIZES
def test_reads(wire: Wire, bucket: str, size: int) -> None:
    """If-Match, If-None-Match and their dates give 200, 304 or 412 in the order of RFC 9110 13.2.2."""
    path = path_of(bucket, "key")
    etag = str(wire.request("PUT", path, WORKLOADS["log"](size)).etag)
    for headers, status in (
        ({"if-match": etag}, 200),
        ({"if-match": "*"}, 200),
        ({"if-match": f'"other", {etag}'}, 200),
        ({"if-match": '"other"'}, 412),
        ({"if-none-match": etag}, 304),
        ({"if-none-match": "*"}, 304),
        ({"if-none-match": '"other"'}, 200),
        ({"if-modified-since": PAST}, 200),
        ({"if-modified-since": FUTURE}, 304),
        ({"if-unmodified-since": PAST}, 412),
        ({"if-unmodified-since": FUTURE}, 200),
        ({"if-match": etag, "if-unmodified-since": PAST}, 200),
        ({"if-none-match": '"other"', "if-modified-since": FUTURE}, 200),
        ({"if-match": '"other"', "if-none-match": etag}, 412),
    ):
        for method in ("GET", "HEAD"):
            answer = wire.request(method, path, headers=headers)
            assert (headers, method, answer.status) == (headers, method, status)
            if status == 304:
                assert (answer.etag, answer.body) == (etag, b"")
            if status == 412 and method == "GET":
                assert answer.code == "PreconditionFailed"
    modified = wire.request("HEAD", path).headers["last-modified"]
    assert wire.request("GET", path, headers={"if-modified-since": modified}).status == 304
    assert wire.request("GET", path, headers={"if-unmodified-since": modified}).status == 200


@SIZES
def test_create_only_once(s3: Any, bucket: str, size: int) -> None:
    """If-None-Match: * writes where nothing is, and never over something."""
    body = WORKLOADS["log"](size)
    s3.put_object(Bucket=bucket, Key="key", Body=body, IfNoneMatch="*")
    # A store that refuses a large body early may break the connection: a 412 behind a lost attempt is no definite answer, so it is 503.
    with pytest.raises(ClientError, match=r"PreconditionFailed|ServiceUnavailable"):
        s3.put_object(Bucket=bucket, Key="key", Body=body[::-1], IfNoneMatch="*")
    assert s3.get_object(Bucket=bucket, Key="key")["Body"].read() == body


@SIZES
def test_replace_what_was_read(s3: Any, behind: Behind, bucket: str, size: int) -> None:
    """If-Match takes the ETag that clients see, and refuses once the object is another."""
    body = WORKLOADS["log"](size)
    first = s3.put_object(Bucket=bucket, Key="key", Body=body)["ETag"]
    second = s3.put_object(Bucket=bucket, Key="key", Body=body[1:], IfMatch=first)["ETag"]
    with pytest.raises(ClientError, match="PreconditionFailed"):
        s3.put_object(Bucket=bucket, Key="key", Body=b"late", IfMatch=first)
    assert s3.head_object(Bucket=bucket, Key="key")["ETag"] == second
    with pytest.raises(ClientError, match=r"NoSuchKey|404|PreconditionFailed"):
        s3.put_object(Bucket=bucket, Key="absent", Body=b"x", IfMatch=first)
    assert "absent" not in behind.keys(bucket)
    assert behind.uploads(bucket) == []


@SIZES
def test_one_of_many_wins(gateway: Gateway, bucket: str, size: int) -> None:
    """Of twelve writers that all say If-None-Match: *, exactly one succeeds, and its body is what stays."""
    s3 = gateway.client(retries={"total_max_attempts": 1}, max_pool_connections=12)
    bodies = [bytes([65 + number]) * size for number in range(12)]

    def write(number: int) -> str:
        try:
            s3.put_object(Bucket=bucket, Key="key", Body=bodies[number], IfNoneMatch="*")
        except ClientError as error:
            return str(error.response["Error"]["Code"])
        return "won"

    with ThreadPoolExecutor(12) as pool:
        outcomes = list(pool.map(write, range(12)))
    assert outcomes.count("won") == 1
    assert set(outcomes) <= {"won", "PreconditionFailed", "ConditionalRequestConflict"}
    assert s3.get_object(Bucket=bucket, Key="key")["Body"].read() == bodies[outcomes.index("won")]


def test_multipart_conditions(s3: Any, bucket: str) -> None:
    """Complete honours If-None-Match and If-Match; an upload that was refused can still be aborted."""
    etag = s3.put_object(Bucket=bucket, Key="key", Body=b"first")["ETag"]
    upload = s3.create_multipart_upload(Bucket=bucket, Key="key")["UploadId"]
    part = s3.upload_part(Bucket=bucket, Key="key", UploadId=upload, PartNumber=1, Body=b"second")
    end = {"Bucket": bucket, "Key": "key", "UploadId": upload, "MultipartUpload": {"Parts": [{"PartNumber": 1, "ETag": part["ETag"]}]}}
    with pytest.raises(ClientError, match="PreconditionFailed"):
        s3.complete_multipart_upload(**end, IfNoneMatch="*")
    with pytest.raises(ClientError, match="PreconditionFailed"):
        s3.complete_multipart_upload(**end, IfMatch='"0123456789abcdef0123456789abcdef"')
    assert s3.get_object(Bucket=bucket, Key="key")["Body"].read() == b"first"
    s3.complete_multipart_upload(**end, IfMatch=etag)
    assert s3.get_object(Bucket=bucket, Key="key")["Body"].read() == b"second"


def test_copy_conditions(s3: Any, bucket: str) -> None:
    """Conditions on a copy's source are judged on its logical ETag."""
    etag = s3.put_object(Bucket=bucket, Key="source", Body=WORKLOADS["log"](1000))["ETag"]
    source = {"Bucket": bucket, "Key": "source"}
    s3.copy_object(Bucket=bucket, Key="target", CopySource=source, CopySourceIfMatch=etag)
    s3.copy_object(Bucket=bucket, Key="target", CopySource=source, CopySourceIfNoneMatch='"other"')
    for refused in ({"CopySourceIfMatch": '"other"'}, {"CopySourceIfNoneMatch": etag}):
        with pytest.raises(ClientError, match="PreconditionFailed"):
            s3.copy_object(Bucket=bucket, Key="target", CopySource=source, **refused)


def test_conditions_that_s3_does_not_know(wire: Wire, bucket: str) -> None:
    """If-None-Match of a write takes nothing but *."""
    answer = wire.request("PUT", path_of(bucket, "key"), b"x", {"if-none-match": '"abc"'})
    assert (answer.status, answer.code) == (501, "NotImplemented")
    answer = wire.request("PUT", path_of(bucket, "key"), b"x", {"if-match": '"abc"', "if-none-match": "*"})
    assert answer.status in (400, 501)
    assert wire.request("HEAD", path_of(bucket, "key")).status == 404
