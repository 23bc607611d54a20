"""Where the frames of a body lie: the table that indexes, trailers and range plans share."""

from array import array
from bisect import bisect_right
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import accumulate, chain, islice
from operator import add, le
from typing import NamedTuple, Self

from s4_format._buffer import Buffer, as_view
from s4_format.errors import FrameError, Reason
from s4_format.frame import (
    FRAME_HEADER_BYTES,
    MAGIC_BYTES,
    PADDING_HEADER_BYTES,
    PADDING_MAGIC,
    parse_frame_header,
    parse_padding_header,
)

MAX_TABLE_FRAMES = 2**20
"""Frames that one table holds: writers grow the frame size so that no body has more, and 2^20 of them take 32 MiB."""

_U64_END = 2**64


class FrameEntry(NamedTuple):
    """One frame of a body, in bytes.

    Attributes:
        original_offset: position of its first decoded byte in the object as clients see it.
        original_size: bytes after decoding.
        stored_offset: position of its magic in the body.
        stored_size: bytes in the body, the 28-byte header included.
    """

    original_offset: int
    original_size: int
    stored_offset: int
    stored_size: int

    @property
    def original_end(self) -> int:
        """End of the decoded bytes, exclusive."""
        return self.original_offset + self.original_size

    @property
    def stored_end(self) -> int:
        """End of the frame in the body, exclusive."""
        return self.stored_offset + self.stored_size


@dataclass(frozen=True, slots=True)
class FrameColumns:
    """The numbers of a table, a column each, all of one length: unsigned 64-bit, as parsers and writers of indexes move them in bulk."""

    original_offsets: "array[int]"
    original_sizes: "array[int]"
    stored_offsets: "array[int]"
    stored_sizes: "array[int]"

    @classmethod
    def empty(cls) -> Self:
        """Columns without rows."""
        return cls(array("Q"), array("Q"), array("Q"), array("Q"))

    def all(self) -> "tuple[array[int], array[int], array[int], array[int]]":
        """The four columns in the order of `FrameEntry`."""
        return self.original_offsets, self.original_sizes, self.stored_offsets, self.stored_sizes


class FrameTable:
    """The frames of a body in order, compact (32 bytes a frame) and unchangeable: `len`, index, iterate, compare.

    Frames do not overlap and never go backwards, in the object or in the body. Gaps are legal: in the body they are padding, in the
    object only sidecars can have them.

    Args:
        columns: the table's numbers; the table owns them from here on.
        in_order: whether they keep the rules because of how they were made, and need no check (a third of a second for 2^20 rows).

    Raises:
        FrameError: OFFSET_OVERFLOW, NOT_MONOTONIC, TOO_MANY_FRAMES (above 2^20).
    """

    __slots__ = ("_columns",)

    def __init__(self, columns: FrameColumns, *, in_order: bool = False) -> None:
        if len(columns.original_sizes) > MAX_TABLE_FRAMES:
            raise FrameError(f"{len(columns.original_sizes)} frames are more than {MAX_TABLE_FRAMES}", Reason.TOO_MANY_FRAMES)
        if not in_order:
            _check_order(columns)
        self._columns = columns

    @classmethod
    def from_entries(cls, entries: Iterable[tuple[int, int, int, int]]) -> Self:
        """A table of these rows, each (original_offset, original_size, stored_offset, stored_size).

        Raises:
            FrameError: as the class; OFFSET_OVERFLOW also for a negative number.
        """
        columns = FrameColumns.empty()
        try:
            for row in islice(entries, MAX_TABLE_FRAMES + 1):
                for column, value in zip(columns.all(), row, strict=True):
                    column.append(value)
        except OverflowError:
            raise FrameError("a number does not fit in 64 bits", Reason.OFFSET_OVERFLOW) from None
        return cls(columns)

    @classmethod
    def from_sizes(cls, sizes: Iterable[tuple[int, int]]) -> Self:
        """A table of frames that follow each other from 0 without padding, from (original_size, stored_size) pairs.

        Raises:
            FrameError: as `FrameTableBuilder.append`.
        """
        builder = FrameTableBuilder()
        for original_size, stored_size in sizes:
            builder.append(original_size, stored_size)
        return cls(builder.build().columns, in_order=True)

    @property
    def columns(self) -> FrameColumns:
        """The numbers in bulk. Do not change them."""
        return self._columns

    @property
    def original_size(self) -> int:
        """End of the last frame in the object; 0 without frames."""
        return self[-1].original_end if len(self) else 0

    @property
    def stored_end(self) -> int:
        """End of the last frame in the body; 0 without frames. Padding behind it does not count."""
        return self[-1].stored_end if len(self) else 0

    def find(self, original_offset: int) -> int | None:
        """Number of the frame that holds this byte of the object; None in a gap, below 0 or at and behind the end."""
        if not 0 <= original_offset < _U64_END:
            return None
        number = bisect_right(self._columns.original_offsets, original_offset) - 1
        return number if number >= 0 and original_offset < self[number].original_end else None

    def __len__(self) -> int:
        return len(self._columns.original_sizes)

    def __getitem__(self, number: int) -> FrameEntry:
        original_offsets, original_sizes, stored_offsets, stored_sizes = self._columns.all()
        return FrameEntry(original_offsets[number], original_sizes[number], stored_offsets[number], stored_sizes[number])

    def __iter__(self) -> Iterator[FrameEntry]:
        return map(FrameEntry, *self._columns.all())

    def __eq__(self, other: object) -> bool:
        return self._columns == other._columns if isinstance(other, FrameTable) else NotImplemented

    def __hash__(self) -> int:
        return hash((len(self), self.original_size, self.stored_end))

    def __repr__(self) -> str:
        return f"<FrameTable of {len(self)} frames, {self.original_size} bytes in {self.stored_end}>"


