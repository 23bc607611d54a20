"""The attribute cache: which logical face belongs to which stored body (data-paths.md section 4).

An entry is valid for one (bucket, key, backend ETag, stored size, Last-Modified to the second); every answer of the backend is compared
with it. It holds attributes only, never headers, tags, lock or metadata. Losing it costs requests, nothing else.
"""

import asyncio
import contextlib
import logging
import sqlite3
import threading
from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from s4_gateway.backend.abc import ListEntry, StoredObject
from s4_gateway.objects.attributes import Attributes
from s4_gateway.state.attribute_codec import pack_attributes, unpack_attributes

SCHEMA = """
CREATE TABLE IF NOT EXISTS attributes (
    bucket TEXT NOT NULL, key TEXT NOT NULL, etag TEXT NOT NULL, size INTEGER NOT NULL,
    earliest INTEGER NOT NULL, latest INTEGER NOT NULL, packed BLOB NOT NULL,
    PRIMARY KEY (bucket, key)
) WITHOUT ROWID
"""
_ONE = "SELECT etag, size, earliest, latest, packed FROM attributes WHERE bucket = ? AND key = ?"
_SELECT = "SELECT key, etag, size, earliest, latest, packed FROM attributes WHERE bucket = ? AND key IN ({marks})"
_PUT = "INSERT OR REPLACE INTO attributes VALUES (?, ?, ?, ?, ?, ?, ?)"
_DROP = "DELETE FROM attributes WHERE bucket = ? AND key = ?"
_TRIM = "DELETE FROM attributes WHERE random() & 3 = 0"
VERSION = 2
MAX_PACKED_BYTES = 1 << 20
"""Larger entries (indexes of above about 30,000 frames) stay in memory only: reading them from SQLite costs more than the trailer."""
FLUSH_AT = 256
FLUSH_SECONDS = 0.5
PATIENCE_SECONDS = 5.0
"""How long a write waits for another process."""

