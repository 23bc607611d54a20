"""One server a directory: an advisory lock that dies with its holder."""

import fcntl
import os
from pathlib import Path

from s4_gateway.backend.local.faults import disk_error, unavailable


class DirectoryLock:
    """Holds `directory/lock` until it is released or the process ends, however it ends."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._descriptor: int | None = None

    def acquire(self) -> None:
        """Take the lock.

        Raises:
            BackendError: another server has it, with its process id in the message; or the file cannot be written.
        """
        path = self._directory / "lock"
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise disk_error(error, f"opening {path}") from error
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            holder = os.pread(descriptor, 32, 0).decode("ascii", "replace").strip()
            os.close(descriptor)
            raise unavailable(f"{self._directory} is in use by another server (process {holder or 'unknown'})") from error
        except OSError as error:
            os.close(descriptor)
            raise disk_error(error, f"locking {path}") from error
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, b"%d\n" % os.getpid(), 0)
        self._descriptor = descriptor

    def release(self) -> None:
        """Give it up; repeatable. The file stays: removing it would let two servers lock two files of one name."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None
