"""Bodies as the database knows them: kinds, segments of a list, and the ids that name blobs."""

import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import IntEnum
from itertools import count

_SEGMENT = struct.Struct("<QQ")
_EPOCH_SHIFT = 32
_GROUP_SHIFT = 10
"""1,024 ids share a directory, so that bodies stored together need one sync of it and no directory grows long."""


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


def epoch_of(body: int) -> int:
    """The run of the server that made the body."""
    return body >> _EPOCH_SHIFT


def group_of(body: int) -> int:
    """The directory of a file body within its epoch."""
    return (body & (1 << _EPOCH_SHIFT) - 1) >> _GROUP_SHIFT
