"""One server a directory: an advisory lock that dies with its holder."""

import fcntl
import os
from pathlib import Path

from s4_gateway.backend.local.faults import disk_error, unavailable
from s4_gateway.backend.local.files import FileLayer


class DirectoryLock:
    """Holds `directory/lock` until it is released or the last process that has it ends, however that happens.

    A server of several processes takes it in the parent, before it forks, and hands the same object to the store of each child
    (`LocalBackend(directory, lock=lock)`): a forked child shares the lock, so the children work together while any other server is
    refused, also when the parent is gone and a child is left. Nothing but the lock may be open when the parent forks: a store is
    opened by the child that uses it.
    """

    def __init__(self, directory: Path, *, layer: FileLayer | None = None) -> None:
        """Args: `directory` of the store; `layer`: the system calls that make it."""
        self._directory = directory.absolute()
        self._layer = layer or FileLayer()
        self._descriptor: int | None = None

    def acquire(self) -> None:
        """Take the lock; the directory is made, durably, if it is not there.

        Raises:
            BackendError: another server has it, with its process id in the message; or the directory or the file cannot be written.
        """
        try:
            _make_directory(self._directory, self._layer)
        except OSError as error:
            raise disk_error(error, f"making {self._directory}") from error
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

    @property
    def is_held(self) -> bool:
        """Whether this process, or the parent that it was forked from, has taken it."""
        return self._descriptor is not None

    def release(self) -> None:
        """Give it up; repeatable. Where processes share it, the last one to release it or to end frees the directory.

        The file stays: removing it would let two servers lock two files of one name.
        """
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None


def _make_directory(directory: Path, layer: FileLayer) -> None:
    """Make the directory and what is missing above it, durably; raises OSError."""
    if not directory.is_dir():
        _make_directory(directory.parent, layer)
        layer.make_directory(str(directory))
        layer.sync_directory(str(directory.parent))
