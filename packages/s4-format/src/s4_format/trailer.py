"""S4T1, the trailer with which a stored object describes itself (docs/format/trailer.md).

Writers call `encode_trailer`. Readers fetch the last `TAIL_BYTES` or `SUFFIX_BYTES` of a body whose metadata says that there is a
trailer, call `read_tail`, and hand it the spans it names as they need them; whoever has the whole trailer calls `read_trailer`.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from struct import Struct

from s4_format._buffer import Buffer, as_view
from s4_format.attributes import MAX_ATTRIBUTES_BYTES, MIN_ATTRIBUTES_BYTES, Attributes, pack_attributes, unpack_attributes
from s4_format.crc32c import crc32c
from s4_format.errors import Reason, TrailerError
from s4_format.frame import PADDING_HEADER_BYTES, padding_header
from s4_format.frames import MAX_TABLE_FRAMES, FrameTable
from s4_format.leaves import (
    Directory,
    Span,
    check_tiling,
    directory_bounds,
    index_bounds,
    pack_index,
    unpack_directory,
    unpack_index,
)
from s4_format.parts import MAX_PARTS, Part, check_parts, pack_parts, part_table_bounds, unpack_parts

TRAILER_MAGIC = b"S4T1"
TAIL_BYTES = 1024
"""The last bytes of a body that prove the attributes, whatever the object."""
SUFFIX_BYTES = 65_536
"""The last bytes of a body that also hold the directory, and nearly always part table and index."""

_FOOTER = Struct("<HHIIIIIIIQQII4s")
FOOTER_BYTES = _FOOTER.size
_SEAL_BYTES = 8


@dataclass(frozen=True, slots=True)
class Trailer:
    """All that a trailer says.

    Attributes:
        attributes: what clients see of the object.
        parts: the client's parts in order; empty for an object of one PUT.
        frames: where the frames lie in the body before the trailer; in the object they follow each other from 0.

    Raises:
        TrailerError: INVALID_VALUE or SIZE_MISMATCH (the parts do not make up the object), SIZE_LIMIT (too many parts).
    """

    attributes: Attributes
    parts: tuple[Part, ...]
    frames: FrameTable

    def __post_init__(self) -> None:
        if len(self.parts) > MAX_PARTS:
            raise TrailerError(f"{len(self.parts)} parts are more than {MAX_PARTS}", Reason.SIZE_LIMIT)
        check_parts(self.parts, self.attributes.original_size)


def encode_trailer(trailer: Trailer, *, offset: int) -> bytes:
    """The whole trailer, padding header included, for a body that has `offset` bytes before it. Equal arguments give equal bytes.

    Raises:
        TrailerError: NOT_TILED (the frames do not fill [0, offset) but for gaps of 12 bytes and more, or leave holes in the object),
            SIZE_MISMATCH (they do not make up the object), INVALID_VALUE (the body would be longer than 64 bits can say).
    """
    index, parts, directory, attributes = _sections(trailer, offset)
    content_size = len(index) + len(parts) + len(directory) + len(attributes) + FOOTER_BYTES
    body_size = offset + PADDING_HEADER_BYTES + content_size
    if body_size >= 2**64:
        raise TrailerError(f"no body has {body_size} bytes", Reason.INVALID_VALUE)
    footer = _FOOTER.pack(
        len(attributes),
        len(trailer.parts),
        len(trailer.frames),
        len(index),
        len(parts),
        len(directory),
        crc32c(attributes),
        crc32c(parts),
        crc32c(directory),
        offset,
        body_size,
        content_size,
        0,
        TRAILER_MAGIC,
    )[:-_SEAL_BYTES]
    seal = crc32c(footer).to_bytes(4, "little") + TRAILER_MAGIC
    return b"".join((padding_header(content_size), index, parts, directory, attributes, footer, seal))


def trailer_size(trailer: Trailer, *, offset: int) -> int:
    """Length of `encode_trailer(trailer, offset=offset)`.

    Raises:
        TrailerError: as there.
    """
    return PADDING_HEADER_BYTES + sum(map(len, _sections(trailer, offset))) + FOOTER_BYTES


def _sections(trailer: Trailer, offset: int) -> tuple[bytes, bytes, bytes, bytes]:
    check_tiling(trailer.frames, trailer.attributes.original_size, offset)
    index, directory = pack_index(trailer.frames)
    return index, pack_parts(trailer.parts), directory, pack_attributes(trailer.attributes)


@dataclass(frozen=True, slots=True)
class Tail:
    """The proven end of a trailer, and where its other sections lie. Make one with `read_tail`.

    Spans count in bytes of the body; a section that is absent has an empty one.

    Attributes:
        attributes: what clients see of the object.
        offset: where the trailer begins, and frames and padding end.
        body_size: length of the body.
        frame_count, part_count: rows of the index and of the part table.
        index_span: the leaves.
        part_span: the part table.
        directory_span: the directory; not empty when the index has two levels (more than 16,384 frames).
    """

    attributes: Attributes
    offset: int
    body_size: int
    frame_count: int
    part_count: int
    index_span: Span
    part_span: Span
    directory_span: Span
    _part_crc: int
    _directory_crc: int

    @property
    def two_level(self) -> bool:
        """Whether there is a directory, so that a range needs only some leaves of the index."""
        return self.directory_span.size > 0

    def cut(self, suffix: Buffer, span: Span) -> memoryview | None:
        """The bytes of `span` out of `suffix`, the last bytes of the body; None when the span begins before it."""
        view = as_view(suffix)
        base = self.body_size - len(view)
        return view[span.start - base : span.stop - base] if span.start >= base else None

    def parts(self, data: Buffer) -> tuple[Part, ...]:
        """The part table. `data`: exactly the bytes of `part_span`.

        Raises:
            TrailerError: SPAN_MISMATCH, CHECKSUM_MISMATCH, MALFORMED, SIZE_MISMATCH.
        """
        view = self._proven(data, self.part_span, self._part_crc)
        with _counting_from(self.part_span.start):
            parts = unpack_parts(view, self.part_count)
            check_parts(parts, self.attributes.original_size)
        return parts

    def frames(self, data: Buffer) -> FrameTable:
        """The index of the whole body. `data`: exactly the bytes of `index_span`.

        Raises:
            TrailerError: SPAN_MISMATCH, CHECKSUM_MISMATCH, MALFORMED, WRONG_PLACE, NOT_TILED, SIZE_MISMATCH.
        """
        view = _exactly(data, self.index_span)
        with _counting_from(self.index_span.start):
            return unpack_index(view, self.frame_count, self.attributes.original_size, self.offset)

    def directory(self, data: Buffer) -> Directory:
        """The directory of an index of two levels. `data`: exactly the bytes of `directory_span`.

        Raises:
            TrailerError: SPAN_MISMATCH, CHECKSUM_MISMATCH, MALFORMED, NOT_TILED, SIZE_MISMATCH.
            ValueError: the index has one level.
        """
        if not self.two_level:
            raise ValueError("an index of one level has no directory")
        view = self._proven(data, self.directory_span, self._directory_crc)
        with _counting_from(self.directory_span.start):
            return unpack_directory(view, self.frame_count, self.index_span, self.attributes.original_size, self.offset)

    def _proven(self, data: Buffer, span: Span, crc: int) -> memoryview:
        view = _exactly(data, span)
        if crc32c(view) != crc:
            raise TrailerError("a section does not match its checksum", Reason.CHECKSUM_MISMATCH, offset=span.start)
        return view


def _exactly(data: Buffer, span: Span) -> memoryview:
    view = as_view(data)
    if len(view) != span.size:
        raise TrailerError(f"{len(view)} bytes for a span of {span.size}", Reason.SPAN_MISMATCH, offset=span.start)
    return view


@contextmanager
def _counting_from(start: int) -> Iterator[None]:
    """Let errors of a section's parser name the place in the body."""
    try:
        yield
    except TrailerError as error:
        raise error.within(start) from error


