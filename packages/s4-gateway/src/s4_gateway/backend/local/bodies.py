"""Bodies as the database knows them: kinds, segments of a list, and the ids that name blobs."""

import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import IntEnum
from itertools import count

_SEGMENT = struct.Struct("<QQ")
_EPOCH_SHIFT = 40
"""A run of the server has 2^40 ids, and there can be 2^23 runs: SQLite's integers have 63 bits above zero."""
_GROUP_BITS = 10
"""1,024 ids share a directory, and 1,024 directories a parent: bodies stored together need one sync, and no directory grows long."""


class BodyKind(IntEnum):
    """Where the bytes of a body are."""

    INLINE = 0
    FILE = 1
    LIST = 2


@dataclass(frozen=True, slots=True)
class Segment:
    """One body in a list."""

    body: int
    size: int


@dataclass(frozen=True, slots=True)
class Content:
    """A new body on its way into the database."""

    body: int
    size: int
    digest: bytes
    """MD5."""
    inline: bytes | None
    """The bytes of an INLINE body; None = a file that is written and synced."""


def pack_segments(segments: Iterable[Segment]) -> bytes:
    """The content of a LIST body: 16 bytes a segment, id and size, little-endian."""
    return b"".join(_SEGMENT.pack(segment.body, segment.size) for segment in segments)


def unpack_segments(content: bytes) -> Iterator[Segment]:
    """The segments in order.

    Raises:
        struct.error: the content is cut off.
    """
    return (Segment(body, size) for body, size in _SEGMENT.iter_unpack(content))


class BodyIds:
    """Ids of new bodies, from any thread: epoch in the high bits, so that each run of the server has a range of its own."""

    def __init__(self, epoch: int) -> None:
        self.epoch = epoch
        self.latest = epoch << _EPOCH_SHIFT
        """About the last one given; threads may disagree by a few."""
        self._numbers = count(self.latest)

    def next(self) -> int:
        self.latest = body = next(self._numbers)
        return body

    def leave_group(self) -> None:
        """Go on in the next directory; a thread that is taking an id may still get one of this group."""
        self._numbers = count(((self.latest >> _GROUP_BITS) + 1) << _GROUP_BITS)


def epoch_of(body: int) -> int:
    """The run of the server that made the body."""
    return body >> _EPOCH_SHIFT


def epoch_directory(epoch: int) -> str:
    """Where the files of a run are, below the directory of blobs."""
    return f"{epoch:06x}"


def group_directory(body: int) -> str:
    """Where the file of a body is, below the directory of blobs: `EPOCH/HIGH/LOW`, hexadecimal."""
    number = body & (1 << _EPOCH_SHIFT) - 1
    group = number >> _GROUP_BITS
    return f"{epoch_directory(epoch_of(body))}/{group >> _GROUP_BITS:05x}/{group & (1 << _GROUP_BITS) - 1:03x}"


def file_name(body: int) -> str:
    """The name of its file there."""
    return f"{body:016x}"
