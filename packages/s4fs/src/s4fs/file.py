"""Open files: reads of one version of an object, and writes that become visible when the file is closed."""

import asyncio
import logging
from concurrent.futures import Future
from types import TracebackType
from typing import TYPE_CHECKING, Any

from fsspec.asyn import sync
from fsspec.spec import AbstractBufferedFile
from s4_format import Buffer

from s4fs.errors import FileChangedError
from s4fs.face import Face
from s4fs.options import OnChange
from s4fs.readahead import FrameReadAhead
from s4fs.reader import Piece, within
from s4fs.stored import Condition, Moved, StoredObject
from s4fs.targets.abc import Headers
from s4fs.writer import ObjectWriter

if TYPE_CHECKING:
    from s4fs.filesystem import S4FileSystem

_log = logging.getLogger(__name__)

WRITE_BLOCK_BYTES = 8 << 20
"""Files up to this size are written as one object of known size; longer ones are sent on in blocks of it."""


class S4File(AbstractBufferedFile):  # type: ignore[misc]  # fsspec has no annotations
    """A file of an `S4FileSystem`, opened with its `open`.

    A file that is read is pinned to the version that was there when it was opened: when the object is replaced, a read raises
    `FileChangedError`, or with `on_change="reopen"` goes on in the new version, each single read being of one version.

    A file that is written becomes an object when it is closed, and never if an exception leaves its `with` block, or if it is
    forgotten without being closed.
    """

    def __init__(
        self,
        fs: "S4FileSystem",
        path: str,
        mode: str = "rb",
        *,
        block_size: int | str | None = None,
        autocommit: bool = True,
        cache_type: str = FrameReadAhead.name,
        cache_options: dict[str, Any] | None = None,
        on_change: OnChange = "error",
        condition: Condition | None = None,
        headers: Headers | None = None,
        **kwargs: Any,
    ) -> None:
        self._face: Face | None = None
        self._details: dict[str, Any] | None = None
        self._writer: ObjectWriter | None = None
        self._on_change = on_change
        self._condition = condition or Condition()
        self._headers = headers or Headers()
        size = None
        options = dict(cache_options or {})
        if mode == "rb":
            self._face = sync(fs.loop, fs.reader.open, path)
            size = self._face.size
            block_size = block_size if isinstance(block_size, int) else fs.read_options.readahead_bytes
            if cache_type == FrameReadAhead.name:
                options |= {"begin": self._begin, "align": self._align}
        else:
            block_size = block_size if isinstance(block_size, int) else WRITE_BLOCK_BYTES
        kwargs.pop("size", None)
        super().__init__(
            fs, path, mode, block_size=block_size, autocommit=autocommit, cache_type=cache_type, cache_options=options, size=size, **kwargs
        )

    # ---------------------------------------------------------------------------------------------------------- reading

    def _begin(self, start: int, stop: int) -> "Future[list[Piece]]":
        return asyncio.run_coroutine_threadsafe(self._pieces(start, stop), self.fs.loop)

    def _align(self, stop: int) -> int:
        """The end of the frame in which the byte before `stop` lies; `stop` where there are no frames."""
        frames = self._face.frames if self._face is not None else None
        number = frames.find(stop - 1) if frames is not None else None
        return stop if frames is None or number is None else frames[number].original_end

    async def _pieces(self, start: int, stop: int) -> list[Piece]:
        if self._face is None:
            raise ValueError("File not in read mode")
        try:
            pieces: list[Piece] = await self.fs.reader.read(self._face, start, stop)
        except Moved as moved:
            if self._on_change == "error":
                raise FileChangedError(self.path, "the object was replaced while it was being read") from moved
            raise
        return pieces

    def _fetch_range(self, start: int, end: int) -> bytes:
        """For the cache types of fsspec."""
        stop = min(end, self.size)
        if start >= stop:
            return b""
        pieces = sync(self.fs.loop, self._pieces, start, stop)
        return b"".join(within(pieces, start, stop, self.path))

    def read(self, length: int | None = -1) -> bytes:
        """Up to `length` bytes; all that are left for None and negative numbers.

        Raises:
            FileChangedError: the object was replaced, and the file is not to go on in another version.
            OSError: see `s4fs.errors`.
        """
        for _ in range(self.fs.read_options.attempts):
            try:
                data: bytes = super().read(length)
            except Moved:
                self._reopen()
            else:
                return data
        raise FileChangedError(self.path, "the object is being replaced faster than it can be read")

    def _reopen(self) -> None:
        """Go on in the version that is there now, at the same place."""
        self.fs.reader.forget(self.path)
        self._face = sync(self.fs.loop, self.fs.reader.open, self.path)
        self.size = self._face.size
        self._details = None
        kind: Any = type(self.cache)
        options = {"begin": self._begin, "align": self._align} if kind is FrameReadAhead else {}
        self.cache: Any = kind(self.blocksize, self._fetch_range, self.size, **options)

    def is_of(self, stored: StoredObject) -> bool:
        """Whether the file that is read is of this version."""
        return self._face is not None and self._face.stored.is_same(stored)

    @property
    def details(self) -> dict[str, Any]:
        """What `info` tells, of the version that is open."""
        told: dict[str, Any] = self._details or (self.fs.row_of(self._face) if self._face is not None else self.fs.info(self.path))
        self._details = told
        return told

    @details.setter
    def details(self, value: dict[str, Any]) -> None:
        self._details = value
        self.size = value["size"]

    # ---------------------------------------------------------------------------------------------------------- writing

    def _upload_chunk(self, final: bool = False) -> bool:
        """Hand what is buffered on; the last of it also ends the write, unless a transaction is to do that."""
        data = self.buffer.getvalue()
        if self._writer is None:
            size = len(data) if final else None
            self._writer = sync(self.fs.loop, self.fs.begin, self.path, self._headers, self._condition, size, data)
        if data:
            self._add(data)
        if final and self.autocommit:
            self.commit()
        return True

    def _add(self, data: Buffer) -> None:
        assert self._writer is not None
        try:
            sync(self.fs.loop, self._writer.add, data)
        except BaseException:
            # Closed, so that no later `close` makes an object of the end of the file alone.
            self.give_up()
            raise

    def commit(self) -> None:
        """Make the object of what was written; called by `close`, or at the end of a transaction.

        Raises:
            OSError: see `s4fs.errors`; nothing is visible then.
        """
        writer, self._writer = self._writer, None
        if writer is not None:
            try:
                sync(self.fs.loop, writer.commit)
            finally:
                self.fs.invalidate_cache(self.path)

    def discard(self) -> None:
        """Drop what was written."""
        writer, self._writer = self._writer, None
        if writer is not None:
            sync(self.fs.loop, writer.abort)

    def give_up(self) -> None:
        """End a write that is not to become an object."""
        self.forced = True
        self.closed = True
        self.discard()

    def forget(self) -> None:
        """As `give_up`, without waiting: whoever collects garbage may be the event loop itself."""
        self.forced = True
        self.closed = True
        _log.warning("%r was not closed after writing, so nothing of it was stored", self.path)
        if self._writer is not None:
            asyncio.run_coroutine_threadsafe(self._writer.abort(), self.fs.loop)

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """Close the file; after an exception nothing of what was written is kept."""
        if kind is not None and self.mode != "rb" and not self.closed:
            self.give_up()
        else:
            self.close()

    def __del__(self) -> None:
        """A file that nobody closed is not complete."""
        if not self.closed and self.mode != "rb":
            self.forget()
        elif not self.closed:
            self.close()

    def __reduce__(self) -> tuple[Any, ...]:
        """Open the same version of the object at the same place elsewhere."""
        if self._face is None:
            raise TypeError("a file that is written cannot be pickled")
        return _reopened, (self.fs, self.path, self.loc, self.blocksize, self._on_change, self._face.stored)


def _reopened(fs: "S4FileSystem", path: str, loc: int, block_size: int, on_change: OnChange, stored: StoredObject) -> Any:
    file = fs.open(path, "rb", block_size=block_size, on_change=on_change)
    if on_change == "error" and not file.is_of(stored):
        raise FileChangedError(path, "the object was replaced since the file was opened")
    file.seek(loc)
    return file
