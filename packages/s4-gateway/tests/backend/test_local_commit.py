"""Group commit: writes that wait share a transaction, and do not share their failures."""

import asyncio
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from s4_gateway.backend.abc import BackendError, Condition, Pieces
from s4_gateway.backend.local import LocalBackend
from s4_gateway.backend.local.files import FileLayer
from s4_gateway.backend.local.transaction import Transaction
from s4_gateway.backend.local.writer import Writer

from .local_helpers import LARGE, NOTHING, blobs, fetch, opened, store


def writer_of(backend: LocalBackend) -> Writer:
    """The thread that writes."""
    assert backend._running is not None
    return backend._running.writer


@asynccontextmanager
async def busy_writer(backend: LocalBackend) -> AsyncIterator[None]:
    """The writer is kept busy: what comes meanwhile waits and shares the next transaction."""
    begun, go_on = threading.Event(), threading.Event()

    def wait(_: Transaction) -> None:
        begun.set()
        assert go_on.wait(30)

    writer_of(backend).post(wait)
    await asyncio.to_thread(begun.wait)
    try:
        yield
    finally:
        go_on.set()


async def test_waiting_writes_share_a_commit(tmp_path: Path) -> None:
    """Fifty writes that wait take one transaction, and each gets its own answer."""
    async with opened(tmp_path) as backend:
        statements: list[str] = []
        async with busy_writer(backend):
            puts = [asyncio.create_task(store(backend, f"key-{number}", b"%d" % number)) for number in range(50)]
            await asyncio.sleep(0.05)
            writer_of(backend)._connection.set_trace_callback(statements.append)
        etags = await asyncio.gather(*puts)
        assert statements.count("COMMIT") <= 2  # The waiting one's, and theirs.
        assert len(set(etags)) == 50
        for number in (0, 49):
            assert await fetch(backend, f"key-{number}") == b"%d" % number


class CountingLayer(FileLayer):
    """Counts syncs."""

    def __init__(self) -> None:
        self.files = 0
        self.directories = 0

    def sync(self, descriptor: int) -> None:
        self.files += 1
        super().sync(descriptor)

    def sync_directory(self, path: str) -> None:
        self.directories += 1
        self.files -= 1  # It is done by `sync`.
        super().sync_directory(path)


@pytest.mark.parametrize(("size", "files"), [(4096, 0), (LARGE, 1)])
async def test_syncs_of_acknowledged_writes(tmp_path: Path, size: int, files: int) -> None:
    """Of 32 clients at once each write costs a sync of its file, if it has one, and a fraction of a commit and of a directory's sync."""
    layer = CountingLayer()
    async with opened(tmp_path, layer) as backend:
        await store(backend, "first", bytes(LARGE))
        statements: list[str] = []
        writer_of(backend)._connection.set_trace_callback(statements.append)
        layer.files = layer.directories = 0

        async def client(number: int) -> None:
            for turn in range(10):
                await store(backend, f"{number}-{turn}", bytes([turn]) * size)

        await asyncio.gather(*(client(number) for number in range(32)))
        commits = statements.count("COMMIT")
        assert layer.files == 320 * files
        assert layer.directories <= commits * files
        assert commits <= 320 // 3


async def test_refusals_stay_with_their_writes(tmp_path: Path) -> None:
    """In one transaction some conditions hold and some do not: each writer learns its own outcome."""
    async with opened(tmp_path) as backend:
        await store(backend, "taken", b"old")

        async def create(key: str) -> object:
            payload, condition = Pieces.of(key.encode()), Condition(if_absent=True)
            return await backend.put_object("bucket", key, payload, headers=NOTHING, metadata=NOTHING, condition=condition)

        async with busy_writer(backend):
            tasks = [asyncio.create_task(create(key)) for key in ("new", "taken", "new", "other")]
            await asyncio.sleep(0.05)
        outcomes = await asyncio.gather(*tasks, return_exceptions=True)
        assert [isinstance(outcome, BackendError) for outcome in outcomes] == [False, True, True, False]
        assert [await fetch(backend, key) for key in ("new", "taken", "other")] == [b"new", b"old", b"other"]


async def test_broken_neighbour(tmp_path: Path) -> None:
    """A write that breaks in the middle is undone alone; its neighbours are committed."""
    async with opened(tmp_path) as backend:

        def break_down(transaction: Transaction) -> None:
            transaction.create_bucket("half-done", None)
            raise ZeroDivisionError

        async with busy_writer(backend):
            before = asyncio.create_task(store(backend, "before", bytes(LARGE)))
            await asyncio.sleep(0.05)
            broken = asyncio.create_task(writer_of(backend).run(break_down))
            await asyncio.sleep(0.05)
            after = asyncio.create_task(store(backend, "after", b"after"))
            await asyncio.sleep(0.05)
        with pytest.raises(ZeroDivisionError):
            await broken
        await asyncio.gather(before, after)
        assert await fetch(backend, "before") == bytes(LARGE)
        assert await fetch(backend, "after") == b"after"
        assert [bucket.name for bucket in await backend.list_buckets()] == ["bucket"]


async def test_refusal_after_a_change_is_undone(tmp_path: Path) -> None:
    """A refusal that comes too late takes its change back."""
    async with opened(tmp_path) as backend:

        def refuse_late(transaction: Transaction) -> None:
            transaction.create_bucket("half-done", None)
            transaction.delete_bucket("absent")

        with pytest.raises(BackendError, match="NoSuchBucket"):
            await writer_of(backend).run(refuse_late)
        assert [bucket.name for bucket in await backend.list_buckets()] == ["bucket"]


async def test_cancelled_while_waiting(tmp_path: Path) -> None:
    """A write that is cancelled before its turn does not happen, and returns only when that is sure."""
    async with opened(tmp_path) as backend:
        async with busy_writer(backend):
            tasks = [asyncio.create_task(store(backend, key, body)) for key, body in (("small", b"x"), ("large", bytes(LARGE)))]
            await asyncio.sleep(0.1)
            for task in tasks:
                task.cancel()
            await asyncio.sleep(0.05)
            assert not any(task.done() for task in tasks)
        outcomes = await asyncio.gather(*tasks, return_exceptions=True)
        assert all(isinstance(outcome, asyncio.CancelledError) for outcome in outcomes)
        assert (await backend.list_objects("bucket")).entries == []
    assert blobs(tmp_path) == set()


async def test_log_is_emptied_on_the_way(tmp_path: Path) -> None:
    """Many writes do not let the write-ahead log grow without end."""
    async with opened(tmp_path) as backend:
        for round_ in range(12):
            await asyncio.gather(*(store(backend, f"{round_}-{number}", bytes(30_000)) for number in range(100)))
        written = 12 * 100 * 30_000
        assert (tmp_path / "store.sqlite3-wal").stat().st_size < written * 0.9
        assert (tmp_path / "store.sqlite3").stat().st_size > written * 0.4