def _check_order(columns: FrameColumns) -> None:
    """Refuse offsets that overflow or go back; written as C-level iterations because a table may have 2^20 rows."""
    pairs = ((columns.original_offsets, columns.original_sizes), (columns.stored_offsets, columns.stored_sizes))
    if all(_in_order(offsets, sizes) for offsets, sizes in pairs):
        return
    if any(any(map(_U64_END.__le__, map(add, offsets, sizes))) for offsets, sizes in pairs):
        raise FrameError("an offset plus a size does not fit in 64 bits", Reason.OFFSET_OVERFLOW)
    raise FrameError("frames overlap or go backwards", Reason.NOT_MONOTONIC)


def _in_order(offsets: "array[int]", sizes: "array[int]") -> bool:
    return all(map(le, map(add, offsets, sizes), islice(offsets, 1, None))) and (not offsets or offsets[-1] + sizes[-1] < _U64_END)


class FrameTableBuilder:
    """Collects a table while a body is written or scanned, frame after frame from offset 0."""

    __slots__ = ("_columns", "_original_end", "_stored_end")

    def __init__(self) -> None:
        self._columns = FrameColumns.empty()
        self._original_end = 0
        self._stored_end = 0

    @property
    def original_size(self) -> int:
        """Decoded bytes of all frames so far."""
        return self._original_end

    @property
    def stored_size(self) -> int:
        """Body bytes so far, padding included."""
        return self._stored_end

    def __len__(self) -> int:
        return len(self._columns.original_sizes)

    def append(self, original_size: int, stored_size: int) -> None:
        """Add the next frame; `stored_size` includes its 28-byte header.

        Raises:
            FrameError: INVALID_VALUE (negative, or smaller than a header), OFFSET_OVERFLOW, TOO_MANY_FRAMES.
        """
        if original_size < 0 or stored_size < FRAME_HEADER_BYTES:
            raise FrameError(f"no frame has {original_size} bytes in {stored_size}", Reason.INVALID_VALUE)
        self._require_room(original_size, stored_size)
        if len(self) >= MAX_TABLE_FRAMES:
            raise FrameError(f"more than {MAX_TABLE_FRAMES} frames", Reason.TOO_MANY_FRAMES)
        row = (self._original_end, original_size, self._stored_end, stored_size)
        for column, value in zip(self._columns.all(), row, strict=True):
            column.append(value)
        self._original_end += original_size
        self._stored_end += stored_size

    def skip(self, padding_bytes: int) -> None:
        """Leave room for padding: `padding_bytes` with its 12-byte header.

        Raises:
            FrameError: INVALID_VALUE (1 to 11 bytes, or negative), OFFSET_OVERFLOW.
        """
        if padding_bytes and padding_bytes < PADDING_HEADER_BYTES:
            raise FrameError(f"no padding takes {padding_bytes} bytes", Reason.INVALID_VALUE)
        self._require_room(0, padding_bytes)
        self._stored_end += padding_bytes

    def append_item(self, buffer: Buffer, offset: int) -> None:
        """Add the frame or padding whose header lies at `offset` of `buffer`; its content need not be there.

        Raises:
            FrameError: as `parse_frame_header`, `parse_padding_header`, `append` and `skip`.
        """
        if bytes(as_view(buffer)[offset : offset + MAGIC_BYTES]) == PADDING_MAGIC:
            self.skip(PADDING_HEADER_BYTES + parse_padding_header(buffer, offset))
        else:
            header = parse_frame_header(buffer, offset)
            self.append(header.original_size, header.stored_size)

    def extend(self, table: FrameTable, *, stored_size: int | None = None) -> None:
        """Add a whole body: the frames of `table`, moved behind what is there, with its gaps.

        Args:
            table: where the frames of that body lie in it.
            stored_size: length of that body; what it has behind its last frame is padding. None: it ends with its last frame.

        Raises:
            FrameError: OFFSET_OVERFLOW, TOO_MANY_FRAMES, INVALID_VALUE (`stored_size` cannot be the length of that body).
        """
        size = table.stored_end if stored_size is None else stored_size
        tail = size - table.stored_end
        if tail < 0 or 0 < tail < PADDING_HEADER_BYTES:
            raise FrameError(f"frames that end at {table.stored_end} cannot make a body of {size} bytes", Reason.INVALID_VALUE)
        self._require_room(table.original_size, size)
        if len(self) + len(table) > MAX_TABLE_FRAMES:
            raise FrameError(f"more than {MAX_TABLE_FRAMES} frames", Reason.TOO_MANY_FRAMES)
        moves = (self._original_end, 0, self._stored_end, 0)
        for column, more, move in zip(self._columns.all(), table.columns.all(), moves, strict=True):
            column.extend(more if move == 0 else map(move.__add__, more))
        self._original_end += table.original_size
        self._stored_end += size

    def build(self) -> FrameTable:
        """The table of what was collected so far; the builder can go on."""
        return FrameTable(FrameColumns(*(column[:] for column in self._columns.all())), in_order=True)

    def _require_room(self, original_size: int, stored_size: int) -> None:
        if self._original_end + original_size >= _U64_END or self._stored_end + stored_size >= _U64_END:
            raise FrameError("offsets do not fit in 64 bits", Reason.OFFSET_OVERFLOW)


def offsets_from_sizes(start: int, sizes: Iterable[int]) -> "array[int]":
    """Where each of these sizes begins when they follow each other from `start`.

    Raises:
        OverflowError: an offset does not fit in 64 bits.
    """
    starts = array("Q", accumulate(chain((start,), sizes)))
    starts.pop()
    return starts
