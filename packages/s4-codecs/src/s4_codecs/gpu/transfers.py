"""Copies between ordinary memory and the device, in threads, by way of small pinned buffers.

Each thread has two buffers of its own, which stay in the processor's cache: what is copied there is read by the device, or was written by
it, without passing through main memory again. That is what limits the speed where buffers of the size of a batch do so twice.
"""

import threading
from collections.abc import Callable, Sequence
from queue import SimpleQueue
from typing import Final, Generic, NamedTuple, TypeAlias, TypeVar

from s4_codecs.gpu import driver
from s4_codecs.gpu.memory import Budget, PinnedBuffer, copy
from s4_codecs.gpu.stream import new_event, wait

_J = TypeVar("_J")

PIECE_BYTES: Final = 8 << 20
"""What is copied at once."""
_SLOTS: Final = 2


class ToDevice(NamedTuple):
    """Bytes of ordinary memory that go to one range of device memory. Gaps between the segments get junk."""

    device: int
    """Address."""
    size: int
    """Bytes of the range, at most `PIECE_BYTES`."""
    segments: Sequence[tuple[int, int, int]]
    """Offset in the range, host address, bytes."""


class ToHost(NamedTuple):
    """Device memory that goes to one range of ordinary memory."""

    device: int
    host: int
    size: int
    """At most `_SLOTS` pieces."""


Transfer: TypeAlias = ToDevice | ToHost


def to_host(device: int, host: int, size: int) -> list[Transfer]:
    """The transfers of any number of bytes."""
    step = _SLOTS * PIECE_BYTES
    return [ToHost(device + at, host + at, min(step, size - at)) for at in range(0, size, step)]


class ToDevicePieces:
    """Collects runs of ordinary memory into transfers that are neither too large nor, where the runs lie close together, too small."""

    def __init__(self, device: int) -> None:
        self._device = device
        self._segments: list[tuple[int, int, int]] = []
        self._start = self._stop = 0
        self.transfers: list[Transfer] = []

    def add(self, start: int, host: int, size: int, *, gap: int) -> None:
        """A run of `size` bytes at `host`, for offset `start` on the device; sent apart if more than `gap` bytes behind the one before."""
        if self._segments and not 0 <= start - self._stop <= gap:
            self.flush()
        while size:
            if not self._segments:
                self._start = start
            room = PIECE_BYTES - (start - self._start)
            if room <= 0:
                self.flush()
                continue
            part = min(size, room)
            self._append(start - self._start, host, part, gap)
            start, host, size = start + part, host + part, size - part
            self._stop = start

    def _append(self, offset: int, host: int, size: int, gap: int) -> None:
        if self._segments:
            before, address, length = self._segments[-1]
            apart = offset - before - length
            if apart == host - address - length and apart <= gap:
                self._segments[-1] = (before, address, length + apart + size)
                return
        self._segments.append((offset, host, size))

    def flush(self) -> None:
        """End the transfer at hand."""
        if self._segments:
            self.transfers.append(ToDevice(self._device + self._start, self._stop - self._start, tuple(self._segments)))
            self._segments = []


class _Slot:
    """A pinned buffer and an event that says when the device is done with it."""

    def __init__(self, pinned: Budget) -> None:
        self.buffer = PinnedBuffer(pinned)
        self.event = new_event()

    def wait(self) -> int:
        """The buffer's address, once the device is done with it."""
        if not driver.happened(self.event):
            wait(self.event)
        self.buffer.reserve(PIECE_BYTES)
        return self.buffer.address


class Copiers(Generic[_J]):
    """Threads that make transfers.

    Args:
        threads: how many.
        pinned: the budget of their buffers.
        done: called with what a transfer belongs to, and the error if it failed, once a transfer to the device is queued on its stream, or
            one to the host is there.
    """

    def __init__(self, threads: int, *, pinned: Budget, done: Callable[[_J, Exception | None], None]) -> None:
        self._pinned = pinned
        self._done = done
        self._orders: SimpleQueue[tuple[_J, int, Transfer] | None] = SimpleQueue()
        self._threads = [threading.Thread(target=self._work, name=f"s4-gpu-copy-{number}", daemon=True) for number in range(threads)]
        for thread in self._threads:
            thread.start()

    def order(self, owner: _J, stream: int, transfer: Transfer) -> None:
        """Have a transfer made, on this stream."""
        self._orders.put((owner, stream, transfer))

    def close(self) -> None:
        """Let the transfers ordered be made, and stop the threads; each frees its buffers."""
        for _ in self._threads:
            self._orders.put(None)
        for thread in self._threads:
            thread.join()

    def _work(self) -> None:
        slots: list[_Slot] = []
        turn = 0
        while (order := self._orders.get()) is not None:
            owner, stream, transfer = order
            error: Exception | None = None
            try:
                if not slots:
                    slots = [_Slot(self._pinned) for _ in range(_SLOTS)]
                if isinstance(transfer, ToDevice):
                    _send(transfer, slots[turn], stream)
                    turn = (turn + 1) % _SLOTS
                else:
                    _fetch(transfer, slots, stream)
            except Exception as caught:  # noqa: BLE001 -- the conductor tells whom it concerns
                error = caught
            self._done(owner, error)
        for slot in slots:
            slot.buffer.close()


def _send(transfer: ToDevice, slot: _Slot, stream: int) -> None:
    address = slot.wait()
    for offset, host, size in transfer.segments:
        copy(address + offset, host, size)
    driver.copy_to_device(transfer.device, address, transfer.size, stream)
    driver.record(slot.event, stream)


def _fetch(transfer: ToHost, slots: Sequence[_Slot], stream: int) -> None:
    """All pieces are under way before the first of them is copied."""
    pieces = [(at, min(PIECE_BYTES, transfer.size - at)) for at in range(0, transfer.size, PIECE_BYTES)]
    for slot, (at, size) in zip(slots, pieces, strict=False):
        driver.copy_to_host(slot.wait(), transfer.device + at, size, stream)
        driver.record(slot.event, stream)
    for slot, (at, size) in zip(slots, pieces, strict=False):
        copy(transfer.host + at, slot.wait(), size)
