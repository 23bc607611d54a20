"""GDeflate pages read and written symbol by symbol, as docs/format/gpu-container.md tells it: the yardstick for the fast decoder.

The writer takes blocks of symbols, so that pages can hold what no known encoder makes: fixed and stored blocks, several blocks, the longest
distances, and whatever a forger may think of.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

LANES = 32
ORDER = (16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15)
LENGTHS = [(3 + n, 0) for n in range(8)]
for _extra in range(1, 6):
    LENGTHS += [(LENGTHS[-1][0] + (1 << LENGTHS[-1][1]) + (n << _extra), _extra) for n in range(4)]
LENGTHS[28:] = [(3, 16)]
DISTANCES = [(1 + n, 0) for n in range(4)]
for _extra in range(1, 15):
    DISTANCES += [(DISTANCES[-1][0] + (1 << DISTANCES[-1][1]) + (n << _extra), _extra) for n in range(2)]
FIXED_LITERALS = [8] * 144 + [9] * 112 + [7] * 24 + [8] * 8
FIXED_DISTANCES = [5] * 32


def codes(lengths: list[int]) -> dict[tuple[int, int], int]:
    """(length, code read from its first bit) -> symbol, of a canonical code."""
    if sum(1 << (15 - length) for length in lengths if length) > 1 << 15:
        raise ValueError("over-subscribed")
    made, code = {}, 0
    for length in range(1, 16):
        for symbol, found in enumerate(lengths):
            if found == length:
                made[length, code] = symbol
                code += 1
        code <<= 1
    return made


class Lanes:
    """The bit buffers of a page that is read."""

    def __init__(self, page: bytes) -> None:
        self.page = page
        self.cursor = 0
        self.bits = [0] * LANES
        self.count = [0] * LANES
        self.lane = 0
        for lane in range(LANES):
            self.refill(lane)

    def refill(self, lane: int) -> None:
        if self.count[lane] < 32:
            word = int.from_bytes(self.page[self.cursor : self.cursor + 4], "little")
            self.cursor += 4
            if self.cursor > 4 * (max(LANES, -(-len(self.page) // 4)) + 2 * LANES):
                raise ValueError("the page ended")
            self.bits[lane] |= word << self.count[lane]
            self.count[lane] += 32

    def advance(self) -> None:
        self.refill(self.lane)
        self.lane = (self.lane + 1) % LANES

    def take(self, count: int) -> int:
        value = self.bits[self.lane] & ((1 << count) - 1)
        self.bits[self.lane] >>= count
        self.count[self.lane] -= count
        return value

    def symbol(self, code: dict[tuple[int, int], int]) -> int:
        value = 0
        for length in range(1, 16):
            value = value << 1 | self.take(1)
            if (length, value) in code:
                return code[length, value]
        raise ValueError("no such code")


def decode(page: bytes, size: int) -> bytes:
    """The `size` bytes of one page; ValueError if it holds anything else."""
    lanes, out = Lanes(page), bytearray()
    pending: list[tuple[int, int] | None] = [None] * LANES
    final = False
    while not final:
        lanes.lane = 0
        final, kind = bool(lanes.take(1)), lanes.take(2)
        lanes.refill(0)
        if kind == 3:
            raise ValueError("block type 3")
        distances: dict[tuple[int, int], int] = {}
        if kind == 0:
            for _ in range(lanes.take(16)):
                out.append(lanes.take(8))
                lanes.advance()
        else:
            literals, distances = _codes(lanes) if kind == 2 else (codes(FIXED_LITERALS), codes(FIXED_DISTANCES))
            _symbols(lanes, literals, distances, pending, out, size)
        for _ in range(LANES):
            _resolve(lanes, distances, pending, out)
            lanes.advance()
    if len(out) != size:
        raise ValueError(f"{len(out)} bytes")
    return bytes(out)


def _symbols(
    lanes: Lanes,
    literals: dict[tuple[int, int], int],
    distances: dict[tuple[int, int], int],
    pending: list[tuple[int, int] | None],
    out: bytearray,
    size: int,
) -> None:
    lanes.lane = 0
    while True:
        if pending[lanes.lane] is not None:
            _resolve(lanes, distances, pending, out)
        else:
            symbol = lanes.symbol(literals)
            if symbol == 256:
                return
            if symbol < 256:
                out.append(symbol)
            elif symbol > 285:
                raise ValueError("no such length")
            else:
                base, extra = LENGTHS[symbol - 257]
                length = base + lanes.take(extra)
                pending[lanes.lane] = length, len(out)
                out += bytes(length)
        if len(out) > size:
            raise ValueError("too many bytes")
        lanes.advance()


def _resolve(lanes: Lanes, distances: dict[tuple[int, int], int], pending: list[tuple[int, int] | None], out: bytearray) -> None:
    match = pending[lanes.lane]
    if match is None:
        return
    base, extra = DISTANCES[lanes.symbol(distances)]
    distance = base + lanes.take(extra)
    length, place = match
    if distance > place:
        raise ValueError("distance before the output")
    for at in range(place, place + length):
        out[at] = out[at - distance]
    pending[lanes.lane] = None


def _codes(lanes: Lanes) -> tuple[dict[tuple[int, int], int], dict[tuple[int, int], int]]:
    literals, distances, count = lanes.take(5) + 257, lanes.take(5) + 1, lanes.take(4) + 4
    lanes.refill(0)
    small = [0] * 19
    for place in ORDER[:count]:
        small[place] = lanes.take(3)
        lanes.advance()
    lanes.lane = 0
    code, lengths = codes(small), list[int]()
    while len(lengths) < literals + distances:
        symbol = lanes.symbol(code)
        if symbol < 16:
            lengths.append(symbol)
        else:
            bits, base = {16: (2, 3), 17: (3, 3), 18: (7, 11)}[symbol]
            lengths += [lengths[-1] if symbol == 16 else 0] * (base + lanes.take(bits))
        lanes.advance()
    if len(lengths) != literals + distances:
        raise ValueError("too many code lengths")
    lanes.lane = 0
    return codes(lengths[:literals]), codes(lengths[literals:])


Symbol = int | tuple[int, int]
"""A byte, or a match of (length, distance)."""


@dataclass(frozen=True)
class Stored:
    """A block of type 0."""

    data: bytes


@dataclass(frozen=True)
class Fixed:
    """A block of type 1."""

    symbols: tuple[Symbol, ...]


@dataclass(frozen=True)
class Dynamic:
    """A block of type 2 with codes of these lengths, or of codes that fit its symbols; a forger declares other ones than are used."""

    symbols: tuple[Symbol, ...]
    literals: list[int] = field(default_factory=list)
    distances: list[int] = field(default_factory=list)
    declared_literals: list[int] = field(default_factory=list)
    declared_distances: list[int] = field(default_factory=list)


class Writer:
    """The lanes of a page that is written: what each one's bits are, and in which order a reader asks for words."""

    def __init__(self) -> None:
        self.bits = [0] * LANES
        self.length = [0] * LANES
        self.count = [32] * LANES
        self.asked = list(range(LANES))
        self.lane = 0
        self.distance: list[int | None] = [None] * LANES
        """The distance still to be written of each lane's match."""

    def put(self, value: int, count: int) -> None:
        self.bits[self.lane] |= value << self.length[self.lane]
        self.length[self.lane] += count
        self.count[self.lane] -= count

    def put_code(self, symbol: int, words: dict[int, tuple[int, int]]) -> None:
        length, code = words[symbol]
        self.put(int(f"{code:0{length}b}"[::-1], 2), length)

    def refill(self) -> None:
        if self.count[self.lane] < 32:
            self.asked.append(self.lane)
            self.count[self.lane] += 32

    def advance(self) -> None:
        self.refill()
        self.lane = (self.lane + 1) % LANES

    def page(self) -> bytes:
        """All words that a reader asks for; those of the end may be zeros."""
        out = bytearray()
        for lane in self.asked:
            out += (self.bits[lane] & 0xFFFFFFFF).to_bytes(4, "little")
            self.bits[lane] >>= 32
        return bytes(out)


