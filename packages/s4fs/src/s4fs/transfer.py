"""Local files as source and destination."""

import asyncio
import contextlib
import errno
import os
from concurrent.futures import Executor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Self

from fsspec.callbacks import Callback
from fsspec.utils import isfilelike

from s4fs.errors import FileChangedError
from s4fs.reader import Reader
from s4fs.stored import Moved

READ_BYTES = 1 << 20
ATTEMPTS = 3


@dataclass(frozen=True, slots=True)
class LocalSource:
    """A local file that is being read."""

    file: BinaryIO
    size: int
    """Its bytes when it was opened; a file that grows or shrinks meanwhile is refused by whoever writes it."""

    @classmethod
    def open(cls, path: str) -> Self | None:
        """The file; None for a directory."""
        local = Path(path)
        if local.is_dir():
            return None
        file = local.open("rb")
        return cls(file, os.fstat(file.fileno()).st_size)

    def read(self) -> bytes:
        """The next bytes, none at the end."""
        return self.file.read(READ_BYTES)

    def close(self) -> None:
        """Close the file."""
        self.file.close()


async def receive(reader: Reader, path: str, destination: Any, *, pool: Executor, callback: Callback) -> None:
    """Read an object into a local file, which takes its place when all of it is there, or into an open one.

    Raises:
        BlockingIOError: the object is being replaced faster than it can be read.
        FileChangedError: it was replaced when the open file had a part of it.
        OSError: of the read; no local file is changed then.
    """
    if isfilelike(destination):
        try:
            await _copy(reader, path, destination, pool=pool, callback=callback)
        except Moved as moved:
            # What was handed over already cannot be taken back.
            raise FileChangedError(path, "the object was replaced while it was being read") from moved
        return
    local = Path(destination)
    growing = local.with_name(f"{local.name}.{os.urandom(4).hex()}.part")
    loop = asyncio.get_running_loop()
    if await loop.run_in_executor(pool, local.is_dir):
        # Directories are received too, and are there already.
        with contextlib.suppress(FileNotFoundError, IsADirectoryError):
            await reader.head(path)
            raise OSError(errno.EINVAL, "a local directory is where the object is to go", str(local))
        return
    try:
        await _received(reader, path, growing, pool=pool, callback=callback)
        await loop.run_in_executor(pool, growing.replace, local)
    except IsADirectoryError:
        await loop.run_in_executor(pool, _make_directory, local)
    finally:
        await loop.run_in_executor(pool, _remove, growing)


async def _received(reader: Reader, path: str, growing: Path, *, pool: Executor, callback: Callback) -> None:
    loop = asyncio.get_running_loop()
    for _ in range(ATTEMPTS):
        file = await loop.run_in_executor(pool, growing.open, "wb")
        try:
            await _copy(reader, path, file, pool=pool, callback=callback)
        except Moved:
            reader.forget(path)
        else:
            return
        finally:
            await loop.run_in_executor(pool, file.close)
    raise BlockingIOError(f"the object is being replaced faster than it can be read: {path!r}")


async def _copy(reader: Reader, path: str, file: Any, *, pool: Executor, callback: Callback) -> None:
    loop = asyncio.get_running_loop()
    async with contextlib.aclosing(reader.stream(path)) as chunks:
        async for chunk in chunks:
            await loop.run_in_executor(pool, file.write, chunk)
            callback.relative_update(len(chunk))


def _make_directory(path: Path) -> None:
    path.mkdir(parents=True, exist_ok=True)


def _remove(path: Path) -> None:
    path.unlink(missing_ok=True)
