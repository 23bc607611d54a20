"""The file layer: every system call that the store makes on blobs and their directories.

It is one small object so that tests can put another in its place, which fails, or which forgets what was not synced.
"""

import fcntl
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from s4_gateway.backend.abc import Buffer

_MAX_VECTOR = 512
"""Pieces in one writev; Linux takes 1,024 (IOV_MAX)."""


class FileLayer:
    """The real thing. Paths are absolute; every method raises OSError."""

    def make_directory(self, path: str) -> None:
        """Make one directory, for this user only; one that is there is no error."""
        Path(path).mkdir(0o700, exist_ok=True)

    def remove_directory(self, path: str) -> None:
        """Remove it if it is empty (ENOTEMPTY otherwise)."""
        Path(path).rmdir()

    def names(self, path: str) -> list[str]:
        """What is in a directory, in any order."""
        return [entry.name for entry in Path(path).iterdir()]

    def create(self, path: str) -> int:
        """A new file for writing; FileExistsError where there is one."""
        return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)

    def write(self, descriptor: int, pieces: Sequence[Buffer]) -> None:
        """Append all pieces; they are never joined."""
        for start in range(0, len(pieces), _MAX_VECTOR):
            vector = pieces[start : start + _MAX_VECTOR]
            written = os.writev(descriptor, vector)
            if written != sum(map(len, vector)):
                self._write_rest(descriptor, vector, written)

    def _write_rest(self, descriptor: int, vector: Sequence[Buffer], written: int) -> None:
        for piece in vector:
            rest = memoryview(piece)[written:]
            written = max(0, written - len(piece))
            while rest:
                rest = rest[os.write(descriptor, rest) :]

    def sync(self, descriptor: int) -> None:
        """Return when the file's bytes and size are on the disk."""
        if sys.platform == "darwin":
            fcntl.fcntl(descriptor, fcntl.F_FULLFSYNC)  # fsync there leaves the bytes in the drive's cache.
        else:
            os.fsync(descriptor)

    def sync_directory(self, path: str) -> None:
        """Return when the names in the directory are on the disk."""
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            self.sync(descriptor)
        finally:
            os.close(descriptor)

    def open(self, path: str) -> int:
        """A file for reading."""
        return os.open(path, os.O_RDONLY | os.O_CLOEXEC)

    def read(self, descriptor: int, size: int, offset: int) -> bytes:
        """`size` bytes from `offset`, fewer only where the file ends."""
        data = os.pread(descriptor, size, offset)
        while len(data) < size:
            more = os.pread(descriptor, size - len(data), offset + len(data))
            if not more:
                break
            data += more
        return data

    def size(self, descriptor: int) -> int:
        """The file's length in bytes."""
        return os.fstat(descriptor).st_size

    def space(self, path: str) -> tuple[int, int]:
        """Free bytes, for this user, and all bytes of the file system that the path is on."""
        about = os.statvfs(path)
        return about.f_bavail * about.f_frsize, about.f_blocks * about.f_frsize

    def close(self, descriptor: int) -> None:
        os.close(descriptor)

    def unlink(self, path: str) -> None:
        """Remove a file; one that is gone is no error."""
        Path(path).unlink(missing_ok=True)
