"""boto3 at its default settings, as most Python programs use it."""

import hashlib
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

import pytest
from botocore.exceptions import ClientError
from s4_codecs.testing.workloads import WORKLOADS
from servers.behind import Behind
from servers.gateways import Gateway

MIB = 2**20


@pytest.mark.parametrize("workload", ["log", "noise", "records"])
def test_transfer_of_a_large_file(s3: Any, bucket: str, tmp_path: Path, workload: str) -> None:
    """upload_file and download_file with their default configuration (8 MiB parts, 10 threads) give the file back."""
    data = WORKLOADS[workload](40 * MIB + 12345)
    (tmp_path / "up").write_bytes(data)
    s3.upload_file(str(tmp_path / "up"), bucket, "file")
    s3.download_file(bucket, "file", str(tmp_path / "down"))
    assert hashlib.sha256((tmp_path / "down").read_bytes()).digest() == hashlib.sha256(data).digest()
    head = s3.head_object(Bucket=bucket, Key="file")
    assert head["ContentLength"] == len(data)
    digests = b"".join(hashlib.md5(data[start : start + 8 * MIB]).digest() for start in range(0, len(data), 8 * MIB))
    assert head["ETag"] == f'"{hashlib.md5(digests).hexdigest()}-6"'
    ((entry,),) = [page["Contents"] for page in s3.get_paginator("list_objects_v2").paginate(Bucket=bucket)]
    assert (entry["Size"], entry["ETag"]) == (len(data), head["ETag"])


def test_compressible_data_takes_less_room(s3: Any, behind: Behind, bucket: str, tmp_path: Path) -> None:
    """A log is stored in less than a quarter of its size, and nothing of an upload stays behind but its tombstone."""
    data = WORKLOADS["log"](20 * MIB)
    (tmp_path / "up").write_bytes(data)
    s3.upload_file(str(tmp_path / "up"), bucket, "log")
    assert behind.size(bucket, "log") < len(data) / 4
    assert behind.uploads(bucket) == []
    left = [key.split("/") for key in behind.keys(bucket) if key.startswith(".s4mpu/")]
    assert [parts[2] for parts in left] == ["backend"]


@pytest.mark.parametrize("size", [0, 1, 100, 4096, 65536, MIB - 1, MIB, MIB + 1, 5 * MIB + 1])
def test_put_and_get(s3: Any, bucket: str, size: int) -> None:
    """Bodies of all sizes come back with their MD5 as ETag, from GET, HEAD and listing alike."""
    data = WORKLOADS["log"](size) if size >= 4096 else b"x" * size
    etag = f'"{hashlib.md5(data).hexdigest()}"'
    assert s3.put_object(Bucket=bucket, Key="key", Body=data)["ETag"] == etag
    answer = s3.get_object(Bucket=bucket, Key="key")
    assert answer["Body"].read() == data
    assert answer["ETag"] == etag
    head = s3.head_object(Bucket=bucket, Key="key")
    assert (head["ContentLength"], head["ETag"]) == (size, etag)
    (entry,) = s3.list_objects_v2(Bucket=bucket)["Contents"]
    assert (entry["Size"], entry["ETag"]) == (size, etag)
    assert entry["LastModified"] == head["LastModified"] == answer["LastModified"]


def test_file_objects_are_streamed(s3: Any, bucket: str, tmp_path: Path) -> None:
    """A PUT from an open file that is larger than what is buffered keeps every byte."""
    data = WORKLOADS["log"](24 * MIB) + WORKLOADS["noise"](24 * MIB)
    (tmp_path / "up").write_bytes(data)
    with (tmp_path / "up").open("rb") as body:
        s3.put_object(Bucket=bucket, Key="key", Body=body)
    assert s3.get_object(Bucket=bucket, Key="key")["Body"].read() == data
    assert s3.head_object(Bucket=bucket, Key="key")["ContentLength"] == len(data)


def test_overwrite_and_delete(s3: Any, behind: Behind, bucket: str) -> None:
    """The newest body wins at once, and a deleted object leaves neither itself nor a sidecar."""
    for size in (9 * MIB, 100, 6 * MIB):
        data = WORKLOADS["log"](size)
        s3.put_object(Bucket=bucket, Key="key", Body=data)
        assert s3.get_object(Bucket=bucket, Key="key")["Body"].read() == data
    s3.delete_object(Bucket=bucket, Key="key")
    s3.delete_object(Bucket=bucket, Key="key")
    with pytest.raises(s3.exceptions.NoSuchKey):
        s3.get_object(Bucket=bucket, Key="key")
    with pytest.raises(ClientError, match="404"):
        s3.head_object(Bucket=bucket, Key="key")
    assert behind.keys(bucket) == []


def test_delete_many(s3: Any, behind: Behind, bucket: str) -> None:
    """DeleteObjects removes what is there, reports what was not as deleted too, and refuses reserved names one by one."""
    for number in range(5):
        s3.put_object(Bucket=bucket, Key=f"key {number}", Body=b"x" * number)
    targets = [{"Key": f"key {number}"} for number in range(6)] + [{"Key": "key 1.s4index"}]
    answer = s3.delete_objects(Bucket=bucket, Delete={"Objects": targets})
    assert sorted(entry["Key"] for entry in answer["Deleted"]) == [f"key {number}" for number in range(6)]
    assert [(entry["Key"], entry["Code"]) for entry in answer["Errors"]] == [("key 1.s4index", "InvalidObjectName")]
    assert behind.keys(bucket) == []


