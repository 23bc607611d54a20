"""Commit points: what is done after an answer was lost, a client left, or the journal failed."""

import asyncio
import hashlib
from pathlib import Path
from typing import Any

import pytest

from s4_gateway.backend.abc import BackendError, ListPage, Outcome, Pieces
from s4_gateway.backend.memory import MemoryBackend
from s4_gateway.state.journal import OpenedUpload

from .helpers import BUCKET, MIB, Rig, noise, rig, text

LOST = BackendError("RequestTimeout", 503, "no answer", outcome=Outcome.UNKNOWN)
THROTTLED = BackendError("SlowDown", 503, "less", outcome=Outcome.UNKNOWN)


async def journal(gateway: Rig) -> list[OpenedUpload]:
    """All rows of the gateway's journal, whoever they belong to."""
    book = gateway.client.services.store.core.journal
    rows = await book._run(lambda: book._database.execute("SELECT bucket, key, upload_id, record FROM opened_uploads").fetchall())
    return [OpenedUpload(*row) for row in rows]


@pytest.mark.parametrize(("error", "code"), [(LOST, "ServiceUnavailable"), (THROTTLED, "SlowDown")])
async def test_never_abort_after_an_unknown_outcome(error: BackendError, code: str) -> None:
    """Whatever a 5xx to Complete is called, it may still take effect: the upload is left to the journal, not aborted."""
    async with rig() as gateway:
        gateway.backend.fail_next("complete_multipart", error)
        answer = await gateway.client.request("PUT", BUCKET, "key", body=noise(12 * MIB))

        assert (answer.status, answer.code) == (503, code)
        assert gateway.backend.requests["abort_multipart"] == 0
        assert len(await journal(gateway)) == 1


async def test_abandoned_uploads_are_ended_later() -> None:
    """An upload whose Complete was lost does not stay for ever: when nothing can be under way any more it is aborted."""
    async with rig() as gateway:
        store = gateway.client.services.store
        now = 0.0
        store.core.journal._clock = lambda: now
        gateway.backend.fail_next("complete_multipart", LOST)
        await gateway.client.request("PUT", BUCKET, "key", body=noise(12 * MIB))
        await store.end_left_open()
        assert len(await gateway.backend.list_multipart(BUCKET)) == 1
        now = 7200.0
        await store.end_left_open()

        assert await gateway.backend.list_multipart(BUCKET) == []
        assert await journal(gateway) == []


async def test_failed_abort_is_repeated_later() -> None:
    """An abort that the backend refused is tried again, not forgotten."""
    async with rig() as gateway:
        store = gateway.client.services.store
        now = 0.0
        store.core.journal._clock = lambda: now
        gateway.backend.fail_next("abort_multipart", BackendError("SlowDown", 503, "less"))
        answer = await gateway.client.request(
            "PUT", BUCKET, "key", body=noise(12 * MIB), headers={"content-md5": "AAAAAAAAAAAAAAAAAAAAAA=="}
        )
        assert answer.code == "BadDigest"
        now = 7200.0
        await store.end_left_open()

        assert await gateway.backend.list_multipart(BUCKET) == []


@pytest.mark.parametrize("size", [5000, 12 * MIB])
async def test_unreadable_metadata_at_the_key_is_not_ours(size: int) -> None:
    """Looking for one's own write at a key where something damaged lies is 503 like any other lost write, never 500."""
    async with rig() as gateway:
        await gateway.backend.put_object(BUCKET, "key", Pieces.of(b"x"), headers={}, metadata={"s4-trailer": "9"})
        gateway.backend.fail_next("put_object" if size < MIB else "complete_multipart", LOST)
        answer = await gateway.client.request("PUT", BUCKET, "key", body=noise(size))

        assert (answer.status, answer.code) == (503, "ServiceUnavailable")


async def cancelled(request: asyncio.Task[object]) -> None:
    """Cancel a request as the server does when its client has left, and see that it ends as cancelled."""
    request.cancel()
    with pytest.raises(asyncio.CancelledError):
        await request


@pytest.mark.parametrize(
    ("body", "operation"), [(text(6 * MIB), "put_object"), (noise(12 * MIB), "complete_multipart")], ids=["buffered", "streamed"]
)
async def test_client_leaves_during_the_commit(body: bytes, operation: str) -> None:
    """A commit that has begun runs to its end, sidecar and cache included, though nobody waits for its answer."""
    async with rig() as gateway:
        hold = gateway.backend.hold_next(operation)
        request = asyncio.create_task(gateway.put("key", body))
        await hold.reached()
        asyncio.get_running_loop().call_later(0.05, hold.release)
        await cancelled(request)

        assert await gateway.names() == ["key", "key.s4index"]
        assert await gateway.backend.list_multipart(BUCKET) == []
        assert await journal(gateway) == []
        async with gateway.counting() as spent:
            assert (await gateway.get("key", range="bytes=7-8")).body == body[7:9]
        assert spent == {"get_object": 1}


async def test_client_leaves_twice_during_the_commit() -> None:
    """A handler that is cancelled again, as at shutdown, goes; the commit goes on by itself and is awaited when the gateway closes."""
    backend = MemoryBackend()
    async with rig(backend) as gateway:
        hold = gateway.backend.hold_next("complete_multipart")
        request = asyncio.create_task(gateway.put("key", noise(12 * MIB)))
        await hold.reached()
        request.cancel()
        await asyncio.sleep(0.01)
        await cancelled(request)
        hold.release()

    assert (await backend.head_object(BUCKET, "key")).metadata["s4-trailer"] == "1"
    assert await backend.list_multipart(BUCKET) == []


