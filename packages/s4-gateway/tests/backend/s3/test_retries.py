"""Repetition, and what a failed request tells about itself."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
import pytest_asyncio

from s4_gateway.backend.abc import BackendError, Condition, Outcome, Pieces
from s4_gateway.backend.s3 import KeyPair, S3Backend
from s4_gateway.errors import SettingsError

from .server import ETAG, KEYS, Reply, Server, connected, error_reply, object_reply, serving

WRITTEN = Reply(headers={"etag": f'"{ETAG}"'})
DROP = Reply(drop=True)
COMPLETED = Reply(body=b"<CompleteMultipartUploadResult><ETag>&quot;x-1&quot;</ETag></CompleteMultipartUploadResult>")

Call = Callable[[S3Backend], Awaitable[object]]


async def put(backend: S3Backend) -> object:
    """One PutObject that must not overwrite."""
    return await backend.put_object("bucket", "key", Pieces.of(b"body"), headers={}, metadata={}, condition=Condition(if_absent=True))


async def head(backend: S3Backend) -> object:
    """One HeadObject."""
    return await backend.head_object("bucket", "key")


async def delete(backend: S3Backend) -> object:
    """One DeleteObject."""
    return await backend.delete_object("bucket", "key")


async def complete(backend: S3Backend) -> object:
    """One CompleteMultipartUpload."""
    return await backend.complete_multipart("bucket", "key", "id", [(1, ETAG)])


async def failure(server: Server, call: Call, *replies: Reply, **changes: object) -> BackendError:
    """The error of a call that is answered so; all answers must have been asked for."""
    async with connected(server, **changes) as backend:
        server.script(*replies)
        with pytest.raises(BackendError) as caught:
            await call(backend)
        assert server.unspent == 0
        return caught.value


@pytest_asyncio.fixture
async def server() -> AsyncIterator[Server]:
    """A server without a script."""
    async with serving() as server:
        yield server


@pytest.mark.parametrize(
    "trouble", [DROP, *(error_reply("InternalError", status) for status in (500, 502, 504)), error_reply("SlowDown", 503)]
)
async def test_passing_trouble_is_not_seen(server: Server, trouble: Reply) -> None:
    """Two lost attempts are made good by a third."""
    async with connected(server) as backend:
        server.script(trouble, trouble, WRITTEN)
        await put(backend)

        assert [request.body for request in server.received] == [b"body"] * 3
        assert backend.requests == {"put_object": 3}


@pytest.mark.parametrize(
    ("code", "status"),
    [
        ("PreconditionFailed", 412),
        ("ConditionalRequestConflict", 409),
        ("NoSuchBucket", 404),
        ("AccessDenied", 403),
        ("NotImplemented", 501),
    ],
)
async def test_definite_refusal(server: Server, code: str, status: int) -> None:
    """The first answer stands: nothing changed and nothing was repeated."""
    error = await failure(server, put, error_reply(code, status))

    assert (error.code, error.status, error.outcome, error.retried) == (code, status, Outcome.REFUSED, False)
    assert error.message == "it says why"


@pytest.mark.parametrize("lost", [DROP, error_reply("InternalError", 500), error_reply("ServiceUnavailable", 503)])
async def test_refusal_of_a_write_after_a_lost_attempt_leaves_the_outcome_open(server: Server, lost: Reply) -> None:
    """The 412 may answer the first attempt's own success."""
    error = await failure(server, put, lost, error_reply("PreconditionFailed", 412))

    assert (error.code, error.status, error.outcome, error.retried) == ("PreconditionFailed", 412, Outcome.UNKNOWN, True)


async def test_a_lost_attempt_is_not_forgotten(server: Server) -> None:
    """A definite answer in between does not take back that the first attempt was lost."""
    error = await failure(server, put, DROP, Reply(429), error_reply("PreconditionFailed", 412))

    assert (error.outcome, error.retried) == (Outcome.UNKNOWN, True)


async def test_complete_answered_by_no_such_upload_after_a_lost_attempt(server: Server) -> None:
    """The upload may be gone because the first attempt completed it."""
    error = await failure(server, complete, DROP, error_reply("NoSuchUpload", 404))

    assert (error.code, error.outcome, error.retried) == ("NoSuchUpload", Outcome.UNKNOWN, True)


