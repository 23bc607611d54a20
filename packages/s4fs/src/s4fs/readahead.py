"""The buffer of an open file: what was decoded last, and, while it is read in order, what comes next, decoded meanwhile."""

from bisect import bisect_right
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import ClassVar

from fsspec.caching import BaseCache, register_cache

from s4fs.reader import Piece

FIRST_BYTES = 256 * 1024
GROWTH = 4

Begin = Callable[[int, int], "Future[list[Piece]]"]
"""Starts reading logical bytes: at least those asked for, and as much more as their frames hold."""


class _Window:
    """Decoded bytes [start, stop) of the file, in the pieces they were decoded in."""

    def __init__(self, pieces: Sequence[Piece]) -> None:
        self._pieces = pieces
        self._offsets = [piece.offset for piece in pieces]
        self.start = pieces[0].offset if pieces else 0
        self.stop = self.start
        for offset, data in pieces:
            if offset != self.stop:
                break
            self.stop = offset + len(data)

    def take(self, start: int, stop: int) -> list[memoryview]:
        """Views of [start, stop) as far as it lies in the window, which holds `start`."""
        views = []
        for number in range(bisect_right(self._offsets, start) - 1, len(self._pieces)):
            offset, data = self._pieces[number]
            if offset >= min(stop, self.stop):
                break
            views.append(memoryview(data)[max(start - offset, 0) : min(stop, self.stop) - offset])
        return views


class FrameReadAhead(BaseCache):  # type: ignore[misc]  # fsspec has no annotations
    """The cache type "s4": random reads decode the frames they touch, reads in order decode ahead in growing steps.

    Args:
        blocksize: most bytes decoded ahead at once.
        fetcher: not used; fsspec hands it to every cache.
        size: bytes of the file.
        begin: reads in the background.
    """

    name: ClassVar[str] = "s4"

    def __init__(self, blocksize: int, fetcher: Callable[[int, int], bytes], size: int, *, begin: Begin) -> None:
        super().__init__(blocksize, fetcher, size)
        self._begin = begin
        self._window = _Window(())
        self._next: tuple[int, Future[list[Piece]]] | None = None
        self._expected = 0
        self._ahead = FIRST_BYTES

    def _fetch(self, start: int | None, stop: int | None) -> bytes:
        start = 0 if start is None else start
        stop = self.size if stop is None else min(stop, self.size)
        if start >= stop:
            return b""
        views: list[memoryview] = []
        position = start
        in_order = start == self._expected
        while position < stop:
            if not self._window.start <= position < self._window.stop:
                self._move(position, stop, in_order=in_order)
            taken = self._window.take(position, stop)
            views += taken
            position += sum(map(len, taken))
        self._expected = stop
        return bytes(views[0]) if len(views) == 1 else b"".join(views)

    def _move(self, position: int, stop: int, *, in_order: bool) -> None:
        """Make a window that holds `position`."""
        self.miss_count += 1
        waiting, self._next = self._next, None
        if waiting is not None and waiting[0] == position:
            pieces = waiting[1].result()
        else:
            if waiting is not None:
                waiting[1].cancel()
            if not in_order:
                self._ahead = FIRST_BYTES
            reach = max(stop, position + self._ahead) if in_order else stop
            # A long read is decoded step by step too, so that it is decoded while the next step is fetched.
            limit = position + max(self.blocksize, self._ahead)
            pieces = self._begin(position, min(reach, limit, self.size)).result()
        self._window = _Window(pieces)
        if not self._window.start <= position < self._window.stop:
            raise AssertionError("a read brings what it was asked for")
        self.total_requested_bytes += self._window.stop - self._window.start
        if (in_order or stop > self._window.stop) and self._window.stop < self.size:
            self._ahead = min(self._ahead * GROWTH, max(self.blocksize, FIRST_BYTES))
            begin = self._window.stop
            self._next = begin, self._begin(begin, min(begin + self._ahead, self.size))

    def close(self) -> None:
        """Stop what is under way."""
        if self._next is not None:
            self._next[1].cancel()
            self._next = None
        self._window = _Window(())


register_cache(FrameReadAhead, clobber=True)
