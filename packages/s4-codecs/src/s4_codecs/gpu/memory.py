"""Memory of the device and pinned memory of the host, within a budget and closed explicitly.

Nothing here relies on the garbage collector: freeing memory that a stream still uses ends the process, so whoever owns a buffer closes it
after its stream is synchronised. After the device has failed nothing can be freed, and nothing needs to be: it goes with the process.
"""

import ctypes
import logging
import threading
import weakref
from collections import deque
from collections.abc import Callable
from types import TracebackType
from typing import Self

import cupy
import numpy as np
from numpy.typing import NDArray
from s4_format import Buffer

from s4_codecs.errors import DeviceMemoryError

Bytes = NDArray[np.uint8]

_log = logging.getLogger(__name__)

_ROUND_BYTES = 1 << 20
_POOLED_FROM = 1 << 18
_OUT_OF_MEMORY = 2
"""cudaErrorMemoryAllocation."""


class Budget:
    """How many bytes may be allocated together. Thread-safe."""

    def __init__(self, what: str, limit: int) -> None:
        self.what = what
        self.limit = limit
        self._used = 0
        self._lock = threading.Lock()

    @property
    def used(self) -> int:
        """Bytes taken and not given back."""
        return self._used

    def take(self, size: int) -> None:
        """Count `size` more bytes.

        Raises:
            DeviceMemoryError: the limit would be exceeded; nothing was counted.
        """
        with self._lock:
            if self._used + size > self.limit:
                raise DeviceMemoryError(
                    f"{size} more bytes exceed the budget of {self.limit} bytes of {self.what} memory, {self._used} are used"
                )
            self._used += size

    def give_back(self, size: int) -> None:
        """Count `size` fewer bytes."""
        with self._lock:
            self._used -= size


