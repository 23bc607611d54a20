"""Packed columns: many numbers as differences from a base, each of the same few bytes (docs/format/trailer.md, "Packed column").

Everything moves in bulk, since an index may have 2^20 rows and must decode in pure Python in a fraction of a second.
"""

from array import array
from collections.abc import Sequence
from struct import Struct
from sys import byteorder

from s4_format.errors import Reason, TrailerError

COLUMN_HEAD_BYTES = 9
MAX_WIDTH = 8

_HEAD = Struct("<BQ")


def max_column_bytes(count: int) -> int:
    """The most bytes a column of `count` numbers can take."""
    return COLUMN_HEAD_BYTES + MAX_WIDTH * count


def pack_column(numbers: "Sequence[int]") -> bytes:
    """The column of these unsigned 64-bit numbers, in the only form that writers use."""
    base = min(numbers, default=0)
    width = ((max(numbers, default=0) - base).bit_length() + 7) // 8
    wide = array("Q", [number - base for number in numbers] if base else numbers)
    if byteorder == "big":
        wide.byteswap()
    source = wide.tobytes()
    packed = bytearray(width * len(numbers))
    for place in range(width):
        packed[place::width] = source[place::MAX_WIDTH]
    return _HEAD.pack(width, base) + packed


def unpack_column(view: memoryview, offset: int, count: int, *, bias: int = 0) -> "tuple[array[int], int]":
    """The column of `count` numbers at `offset`, each increased by `bias`, and where it ends.

    Raises:
        TrailerError: MALFORMED, the column runs past the view, is wider than 8 bytes, or a number does not fit in 64 bits.
    """
    start = offset + COLUMN_HEAD_BYTES
    if start > len(view):
        raise TrailerError("a column begins too near to the end", Reason.MALFORMED, offset=offset)
    width, base = _HEAD.unpack_from(view, offset)
    stop = start + width * count
    if width > MAX_WIDTH or stop > len(view):
        raise TrailerError(f"a column of {count} times {width} bytes is too large", Reason.MALFORMED, offset=offset)
    base += bias
    try:
        if width == 0:
            return array("Q", [base]) * count, stop
        wide = _widen(view[start:stop].tobytes(), width, count)
        return array("Q", [base + number for number in wide]) if base else wide, stop
    except OverflowError:
        raise TrailerError("a number does not fit in 64 bits", Reason.MALFORMED, offset=offset) from None


def _widen(packed: bytes, width: int, count: int) -> "array[int]":
    wide = bytearray(MAX_WIDTH * count)
    for place in range(width):
        wide[place::MAX_WIDTH] = packed[place::width]
    numbers = array("Q", bytes(wide))
    if byteorder == "big":
        numbers.byteswap()
    return numbers