@pytest.mark.parametrize("operation", ["create_multipart", "upload_part"])
async def test_client_leaves_while_the_upload_is_opened_or_filled(operation: str) -> None:
    """No backend upload stays open, not even one whose id had not come back yet."""
    async with rig() as gateway:
        hold = gateway.backend.hold_next(operation, after_commit=True)
        request = asyncio.create_task(gateway.put("key", noise(24 * MIB)))
        await hold.reached()
        if operation == "create_multipart":
            asyncio.get_running_loop().call_later(0.05, hold.release)
        await cancelled(request)

        assert await gateway.names() == []
        assert await gateway.backend.list_multipart(BUCKET) == []
        assert await journal(gateway) == []


async def test_part_that_cannot_be_sent_aborts_the_upload() -> None:
    """Whatever a part's request ends with, the upload is aborted and the error is the client's."""
    async with rig() as gateway:

        async def break_down() -> None:
            raise RuntimeError("not even an answer")

        gateway.backend.on_next("upload_part", break_down)
        answer = await gateway.client.request("PUT", BUCKET, "key", body=noise(12 * MIB))

        assert answer.status == 500
        assert await gateway.backend.list_multipart(BUCKET) == []


async def test_second_gateway_leaves_the_first_ones_uploads_alone(tmp_path: Path) -> None:
    """Gateways that share a state directory do not take each other's uploads for left-overs of a crash."""
    backend = MemoryBackend()
    async with rig(backend, state_dir=tmp_path) as gateway:
        hold = backend.hold_next("complete_multipart")
        request = asyncio.create_task(gateway.put("key", noise(12 * MIB)))
        await hold.reached()
        async with rig(MemoryBackend(store=backend.store), state_dir=tmp_path):
            pass
        hold.release()
        await request

        assert (await gateway.get("key")).body == noise(12 * MIB)


async def test_a_refusal_by_ones_own_write_is_a_success() -> None:
    """A proxy that repeats a PUT by itself lets it be refused because of its own first half; the object is this write's all the same."""
    async with rig() as gateway:
        gateway.backend.fail_next("put_object", BackendError("PreconditionFailed", 412, "it is there"), after_commit=True)
        answer = await gateway.put("key", b"body", if_none_match="*")

        assert answer.etag == hashlib.md5(b"body").hexdigest()
        assert (await gateway.get("key")).body == b"body"


async def test_a_refusal_by_anothers_write_stands() -> None:
    """Where somebody else's object is there the refusal is the client's answer, at once."""
    async with rig() as gateway:
        await gateway.put("key", b"theirs")
        async with gateway.counting() as spent:
            answer = await gateway.client.request("PUT", BUCKET, "key", body=b"mine", headers={"if-none-match": "*"})

        assert (answer.status, answer.code) == (412, "PreconditionFailed")
        assert spent == {"put_object": 1, "head_object": 1}
        assert (await gateway.get("key")).body == b"theirs"


async def test_a_part_that_the_store_lost_is_no_fault_of_the_client() -> None:
    """The client of a PUT knows nothing of parts: when the store refuses them it may try again."""
    async with rig() as gateway:
        gateway.backend.fail_next("complete_multipart", BackendError("InvalidPart", 400, "which part?"))
        answer = await gateway.client.request("PUT", BUCKET, "key", body=noise(12 * MIB))

        assert (answer.status, answer.code) == (503, "ServiceUnavailable")
        assert await gateway.backend.list_multipart(BUCKET) == []


async def test_a_refusal_that_the_logical_object_contradicts_is_a_conflict() -> None:
    """If-Match speaks of the logical ETag: a store that refuses the physical one, while the logical one still holds, met a conflict."""
    async with rig() as gateway:
        etag = (await gateway.put("key", b"body")).etag
        gateway.backend.fail_next("put_object", BackendError("PreconditionFailed", 412, "another ETag"))
        answer = await gateway.client.request("PUT", BUCKET, "key", body=b"next", headers={"if-match": f'"{etag}"'})

        assert (answer.status, answer.code) == (409, "ConditionalRequestConflict")


async def test_a_copy_without_conditions_is_not_refused_for_one() -> None:
    """A store that refuses the ETag which it told of the source contradicts itself; its client has stated no condition."""
    async with rig() as gateway:
        await gateway.put("key", b"body")
        gateway.backend.fail_next("copy_object", BackendError("PreconditionFailed", 412, "another ETag"))
        answer = await gateway.client.request("PUT", BUCKET, "copy", headers={"x-amz-copy-source": f"/{BUCKET}/key"})

        assert (answer.status, answer.code) == (503, "ServiceUnavailable")


async def test_a_listing_without_the_uploads_own_record_is_not_whole() -> None:
    """An upload whose record can be read is open, whatever a listing says."""
    async with rig() as gateway:
        upload = await gateway.create("key")
        etag = await gateway.part("key", upload, 1, b"part")
        whole = gateway.backend.list_objects

        async def cut(*args: Any, **wanted: Any) -> ListPage:
            return ListPage((), (), None)

        gateway.backend.list_objects = cut  # type: ignore[method-assign]
        answer = await gateway.complete("key", upload, [(1, etag)])
        assert (answer.status, answer.code) == (503, "ServiceUnavailable")
        gateway.backend.list_objects = whole  # type: ignore[method-assign]
        assert (await gateway.complete("key", upload, [(1, etag)])).status == 200