_log = logging.getLogger(__name__)


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
    """Newest entry per (bucket, key), in memory and behind it in one SQLite file, whose work runs in a thread of its own.

    Nothing that happens to the file fails a request: what cannot be read is not known, what cannot be written is forgotten.
    """

    def __init__(self, path: Path | None = None, *, memory_bytes: int = 32 << 20, disk_bytes: int = 1 << 30) -> None:
        self._entries: OrderedDict[tuple[str, str], Entry] = OrderedDict()
        self._weight = 0
        self._memory_bytes = memory_bytes
        self._disk_bytes = disk_bytes
        self._dirty: dict[tuple[str, str], Entry | None] = {}
        self._writing: dict[tuple[str, str], Entry | None] = {}
        self._path = path
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="s4-cache") if path else None
        self._database: sqlite3.Connection | None = None
        self._reader: sqlite3.Connection | None = None
        self._lock = threading.Lock()
        self._flusher: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Open the file; one that is damaged or of another version is made anew, since all of it can be rebuilt. One that cannot be used
        is done without.
        """
        if self._thread is not None:
            await asyncio.get_running_loop().run_in_executor(self._thread, self._open)

    async def close(self) -> None:
        """Write what is pending and close the file."""
        if self._flusher is not None:
            self._flusher.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._flusher
        if self._thread is not None:
            await asyncio.get_running_loop().run_in_executor(self._thread, self._close)
            self._thread.shutdown()

    def get(self, bucket: str, key: str) -> Entry | None:
        """The newest entry known for the key, to be checked against the backend's next answer."""
        entry = self._entries.get((bucket, key))
        if entry is not None:
            self._entries.move_to_end((bucket, key))
            return entry
        reader = self._reader
        if reader is None or self._outdated(bucket, key):
            return None
        try:
            with self._lock:
                row = reader.execute(_ONE, (bucket, key)).fetchone()
            if row is None:
                return None
            entry = _entry(row)
        except (sqlite3.Error, ValueError):
            return None
        self._remember(bucket, key, entry)
        return entry

    async def get_many(self, bucket: str, entries: Iterable[ListEntry]) -> Mapping[str, Attributes]:
        """Attributes of those listed bodies that are known, by key."""
        found: dict[str, Attributes] = {}
        missing: dict[str, ListEntry] = {}
        for listed in entries:
            entry = self._entries.get((bucket, listed.key))
            if entry is None:
                if not self._outdated(bucket, listed.key):
                    missing[listed.key] = listed
            elif entry.describes(listed):
                found[listed.key] = entry.attributes
        if missing and self._thread is not None:
            rows = await asyncio.get_running_loop().run_in_executor(self._thread, self._select, bucket, list(missing))
            for key, entry in rows.items():
                if entry.describes(missing[key]):
                    self._remember(bucket, key, entry)
                    found[key] = entry.attributes
        return found

    def match(self, bucket: str, stored: StoredObject) -> Attributes | None:
        """Attributes of exactly this stored body, if known."""
        entry = self.get(bucket, stored.key)
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
        if self._thread is None:
            return
        self._dirty[bucket, key] = entry
        if self._flusher is None or self._flusher.done():
            self._flusher = asyncio.get_running_loop().create_task(self._flush_later())

    async def _flush_later(self) -> None:
        while self._dirty:
            if len(self._dirty) < FLUSH_AT:
                await asyncio.sleep(FLUSH_SECONDS)
            self._writing, self._dirty = self._dirty, {}
            if self._thread is not None:
                await asyncio.get_running_loop().run_in_executor(self._thread, self._write, self._writing)
            self._writing = {}

    # Below: in the cache's own thread.

    def _open(self) -> None:
        assert self._path is not None
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            try:
                self._database = _connect(self._path)
            except sqlite3.OperationalError:
                raise
            except sqlite3.DatabaseError:
                self._remove()
                self._database = _connect(self._path)
            # Without patience: it is asked on the event loop.
            self._reader = sqlite3.connect(self._path, isolation_level=None, check_same_thread=False, timeout=0)
        except (sqlite3.Error, OSError) as error:
            _log.warning("the attribute cache is kept in memory only: %s", error)
            self._shut()

    def _remove(self) -> None:
        assert self._path is not None
        for end in ("", "-wal", "-shm"):
            self._path.with_name(self._path.name + end).unlink(missing_ok=True)

    def _shut(self) -> None:
        with self._lock:
            for connection in (self._database, self._reader):
                if connection is not None:
                    connection.close()
            self._database = self._reader = None

    def _close(self) -> None:
        batch, self._dirty = self._dirty, {}
        self._write(batch)
        self._shut()

    def _select(self, bucket: str, keys: list[str]) -> dict[str, Entry]:
        found: dict[str, Entry] = {}
        if self._database is None:
            return found
        try:
            for at in range(0, len(keys), 500):
                some = keys[at : at + 500]
                marks = ",".join("?" * len(some))
                for key, *row in self._database.execute(_SELECT.format(marks=marks), (bucket, *some)):
                    with contextlib.suppress(ValueError):
                        found[key] = _entry(row)
        except sqlite3.Error as error:
            _log.debug("the attribute cache could not be read: %s", error)
        return found

    def _write(self, batch: Mapping[tuple[str, str], Entry | None]) -> None:
        if self._database is None:
            return
        gone: list[tuple[str, str]] = []
        kept: list[tuple[str, str, str, int, int, int, bytes]] = []
        for (bucket, key), entry in batch.items():
            packed = pack_attributes(entry.attributes) if entry is not None else b""
            if entry is None or len(packed) > MAX_PACKED_BYTES:
                gone.append((bucket, key))
            else:
                kept.append((bucket, key, entry.etag, entry.size, entry.earliest, entry.latest, packed))
        try:
            self._commit(self._database, gone, kept)
        except sqlite3.OperationalError as error:
            # A full disk or a lock held by another worker only costs a cache entry.
            _log.debug("the attribute cache could not be written: %s", error)
        except sqlite3.DatabaseError as error:
            _log.warning("the attribute cache is damaged and made anew: %s", error)
            self._shut()
            self._remove()
            self._open()

    def _commit(
        self, database: sqlite3.Connection, gone: list[tuple[str, str]], kept: list[tuple[str, str, str, int, int, int, bytes]]
    ) -> None:
        database.execute("BEGIN IMMEDIATE")
        try:
            database.executemany(_DROP, gone)
            database.executemany(_PUT, kept)
            while _used_bytes(database) > self._disk_bytes and database.execute(_TRIM).rowcount:
                pass
            database.execute("COMMIT")
        except sqlite3.Error:
            with contextlib.suppress(sqlite3.Error):
                database.execute("ROLLBACK")
            raise


def _entry(row: Sequence[Any]) -> Entry:
    """A row's entry; ValueError where it is not this version's."""
    etag, size, earliest, latest, packed = row
    return Entry(etag, size, earliest, latest, unpack_attributes(packed))


def _connect(path: Path) -> sqlite3.Connection:
    database = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=PATIENCE_SECONDS)
    try:
        database.execute("PRAGMA journal_mode = WAL")
        database.execute("PRAGMA synchronous = OFF")
        (version,) = database.execute("PRAGMA user_version").fetchone()
        if version not in (0, VERSION):
            raise sqlite3.DatabaseError(f"attribute cache has version {version}")
        database.execute(SCHEMA)
        database.execute(f"PRAGMA user_version = {VERSION}")
    except sqlite3.DatabaseError:
        database.close()
        raise
    return database


def _used_bytes(database: sqlite3.Connection) -> int:
    sizes = [database.execute(f"PRAGMA {name}").fetchone()[0] for name in ("page_count", "freelist_count", "page_size")]
    return int((sizes[0] - sizes[1]) * sizes[2])
