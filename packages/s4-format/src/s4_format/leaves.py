"""The frame index of a trailer: leaves of 1,024 frames, and the directory that finds them (docs/format/trailer.md, "Index")."""

from array import array
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import accumulate, chain, pairwise
from operator import add, lt
from struct import Struct
from sys import byteorder
from typing import NamedTuple

from s4_format._buffer import Buffer, as_view
from s4_format.crc32c import crc32c
from s4_format.errors import Reason, TrailerError
from s4_format.frame import FRAME_HEADER_BYTES, PADDING_HEADER_BYTES
from s4_format.frames import FrameColumns, FrameTable, offsets_from_sizes
from s4_format.packed import COLUMN_HEAD_BYTES, max_column_bytes, pack_column, unpack_column

LEAF_FRAMES = 1024
SINGLE_LEVEL_FRAMES = 16_384
"""Up to this many frames there is no directory: the index is read as a whole."""

_LEAF_HEAD = Struct("<IHHQQ")
_CRC_BYTES = 4
_MIN_LEAF_BYTES = _LEAF_HEAD.size + 2 * COLUMN_HEAD_BYTES + _CRC_BYTES
_MAX_LEAF_BYTES = _LEAF_HEAD.size + 3 * max_column_bytes(LEAF_FRAMES) + 2 * LEAF_FRAMES + _CRC_BYTES


class Span(NamedTuple):
    """A half-open range of bytes of the body."""

    start: int
    stop: int

    @property
    def size(self) -> int:
        """Bytes in it."""
        return self.stop - self.start


