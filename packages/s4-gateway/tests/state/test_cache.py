"""The attribute cache: what it remembers over restarts, and that nothing that happens to its file fails a request."""

import asyncio
import sqlite3
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from s4_format import FrameTable, Layout, Part

from s4_gateway.backend.abc import ListEntry, StoredObject
from s4_gateway.objects.attributes import Attributes
from s4_gateway.state import cache as cache_module
from s4_gateway.state import cache_file
from s4_gateway.state.cache import AttributeCache, Entry

ATTRIBUTES = Attributes(
    Layout.FRAMED,
    3_000_000,
    "0" * 32 + "-2",
    {"sha256": "abc=-2"},
    "COMPOSITE",
    "sha256",
    (Part(1, 2_000_000, b"\x01" * 32), Part(10_000, 1_000_000, None)),
    FrameTable.from_sizes([(2_000_000, 100), (1_000_000, 50)]),
)
ENTRY = Entry("etag", 162, 1000, 1003, ATTRIBUTES)
KEY = "key \x00\U0001f600"


@asynccontextmanager
async def opened(path: Path | None, **options: int) -> AsyncIterator[AttributeCache]:
    """A started cache."""
    cache = AttributeCache(path, **options)
    await cache.start()
    try:
        yield cache
    finally:
        await cache.close()


async def filled(path: Path, count: int = 1) -> None:
    """A file with entries for KEY, KEY1, ..."""
    async with opened(path) as cache:
        for number in range(count):
            cache.put("bucket", KEY + str(number or ""), ENTRY)


async def both(cache: AttributeCache) -> list[Attributes | None]:
    """What a read and what a listing finds."""
    entry = cache.get("bucket", KEY)
    listed = await cache.get_many("bucket", [ListEntry(KEY, 162, "etag", 1001)])
    return [entry.attributes if entry else None, listed.get(KEY)]


async def test_entries_survive_a_restart(tmp_path: Path) -> None:
    """Everything comes back as it was, for single reads and for listings."""
    await filled(tmp_path / "cache")
    async with opened(tmp_path / "cache") as cache:
        assert (await cache.get_many("bucket", [ListEntry(KEY, 162, "etag", 1001)]))[KEY] == ATTRIBUTES
    async with opened(tmp_path / "cache") as cache:
        assert cache.get("bucket", KEY) == ENTRY
        cache.drop("bucket", KEY)
        assert await both(cache) == [None, None]
    async with opened(tmp_path / "cache") as cache:
        assert await both(cache) == [None, None]


@pytest.mark.parametrize(
    ("etag", "size", "modified", "known"),
    [
        ("etag", 162, 1000, True),
        ("etag", 162, 1003, True),
        ("etag", 162, 999, False),
        ("etag", 162, 1004, False),
        ("etag", 163, 1001, False),
        ("other", 162, 1001, False),
    ],
)
async def test_entry_is_for_one_body(etag: str, size: int, modified: int, known: bool) -> None:
    """An entry counts only for the ETag, stored size and time it was made for."""
    async with opened(None) as cache:
        cache.put("bucket", KEY, ENTRY)
        assert (cache.match("bucket", StoredObject(KEY, size, etag, modified)) is not None) is known
        assert bool(await cache.get_many("bucket", [ListEntry(KEY, size, etag, modified)])) is known
        assert cache.match("bucket", StoredObject("other", size, etag, modified)) is None


def overwritten(path: Path) -> None:
    """No database at all any more."""
    path.write_bytes(b"not a database, but long enough to look like one" * 100)


def other_version(path: Path) -> None:
    """A file of another program version."""
    with sqlite3.connect(path) as database:
        database.execute("PRAGMA user_version = 77")
        database.execute("DROP TABLE attributes")
        database.execute("CREATE TABLE attributes (something TEXT)")
    database.close()


def other_rows(path: Path) -> None:
    """Rows that cannot be read."""
    with sqlite3.connect(path) as database:
        database.execute("UPDATE attributes SET packed = substr(packed, 1, 20)")
    database.close()


def damaged_rows(path: Path) -> None:
    """Rows with a flipped bit in a number."""
    with sqlite3.connect(path) as database:
        (packed,) = database.execute("SELECT packed FROM attributes").fetchone()
        database.execute("UPDATE attributes SET packed = ?", (packed.replace(b"3000000", b"3000001"),))
    database.close()


