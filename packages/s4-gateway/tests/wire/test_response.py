"""From results to HTTP answers."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from email.utils import parsedate_to_datetime
from typing import Any
from xml.etree import ElementTree as ET

import pytest

from s4_gateway.errors import ClientDisconnected, NotModified, S3Error
from s4_gateway.operations.results import CompletedUpload, Content, CopyDone, Empty, Location, PendingUpload, Result
from s4_gateway.wire.response import BodyLengthError, respond, respond_error

from .helpers import Receiver, Sender, iterate, parse

GET = parse("GET", "/bkt/k")
COMPLETED = CompletedUpload("bkt", "k", "e-1", "/bkt/k", headers={"x-amz-version-id": "v"})
BASE = {"x-amz-request-id", "server", "date"}


async def answer(result: Result, *, method: str = "GET", **options: Any) -> Sender:
    """What is sent for a result."""
    sender = Sender()
    await respond(sender, GET, result, method=method, **options)
    return sender


async def refuse(error: S3Error | NotModified, *, method: str = "GET", **options: Any) -> Sender:
    """What is sent for an error."""
    sender = Sender()
    await respond_error(sender, error, request_id="0123456789ABCDEF", resource="/bkt/<k>", method=method, **options)
    return sender


def content(*items: bytes | Exception, length: int | None = None, status: int = 200) -> Content:
    """An object's bytes, of the right length unless told."""
    total = sum(len(item) for item in items if isinstance(item, bytes))
    return Content(status, {"etag": '"e"', "x-amz-meta-a": "\xe9"}, total if length is None else length, iterate(*items))


async def test_every_answer_says_who_and_when() -> None:
    """Request id, server and date are on everything."""
    sender = await answer(Empty())
    assert sender.headers.keys() == BASE | {"content-length"}
    assert sender.headers["x-amz-request-id"] == GET.request_id
    assert sender.headers["server"] == "s4-gateway"
    assert abs(parsedate_to_datetime(sender.headers["date"]).timestamp() - time.time()) < 5
    assert sender.complete


async def test_empty_answers() -> None:
    """200 says that there is nothing; 204 says nothing about a length."""
    assert (await answer(Empty(200, {"etag": '"e"'}))).headers["content-length"] == "0"
    sender = await answer(Empty(204))
    assert (sender.status, sender.headers.keys(), sender.body) == (204, BASE, b"")


async def test_head_tells_the_length_without_the_body() -> None:
    """HEAD says how long the body would be."""
    sender = await answer(Empty(206, {"content-range": "bytes 0-6/9"}, content_length=7), method="HEAD")
    assert (sender.status, sender.headers["content-length"], sender.body) == (206, "7", b"")
    sender = await answer(content(b"abc"), method="HEAD")
    assert (sender.status, sender.headers["content-length"], sender.body) == (200, "3", b"")


async def test_content() -> None:
    """An object's bytes go out chunk by chunk under their exact length; header values keep their bytes."""
    sender = await answer(content(b"abc", b"", b"de", status=206))
    assert (sender.status, sender.body, sender.headers["content-length"]) == (206, b"abcde", "5")
    assert [body for body in sender.bodies if body] == [b"abc", b"de"]
    assert (b"x-amz-meta-a", b"\xe9") in sender.messages[0]["headers"]
    assert sender.complete


async def test_small_and_empty_content_is_two_messages() -> None:
    """One chunk goes out as head and whole body."""
    assert len((await answer(content(b"abc"))).messages) == 2
    sender = await answer(content())
    assert (len(sender.messages), sender.headers["content-length"], sender.complete) == (2, "0", True)


async def test_an_error_before_the_first_byte_is_still_an_answer() -> None:
    """Nothing was sent, so the error can be answered properly."""
    sender = Sender()
    with pytest.raises(S3Error):
        await respond(sender, GET, content(S3Error("SlowDown"), length=3), method="GET")
    assert sender.messages == []


@pytest.mark.parametrize(
    ("items", "length"),
    [
        ((b"abc", OSError("broken")), 6),
        ((b"abc", b"def", OSError("checksum")), 6),
        ((b"abc",), 6),
        ((b"abc", b"defg"), 6),
        ((b"abcdefg",), 6),
        ((b"x",), 0),
    ],
)
async def test_a_broken_body_never_ends_cleanly(items: tuple[bytes | Exception, ...], length: int) -> None:
    """An error at any place, even behind the last byte, and any wrong length leave the answer unfinished."""
    sender = Sender()
    with pytest.raises((OSError, BodyLengthError)):
        await respond(sender, GET, content(*items, length=length), method="GET")
    assert not sender.complete
    assert len(sender.body) < length or not length


