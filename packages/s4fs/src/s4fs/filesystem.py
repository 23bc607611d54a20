"""The file system that fsspec makes for `s4://`."""

import asyncio
import contextlib
import errno
import mimetypes
import os
import shutil
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import fsspec
from fsspec.asyn import sync_wrapper
from fsspec.callbacks import DEFAULT_CALLBACK, Callback
from fsspec.utils import stringify_path
from s4_codecs import Digests, EncodeOptions
from s4_format import Buffer, strip_reserved, unquote_etag

from s4fs import stamp
from s4fs.copier import copy_object
from s4fs.derived import DerivedOperations
from s4fs.errors import ConditionFailedError, ReservedNameError, UnsupportedModeError, WriteDisabledError
from s4fs.face import Face, FaceFinder
from s4fs.file import S4File
from s4fs.listing import Lister, Row, directory_row, row_of
from s4fs.names import is_hidden
from s4fs.options import BUFFERED_BYTES, MIB, OnChange, ReadOptions, WriteOptions
from s4fs.readahead import FrameReadAhead
from s4fs.reader import Reader
from s4fs.removal import removable
from s4fs.stored import Condition
from s4fs.targets import Entry, target_for, underlying
from s4fs.targets.abc import Headers
from s4fs.transfer import LocalSource, receive
from s4fs.writer import ObjectWriter, written

PROTOCOL = "s4"