def encode(blocks: Iterable[Stored | Fixed | Dynamic]) -> bytes:
    """A page of these blocks, the last one marked as such."""
    writer, todo = Writer(), list(blocks)
    for number, block in enumerate(todo):
        writer.lane = 0
        writer.put(number == len(todo) - 1, 1)
        writer.put({Stored: 0, Fixed: 1, Dynamic: 2}[type(block)], 2)
        writer.refill()
        distances: dict[int, tuple[int, int]] = {}
        if isinstance(block, Stored):
            writer.put(len(block.data), 16)
            for byte in block.data:
                writer.put(byte, 8)
                writer.advance()
        else:
            literals, distances = _put_codes(writer, block)
            _put_symbols(writer, block.symbols, literals, distances)
        for _ in range(LANES):
            _put_distance(writer, distances)
            writer.advance()
    return writer.page()


def _put_symbols(
    writer: Writer, symbols: Iterable[Symbol], literals: dict[int, tuple[int, int]], distances: dict[int, tuple[int, int]]
) -> None:
    writer.lane = 0
    for symbol in (*symbols, 256):
        while writer.distance[writer.lane] is not None:
            _put_distance(writer, distances)
            writer.advance()
        if isinstance(symbol, tuple):
            number, value, extra = _number(LENGTHS, symbol[0])
            writer.put_code(257 + number, literals)
            writer.put(value, extra)
            writer.distance[writer.lane] = symbol[1]
        else:
            writer.put_code(symbol, literals)
        if symbol != 256:
            writer.advance()


