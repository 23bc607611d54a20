"""The attribute cache: which logical face belongs to which stored body (data-paths.md section 4).

An entry is valid for one (bucket, key, backend ETag, stored size, Last-Modified to the second); every answer of the backend is compared
with it. It holds attributes only, never headers, tags, lock or metadata. Losing it costs requests, nothing else.
"""

import asyncio
import contextlib
from collections import OrderedDict
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

from s4_gateway.backend.abc import ListEntry, StoredObject
from s4_gateway.objects.attributes import Attributes
from s4_gateway.state.attribute_codec import pack_attributes, unpack_attributes
from s4_gateway.state.cache_file import CacheFile, Row

MAX_PACKED_BYTES = 1 << 20
"""Larger entries (indexes of above about 30,000 frames) stay in memory only: reading them from SQLite costs more than the trailer."""
FLUSH_AT = 256
FLUSH_SECONDS = 0.5
MOST_PENDING = 20_000
"""Entries that wait to be written; while there are so many, new ones stay in memory only."""


@dataclass(frozen=True, slots=True)
class Entry:
    """Attributes of one stored body, and what identifies that body."""

    etag: str
    size: int
    """Stored bytes."""
    earliest: int
    latest: int
    """Last-Modified lies in [earliest, latest]; equal once the backend has told it."""
    attributes: Attributes

    def describes(self, stored: StoredObject | ListEntry) -> bool:
        """Whether this entry is about exactly that stored body."""
        return self.etag == stored.etag and self.size == stored.size and self.earliest <= stored.modified <= self.latest

    @property
    def weight(self) -> int:
        """Bytes of memory it stands for, roughly."""
        frames = self.attributes.frames
        return 400 + 32 * (len(frames) if frames is not None else 0) + 100 * len(self.attributes.parts or ())


