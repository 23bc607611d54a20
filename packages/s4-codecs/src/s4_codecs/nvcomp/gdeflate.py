"""GDeflate pages decoded without nvCOMP (docs/format/gpu-container.md, "GDeflate pages").

A page's symbols are dealt over 32 lanes. Here one step of numpy decodes a symbol of every lane of every page at once, so that the cost of
a step is spread over some thousand symbols; only where blocks begin and end, lanes are gone through one by one. Matches are noted down and
copied later, in the order of their places, which is the order in which the lanes resolve them.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields

import numpy as np
import numpy.typing as npt
from s4_format import Buffer

from s4_codecs.errors import CorruptPayloadError, SizeMismatchError
from s4_codecs.nvcomp.gdeflate_codes import END, KINDS, LITERAL, MATCH, NONE, Entries
from s4_codecs.nvcomp.gdeflate_lanes import LANES, WORD_BITS, Lanes, read_block

_SLACK_WORDS = 2 * LANES
"""Zeros that may be read behind a page: each lane is given a word or two that its last symbols do not need."""
_MATCHES_AT_ONCE = 1 << 16
"""Matches noted down before they are copied."""
_LANES = np.arange(LANES)
_TOO_MUCH = "gdeflate: a page decodes to more bytes than promised"

_Ints = npt.NDArray[np.int64]
_Flags = npt.NDArray[np.bool_]


def max_blocks(size: int) -> int:
    """Blocks that a page of this many decoded bytes may have; encoders end one after some thousand symbols, forgers after none."""
    return 8 + size // 512


def decode_pages(pages: Sequence[Buffer], sizes: Sequence[int]) -> list[bytes]:
    """The plaintext of each page.

    Args:
        pages: as stored. More at once are decoded faster; the tables of each take up to 256 KiB, but mostly a tenth of it.
        sizes: bytes that each decodes to.

    Raises:
        SizeMismatchError: a page holds more or fewer bytes.
        CorruptPayloadError: a page breaks a rule of its layout.
    """
    group = _Group(pages, sizes)
    while len(group.rows.page):
        group.step()
    group.copy_matches()
    ends = np.cumsum(sizes).tolist()
    return [bytes(group.out[end - size : end]) for end, size in zip(ends, sizes, strict=True)]


@dataclass(slots=True)
class _Rows:
    """The pages that are not done, a row each; `bits` to `target` have a column for each lane."""

    page: _Ints
    start: _Ints
    """Where the page's bytes begin in the output of all."""
    size: _Ints
    place: _Ints
    """Bytes put out or set aside."""
    cursor: _Ints
    limit: _Ints
    blocks: _Ints
    """Blocks begun."""
    left: _Ints
    """Symbols left in the block."""
    final: _Flags
    literals: _Ints
    literal_mask: _Ints
    distances: _Ints
    distance_mask: _Ints
    """Places and last indices of the block's tables."""
    bits: _Ints
    count: _Ints
    pending: _Ints
    """Length of the lane's match, 0 without one."""
    target: _Ints
    """Where that match goes, from the page's start."""

    def keep(self, wanted: _Flags) -> None:
        """Drop the other rows."""
        for field in fields(self):
            setattr(self, field.name, getattr(self, field.name)[wanted])


