"""The prefix codes of GDeflate as look-up tables, and the symbols behind them (docs/format/gpu-container.md, "GDeflate pages").

A table is indexed by the next bits of a lane. Its entries say everything that a symbol means, packed into 32 bits:

    bits 0-3    length of the code word
    bits 4-8    the same with the extra bits that follow it
    bits 9-10   LITERAL, MATCH (a length or a distance), END, or NONE where the bits are no code word
    bits 16-31  the byte, or the least length or distance; the extra bits are added to it
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from s4_codecs.errors import CorruptPayloadError

LITERAL, MATCH, END, NONE = range(4)
KINDS = 3 << 9
"""The bits of an entry that say which of them it is; none of them is set in literals."""

MAX_CODE_BITS = 15
STORED_BITS = 8

Entries = npt.NDArray[np.uint32]
"""What symbols mean, or what bits do."""
Lengths = npt.NDArray[np.int64]


def _ranges(first: int, plain: int, each: int, last_extra: int) -> list[tuple[int, int]]:
    """(least value, extra bits) of RFC 1951's symbols: `plain` without extra bits, then `each` of every number of them."""
    found = [(first + number, 0) for number in range(plain)]
    for extra in range(1, last_extra + 1):
        for _ in range(each):
            value, bits = found[-1]
            found.append((value + (1 << bits), extra))
    return found


# RFC 1951, 3.2.5, but for length 285 and distances 30 and 31, which are those of DEFLATE64.
_LENGTHS = [*_ranges(3, 8, 4, 5)[:28], (3, 16)]
_DISTANCES = _ranges(1, 4, 2, 14)


def _entry(kind: int, value: int, extra: int = 0) -> int:
    """An entry of a code word without bits; a code of n bits adds 17 n."""
    return value << 16 | kind << 9 | extra << 4


_NOTHING = _entry(NONE, 0)
_LITERAL_ENTRIES = [_entry(LITERAL, byte) for byte in range(256)] + [_entry(END, 0)]
LITERALS: Entries = np.array([*_LITERAL_ENTRIES, *(_entry(MATCH, *length) for length in _LENGTHS), _NOTHING, _NOTHING], dtype=np.uint32)
DISTANCES: Entries = np.array([_entry(MATCH, *distance) for distance in _DISTANCES], dtype=np.uint32)
CODE_LENGTHS: Entries = np.array([_entry(LITERAL, number) for number in range(19)], dtype=np.uint32)
"""Symbols of the code that the lengths of the other codes are written in."""

FIXED_LITERAL_LENGTHS: Lengths = np.repeat([8, 9, 7, 8], [144, 112, 24, 8])
FIXED_DISTANCE_LENGTHS: Lengths = np.full(32, 5)


def _reversal(bits: int) -> npt.NDArray[np.int64]:
    """Every number of so many bits with its bits in reverse order."""
    found = np.zeros(1, dtype=np.int64)
    for _ in range(bits):
        found = np.concatenate((found * 2, found * 2 + 1))
    return found


_REVERSALS = [_reversal(bits) for bits in range(MAX_CODE_BITS + 1)]


def code_table(lengths: "Lengths | Sequence[int]", symbols: Entries) -> Entries:
    """The table of the canonical code with these lengths, of 2^n entries for code words of up to n bits.

    Args:
        lengths: bits of each symbol's code word, 0 to 15; 0 where it has none.
        symbols: what each symbol means.

    Raises:
        CorruptPayloadError: there are more code words than bits can tell apart.
    """
    bits = np.asarray(lengths, dtype=np.int64)
    longest = int(bits.max(initial=0))
    order = np.argsort(bits, kind="stable")
    order = order[bits[order] > 0]
    words = bits[order]
    spans = 1 << (longest - words)
    used = int(spans.sum())
    if used > 1 << longest:
        raise CorruptPayloadError("gdeflate: an over-subscribed code")
    table = np.full(1 << longest, _NOTHING, dtype=np.uint32)
    table[:used] = np.repeat(symbols[order] + (words * 17).astype(np.uint32), spans)
    reordered: Entries = table[_REVERSALS[longest]]
    return reordered


STORED: Entries = LITERALS[:256] + np.uint32(STORED_BITS * 17)
"""The table of a stored block, whose bytes are a code too: each stands for itself."""
