"""Clients that leave: nothing of their request is left running, open or held, and nothing complains about it later."""

import asyncio
import gc
import logging
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest

from s4_gateway.backend.abc import BackendError
from s4_gateway.backend.memory import MemoryBackend
from s4_gateway.testing.client import Answer, BrokenOff

from .helpers import BUCKET, MIB, Rig, noise, rig, text
from .test_multipart import LARGE, SMALL

BODY = noise(24 * MIB)


@pytest.fixture(autouse=True)
async def quiet(caplog: pytest.LogCaptureFixture) -> AsyncIterator[None]:
    """No task is destroyed while it is pending, no exception is never retrieved."""
    caplog.set_level(logging.WARNING, logger="asyncio")
    yield
    for _ in range(3):
        gc.collect()
        await asyncio.sleep(0.01)
    assert [record.getMessage() for record in caplog.records if record.name == "asyncio"] == []


async def settled(gateway: Rig) -> None:
    """Nothing is left of any request."""
    core = gateway.client.services.store.core
    async with asyncio.timeout(1):
        await core.settle()
    gc.collect()
    await asyncio.sleep(0)
    own = {asyncio.current_task(), gateway.client.services.store._sweeper}
    assert [task for task in asyncio.all_tasks() if task not in own] == []
    assert (core.budget.used, core.reads.used) == (0, 0)


async def left(request: Awaitable[Answer], gateway: Rig, reached: Awaitable[None]) -> None:
    """The client leaves when a point is reached: the server cancels the handler."""
    task = asyncio.ensure_future(request)
    await reached
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await settled(gateway)


Prepare = Callable[[Rig], Awaitable[Awaitable[Answer]]]


async def put(gateway: Rig) -> Awaitable[Answer]:
    """A streamed PUT."""
    return gateway.put("key", BODY)


async def part(gateway: Rig) -> Awaitable[Answer]:
    """A direct part."""
    upload = await gateway.create("key")
    query = {"partNumber": "1", "uploadId": upload}
    return gateway.client.request("PUT", BUCKET, "key", query=query, body=BODY)


async def whole(gateway: Rig) -> Awaitable[Answer]:
    """A GET."""
    await gateway.put("key", BODY)
    return gateway.get("key")


async def cold_range(gateway: Rig) -> Awaitable[Answer]:
    """A ranged GET that has to look first."""
    await gateway.put("key", BODY)
    gateway.client.services.store.core.cache.drop(BUCKET, "key")
    return gateway.get("key", range="bytes=0-20000000")


async def part_copy(gateway: Rig) -> Awaitable[Answer]:
    """UploadPartCopy."""
    await gateway.put("source", BODY)
    upload = await gateway.create("key")
    query = {"partNumber": "1", "uploadId": upload}
    return gateway.client.request("PUT", BUCKET, "key", query=query, headers={"x-amz-copy-source": f"/{BUCKET}/source"})


async def listing(gateway: Rig) -> Awaitable[Answer]:
    """A listing of unknown objects."""
    async with rig(MemoryBackend(store=gateway.backend.store)) as other:
        for number in range(50):
            await other.put(f"key{number}", b"x")
    return gateway.client.request("GET", BUCKET)


@pytest.mark.parametrize(
    ("prepare", "point"),
    [
        (put, "upload_part"),
        (part, "upload_part"),
        (whole, "get_object"),
        (whole, "download"),
        (cold_range, "get_object"),
        (cold_range, "download"),
        (part_copy, "download"),
        (part_copy, "upload_part"),
        (listing, "head_object"),
    ],
)
async def test_client_leaves(prepare: Prepare, point: str) -> None:
    """In the middle of whatever the backend is asked for."""
    async with rig() as gateway:
        request = await prepare(gateway)
        names = await gateway.names()
        open_before = len(await gateway.backend.list_multipart(BUCKET))
        for _ in range(3 if point == "download" else 0):
            gateway.backend.on_next(point, lambda: asyncio.sleep(0))
        hold = gateway.backend.hold_next(point)
        await left(request, gateway, hold.reached())

        kept = [name for name in await gateway.names() if not name.endswith("/backend")]
        assert kept == [name for name in names if not name.endswith("/backend")]
        uploads = await gateway.backend.list_multipart(BUCKET)
        if prepare in (part, part_copy):
            # The backend upload belongs to the client's upload, which is still open.
            assert len(uploads) <= open_before + 1
        else:
            assert uploads == []


async def test_client_leaves_before_its_body_is_complete() -> None:
    """The body ends early: nothing is stored, nothing is open."""
    async with rig() as gateway:
        for size in (1000, 12 * MIB):
            with pytest.raises(BrokenOff):
                await gateway.client.request("PUT", BUCKET, "key", body=noise(size), disconnect_after=size // 2)
            await settled(gateway)
        upload = await gateway.create("other")
        query = {"partNumber": "1", "uploadId": upload}
        with pytest.raises(BrokenOff):
            await gateway.client.request("PUT", BUCKET, "other", query=query, body=BODY, disconnect_after=20 * MIB)
        await settled(gateway)

        assert await gateway.names() == [f".s4mpu/{upload}/upload"]
        assert await gateway.backend.list_multipart(BUCKET) == []


@pytest.mark.parametrize("fails", [False, True])
async def test_client_leaves_during_complete(fails: bool) -> None:
    """The commit goes on; whether it succeeds or not, nobody is left who complains."""
    async with rig() as gateway:
        upload = await gateway.create("key")
        parts = [(1, await gateway.part("key", upload, 1, LARGE)), (2, await gateway.part("key", upload, 2, SMALL))]
        hold = gateway.backend.hold_next("upload_part")
        if fails:
            gateway.backend.fail_next("complete_multipart", BackendError("AccessDenied", 403, "no"))
        task = asyncio.ensure_future(gateway.complete("key", upload, parts))
        await hold.reached()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        hold.release()
        await settled(gateway)

        assert ("key" in await gateway.names()) is not fails


async def test_client_leaves_while_it_waits_for_memory() -> None:
    """Nothing is held by those who never had their turn."""
    async with rig() as gateway:
        core = gateway.client.services.store.core
        await gateway.put("key", text(3 * MIB))
        async with core.budget.reserve(core.budget.limit):
            waiting = [asyncio.ensure_future(gateway.put("other", noise(MIB))), asyncio.ensure_future(gateway.get("key"))]
            await asyncio.sleep(0.05)
            for task in waiting:
                assert not task.done()
                task.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await task
        await settled(gateway)
