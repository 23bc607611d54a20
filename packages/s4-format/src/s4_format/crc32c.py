"""CRC32C (Castagnoli: reflected polynomial 0x82F63B78, initial value and final xor 0xFFFFFFFF; RFC 3720, section 12.1).

The third-party package `crc32c` (extra `speed`) is used where it can be imported; the code below gives the same values without it.
"""

from array import array
from functools import cache
from sys import byteorder

from s4_format._buffer import Buffer, as_view

_POLYNOMIAL = 0x82F63B78


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
def _word_table() -> tuple[int, ...]:
    """One step for two bytes at once, which halves the time; made on first use because it has 65,536 rows."""
    first = [_BYTE_TABLE[word & 0xFF] for word in range(65536)]
    return tuple(_BYTE_TABLE[(crc ^ word >> 8) & 0xFF] ^ crc >> 8 for word, crc in enumerate(first))


def _portable(data: Buffer, value: int = 0) -> int:
    view = as_view(data)
    crc = value ^ 0xFFFFFFFF
    even = len(view) & ~1
    if even >= 4096:
        words = array("H", view[:even].tobytes())
        if byteorder == "big":
            words.byteswap()
        table = _word_table()
        for word in words:
            crc = table[(crc ^ word) & 0xFFFF] ^ crc >> 16
        view = view[even:]
    for byte in view:
        crc = _BYTE_TABLE[(crc ^ byte) & 0xFF] ^ crc >> 8
    return crc ^ 0xFFFFFFFF


try:
    from crc32c import crc32c as _native
except ImportError:
    _native = None  # type: ignore[assignment]

ACCELERATED = _native is not None
"""Whether machine code does the work."""


def crc32c(data: Buffer, value: int = 0) -> int:
    """CRC32C of `data`, going on from `value` (the result for the bytes before it; 0 at the start)."""
    return _native(data, value) if ACCELERATED else _portable(data, value)
