"""Multipart uploads of every mix: what clients see of them at each step, and what lies in the store."""

import hashlib
from base64 import b64encode
from typing import Any
from zlib import crc32

import awscrt.checksums
import pytest
from botocore.exceptions import ClientError
from clients.multipart import MIB, Upload, composite_etag, left_behind, put_parts
from clients.wire import Wire, path_of
from s4_codecs.testing.workloads import WORKLOADS
from servers.behind import Behind

LOG = WORKLOADS["log"](32 * MIB)
NOISE = WORKLOADS["noise"](32 * MIB)


def log(number: int, size: int = 5 * MIB) -> bytes:
    """Compressible bytes that differ from part to part."""
    return b"%05d" % number + LOG[number : number + size - 5]


def noise(number: int, size: int = 6 * MIB) -> bytes:
    """Bytes that do not compress."""
    return b"%05d" % number + NOISE[number : number + size - 5]


MIXES = {
    "one small": {1: b"only"},
    "one empty": {1: b""},
    "small compressible": {number: log(number) for number in range(1, 6)},
    "large compressible": {1: log(1, 16 * MIB), 2: log(2, 16 * MIB), 3: b"tail"},
    "incompressible": {1: noise(1), 2: noise(2), 3: noise(3, 100)},
    "small between large": {1: noise(1), 2: log(2), 3: noise(3), 4: noise(4)},
    "small first": {1: log(1), 2: noise(2), 3: log(3), 4: noise(4)},
    "large last": {1: log(1), 2: log(2), 3: noise(3, 8 * MIB)},
    "gaps": {3: log(3), 7: noise(7), 900: log(900), 4321: b"end"},
    "part 10000 small": {1: log(1), 2: noise(2), 10000: b"the last"},
    "part 10000 large": {1: noise(1), 9999: log(9999), 10000: noise(10000)},
    "only part 10000": {10000: noise(1)},
    "empty tail": {1: noise(1), 2: b""},
}


@pytest.mark.parametrize("mix", MIXES)
def test_mix(s3: Any, behind: Behind, bucket: str, mix: str) -> None:
    """ListParts, Complete, HEAD, GET, List and GetObjectAttributes agree on logical sizes and ETags; nothing is left in the store."""
    pieces = MIXES[mix]
    upload = Upload(s3, bucket, ContentType="text/mix")
    for number in sorted(pieces, key=lambda number: hashlib.md5(b"%d" % number).digest()):
        assert upload.part(number, pieces[number])["ETag"] == f'"{hashlib.md5(pieces[number]).hexdigest()}"'
    listed = [(part["PartNumber"], part["Size"], part["ETag"]) for part in upload.listed()]
    assert listed == [(number, len(pieces[number]), f'"{hashlib.md5(pieces[number]).hexdigest()}"') for number in sorted(pieces)]
    assert [(entry["Key"], entry["UploadId"]) for entry in s3.list_multipart_uploads(Bucket=bucket)["Uploads"]] == [("key", upload.id)]
    assert s3.list_objects_v2(Bucket=bucket)["KeyCount"] == 0
    etag = composite_etag([pieces[number] for number in sorted(pieces)])
    assert upload.complete()["ETag"] == etag
    body = b"".join(pieces[number] for number in sorted(pieces))
    head = s3.head_object(Bucket=bucket, Key="key")
    assert (head["ContentLength"], head["ETag"], head["ContentType"]) == (len(body), etag, "text/mix")
    answer = s3.get_object(Bucket=bucket, Key="key")
    assert hashlib.sha256(answer["Body"].read()).digest() == hashlib.sha256(body).digest()
    ((entry),) = s3.list_objects_v2(Bucket=bucket)["Contents"]
    assert (entry["Size"], entry["ETag"]) == (len(body), etag)
    attributes = s3.get_object_attributes(Bucket=bucket, Key="key", ObjectAttributes=["ETag", "ObjectSize", "ObjectParts"])
    assert (attributes["ETag"], attributes["ObjectSize"]) == (etag.strip('"'), len(body))
    assert attributes["ObjectParts"]["TotalPartsCount"] == len(pieces)
    assert "Uploads" not in s3.list_multipart_uploads(Bucket=bucket)
    assert (left_behind(behind.keys(bucket)), behind.uploads(bucket)) == ([], [])


def test_parts_uploaded_again(s3: Any, bucket: str) -> None:
    """The last upload of a part number is the one that ListParts shows and that its ETag selects, from small to large and back."""
    upload = Upload(s3, bucket)
    for body in (log(1), noise(2), log(3, 7 * MIB), noise(4), log(5)):
        upload.part(1, body)
    upload.part(2, b"old tail")
    upload.part(2, b"new tail")
    assert [(part["PartNumber"], part["Size"]) for part in upload.listed()] == [(1, 5 * MIB), (2, 8)]
    upload.complete()
    assert s3.get_object(Bucket=bucket, Key="key")["Body"].read() == log(5) + b"new tail"


