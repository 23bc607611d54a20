"""The payload of codec 64, cpu-columnar (docs/format/columnar.md): blocks of rows, whose fields are filtered and stored as streams.

    payload = block*        integers little endian

`parse_blocks` checks everything that can be checked without decoding a stream; what the streams decode to is the codec's business.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum
from itertools import chain
from struct import Struct
from typing import TypeAlias, TypeVar

from s4_format._buffer import Buffer, as_view
from s4_format.errors import FormatError, Reason

MAX_BLOCK_BYTES = 1 << 24
"""Original bytes of one block: what a reader allocates for it."""
MAX_STORED_BYTES = 2 * MAX_BLOCK_BYTES
"""Stored bytes of one block without its head: what a reader keeps until it is all there."""
MAX_STRIDE = (1 << 16) - 1
MAX_DICTIONARY = 256
"""Values of a dictionary: what one byte can number."""
MAX_DECIMAL_EXPONENT = 15

NUMBER_WIDTHS = (1, 2, 4, 8)

_BLOCK = Struct("<BBHII")
BLOCK_HEAD_BYTES = _BLOCK.size
_COLUMNS = Struct("<IHH")
_FIELD = Struct("<BBBBBxxxIQQQ")
_STREAM = Struct("<BBHI")
_POSITION_BYTES = 4
_MAX_BITS = 7


class BlockKind(IntEnum):
    """How a block holds its bytes."""

    STORED = 0
    ZSTD = 1
    COLUMNS = 2


class Transform(IntEnum):
    """What a field's numbers are, before prediction."""

    NONE = 0
    """Integers, or bits taken as such."""
    DECIMAL = 1
    """IEEE 754 numbers that are an integer divided by a power of ten, but for the exceptions listed."""
    DICTIONARY = 2
    """Numbers of entries in a table of at most 256 values."""


class Predictor(IntEnum):
    """What is subtracted from each number."""

    NONE = 0
    DELTA = 1
    """The number before it."""
    DELTA2 = 2
    """The number before it, twice over."""
    XOR = 3
    """Nothing: each number is combined with the one before it by exclusive or."""


class Arrangement(IntEnum):
    """How the residuals of a field become streams."""

    INTERLEAVED = 0
    """One stream: the residuals one after the other."""
    BYTES = 1
    """As many streams as a residual has bytes, the lowest first: byte k of each residual."""
    PCODEC = 2
    """One stream: a standalone pcodec file of the numbers themselves."""


class Coder(IntEnum):
    """How a stream is stored."""

    CONSTANT = 0
    """Nothing is: each byte is the parameter."""
    RAW = 1
    ZSTD = 2
    BITS = 3
    """The parameter says how many low bits the bytes have; each of these bits is a bit plane, the lowest first."""
    BITS_ZSTD = 4
    """As BITS, and the planes together are a zstd frame."""


class NumberType(IntEnum):
    """The parameter of a field that pcodec holds."""

    INTEGER = 0
    """Signed integers."""
    FLOAT = 1
    """IEEE 754."""


_Id = TypeVar("_Id", bound=IntEnum)


@dataclass(frozen=True, slots=True)
class Stream:
    """Bytes as stored: `coder` says how, `parameter` completes it (the byte of CONSTANT, the bits of BITS)."""

    coder: Coder
    parameter: int
    data: Buffer

    def head(self) -> bytes:
        """The 8 bytes that describe it."""
        return _STREAM.pack(self.coder, self.parameter, 0, len(self.data))


