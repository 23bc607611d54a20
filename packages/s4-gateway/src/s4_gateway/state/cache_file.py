"""The SQLite file behind the attribute cache, shared by all processes that have one state directory.

Requests never wait for a lock: readers need none (WAL), and writes run in a thread of their own. The file can be rebuilt, so it is written
without syncs, and one that is damaged is made anew; a lock file decides who of several processes does that.
"""

import contextlib
import fcntl
import logging
import os
import sqlite3
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

SCHEMA = """
CREATE TABLE IF NOT EXISTS attributes (
    serial INTEGER PRIMARY KEY, bucket TEXT NOT NULL, key TEXT NOT NULL, etag TEXT NOT NULL, size INTEGER NOT NULL,
    earliest INTEGER NOT NULL, latest INTEGER NOT NULL, packed BLOB NOT NULL,
    UNIQUE (bucket, key)
)
"""
"""A row that is written again gets a new serial number: the lowest ones are those that were not written for the longest time."""
_ONE = "SELECT etag, size, earliest, latest, packed FROM attributes WHERE bucket = ? AND key = ?"
_MANY = "SELECT key, etag, size, earliest, latest, packed FROM attributes WHERE bucket = ? AND key IN ({marks})"
_PUT = "INSERT OR REPLACE INTO attributes (bucket, key, etag, size, earliest, latest, packed) VALUES (?, ?, ?, ?, ?, ?, ?)"
_DROP = "DELETE FROM attributes WHERE bucket = ? AND key = ?"
_TRIM = "DELETE FROM attributes WHERE serial IN (SELECT serial FROM attributes ORDER BY serial LIMIT 1000)"
VERSION = 3
KEYS_AT_ONCE = 500
"""In one statement; SQLite's own limit was 999 parameters for long."""
LOG_BYTES = 16 << 20
"""What the write-ahead log is cut to after a burst."""
PATIENCE_SECONDS = 5.0
"""How long a write, or the start, waits for another process."""
REOPEN_SECONDS = 60.0
"""Between attempts to use a file that could not be used."""

_log = logging.getLogger(__name__)


class Row(NamedTuple):
    """Of one key."""

    etag: str
    size: int
    earliest: int
    latest: int
    packed: bytes


class _Reader:
    """A connection that one thread asks and another one may take away."""

    def __init__(self) -> None:
        self._connection: sqlite3.Connection | None = None
        self._lock = threading.Lock()

    def use(self, connection: sqlite3.Connection | None) -> None:
        """From now on this one; the former is closed."""
        with self._lock:
            former, self._connection = self._connection, connection
        if former is not None:
            former.close()

    def ask(self, statement: str, parameters: Sequence[str]) -> list[Any]:
        """All rows; none where there is no connection, or another one is just put in its place.

        Raises:
            sqlite3.Error: the file cannot be read.
        """
        if not self._lock.acquire(blocking=False):
            return []
        try:
            return self._connection.execute(statement, parameters).fetchall() if self._connection is not None else []
        finally:
            self._lock.release()