class _Group:
    """Pages that are decoded together."""

    def __init__(self, pages: Sequence[Buffer], sizes: Sequence[int]) -> None:
        count = len(pages)
        self._words, first, ends = _words(pages)
        self._tables = _Tables()
        self._matches: list[tuple[_Ints, _Ints, _Ints]] = []
        self._noted = 0
        self.out = bytearray(sum(sizes))
        self._bytes = np.frombuffer(self.out, dtype=np.uint8)
        size = np.array(sizes, dtype=np.int64)
        lanes = (count, LANES)
        self.rows = _Rows(
            page=np.arange(count),
            start=np.cumsum(size) - size,
            size=size,
            place=np.zeros(count, dtype=np.int64),
            cursor=first + LANES,
            limit=np.maximum(ends, first + LANES) + _SLACK_WORDS,
            blocks=np.zeros(count, dtype=np.int64),
            left=np.zeros(count, dtype=np.int64),
            final=np.zeros(count, dtype=np.bool_),
            literals=np.zeros(count, dtype=np.int64),
            literal_mask=np.zeros(count, dtype=np.int64),
            distances=np.zeros(count, dtype=np.int64),
            distance_mask=np.zeros(count, dtype=np.int64),
            bits=self._words[first[:, None] + _LANES],
            count=np.full(lanes, WORD_BITS, dtype=np.int64),
            pending=np.zeros(lanes, dtype=np.int64),
            target=np.zeros(lanes, dtype=np.int64),
        )
        self._go_on((row, 0) for row in range(count))

    def step(self) -> None:
        """Decode one symbol of every lane, up to the end of the block."""
        rows = self.rows
        waiting = rows.pending > 0
        place, mask = rows.literals[:, None], rows.literal_mask[:, None]
        matches = bool(waiting.any())
        if matches:
            place = np.where(waiting, rows.distances[:, None], place)
            mask = np.where(waiting, rows.distance_mask[:, None], mask)
        entry = self._tables.entries.take(place + (rows.bits & mask)).astype(np.int64)
        if not (matches or (entry & KINDS).any()) and rows.left.min() > LANES:
            self._put_literals(entry)
            return
        code, taken, kind = entry & 15, entry >> 4 & 31, entry >> 9 & 3
        value = (entry >> 16) + ((rows.bits & ((1 << taken) - 1)) >> code)
        stop = np.minimum(_first(kind >= END), rows.left)
        live = stop[:, None] > _LANES
        at_stop = (stop[:, None] == _LANES) & (kind >= END)
        if (at_stop & (kind == NONE)).any():
            raise CorruptPayloadError("gdeflate: bits that are no code word")
        self._put_out(live, waiting, kind, value)
        taken *= live | at_stop
        rows.bits >>= taken
        rows.count -= taken
        self._refill(live & (rows.count < WORD_BITS))
        ended = (stop < LANES) | (rows.left == LANES)
        rows.left -= LANES
        if ended.any():
            self._go_on((row, int(stop[row]) % LANES) for row in np.flatnonzero(ended).tolist())

    def _put_literals(self, entry: _Ints) -> None:
        """The same, where every lane has a literal and no block ends: most steps of pages whose encoder looks for no matches."""
        rows = self.rows
        places = (rows.start + rows.place)[:, None] + _LANES
        rows.place += LANES
        if (rows.place > rows.size).any():
            raise SizeMismatchError(_TOO_MUCH)
        self._bytes[places] = entry >> 16
        code = entry & 15
        rows.bits >>= code
        rows.count -= code
        rows.left -= LANES
        self._refill(rows.count < WORD_BITS)

    def _put_out(self, live: _Flags, waiting: _Flags, kind: _Ints, value: _Ints) -> None:
        """Literals into the output, lengths into `pending`, distances into the notes."""
        rows = self.rows
        fresh = live & ~waiting
        literal, length = fresh & (kind == LITERAL), fresh & (kind == MATCH)
        sizes = literal + np.where(length, value, 0)
        ends = rows.place[:, None] + np.cumsum(sizes, axis=1)
        places = ends - sizes
        rows.place = ends[:, -1]
        if (rows.place > rows.size).any():
            raise SizeMismatchError(_TOO_MUCH)
        self._bytes[(rows.start[:, None] + places)[literal]] = value[literal]
        resolved = live & waiting
        if resolved.any():
            self._note(resolved, value)
            rows.pending[resolved] = 0
        if length.any():
            rows.pending[length] = value[length]
            rows.target[length] = places[length]

    def _note(self, resolved: _Flags, distance: _Ints) -> None:
        rows = self.rows
        targets, distances = rows.target[resolved], distance[resolved]
        if (distances > targets).any():
            raise CorruptPayloadError("gdeflate: a distance reaches before the output")
        self._matches.append(((rows.start[:, None] + rows.target)[resolved], rows.pending[resolved], distances))
        self._noted += len(distances)
        if self._noted >= _MATCHES_AT_ONCE:
            self.copy_matches()

    def _refill(self, needy: _Flags) -> None:
        rows = self.rows
        order = np.cumsum(needy, axis=1)
        words = self._words.take(rows.cursor[:, None] + order - needy)
        rows.bits |= (words << (rows.count * needy)) * needy
        rows.count += WORD_BITS * needy
        rows.cursor += order[:, -1]
        if (rows.cursor > rows.limit).any():
            raise CorruptPayloadError("gdeflate: a page ends before its last block")

    def _go_on(self, stopped: Iterable[tuple[int, int]]) -> None:
        """End the blocks of these rows at these lanes, and begin the next ones; rows whose page is done are dropped."""
        rows = self.rows
        keep = np.ones(len(rows.page), dtype=np.bool_)
        for row, lane in stopped:
            lanes = Lanes(
                self._words,
                bits=rows.bits[row].tolist(),
                count=rows.count[row].tolist(),
                cursor=int(rows.cursor[row]),
                limit=int(rows.limit[row]),
                lane=lane,
            )
            keep[row] = self._next_block(row, lanes)
            rows.bits[row], rows.count[row], rows.cursor[row] = lanes.bits, lanes.count, lanes.cursor
        if not keep.all():
            rows.keep(keep)

    def _next_block(self, row: int, lanes: Lanes) -> bool:
        """Go to the next block that has symbols; False if there is none."""
        rows = self.rows
        while True:
            if rows.blocks[row]:
                self._end_block(row, lanes)
            if rows.final[row]:
                if rows.place[row] != rows.size[row]:
                    raise SizeMismatchError(f"gdeflate: a page decodes to {rows.place[row]} bytes, {rows.size[row]} promised")
                return False
            rows.blocks[row] += 1
            if rows.blocks[row] > max_blocks(int(rows.size[row])):
                raise CorruptPayloadError("gdeflate: a page of more blocks than its bytes can need")
            block = read_block(lanes)
            rows.final[row], rows.left[row] = block.final, block.left
            if block.left:
                break
        page = int(rows.page[row])
        rows.literals[row], rows.literal_mask[row] = self._tables.put((page, 0), block.literals)
        rows.distances[row], rows.distance_mask[row] = self._tables.put((page, 1), block.distances)
        return True

    def _end_block(self, row: int, lanes: Lanes) -> None:
        """Resolve what is pending, from the lane where the block stopped, once round."""
        rows = self.rows
        place = int(rows.distances[row])
        distances = self._tables.entries[place : place + int(rows.distance_mask[row]) + 1]
        for _ in range(LANES):
            if rows.pending[row, lanes.lane]:
                only = np.zeros(rows.pending.shape, dtype=np.bool_)
                only[row, lanes.lane] = True
                self._note(only, np.full(rows.pending.shape, lanes.symbol(distances)))
                rows.pending[row, lanes.lane] = 0
            lanes.advance()

    def copy_matches(self) -> None:
        """Copy all that was noted down. Bytes that overlap their own source repeat it."""
        out = self.out
        for starts, lengths, distances in self._matches:
            for start, length, distance in zip(starts.tolist(), lengths.tolist(), distances.tolist(), strict=True):
                source = out[start - distance : start - distance + length]
                if distance < length:
                    source = (source[:distance] * (length // distance + 1))[:length]
                out[start : start + length] = source
        self._matches.clear()
        self._noted = 0


class _Tables:
    """The tables of all pages in one array, so that one look-up serves them all."""

    def __init__(self) -> None:
        self.entries: Entries = np.empty(0, dtype=np.uint32)
        self._used = 0
        self._places: dict[tuple[int, int], tuple[int, int]] = {}

    def put(self, owner: tuple[int, int], table: Entries) -> tuple[int, int]:
        """Keep the table in place of the owner's last one; where it lies, and its last index."""
        place, room = self._places.get(owner, (0, 0))
        if room < len(table):
            place = self._used
            self._used += len(table)
            self._places[owner] = place, len(table)
            if self._used > len(self.entries):
                self.entries = np.concatenate((self.entries, np.empty(self._used, dtype=np.uint32)))
        self.entries[place : place + len(table)] = table
        return place, len(table) - 1


def _first(flags: _Flags) -> _Ints:
    """The first lane of each row with the flag, LANES where there is none."""
    found: _Ints = np.where(flags.any(axis=1), flags.argmax(axis=1), LANES)
    return found


def _words(pages: Sequence[Buffer]) -> tuple[_Ints, _Ints, _Ints]:
    """All pages as words with room behind each, and the first and the end of each one's own."""
    counts = np.array([-(-len(page) // 4) for page in pages], dtype=np.int64)
    # Beyond the slack a step may look one word further for every lane before it finds that it did.
    rooms = np.maximum(counts, LANES) + _SLACK_WORDS + LANES
    first = np.cumsum(rooms) - rooms
    data = bytearray(4 * int(rooms.sum()))
    for page, start in zip(pages, first.tolist(), strict=True):
        data[4 * start : 4 * start + len(page)] = page
    return np.frombuffer(data, dtype="<u4").astype(np.int64), first, first + counts