class Chunks:
    """Chunks that know whether they were closed."""

    def __init__(self, *chunks: bytes) -> None:
        self.left = list(chunks)
        self.closed = 0

    def __aiter__(self) -> "Chunks":
        return self

    async def __anext__(self) -> bytes:
        if not self.left:
            raise StopAsyncIteration
        return self.left.pop(0)

    async def aclose(self) -> None:
        self.closed += 1


@pytest.mark.parametrize(("method", "length"), [("GET", 2), ("HEAD", 2), ("GET", 9)])
async def test_chunks_are_always_closed(method: str, length: int) -> None:
    """The producer is told when nobody reads on, however the answer ended."""
    chunks = Chunks(b"a", b"b")
    try:
        await answer(Content(200, {}, length, chunks), method=method)
    except BodyLengthError:
        assert length == 9
    assert chunks.closed == 1


async def test_chunks_are_closed_when_sending_fails() -> None:
    """Also when the server's own send fails."""

    async def send(_: Any) -> None:
        raise OSError("no connection")

    chunks = Chunks(b"a")
    with pytest.raises(OSError, match="no connection"):
        await respond(send, GET, Content(200, {}, 1, chunks), method="GET")
    assert chunks.closed == 1


async def endless(stopped: list[str]) -> AsyncIterator[bytes]:
    """Chunks without end, which tell how they were stopped."""
    try:
        while True:
            yield b"x"
            await asyncio.sleep(0)
    except BaseException as error:
        stopped.append(type(error).__name__)
        raise


async def test_a_client_that_leaves_stops_the_producer() -> None:
    """As soon as the client is gone no more is produced, and the answer ends as ClientDisconnected, not as a cancelled task."""
    left, stopped = asyncio.Event(), list[str]()

    class Leaving(Sender):
        async def __call__(self, message: Any) -> None:
            await super().__call__(message)
            if len(self.messages) == 5:
                left.set()

    async def gone() -> None:
        await left.wait()

    sender = Leaving()
    with pytest.raises(ClientDisconnected):
        await respond(sender, GET, Content(200, {}, 2**40, endless(stopped)), method="GET", gone=gone)
    assert len(sender.messages) < 10
    assert len(stopped) == 1
    task = asyncio.current_task()
    assert task is not None
    assert not task.cancelling()
    await asyncio.sleep(0)


async def test_the_watch_ends_with_the_body() -> None:
    """A finished answer leaves no task behind that listens to the connection."""
    cancelled = asyncio.Event()

    async def gone() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()

    async def slow() -> AsyncIterator[bytes]:
        yield b"a"
        await asyncio.sleep(0)
        yield b"b"

    assert (await answer(Content(200, {}, 2, slow()), gone=gone)).body == b"ab"
    await asyncio.wait_for(cancelled.wait(), 5)


async def test_a_cancelled_answer_stays_cancelled() -> None:
    """A shutdown is not taken for a client that left."""

    async def gone() -> None:
        await asyncio.Event().wait()

    stopped = list[str]()
    task = asyncio.create_task(respond(Sender(), GET, Content(200, {}, 2**40, endless(stopped)), method="GET", gone=gone))
    await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert len(stopped) == 1


async def test_documents() -> None:
    """A document has a declaration, its type and its length."""
    sender = await answer(Location("eu-west-1"))
    assert sender.body.startswith(b'<?xml version="1.0" encoding="UTF-8"?>\n<LocationConstraint ')
    assert sender.headers["content-type"] == "application/xml"
    assert sender.headers["content-length"] == str(len(sender.body))


async def test_headers_beside_documents() -> None:
    """Results with headers and a document send both."""
    assert (await answer(CopyDone("e", 0, headers={"x-amz-version-id": "v"}))).headers["x-amz-version-id"] == "v"


async def test_errors() -> None:
    """An error is a document with code, message, further fields, resource and request id, in S3's order."""
    sender = await refuse(S3Error("NoSuchKey", fields={"Key": "a&b"}, headers={"x-amz-delete-marker": "true"}))
    assert sender.status == 404
    assert sender.headers["x-amz-delete-marker"] == "true"
    assert sender.headers["content-length"] == str(len(sender.body))
    assert "connection" not in sender.headers
    root = ET.fromstring(sender.body)
    assert [(child.tag, child.text) for child in root] == [
        ("Code", "NoSuchKey"),
        ("Message", "The specified key does not exist."),
        ("Key", "a&b"),
        ("Resource", "/bkt/<k>"),
        ("RequestId", "0123456789ABCDEF"),
    ]


async def test_errors_of_head_have_no_body() -> None:
    """HEAD gets the status and all headers, and not a byte more."""
    sender = await refuse(S3Error("InvalidRange", headers={"content-range": "bytes */5"}), method="HEAD")
    assert (sender.status, sender.body, sender.complete) == (416, b"", True)
    assert sender.headers["content-range"] == "bytes */5"
    assert "content-length" not in sender.headers