async def test_refusal_of_a_read_stands_after_a_lost_attempt(server: Server) -> None:
    """Reading changes nothing, so a lost attempt cannot have."""
    error = await failure(server, head, DROP, Reply(404))

    assert (error.code, error.outcome, error.retried) == ("NoSuchKey", Outcome.REFUSED, True)


@pytest.mark.parametrize(
    ("reply", "code", "status"),
    [
        (DROP, "ServiceUnavailable", 503),
        (error_reply("InternalError", 500), "InternalError", 500),
        (error_reply("SlowDown", 503), "SlowDown", 503),
        (error_reply("SlowDownWrite", 503), "SlowDown", 503),
        (error_reply("XMinioServerNotInitialized", 503), "ServiceUnavailable", 503),
        (Reply(502, b"<html>bad gateway</html>"), "InternalError", 502),
    ],
)
async def test_lasting_trouble_is_told_after_three_attempts(server: Server, reply: Reply, code: str, status: int) -> None:
    """What was sent may have taken effect."""
    error = await failure(server, put, reply, reply, reply)

    assert (error.code, error.status, error.outcome, error.retried) == (code, status, Outcome.UNKNOWN, True)


@pytest.mark.parametrize(
    "rubbish", [b"SSH-2.0-OpenSSH\r\n", b"HTTP/1.1 200 OK\r\nno colon\r\n\r\n", b"HTTP/1.1 200 OK\r\nA: " + b"a" * 70_000]
)
async def test_answer_that_is_not_http(server: Server, rubbish: bytes) -> None:
    """What cannot be understood is a lost answer."""
    error = await failure(server, put, *[Reply(raw=rubbish)] * 3)

    assert (error.code, error.status, error.outcome, error.retried) == ("ServiceUnavailable", 503, Outcome.UNKNOWN, True)


async def test_keys_that_cannot_be_had(server: Server) -> None:
    """A source of keys that fails for a moment is tried again; nothing was sent meanwhile."""
    async with connected(server) as backend:
        source = FailingSource(2)
        backend._http._credentials = source
        server.script(WRITTEN)
        await put(backend)
        source.failures = 3
        with pytest.raises(BackendError, match="the source is down") as caught:
            await put(backend)

        assert (caught.value.code, caught.value.outcome, caught.value.retried) == ("ServiceUnavailable", Outcome.REFUSED, False)
        assert len(server.received) == 1


class FailingSource:
    """Credentials that are out of reach so many times."""

    static = None

    def __init__(self, failures: int) -> None:
        self.failures = failures

    async def current(self) -> KeyPair:
        """The keys, when the failures are over."""
        if self.failures:
            self.failures -= 1
            raise SettingsError("the source is down")
        return KEYS


async def test_one_attempt(server: Server) -> None:
    """`attempts` counts the first one too."""
    error = await failure(server, put, DROP, attempts=1)

    assert (error.outcome, error.retried) == (Outcome.UNKNOWN, False)


async def test_too_many_requests(server: Server) -> None:
    """429 is what some stores say for SlowDown; nothing was done."""
    error = await failure(server, put, *[Reply(429)] * 3)

    assert (error.code, error.status, error.outcome, error.retried) == ("SlowDown", 503, Outcome.REFUSED, False)


@pytest.mark.parametrize("code", ["RequestTimeout", "BadDigest", "XAmzContentSHA256Mismatch", "IncompleteBody"])
async def test_transfer_that_went_wrong_is_repeated(server: Server, code: str) -> None:
    """What the store refuses because it came too slowly or damaged may come well the next time; until then nothing was done."""
    async with connected(server) as backend:
        server.script(error_reply(code, 400), WRITTEN)
        await put(backend)

    error = await failure(server, put, *[error_reply(code, 400)] * 3)
    assert (error.code, error.status, error.outcome, error.retried) == (code, 400, Outcome.REFUSED, False)


async def test_nobody_listens() -> None:
    """What never left changed nothing, however often it was tried."""
    async with serving() as server, connected(server) as backend:
        server.script(DROP, DROP, DROP)
        with pytest.raises(BackendError):
            await head(backend)
        await server.close()
        with pytest.raises(BackendError) as caught:
            await put(backend)

        assert (caught.value.code, caught.value.status) == ("ServiceUnavailable", 503)
        assert (caught.value.outcome, caught.value.retried) == (Outcome.REFUSED, False)


