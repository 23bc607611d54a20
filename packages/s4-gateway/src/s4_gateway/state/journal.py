"""The journal of backend uploads this gateway opened, so that a crash leaves none behind (data-paths.md section 2)."""

import asyncio
import sqlite3
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")

SCHEMA = """
CREATE TABLE IF NOT EXISTS uploads (
    bucket TEXT NOT NULL, key TEXT NOT NULL, upload_id TEXT NOT NULL, record TEXT NOT NULL, opened REAL NOT NULL,
    PRIMARY KEY (bucket, key, upload_id)
) WITHOUT ROWID
"""
_OPENED = "INSERT OR REPLACE INTO uploads VALUES (:bucket, :key, :upload_id, :record, :now)"
_ENDED = "DELETE FROM uploads WHERE bucket = :bucket AND key = :key AND upload_id = :upload_id"


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

    def __init__(self, path: Path | None = None) -> None:
        self._path = path
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="s4-journal")
        self._database: sqlite3.Connection | None = None

    async def start(self) -> None:
        await self._run(self._open)

    async def close(self) -> None:
        await self._run(self._close)
        self._thread.shutdown()

    async def opened(self, upload: OpenedUpload) -> None:
        """Record an upload, durably, before any part is sent to it."""
        await self._run(self._execute, _OPENED, upload)

    async def ended(self, upload: OpenedUpload) -> None:
        """Forget an upload that was completed, aborted or published elsewhere."""
        await self._run(self._execute, _ENDED, upload)

    async def left_open(self) -> list[OpenedUpload]:
        """What an earlier process did not finish; call before the first request is served."""
        return await self._run(self._rows)

    async def _run(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, lambda: function(*args, **kwargs))

    def _open(self) -> None:
        if self._path is not None:
            self._path.parent.mkdir(parents=True, exist_ok=True)
        self._database = sqlite3.connect(self._path or ":memory:", isolation_level=None, check_same_thread=False, timeout=30)
        self._database.execute("PRAGMA journal_mode = WAL")
        # A lost row only costs an orphaned upload after a power failure, which the sweeper finds; a process crash loses none.
        self._database.execute("PRAGMA synchronous = NORMAL")
        self._database.execute(SCHEMA)

    def _close(self) -> None:
        if self._database is not None:
            self._database.close()
            self._database = None

    def _execute(self, statement: str, upload: OpenedUpload) -> None:
        assert self._database is not None
        self._database.execute(statement, {**asdict(upload), "now": time.time()})

    def _rows(self) -> list[OpenedUpload]:
        assert self._database is not None
        return [OpenedUpload(*row) for row in self._database.execute("SELECT bucket, key, upload_id, record FROM uploads ORDER BY opened")]
