"""S4F2 frames and S4P1 padding: the items a framed body is made of (docs/format/frames.md).

    body = (frame | padding)*        integers little endian

A body has no header, count or terminator; any number of paddings may stand anywhere, and no bytes at all are a valid body.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from struct import Struct

from s4_format._buffer import Buffer, as_view
from s4_format.codec_id import CodecId
from s4_format.errors import FrameError, Reason

FRAME_MAGIC = b"S4F2"
PADDING_MAGIC = b"S4P1"
FRAME_HEADER_BYTES = 28
PADDING_HEADER_BYTES = 12
MAGIC_BYTES = 4

_FRAME_HEADER = Struct("<4sIQQI")
_PADDING_HEADER = Struct("<4sQ")
_U32_MAX = 2**32 - 1
_U64_MAX = 2**64 - 1


@dataclass(frozen=True, slots=True)
class FrameHeader:
    """The 28 bytes before a payload.

    Attributes:
        codec: who decodes the payload.
        original_size: bytes after decoding, at most 2^64 - 1.
        payload_size: bytes of payload that follow the header, at most 2^64 - 1.
        crc32c: CRC32C of the decoded bytes.

    Raises:
        FrameError: INVALID_VALUE, a number that does not fit its field.
    """

    codec: CodecId
    original_size: int
    payload_size: int
    crc32c: int

    def __post_init__(self) -> None:
        if not (0 <= self.original_size <= _U64_MAX and 0 <= self.payload_size <= _U64_MAX and 0 <= self.crc32c <= _U32_MAX):
            raise FrameError(f"a number does not fit the frame header: {self}", Reason.INVALID_VALUE)

    @property
    def stored_size(self) -> int:
        """Bytes of the whole frame: header and payload."""
        return FRAME_HEADER_BYTES + self.payload_size

    def pack(self) -> bytes:
        """The 28 header bytes."""
        return _FRAME_HEADER.pack(FRAME_MAGIC, self.codec, self.original_size, self.payload_size, self.crc32c)


@dataclass(frozen=True, slots=True)
class Frame:
    """One frame as found: `payload` is a view of its stored bytes, `offset` the position of its magic."""

    header: FrameHeader
    payload: memoryview
    offset: int

    @property
    def stored_size(self) -> int:
        """Bytes of the whole frame: header and payload."""
        return self.header.stored_size


@dataclass(frozen=True, slots=True)
class Padding:
    """One padding as found.

    Attributes:
        offset: position of its magic.
        size: bytes that follow the 12-byte header.
        payload: a view of those bytes; empty where the reader skipped them (`FrameReader` above its bound).
    """

    offset: int
    size: int
    payload: memoryview

    @property
    def stored_size(self) -> int:
        """Bytes of the whole item: header and content."""
        return PADDING_HEADER_BYTES + self.size


def parse_frame_header(buffer: Buffer, offset: int = 0) -> FrameHeader:
    """The frame header that begins at `offset` of `buffer`; the payload need not be there.

    Raises:
        FrameError: HEADER_TRUNCATED (fewer than 28 bytes left), BAD_MAGIC, UNKNOWN_CODEC, checked in this order.
    """
    view = as_view(buffer)
    left = len(view) - offset
    if left < FRAME_HEADER_BYTES:
        raise FrameError(f"{max(left, 0)} bytes are too few for a frame header", Reason.HEADER_TRUNCATED, offset=offset)
    magic, codec, original_size, payload_size, crc = _FRAME_HEADER.unpack_from(view, offset)
    if magic != FRAME_MAGIC:
        raise FrameError(f"expected a frame, found {magic!r}", Reason.BAD_MAGIC, offset=offset)
    try:
        known = CodecId(codec)
    except ValueError:
        raise FrameError(f"codec id {codec} is not known", Reason.UNKNOWN_CODEC, offset=offset + 4) from None
    return FrameHeader(known, original_size, payload_size, crc)


def parse_padding_header(buffer: Buffer, offset: int = 0) -> int:
    """The content size declared by the padding header that begins at `offset`; the content need not be there.

    Raises:
        FrameError: HEADER_TRUNCATED, BAD_MAGIC.
    """
    view = as_view(buffer)
    left = len(view) - offset
    if left < PADDING_HEADER_BYTES:
        raise FrameError(f"{max(left, 0)} bytes are too few for a padding header", Reason.HEADER_TRUNCATED, offset=offset)
    magic, size = _PADDING_HEADER.unpack_from(view, offset)
    if magic != PADDING_MAGIC:
        raise FrameError(f"expected padding, found {magic!r}", Reason.BAD_MAGIC, offset=offset)
    return int(size)


def read_frame(buffer: Buffer) -> tuple[FrameHeader, memoryview, memoryview]:
    """Header and payload of the frame at the start of `buffer`, and the rest behind it, as views.

    Raises:
        FrameError: as `parse_frame_header`; PAYLOAD_TRUNCATED.
    """
    view = as_view(buffer)
    frame = _frame_at(view, 0)
    return frame.header, frame.payload, view[frame.stored_size :]


def iter_items(buffer: Buffer) -> Iterator[Frame | Padding]:
    """Every frame and padding of a whole body, in order; payloads are views into `buffer`.

    Raises:
        FrameError: while iterating, at the first fault (HEADER_TRUNCATED, BAD_MAGIC, UNKNOWN_CODEC, PAYLOAD_TRUNCATED). There is no
            resynchronisation; the items before it were good.
    """
    view = as_view(buffer)
    offset = 0
    while offset < len(view):
        item = _padding_at(view, offset) if view[offset : offset + MAGIC_BYTES] == PADDING_MAGIC else _frame_at(view, offset)
        yield item
        offset += item.stored_size


def iter_frames(buffer: Buffer) -> Iterator[Frame]:
    """As `iter_items`, without the padding."""
    return (item for item in iter_items(buffer) if isinstance(item, Frame))


def _frame_at(view: memoryview, offset: int) -> Frame:
    header = parse_frame_header(view, offset)
    start = offset + FRAME_HEADER_BYTES
    return Frame(header, _content(view, start, header.payload_size), offset)


def _padding_at(view: memoryview, offset: int) -> Padding:
    size = parse_padding_header(view, offset)
    return Padding(offset, size, _content(view, offset + PADDING_HEADER_BYTES, size))


def _content(view: memoryview, start: int, size: int) -> memoryview:
    left = len(view) - start
    if size > left:
        raise FrameError(f"{size} bytes are declared, {left} are there", Reason.PAYLOAD_TRUNCATED, offset=start)
    return view[start : start + size]


def padding_header(size: int) -> bytes:
    """The 12 bytes that begin a padding with `size` bytes of content; the content itself is written as zeros.

    Raises:
        FrameError: INVALID_VALUE, a size below 0 or above 2^64 - 1.
    """
    if not 0 <= size <= _U64_MAX:
        raise FrameError(f"padding cannot have {size} bytes", Reason.INVALID_VALUE)
    return _PADDING_HEADER.pack(PADDING_MAGIC, size)


def padding_for(size: int, minimum: int) -> int | None:
    """Content size of the padding that brings `size` bytes to at least `minimum`; None when nothing is to be written.

    The 12-byte header counts too, so a body that is 1 to 11 bytes short ends up to 11 bytes above `minimum`.
    """
    return None if size >= minimum else max(0, minimum - size - PADDING_HEADER_BYTES)


def pad_to_minimum(buffer: bytearray, minimum: int) -> None:
    """Append one padding item with zero content to `buffer` if it is shorter than `minimum` bytes."""
    size = padding_for(len(buffer), minimum)
    if size is not None:
        buffer += padding_header(size)
        buffer += bytes(size)