@pytest.mark.parametrize("size", [1000, 20 * MIB])
def test_copy(s3: Any, bucket: str, size: int) -> None:
    """A copy is the same object under another name, with its own metadata where they are replaced."""
    data = WORKLOADS["log"](20 * MIB)[:size]
    s3.put_object(Bucket=bucket, Key="a b/ü", Body=data, Metadata={"mine": "1"}, ContentType="text/x-log")
    source = {"Bucket": bucket, "Key": "a b/ü"}
    copied = s3.copy_object(Bucket=bucket, Key="kept", CopySource=source)
    s3.copy_object(Bucket=bucket, Key="replaced", CopySource=source, MetadataDirective="REPLACE", Metadata={"other": "2"})
    for key, metadata, content_type in (("kept", {"mine": "1"}, "text/x-log"), ("replaced", {"other": "2"}, "binary/octet-stream")):
        answer = s3.get_object(Bucket=bucket, Key=key)
        assert answer["Body"].read() == data
        assert (answer["Metadata"], answer["ContentType"]) == (metadata, content_type)
        assert answer["ETag"] == copied["CopyObjectResult"]["ETag"] == f'"{hashlib.md5(data).hexdigest()}"'


def test_managed_copy_of_a_large_object(s3: Any, bucket: str, tmp_path: Path) -> None:
    """copy() of an object above its threshold copies by parts and keeps every byte."""
    data = WORKLOADS["log"](30 * MIB)
    s3.put_object(Bucket=bucket, Key="source", Body=data)
    s3.copy({"Bucket": bucket, "Key": "source"}, bucket, "target")
    s3.download_file(bucket, "target", str(tmp_path / "down"))
    assert (tmp_path / "down").read_bytes() == data


@pytest.mark.parametrize("config", [{}, {"signature_version": "s3v4"}], ids=["default", "version 4"])
def test_presigned_urls(gateway: Gateway, bucket: str, config: dict[str, str]) -> None:
    """URLs made by generate_presigned_url work without keys, for GET and PUT."""
    s3 = gateway.client(**config)
    url = s3.generate_presigned_url("put_object", Params={"Bucket": bucket, "Key": "a+b c/d"}, ExpiresIn=60)
    # urllib would add a Content-Type of its own, which version 2 signs.
    with urlopen(Request(url, data=b"by url", method="PUT", headers={"Content-Type": ""}), timeout=30) as answer:
        assert answer.status == 200
    url = s3.generate_presigned_url("get_object", Params={"Bucket": bucket, "Key": "a+b c/d"}, ExpiresIn=60)
    with urlopen(url, timeout=30) as answer:
        assert answer.read() == b"by url"


def test_buckets(s3: Any, bucket: str, bucket_name: str) -> None:
    """Buckets are listed, found, located and refused to be deleted while they hold something."""
    assert bucket in [entry["Name"] for entry in s3.list_buckets()["Buckets"]]
    s3.head_bucket(Bucket=bucket)
    assert s3.get_bucket_location(Bucket=bucket)["LocationConstraint"] is None
    s3.put_object(Bucket=bucket, Key="key", Body=b"x")
    with pytest.raises(ClientError, match="BucketNotEmpty"):
        s3.delete_bucket(Bucket=bucket)
    with pytest.raises(ClientError, match="NoSuchBucket"):
        s3.put_object(Bucket=f"{bucket_name}-not", Key="key", Body=b"x")
    with pytest.raises(ClientError, match="404"):
        s3.head_bucket(Bucket=f"{bucket_name}-not")
    try:
        s3.create_bucket(Bucket=bucket)
    except s3.exceptions.BucketAlreadyOwnedByYou:
        pass  # S3 itself answers 200 in us-east-1 and this in all other regions.
    assert [entry["Key"] for entry in s3.list_objects_v2(Bucket=bucket)["Contents"]] == ["key"]


def test_a_bucket_with_only_reserved_names_can_be_deleted(s3: Any, bucket_name: str) -> None:
    """What an upload leaves behind does not keep its bucket alive."""
    s3.create_bucket(Bucket=bucket_name)
    upload = s3.create_multipart_upload(Bucket=bucket_name, Key="key")["UploadId"]
    part = s3.upload_part(Bucket=bucket_name, Key="key", UploadId=upload, PartNumber=1, Body=b"x" * 100)
    parts = {"Parts": [{"PartNumber": 1, "ETag": part["ETag"]}]}
    s3.complete_multipart_upload(Bucket=bucket_name, Key="key", UploadId=upload, MultipartUpload=parts)
    s3.delete_object(Bucket=bucket_name, Key="key")
    s3.delete_bucket(Bucket=bucket_name)
    assert bucket_name not in [entry["Name"] for entry in s3.list_buckets()["Buckets"]]