@pytest.mark.parametrize("harm", [overwritten, other_version, other_rows, damaged_rows])
async def test_file_that_cannot_be_used(tmp_path: Path, harm: Callable[[Path], None]) -> None:
    """A damaged file, one of another version and rows that cannot be read only mean that nothing is known; new entries are kept."""
    await filled(tmp_path / "cache")
    harm(tmp_path / "cache")
    async with opened(tmp_path / "cache") as cache:
        assert await both(cache) == [None, None]
        cache.put("bucket", KEY, ENTRY)
    async with opened(tmp_path / "cache") as cache:
        assert await both(cache) == [ATTRIBUTES, ATTRIBUTES]


async def test_file_damaged_while_it_is_used(tmp_path: Path) -> None:
    """Damage that shows in the middle of work fails neither reads nor the shutdown, and the file is made anew."""
    await filled(tmp_path / "cache", 2000)
    cache = AttributeCache(tmp_path / "cache")
    await cache.start()
    with (tmp_path / "cache").open("r+b") as file:
        file.seek(4096)
        file.write(b"\xff" * 200_000)
    for number in range(2000):
        cache.get("bucket", KEY + str(number))
    await cache.get_many("bucket", [ListEntry(KEY + str(number), 162, "etag", 1001) for number in range(2000)])
    for number in range(3000):
        cache.put("bucket", f"new{number}", ENTRY)
    await cache.close()

    async with opened(tmp_path / "cache") as cache:
        cache.put("bucket", KEY, ENTRY)
    async with opened(tmp_path / "cache") as cache:
        assert await both(cache) == [ATTRIBUTES, ATTRIBUTES]


