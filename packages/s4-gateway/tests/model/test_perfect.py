"""The perfect S3 itself: what the S3 API reference says, in examples."""

import hashlib

from .perfect import PerfectS3
from .uploads import Rules
from .values import Reply, Request

MIN_PART = 10


def service(*keys: str) -> PerfectS3:
    """With a bucket, and an object at each key that holds its own name."""
    s3 = PerfectS3(Rules(MIN_PART), now=1_700_000_000)
    assert s3.answer(Request("PUT", "bucket")).status == 200
    for key in keys:
        assert s3.answer(Request("PUT", "bucket", key, body=key.encode())).status == 200
    return s3


def said(reply: Reply, *path: str) -> list[object]:
    """Texts, or children, of all elements at a path."""
    found: list[object] = [reply.body]
    for name in ("", *path):
        found = [child for node in found for child in (node[1] if name else [node]) if not name or child[0] == name]  # type: ignore[index]
    return [node[1] for node in found]  # type: ignore[index]


def listed(s3: PerfectS3, **query: str) -> tuple[list[object], list[object], list[object]]:
    """(keys, common prefixes, whether it is truncated) of a ListObjectsV2; underscores are dashes."""
    reply = s3.answer(
        Request("GET", "bucket", query={"list-type": "2", **{name.replace("_", "-"): value for name, value in query.items()}})
    )
    return said(reply, "Contents", "Key"), said(reply, "CommonPrefixes", "Prefix"), said(reply, "IsTruncated")


def test_listing_by_prefix_and_delimiter() -> None:
    """The example of the user guide: photos by year."""
    s3 = service("sample.jpg", "photos/2006/January/sample.jpg", "photos/2006/February/sample2.jpg", "photos/2006/February/sample3.jpg")
    assert listed(s3, delimiter="/") == (["sample.jpg"], ["photos/"], ["false"])
    assert listed(s3, delimiter="/", prefix="photos/2006/") == ([], ["photos/2006/February/", "photos/2006/January/"], ["false"])
    assert listed(s3, max_keys="1") == (["photos/2006/February/sample2.jpg"], [], ["true"])
    assert listed(s3, start_after="photos/2006/January/sample.jpg") == (["sample.jpg"], [], ["false"])


def test_order_of_keys_is_that_of_their_bytes() -> None:
    """A character outside of the basic plane comes last, although its UTF-16 does not."""
    assert listed(service("\U0001f600", "\uffee", "B", "a"))[0] == ["B", "a", "\uffee", "\U0001f600"]


def test_ranges() -> None:
    """RFC 9110, 14.1.2: first and last byte, suffixes, and what holds no byte."""
    s3 = service("0123456789")
    expected = {
        "bytes=0-4": (206, b"01234", "bytes 0-4/10"),
        "bytes=5-": (206, b"56789", "bytes 5-9/10"),
        "bytes=-3": (206, b"789", "bytes 7-9/10"),
        "bytes=-30": (206, b"0123456789", "bytes 0-9/10"),
        "bytes=8-99": (206, b"89", "bytes 8-9/10"),
        "bytes=5-2": (200, b"0123456789", None),
    }
    for value, (status, body, content_range) in expected.items():
        reply = s3.answer(Request("GET", "bucket", "0123456789", headers={"range": value}))
        assert (reply.status, reply.body, reply.headers.get("content-range")) == (status, body, content_range)
    for value in ("bytes=10-", "bytes=-0"):
        reply = s3.answer(Request("GET", "bucket", "0123456789", headers={"range": value}))
        assert (reply.status, reply.code, reply.headers["content-range"]) == (416, "InvalidRange", "bytes */10")