class DeviceBuffer:
    """Device memory that grows on demand; its content is lost when it does."""

    def __init__(self, budget: Budget) -> None:
        self._budget = budget
        self.address = 0
        self.size = 0

    def reserve(self, size: int) -> int:
        """The address of at least `size` bytes. The stream that uses this buffer must be synchronised when it has to grow.

        Raises:
            DeviceMemoryError: the budget or the device's memory is exhausted; the buffer is empty then.
        """
        if size <= self.size:
            return self.address
        self.close()
        size = -(-size // _ROUND_BYTES) * _ROUND_BYTES
        self._budget.take(size)
        try:
            self.address = cupy.cuda.runtime.malloc(size)
        except cupy.cuda.runtime.CUDARuntimeError as error:
            self._budget.give_back(size)
            raise _translated(error, size, self._budget.what) from error
        self.size = size
        return self.address

    def close(self) -> None:
        """Free the memory."""
        if self.address:
            _freed(cupy.cuda.runtime.free, self.address)
            self._budget.give_back(self.size)
        self.address = self.size = 0


class PinnedBuffer:
    """Pinned host memory that grows on demand, with the face of an array; its content is lost when it does."""

    def __init__(self, budget: Budget) -> None:
        self._budget = budget
        self.array: Bytes = np.empty(0, np.uint8)
        self.address = 0

    def reserve(self, size: int) -> Bytes:
        """At least `size` bytes. The stream that uses this buffer must be synchronised when it has to grow.

        Raises:
            DeviceMemoryError: the budget or the host's memory is exhausted; the buffer is empty then.
        """
        if size > self.array.size:
            self.close()
            size = -(-size // _ROUND_BYTES) * _ROUND_BYTES
            self.array = _pinned(size, self._budget)
            self.address = address_of(self.array)
        return self.array

    def close(self) -> None:
        """Free the memory; views of it must not be used any more."""
        if self.address:
            _freed(cupy.cuda.runtime.freeHost, self.address)
            self._budget.give_back(self.array.size)
        self.array = np.empty(0, np.uint8)
        self.address = 0


class StagingPool:
    """Pinned buffers for callers to receive plaintext into, so that it is not copied on its way to the device. Thread-safe.

    A view of such a buffer is recognised when it is handed over as a frame.
    """

    def __init__(self, budget: Budget, *, buffer_bytes: int) -> None:
        self.buffer_bytes = buffer_bytes
        self._budget = budget
        self._lock = threading.Lock()
        self._free: list[Bytes] = []
        self._all: list[tuple[int, int]] = []

    def lease(self) -> "StagingBuffer":
        """A buffer of `buffer_bytes`; leave its context once no frame made of it is at work any more.

        Raises:
            DeviceMemoryError: the budget or the host's memory is exhausted. Ordinary memory does as well, only slower.
        """
        with self._lock:
            if self._free:
                return StagingBuffer(self, self._free.pop())
        array = _pinned(self.buffer_bytes, self._budget)
        with self._lock:
            address = array.ctypes.data
            self._all.append((address, address + array.size))
        return StagingBuffer(self, array)

    def owns(self, address: int, size: int) -> bool:
        """Whether these bytes of host memory belong to a buffer of this pool."""
        return any(start <= address and address + size <= stop for start, stop in self._all)

    def close(self) -> None:
        """Free the buffers that nobody leases; the others stay, for whoever still holds them."""
        with self._lock:
            for array in self._free:
                _freed(cupy.cuda.runtime.freeHost, address_of(array))
                self._budget.give_back(array.size)
            self._free.clear()

    def _take_back(self, array: Bytes) -> None:
        with self._lock:
            self._free.append(array)


class StagingBuffer:
    """A lease of one pinned buffer."""

    def __init__(self, pool: StagingPool, array: Bytes) -> None:
        self._pool = pool
        self._array: Bytes | None = array
        self.view = memoryview(array)  # type: ignore[arg-type]
        """The bytes, writable."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Give the buffer back; another caller may overwrite it from now on."""
        array, self._array = self._array, None
        if array is not None:
            self.view.release()
            self._pool._take_back(array)  # noqa: SLF001 -- the other half of the pool


class ResultPool:
    """Ordinary memory for results, used again once nobody holds a view of it any more. Thread-safe.

    Memory fresh from the operating system is cleared by it page by page, which takes as long as filling it.

    Args:
        idle_bytes: how much is kept for later at most.
    """

    def __init__(self, idle_bytes: int) -> None:
        self._idle_bytes = idle_bytes
        self._idle: dict[int, deque[Bytes]] = {}
        self._kept = 0

    @property
    def kept(self) -> int:
        """Bytes that wait to be used again, about."""
        return self._kept

    def take(self, size: int) -> tuple[int, memoryview]:
        """Address and view of `size` bytes. They are the caller's as long as it holds the view or a part of it."""
        if size < _POOLED_FROM:
            array: Bytes = np.empty(size, np.uint8)
            return address_of(array), memoryview(array)  # type: ignore[arg-type]
        room = 1 << (size - 1).bit_length()
        idle = self._idle.setdefault(room, deque())
        try:
            slab = idle.pop()
            self._kept -= room
        except IndexError:
            slab = np.empty(room, np.uint8)
        # Views of a memoryview hold the array that it was made of, so this array goes when the last of them does.
        array = slab[:size]
        weakref.finalize(array, self._give_back, slab).atexit = False
        return address_of(array), memoryview(array)  # type: ignore[arg-type]

    def _give_back(self, slab: Bytes) -> None:
        # Runs in whichever thread dropped the last view, perhaps in the middle of `take`: no lock, only steps that cannot be interrupted.
        if self._kept + slab.size <= self._idle_bytes:
            self._kept += slab.size
            self._idle[slab.size].append(slab)


_memcpy = ctypes.CDLL(None).memcpy
_memcpy.argtypes = (ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t)
_memcpy.restype = ctypes.c_void_p


def copy(target: int, source: int, size: int) -> None:
    """Copy within host memory without the GIL, which `ctypes.memmove` holds. numpy's copies are half as fast in many threads."""
    _memcpy(target, source, size)


def as_array(data: Buffer) -> Bytes:
    """The bytes of `data`, without copying.

    Raises:
        ValueError: the buffer is not contiguous in memory.
    """
    return np.frombuffer(data, np.uint8)


def address_of(array: Bytes) -> int:
    """Where the array's first byte lies in memory."""
    return int(array.__array_interface__["data"][0])


def _pinned(size: int, budget: Budget) -> Bytes:
    budget.take(size)
    try:
        address = cupy.cuda.runtime.hostAlloc(size, 0)
    except cupy.cuda.runtime.CUDARuntimeError as error:
        budget.give_back(size)
        raise _translated(error, size, budget.what) from error
    return np.frombuffer(memoryview((ctypes.c_uint8 * size).from_address(address)), np.uint8)


def _freed(free: Callable[[int], None], address: int) -> None:
    try:
        free(address)
    except cupy.cuda.runtime.CUDARuntimeError as error:
        _log.warning("memory stays allocated, the device has failed: %s", error)


def _translated(error: Exception, size: int, what: str) -> Exception:
    if getattr(error, "status", None) == _OUT_OF_MEMORY:
        return DeviceMemoryError(f"{size} bytes of {what} memory could not be allocated: {error}")
    return error
