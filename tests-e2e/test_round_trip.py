"""Everything that a client stores with an object comes back byte for byte."""

import gzip
import hashlib
from base64 import b64encode
from typing import Any
from urllib.parse import quote

import pytest
from clients.wire import Wire, path_of
from s4_codecs.testing.workloads import WORKLOADS
from servers.behind import Behind

MIB = 2**20
UTF8 = "Grüße, 世界"

SYSTEM_HEADERS = {
    "cache-control": "max-age=60, private",
    "content-disposition": "attachment; filename=\"a 'b'.txt\"",
    "content-encoding": "br",
    "content-language": "de, en",
    "content-type": "text/plain; charset=utf-8",
    "expires": "Wed, 21 Oct 2015 07:28:00 GMT",
}


def as_shown(value: str, server_name: str) -> str:
    """What a metadata value comes back as: MinIO, like AWS, answers text beyond ASCII in the form of RFC 2047, to any client."""
    if server_name == "minio" and not value.isascii():
        return f"=?UTF-8?b?{b64encode(value.encode()).decode()}?="
    return value


OVERRIDES = {f"response-{name}": value for name, value in SYSTEM_HEADERS.items()}


@pytest.mark.parametrize("size", [0, 1000, 9 * MIB], ids=["empty", "buffered", "streamed"])
def test_system_headers_and_metadata(wire: Wire, bucket: str, server_name: str, size: int) -> None:
    """System headers and user metadata come back from HEAD and GET exactly as sent, and nothing of ours with them."""
    metadata = {
        "x-amz-meta-plain": "value",
        "x-amz-meta-inner--spaces": "two  spaces",
        "x-amz-meta-punctuation": 'a, b; c="d" %20+%2F',
        "x-amz-meta-utf-8": UTF8,
        "x-amz-meta-s4-codec": "passthrough",
        "X-Amz-Meta-S4-Original-Size": "1",
    }
    body = WORKLOADS["log"](9 * MIB)[:size]
    path = path_of(bucket, "key")
    assert wire.request("PUT", path, body, {**SYSTEM_HEADERS, **metadata}).status == 200
    kept = {name: as_shown(value, server_name) for name, value in metadata.items() if "s4-" not in name.lower()}
    sent = {**SYSTEM_HEADERS, **kept}
    for method in ("HEAD", "GET"):
        answer = wire.request(method, path)
        assert answer.body == (body if method == "GET" else b"")
        shown = {name: value for name, value in answer.headers.items() if name in SYSTEM_HEADERS or name.startswith("x-amz-meta-")}
        assert shown == sent
        assert answer.headers["content-length"] == str(size)


@pytest.mark.parametrize("name", ["content-disposition", "x-amz-meta-name"])
def test_headers_that_are_not_ascii(wire: Wire, bucket: str, server_name: str, name: str) -> None:
    """UTF-8 in a header value is kept byte for byte."""
    path = path_of(bucket, "key")
    value = f'attachment; filename="{UTF8}"'
    assert wire.request("PUT", path, b"body", {name: value}).status == 200
    expected = as_shown(value, server_name) if name.startswith("x-amz-meta-") else value
    assert wire.request("HEAD", path).headers[name] == expected
    assert wire.request("PUT", path_of(bucket, "copy"), headers={"x-amz-copy-source": path}).status == 200
    assert wire.request("GET", path_of(bucket, "copy")).headers[name] == expected


def test_multipart_keeps_headers_and_metadata(s3: Any, bucket: str) -> None:
    """What Create was given belongs to the finished object."""
    extra = {"ContentType": "text/x-log", "CacheControl": "no-store", "Metadata": {"mine": "kept", "s4-codec": "forged"}}
    upload = s3.create_multipart_upload(Bucket=bucket, Key="key", **extra)["UploadId"]
    part = s3.upload_part(Bucket=bucket, Key="key", UploadId=upload, PartNumber=1, Body=b"part")
    parts = {"Parts": [{"PartNumber": 1, "ETag": part["ETag"]}]}
    s3.complete_multipart_upload(Bucket=bucket, Key="key", UploadId=upload, MultipartUpload=parts)
    head = s3.head_object(Bucket=bucket, Key="key")
    assert (head["ContentType"], head["CacheControl"], head["Metadata"]) == ("text/x-log", "no-store", {"mine": "kept"})


@pytest.mark.parametrize("size", [1000, 9 * MIB], ids=["one frame", "framed"])
def test_response_overrides(wire: Wire, bucket: str, size: int) -> None:
    """response-* parameters replace the headers of one answer, in GET and HEAD, whole and ranged, and change nothing stored."""
    path = path_of(bucket, "key")
    wire.request("PUT", path, WORKLOADS["log"](size), {"content-type": "text/stored"})
    query = "&".join(f"{name}={quote(value, safe='')}" for name, value in sorted(OVERRIDES.items()))
    for method, headers in (("GET", {}), ("HEAD", {}), ("GET", {"range": "bytes=5-9"})):
        answer = wire.request(method, f"{path}?{query}", headers=headers)
        assert answer.status == (206 if headers else 200)
        assert {name: answer.headers[name] for name in SYSTEM_HEADERS} == SYSTEM_HEADERS
    assert wire.request("HEAD", path).headers["content-type"] == "text/stored"


