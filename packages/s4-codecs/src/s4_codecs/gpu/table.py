"""Numbers of chunks and spans, on the host and on the device."""

from dataclasses import dataclass, field
from typing import Final

import cupy
import numpy as np
from numpy.typing import NDArray

from s4_codecs.gpu.memory import DeviceBuffer, PinnedBuffer

_TO_DEVICE: Final = 1
_TO_HOST: Final = 2


@dataclass(slots=True)
class Table:
    """Rows of 64-bit numbers, one column a chunk, on the host and on the device."""

    host: PinnedBuffer
    device: DeviceBuffer
    count: int = 0
    rows: NDArray[np.uint64] = field(default_factory=lambda: np.empty((0, 0), np.uint64))
    holds: object = None
    """What the rows that are sent first were made of; whoever would fill them alike need not."""

    def resize(self, rows: int, count: int) -> None:
        """Make room for so many rows and columns; the stream must be synchronised."""
        size = rows * count * 8
        self.rows = self.host.reserve(size)[:size].view(np.uint64).reshape(rows, count)
        self.device.reserve(size)
        self.count = count

    def address(self, row: int, column: int = 0) -> int:
        """Where the device has this number."""
        return self.device.address + (row * self.count + column) * 8

    def narrow(self, row: int, count: int) -> NDArray[np.uint32]:
        """The first `count` 32-bit numbers of a row."""
        numbers: NDArray[np.uint32] = self.rows[row].view(np.uint32)
        return numbers[:count]

    def upload(self, first: int, stop: int, stream: int) -> None:
        """Queue the copy of rows to the device."""
        self._copy(self.address(first), self.host.address + first * self.count * 8, stop - first, _TO_DEVICE, stream)

    def download(self, first: int, stop: int, stream: int) -> None:
        """Queue the copy of rows from the device."""
        self._copy(self.host.address + first * self.count * 8, self.address(first), stop - first, _TO_HOST, stream)

    def _copy(self, target: int, source: int, rows: int, kind: int, stream: int) -> None:
        cupy.cuda.runtime.memcpyAsync(target, source, rows * self.count * 8, kind, stream)

    def close(self) -> None:
        """Free the memory; the stream must be synchronised."""
        self.rows, self.holds = np.empty((0, 0), np.uint64), None
        self.device.close()
        self.host.close()