@dataclass(frozen=True, slots=True)
class Field:
    """One column of a block.

    Attributes:
        width: bytes of a number in a row: 1, 2, 4 or 8.
        transform, predictor, arrangement: see the classes.
        parameter: the decimal exponent of DECIMAL, the NumberType of PCODEC, else 0.
        base: added to each residual, modulo the width; 0 with XOR.
        start, slope: the first number, and with DELTA2 the first difference.
        extra_count: exceptions of DECIMAL, or entries of DICTIONARY; else 0.
        streams: of the residuals, by arrangement; then one of the extras, if there are any.
    """

    width: int
    transform: Transform
    parameter: int
    predictor: Predictor
    arrangement: Arrangement
    base: int
    start: int
    slope: int
    extra_count: int
    streams: tuple[Stream, ...]

    @property
    def residual_width(self) -> int:
        """Bytes of a residual: entries of a dictionary are numbered with one."""
        return 1 if self.transform is Transform.DICTIONARY else self.width

    @property
    def residual_streams(self) -> tuple[Stream, ...]:
        """The streams without that of the extras."""
        return self.streams[:-1] if self.extra_count else self.streams

    @property
    def extra_bytes(self) -> int:
        """What the stream of the extras decodes to: table entries, or positions (4 bytes each) and then numbers."""
        each = self.width + (_POSITION_BYTES if self.transform is Transform.DECIMAL else 0)
        return self.extra_count * each

    def head(self) -> bytes:
        """The 36 bytes that describe it, and its streams' heads."""
        ids = self.width, self.transform, self.parameter, self.predictor, self.arrangement
        return _FIELD.pack(*ids, self.extra_count, self.base, self.start, self.slope) + b"".join(stream.head() for stream in self.streams)


@dataclass(frozen=True, slots=True)
class Block:
    """Consecutive original bytes that are stored as one piece: STORED or ZSTD."""

    kind: BlockKind
    original_size: int
    data: Buffer

    @property
    def stored_size(self) -> int:
        """Bytes of the block as stored."""
        return _BLOCK.size + len(self.data)

    def pack(self) -> bytes:
        """The block as stored."""
        return b"".join((_BLOCK.pack(self.kind, 0, 0, self.original_size, len(self.data)), self.data))


@dataclass(frozen=True, slots=True)
class ColumnsBlock:
    """A block of rows: `lead` bytes, whole rows of `stride` bytes, and what is left.

    Attributes:
        original_size: bytes of all three.
        lead: bytes before the first row, fewer than a row has.
        stride: bytes of a row; the fields' widths add up to it.
        edges: a stream of the bytes before and behind the rows.
        fields: in the order of their places in a row.
    """

    original_size: int
    lead: int
    stride: int
    edges: Stream
    fields: tuple[Field, ...]

    @property
    def rows(self) -> int:
        """How many rows there are."""
        return (self.original_size - self.lead) // self.stride

    @property
    def edge_bytes(self) -> int:
        """What the stream `edges` decodes to."""
        return self.original_size - self.rows * self.stride

    @property
    def stored_size(self) -> int:
        """Bytes of the block as stored."""
        streams = [self.edges, *(stream for field in self.fields for stream in field.streams)]
        heads = _BLOCK.size + _COLUMNS.size + len(self.fields) * _FIELD.size + len(streams) * _STREAM.size
        return heads + sum(len(stream.data) for stream in streams)

    def pack(self) -> bytes:
        """The block as stored."""
        heads = [_COLUMNS.pack(self.lead, self.stride, 0), self.edges.head(), *(field.head() for field in self.fields)]
        streams = [self.edges.data, *(stream.data for field in self.fields for stream in field.streams)]
        head = _BLOCK.pack(BlockKind.COLUMNS, 0, len(self.fields), self.original_size, self.stored_size - _BLOCK.size)
        return b"".join(chain((head,), heads, streams))


AnyBlock: TypeAlias = Block | ColumnsBlock


