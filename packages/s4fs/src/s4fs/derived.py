"""What fsspec derives from other operations, without its pitfalls: moves that lose nothing, files that end well, keys of versions."""

import asyncio
import errno
import os
from datetime import datetime
from typing import Any

from fsspec.asyn import AsyncFileSystem
from fsspec.compression import compr
from fsspec.core import get_compression
from fsspec.utils import tokenize

from s4fs.layers import CompressedFile, TextFile
from s4fs.options import ReadOptions
from s4fs.targets import Target


class DerivedOperations(AsyncFileSystem):  # type: ignore[misc]  # fsspec has no annotations
    """Moves, wrapped files, sums, times and keys of an `S4FileSystem`."""

    _target: Target
    read_options: ReadOptions

    def mv(self, path1: Any, path2: Any, recursive: bool = False, maxdepth: int | None = None, **kwargs: Any) -> None:
        """Copy, and delete the source once all of it is copied. A name moved to itself stays as it is.

        Raises:
            OSError: of the copy, after which nothing is deleted; a directory cannot be moved into itself.
        """
        if isinstance(path1, str) and isinstance(path2, str):
            source, path = self._strip_protocol(path1), self._strip_protocol(path2)
            if source == path:
                return
            if recursive and path.startswith(f"{source.rstrip('/')}/"):
                raise OSError(errno.EINVAL, "a directory cannot be moved into itself", path)
        self.copy(path1, path2, recursive=recursive, maxdepth=maxdepth, on_error="raise")
        self.rm(path1, recursive=recursive, maxdepth=maxdepth)

    def open(self, path: str, mode: str = "rb", compression: str | None = None, **kwargs: Any) -> Any:
        """Open an object; see `_open`. Text and compression (named, or "infer") become an object only with the whole of it, too."""
        if "b" not in mode:
            text = {name: kwargs.pop(name) for name in ("encoding", "errors", "newline") if name in kwargs}
            return TextFile(self.open(path, mode.replace("t", "") + "b", compression=compression, **kwargs), **text)
        bare = self._strip_protocol(path)
        name = get_compression(bare, compression)
        if name is None or mode == "rb":
            return super().open(bare, mode, compression=compression, **kwargs)
        file = super().open(bare, mode, **kwargs)
        return CompressedFile(compr[name](file, mode="w"), file)

    async def _du(self, path: str, total: bool = True, maxdepth: int | None = None, **kwargs: Any) -> Any:
        found = await self._find(path, maxdepth=maxdepth, detail=True, **kwargs)
        sizes = {name: row["size"] for name, row in found.items()}
        return sum(sizes.values()) if total else sizes

    async def _kinds(self, paths: list[str], *, trees: bool, folders: bool) -> tuple[list[str], list[str]]:
        """Which of the paths are objects, and which are directories, for those who delete them.

        Args:
            paths: bare names.
            trees: a name may be both, and must be one of them.
            folders: whether directories matter.

        Raises:
            FileNotFoundError: with `trees`, one is neither.
        """
        gate = asyncio.Semaphore(self.read_options.heads)

        async def kind(path: str) -> tuple[bool, bool]:
            async with gate:
                file = await self._isfile(path)
                folder = folders and (trees or not file) and await self._target.is_directory(path)
                if trees and not (file or folder):
                    raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), path)
                return file, folder

        kinds = list(zip(paths, await asyncio.gather(*map(kind, paths)), strict=True))
        return [path for path, (file, _) in kinds if file], [path for path, (_, folder) in kinds if folder]

    def modified(self, path: str) -> datetime:
        """When the object was written.

        Raises:
            IsADirectoryError: directories are not written.
        """
        found: datetime | None = self.info(path).get("LastModified")
        if found is None:
            raise IsADirectoryError(errno.EISDIR, "only objects have times", self._strip_protocol(path))
        return found

    def created(self, path: str) -> datetime:
        """When the object was written: objects are replaced and never changed."""
        return self.modified(path)

    def checksum(self, path: str) -> int:
        """A number that changes with the content: of the ETag where there is one."""
        row = self.info(path)
        return int(tokenize(row["name"], row.get("ETag"), row["size"], row.get("LastModified")), 16)

    def ukey(self, path: str) -> str:
        """As `checksum`: what else `info` tells depends on what was listed before."""
        return f"{self.checksum(path):032x}"