def read_tail(suffix: Buffer, *, body_size: int) -> Tail:
    """Read footer and attributes. Call it only for bodies that are said, by metadata, to end in a trailer.

    Args:
        suffix: the last bytes of the body, at least min(TAIL_BYTES, body_size) of them.
        body_size: length of the body.

    Raises:
        TrailerError: HEADER_TRUNCATED, BAD_MAGIC, CHECKSUM_MISMATCH, WRONG_PLACE, SIZE_LIMIT, MALFORMED. Offsets count in the body.
        ValueError: `suffix` is too short, or longer than the body.
    """
    view = as_view(suffix)
    if not min(TAIL_BYTES, body_size) <= len(view) <= body_size:
        raise ValueError(f"{len(view)} bytes are no usable suffix of a body of {body_size}")
    footer_at = body_size - FOOTER_BYTES
    if footer_at < PADDING_HEADER_BYTES:
        raise TrailerError(f"{body_size} bytes are too few for a trailer", Reason.HEADER_TRUNCATED, offset=0)
    footer = view[-FOOTER_BYTES:]
    fields = _FOOTER.unpack(footer)
    attribute_bytes, part_count, frame_count, index_bytes, part_bytes, directory_bytes, crc, part_crc, directory_crc = fields[:9]
    offset, body_bytes, content_bytes, seal, magic = fields[9:]
    sizes = (index_bytes, part_bytes, directory_bytes, attribute_bytes)
    rules: tuple[tuple[bool, Reason], ...] = (
        (magic == TRAILER_MAGIC, Reason.BAD_MAGIC),
        (seal == crc32c(footer[:-_SEAL_BYTES]), Reason.CHECKSUM_MISMATCH),
        (body_bytes == body_size == offset + PADDING_HEADER_BYTES + content_bytes, Reason.WRONG_PLACE),
        (frame_count <= MAX_TABLE_FRAMES and part_count <= MAX_PARTS, Reason.SIZE_LIMIT),
        (sum(sizes) + FOOTER_BYTES == content_bytes and _possible(sizes, frame_count, part_count), Reason.MALFORMED),
    )
    for holds, reason in rules:
        if not holds:
            raise TrailerError("the last bytes are not the footer of a trailer of this body", reason, offset=footer_at)
    suffix_at = body_size - len(view)
    if offset >= suffix_at and view[offset - suffix_at :][:PADDING_HEADER_BYTES] != padding_header(content_bytes):
        raise TrailerError("the trailer does not begin where its footer says", Reason.WRONG_PLACE, offset=offset)
    section = view[-FOOTER_BYTES - attribute_bytes : -FOOTER_BYTES]
    if crc32c(section) != crc:
        raise TrailerError("the attributes do not match their checksum", Reason.CHECKSUM_MISMATCH, offset=footer_at - attribute_bytes)
    with _counting_from(footer_at - attribute_bytes):
        attributes = unpack_attributes(section)
    index, parts, directory = _spans(offset + PADDING_HEADER_BYTES, sizes[:3])
    return Tail(attributes, offset, body_size, frame_count, part_count, index, parts, directory, part_crc, directory_crc)