def _put_distance(writer: Writer, distances: dict[int, tuple[int, int]]) -> None:
    distance = writer.distance[writer.lane]
    if distance is not None:
        number, value, extra = _number(DISTANCES, distance)
        writer.put_code(number, distances)
        writer.put(value, extra)
        writer.distance[writer.lane] = None


def _number(ranges: list[tuple[int, int]], value: int) -> tuple[int, int, int]:
    """Symbol, extra bits and how many of them, of a length or distance."""
    for number, (base, extra) in enumerate(ranges):
        if base <= value < base + (1 << extra):
            return number, value - base, extra
    raise ValueError(value)


def _put_codes(writer: Writer, block: Fixed | Dynamic) -> tuple[dict[int, tuple[int, int]], dict[int, tuple[int, int]]]:
    if isinstance(block, Fixed):
        return words(FIXED_LITERALS), words(FIXED_DISTANCES)
    literals, distances = block.literals or _fitting(_literals(block.symbols), 286), block.distances or _fitting(_far(block.symbols), 32)
    declared = block.declared_literals or literals, block.declared_distances or distances
    writer.put(len(declared[0]) - 257, 5)
    writer.put(len(declared[1]) - 1, 5)
    writer.put(15, 4)
    writer.refill()
    # Repeats are written where they fit, so that readers meet them; the code for all of it has 5 bits a symbol.
    for _ in ORDER:
        writer.put(5, 3)
        writer.advance()
    writer.lane = 0
    small = words([5] * 19)
    for symbol, value, extra in _runs(declared[0] + declared[1]):
        writer.put_code(symbol, small)
        writer.put(value, extra)
        writer.advance()
    return words(literals), words(distances)


def words(lengths: list[int]) -> dict[int, tuple[int, int]]:
    """Symbol -> (length, code)."""
    return {symbol: word for word, symbol in codes(lengths).items()}


def _literals(symbols: Iterable[Symbol]) -> Iterator[int]:
    yield 256
    for symbol in symbols:
        yield 257 + _number(LENGTHS, symbol[0])[0] if isinstance(symbol, tuple) else symbol


def _far(symbols: Iterable[Symbol]) -> Iterator[int]:
    for symbol in symbols:
        if isinstance(symbol, tuple):
            yield _number(DISTANCES, symbol[1])[0]


def _fitting(used: Iterable[int], count: int) -> list[int]:
    """Lengths of a complete code of the symbols that are used, as unequal as 15 bits allow; one bit for a lone symbol."""
    wanted = sorted(set(used))
    lengths = [0] * count
    free, left = 1 << 15, len(wanted)
    for symbol in wanted:
        left -= 1
        length = next(length for length in range(1, 16) if free - (1 << (15 - length)) >= left)
        lengths[symbol] = length
        free -= 1 << (15 - length)
    return lengths


def _runs(lengths: list[int]) -> Iterator[tuple[int, int, int]]:
    """Code length symbols with the value and number of their extra bits."""
    at = 0
    while at < len(lengths):
        length, run = lengths[at], 1
        while at + run < len(lengths) and lengths[at + run] == length and run < 139:
            run += 1
        if length == 0 and run >= 3:
            run = min(run, 138)
            yield (18, run - 11, 7) if run >= 11 else (17, run - 3, 3)
            at += run
        elif run >= 4:
            run = min(run, 7)
            yield length, 0, 0
            yield 16, run - 4, 2
            at += run
        else:
            yield length, 0, 0
            at += 1
