"""The part table of a trailer: the parts in which a client uploaded the object (docs/format/trailer.md, "Part table")."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise

from s4_format.errors import Reason, TrailerError
from s4_format.packed import COLUMN_HEAD_BYTES, max_column_bytes, pack_column, unpack_column

MAX_PARTS = 10_000
MAX_CHECKSUM_BYTES = 64

_HEAD_BYTES = 2
_NONE, _ALL, _SOME = range(3)


@dataclass(frozen=True, slots=True)
class Part:
    """One part of the client.

    Attributes:
        number: as the client gave it, 1 to 10,000.
        original_size: its length in bytes as the client sent it.
        checksum: its raw checksum in the algorithm that the attributes name, 1 to 64 bytes; None without one.

    Raises:
        TrailerError: INVALID_VALUE.
    """

    number: int
    original_size: int
    checksum: bytes | None = None

    def __post_init__(self) -> None:
        checksum_fits = self.checksum is None or 1 <= len(self.checksum) <= MAX_CHECKSUM_BYTES
        if not (1 <= self.number <= MAX_PARTS and 0 <= self.original_size < 2**64 and checksum_fits):
            raise TrailerError(f"no part is {self}", Reason.INVALID_VALUE)


def check_parts(parts: Sequence[Part], original_size: int) -> None:
    """Refuse parts that cannot make up an object of `original_size` bytes; no parts at all are right.

    Raises:
        TrailerError: INVALID_VALUE (numbers do not ascend, checksums of different length), SIZE_MISMATCH.
    """
    if any(before.number >= after.number for before, after in pairwise(parts)):
        raise TrailerError("part numbers do not ascend", Reason.INVALID_VALUE)
    if len({len(part.checksum) for part in parts if part.checksum is not None}) > 1:
        raise TrailerError("part checksums differ in length", Reason.INVALID_VALUE)
    total = sum(part.original_size for part in parts)
    if parts and total != original_size:
        raise TrailerError(f"parts have {total} bytes, the object has {original_size}", Reason.SIZE_MISMATCH)


def part_table_bounds(count: int) -> tuple[int, int]:
    """The least and the most bytes that a table of `count` parts takes."""
    if count == 0:
        return 0, 0
    return _HEAD_BYTES + 2 * COLUMN_HEAD_BYTES, _HEAD_BYTES + 2 * max_column_bytes(count) + count * (1 + MAX_CHECKSUM_BYTES)


def pack_parts(parts: Sequence[Part]) -> bytes:
    """The section's bytes for parts that `check_parts` accepts."""
    if not parts:
        return b""
    checksums = [part.checksum for part in parts if part.checksum is not None]
    presence = _NONE if not checksums else _ALL if len(checksums) == len(parts) else _SOME
    numbers = [0, *(part.number for part in parts)]
    steps = [after - before - 1 for before, after in pairwise(numbers)]
    marks = bytes(part.checksum is not None for part in parts) if presence == _SOME else b""
    return b"".join(
        (
            bytes((presence, len(checksums[0]) if checksums else 0)),
            pack_column(steps),
            pack_column([part.original_size for part in parts]),
            marks,
            *checksums,
        )
    )


def unpack_parts(section: memoryview, count: int) -> tuple[Part, ...]:
    """Read the section, which its checksum has proven.

    Raises:
        TrailerError: MALFORMED.
    """
    if count == 0:
        return ()
    presence, width = section[0], section[1]
    steps, offset = unpack_column(section, _HEAD_BYTES, count)
    sizes, offset = unpack_column(section, offset, count)
    marks = bytes((presence == _ALL,)) * count
    if presence == _SOME:
        marks = bytes(section[offset : offset + count])
        offset += count
    expected = width * marks.count(1)
    if presence > _SOME or (presence == _NONE) != (width == 0) or width > MAX_CHECKSUM_BYTES or marks.strip(b"\0\1"):
        raise TrailerError("the checksums of the part table have no known form", Reason.MALFORMED)
    if len(section) - offset != expected:
        raise TrailerError(f"{len(section) - offset} bytes of checksums, not {expected}", Reason.MALFORMED, offset=offset)
    numbers = accumulate(step + 1 for step in steps)
    ends = accumulate(width * mark for mark in marks)
    try:
        return tuple(
            Part(number, size, bytes(section[offset + end - width : offset + end]) if mark else None)
            for number, size, mark, end in zip(numbers, sizes, marks, ends, strict=True)
        )
    except TrailerError as error:
        raise TrailerError(str(error), Reason.MALFORMED) from error
