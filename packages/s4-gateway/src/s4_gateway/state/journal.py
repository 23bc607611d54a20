"""The journal of backend uploads this gateway opened, so that a crash leaves none behind (data-paths.md section 2).

Several gateways may share one file: each row belongs to the process that wrote it, which holds a lock for as long as it lives.
"""

import asyncio
import fcntl
import logging
import os
import secrets
import sqlite3
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import ParamSpec, TypeVar

from s4_gateway.errors import S3Error

P = ParamSpec("P")
T = TypeVar("T")

SETTLED_SECONDS = 3600.0
"""Age at which nothing of an upload whose outcome was unknown can still be under way."""

SCHEMA = """
CREATE TABLE IF NOT EXISTS opened_uploads (
    bucket TEXT NOT NULL, key TEXT NOT NULL, upload_id TEXT NOT NULL, record TEXT NOT NULL, owner TEXT NOT NULL, since REAL NOT NULL,
    PRIMARY KEY (bucket, key, upload_id)
) WITHOUT ROWID
"""
_OPENED = "INSERT OR REPLACE INTO opened_uploads VALUES (:bucket, :key, :upload_id, :record, :owner, :now)"
_ABANDONED = "UPDATE opened_uploads SET owner = '', since = :now WHERE bucket = :bucket AND key = :key AND upload_id = :upload_id"
_ENDED = "DELETE FROM opened_uploads WHERE bucket = :bucket AND key = :key AND upload_id = :upload_id"
_ALL = "SELECT bucket, key, upload_id, record, owner, since FROM opened_uploads ORDER BY since"

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class OpenedUpload:
    """One backend upload that was opened and whose end was not recorded."""

    bucket: str
    key: str
    upload_id: str
    record: str = ""
    """`<bucket>/<key>` of the `backend` record that may name this upload; empty for a streamed PUT's."""


class Journal:
    """Durable set of open backend uploads. In memory only where `path` is None (the `memory` backend)."""

    def __init__(self, path: Path | None = None, *, clock: Callable[[], float] = time.time) -> None:
        self._path = path
        self._clock = clock
        self._owner = secrets.token_hex(8)
        self._lock: int | None = None
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="s4-journal")
        self._database: sqlite3.Connection | None = None

    async def start(self) -> None:
        """Open the file.

        Raises:
            OSError, sqlite3.Error: it cannot be written.
        """
        await self._run(self._open)

    async def close(self) -> None:
        await self._run(self._close)
        self._thread.shutdown()

    async def opened(self, upload: OpenedUpload) -> None:
        """Record an upload, durably, before any part is sent to it.

        Raises:
            S3Error: ServiceUnavailable: the journal cannot be written.
        """
        try:
            await self._run(self._execute, _OPENED, upload)
        except sqlite3.Error as error:
            _log.exception("the journal cannot be written")
            raise S3Error("ServiceUnavailable", "The gateway cannot write its state; try again.") from error

    async def ended(self, upload: OpenedUpload) -> None:
        """Forget an upload that was completed, aborted or published elsewhere. A row that stays only costs a question later."""
        await self._note(_ENDED, upload)

    async def abandoned(self, upload: OpenedUpload) -> None:
        """Nobody in this process will end it any more: its outcome is unknown, or it could not be aborted."""
        await self._note(_ABANDONED, upload)

    async def left_open(self) -> list[OpenedUpload]:
        """What processes left open that are gone, and what was abandoned `SETTLED_SECONDS` ago.

        Raises:
            sqlite3.Error: the journal cannot be read.
        """
        return await self._run(self._left_open)

    async def _note(self, statement: str, upload: OpenedUpload) -> None:
        try:
            await self._run(self._execute, statement, upload)
        except sqlite3.Error as error:
            _log.warning("the journal could not note the end of an upload: %s", error)

    async def _run(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, lambda: function(*args, **kwargs))

    # Below: in the journal's own thread.

    def _open(self) -> None:
        if self._path is not None:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._lock = _lock_for_life(self._owner_file(self._owner))
            self._clear_away(self._path)
        self._database = sqlite3.connect(self._path or ":memory:", isolation_level=None, check_same_thread=False, timeout=30)
        self._database.execute("PRAGMA journal_mode = WAL")
        # A lost row only costs an orphaned upload after a power failure, which the sweeper finds; a process crash loses none.
        self._database.execute("PRAGMA synchronous = NORMAL")
        self._database.execute(SCHEMA)

    def _clear_away(self, path: Path) -> None:
        """Lock files of processes that were killed."""
        for file in path.parent.glob(f"{path.name}.*.lock"):
            if file != self._owner_file(self._owner):
                with _held(file):
                    pass

    def _close(self) -> None:
        if self._database is not None:
            self._database.close()
            self._database = None
        if self._lock is not None:
            self._owner_file(self._owner).unlink(missing_ok=True)
            os.close(self._lock)
            self._lock = None

    def _execute(self, statement: str, upload: OpenedUpload) -> None:
        assert self._database is not None
        self._database.execute(statement, {**asdict(upload), "owner": self._owner, "now": self._clock()})

    def _left_open(self) -> list[OpenedUpload]:
        assert self._database is not None
        rows = self._database.execute(_ALL).fetchall()
        settled = self._clock() - SETTLED_SECONDS
        living = {owner for owner in {row[4] for row in rows} if owner and self._lives(owner)}
        return [OpenedUpload(*row[:4]) for row in rows if (row[5] <= settled if not row[4] else row[4] not in living)]

    def _lives(self, owner: str) -> bool:
        if owner == self._owner:
            return True
        with _held(self._owner_file(owner)) as held:
            return not held

    def _owner_file(self, owner: str) -> Path:
        assert self._path is not None
        return self._path.with_name(f"{self._path.name}.{owner}.lock")


def _lock_for_life(path: Path) -> int:
    """A descriptor that holds the lock on a new file of this name.

    Raises:
        OSError: the file cannot be made.
    """
    while True:
        descriptor = _lock(path, create=True)
        if descriptor is not None:
            # Whoever looked between making and locking took it for a dead process's, and may have removed it.
            if _is_named(descriptor, path):
                return descriptor
            os.close(descriptor)


def _lock(path: Path, *, create: bool) -> int | None:
    """A descriptor that holds the lock on a file until it is closed; None if somebody else has it.

    Raises:
        FileNotFoundError: there is no file, and none is to be made.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC | (os.O_CREAT if create else 0), 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


@contextmanager
def _held(path: Path) -> Iterator[bool]:
    """Whether the lock could be had: its owner is gone, and its file goes too."""
    try:
        descriptor = _lock(path, create=False)
    except FileNotFoundError:
        yield True
        return
    try:
        yield descriptor is not None
    finally:
        if descriptor is not None:
            if _is_named(descriptor, path):
                path.unlink(missing_ok=True)
            os.close(descriptor)


def _is_named(descriptor: int, path: Path) -> bool:
    """Whether the open file still has this name."""
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False