@pytest.mark.parametrize("call", [put, head, delete, complete])
async def test_silence(server: Server, call: Call) -> None:
    """An answer that does not come is a lost one, after the time set."""
    begun = time.monotonic()
    error = await failure(server, call, Reply(silent=True), attempts=1, read_timeout=0.2, commit_timeout=0.3)

    assert 0.2 <= time.monotonic() - begun < 3
    assert (error.code, error.status, error.outcome) == ("ServiceUnavailable", 503, Outcome.UNKNOWN)


async def test_commits_are_waited_for_longer(server: Server) -> None:
    """Completing an upload may take a store minutes."""
    async with connected(server, read_timeout=0.1, commit_timeout=5.0) as backend:
        server.script(Reply(200, COMPLETED.body, delay=0.5))
        await complete(backend)


async def test_store_that_does_not_read() -> None:
    """A body that the store does not take ends in an error, not in waiting for ever."""
    async with serving() as server, connected(server, attempts=1, read_timeout=0.3) as backend:
        server.deaf = True
        with pytest.raises(BackendError) as caught:
            await backend.put_object("bucket", "key", Pieces.of(bytes(40 * 2**20)), headers={}, metadata={})

        assert (caught.value.code, caught.value.outcome) == ("ServiceUnavailable", Outcome.UNKNOWN)


async def test_early_refusal_of_a_large_body(server: Server) -> None:
    """An answer that comes before the body is sent is heard, and its connection is not used again."""
    async with connected(server, attempts=1) as backend:
        server.hasty = True
        server.script(error_reply("AccessDenied", 403), WRITTEN)
        with pytest.raises(BackendError) as caught:
            await backend.put_object("bucket", "key", Pieces.of(bytes(40 * 2**20)), headers={}, metadata={})
        server.hasty = False
        await put(backend)

        assert (caught.value.code, caught.value.outcome) == ("AccessDenied", Outcome.REFUSED)
        assert server.connections == 2


async def test_document_cut_in_the_middle_is_asked_for_again(server: Server) -> None:
    """Half a listing is no listing."""
    page = b"<ListBucketResult><IsTruncated>false</IsTruncated></ListBucketResult>"
    async with connected(server) as backend:
        server.script(Reply(200, page, cut=20), Reply(200, page))

        assert (await backend.list_objects("bucket")).entries == []


@pytest.mark.parametrize("before", [b"", b"  \n ", b"\r\n" * 500])
async def test_error_inside_a_success(server: Server, before: bytes) -> None:
    """A commit that fails after its 200 was sent is a failure with the code in the body, whatever white space came first."""
    body = before + b"<?xml version='1.0'?>\n<Error><Code>PreconditionFailed</Code><Message>no</Message></Error>"
    error = await failure(server, complete, Reply(200, body))

    assert (error.code, error.status, error.outcome, error.retried) == ("PreconditionFailed", 412, Outcome.REFUSED, False)


async def test_failure_inside_a_success_is_repeated(server: Server) -> None:
    """InternalError in a 200 is worth another attempt, as S3's documentation says."""
    trouble = Reply(200, b"<Error><Code>InternalError</Code></Error>")
    async with connected(server) as backend:
        server.script(trouble, COMPLETED)
        await complete(backend)

    error = await failure(server, complete, trouble, trouble, trouble)
    assert (error.code, error.status, error.outcome, error.retried) == ("InternalError", 500, Outcome.UNKNOWN, True)


@pytest.mark.parametrize("body", [b"", b"   ", b"<html>", b"<CompleteMultipartUploadResult>", b"\xff\xfe"])
async def test_success_that_cannot_be_understood_is_an_open_outcome(server: Server, body: bytes) -> None:
    """A commit whose answer is rubbish may have happened."""
    error = await failure(server, complete, *[Reply(200, body)] * 3)

    assert (error.outcome, error.retried) == (Outcome.UNKNOWN, True)


async def test_unknown_code_inside_a_success(server: Server) -> None:
    """A code without a status counts as a failure of the store."""
    error = await failure(server, complete, *[Reply(200, b"<Error><Code>Strange</Code></Error>")] * 3)

    assert (error.code, error.status, error.outcome) == ("Strange", 500, Outcome.UNKNOWN)


