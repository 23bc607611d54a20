"""The buffer of an open file: what was decoded last, and, while it is read in order, what comes next, decoded meanwhile."""

from bisect import bisect_right
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import ClassVar

from fsspec.caching import BaseCache, register_cache

from s4fs.reader import Piece

FIRST_BYTES = 256 * 1024
GROWTH = 4
STEPS_AHEAD = 2
"""One is decoded while the next is on its way."""

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
        blocksize: most bytes of one step.
        fetcher: not used; fsspec hands it to every cache.
        size: bytes of the file.
        begin: reads in the background.
        align: the end of the frame in which a place, not the start of the file, lies or ends.
    """

    name: ClassVar[str] = "s4"

    def __init__(
        self, blocksize: int, fetcher: Callable[[int, int], bytes], size: int, *, begin: Begin, align: Callable[[int], int]
    ) -> None:
        super().__init__(blocksize, fetcher, size)
        self._begin = begin
        self._align = align
        self._window = _Window(())
        self._coming: deque[tuple[int, Future[list[Piece]]]] = deque()
        self._covered = 0
        """Where the steps that are under way end."""
        self._expected = 0
        self._step = FIRST_BYTES

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
        if self._coming and self._coming[0][0] == position:
            pieces = self._coming.popleft()[1].result()
        else:
            self._stop_coming()
            if not in_order:
                self._step = FIRST_BYTES
            # A long read is decoded step by step too, so that it is decoded while the next step is fetched.
            wanted = max(stop, position + self._step) if in_order else min(stop, position + max(self.blocksize, FIRST_BYTES))
            self._covered = self._align(min(wanted, position + max(self.blocksize, self._step), self.size))
            pieces = self._begin(position, self._covered).result()
        self._window = _Window(pieces)
        if not self._window.start <= position < self._window.stop:
            raise AssertionError("a read brings what it was asked for")
        self.total_requested_bytes += self._window.stop - self._window.start
        if in_order or stop > self._window.stop:
            self._go_on()

    def _go_on(self) -> None:
        """Keep some steps under way behind the window."""
        while len(self._coming) < STEPS_AHEAD and self._covered < self.size:
            self._step = min(self._step * GROWTH, max(self.blocksize, FIRST_BYTES))
            begin, self._covered = self._covered, self._align(min(self._covered + self._step, self.size))
            self._coming.append((begin, self._begin(begin, self._covered)))

    def _stop_coming(self) -> None:
        while self._coming:
            self._coming.pop()[1].cancel()

    def close(self) -> None:
        """Stop what is under way."""
        self._stop_coming()
        self._window = _Window(())


register_cache(FrameReadAhead, clobber=True)
