"""A thread that writes text to a stream which may stand still: producers never wait for it."""

import queue
import threading
from typing import Protocol


class ByteSink(Protocol):
    """What lines are written to: any binary stream."""

    def write(self, data: bytes, /) -> object: ...

    def flush(self) -> object: ...


class LineWriter:
    """Takes encoded lines from one thread and writes them in order in another.

    Args:
        stream: binary; flushed after each piece. Not closed.
    """

    def __init__(self, stream: ByteSink) -> None:
        self._stream = stream
        self._queue: queue.SimpleQueue[tuple[bytes, int] | None] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._waiting = 0
        self._lost = 0
        self._thread: threading.Thread | None = None

    @property
    def waiting(self) -> int:
        """Bytes taken and not yet written."""
        return self._waiting

    def put(self, data: bytes, lines: int) -> None:
        """Take `data`, which holds so many lines."""
        with self._lock:
            self._waiting += len(data)
        self._queue.put((data, lines))
        if self._thread is None:
            # A daemon: a reader that never reads again must not keep the process from ending.
            self._thread = threading.Thread(target=self._run, name="s4-log", daemon=True)
            self._thread.start()

    def take_lost(self) -> int:
        """Lines that the stream refused since the last call."""
        with self._lock:
            lost, self._lost = self._lost, 0
        return lost

    def close(self, timeout: float) -> bool:
        """Write what was taken, for at most `timeout` seconds. Returns whether all of it was written."""
        if self._thread is None:
            return True
        self._queue.put(None)
        self._thread.join(timeout)
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