def _possible(sizes: tuple[int, int, int, int], frame_count: int, part_count: int) -> bool:
    bounds = (
        index_bounds(frame_count),
        part_table_bounds(part_count),
        directory_bounds(frame_count),
        (MIN_ATTRIBUTES_BYTES, MAX_ATTRIBUTES_BYTES),
    )
    return all(least <= size <= most for size, (least, most) in zip(sizes, bounds, strict=True))


def _spans(start: int, sizes: tuple[int, ...]) -> list[Span]:
    spans = []
    for size in sizes:
        spans.append(Span(start, start + size))
        start += size
    return spans


def read_trailer(suffix: Buffer, *, body_size: int) -> Trailer:
    """Read a trailer as a whole, its directory too. Arguments as in `read_tail`; `suffix` reaches back to the trailer's offset.

    Raises:
        TrailerError: as `read_tail` and the methods of `Tail`.
        ValueError: `suffix` does not reach back far enough.
    """
    tail = read_tail(suffix, body_size=body_size)
    cut = _cutter(tail, suffix)
    if tail.two_level:
        tail.directory(cut(tail.directory_span))
    return Trailer(tail.attributes, tail.parts(cut(tail.part_span)), tail.frames(cut(tail.index_span)))


def _cutter(tail: Tail, suffix: Buffer) -> Callable[[Span], memoryview]:
    def cut(span: Span) -> memoryview:
        data = tail.cut(suffix, span)
        if data is None:
            raise ValueError(f"the suffix does not reach back to byte {span.start}")
        return data

    return cut