def test_abort_leaves_nothing(s3: Any, behind: Behind, bucket: str) -> None:
    """After an abort there is no part, no record and no backend upload, and the id is unknown."""
    upload = Upload(s3, bucket)
    for number, body in enumerate((noise(1), log(2), b"tail"), 1):
        upload.part(number, body)
    upload.abort()
    assert (left_behind(behind.keys(bucket)), behind.uploads(bucket)) == ([], [])
    for step in (upload.complete, upload.listed, lambda: upload.part(1, b"late")):
        with pytest.raises(ClientError, match="NoSuchUpload"):
            step()
    assert "Uploads" not in s3.list_multipart_uploads(Bucket=bucket)
    assert "key" not in behind.keys(bucket)


def test_ids_of_others(s3: Any, bucket: str) -> None:
    """An id that never was, or that belongs to another key, is NoSuchUpload at every step."""
    upload = Upload(s3, bucket)
    upload.part(1, b"x")
    for key, upload_id in (("other", upload.id), ("key", "f" * 32), ("key", "no/such"), ("key", "../x")):
        address = {"Bucket": bucket, "Key": key, "UploadId": upload_id}
        steps = (
            lambda: s3.upload_part(**address, PartNumber=1, Body=b"x"),  # noqa: B023
            lambda: s3.complete_multipart_upload(**address, MultipartUpload=upload.manifest),  # noqa: B023
            lambda: s3.list_parts(**address),  # noqa: B023
            lambda: s3.abort_multipart_upload(**address),  # noqa: B023
        )
        for step in steps:
            with pytest.raises(ClientError, match="NoSuchUpload"):
                step()
    upload.complete()


def test_refused_completes(s3: Any, wire: Wire, bucket: str) -> None:
    """Wrong ETags, wrong order, parts that are too small and malformed lists are refused, and the upload goes on."""
    upload = Upload(s3, bucket)
    for number, body in enumerate((log(1), b"small", b"tail"), 1):
        upload.part(number, body)
    good = upload.manifest["Parts"]
    cases = (
        ("InvalidPart", [{**good[0], "ETag": '"0123456789abcdef0123456789abcdef"'}]),
        ("InvalidPart", [{**good[0], "PartNumber": 9}]),
        ("InvalidPartOrder", [good[1], good[0]]),
        ("InvalidPartOrder", [good[0], good[0]]),
        ("EntityTooSmall", good),
    )
    for code, parts in cases:
        with pytest.raises(ClientError, match=code):
            s3.complete_multipart_upload(**upload.address, MultipartUpload={"Parts": parts})
    path = path_of(bucket, "key", f"uploadId={upload.id}")
    rows = "".join(f"<Part><PartNumber>{number}</PartNumber><ETag>x</ETag></Part>" for number in range(1, 10002))
    for document in ("", "<nonsense", "<CompleteMultipartUpload/>", f"<CompleteMultipartUpload>{rows}</CompleteMultipartUpload>"):
        answer = wire.request("POST", path, document.encode())
        assert (answer.status, answer.code) == (400, "MalformedXML")
    s3.complete_multipart_upload(**upload.address, MultipartUpload={"Parts": [good[0], good[2]]})
    assert s3.get_object(Bucket=bucket, Key="key")["Body"].read() == log(1) + b"tail"


@pytest.mark.parametrize("number", ["0", "10001", "-1", "x", ""])
def test_part_numbers_out_of_range(s3: Any, wire: Wire, bucket: str, number: str) -> None:
    """Part numbers are 1 to 10,000."""
    upload = Upload(s3, bucket)
    answer = wire.request("PUT", path_of(bucket, "key", f"partNumber={number}&uploadId={upload.id}"), b"x")
    assert (answer.status, answer.code) == (400, "InvalidArgument")


def test_list_parts_in_pages(s3: Any, bucket: str) -> None:
    """MaxParts and PartNumberMarker page through the parts."""
    upload = Upload(s3, bucket)
    for number in (1, 2, 5, 10, 100, 1000, 10000):
        upload.part(number, b"x" * number)
    seen, marker = [], 0
    while True:
        page = s3.list_parts(**upload.address, MaxParts=3, PartNumberMarker=marker)
        seen.append([(part["PartNumber"], part["Size"]) for part in page["Parts"]])
        if not page["IsTruncated"]:
            break
        marker = page["NextPartNumberMarker"]
    assert seen == [[(1, 1), (2, 2), (5, 5)], [(10, 10), (100, 100), (1000, 1000)], [(10000, 10000)]]


