"""CRC32C (Castagnoli: reflected polynomial 0x82F63B78, initial value and final xor 0xFFFFFFFF; RFC 3720, section 12.1).

The third-party package `crc32c` (extra `speed`) is used where it can be imported; the code below gives the same values without it.
"""

from array import array
from functools import cache
from sys import byteorder

from s4_format._buffer import Buffer, as_view

_POLYNOMIAL = 0x82F63B78
_WORTH_TABLES = 1024
_BLOCK = 65536


def _byte_table() -> tuple[int, ...]:
    table = []
    for byte in range(256):
        crc = byte
        for _ in range(8):
            crc = crc >> 1 ^ (_POLYNOMIAL if crc & 1 else 0)
        table.append(crc)
    return tuple(table)


_BYTE_TABLE = _byte_table()


@cache
def _word_tables() -> tuple[tuple[int, ...], tuple[int, ...]]:
    """What two bytes leave behind when they are the first and when they are the last two of four; made on first use, for its size."""
    first = [_BYTE_TABLE[word & 0xFF] ^ word >> 8 for word in range(65536)]
    last = [_BYTE_TABLE[crc & 0xFF] ^ crc >> 8 for crc in first]
    return tuple(last[crc & 0xFFFF] ^ crc >> 16 for crc in last), tuple(last)


def _portable(data: Buffer, value: int = 0) -> int:
    view = as_view(data)
    crc = value ^ 0xFFFFFFFF
    whole = len(view) & ~3
    if whole >= _WORTH_TABLES:
        for start in range(0, whole, _BLOCK):
            crc = _by_words(view[start : min(start + _BLOCK, whole)], crc)
        view = view[whole:]
    for byte in view:
        crc = _BYTE_TABLE[(crc ^ byte) & 0xFF] ^ crc >> 8
    return crc ^ 0xFFFFFFFF


def _by_words(block: memoryview, crc: int) -> int:
    words = array("I", block.tobytes())
    if byteorder == "big":
        words.byteswap()
    front, back = _word_tables()
    for word in words:
        word ^= crc
        crc = front[word & 0xFFFF] ^ back[word >> 16]
    return crc


try:
    from crc32c import crc32c as _native
except ImportError:
    _native = None  # type: ignore[assignment]

ACCELERATED = _native is not None
"""Whether machine code does the work."""


def crc32c(data: Buffer, value: int = 0) -> int:
    """CRC32C of `data`, going on from `value` (the result for the bytes before it; 0 at the start)."""
    return _native(data, value) if ACCELERATED else _portable(data, value)
