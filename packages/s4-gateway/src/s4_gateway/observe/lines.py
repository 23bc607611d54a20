"""A thread that writes text to a stream which may stand still: producers never wait for it."""

import queue
import threading
import time
from typing import BinaryIO


class LineWriter:
    """Takes encoded lines and writes them in order.

    `waiting` and `lost` are read by the producer's thread; each has one writer at a time under the lock.

    Args:
        stream: binary; flushed after each piece. Not closed.
    """

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self._queue: queue.SimpleQueue[tuple[bytes, int] | None] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._waiting = 0
        self._lost = 0
        # A daemon: a reader that never reads again must not keep the process from ending.
        self._thread = threading.Thread(target=self._run, name="s4-log", daemon=True)
        self._thread.start()

    @property
    def waiting(self) -> int:
        """Bytes taken and not yet written."""
        return self._waiting

    def put(self, data: bytes, lines: int) -> None:
        """Take `data`, which holds so many lines."""
        with self._lock:
            self._waiting += len(data)
        self._queue.put((data, lines))

    def take_lost(self) -> int:
        """Lines that the stream refused since the last call."""
        with self._lock:
            lost, self._lost = self._lost, 0
        return lost

    def close(self, timeout: float) -> bool:
        """Write what was taken, for at most `timeout` seconds. Returns whether all of it was written."""
        self._queue.put(None)
        deadline = time.monotonic() + timeout
        self._thread.join(max(0.0, deadline - time.monotonic()))
        return not self._thread.is_alive()

    def _run(self) -> None:
        while (item := self._queue.get()) is not None:
            data, lines = item
            try:
                self._stream.write(data)
                self._stream.flush()
            except (OSError, ValueError):
                with self._lock:
                    self._lost += lines
            with self._lock:
                self._waiting -= len(data)