def test_list_uploads(s3: Any, bucket: str) -> None:
    """ListMultipartUploads shows the uploads that are open, in order, under their prefix, and in pages."""
    keys = ["a", "b/1", "b/2", "c c", "ü"]
    uploads = {key: Upload(s3, bucket, key) for key in keys}
    pages = s3.get_paginator("list_multipart_uploads").paginate(Bucket=bucket, PaginationConfig={"PageSize": 2})
    assert [entry["Key"] for page in pages for entry in page["Uploads"]] == keys
    assert [entry["Key"] for entry in s3.list_multipart_uploads(Bucket=bucket, Prefix="b/")["Uploads"]] == ["b/1", "b/2"]
    grouped = s3.list_multipart_uploads(Bucket=bucket, Delimiter="/")
    assert [entry["Prefix"] for entry in grouped["CommonPrefixes"]] == ["b/"]
    uploads["c c"].abort()
    assert [entry["Key"] for entry in s3.list_multipart_uploads(Bucket=bucket)["Uploads"]] == ["a", "b/1", "b/2", "ü"]


def test_part_copy(s3: Any, bucket: str) -> None:
    """UploadPartCopy takes the logical bytes of its source, ranges and conditions included, whatever that is stored as."""
    source = log(1, 12 * MIB)
    etag = s3.put_object(Bucket=bucket, Key="so urce/ü", Body=source)["ETag"]
    upload = Upload(s3, bucket)
    steps = ({}, {"CopySourceRange": f"bytes=100-{6 * MIB}"}, {"CopySourceRange": "bytes=7-7", "CopySourceIfMatch": etag})
    for number, extra in enumerate(steps, 1):
        answer = s3.upload_part_copy(**upload.address, PartNumber=number, CopySource={"Bucket": bucket, "Key": "so urce/ü"}, **extra)
        upload.parts[number] = {"PartNumber": number, "ETag": answer["CopyPartResult"]["ETag"]}
    for extra in ({"CopySourceIfMatch": '"other"'}, {"CopySourceIfNoneMatch": etag}):
        with pytest.raises(ClientError, match="PreconditionFailed"):
            s3.upload_part_copy(**upload.address, PartNumber=4, CopySource={"Bucket": bucket, "Key": "so urce/ü"}, **extra)
    with pytest.raises(ClientError, match=r"InvalidRange|InvalidArgument"):
        s3.upload_part_copy(
            **upload.address, PartNumber=4, CopySource={"Bucket": bucket, "Key": "so urce/ü"}, CopySourceRange=f"bytes=0-{12 * MIB}"
        )
    upload.complete()
    assert s3.get_object(Bucket=bucket, Key="key")["Body"].read() == source + source[100 : 6 * MIB + 1] + source[7:8]


def base64_crc(name: str, data: bytes) -> str:
    """A CRC as S3 writes it."""
    functions = {"CRC32": (crc32, 4), "CRC32C": (awscrt.checksums.crc32c, 4), "CRC64NVME": (awscrt.checksums.crc64nvme, 8)}
    function, width = functions[name]
    return b64encode(function(data).to_bytes(width, "big")).decode()


@pytest.mark.parametrize("name", ["CRC32", "CRC32C", "CRC64NVME"])
def test_checksum_of_the_full_object(s3: Any, bucket: str, name: str) -> None:
    """Full-object CRCs of an upload are those of its bytes, and are told by Complete, HEAD, GET and GetObjectAttributes."""
    pieces = [log(1), noise(2), log(3), b"tail"]
    upload = Upload(s3, bucket, ChecksumAlgorithm=name, ChecksumType="FULL_OBJECT")
    for number, piece in enumerate(pieces, 1):
        assert upload.part(number, piece, ChecksumAlgorithm=name)[f"Checksum{name}"] == base64_crc(name, piece)
    assert [part[f"Checksum{name}"] for part in upload.listed()] == [base64_crc(name, piece) for piece in pieces]
    whole = base64_crc(name, b"".join(pieces))
    with pytest.raises(ClientError, match=r"BadDigest|InvalidRequest"):
        upload.complete(**{f"Checksum{name}": base64_crc(name, b"other"), "ChecksumType": "FULL_OBJECT"})
    done = upload.complete(**{f"Checksum{name}": whole, "ChecksumType": "FULL_OBJECT"})
    assert (done[f"Checksum{name}"], done["ChecksumType"]) == (whole, "FULL_OBJECT")
    head = s3.head_object(Bucket=bucket, Key="key", ChecksumMode="ENABLED")
    assert (head[f"Checksum{name}"], head["ChecksumType"]) == (whole, "FULL_OBJECT")
    answer = s3.get_object(Bucket=bucket, Key="key", ChecksumMode="ENABLED")
    assert answer["Body"].read() == b"".join(pieces)
    assert answer[f"Checksum{name}"] == whole
    attributes = s3.get_object_attributes(Bucket=bucket, Key="key", ObjectAttributes=["Checksum"])
    assert attributes["Checksum"][f"Checksum{name}"] == whole


