"""A stream that several processes write to, piece by piece: pieces of one never end up inside those of another."""

import fcntl
import os
import tempfile
import threading


class SharedStream:
    """Made before the processes fork, used by all of them.

    A pipe takes only 4 KiB in one piece (PIPE_BUF), so pieces are written under a lock, which ends with the process that holds it.

    Args:
        descriptor: written to; not closed.
    """

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        # Locks of this kind belong to processes: the threads of one need a lock of their own.
        self._file = tempfile.TemporaryFile()  # noqa: SIM115 - as long as the processes live
        self._threads = threading.Lock()

    def write(self, data: bytes, /) -> int:
        """Write all of it, however long that takes; OSError where the stream takes no more."""
        rest = memoryview(data)
        with self._threads:
            fcntl.lockf(self._file, fcntl.LOCK_EX)
            try:
                while rest:
                    rest = rest[os.write(self._descriptor, rest) :]
            finally:
                fcntl.lockf(self._file, fcntl.LOCK_UN)
        return len(data)

    def flush(self) -> None:
        """Nothing is held back."""

    def close(self) -> None:
        """Give up the lock file, in this process; the descriptor stays open."""
        self._file.close()


class SharedText:
    """Text to a shared stream; each write is one piece."""

    def __init__(self, stream: SharedStream) -> None:
        self._stream = stream

    def write(self, text: str, /) -> int:
        self._stream.write(text.encode("utf-8", "backslashreplace"))
        return len(text)

    def flush(self) -> None:
        """Nothing is held back."""