async def test_file_locked_by_another_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A lock neither blocks nor fails anything, and never costs the other process its file."""
    monkeypatch.setattr(cache_file, "PATIENCE_SECONDS", 0.05)
    await filled(tmp_path / "cache")
    other = sqlite3.connect(tmp_path / "cache", isolation_level=None)
    async with opened(tmp_path / "cache") as cache:
        other.execute("BEGIN IMMEDIATE")
        cache.put("bucket", "new", ENTRY)
        assert await both(cache) == [ATTRIBUTES, ATTRIBUTES]
    other.execute("ROLLBACK")
    other.execute("PRAGMA locking_mode = EXCLUSIVE")
    other.execute("BEGIN EXCLUSIVE")
    async with opened(tmp_path / "cache") as cache:
        cache.put("bucket", "newer", ENTRY)
        assert await both(cache) == [None, None]
        assert cache.get("bucket", "newer") == ENTRY
    other.execute("ROLLBACK")
    other.close()

    async with opened(tmp_path / "cache") as cache:
        assert await both(cache) == [ATTRIBUTES, ATTRIBUTES]


async def test_folder_that_cannot_be_written(tmp_path: Path) -> None:
    """Without a usable file the cache works in memory."""
    (tmp_path / "file").write_bytes(b"")
    async with opened(tmp_path / "file" / "cache") as cache:
        cache.put("bucket", KEY, ENTRY)
        assert await both(cache) == [ATTRIBUTES, ATTRIBUTES]


async def test_file_stays_within_its_limit(tmp_path: Path) -> None:
    """Above its limit the file loses entries, not all of them."""
    async with opened(tmp_path / "cache", disk_bytes=200_000) as cache:
        for number in range(5000):
            cache.put("bucket", f"key{number}", ENTRY)
            if number % 300 == 0:
                batch, cache._dirty = cache._dirty, {}
                cache._write(batch)
    with sqlite3.connect(tmp_path / "cache") as database:
        (count,) = database.execute("SELECT count(*) FROM attributes").fetchone()
    database.close()

    assert 0 < count < 2500


async def test_memory_stays_within_its_limit() -> None:
    """Entries that were not used for the longest time go first; one giant index does not push all others out."""
    giant = Entry("etag", 162, 1000, 1003, Attributes(Layout.FRAMED, 10**6, None, frames=FrameTable.from_sizes([(100, 50)] * 10_000)))
    async with opened(None, memory_bytes=100_000) as cache:
        for number in range(1000):
            cache.put("bucket", f"key{number}", ENTRY)
            cache.get("bucket", "key0")
        assert cache._weight <= 100_000
        assert cache.get("bucket", "key0") == ENTRY
        assert cache.get("bucket", "key1") is None
        cache.put("bucket", "giant", giant)

        assert cache.get("bucket", "key0") == ENTRY
        kept = cache.get("bucket", "giant")
        assert kept is not None
        assert (kept.attributes.size, kept.attributes.frames, kept.attributes.index_absent) == (10**6, None, False)


async def written(cache: AttributeCache) -> None:
    """Until everything that waits is in the file."""
    while cache._dirty or cache._writing:  # noqa: ASYNC110
        await asyncio.sleep(0.01)


async def test_processes_share_the_file(tmp_path: Path) -> None:
    """What one process learned another one knows, for single objects and listings, also where it knew the object as it was before."""
    newer = replace(ENTRY, etag="newer", attributes=replace(ATTRIBUTES, size=5))
    async with opened(tmp_path / "cache") as one, opened(tmp_path / "cache") as other:
        one.put("bucket", KEY, ENTRY)
        await written(one)
        assert await both(other) == [ATTRIBUTES, ATTRIBUTES]
        other.put("bucket", KEY, newer)
        await written(other)
        assert one.match("bucket", StoredObject(KEY, 162, "newer", 1001)) == newer.attributes
        one.put("bucket", KEY, ENTRY)
        await written(one)
        assert await other.get_many("bucket", [ListEntry(KEY, 162, "etag", 1001)]) == {KEY: ATTRIBUTES}
        assert other.match("bucket", StoredObject(KEY, 162, "another", 1001)) is None


async def test_a_damaged_file_is_made_anew_once(tmp_path: Path) -> None:
    """The first process that meets the damage makes a new file, and the others go over to it instead of making yet another one."""
    path = tmp_path / "cache"
    await filled(path, 2000)
    async with opened(path) as one, opened(path) as other, opened(path) as third:
        with path.open("r+b") as file:
            file.seek(4096)
            file.write(b"\xff" * 300_000)
        for number in range(2000):
            one.get("bucket", KEY + str(number))
        one.put("bucket", "of one", ENTRY)
        await written(one)
        made = path.stat().st_ino
        for cache, key in ((other, "of the other"), (third, "of the third"), (one, "of one again")):
            cache.put("bucket", key, ENTRY)
            await written(cache)
        assert path.stat().st_ino == made
        assert other.get("bucket", "of one") == ENTRY
        assert third.get("bucket", "of the other") == ENTRY
        assert one.get("bucket", "of the third") == ENTRY


async def test_nobody_waits_for_a_writer(tmp_path: Path) -> None:
    """While another process holds the file's lock for long, look-ups and listings answer at once with what is known."""
    await filled(tmp_path / "cache")
    other = sqlite3.connect(tmp_path / "cache", isolation_level=None)
    async with opened(tmp_path / "cache") as cache:
        other.execute("BEGIN IMMEDIATE")
        other.execute("DELETE FROM attributes")
        cache.put("bucket", "waits to be written", ENTRY)
        await asyncio.sleep(cache_module.FLUSH_SECONDS + 0.2)
        began = time.monotonic()
        assert await both(cache) == [ATTRIBUTES, ATTRIBUTES]
        assert cache.get("bucket", "waits to be written") == ENTRY
        assert time.monotonic() - began < 0.5
        other.execute("ROLLBACK")
        other.close()
        await written(cache)
    async with opened(tmp_path / "cache") as cache:
        assert cache.get("bucket", "waits to be written") == ENTRY


async def test_a_file_that_can_be_used_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that could not be used at start is tried again later."""
    monkeypatch.setattr(cache_file, "REOPEN_SECONDS", 0.0)
    folder = tmp_path / "folder"
    folder.write_bytes(b"")
    async with opened(folder / "cache") as cache:
        folder.unlink()
        cache.put("bucket", KEY, ENTRY)
        await written(cache)
    async with opened(folder / "cache") as cache:
        assert await both(cache) == [ATTRIBUTES, ATTRIBUTES]


async def test_the_oldest_rows_go_first(tmp_path: Path) -> None:
    """At its limit the file keeps what was written last."""
    async with opened(tmp_path / "cache", disk_bytes=1_000_000) as cache:
        for number in range(4000):
            cache.put("bucket", f"key{number}", ENTRY)
            if number % 500 == 499:
                await written(cache)
    async with opened(tmp_path / "cache") as cache:
        assert cache.get("bucket", "key3999") == ENTRY
        assert cache.get("bucket", "key0") is None


async def test_what_waits_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """While the file takes nothing, only so many entries wait for it; the others are known in memory all the same."""
    monkeypatch.setattr(cache_module, "MOST_PENDING", 10)
    async with opened(tmp_path / "cache") as cache:
        for number in range(100):
            cache.put("bucket", f"key{number}", ENTRY)
        assert len(cache._dirty) == 10
        assert cache.get("bucket", "key99") == ENTRY