def parse_blocks(payload: Buffer) -> Iterator[AnyBlock]:
    """The blocks of `payload`, with views of their bytes, in order.

    Raises:
        FormatError: HEADER_TRUNCATED, PAYLOAD_TRUNCATED, SIZE_LIMIT (a block of more than 16 MiB, or stored in more than 32 MiB),
            UNKNOWN_FILTER (an id that this version does not know: the message says which), MALFORMED.
    """
    view = as_view(payload)
    offset = 0
    while offset < len(view):
        kind, reserved, count, original_size, stored_size = _block_head(view, offset)
        start = offset + _BLOCK.size
        stop = start + stored_size
        if stop > len(view):
            raise FormatError(f"a block of {stored_size} bytes is cut short", Reason.PAYLOAD_TRUNCATED, offset=offset)
        known = _known(BlockKind, kind, offset)
        _require(not reserved and original_size > 0 and (known is BlockKind.COLUMNS) == (count > 0), "block header", offset)
        if known is BlockKind.COLUMNS:
            yield _ColumnsReader(view[start:stop], start, original_size).read(count)
        else:
            _require(known is BlockKind.ZSTD or stored_size == original_size, "length of a stored block", offset)
            yield Block(known, original_size, view[start:stop])
        offset = stop


def block_size(payload: Buffer, offset: int = 0) -> int:
    """Stored bytes of the block that begins at `offset`, its head included, told from the head alone.

    Raises:
        FormatError: HEADER_TRUNCATED, SIZE_LIMIT, as `parse_blocks`.
    """
    return _BLOCK.size + _block_head(as_view(payload), offset)[-1]


def _block_head(view: memoryview, offset: int) -> tuple[int, ...]:
    head = _unpack(_BLOCK, view, offset)
    for size, most in zip(head[-2:], (MAX_BLOCK_BYTES, MAX_STORED_BYTES), strict=True):
        if size > most:
            raise FormatError(f"a block of {size} bytes, at most {most} allowed", Reason.SIZE_LIMIT, offset=offset)
    return head


