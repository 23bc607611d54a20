"""The lanes of one GDeflate page, gone through one by one: what begins and ends its blocks (docs/format/gpu-container.md)."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from s4_codecs.errors import CorruptPayloadError
from s4_codecs.nvcomp.gdeflate_codes import (
    CODE_LENGTHS,
    DISTANCES,
    FIXED_DISTANCE_LENGTHS,
    FIXED_LITERAL_LENGTHS,
    LITERALS,
    NONE,
    STORED,
    Entries,
    code_table,
)

LANES = 32
WORD_BITS = 32

UNCOUNTED = 1 << 40
"""Symbols left in a block that ends with a symbol of its own: more than any page has."""

_ORDER = (16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15)
_REPEATS = {16: (3, 2), 17: (3, 3), 18: (11, 7)}
"""Symbol -> least repeats, extra bits."""
_NO_CODE: Entries = code_table([0], CODE_LENGTHS[:1])


@dataclass(frozen=True, slots=True)
class Block:
    """How the symbols of a block are read.

    Attributes:
        final: whether the page ends with it.
        literals, distances: tables of its codes.
        left: symbols in it; UNCOUNTED where it ends with a symbol of its own.
    """

    final: bool
    literals: Entries
    distances: Entries
    left: int


class Lanes:
    """The bit buffers of a page.

    Args:
        words: the input as little-endian words of 32 bits, with zeros behind the page up to `limit`.
        bits, count: what each lane holds, and how many bits that are.
        cursor: the next word.
        limit: the cursor may not go beyond.
        lane: the one whose turn it is.
    """

    __slots__ = ("_limit", "_words", "bits", "count", "cursor", "lane")

    def __init__(self, words: npt.NDArray[np.int64], *, bits: list[int], count: list[int], cursor: int, limit: int, lane: int) -> None:
        self._words = words
        self._limit = limit
        self.bits = bits
        self.count = count
        self.cursor = cursor
        self.lane = lane

    def take(self, count: int) -> int:
        """So many bits of the lane."""
        value = self.bits[self.lane] & ((1 << count) - 1)
        self.bits[self.lane] >>= count
        self.count[self.lane] -= count
        return value

    def symbol(self, table: Entries) -> int:
        """The value of the next symbol, with its extra bits.

        Raises:
            CorruptPayloadError: the bits are no code word.
        """
        bits = self.bits[self.lane]
        entry = int(table[bits & (len(table) - 1)])
        if entry >> 9 & 3 == NONE:
            raise CorruptPayloadError("gdeflate: bits that are no code word")
        code, taken = entry & 15, entry >> 4 & 31
        return (entry >> 16) + (self.take(taken) >> code)

    def refill(self) -> None:
        """Give the lane a word if it has room for one.

        Raises:
            CorruptPayloadError: the page ended long ago.
        """
        held = self.count[self.lane]
        if held < WORD_BITS:
            if self.cursor >= self._limit:
                raise CorruptPayloadError("gdeflate: the page ends before its last block")
            self.bits[self.lane] |= int(self._words[self.cursor]) << held
            self.count[self.lane] = held + WORD_BITS
            self.cursor += 1

    def advance(self) -> None:
        """Refill the lane, and go to the next."""
        self.refill()
        self.lane = (self.lane + 1) % LANES


def read_block(lanes: Lanes) -> Block:
    """The block that begins here; behind it, it is lane 0's turn.

    Raises:
        CorruptPayloadError: the head breaks a rule.
    """
    lanes.lane = 0
    final, kind = bool(lanes.take(1)), lanes.take(2)
    lanes.refill()
    if kind == 0:
        return Block(final, STORED, _NO_CODE, lanes.take(16))
    if kind == 1:
        return Block(final, _FIXED_LITERALS, _FIXED_DISTANCES, UNCOUNTED)
    if kind == 2:
        return Block(final, *_dynamic_codes(lanes), UNCOUNTED)
    raise CorruptPayloadError("gdeflate: a block of type 3")


_FIXED_LITERALS = code_table(FIXED_LITERAL_LENGTHS, LITERALS)
_FIXED_DISTANCES = code_table(FIXED_DISTANCE_LENGTHS, DISTANCES)


def _dynamic_codes(lanes: Lanes) -> tuple[Entries, Entries]:
    literals, distances, count = lanes.take(5) + 257, lanes.take(5) + 1, lanes.take(4) + 4
    lanes.refill()
    small = [0] * len(CODE_LENGTHS)
    for place in _ORDER[:count]:
        small[place] = lanes.take(3)
        lanes.advance()
    lanes.lane = 0
    lengths = _code_lengths(lanes, code_table(small, CODE_LENGTHS), literals + distances)
    lanes.lane = 0
    return code_table(lengths[:literals], LITERALS), code_table(lengths[literals:], DISTANCES)


def _code_lengths(lanes: Lanes, table: Entries, wanted: int) -> list[int]:
    lengths = list[int]()
    while len(lengths) < wanted:
        symbol = lanes.symbol(table)
        if symbol not in _REPEATS:
            lengths.append(symbol)
        else:
            least, extra = _REPEATS[symbol]
            times = least + lanes.take(extra)
            if len(lengths) + times > wanted or (symbol == 16 and not lengths):
                raise CorruptPayloadError("gdeflate: a code length is repeated where it cannot be")
            lengths += [lengths[-1] if symbol == 16 else 0] * times
        lanes.advance()
    return lengths