class AttributeCache:
    """Newest entry per (bucket, key), in memory and behind it in one file that other processes use too, written by a thread of its own.

    Nothing that happens to the file fails a request or makes it wait: what cannot be read is not known, what cannot be written is
    forgotten. Where an entry in memory does not fit what the backend says, the file is asked: another process may have written the object.
    """

    def __init__(self, path: Path | None = None, *, memory_bytes: int = 32 << 20, disk_bytes: int = 1 << 30) -> None:
        self._entries: OrderedDict[tuple[str, str], Entry] = OrderedDict()
        self._weight = 0
        self._memory_bytes = memory_bytes
        self._disk_bytes = disk_bytes
        self._dirty: dict[tuple[str, str], Entry | None] = {}
        self._writing: dict[tuple[str, str], Entry | None] = {}
        self._file = CacheFile(path, limit=disk_bytes) if path else None
        self._writer = ThreadPoolExecutor(1, thread_name_prefix="s4-cache")
        self._reader = ThreadPoolExecutor(1, thread_name_prefix="s4-cache-read")
        self._flusher: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Open the file; one that is damaged or of another version is made anew, since all of it can be rebuilt. One that cannot be used
        is done without.
        """
        if self._file is not None:
            await asyncio.get_running_loop().run_in_executor(self._writer, self._file.open)

    async def close(self) -> None:
        """Write what is pending and close the file."""
        if self._flusher is not None:
            self._flusher.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._flusher
        if self._file is not None:
            await asyncio.get_running_loop().run_in_executor(self._writer, self._close)
        self._writer.shutdown()
        self._reader.shutdown()

    def get(self, bucket: str, key: str) -> Entry | None:
        """The newest entry known for the key, to be checked against the backend's next answer."""
        entry = self._entries.get((bucket, key))
        if entry is not None:
            self._entries.move_to_end((bucket, key))
            return entry
        return self._look_up(bucket, key)

    async def get_many(self, bucket: str, entries: Iterable[ListEntry]) -> Mapping[str, Attributes]:
        """Attributes of those listed bodies that are known, by key."""
        found: dict[str, Attributes] = {}
        missing: dict[str, ListEntry] = {}
        for listed in entries:
            entry = self._entries.get((bucket, listed.key))
            if entry is not None and entry.describes(listed):
                found[listed.key] = entry.attributes
            elif not self._outdated(bucket, listed.key):
                missing[listed.key] = listed
        if missing and self._file is not None:
            rows = await asyncio.get_running_loop().run_in_executor(self._reader, self._file.many, bucket, list(missing))
            for key, row in rows.items():
                entry = _entry(row)
                if entry is not None and entry.describes(missing[key]):
                    self._remember(bucket, key, entry)
                    found[key] = entry.attributes
        return found

    def match(self, bucket: str, stored: StoredObject) -> Attributes | None:
        """Attributes of exactly this stored body, if known."""
        entry = self._entries.get((bucket, stored.key))
        if entry is None or not entry.describes(stored):
            entry = self._look_up(bucket, stored.key)
        return entry.attributes if entry is not None and entry.describes(stored) else None

    def put(self, bucket: str, key: str, entry: Entry) -> None:
        """Remember an entry; it replaces the key's former one."""
        self._remember(bucket, key, entry)
        self._mark(bucket, key, entry)

    def put_stored(self, bucket: str, stored: StoredObject | ListEntry, attributes: Attributes) -> None:
        """Remember what was found out about a stored body."""
        self.put(bucket, stored.key, Entry(stored.etag, stored.size, stored.modified, stored.modified, attributes))

    def drop(self, bucket: str, key: str) -> None:
        """Forget the key (deleted, or an answer contradicted the entry)."""
        gone = self._entries.pop((bucket, key), None)
        if gone is not None:
            self._weight -= gone.weight
        self._mark(bucket, key, None)

    def _look_up(self, bucket: str, key: str) -> Entry | None:
        """What the file says."""
        if self._file is None or self._outdated(bucket, key):
            return None
        entry = _entry(self._file.one(bucket, key))
        if entry is not None:
            self._remember(bucket, key, entry)
        return entry

    def _outdated(self, bucket: str, key: str) -> bool:
        """Whether the file's row for the key, if there is one, is about to go."""
        return (bucket, key) in self._dirty or (bucket, key) in self._writing

    def _remember(self, bucket: str, key: str, entry: Entry) -> None:
        if entry.weight > self._memory_bytes // 4:
            # The index of one giant object must not push everything else out; its trailer has it.
            entry = replace(entry, attributes=replace(entry.attributes, frames=None))
        former = self._entries.pop((bucket, key), None)
        if former is not None:
            self._weight -= former.weight
        self._entries[bucket, key] = entry
        self._weight += entry.weight
        while self._weight > self._memory_bytes and len(self._entries) > 1:
            _, evicted = self._entries.popitem(last=False)
            self._weight -= evicted.weight

    def _mark(self, bucket: str, key: str, entry: Entry | None) -> None:
        if self._file is None or (len(self._dirty) >= MOST_PENDING and (bucket, key) not in self._dirty):
            return
        self._dirty[bucket, key] = entry
        if self._flusher is None or self._flusher.done():
            self._flusher = asyncio.get_running_loop().create_task(self._flush_later())

    async def _flush_later(self) -> None:
        while self._dirty:
            if len(self._dirty) < FLUSH_AT:
                await asyncio.sleep(FLUSH_SECONDS)
            self._writing, self._dirty = self._dirty, {}
            await asyncio.get_running_loop().run_in_executor(self._writer, self._write, self._writing)
            self._writing = {}

    def _write(self, batch: Mapping[tuple[str, str], Entry | None]) -> None:
        """In the writer's thread."""
        assert self._file is not None
        self._file.write({address: None if entry is None else _row(entry) for address, entry in batch.items()})

    def _close(self) -> None:
        """In the writer's thread."""
        assert self._file is not None
        batch, self._dirty = self._dirty, {}
        if batch:
            self._write(batch)
        self._file.close()


def _row(entry: Entry) -> Row | None:
    """As it is kept in the file; None where it is too large for it."""
    packed = pack_attributes(entry.attributes)
    return None if len(packed) > MAX_PACKED_BYTES else Row(entry.etag, entry.size, entry.earliest, entry.latest, packed)


def _entry(row: Row | None) -> Entry | None:
    """What a row says; None where that is not this version's, or damaged."""
    if row is None:
        return None
    try:
        return Entry(row.etag, row.size, row.earliest, row.latest, unpack_attributes(row.packed))
    except ValueError:
        return None