class _ColumnsReader:
    """Reads the heads of one block of columns, then hands out the streams that follow them."""

    def __init__(self, view: memoryview, base: int, original_size: int) -> None:
        self._view = view
        self._base = base
        self._original_size = original_size
        self._cursor = 0

    def read(self, count: int) -> ColumnsBlock:
        """The block, which has `count` fields."""
        lead, stride, reserved = self._take(_COLUMNS)
        fits = not reserved and lead < stride <= self._original_size - lead
        _require(fits, "place of the rows", self._at)
        rows = (self._original_size - lead) // stride
        edges = self._stream_head(self._original_size - rows * stride, whole=True)
        heads = [self._field_head(rows) for _ in range(count)]
        _require(sum(head.width for head, _ in heads) == stride, "widths of the fields", self._at)
        stored_edges = self._stream(edges)
        fields = tuple(_with_streams(head, tuple(map(self._stream, sizes))) for head, sizes in heads)
        _require(self._cursor == len(self._view), "length of the streams", self._at)
        return ColumnsBlock(self._original_size, lead, stride, stored_edges, fields)

    @property
    def _at(self) -> int:
        return self._base + self._cursor

    def _take(self, struct: Struct) -> tuple[int, ...]:
        values = _unpack(struct, self._view, self._cursor, self._base)
        self._cursor += struct.size
        return values

    def _field_head(self, rows: int) -> tuple[Field, "list[_StreamHead]"]:
        offset = self._at
        width, transform, parameter, predictor, arrangement, extra_count, base, start, slope = self._take(_FIELD)
        field = Field(
            width,
            _known(Transform, transform, offset),
            parameter,
            _known(Predictor, predictor, offset),
            _known(Arrangement, arrangement, offset),
            base,
            start,
            slope,
            extra_count,
            (),
        )
        _check_field(field, rows, offset)
        if field.arrangement is Arrangement.PCODEC:
            heads = [self._stream_head(None, whole=True)]
        elif field.arrangement is Arrangement.BYTES:
            heads = [self._stream_head(rows, whole=False) for _ in range(field.residual_width)]
        else:
            heads = [self._stream_head(rows * field.residual_width, whole=True)]
        if extra_count:
            heads.append(self._stream_head(field.extra_bytes, whole=True))
        return field, heads

    def _stream_head(self, decoded_size: int | None, *, whole: bool) -> "_StreamHead":
        """The head of a stream of `decoded_size` bytes (None: only the stream knows); `whole`: it is not a plane of bytes."""
        offset = self._at
        coder, parameter, reserved, size = self._take(_STREAM)
        known = _known(Coder, coder, offset)
        fits = False
        match known:
            case Coder.CONSTANT:
                fits = size == 0 and parameter < 256 and not whole
            case Coder.RAW:
                fits = parameter == 0 and decoded_size in (None, size)
            case Coder.ZSTD:
                fits = parameter == 0 and decoded_size is not None
            case Coder.BITS | Coder.BITS_ZSTD:
                packed = parameter * -(-(decoded_size or 0) // 8)
                fits = 1 <= parameter <= _MAX_BITS and not whole and (known is Coder.BITS_ZSTD or size == packed)
        _require(fits and not reserved, f"a stream of {known.name}", offset)
        return known, parameter, size

    def _stream(self, head: "_StreamHead") -> Stream:
        coder, parameter, size = head
        stop = self._cursor + size
        if stop > len(self._view):
            raise FormatError(f"a stream of {size} bytes is cut short", Reason.PAYLOAD_TRUNCATED, offset=self._at)
        data = self._view[self._cursor : stop]
        self._cursor = stop
        return Stream(coder, parameter, data)


_StreamHead: TypeAlias = tuple[Coder, int, int]
"""Coder, parameter, stored bytes."""


def _check_field(field: Field, rows: int, offset: int) -> None:
    """Refuse what no writer may write: see the table of fields in docs/format/columnar.md."""
    _require(field.width in NUMBER_WIDTHS, f"width {field.width}", offset)
    top = 1 << 8 * field.width
    _require(max(field.base, field.start, field.slope) < top, "a number wider than its field", offset)
    _require(field.predictor is not Predictor.XOR or not field.base, "a base beside XOR", offset)
    plain = field.predictor is Predictor.NONE and not field.base
    fits = False
    match field.transform:
        case Transform.NONE if field.arrangement is Arrangement.PCODEC:
            fits = plain and field.extra_count == 0 and field.parameter in tuple(NumberType) and field.width > 1
        case Transform.NONE:
            fits = field.parameter == 0 and field.extra_count == 0
        case Transform.DECIMAL:
            fits = field.width in (4, 8) and field.parameter <= MAX_DECIMAL_EXPONENT and field.extra_count <= rows // 8
            fits = fits and field.arrangement is not Arrangement.PCODEC
        case Transform.DICTIONARY:
            fits = plain and field.parameter == 0 and 1 <= field.extra_count <= min(MAX_DICTIONARY, rows)
            fits = fits and field.arrangement is Arrangement.BYTES
    _require(fits, f"a field of {field.transform.name}, {field.predictor.name}, {field.arrangement.name}", offset)


def _with_streams(field: Field, streams: tuple[Stream, ...]) -> Field:
    ids = field.width, field.transform, field.parameter, field.predictor, field.arrangement
    return Field(*ids, field.base, field.start, field.slope, field.extra_count, streams)


def _unpack(struct: Struct, view: memoryview, offset: int, base: int = 0) -> tuple[int, ...]:
    if len(view) - offset < struct.size:
        raise FormatError(f"{len(view) - offset} bytes are too few for a header", Reason.HEADER_TRUNCATED, offset=base + offset)
    return struct.unpack_from(view, offset)


def _known(kind: type[_Id], number: int, offset: int) -> _Id:
    try:
        return kind(number)
    except ValueError:
        raise FormatError(f"{kind.__name__} {number} is not known", Reason.UNKNOWN_FILTER, offset=offset) from None


def _require(fits: bool, what: str, offset: int) -> None:  # noqa: FBT001 -- the condition is the subject
    if not fits:
        raise FormatError(f"columnar block: {what}", Reason.MALFORMED, offset=offset)
