"""Ranged reads of what we wrote, of what the reference wrote, and of what neither did."""

import hashlib
import random
from typing import Any

import pytest
from botocore.exceptions import ClientError
from clients.multipart import put_parts
from clients.wire import Wire, path_of
from s4_codecs.testing.workloads import WORKLOADS
from servers.behind import Behind, Stored

MIB = 2**20
LOG = WORKLOADS["log"](20 * MIB)
OBJECTS = {
    "raw": WORKLOADS["noise"](100_000),
    "one frame": LOG[:300_000],
    "framed": LOG[: 7 * MIB + 13],
    "streamed": LOG,
    "passthrough frames": WORKLOADS["noise"](12 * MIB) + b"end",
    "one byte": b"x",
}


def cases(size: int) -> dict[str, tuple[int, int] | None]:
    """Range header -> the bytes [start, stop) that answer it; None = unsatisfiable."""
    last = size - 1
    found: dict[str, tuple[int, int] | None] = {
        "bytes=0-0": (0, 1),
        "bytes=0-": (0, size),
        f"bytes=0-{last}": (0, size),
        f"bytes=0-{size * 2}": (0, size),
        f"bytes={last}-": (last, size),
        f"bytes={last}-{last}": (last, size),
        "bytes=-1": (last, size),
        f"bytes=-{size}": (0, size),
        f"bytes=-{size + 1000}": (0, size),
        f"bytes={size}-": None,
        f"bytes={size}-{size + 10}": None,
        "bytes=-0": None,
    }
    generator = random.Random(size)
    for _ in range(20):
        start = generator.randrange(size)
        stop = min(size, start + generator.choice((1, 100, 65_536, MIB, 3 * MIB)))
        found[f"bytes={start}-{stop - 1}"] = (start, stop)
    for border in (MIB, 4 * MIB, 8 * MIB):
        if border + 10 < size:
            found[f"bytes={border - 10}-{border + 9}"] = (border - 10, border + 10)
    return found


def check_ranges(wire: Wire, path: str, body: bytes) -> None:
    """Every case of `cases`, by GET and by HEAD."""
    for value, span in cases(len(body)).items():
        for method in ("GET", "HEAD"):
            answer = wire.request(method, path, headers={"range": value})
            if span is None:
                assert (value, answer.status) == (value, 416)
                assert answer.headers["content-range"] == f"bytes */{len(body)}"
                assert method == "HEAD" or answer.code == "InvalidRange"
                continue
            start, stop = span
            assert (value, answer.status) == (value, 206)
            assert answer.headers["content-range"] == f"bytes {start}-{stop - 1}/{len(body)}"
            assert answer.headers["content-length"] == str(stop - start)
            if method == "GET":
                assert answer.body == body[start:stop], value


@pytest.mark.parametrize("name", OBJECTS)
def test_every_form(wire: Wire, bucket: str, name: str) -> None:
    """Each form of RFC 9110 gives its bytes, or 416 with the true size."""
    path = path_of(bucket, "key")
    assert wire.request("PUT", path, OBJECTS[name]).status == 200
    check_ranges(wire, path, OBJECTS[name])


def test_multipart(s3: Any, wire: Wire, bucket: str) -> None:
    """The same on parts of several kinds: small, compressible, incompressible."""
    pieces = [LOG[: 5 * MIB], WORKLOADS["noise"](6 * MIB), LOG[5 * MIB : 10 * MIB], b"the end"]
    put_parts(s3, bucket, "key", pieces)
    check_ranges(wire, path_of(bucket, "key"), b"".join(pieces))


@pytest.mark.parametrize("size", [1000, 3 * MIB])
def test_foreign_objects(wire: Wire, behind: Behind, bucket: str, size: int) -> None:
    """An object that no gateway wrote is read as it is, ranges included."""
    behind.put(bucket, "foreign", Stored(LOG[:size], {"mine": "1"}, "text/plain"))
    path = path_of(bucket, "foreign")
    answer = wire.request("GET", path)
    assert (answer.status, answer.body, answer.headers["x-amz-meta-mine"]) == (200, LOG[:size], "1")
    assert answer.etag == f'"{hashlib.md5(LOG[:size]).hexdigest()}"'
    check_ranges(wire, path, LOG[:size])


@pytest.mark.parametrize("value", ["bytes=5-2", "bytes=a-b", "bytes=", "items=0-5", "bytes=0-5,10-15", "bytes=-"])
def test_ranges_that_are_ignored(wire: Wire, bucket: str, value: str) -> None:
    """What is malformed, of another unit, or several ranges in one is ignored: 200 and everything."""
    wire.request("PUT", path_of(bucket, "key"), b"0123456789" * 10)
    answer = wire.request("GET", path_of(bucket, "key"), headers={"range": value})
    assert (answer.status, answer.body) == (200, b"0123456789" * 10)


def test_empty_object(wire: Wire, bucket: str) -> None:
    """No byte of an empty object can be asked for."""
    wire.request("PUT", path_of(bucket, "key"))
    for value in ("bytes=0-", "bytes=0-0", "bytes=-1"):
        answer = wire.request("GET", path_of(bucket, "key"), headers={"range": value})
        assert (value, answer.status) == (value, 416)
        assert answer.headers["content-range"] == "bytes */0"


@pytest.mark.parametrize("size", [1000, 9 * MIB])
def test_if_range(wire: Wire, bucket: str, size: int) -> None:
    """If-Range gives the range while the object is the one named, by ETag or date, and else the whole."""
    path = path_of(bucket, "key")
    etag = wire.request("PUT", path, LOG[:size]).etag
    modified = wire.request("HEAD", path).headers["last-modified"]
    for value, status in (
        (etag, 206),
        (modified, 206),
        ('"0123"', 200),
        (f"W/{etag}", 200),
        ("Wed, 21 Oct 2015 07:28:00 GMT", 200),
    ):
        answer = wire.request("GET", path, headers={"range": "bytes=10-19", "if-range": str(value)})
        assert (value, answer.status) == (value, status)
        assert answer.body == (LOG[10:20] if status == 206 else LOG[:size])


def test_part_numbers(s3: Any, wire: Wire, bucket: str) -> None:
    """partNumber counts the client's parts, whatever the parts of the backend are."""
    pieces = [LOG[: 5 * MIB], LOG[5 * MIB : 10 * MIB + 1], WORKLOADS["noise"](5 * MIB), b"tail"]
    put_parts(s3, bucket, "key", pieces)
    whole = b"".join(pieces)
    start = 0
    for number, piece in enumerate(pieces, 1):
        answer = s3.get_object(Bucket=bucket, Key="key", PartNumber=number)
        assert answer["Body"].read() == piece
        assert answer["ContentRange"] == f"bytes {start}-{start + len(piece) - 1}/{len(whole)}"
        head = s3.head_object(Bucket=bucket, Key="key", PartNumber=number)
        assert (head["ContentLength"], head["PartsCount"]) == (len(piece), 4)
        start += len(piece)
    answer = wire.request("GET", path_of(bucket, "key", "partNumber=5"))
    assert (answer.status, answer.code) == (416, "InvalidPartNumber")
    s3.put_object(Bucket=bucket, Key="single", Body=b"0123456789")
    assert s3.get_object(Bucket=bucket, Key="single", PartNumber=1)["Body"].read() == b"0123456789"
    with pytest.raises(ClientError, match="416"):
        s3.head_object(Bucket=bucket, Key="single", PartNumber=2)
    answer = wire.request("GET", path_of(bucket, "key", "partNumber=1"), headers={"range": "bytes=0-1"})
    assert (answer.status, answer.code) == (400, "InvalidRequest")
