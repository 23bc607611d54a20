"""Bodies in flight: however many clients read at once, they hold no more than their share, and writers get through."""

import asyncio
from contextlib import suppress

import pytest

from s4_gateway.backend.abc import BackendError
from s4_gateway.errors import S3Error
from s4_gateway.objects.admission import PIPE_BYTES
from s4_gateway.objects.reader import Opened, ReadRequest
from s4_gateway.testing.client import BrokenOff

from .helpers import BUCKET, MIB, Rig, noise, rig, text

BODY = text(12 * MIB)
LIMIT = 32 * MIB


def reading(gateway: Rig, key: str = "key") -> asyncio.Task[Opened]:
    """A read that is opened like a client's GET."""
    return asyncio.create_task(gateway.client.services.store.reader.open(ReadRequest(BUCKET, key, None, lambda face: None)))


async def drained(opened: Opened) -> bytes:
    """The whole body."""
    try:
        return b"".join([bytes(chunk) async for chunk in opened.chunks])
    finally:
        await opened.chunks.aclose()


@pytest.mark.parametrize("cold", [False, True])
async def test_slow_readers_share_half_of_the_budget(cold: bool) -> None:
    """Reads that nobody takes hold at most their share; the others wait, in order, and end well; a write is not kept out."""
    async with rig(memory_bytes=LIMIT) as gateway:
        core = gateway.client.services.store.core
        await gateway.put("key", BODY)
        if cold:
            core.cache.drop(BUCKET, "key")
        tasks = [reading(gateway) for _ in range(40)]
        done, waiting = await asyncio.wait(tasks, timeout=0.5)
        assert done
        assert waiting
        assert core.reads.used <= LIMIT // 2
        assert core.budget.used <= LIMIT // 2
        async with asyncio.timeout(10):
            await gateway.put("other", noise(3 * MIB))
            for task in tasks:
                assert await drained(await task) == BODY
        assert (core.reads.used, core.budget.used) == (0, 0)


@pytest.mark.parametrize(("memory", "frames"), [(128 * MIB, 4), (32 * MIB, 4), (16 * MIB, 2), (4 * MIB, 1)])
async def test_alone_a_read_uses_the_codec_threads(memory: int, frames: int) -> None:
    """Without pressure several frames are decoded at a time, as many as fit; under pressure one."""
    async with rig(memory_bytes=memory) as gateway:
        core = gateway.client.services.store.core
        await gateway.put("key", BODY)
        first = await reading(gateway)
        alone = core.reads.used
        held, opened = [core.reads.used], [first]
        while memory > LIMIT and core.reads.used < core.reads.limit - alone:
            opened.append(await reading(gateway))
            held.append(core.reads.used)
        for each in opened:
            await each.chunks.aclose()

        assert alone == min(2 * (frames + 1) * 512 * 1024 + PIPE_BYTES, core.reads.limit)
        if memory > LIMIT:
            assert held[-1] - held[-2] == 2 * 2 * 512 * 1024 + PIPE_BYTES
        assert core.budget.used == 0


async def test_read_that_waits_too_long(monkeypatch: pytest.MonkeyPatch) -> None:
    """Instead of waiting for ever a client is asked to slow down, and what it had opened is closed; a small read waits for small ones."""
    monkeypatch.setattr("s4_gateway.objects.admission.WAIT_SECONDS", 0.05)
    async with rig(memory_bytes=LIMIT) as gateway:
        core = gateway.client.services.store.core
        await gateway.put("key", BODY)
        async with core.reads.reserve(LIMIT):
            answer = await gateway.get("key")
            assert (answer.status, answer.code) == (503, "SlowDown")
        async with core.budget.reserve(LIMIT):
            assert (await gateway.get("key", range="bytes=5-999999")).status == 503
            assert (await gateway.get("key", range="bytes=5-9")).body == BODY[5:10]
            async with core.small.reserve(LIMIT):
                assert (await gateway.get("key", range="bytes=5-9")).status == 503
        assert (await gateway.get("key")).body == BODY
        assert (core.reads.used, core.budget.used) == (0, 0)


async def test_read_that_waits_holds_nothing() -> None:
    """A read that must wait closes what it had opened, and opens the object anew, whatever it is by then."""
    async with rig(memory_bytes=LIMIT) as gateway:
        core = gateway.client.services.store.core
        await gateway.put("key", noise(1 * MIB))
        async with gateway.counting() as spent:
            async with core.reads.reserve(LIMIT):
                task = reading(gateway)
                await asyncio.wait([task], timeout=0.1)
                assert core.reads.waited_since is not None
                await gateway.put("key", BODY)
            assert await drained(await task) == BODY
        assert spent["get_object"] == 2
        assert (core.reads.used, core.budget.used, core.small.used) == (0, 0, 0)


async def test_small_reads_take_little() -> None:
    """A thousand small objects at once fit."""
    async with rig(memory_bytes=LIMIT) as gateway:
        core = gateway.client.services.store.core
        await gateway.put("key", text(4000))
        opened = await asyncio.gather(*(reading(gateway) for _ in range(500)))
        assert core.reads.used < LIMIT // 2
        for each in opened:
            await each.chunks.aclose()
        assert core.reads.used == 0


async def test_copies_do_not_wait_for_readers() -> None:
    """A copy through the gateway takes what a write takes, once: it cannot wait for a read that waits for it."""
    async with rig(memory_bytes=LIMIT) as gateway:
        core = gateway.client.services.store.core
        await gateway.put("key", BODY)
        async with core.reads.reserve(LIMIT):
            uploads = [await gateway.create(f"copy{number}") for number in range(4)]
            query = [{"partNumber": "1", "uploadId": upload} for upload in uploads]
            source = {"x-amz-copy-source": f"/{BUCKET}/key"}
            copies = (
                gateway.client.request("PUT", BUCKET, f"copy{number}", query=each, headers=source) for number, each in enumerate(query)
            )
            async with asyncio.timeout(10):
                assert [answer.status for answer in await asyncio.gather(*copies)] == [200] * 4
        assert core.budget.used == 0


@pytest.mark.parametrize("how", ["damaged", "broken download", "client leaves", "refused"])
async def test_every_end_gives_back(how: str) -> None:
    """Whatever a read ends with, its share is free again."""
    async with rig(memory_bytes=LIMIT) as gateway:
        core = gateway.client.services.store.core
        await gateway.put("key", BODY)
        if how == "damaged":
            from s4_gateway.backend.abc import Pieces

            stored, raw = await gateway.stored("key")
            for position in (40, len(raw) // 2):
                bad = bytearray(raw)
                bad[position] ^= 1
                await gateway.backend.put_object(BUCKET, "key", Pieces.of(bytes(bad)), headers={}, metadata=stored.metadata)
                with suppress(BrokenOff):
                    assert (await gateway.get("key")).status >= 500
        elif how == "broken download":
            for _ in range(2):
                gateway.backend.fail_next("download", BackendError("ServiceUnavailable", 503, "gone"))
                with suppress(BrokenOff):
                    assert (await gateway.get("key")).status >= 500
        elif how == "client leaves":
            hold = gateway.backend.hold_next("download")
            request = asyncio.create_task(gateway.get("key"))
            await hold.reached()
            request.cancel()
            with pytest.raises(asyncio.CancelledError):
                await request
        else:
            with suppress(S3Error):
                assert (await gateway.get("key", if_match='"other"')).status == 412
        assert (core.reads.used, core.budget.used) == (0, 0)