@pytest.mark.parametrize("size", [50_000, 20 * MIB], ids=["small", "large"])
def test_compressed_content_is_left_alone(wire: Wire, bucket: str, size: int) -> None:
    """A body with Content-Encoding: gzip comes back as those very bytes under that very header, not decoded on any way."""
    body = gzip.compress(WORKLOADS["noise"](size // 2) + WORKLOADS["log"](size), 1)
    path = path_of(bucket, "page.gz")
    wire.request("PUT", path, body, {"content-encoding": "gzip"})
    answer = wire.request("GET", path)
    assert answer.headers["content-encoding"] == "gzip"
    assert hashlib.sha256(answer.body).digest() == hashlib.sha256(body).digest()
    assert answer.headers["content-length"] == str(len(body))
    assert wire.request("GET", path, headers={"range": "bytes=100-199", "accept-encoding": "gzip"}).body == body[100:200]


def test_client_framing_is_not_stored(s3: Any, wire: Wire, bucket: str) -> None:
    """aws-chunked is how a body travels, never how it is encoded; what else stands beside it stays."""
    signed = "STREAMING-UNSIGNED-PAYLOAD-TRAILER"
    framed = b"5\r\nhello\r\n0\r\nx-amz-checksum-crc32:NhCmhg==\r\n\r\n"
    headers = {
        "content-encoding": "gzip,aws-chunked",
        "x-amz-decoded-content-length": "5",
        "x-amz-trailer": "x-amz-checksum-crc32",
        "x-amz-sdk-checksum-algorithm": "CRC32",
    }
    assert wire.request("PUT", path_of(bucket, "key"), framed, headers, payload_hash=signed).status == 200
    answer = wire.request("GET", path_of(bucket, "key"))
    assert (answer.body, answer.headers["content-encoding"]) == (b"hello", "gzip")


# Bytes of user metadata that a client may send: the server's limit less 128 bytes for what the gateway keeps there itself. MinIO counts
# the prefix x-amz-meta- of every name too.
METADATA_LIMITS = {"embedded": 2048, "versitygw": 2048 - 128, "minio": 1696 - 128}


@pytest.mark.parametrize("size", [1000, 9 * MIB], ids=["buffered", "streamed"])
def test_metadata_limit(s3: Any, wire: Wire, bucket: str, server_name: str, size: int) -> None:
    """Metadata up to the limit is kept whole, with size and ETag of the object right; one byte more is MetadataTooLarge."""
    limit = METADATA_LIMITS[server_name]
    body = WORKLOADS["log"](size)
    fits = {f"n{number}": chr(97 + number) * 398 for number in range(limit // 400)}
    fits["rest"] = "r" * (limit - sum(len(name) + len(value) for name, value in fits.items()) - len("rest"))
    s3.put_object(Bucket=bucket, Key="fits", Body=body, Metadata=fits)
    answer = s3.get_object(Bucket=bucket, Key="fits")
    assert answer["Metadata"] == fits
    assert answer["Body"].read() == body
    assert answer["ETag"] == f'"{hashlib.md5(body).hexdigest()}"'
    assert s3.list_objects_v2(Bucket=bucket)["Contents"][0]["Size"] == size
    refused = {f"x-amz-meta-{name}": value for name, value in {**fits, "rest": fits["rest"] + "r"}.items()}
    answer = wire.request("PUT", path_of(bucket, "above"), body, refused)
    assert (answer.status, answer.code) == (400, "MetadataTooLarge")
    assert wire.request("HEAD", path_of(bucket, "above")).status == 404


def test_what_is_not_built_is_refused_before_storing(wire: Wire, behind: Behind, bucket: str) -> None:
    """A header that asks for encryption, tags, locks or another class is 501, and nothing is stored."""
    for name, value in {
        "x-amz-server-side-encryption": "AES256",
        "x-amz-server-side-encryption-customer-algorithm": "AES256",
        "x-amz-tagging": "a=b",
        "x-amz-acl": "public-read",
        "x-amz-grant-read": 'uri="http://acs.amazonaws.com/groups/global/AllUsers"',
        "x-amz-object-lock-mode": "GOVERNANCE",
        "x-amz-object-lock-legal-hold": "ON",
        "x-amz-storage-class": "GLACIER",
        "x-amz-website-redirect-location": "/elsewhere",
    }.items():
        answer = wire.request("PUT", path_of(bucket, "key"), b"body", {name: value})
        assert (name, answer.status, answer.code) == (name, 501, "NotImplemented")
    assert behind.keys(bucket) == []
    harmless = {"x-amz-acl": "private", "x-amz-storage-class": "STANDARD"}
    assert wire.request("PUT", path_of(bucket, "key"), b"body", harmless).status == 200