async def test_not_modified() -> None:
    """304 has the validator and no body, no type, no length."""
    sender = await refuse(NotModified({"etag": '"e"'}))
    assert (sender.status, sender.body) == (304, b"")
    assert sender.headers.keys() == BASE | {"etag"}


@pytest.mark.parametrize("error", [S3Error("NoSuchBucket"), S3Error("AccessDenied", close=True)])
async def test_unread_bodies_close_the_connection(error: S3Error) -> None:
    """Whoever knows of the unread body, the connection is closed."""
    assert (await refuse(error, close=not error.close)).headers["connection"] == "close"
    assert (await answer(Empty(), close=True)).headers["connection"] == "close"


async def test_lingering_comes_between_answer_and_close() -> None:
    """The whole answer is out before we wait, and it ends after; without a close nobody waits."""
    sender, seen = Sender(), []

    async def linger() -> None:
        seen.append((sender.body.endswith(b"</Error>"), sender.complete))

    options = {"request_id": "0", "resource": "/", "method": "PUT", "linger": linger}
    await respond_error(sender, S3Error("AccessDenied", close=True), **options)
    assert seen == [(True, False)]
    assert sender.complete
    await respond_error(Sender(), S3Error("AccessDenied"), **options)
    assert len(seen) == 1


@pytest.mark.parametrize("value", ["a\r\nset-cookie: b", "a\nb"])
async def test_line_breaks_never_reach_the_head(value: str) -> None:
    """A header with a line break is a defect and sends nothing."""
    sender = Sender()
    with pytest.raises(ValueError, match="line break"):
        await respond(sender, GET, Empty(200, {"x-amz-meta-a": value}), method="GET")
    assert sender.messages == []


def pending(done: Callable[[], Any], seconds: float = 0.0) -> PendingUpload:
    """An upload that ends after so long."""

    async def wait() -> CompletedUpload:
        await asyncio.sleep(seconds)
        result = done()
        assert isinstance(result, CompletedUpload)
        return result

    return PendingUpload(wait(), headers={"x-amz-meta-early": "1"})


def failing(error: Exception) -> Callable[[], Any]:
    """Something that fails."""

    def fail() -> Any:
        raise error

    return fail


async def test_a_quick_upload_is_answered_like_anything_else() -> None:
    """What ends at once has a length and all its headers."""
    sender = await answer(pending(lambda: COMPLETED))
    assert sender.headers["content-length"] == str(len(sender.body))
    assert sender.headers["x-amz-version-id"] == "v"
    assert sender.headers["x-amz-meta-early"] == "1"
    with pytest.raises(S3Error, match="InvalidPart"):
        await answer(pending(failing(S3Error("InvalidPart"))))


async def test_a_slow_upload_shows_signs_of_life() -> None:
    """First the declaration, then spaces, then the document: together they are XML."""
    sender = await answer(pending(lambda: COMPLETED, 0.2), heartbeat_seconds=0.02)
    assert sender.status == 200
    assert "content-length" not in sender.headers
    assert sender.headers["content-type"] == "application/xml"
    assert sender.bodies[0].startswith(b"<?xml")
    assert sender.bodies[1:-1].count(b" ") == len(sender.bodies) - 2 >= 2
    assert ET.fromstring(sender.body).tag.endswith("CompleteMultipartUploadResult")
    assert sender.complete


async def test_a_slow_upload_that_fails_says_so_in_its_body() -> None:
    """Behind a 200 the error document is all that is left; it names the request as every other."""
    sender = await answer(pending(failing(S3Error("InternalError", fields={"A": "b"})), 0.1), heartbeat_seconds=0.02)
    root = ET.fromstring(sender.body)
    assert (sender.status, root.tag, root.findtext("Code"), root.findtext("RequestId"), root.findtext("A")) == (
        200,
        "Error",
        "InternalError",
        GET.request_id,
        "b",
    )


async def test_a_slow_upload_that_breaks_is_broken_off() -> None:
    """A defect behind the 200 must not look like an end."""
    sender = Sender()
    with pytest.raises(OSError, match="defect"):
        await respond(sender, GET, pending(failing(OSError("defect")), 0.1), method="POST", heartbeat_seconds=0.02)
    assert not sender.complete


async def test_a_commit_outlives_its_client() -> None:
    """Cancelling the answer does not cancel the upload."""
    finished = asyncio.Event()

    async def work() -> CompletedUpload:
        await asyncio.sleep(0.05)
        finished.set()
        return COMPLETED

    work_task = asyncio.create_task(work())
    task = asyncio.create_task(respond(Sender(), GET, PendingUpload(work_task), method="POST"))
    await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await asyncio.wait_for(finished.wait(), 5)
    assert await work_task is COMPLETED


def test_helpers_do_not_swallow() -> None:
    """A receiver with nothing left fails loudly."""
    with pytest.raises(IndexError):
        asyncio.run(Receiver()())