def test_conditions_of_reads() -> None:
    """As the API reference of GetObject has it: an ETag condition puts the date condition beside it out of force."""
    s3 = service("key")
    etag = f'"{hashlib.md5(b"key").hexdigest()}"'
    earlier, now = "Tue, 14 Nov 2023 22:13:19 GMT", "Tue, 14 Nov 2023 22:13:20 GMT"
    expected = [
        ({"if-match": etag, "if-unmodified-since": earlier}, 200),
        ({"if-none-match": etag, "if-modified-since": earlier}, 304),
        ({"if-unmodified-since": earlier}, 412),
        ({"if-modified-since": now}, 304),
        ({"if-none-match": '"x"', "if-modified-since": now}, 200),
        ({"if-match": '"x"'}, 412),
    ]
    for headers, status in expected:
        assert s3.answer(Request("GET", "bucket", "key", headers=headers)).status == status, headers


def test_conditions_of_writes() -> None:
    """If-None-Match: * wants nothing there, If-Match this very object."""
    s3 = service("key")
    etag = hashlib.md5(b"key").hexdigest()
    for headers, key, status in (
        ({"if-none-match": "*"}, "key", 412),
        ({"if-none-match": "*"}, "new", 200),
        ({"if-match": f'"{etag}"'}, "key", 200),
        ({"if-match": '"x"'}, "key", 412),
        ({"if-match": f'"{etag}"'}, "none", 404),
    ):
        assert s3.answer(Request("PUT", "bucket", key, headers=headers, body=b"key")).status == status, headers


def complete(s3: PerfectS3, *parts: tuple[int, bytes]) -> Reply:
    """A manifest of parts."""
    rows = "".join(f"<Part><PartNumber>{number}</PartNumber><ETag>{hashlib.md5(body).hexdigest()}</ETag></Part>" for number, body in parts)
    xml = f"<CompleteMultipartUpload>{rows}</CompleteMultipartUpload>".encode()
    return s3.answer(Request("POST", "bucket", "key", {"uploadId": "id"}, body=xml))


def test_multipart_upload() -> None:
    """Refusals of Complete leave the upload as it is; its ETag is that of the parts' MD5s; afterwards the upload is gone."""
    s3 = service()
    first, second = b"1" * MIN_PART, b"2"
    assert s3.answer(Request("POST", "bucket", "key", {"uploads": ""}), upload_id="id").status == 200
    for number, body in ((2, second), (1, b"old"), (1, first)):
        assert s3.answer(Request("PUT", "bucket", "key", {"partNumber": str(number), "uploadId": "id"}, body=body)).status == 200
    assert complete(s3, (2, second), (1, first)).code == "InvalidPartOrder"
    assert complete(s3, (1, b"old"), (2, second)).code == "InvalidPart"
    assert complete(s3, (1, first), (3, second)).code == "InvalidPart"
    done = complete(s3, (1, first), (2, second))
    digest = hashlib.md5(hashlib.md5(first).digest() + hashlib.md5(second).digest()).hexdigest()
    assert said(done, "ETag") == [f'"{digest}-2"']
    assert s3.answer(Request("GET", "bucket", "key")).body == first + second
    part = s3.answer(Request("GET", "bucket", "key", {"partNumber": "2"}))
    assert (part.status, part.body, part.headers["x-amz-mp-parts-count"]) == (206, second, "2")
    assert s3.answer(Request("DELETE", "bucket", "key", {"uploadId": "id"})).code == "NoSuchUpload"


def test_small_parts() -> None:
    """Every part but the last has a least size."""
    s3 = service()
    s3.answer(Request("POST", "bucket", "key", {"uploads": ""}), upload_id="id")
    for number in (1, 2):
        s3.answer(Request("PUT", "bucket", "key", {"partNumber": str(number), "uploadId": "id"}, body=b"small"))
    assert complete(s3, (1, b"small"), (2, b"small")).code == "EntityTooSmall"
    assert complete(s3, (2, b"small")).status == 200


def test_buckets() -> None:
    """One with an object in it stays."""
    s3 = service("key")
    assert s3.answer(Request("DELETE", "bucket")).code == "BucketNotEmpty"
    assert s3.answer(Request("DELETE", "bucket", "key")).status == 204
    assert s3.answer(Request("DELETE", "bucket")).status == 204
    assert s3.answer(Request("GET", "bucket", "key")).code == "NoSuchBucket"
