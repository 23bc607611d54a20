"""A few threads that read, each with its own connection: one hop a request for small objects."""

import asyncio
import sqlite3
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

from s4_gateway.backend.local.faults import database_error, disk_error, unavailable
from s4_gateway.backend.local.schema import open_reader

T = TypeVar("T")


class Readers:
    """The pool. Connections are opened on first use of their thread.

    Args:
        directory: the store's directory.
        threads: how many reads may run at once.
    """

    def __init__(self, directory: Path, *, threads: int) -> None:
        self._directory = directory
        self._pool = ThreadPoolExecutor(threads, "s4-store-reader")
        self._local = threading.local()
        self._lock = threading.Lock()
        self._connections: list[sqlite3.Connection] = []

    async def run(self, work: Callable[[sqlite3.Connection], T], *, dispose: Callable[[T], None] | None = None) -> T:
        """Do `work` with a connection on one of the threads.

        Args:
            work: raises BackendError; sqlite3.Error and OSError become one.
            dispose: gets the result that nobody waits for any more, because the task was cancelled.
        """
        try:
            future = asyncio.get_running_loop().run_in_executor(self._pool, self._call, work)
        except RuntimeError as error:  # The pool is shut down.
            raise unavailable("the store is closed") from error
        if dispose is None:
            return await future
        try:
            return await asyncio.shield(future)
        except asyncio.CancelledError:
            future.add_done_callback(lambda done: None if done.cancelled() or done.exception() else dispose(done.result()))
            raise

    def close(self) -> None:
        """Wait for running reads and close the connections. Blocks."""
        self._pool.shutdown(wait=True)
        for connection in self._connections:
            connection.close()

    def _call(self, work: Callable[[sqlite3.Connection], T]) -> T:
        try:
            return work(self._connection())
        except sqlite3.Error as error:
            raise database_error(error, "reading the database") from error
        except OSError as error:
            raise disk_error(error, "reading a body") from error

    def _connection(self) -> sqlite3.Connection:
        connection: sqlite3.Connection | None = getattr(self._local, "connection", None)
        if connection is None:
            connection = self._local.connection = open_reader(self._directory)
            with self._lock:
                self._connections.append(connection)
        return connection