def leaf_count(frame_count: int) -> int:
    """Leaves that an index of so many frames has."""
    return -(-frame_count // LEAF_FRAMES)


def index_bounds(frame_count: int) -> tuple[int, int]:
    """The least and the most bytes that the leaves of so many frames take."""
    leaves = leaf_count(frame_count)
    return leaves * _MIN_LEAF_BYTES, leaves * _MAX_LEAF_BYTES


def directory_bounds(frame_count: int) -> tuple[int, int]:
    """The least and the most bytes that the directory of so many frames takes."""
    if frame_count <= SINGLE_LEVEL_FRAMES:
        return 0, 0
    return 3 * COLUMN_HEAD_BYTES, 3 * max_column_bytes(leaf_count(frame_count))


def check_tiling(frames: FrameTable, original_size: int, trailer_offset: int) -> None:
    """Refuse a table that is not a whole body's: holes in the object, room in the body that padding cannot fill, other sizes.

    Raises:
        TrailerError: NOT_TILED, SIZE_MISMATCH.
    """
    columns = frames.columns
    ends = array("Q", [0])
    ends.extend(map(add, columns.stored_offsets, columns.stored_sizes))
    starts = chain(columns.stored_offsets, (trailer_offset,))
    if any(start != end and start - end < PADDING_HEADER_BYTES for start, end in zip(starts, ends, strict=True)):
        raise TrailerError("bytes between frames that padding cannot fill", Reason.NOT_TILED)
    if min(columns.stored_sizes, default=FRAME_HEADER_BYTES) < FRAME_HEADER_BYTES:
        raise TrailerError("a frame is shorter than its header", Reason.NOT_TILED)
    if columns.original_offsets != offsets_from_sizes(0, columns.original_sizes):
        raise TrailerError("frames leave holes in the object", Reason.NOT_TILED)
    if frames.original_size != original_size:
        raise TrailerError(f"frames hold {frames.original_size} bytes, the object has {original_size}", Reason.SIZE_MISMATCH)


def pack_index(frames: FrameTable) -> tuple[bytes, bytes]:
    """The leaves of a table that `check_tiling` accepts, and their directory (empty where there is none)."""
    leaves = []
    originals = []
    ends = [0]
    for first in range(0, len(frames), LEAF_FRAMES):
        stop = min(first + LEAF_FRAMES, len(frames))
        leaves.append(_pack_leaf(frames, first, stop, stored_start=ends[-1]))
        originals.append(frames[stop - 1].original_end - frames[first].original_offset)
        ends.append(frames[stop - 1].stored_end)
    if len(frames) <= SINGLE_LEVEL_FRAMES:
        return b"".join(leaves), b""
    stored = [after - before for before, after in pairwise(ends)]
    return b"".join(leaves), b"".join(map(pack_column, (originals, stored, [len(leaf) for leaf in leaves])))


def _pack_leaf(frames: FrameTable, first: int, stop: int, *, stored_start: int) -> bytes:
    columns = frames.columns
    offsets = columns.stored_offsets[first:stop]
    sizes = columns.stored_sizes[first:stop]
    ends = [stored_start, *(offset + size for offset, size in zip(offsets, sizes, strict=True))]
    gaps = [(position, offset - end) for position, (offset, end) in enumerate(zip(offsets, ends, strict=False)) if offset != end]
    body = b"".join(
        (
            _LEAF_HEAD.pack(first, stop - first, len(gaps), columns.original_offsets[first], stored_start),
            pack_column(columns.original_sizes[first:stop]),
            pack_column([size - FRAME_HEADER_BYTES for size in sizes]),
            b"".join(position.to_bytes(2, "little") for position, _ in gaps),
            pack_column([size for _, size in gaps]) if gaps else b"",
        )
    )
    return body + crc32c(body).to_bytes(_CRC_BYTES, "little")


class _Leaf(NamedTuple):
    """One leaf as read: `columns` of its frames, and where it, the frames' original and stored bytes end."""

    columns: FrameColumns
    stop: int
    original_end: int
    stored_end: int


def _unpack_leaf(view: memoryview, offset: int, number: int, count: int, original: int, stored: int) -> _Leaf:
    """The leaf at `offset`, which must be the one of `count` frames from frame `number`, at these original and stored offsets.

    Raises:
        TrailerError: CHECKSUM_MISMATCH, MALFORMED, WRONG_PLACE, NOT_TILED.
    """
    if len(view) - offset < _MIN_LEAF_BYTES:
        raise TrailerError("a leaf is cut short", Reason.MALFORMED, offset=offset)
    place = _LEAF_HEAD.unpack_from(view, offset)
    gap_count = place[2]
    if gap_count > LEAF_FRAMES:
        raise TrailerError(f"{gap_count} gaps in a leaf", Reason.MALFORMED, offset=offset)
    original_sizes, cursor = unpack_column(view, offset + _LEAF_HEAD.size, count)
    stored_sizes, cursor = unpack_column(view, cursor, count, bias=FRAME_HEADER_BYTES)
    positions = view[cursor : cursor + 2 * gap_count].tobytes()
    gap_sizes: array[int] = array("Q")
    if gap_count:
        gap_sizes, cursor = unpack_column(view, cursor + 2 * gap_count, gap_count)
    stop = cursor + _CRC_BYTES
    if stop > len(view) or int.from_bytes(view[cursor:stop], "little") != crc32c(view[offset:cursor]):
        raise TrailerError("a leaf does not match its checksum", Reason.CHECKSUM_MISMATCH, offset=offset)
    if place != (number, count, gap_count, original, stored):
        raise TrailerError(f"the leaf of frame {number} says it is another: {place}", Reason.WRONG_PLACE, offset=offset)
    try:
        original_offsets = offsets_from_sizes(original, original_sizes)
        if gap_count:
            stored_offsets = _with_gaps(stored, stored_sizes, positions, gap_sizes)
        else:
            stored_offsets = offsets_from_sizes(stored, stored_sizes)
    except OverflowError:
        raise TrailerError("offsets do not fit in 64 bits", Reason.MALFORMED, offset=offset) from None
    original_end, stored_end = original_offsets[-1] + original_sizes[-1], stored_offsets[-1] + stored_sizes[-1]
    if max(original_end, stored_end) >= 2**64:
        raise TrailerError("offsets do not fit in 64 bits", Reason.MALFORMED, offset=offset)
    columns = FrameColumns(original_offsets, original_sizes, stored_offsets, stored_sizes)
    return _Leaf(columns, stop, original_end, stored_end)


def _with_gaps(start: int, sizes: "array[int]", positions: bytes, gaps: "array[int]") -> "array[int]":
    """Where frames of these sizes begin, the first at `start`, when there is a gap before each of these positions."""
    places = array("H", positions)
    if byteorder == "big":
        places.byteswap()
    if places[-1] >= len(sizes) or not all(map(lt, places, places[1:])):
        raise TrailerError("positions of gaps do not ascend", Reason.MALFORMED)
    if min(gaps) < PADDING_HEADER_BYTES:
        raise TrailerError(f"a gap of {min(gaps)} bytes cannot be padding", Reason.NOT_TILED)
    steps = array("Q", [start])
    steps.extend(sizes[:-1])
    if len(gaps) == len(steps):
        return array("Q", accumulate(map(add, steps, gaps)))
    for position, size in zip(places, gaps, strict=True):
        steps[position] += size
    return array("Q", accumulate(steps))


def _unpack_leaves(view: memoryview, first: int, frame_count: int, original: int, stored: int) -> Iterator[_Leaf]:
    """The leaves in `view`, which hold the frames from `first` to `frame_count` and lie there one behind the other."""
    cursor = 0
    for number in range(first, frame_count, LEAF_FRAMES):
        leaf = _unpack_leaf(view, cursor, number, min(LEAF_FRAMES, frame_count - number), original, stored)
        yield leaf
        cursor, original, stored = leaf.stop, leaf.original_end, leaf.stored_end
    if cursor != len(view):
        raise TrailerError(f"{len(view) - cursor} bytes behind the last leaf", Reason.MALFORMED, offset=cursor)


def _join(leaves: Iterator[_Leaf], count: int) -> FrameTable:
    """The frames of these leaves, `count` in all."""
    whole = FrameColumns(*(array("Q", [0]) * count for _ in range(4)))
    start = 0
    for leaf in leaves:
        stop = start + len(leaf.columns.original_sizes)
        for column, part in zip(whole.all(), leaf.columns.all(), strict=True):
            column[start:stop] = part
        start = stop
    return FrameTable(whole, in_order=True)


def unpack_index(view: memoryview, frame_count: int, original_size: int, trailer_offset: int) -> FrameTable:
    """Read all leaves.

    Raises:
        TrailerError: CHECKSUM_MISMATCH, MALFORMED, WRONG_PLACE, NOT_TILED, SIZE_MISMATCH.
    """
    frames = _join(_unpack_leaves(view, 0, frame_count, 0, 0), frame_count)
    check_end(frames.original_size, frames.stored_end, original_size, trailer_offset)
    return frames


def check_end(original_end: int, stored_end: int, original_size: int, trailer_offset: int) -> None:
    """Refuse an index whose end is not the object's, or not the trailer's but for padding.

    Raises:
        TrailerError: NOT_TILED, SIZE_MISMATCH.
    """
    gap = trailer_offset - stored_end
    if gap != 0 and gap < PADDING_HEADER_BYTES:
        raise TrailerError(f"{gap} bytes between the last frame and the trailer", Reason.NOT_TILED)
    if original_end != original_size:
        raise TrailerError(f"frames hold {original_end} bytes, the object has {original_size}", Reason.SIZE_MISMATCH)


@dataclass(frozen=True, slots=True)
class Directory:
    """Finds the leaves of a range in an index of two levels.

    Attributes:
        frame_count: frames of the whole body.
        originals, stored: where each leaf's frames begin in the object and, padding before them included, in the body; with the end.
        leaves: where each leaf lies in the body; with the end.
    """

    frame_count: int
    originals: "array[int]"
    stored: "array[int]"
    leaves: "array[int]"

    def leaf_span(self, start: int, stop: int | None = None) -> Span:
        """The body bytes to fetch: the leaves of all frames that hold [start, stop) of the object.

        Args:
            start, stop: a range that is not empty and lies within the object; `stop` None means `start + 1`.

        Raises:
            ValueError: no such range.
        """
        first, last = self._leaves_of(start, stop)
        return Span(self.leaves[first], self.leaves[last + 1])

    def frames(self, data: Buffer, start: int, stop: int | None = None) -> FrameTable:
        """The table of the frames in these leaves; offsets in it count from the beginning of the object and of the body.

        Args:
            data: exactly the bytes of `leaf_span(start, stop)`.
            start, stop: as there.

        Raises:
            TrailerError: SPAN_MISMATCH, CHECKSUM_MISMATCH, MALFORMED, WRONG_PLACE, NOT_TILED, SIZE_MISMATCH.
            ValueError: no such range.
        """
        first, last = self._leaves_of(start, stop)
        view = as_view(data)
        if len(view) != self.leaves[last + 1] - self.leaves[first]:
            raise TrailerError(f"{len(view)} bytes are not the leaves asked for", Reason.SPAN_MISMATCH)
        number, stop_number = first * LEAF_FRAMES, min((last + 1) * LEAF_FRAMES, self.frame_count)
        leaves = _unpack_leaves(view, number, stop_number, self.originals[first], self.stored[first])
        frames = _join(leaves, stop_number - number)
        if (frames.original_size, frames.stored_end) != (self.originals[last + 1], self.stored[last + 1]):
            raise TrailerError("the leaves end elsewhere than the directory says", Reason.SIZE_MISMATCH)
        return frames

    def _leaves_of(self, start: int, stop: int | None) -> tuple[int, int]:
        stop = start + 1 if stop is None else stop
        if not 0 <= start < stop <= self.originals[-1]:
            raise ValueError(f"[{start}, {stop}) is no range of an object of {self.originals[-1]} bytes")
        return bisect_right(self.originals, start) - 1, bisect_right(self.originals, stop - 1) - 1


def unpack_directory(view: memoryview, frame_count: int, index: Span, original_size: int, trailer_offset: int) -> Directory:
    """Read the directory section, which its checksum has proven.

    Raises:
        TrailerError: MALFORMED, NOT_TILED, SIZE_MISMATCH.
    """
    leaves = leaf_count(frame_count)
    columns: list[array[int]] = []
    cursor = 0
    for start in (0, 0, index.start):
        sizes, cursor = unpack_column(view, cursor, leaves)
        try:
            columns.append(array("Q", accumulate(sizes, initial=start)))
        except OverflowError:
            raise TrailerError("offsets do not fit in 64 bits", Reason.MALFORMED) from None
    if cursor != len(view):
        raise TrailerError(f"{len(view) - cursor} bytes behind the directory", Reason.MALFORMED, offset=cursor)
    originals, stored, places = columns
    if places[-1] != index.stop:
        raise TrailerError("the leaves of the directory do not fill the index", Reason.MALFORMED)
    check_end(originals[-1], stored[-1], original_size, trailer_offset)
    return Directory(frame_count, originals, stored, places)