@pytest.mark.parametrize("name", ["CRC32", "CRC32C", "SHA1", "SHA256"])
def test_composite_checksum(s3: Any, bucket: str, name: str) -> None:
    """Composite checksums are those of the parts' checksums, with the number of parts behind."""
    functions = {
        "CRC32": lambda data: crc32(data).to_bytes(4, "big"),
        "CRC32C": lambda data: awscrt.checksums.crc32c(data).to_bytes(4, "big"),
        "SHA1": lambda data: hashlib.sha1(data).digest(),
        "SHA256": lambda data: hashlib.sha256(data).digest(),
    }
    pieces = [log(1), noise(2), b"tail"]
    upload = Upload(s3, bucket, ChecksumAlgorithm=name, ChecksumType="COMPOSITE")
    for number, piece in enumerate(pieces, 1):
        upload.part(number, piece, ChecksumAlgorithm=name)
    expected = b64encode(functions[name](b"".join(functions[name](piece) for piece in pieces))).decode() + "-3"
    done = upload.complete()
    assert (done[f"Checksum{name}"], done["ChecksumType"]) == (expected, "COMPOSITE")
    head = s3.head_object(Bucket=bucket, Key="key", ChecksumMode="ENABLED")
    assert (head[f"Checksum{name}"], head["ChecksumType"]) == (expected, "COMPOSITE")
    parts = s3.get_object_attributes(Bucket=bucket, Key="key", ObjectAttributes=["ObjectParts"])["ObjectParts"]["Parts"]
    assert [(part["PartNumber"], part["Size"]) for part in parts] == [(1, 5 * MIB), (2, 6 * MIB), (3, 4)]
    assert [part[f"Checksum{name}"] for part in parts] == [b64encode(functions[name](piece)).decode() for piece in pieces]


def test_object_size_promised_at_the_end(s3: Any, bucket: str) -> None:
    """x-amz-mp-object-size has to be the size of the object."""
    upload = Upload(s3, bucket)
    upload.part(1, b"12345")
    with pytest.raises(ClientError, match="InvalidRequest"):
        upload.complete(MpuObjectSize=6)
    upload.complete(MpuObjectSize=5)


def test_stored_size_does_not_depend_on_parts(s3: Any, behind: Behind, bucket: str) -> None:
    """64 MiB of log in 8 MiB parts take at most 2 % more room than in one PUT."""
    data = WORKLOADS["log"](64 * MIB)
    s3.put_object(Bucket=bucket, Key="single", Body=data)
    put_parts(s3, bucket, "parts", [data[start : start + 8 * MIB] for start in range(0, len(data), 8 * MIB)])
    assert s3.get_object(Bucket=bucket, Key="parts")["Body"].read() == data
    single, parts = behind.size(bucket, "single"), behind.size(bucket, "parts")
    assert parts <= single * 1.02, f"{parts} bytes in parts, {single} in one"
    assert single < len(data) / 4.5


@pytest.mark.servers("versitygw", "minio")
def test_a_thousand_small_parts(s3: Any, wire: Wire, behind: Behind, bucket: str) -> None:
    """1,000 parts, all of them staged because they compress to almost nothing, become one object; every border is right."""
    upload = Upload(s3, bucket)
    size, count = 5 * MIB, 1000
    rest = bytes(size - 5)
    digests = []
    for number in range(1, count + 1):
        body = b"%05d" % number + rest
        path = path_of(bucket, "key", f"partNumber={number}&uploadId={upload.id}")
        answer = wire.request("PUT", path, body, payload_hash="UNSIGNED-PAYLOAD")
        assert answer.status == 200, answer.body
        upload.parts[number] = {"PartNumber": number, "ETag": str(answer.etag)}
        digests.append(bytes.fromhex(str(answer.etag).strip('"')))
    assert hashlib.md5(b"%05d" % 77 + rest).digest() == digests[76]
    assert [part["Size"] for part in upload.listed()] == [size] * count
    assert upload.complete()["ETag"] == f'"{hashlib.md5(b"".join(digests)).hexdigest()}-{count}"'
    assert s3.head_object(Bucket=bucket, Key="key")["ContentLength"] == size * count
    for number in (1, 2, 3, 99, 500, 999, 1000):
        start = (number - 1) * size
        answer = wire.request("GET", path_of(bucket, "key"), headers={"range": f"bytes={max(0, start - 5)}-{start + 9}"})
        assert answer.body == (bytes(5) if number > 1 else b"") + b"%05d" % number + bytes(5)
    assert s3.head_object(Bucket=bucket, Key="key", PartNumber=1000)["ContentLength"] == size
    assert behind.size(bucket, "key") < 16 * MIB
    assert (left_behind(behind.keys(bucket)), behind.uploads(bucket)) == ([], [])
