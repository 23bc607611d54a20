"""What is to be brought to the device, and by which way: small spans together, large ones each by themselves."""

from collections.abc import Sequence
from typing import Final, NamedTuple

from s4_codecs.gpu.layout import ALIGNMENT, PackedBatch, aligned
from s4_codecs.gpu.memory import PinnedBuffer, address_of, as_array

SMALL_BYTES: Final = 64 << 10
"""Below this, copying takes less time than letting go of the GIL for it."""
GAP_BYTES: Final = 4096
"""Of memory between two spans that is copied along with them rather than copying twice."""


class SmallSpans:
    """Puts small spans into pinned memory, close together, and remembers which ranges of it go where."""

    def __init__(self, pinned: PinnedBuffer, sizes: Sequence[int]) -> None:
        self._view = memoryview(pinned.reserve(sum([aligned(size) for size in sizes if size <= SMALL_BYTES])))  # type: ignore[arg-type]
        self._place = 0
        self._next = -1
        self.ranges: list[tuple[int, int, int]] = []
        """Offset on the device, place in the pinned memory, bytes."""

    def add(self, start: int, data: bytes | memoryview) -> None:
        """`data`, for offset `start` on the device."""
        place, size = self._place, len(data)
        gap = start - self._next
        if self.ranges and 0 <= gap < ALIGNMENT and self._next >= 0:
            place += gap
            first, begin, _ = self.ranges[-1]
            self.ranges[-1] = (first, begin, place + size - begin)
        else:
            self.ranges.append((start, place, size))
        self._view[place : place + size] = data
        self._place, self._next = place + size, start + size


class Run(NamedTuple):
    """The chunks of one span, back to back."""

    place: int
    """Offset on the device."""
    address: int
    """In host memory; 0 for small ones."""
    size: int
    data: bytes | memoryview


def packed_runs(payloads: Sequence[bytes | memoryview], batch: PackedBatch) -> list[Run]:
    """Where the spans' chunks lie, and where they are to be on the device.

    Payloads that lie close behind each other in memory, with only headers between them, do so on the device as well, so that one copy takes
    them all. A gap of less than a page holds no page of its own, so that it can be read.
    """
    runs: list[Run] = []
    place = end = 0
    for frame, start, size in zip(batch.frames, batch.packed_starts, batch.packed_sizes, strict=True):
        address, data = 0, payloads[frame]
        if size <= SMALL_BYTES:
            data = memoryview(data)[start : start + size]
        else:
            address = address_of(as_array(data)) + start
            if 0 < address - end < GAP_BYTES:
                place += address - end
        runs.append(Run(place, address, size, data))
        place += size
        end = address + size if address else 0
    return runs
