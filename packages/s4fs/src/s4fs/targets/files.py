"""Every other fsspec file system: local files, memory, stores without user metadata. A version is known by what `info` tells of it."""

import asyncio
import contextlib
import errno
import os
from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from fsspec import AbstractFileSystem
from fsspec.implementations.local import LocalFileSystem
from fsspec.implementations.memory import MemoryFileSystem
from fsspec.utils import tokenize
from s4_format import SIDECAR_SUFFIX, Buffer

from s4fs.errors import UnsupportedModeError
from s4fs.stored import UNCONDITIONAL, Condition, Moved, Span, StoredObject, Suffix, Upload, Wanted
from s4fs.targets.abc import Entry, Headers, Target

BLOCK_BYTES = 8 << 20
"""Read at once from a body that is read as a whole."""

_INCIDENTAL = frozenset({"destination", "gid", "islink", "mode", "nlink", "uid"})
"""What may change while the content stays. So may a local file's `created`, which is the time of its last change of any kind."""
_TIMES = ("mtime", "LastModified", "last_modified", "updated", "created")


class FilesTarget(Target):
    """Files of any file system. Conditions on a version cannot be kept: nothing compares and replaces in one step."""

    keeps_metadata = False
    conditional = False
    min_part_bytes = 1

    async def head(self, path: str) -> StoredObject:
        info = await self._run("info", path)
        if info["type"] == "directory":
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), path)
        return _stored(path, info)

    async def fetch(self, path: str, wanted: Wanted | None, *, pinned: StoredObject | None = None) -> "FilesDownload":
        try:
            stored = await self.head(path)
        except FileNotFoundError as error:
            if pinned is None:
                raise
            raise Moved from error
        if pinned is not None and not stored.is_same(pinned):
            raise Moved
        return FilesDownload(self, stored, wanted)

    async def read(self, stored: StoredObject, span: Span) -> bytes:
        """Bytes of exactly this version.

        Raises:
            Moved: the file was replaced.
        """
        try:
            data: bytes = await self._run("cat_file", stored.path, start=span.start, end=span.stop)
            after = await self.head(stored.path)
        except FileNotFoundError as error:
            raise Moved from error
        if not after.is_same(stored):
            raise Moved
        return data

    async def put(self, path: str, body: Sequence[Buffer], headers: Headers, condition: Condition = UNCONDITIONAL) -> str | None:
        upload = await self.upload(path, headers)
        try:
            await upload.add(body)
            return await upload.complete(condition)
        except BaseException:
            await upload.abort()
            raise

    async def upload(self, path: str, headers: Headers) -> Upload:
        if isinstance(self.fs, LocalFileSystem):
            return await asyncio.to_thread(LocalUpload, Path(path), make_parents=bool(self.fs.auto_mkdir))
        return HeldUpload(self, path) if isinstance(self.fs, MemoryFileSystem) else StreamedUpload(self, path)

    async def copy(self, source: StoredObject, path: str, headers: Headers) -> str | None:
        if isinstance(self.fs, LocalFileSystem) and self.fs.auto_mkdir:
            await self._run("makedirs", self.fs._parent(path), exist_ok=True)
        await self._run("cp_file", source.path, path)
        try:
            after = await self.head(source.path)
        except FileNotFoundError as error:
            raise Moved from error
        if not after.is_same(source):
            raise Moved
        return None

    async def remove(self, paths: Sequence[str]) -> None:
        for path in paths:
            with contextlib.suppress(FileNotFoundError):
                await self._run("rm_file", path)

    async def remove_tree(self, path: str) -> None:
        with contextlib.suppress(FileNotFoundError):
            await self._run("rm", path, recursive=True)

    async def children(self, path: str) -> list[Entry]:
        self.fs.invalidate_cache(path)
        return [_entry(info) for info in await self._run("ls", path, detail=True) if info["name"].rstrip("/") != path.rstrip("/")]

    async def descendants(self, path: str, *, prefix: str = "") -> list[Entry]:
        self.fs.invalidate_cache(path)
        found = await self._run("find", path, detail=True)
        start = f"{path.rstrip('/')}/{prefix}"
        return [_entry(info) for name, info in found.items() if name.startswith(start)]

    async def is_directory(self, path: str) -> bool:
        return bool(await self._run("isdir", path))

    async def check_writable(self, path: str) -> None:
        """Files are written by nobody in between."""

    async def make_directory(self, path: str, *, parents: bool, exist_ok: bool) -> None:
        if parents:
            await self._run("makedirs", path, exist_ok=exist_ok)
        else:
            await self._run("mkdir", path, create_parents=False)

    async def remove_directory(self, path: str) -> None:
        await self._run("rmdir", path)

    async def _run(self, name: str, *arguments: Any, **options: Any) -> Any:
        """A method of the file system: on this loop if it is asynchronous, else in a thread."""
        try:
            if self.fs.async_impl:
                return await getattr(self.fs, f"_{name}")(*arguments, **options)
            return await asyncio.to_thread(getattr(self.fs, name), *arguments, **options)
        except FileNotFoundError as error:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), *arguments[:1]) from error


