"""Memory that all workers of one gateway share: a seat for each, in which it alone writes and which all may read.

The supervisor makes the board before it forks. What a worker wrote stays when the worker is gone, for the one that takes its seat.
"""

import mmap
import socket
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from zlib import crc32

SNAPSHOT_BYTES = 256 * 1024
"""Room for the packed figures of one worker; a busy one with all operations and codes takes about a tenth."""
_HALF = struct.Struct("=II")
"""Length and CRC32 of what follows."""
_WORDS = 8
"""Eight-byte words before the two halves of a seat; each is written in one piece."""
_SERVING, _CONNECTIONS, _SPOOLED, _CURRENT = range(4)
_ATTEMPTS = 10
_HALF_BYTES = _HALF.size + SNAPSHOT_BYTES
_SEAT_BYTES = -(-(8 * _WORDS + 2 * _HALF_BYTES) // 8) * 8


class Board:
    """The shared memory.

    Args:
        count: seats.
    """

    def __init__(self, count: int) -> None:
        self.count = count
        self._memory = memoryview(mmap.mmap(-1, 8 + count * _SEAT_BYTES))
        self._header = self._memory[:8].cast("Q")
        self.seats = tuple(Seat(self._memory[8 + at * _SEAT_BYTES : 8 + (at + 1) * _SEAT_BYTES]) for at in range(count))

    @property
    def restarts(self) -> int:
        """Workers started again. Written by the supervisor only."""
        return self._header[0]

    @restarts.setter
    def restarts(self, count: int) -> None:
        self._header[0] = count


class Seat:
    """One worker's part of the board."""

    def __init__(self, memory: memoryview) -> None:
        self._words = memory[: 8 * _WORDS].cast("Q")
        halves = memory[8 * _WORDS :]
        self._halves = (halves[:_HALF_BYTES], halves[_HALF_BYTES : 2 * _HALF_BYTES])

    @property
    def serving(self) -> bool:
        """Whether a worker sits here and accepts connections."""
        return bool(self._words[_SERVING])

    @property
    def connections(self) -> int:
        """Client connections open."""
        return self._words[_CONNECTIONS]

    @connections.setter
    def connections(self, count: int) -> None:
        self._words[_CONNECTIONS] = count

    @property
    def spooled(self) -> int:
        """Bytes in spool files."""
        return self._words[_SPOOLED]

    @spooled.setter
    def spooled(self, size: int) -> None:
        self._words[_SPOOLED] = size

    def take(self) -> None:
        """A worker serves from here on."""
        self._words[_SERVING] = 1

    def leave(self) -> None:
        """The worker is gone, and with it whatever it held. What it published stays. Repeatable."""
        self._words[_SERVING] = self._words[_CONNECTIONS] = self._words[_SPOOLED] = 0

    def publish(self, packed: bytes) -> bool:
        """Leave figures for the others to read; those left before stay readable until these are complete, whenever this process is killed.

        Returns:
            Whether there was room.
        """
        if len(packed) > SNAPSHOT_BYTES:
            return False
        other = 1 - self._words[_CURRENT] % 2
        half = self._halves[other]
        half[_HALF.size : _HALF.size + len(packed)] = packed
        _HALF.pack_into(half, 0, len(packed), crc32(packed))
        self._words[_CURRENT] = 2 + other
        return True

    def published(self) -> bytes | None:
        """What was left last; None = nothing yet."""
        for _ in range(_ATTEMPTS):
            current = self._words[_CURRENT]
            if current == 0:
                return None
            half = self._halves[current % 2]
            length, crc = _HALF.unpack_from(half)
            packed = bytes(half[_HALF.size : _HALF.size + min(length, SNAPSHOT_BYTES)])
            # It differs only where its writer published twice during the read: the next attempt finds something newer.
            if crc32(packed) == crc:
                return packed
        return None


@dataclass(frozen=True, slots=True)
class Bell:
    """Datagrams to one worker: anybody rings, the worker listens. A worker that is started again takes over its predecessor's."""

    inside: socket.socket
    outside: socket.socket

    @classmethod
    def hang(cls) -> "Bell":
        """A new one; OSError where the process may open no more files."""
        inside, outside = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
        inside.setblocking(False)
        outside.setblocking(False)
        return cls(inside, outside)

    def close(self) -> None:
        self.inside.close()
        self.outside.close()


@dataclass(frozen=True, slots=True)
class Place:
    """Where one worker sits among the others."""

    number: int
    """From 0."""
    board: Board
    bells: tuple[Bell, ...]
    """One a seat."""

    @property
    def seat(self) -> Seat:
        """Its own."""
        return self.board.seats[self.number]

    @property
    def bell(self) -> Bell:
        """Its own."""
        return self.bells[self.number]

    def others(self) -> Iterator[int]:
        """Numbers of all other seats, taken or not."""
        return (number for number in range(self.board.count) if number != self.number)
