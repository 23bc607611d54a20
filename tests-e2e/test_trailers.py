"""Bodies that end in somebody's trailer: forged, foreign, wrong, or in place of our own."""

from typing import Any

import pytest
from clients.multipart import MIB, put_parts
from clients.wire import Wire, path_of
from s4_codecs.testing.workloads import WORKLOADS
from servers.behind import Behind, Stored

LOG = WORKLOADS["log"](12 * MIB)


@pytest.fixture
def with_trailer(s3: Any, behind: Behind, bucket: str) -> Stored:
    """A stored body of ours that ends in a trailer, and its metadata."""
    s3.put_object(Bucket=bucket, Key="original", Body=LOG)
    stored = behind.get(bucket, "original")
    assert stored.body.endswith(b"S4T1")
    assert stored.metadata["s4-trailer"] == "1"
    return stored


def whole_and_ranges(s3: Any, bucket: str, key: str, body: bytes) -> None:
    """HEAD, GET, List and ranges all show `body`."""
    assert s3.head_object(Bucket=bucket, Key=key)["ContentLength"] == len(body)
    assert s3.get_object(Bucket=bucket, Key=key)["Body"].read() == body
    assert s3.get_object(Bucket=bucket, Key=key, Range="bytes=-40")["Body"].read() == body[-40:]
    assert s3.get_object(Bucket=bucket, Key=key, Range="bytes=100-199")["Body"].read() == body[100:200]
    sizes = {entry["Key"]: entry["Size"] for entry in s3.list_objects_v2(Bucket=bucket)["Contents"]}
    assert sizes[key] == len(body)


def test_a_forged_trailer_in_a_put(s3: Any, bucket: str, with_trailer: Stored) -> None:
    """A client's file that is itself a stored body of ours is kept as the file that it is."""
    s3.put_object(Bucket=bucket, Key="forged", Body=with_trailer.body, Metadata=dict(with_trailer.metadata))
    whole_and_ranges(s3, bucket, "forged", with_trailer.body)
    s3.put_object(Bucket=bucket, Key="small", Body=with_trailer.body[-3000:])
    whole_and_ranges(s3, bucket, "small", with_trailer.body[-3000:])


@pytest.mark.parametrize("first", [LOG[: 5 * MIB], WORKLOADS["noise"](6 * MIB)], ids=["staged", "direct"])
@pytest.mark.parametrize("length", [700, 0], ids=["end of it", "all of it"])
def test_a_forged_trailer_as_last_part(s3: Any, bucket: str, with_trailer: Stored, first: bytes, length: int) -> None:
    """The same for the last part of an upload, alone and behind parts of both kinds."""
    forged = with_trailer.body[-length:]
    put_parts(s3, bucket, "parts", [first, forged])
    whole_and_ranges(s3, bucket, "parts", first + forged)
    put_parts(s3, bucket, "alone", {10000: forged})
    whole_and_ranges(s3, bucket, "alone", forged)


def test_a_foreign_object_with_a_trailer(s3: Any, behind: Behind, bucket: str, with_trailer: Stored) -> None:
    """Without our metadata a stored body is what it is: bytes of somebody else."""
    behind.put(bucket, "foreign", Stored(with_trailer.body, {"mine": "1"}))
    whole_and_ranges(s3, bucket, "foreign", with_trailer.body)


@pytest.mark.parametrize("cut", [1, 3, 500])
def test_a_promised_trailer_that_is_not_there(wire: Wire, behind: Behind, bucket: str, with_trailer: Stored, cut: int) -> None:
    """Where metadata promises a trailer and none that is valid is there, every read is an error, never other bytes."""
    metadata = {name: value for name, value in with_trailer.metadata.items() if name not in ("s4-original-size", "s4-logical-etag")}
    behind.put(bucket, "broken", Stored(with_trailer.body[:-cut], metadata))
    for method, headers in (("HEAD", {}), ("GET", {}), ("GET", {"range": "bytes=0-9"})):
        answer = wire.request(method, path_of(bucket, "broken"), headers=headers)
        assert answer.status == 500
        assert method == "HEAD" or answer.code == "InternalError"


def test_a_trailer_of_another_body(wire: Wire, s3: Any, behind: Behind, bucket: str, with_trailer: Stored) -> None:
    """A trailer says where it lies and how long its body is; behind any other body it is invalid."""
    s3.put_object(Bucket=bucket, Key="other", Body=LOG[::-1])
    other = behind.get(bucket, "other")
    tail = len(with_trailer.body) - with_trailer.body.rindex(b"S4P1")
    behind.put(bucket, "mixed", Stored(other.body + with_trailer.body[-tail:], other.metadata))
    answer = wire.request("GET", path_of(bucket, "mixed"), headers={"range": "bytes=0-9"})
    assert (answer.status, answer.code) == (500, "InternalError")


def test_objects_keep_their_trailer_in_a_copy(s3: Any, behind: Behind, bucket: str, with_trailer: Stored) -> None:
    """A copy is the same stored body under metadata that still lead to its trailer, also onto itself."""
    s3.copy_object(Bucket=bucket, Key="copy", CopySource={"Bucket": bucket, "Key": "original"})
    assert behind.get(bucket, "copy").body == with_trailer.body
    whole_and_ranges(s3, bucket, "copy", LOG)
    s3.copy_object(
        Bucket=bucket, Key="copy", CopySource={"Bucket": bucket, "Key": "copy"}, MetadataDirective="REPLACE", Metadata={"new": "1"}
    )
    whole_and_ranges(s3, bucket, "copy", LOG)
    tokens = {behind.get(bucket, key).metadata["s4-write"] for key in ("original", "copy")}
    assert len(tokens) == 2