class FilesDownload:
    """A file that is read block by block, each proven to be of the same version."""

    def __init__(self, target: FilesTarget, stored: StoredObject, wanted: Wanted | None) -> None:
        self._target = target
        self.stored = stored
        if isinstance(wanted, Suffix):
            self.start, self._stop = max(stored.size - wanted.size, 0), stored.size
        elif wanted is not None:
            self.start, self._stop = wanted.start, stored.size if wanted.stop is None else min(wanted.stop, stored.size)
        else:
            self.start, self._stop = 0, stored.size

    async def __aiter__(self) -> AsyncIterator[Buffer]:
        position = self.start
        while position < self._stop:
            stop = min(position + BLOCK_BYTES, self._stop)
            data = await self._target.read(self.stored, Span(position, stop))
            if len(data) != stop - position:
                raise OSError(errno.EIO, f"{len(data)} bytes were read, {stop - position} are there", self.stored.path)
            position = stop
            yield data

    async def aclose(self) -> None:
        """Nothing is held."""


class LocalUpload:
    """A local file that is written beside its place and moved there when it is whole.

    Beside it, so that moving is one step; under a name of S4's own, so that no listing shows it.
    """

    def __init__(self, path: Path, *, make_parents: bool) -> None:
        if path.is_dir():
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
        if make_parents:
            path.parent.mkdir(parents=True, exist_ok=True)
        self._path = path
        self._growing = path.with_name(f".{os.urandom(16).hex()}{SIDECAR_SUFFIX}")
        # Open over the calls of one upload, whose owner completes or aborts it.
        self._file = self._growing.open("xb")

    async def add(self, part: Sequence[Buffer]) -> None:
        await asyncio.to_thread(self._file.writelines, part)

    async def complete(self, condition: Condition) -> str | None:
        await asyncio.to_thread(self._move, condition)
        return None

    def _move(self, condition: Condition) -> None:
        _refuse_versions(str(self._path), condition)
        self._file.close()
        if condition.if_absent:
            # Only making a link refuses an existing name in one step.
            os.link(self._growing, self._path)
        else:
            self._growing.replace(self._path)
        self._clear()

    def _clear(self) -> None:
        self._growing.unlink(missing_ok=True)

    async def abort(self) -> None:
        self._file.close()
        with contextlib.suppress(OSError):
            await asyncio.to_thread(self._clear)


class HeldUpload:
    """A body of the memory file system, which shows files while they are written: it is kept apart until it is whole."""

    def __init__(self, target: FilesTarget, path: str) -> None:
        self._target = target
        self._path = path
        self._pieces: list[Buffer] = []

    async def add(self, part: Sequence[Buffer]) -> None:
        self._pieces.extend(part)

    async def complete(self, condition: Condition) -> str | None:
        _refuse_versions(self._path, condition)
        fs: AbstractFileSystem = self._target.fs
        await asyncio.to_thread(fs.pipe_file, self._path, b"".join(self._pieces), mode="create" if condition.if_absent else "overwrite")
        return None

    async def abort(self) -> None:
        self._pieces.clear()


class StreamedUpload:
    """A file of any other file system, as its own way of writing has it: object stores show it when it is closed."""

    def __init__(self, target: FilesTarget, path: str) -> None:
        self._target = target
        self._path = path
        self._file: Any = None
        self._pieces: list[Buffer] = []

    async def add(self, part: Sequence[Buffer]) -> None:
        if self._file is None and not self._pieces:
            # The mode is told at the end, and most files have one part.
            self._pieces = list(part)
            return
        await asyncio.to_thread(self._write, part)

    def _write(self, part: Sequence[Buffer]) -> None:
        if self._file is None:
            self._file = self._target.fs.open(self._path, "wb")
        for piece in (*self._pieces, *part):
            self._file.write(piece)
        self._pieces = []

    async def complete(self, condition: Condition) -> str | None:
        _refuse_versions(self._path, condition)
        if condition.if_absent:
            if self._file is not None:
                raise UnsupportedModeError(self._path, "only files of one part can be created exclusively on this file system")
            body = b"".join(self._pieces)
            await asyncio.to_thread(self._target.fs.pipe_file, self._path, body, mode="create")
            return None
        await asyncio.to_thread(self._write, ())
        await asyncio.to_thread(self._file.close)
        return None

    async def abort(self) -> None:
        if self._file is not None:
            with contextlib.suppress(OSError, NotImplementedError):
                await asyncio.to_thread(self._file.discard)
            self._file.closed = True


def _refuse_versions(path: str, condition: Condition) -> None:
    if condition.if_match is not None:
        raise UnsupportedModeError(path, "this file system cannot replace a file only if it is a certain version")


def _stored(path: str, info: Mapping[str, Any]) -> StoredObject:
    if info.get("size") is None:
        raise OSError(errno.ENOTSUP, "the file system tells no size, without which nothing can be verified", path)
    details = _details(info)
    identity = {key: value for key, value in details.items() if key not in _INCIDENTAL and not (key == "created" and "mtime" in info)}
    return StoredObject(path, int(info["size"]), tokenize(info["size"], identity), _time(info), details=details)


def _entry(info: Mapping[str, Any]) -> Entry:
    name = info["name"].rstrip("/")
    return Entry(name, None if info["type"] == "directory" else _stored(name, info), _details(info))


def _details(info: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in info.items() if key not in ("name", "size", "type")}


def _time(info: Mapping[str, Any]) -> datetime | None:
    value = next((info[name] for name in _TIMES if info.get(name) is not None), None)
    return datetime.fromtimestamp(value, UTC) if isinstance(value, int | float) else value if isinstance(value, datetime) else None