class CacheFile:
    """The file. `one` is for one thread, `many` for a second one, and everything else for a third.

    Args:
        path: its folder is made where it is missing.
        limit: of its size in bytes; above it the rows that were written first go.
    """

    def __init__(self, path: Path, *, limit: int) -> None:
        self._path = path
        self._limit = limit
        self._database: sqlite3.Connection | None = None
        self._single = _Reader()
        self._several = _Reader()
        self._identity: tuple[int, int] | None = None
        """Device and inode of what is open."""
        self._damaged = False
        self._try_at = 0.0

    def open(self) -> None:
        """Open it, or make it anew where it is damaged or of another version. One that cannot be used is done without, and tried again
        later.
        """
        self._try_at = time.monotonic() + REOPEN_SECONDS
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            with self._alone():
                self._open_or_make()
        except (sqlite3.Error, OSError) as error:
            _log.warning("the attribute cache is kept in memory only: %s", error)
            self.close()

    def close(self) -> None:
        """Close it; repeatable."""
        self._single.use(None)
        self._several.use(None)
        database, self._database = self._database, None
        if database is not None:
            database.close()
        self._identity = None

    def one(self, bucket: str, key: str) -> Row | None:
        """The row of a key; None also where it cannot be read now."""
        try:
            rows = self._single.ask(_ONE, (bucket, key))
        except sqlite3.Error as error:
            self._doubt(error)
            return None
        return Row(*rows[0]) if rows else None

    def many(self, bucket: str, keys: Sequence[str]) -> Mapping[str, Row]:
        """The rows of those keys that have one and can be read now."""
        found: dict[str, Row] = {}
        for at in range(0, len(keys), KEYS_AT_ONCE):
            some = keys[at : at + KEYS_AT_ONCE]
            try:
                rows = self._several.ask(_MANY.format(marks=",".join("?" * len(some))), (bucket, *some))
            except sqlite3.Error as error:
                self._doubt(error)
                break
            found.update((key, Row(*row)) for key, *row in rows)
        return found

    def write(self, batch: Mapping[tuple[str, str], Row | None]) -> None:
        """Put rows, or drop those of keys with None, all in one transaction; forgotten where that is not possible."""
        self._see_to_it()
        if self._database is None:
            return
        gone = [address for address, row in batch.items() if row is None]
        kept = [(*address, *row) for address, row in batch.items() if row is not None]
        try:
            self._commit(self._database, gone, kept)
        except sqlite3.OperationalError as error:
            # A full disk or a lock held by another process only costs cache entries.
            _log.debug("the attribute cache could not be written: %s", error)
        except sqlite3.DatabaseError as error:
            self._doubt(error)
            self._see_to_it()

    # Files

    @contextlib.contextmanager
    def _alone(self) -> Iterator[None]:
        """Only one process at a time opens or makes the file; OSError where another one does not come to an end."""
        descriptor = os.open(self._path.with_name(f"{self._path.name}.lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            deadline = time.monotonic() + PATIENCE_SECONDS
            while True:
                try:
                    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    if time.monotonic() >= deadline:
                        raise
                    time.sleep(0.01)
            yield
        finally:
            os.close(descriptor)

    def _open_or_make(self) -> None:
        if self._damaged and self._identity == _identity(self._path):
            self._remove()
        self._damaged = False
        self.close()
        try:
            self._database = _connect(self._path)
        except sqlite3.OperationalError:
            raise
        except sqlite3.DatabaseError as error:
            _log.warning("the attribute cache is made anew: %s", error)
            self._remove()
            self._database = _connect(self._path)
        self._identity = _identity(self._path)
        for reader in (self._single, self._several):
            # Without patience: requests wait for them.
            reader.use(sqlite3.connect(self._path, isolation_level=None, check_same_thread=False, timeout=0))

    def _remove(self) -> None:
        """Others that have it open go on with what has no name any more, until their next write."""
        for end in ("", "-wal", "-shm"):
            self._path.with_name(self._path.name + end).unlink(missing_ok=True)

    def _see_to_it(self) -> None:
        """Open the file again where it is damaged, was replaced by another process, or could not be used a while ago."""
        if self._database is None:
            if time.monotonic() >= self._try_at:
                self.open()
        elif self._damaged or self._identity != _identity(self._path):
            self.open()

    def _doubt(self, error: sqlite3.Error) -> None:
        """What is no lock and no full disk is damage."""
        if isinstance(error, sqlite3.DatabaseError) and not isinstance(error, sqlite3.OperationalError):
            if not self._damaged:
                _log.warning("the attribute cache is damaged and will be made anew: %s", error)
            self._damaged = True

    def _commit(
        self, database: sqlite3.Connection, gone: list[tuple[str, str]], kept: list[tuple[str, str, str, int, int, int, bytes]]
    ) -> None:
        database.execute("BEGIN IMMEDIATE")
        try:
            database.executemany(_DROP, gone)
            database.executemany(_PUT, kept)
            while _used_bytes(database) > self._limit and database.execute(_TRIM).rowcount:
                pass
            database.execute("COMMIT")
        except sqlite3.Error:
            with contextlib.suppress(sqlite3.Error):
                database.execute("ROLLBACK")
            raise


def _identity(path: Path) -> tuple[int, int] | None:
    """Which file has this name; None = none."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _connect(path: Path) -> sqlite3.Connection:
    database = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=PATIENCE_SECONDS)
    try:
        database.execute("PRAGMA journal_mode = WAL")
        database.execute("PRAGMA synchronous = OFF")
        database.execute(f"PRAGMA journal_size_limit = {LOG_BYTES}")
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