@pytest.mark.parametrize(
    ("status", "code"),
    [
        (400, "InvalidRequest"),
        (403, "AccessDenied"),
        (404, "NoSuchKey"),
        (405, "MethodNotAllowed"),
        (412, "PreconditionFailed"),
        (409, "OperationAborted"),
    ],
)
async def test_head_has_only_a_status(server: Server, status: int, code: str) -> None:
    """An answer without a document gets the code that its status means."""
    error = await failure(server, head, Reply(status))

    assert (error.code, error.status, error.outcome) == (code, status, Outcome.REFUSED)


async def test_head_of_a_bucket_that_is_not_there(server: Server) -> None:
    """404 without a key in the path is about the bucket."""
    error = await failure(server, lambda backend: backend.head_bucket("bucket"), Reply(404))

    assert error.code == "NoSuchBucket"


async def test_code_beside_the_body(server: Server) -> None:
    """MinIO tells the code of a HEAD in a header; other things in that place are not taken for one."""
    error = await failure(server, head, Reply(404, headers={"x-minio-error-code": "NoSuchBucket"}))
    assert error.code == "NoSuchBucket"
    error = await failure(server, head, Reply(404, headers={"x-minio-error-code": "<b>no</b>"}))
    assert error.code == "NoSuchKey"


async def test_error_document_that_is_no_xml(server: Server) -> None:
    """A key that XML cannot hold, echoed into the document, does not hide the code."""
    error = await failure(server, put, Reply(403, b"<Error><Code>AccessDenied</Code><Message>a &amp; b &#39;</Message><Key>\x01</Key>"))

    assert (error.code, error.message) == ("AccessDenied", "a & b '")


@pytest.mark.parametrize("call", [head, put, delete, complete], ids=["head", "put", "delete", "complete"])
async def test_404_of_somebody_else_is_no_absence(server: Server, call: Call) -> None:
    """A page in the place of an error document comes from a proxy that did not find the store: nothing is known of the object."""
    page = Reply(404, b"default backend - 404", {"content-type": "text/plain"})
    # The answer to HEAD has no body that could tell.
    page = Reply(502) if call is head else page
    error = await failure(server, call, page, page, page)

    assert (error.status, error.outcome) == (502 if call is head else 503, Outcome.UNKNOWN)
    assert error.code != "NoSuchKey"


@pytest.mark.parametrize(
    "behind",
    [
        b'HTTP/1.1 200 OK\r\ncontent-length: 5\r\netag: "0"\r\nlast-modified: Tue, 14 Nov 2023 22:13:20 GMT\r\n\r\nstale',
        b"HTTP/1.1 408 Request Time-out\r\nconnection: close\r\ncontent-length: 0\r\n\r\n",
        b"junk",
    ],
    ids=["answer", "408", "junk"],
)
async def test_what_nobody_asked_for_answers_no_request(server: Server, behind: bytes) -> None:
    """What a kept connection says between two requests is never taken for the answer to the second one."""
    async with connected(server, attempts=1) as backend:
        first = object_reply(b"first")
        server.script(Reply(200, first.body, first.headers, behind=behind), object_reply(b"second"))
        async with await backend.get_object("bucket", "one") as download:
            assert await download.read() == b"first"
        await asyncio.sleep(0.1)
        async with await backend.get_object("bucket", "two") as download:
            assert await download.read() == b"second"


async def test_cancelled_request_is_not_repeated(server: Server) -> None:
    """Who gives up has given up."""
    async with connected(server) as backend:
        server.script(Reply(silent=True))
        task = asyncio.create_task(put(backend))
        await server.arrived.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await asyncio.sleep(0.05)

        assert len(server.received) == 1


async def test_pool_is_bounded(server: Server) -> None:
    """No more connections than set; further requests wait their turn."""
    async with connected(server, connections=2) as backend:
        server.script(*[Reply(200, b"x", {**object_reply(b"x").headers}, delay=0.05) for _ in range(8)])
        await asyncio.gather(*(head(backend) for _ in range(8)))

        assert server.connections <= 3


async def test_waiting_for_a_connection_is_bounded(server: Server) -> None:
    """A pool that stays busy is an error, and nothing was sent."""
    async with connected(server, connections=1, pool_timeout=0.2, attempts=1) as backend:
        server.script(object_reply(bytes(2_000_000)))
        download = await backend.get_object("bucket", "key")
        with pytest.raises(BackendError) as caught:
            await put(backend)
        await download.aclose()

        assert (caught.value.code, caught.value.outcome) == ("ServiceUnavailable", Outcome.REFUSED)
