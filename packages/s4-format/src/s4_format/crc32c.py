"""CRC32C (Castagnoli: reflected polynomial 0x82F63B78, initial value and final xor 0xFFFFFFFF; RFC 3720, section 12.1).

The third-party package `crc32c` (extra `speed`) is used where it can be imported; the code below gives the same values without it.
"""

from functools import cache

from s4_format._buffer import Buffer, as_view

_REFLECTED = 0x82F63B78
_POLYNOMIAL = 0x11EDC6F41
"""The same with x^32 and without reflection: bit n stands for x^n."""


def _byte_table() -> tuple[int, ...]:
    table = []
    for byte in range(256):
        crc = byte
        for _ in range(8):
            crc = crc >> 1 ^ (_REFLECTED if crc & 1 else 0)
        table.append(crc)
    return tuple(table)


_BYTE_TABLE = _byte_table()


def _portable(data: Buffer, value: int = 0) -> int:
    view = as_view(data)
    crc = value ^ 0xFFFFFFFF
    for level in range(_LEVELS, 0, -1):
        size = _level_bits(level) // 8
        while len(view) >= size:
            crc = _by_bytes(_folded(view[:size], crc, level), 0)
            view = view[size:]
    return _by_bytes(view, crc) ^ 0xFFFFFFFF


def _by_bytes(data: bytes | memoryview, crc: int) -> int:
    for byte in data:
        crc = _BYTE_TABLE[(crc ^ byte) & 0xFF] ^ crc >> 8
    return crc


# Long inputs are first made shorter by whole-number arithmetic on all their bits at once, ten times as fast as a step for each byte.
#
# A block of b bits is a polynomial whose highest power is its first bit, and a reflected CRC takes the lowest bit of a byte first; so in
# the little-endian number of the block, bit i stands for x^(b-1-i). The CRC depends on the polynomial modulo P alone. The first f bits,
# H(x) * x^(b-f), can therefore be replaced by H(x) * R(x) with R = x^(b-f) mod P, which has fewer than f+32 bits and is added to the
# rest: for each power j in R, H moves to bit (b-f) - f - j of it. Blocks of 64 + 4096 * 2^n bits halve to such blocks, and b-2f is 64.

_LEVELS = 7


def _level_bits(level: int) -> int:
    return 64 + (4096 << level)


def _multiply(left: int, right: int) -> int:
    """The product of two polynomials of less than 32 bits, modulo P."""
    product = 0
    for power in range(31, -1, -1):
        product <<= 1
        if product >> 32:
            product ^= _POLYNOMIAL
        if right >> power & 1:
            product ^= left
    return product


@cache
def _moves(level: int) -> tuple[int, ...]:
    """How far the front of a block of this level is moved for each power in x^(bits of the next level) mod P."""
    remainder = 1
    for bit in f"{_level_bits(level - 1):b}":
        remainder = _multiply(remainder, remainder)
        remainder = _multiply(remainder, 2) if bit == "1" else remainder
    return tuple(64 - place for place in range(32) if remainder >> place & 1)


def _folded(block: memoryview, crc: int, level: int) -> bytes:
    """520 bytes that have the CRC register of the block when they start from 0."""
    number = int.from_bytes(block, "little") ^ crc
    for step in range(level, 0, -1):
        front_bits = _level_bits(step) - _level_bits(step - 1)
        front = number & ((1 << front_bits) - 1)
        number >>= front_bits
        for move in _moves(step):
            number ^= front << move
    return number.to_bytes(_level_bits(0) // 8, "little")


try:
    from crc32c import crc32c as _native
except ImportError:
    _native = None  # type: ignore[assignment]

ACCELERATED = _native is not None
"""Whether machine code does the work."""


def crc32c(data: Buffer, value: int = 0) -> int:
    """CRC32C of `data`, going on from `value` (the result for the bytes before it; 0 at the start)."""
    return _native(data, value) if ACCELERATED else _portable(data, value)