class S4FileSystem(DerivedOperations):
    """Objects that S4 stores compressed, read and written straight where they lie.

    Args:
        fs: the underlying file system, ready to use; goes before the next two.
        target_protocol: the protocol of the underlying file system, "s3" unless told otherwise.
        target_options: its options, such as `endpoint_url`, `key` and `secret` of s3fs.
        write_enabled: whether anything may be written, deleted or copied; reading alone is the default.
        write_codec: the codec of what is written, by its label; incompressible objects become "passthrough" in any case.
        write_zstd_level: 1 (fast) to 22 (small).
        trust_trailer: whether an object without S4 metadata is read as S4's when its body says so. The default is True for targets
            without metadata, where nothing else can say so, and False for S3. Where it is True, a foreign file that was itself made of
            S4 frames comes back decoded, and one cut off in the middle is an error.
        frame_size: plaintext bytes of one frame of what is written, 4 KiB to 64 MiB; small ones make small ranges cheap. None: 512 KiB,
            and 64 KiB for Parquet.
        part_size: stored bytes of the parts of large objects.
        sidecars: whether objects above 4 MiB get an index beside them for readers that know no trailers.
        cache_bytes: decoded frames that are kept, over all objects.
        readahead_bytes: how much of a file read in order is decoded at a time, at most; two such steps are ahead of what is read.
        on_change: "error" or "reopen": what an open file does when its object was replaced.
        allow_inexact_open: has no effect, since sizes are always exact; the reference's option of this name keeps working.
        asynchronous, loop, batch_size, use_listings_cache, listings_expiry_time, max_paths, skip_instance_cache: as fsspec has them.

    Raises:
        ValueError: an option is out of its range, or `fs` runs on an event loop that cannot be used from here.
    """

    protocol = PROTOCOL
    root_marker = ""

    def __init__(
        self,
        fs: Any = None,
        target_protocol: str = "s3",
        target_options: Mapping[str, Any] | None = None,
        *,
        allow_inexact_open: bool = False,
        write_enabled: bool = False,
        write_codec: str = "cpu-zstd",
        write_zstd_level: int = 3,
        trust_trailer: bool | None = None,
        frame_size: int | None = None,
        part_size: int = 8 * MIB,
        sidecars: bool = True,
        cache_bytes: int = 64 * MIB,
        readahead_bytes: int = 16 * MIB,
        on_change: OnChange = "error",
        asynchronous: bool = False,
        loop: asyncio.AbstractEventLoop | None = None,
        batch_size: int | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(asynchronous=asynchronous, loop=loop, batch_size=batch_size, **kwargs)
        self.allow_inexact_open = allow_inexact_open
        self.read_options = ReadOptions(cache_bytes=cache_bytes, readahead_bytes=readahead_bytes, on_change=on_change)
        self.write_options = WriteOptions(
            enabled=write_enabled,
            encode=EncodeOptions(codec=write_codec, zstd_level=write_zstd_level),
            frame_size=frame_size,
            part_size=part_size,
            sidecars=sidecars,
        )
        self.fs = fs if fs is not None else underlying(target_protocol, target_options or {}, asynchronous=asynchronous, loop=self._loop)
        if self.fs.async_impl and self.fs.asynchronous != asynchronous:
            raise ValueError("fs and S4FileSystem must both be asynchronous, or neither: they share one event loop")
        self._target = target_for(self.fs)
        self._pool = ThreadPoolExecutor(min(8, (os.cpu_count() or 1) + 1), thread_name_prefix="s4fs")
        trust = not self._target.keeps_metadata if trust_trailer is None else trust_trailer
        self._finder = FaceFinder(self._target, trust_trailer=trust)
        self.reader = Reader(self._target, self._finder, self.read_options, pool=self._pool)
        self._lister = Lister(self._target, self._finder, self.reader, at_once=self.read_options.heads)
        self.root_marker = self.fs.root_marker
        # Bare names begin with a slash on some targets and not on others: only the instance knows.
        self._strip_protocol = self._strip_for_target  # type: ignore[method-assign]

    # ----------------------------------------------------------------------------------------------------------- names

    @classmethod
    def _strip_protocol(cls, path: Any) -> Any:
        """The path without `s4://` and trailing slashes."""
        if isinstance(path, list):
            return [cls._strip_protocol(one) for one in path]
        return stringify_path(path).removeprefix(f"{PROTOCOL}://").rstrip("/") or cls.root_marker

    def _strip_for_target(self, path: Any) -> Any:
        if isinstance(path, list):
            return [self._strip_for_target(one) for one in path]
        return self.fs._strip_protocol(stringify_path(path).removeprefix(f"{PROTOCOL}://"))

    def _parent(self, path: Any) -> str:
        """The directory of a path."""
        parent: str = self.fs._parent(self._strip_protocol(path))
        return parent

    def _visible(self, path: Any) -> str:
        """The bare path of something that may be read.

        Raises:
            FileNotFoundError: the name belongs to S4 itself.
        """
        bare: str = self._strip_protocol(path)
        if is_hidden(bare):
            raise _absent(bare)
        return bare

    def _writable(self, path: Any) -> str:
        """The bare path of something that may be written.

        Raises:
            WriteDisabledError, ReservedNameError
        """
        bare: str = self._strip_protocol(path)
        if not self.write_options.enabled:
            raise WriteDisabledError(bare, "this file system is read-only; make it with write_enabled=True to write")
        if is_hidden(bare):
            raise ReservedNameError(bare, "the name belongs to S4's own records")
        return bare

    # -------------------------------------------------------------------------------------------------------- listings

    def invalidate_cache(self, path: str | None = None) -> None:
        """Forget listings, sizes, indexes and decoded frames: of a path and what lies below it, or all."""
        self.fs.invalidate_cache(path if path is None else self._strip_protocol(path))
        if path is None:
            self.dircache.clear()
            self.reader.clear()
        else:
            bare = self._strip_protocol(path)
            self.reader.forget(bare)
            below = f"{bare.rstrip('/')}/" if bare else ""
            for listed in [name for name in list(self.dircache) if name.startswith(below)]:
                self.dircache.pop(listed, None)
            while True:
                self.dircache.pop(bare, None)
                parent = self._parent(bare)
                if parent == bare or not bare:
                    break
                bare = parent
        super().invalidate_cache(path)

    async def _children(self, path: str, *, refresh: bool) -> list[Entry]:
        if not refresh:
            with contextlib.suppress(KeyError):
                cached: list[Entry] = self.dircache[path]
                return cached
        entries = await self._lister.children(path)
        if entries:
            self.dircache[path] = entries
        return entries

    async def _ls(self, path: str, detail: bool = True, *, refresh: bool = False, sizes: bool = True, **kwargs: Any) -> Any:
        path = self._strip_protocol(path)
        if is_hidden(path):
            raise _absent(path)
        try:
            entries = await self._children(path, refresh=refresh)
        except NotADirectoryError:
            entries = []
        if not entries and path not in ("", "/"):
            rows = await self._ls_of_one(path, sizes=detail and sizes)
        else:
            rows = await self._lister.rows(entries, sizes=detail and sizes)
        return rows if detail else [row["name"] for row in rows]

    async def _ls_of_one(self, path: str, *, sizes: bool) -> list[Row]:
        """The listing of a name below which nothing is: a file, or an empty directory."""
        try:
            stored = await self._target.head(path)
        except IsADirectoryError:
            stored = None
        except FileNotFoundError:
            if await self._target.is_directory(path):
                return []
            raise _absent(path) from None
        if stored is None:
            if await self._target.is_directory(path):
                return []
            raise _absent(path)
        return await self._lister.rows([Entry(path, stored)], sizes=sizes)

    async def _info(self, path: str, *, refresh: bool = False, **kwargs: Any) -> Row:
        path = self._visible(path)
        if path in ("", "/"):
            return directory_row(path)
        entry = None if refresh else self._listed(path)
        if entry is not None:
            rows = await self._lister.rows([entry], sizes=True)
            if rows:
                return rows[0]
        try:
            return self.row_of(await self.reader.head(path))
        except (FileNotFoundError, IsADirectoryError):
            if await self._target.is_directory(path):
                return directory_row(path)
            raise _absent(path) from None

    def row_of(self, face: Face) -> Row:
        """An object as `info` shows it."""
        return row_of(face, keeps_metadata=self._target.keeps_metadata)

    def _listed(self, path: str) -> Entry | None:
        """The path's entry in a listing that is still kept."""
        with contextlib.suppress(KeyError):
            entries: list[Entry] = self.dircache[self._parent(path)]
            return next((entry for entry in entries if entry.name == path), None)
        return None

    async def _exists(self, path: str, **kwargs: Any) -> bool:
        path = self._strip_protocol(path)
        if is_hidden(path):
            return False
        return path in ("", "/") or await self._isfile(path) or await self._target.is_directory(path)

    async def _isfile(self, path: str) -> bool:
        path = self._strip_protocol(path)
        if is_hidden(path) or path in ("", "/"):
            return False
        entry = self._listed(path)
        if entry is not None:
            return entry.stored is not None
        try:
            await self._target.head(path)
        except (FileNotFoundError, IsADirectoryError):
            return False
        return True

    async def _isdir(self, path: str) -> bool:
        path = self._strip_protocol(path)
        if is_hidden(path):
            return False
        return path in ("", "/") or await self._target.is_directory(path)

    async def _walk(self, path: str, *args: Any, **kwargs: Any) -> AsyncIterator[Any]:
        kwargs.setdefault("sizes", kwargs.get("detail", False))
        async for step in super()._walk(path, *args, **kwargs):
            yield step

    def walk(self, path: str, *args: Any, **kwargs: Any) -> Any:
        """Directories and files below a path, level by level; see fsspec. Sizes are asked for only with `detail=True`."""
        kwargs.setdefault("sizes", kwargs.get("detail", False))
        return super().walk(path, *args, **kwargs)

    async def _glob(self, path: str, maxdepth: int | None = None, **kwargs: Any) -> Any:
        return await super()._glob(path, maxdepth=maxdepth, sizes=kwargs.get("detail", False), **kwargs)

    async def _find(
        self,
        path: str,
        maxdepth: int | None = None,
        withdirs: bool = False,
        *,
        detail: bool = False,
        prefix: str = "",
        sizes: bool | None = None,
        **kwargs: Any,
    ) -> Any:
        bare = self._strip_protocol(path)
        sizes = detail if sizes is None else sizes
        if maxdepth is not None or not self._target.keeps_metadata or not bare:
            # Step by step, as directories that are empty or not to be descended into can only be found so.
            found = await super()._find(bare, maxdepth=maxdepth, withdirs=withdirs, detail=True, sizes=sizes, **kwargs)
            start = f"{bare.rstrip('/')}/{prefix}" if prefix else ""
            rows = {name: row for name, row in found.items() if name.startswith(start)}
        else:
            rows = await self._find_flat(bare, prefix, withdirs=withdirs, sizes=sizes)
        return rows if detail else list(rows)

    async def _find_flat(self, path: str, prefix: str, *, withdirs: bool, sizes: bool) -> dict[str, Row]:
        """All objects below a directory in one listing, and the directories that their names make."""
        if is_hidden(path):
            return {}
        entries = await self._lister.descendants(path, prefix)
        if not entries and not prefix and await self._isfile(path):
            return {path: await self._info(path)} if sizes else {path: {"name": path, "size": None, "type": "file"}}
        rows = {row["name"]: row for row in await self._lister.rows(entries, sizes=sizes)}
        if withdirs:
            if not prefix and await self._isdir(path):
                rows[path] = directory_row(path)
            for entry in entries:
                folder = entry.name.rpartition("/")[0]
                while len(folder) > len(path) and folder not in rows:
                    rows[folder] = directory_row(folder)
                    folder = folder.rpartition("/")[0]
        return dict(sorted(rows.items()))

    # --------------------------------------------------------------------------------------------------------- reading

    async def _cat_file(self, path: str, start: int | None = None, end: int | None = None, **kwargs: Any) -> bytes:
        bare = self._visible(path)
        if start is None and end is None:
            return await self.reader.whole(bare)
        return await self.reader.range(bare, start, end)

    async def _cat_ranges(
        self,
        paths: list[str],
        starts: Any,
        ends: Any,
        max_gap: int | None = None,
        batch_size: int | None = None,
        on_error: str = "return",
        **kwargs: Any,
    ) -> list[Any]:
        """Ranges of several objects: those of one object are planned together, so that frames and requests are shared."""
        if not isinstance(paths, list):
            raise TypeError("paths must be a list")
        starts = list(starts) if isinstance(starts, Iterable) else [starts] * len(paths)
        ends = list(ends) if isinstance(ends, Iterable) else [ends] * len(paths)
        if not len(paths) == len(starts) == len(ends):
            raise ValueError("as many starts and ends as paths are needed")
        wanted: dict[str, list[int]] = {}
        for number, path in enumerate(paths):
            wanted.setdefault(path, []).append(number)
        gate = asyncio.Semaphore(batch_size or self.read_options.heads)

        async def read(path: str, numbers: Sequence[int]) -> list[Any]:
            async with gate:
                try:
                    bounds = [(starts[number], ends[number]) for number in numbers]
                    return list(await self.reader.ranges(self._visible(path), bounds))
                except Exception as error:
                    if on_error == "raise":
                        raise
                    return [error] * len(numbers)

        out: list[Any] = [None] * len(paths)
        found = await asyncio.gather(*(read(path, numbers) for path, numbers in wanted.items()))
        for numbers, values in zip(wanted.values(), found, strict=True):
            for number, value in zip(numbers, values, strict=True):
                out[number] = value
        return out

    async def _get_file(self, rpath: str, lpath: Any, callback: Callback = DEFAULT_CALLBACK, outfile: Any = None, **kwargs: Any) -> None:
        await receive(self.reader, self._visible(rpath), lpath if outfile is None else outfile, pool=self._pool, callback=callback)

    def _open(
        self,
        path: str,
        mode: str = "rb",
        block_size: int | None = None,
        autocommit: bool = True,
        cache_options: dict[str, Any] | None = None,
        cache_type: str | None = None,
        on_change: OnChange | None = None,
        if_match: str | None = None,
        **kwargs: Any,
    ) -> S4File:
        """Open an object.

        Args:
            path: of the object.
            mode: "rb"; "wb" and "xb" where writing is enabled. Text modes come with `open`.
            block_size: most bytes read ahead, or buffered before they are sent on.
            autocommit: False within transactions.
            cache_options, cache_type: a cache of fsspec instead of the one made for frames.
            on_change: see the class.
            if_match: write only if the object's ETag, as `info` shows it, is still this one.
            kwargs: options of the underlying file system's writes, such as `ContentType` and `Metadata`.

        Raises:
            UnsupportedModeError, WriteDisabledError, ReservedNameError, FileNotFoundError, OSError
        """
        if mode == "rb":
            return S4File(
                self,
                self._visible(path),
                "rb",
                block_size=block_size,
                cache_type=cache_type or FrameReadAhead.name,
                cache_options=cache_options,
                on_change=on_change or self.read_options.on_change,
            )
        if mode not in ("wb", "xb"):
            raise UnsupportedModeError(self._strip_protocol(path), f"mode {mode!r}: objects are written whole, not appended to or updated")
        bare = self._writable(path)
        fsspec.asyn.sync(self.loop, self._target.check_writable, bare)
        if mode == "xb" and self.exists(bare):
            # Told now rather than when all is written; what is made meanwhile is told at the end.
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), bare)
        condition = fsspec.asyn.sync(self.loop, self._condition, bare, mode == "xb", if_match)
        return S4File(self, bare, mode, block_size=block_size, autocommit=autocommit, condition=condition, headers=_headers(kwargs))

    # --------------------------------------------------------------------------------------------------------- writing

    async def _condition(self, path: str, create: bool, if_match: str | None) -> Condition:
        """What must hold for a write, told of the stored object: users know its logical ETag."""
        if if_match is None:
            return Condition(if_absent=create)
        face = await self.reader.head(path)
        return _matching(face, if_match, path)

    async def begin(
        self, path: str, headers: Headers, condition: Condition, size: int | None, head: Buffer, digested: stamp.Digested | None = None
    ) -> ObjectWriter:
        """Begin to write an object; see `ObjectWriter`."""
        await self._target.check_writable(path)
        return ObjectWriter(
            self._target,
            path,
            self.write_options,
            headers=headers,
            pool=self._pool,
            condition=condition,
            size=size,
            digested=digested,
            head=head,
        )

    async def _pipe_file(self, path: str, value: Buffer, mode: str = "overwrite", if_match: str | None = None, **kwargs: Any) -> None:
        """Store an object; `mode="create"` only where there is none, `if_match` only over the version with this ETag."""
        bare = self._writable(path)
        condition = await self._condition(bare, mode == "create", if_match)
        data = value if isinstance(value, bytes) else bytes(value)
        digested = None
        if len(data) > BUFFERED_BYTES:
            # What is sent in parts has its metadata sent first: computed before, it is complete.
            digests = Digests(stamp.DIGESTS)
            await asyncio.get_running_loop().run_in_executor(self._pool, digests.update, data)
            digested = stamp.Digested.of(digests)
        writer = await self.begin(bare, _headers(kwargs), condition, len(data), data, digested)
        try:
            async with written(writer):
                view = memoryview(data)
                for start in range(0, len(view), BUFFERED_BYTES):
                    await writer.add(view[start : start + BUFFERED_BYTES])
        finally:
            self.invalidate_cache(bare)

    async def _put_file(
        self, lpath: str, rpath: str, callback: Callback = DEFAULT_CALLBACK, mode: str = "overwrite", **kwargs: Any
    ) -> None:
        bare = self._writable(rpath)
        file = await asyncio.to_thread(LocalSource.open, lpath)
        if file is None:
            await self._target.make_directory(bare, parents=True, exist_ok=True)
            return
        try:
            guessed, _ = mimetypes.guess_type(lpath)
            if guessed is not None and self._target.keeps_metadata:
                kwargs.setdefault("ContentType", guessed)
            condition = await self._condition(bare, mode == "create", kwargs.pop("if_match", None))
            callback.set_size(file.size)
            data = await asyncio.to_thread(file.read)
            writer = await self.begin(bare, _headers(kwargs), condition, file.size, data)
            async with written(writer):
                while data:
                    await writer.add(data)
                    callback.relative_update(len(data))
                    data = await asyncio.to_thread(file.read)
        finally:
            file.close()
            self.invalidate_cache(bare)

    async def _touch(self, path: str, truncate: bool = True, **kwargs: Any) -> None:
        """Make an empty object; with `truncate=False` an existing one stays as it is."""
        bare = self._writable(path)
        if truncate or not await self._exists(bare):
            await self._pipe_file(bare, b"", **kwargs)

    touch = sync_wrapper(_touch)

    async def _cp_file(self, path1: str, path2: str, **kwargs: Any) -> None:
        source, path = self._visible(path1), self._writable(path2)
        kwargs.pop("onerror", None)
        if source == path and not kwargs:
            # Moves are copies after which the source is deleted.
            raise shutil.SameFileError(errno.EINVAL, "the object would be copied onto itself", path)
        await self._target.check_writable(path)
        try:
            await copy_object(self._target, self._finder, source, path, sidecars=self.write_options.sidecars, headers=_headers(kwargs))
        except (FileNotFoundError, IsADirectoryError):
            if not await self._target.is_directory(source):
                raise
            await self._target.make_directory(path, parents=True, exist_ok=True)
        finally:
            self.invalidate_cache(path)

    async def _rm_file(self, path: str, **kwargs: Any) -> None:
        bare = self._writable(path)
        await self._target.check_writable(bare)
        try:
            await self._target.remove(self._removable([bare]))
        finally:
            self.invalidate_cache(bare)

    async def _rm(
        self,
        path: Any,
        recursive: bool = False,
        batch_size: int | None = None,
        maxdepth: int | None = None,
        **kwargs: Any,
    ) -> None:
        """Delete objects with their sidecars; `recursive` also what lies below directories."""
        # What goes as a whole is listed where it is deleted, and not asked about name by name.
        trees = recursive and maxdepth is None
        paths = await self._expand_path(path, recursive=recursive and not trees, maxdepth=maxdepth)
        bare = [self._writable(one) for one in paths]
        if not bare:
            return
        await self._target.check_writable(bare[0])
        files, folders = await self._kinds(bare, trees=trees, folders=trees or not recursive)
        if folders and not files and not trees:
            raise IsADirectoryError(errno.EISDIR, "directories are deleted with recursive=True", folders[0])
        try:
            await self._target.remove(self._removable(files))
            if trees:
                for folder in folders:
                    await self._target.remove_tree(folder)
        finally:
            for one in bare:
                self.invalidate_cache(one)

    def _removable(self, paths: list[str]) -> list[str]:
        return removable(paths) if self._target.keeps_metadata else paths

    async def _mkdir(self, path: str, create_parents: bool = True, **kwargs: Any) -> None:
        await self._target.make_directory(self._writable(path), parents=create_parents, exist_ok=False)
        self.invalidate_cache(path)

    async def _makedirs(self, path: str, exist_ok: bool = False) -> None:
        await self._target.make_directory(self._writable(path), parents=True, exist_ok=exist_ok)
        self.invalidate_cache(path)

    async def _rmdir(self, path: str) -> None:
        """Remove an empty bucket or directory."""
        await self._target.remove_directory(self._writable(path))
        self.invalidate_cache(path)

    rmdir = sync_wrapper(_rmdir)


def _absent(path: str) -> FileNotFoundError:
    return FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), path)


def _headers(options: Mapping[str, Any]) -> Headers:
    """What callers of fsspec hand over for the underlying write; S4's own keys are never a client's."""
    rest = dict(options)
    return Headers(strip_reserved(rest.pop("Metadata", None) or {}), rest)


def _matching(face: Face, if_match: str, path: str) -> Condition:
    if unquote_etag(if_match) not in ("*", face.etag):
        raise ConditionFailedError(path, f"the object's ETag is {face.etag}, not {if_match}")
    return Condition(if_match=face.stored.etag)
