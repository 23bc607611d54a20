"""Hypothesis strategies for the values and bytes of this format."""

from array import array
from base64 import b64encode
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from hypothesis import strategies as st

from s4_format.attributes import Attributes
from s4_format.codec_id import CodecId
from s4_format.columnar import (
    MAX_DECIMAL_EXPONENT,
    MAX_DICTIONARY,
    NUMBER_WIDTHS,
    AnyBlock,
    Arrangement,
    Block,
    BlockKind,
    Coder,
    ColumnsBlock,
    Field,
    NumberType,
    Predictor,
    Stream,
    Transform,
)
from s4_format.frame import FRAME_HEADER_BYTES, PADDING_HEADER_BYTES, FrameHeader, padding_header
from s4_format.frames import FrameTable, FrameTableBuilder
from s4_format.gpu_container import ELEMENT_TYPES, MAX_CHUNK_BYTES, Algorithm, ElementType, GpuContainer
from s4_format.index import Sidecar, SseBinding
from s4_format.manifest import Manifest
from s4_format.parts import Part
from s4_format.trailer import Trailer

U16 = st.integers(0, 2**16 - 1)
U32 = st.integers(0, 2**32 - 1)
U64 = st.integers(0, 2**64 - 1)
SIZES = st.one_of(st.integers(0, 300), st.integers(0, 2**24), st.integers(0, 2**40))
"""Sizes of things, small ones as likely as large ones; thousands of them still add up within 64 bits."""
GAPS = st.one_of(st.just(0), st.integers(PADDING_HEADER_BYTES, 40), st.integers(PADDING_HEADER_BYTES, 2**23))
"""Bytes of padding between frames."""


@st.composite
def frame_headers(draw: st.DrawFn) -> FrameHeader:
    """Headers with any numbers that fit."""
    return FrameHeader(draw(st.sampled_from(CodecId)), draw(U64), draw(U64), draw(U32))


@dataclass(frozen=True, slots=True)
class BodyItem:
    """One item of a drawn body: a frame with its header, or padding where `header` is None; `content` follows the header."""

    header: FrameHeader | None
    content: bytes
    offset: int

    @property
    def stored(self) -> bytes:
        """The item's bytes."""
        return (padding_header(len(self.content)) if self.header is None else self.header.pack()) + self.content


@st.composite
def bodies(draw: st.DrawFn, *, max_items: int = 8, max_content: int = 80) -> tuple[bytes, list[BodyItem]]:
    """A framed body and the items in it. Payloads are arbitrary bytes that no codec would decode."""
    items: list[BodyItem] = []
    offset = 0
    for content in draw(st.lists(st.binary(max_size=max_content), max_size=max_items)):
        header = None
        if draw(st.booleans()):
            header = FrameHeader(draw(st.sampled_from(CodecId)), draw(st.integers(0, 2**32)), len(content), draw(U32))
        item = BodyItem(header, content, offset)
        items.append(item)
        offset += len(item.stored)
    return b"".join(item.stored for item in items), items


@st.composite
def frame_tables(draw: st.DrawFn, *, max_frames: int = 40, gaps: bool = True) -> FrameTable:
    """Tables of a whole body: the object has no holes, gaps in the body can be padding."""
    return draw(_builders(max_frames, gaps)).build()


@st.composite
def _builders(draw: st.DrawFn, max_frames: int, gaps: bool) -> FrameTableBuilder:  # noqa: FBT001
    builder = FrameTableBuilder()
    payloads = draw(st.sampled_from((SIZES, st.just(1000), st.integers(180_000, 190_000))))
    originals = draw(st.sampled_from((SIZES, st.just(2**20))))
    for _ in range(draw(st.integers(0, max_frames))):
        if gaps:
            builder.skip(draw(GAPS))
        builder.append(draw(originals), FRAME_HEADER_BYTES + draw(payloads))
    return builder


@st.composite
def gapped_frame_tables(draw: st.DrawFn, *, max_frames: int = 20) -> FrameTable:
    """Tables that only sidecars can say: holes in the object, gaps and frames of any size."""
    rows = []
    original = stored = 0
    for _ in range(draw(st.integers(0, max_frames))):
        original += draw(SIZES)
        stored += draw(SIZES)
        row = (original, draw(SIZES), stored, draw(SIZES))
        rows.append(row)
        original, stored = original + row[1], stored + row[3]
    return FrameTable.from_entries(rows)


@st.composite
def sidecars(draw: st.DrawFn) -> Sidecar:
    """Sidecars as they come back from decoding: a source length of 0 and an empty ETag are absent."""
    binding = st.builds(SseBinding, st.integers(1, 2**32 - 1), st.integers(1, 2**32 - 1), U16, st.binary(min_size=8, max_size=8), U64, U32)
    return Sidecar(
        frames=draw(gapped_frame_tables()),
        padded_size=draw(U64),
        source_size=draw(st.none() | st.integers(1, 2**64 - 1)),
        source_etag=draw(st.none() | st.text(st.characters(codec="utf-8"), min_size=1, max_size=40)),
        sse=draw(st.none() | binding),
    )


@st.composite
def containers(draw: st.DrawFn, *, max_chunks: int = 20, max_chunk: int = 60) -> tuple[GpuContainer, bytes]:
    """A container and its chunks joined, arbitrary bytes that no algorithm would decode."""
    chunks = draw(st.lists(st.binary(min_size=1, max_size=max_chunk), max_size=max_chunks))
    chunk_size = draw(st.integers(1, MAX_CHUNK_BYTES))
    last = draw(st.integers(1, chunk_size)) if chunks else chunk_size
    algorithm = draw(st.sampled_from(Algorithm))
    element_type = draw(st.sampled_from(sorted(ELEMENT_TYPES.get(algorithm, {ElementType.CHAR}))))
    original_size = (len(chunks) - 1) * chunk_size + last
    return GpuContainer(algorithm, element_type, original_size, chunk_size, array("I", map(len, chunks))), b"".join(chunks)


_HEX32 = st.binary(min_size=16, max_size=16).map(bytes.hex)
_ETAGS = st.one_of(_HEX32, st.tuples(_HEX32, st.integers(1, 10_000)).map(lambda pair: f"{pair[0]}-{pair[1]}"))
_CHECKSUM_SIZES: Mapping[str, int] = {"crc32": 4, "crc32c": 4, "crc64nvme": 8, "sha1": 20, "sha256": 32}
_CHECKSUM_TYPES = st.none() | st.sampled_from(("FULL_OBJECT", "COMPOSITE"))


def _base64(size: int) -> st.SearchStrategy[str]:
    return st.binary(min_size=size, max_size=size).map(lambda raw: b64encode(raw).decode("ascii"))


_CHECKSUMS = st.fixed_dictionaries({}, optional={algorithm: _base64(size) for algorithm, size in _CHECKSUM_SIZES.items()})


@st.composite
def attributes(draw: st.DrawFn, *, original_size: int | None = None) -> Attributes:
    """Attributes of an object of this size, or of any."""
    keys = st.from_regex(r"s4-[a-z0-9-]{1,20}", fullmatch=True)
    extra = draw(st.dictionaries(keys, st.text(st.characters(codec="utf-8"), min_size=1, max_size=30), max_size=3))
    return Attributes(
        original_size=draw(U64) if original_size is None else original_size,
        logical_etag=draw(st.none() | _ETAGS),
        checksums=draw(_CHECKSUMS),
        checksum_type=draw(_CHECKSUM_TYPES),
        part_algorithm=draw(st.none() | st.sampled_from(sorted(_CHECKSUM_SIZES))),
        extra=extra,
    )


@st.composite
def part_tables(draw: st.DrawFn, *, original_size: int, max_parts: int = 12) -> tuple[Part, ...]:
    """Parts that make up an object of this size; also none at all."""
    numbers = sorted(draw(st.sets(st.integers(1, 10_000), max_size=max_parts)))
    if not numbers:
        return ()
    cuts = sorted(draw(st.lists(st.integers(0, original_size), min_size=len(numbers) - 1, max_size=len(numbers) - 1)))
    sizes = [stop - start for start, stop in zip([0, *cuts], [*cuts, original_size], strict=True)]
    width = draw(st.sampled_from((None, *_CHECKSUM_SIZES.values())))
    checksums = st.none() if width is None else st.binary(min_size=width, max_size=width) | st.none()
    return tuple(Part(number, size, draw(checksums)) for number, size in zip(numbers, sizes, strict=True))


@st.composite
def trailers(draw: st.DrawFn, *, max_frames: int = 40) -> tuple[Trailer, int]:
    """A trailer and the offset in the body where it stands."""
    builder = draw(_builders(max_frames, True))
    builder.skip(draw(GAPS))
    size = builder.original_size
    trailer = Trailer(draw(attributes(original_size=size)), draw(part_tables(original_size=size)), builder.build())
    return trailer, builder.stored_size


@st.composite
def manifests(draw: st.DrawFn) -> Manifest:
    """Manifests with any combination of keys."""
    fields: dict[str, st.SearchStrategy[Any]] = {
        "codec": st.sampled_from(CodecId),
        "original_size": U64,
        "compressed_size": U64,
        "crc32c": U32,
        "framed": st.booleans(),
        "multipart": st.booleans(),
        "logical_etag": _ETAGS,
        "dict_id": st.binary(min_size=8, max_size=8).map(bytes.hex),
        "dict_sha256": st.binary(min_size=32, max_size=32).map(bytes.hex),
        "encrypted": st.booleans(),
        "sse_type": st.sampled_from(("AES256", "aws:kms")),
        "sse_c_key_md5": _base64(16),
        "sse_kms_key_id": st.text(st.characters(codec="utf-8", min_codepoint=32, exclude_characters="\x7f"), min_size=1, max_size=40),
        "zstd_level": st.integers(0, 22),
        "ledger": st.booleans(),
        "parquet_zstd_level": st.integers(0, 22),
        "parquet_op_id": st.uuids().map(str),
        "trailer": st.booleans(),
        "write_token": _HEX32,
        "crc64nvme": _base64(8),
        "checksums": _CHECKSUMS,
        "checksum_type": st.sampled_from(("FULL_OBJECT", "COMPOSITE")),
    }
    return Manifest(**draw(st.fixed_dictionaries({}, optional=fields)))


@st.composite
def columnar_blocks(draw: st.DrawFn, *, max_rows: int = 70) -> AnyBlock:
    """A block as docs/format/columnar.md allows it; what its streams hold is any bytes, of the length that a head must give."""
    kind = draw(st.sampled_from(BlockKind))
    if kind is not BlockKind.COLUMNS:
        data = draw(st.binary(min_size=1, max_size=60))
        return Block(kind, len(data) if kind is BlockKind.STORED else draw(st.integers(1, 1000)), data)
    rows = draw(st.integers(1, max_rows))
    fields = tuple(draw(st.lists(_columnar_fields(rows), min_size=1, max_size=5)))
    stride = sum(field.width for field in fields)
    lead, tail = draw(st.integers(0, stride - 1)), draw(st.integers(0, stride - 1))
    return ColumnsBlock(lead + rows * stride + tail, lead, stride, draw(_streams(lead + tail, False)), fields)


@st.composite
def _columnar_fields(draw: st.DrawFn, rows: int) -> Field:
    width = draw(st.sampled_from(NUMBER_WIDTHS))
    numbers = st.integers(0, (1 << 8 * width) - 1)
    transform = draw(st.sampled_from(Transform if width in (4, 8) else (Transform.NONE, Transform.DICTIONARY)))
    arrangement = draw(st.sampled_from(_ARRANGEMENTS[transform] if width > 1 else (Arrangement.BYTES,)))
    plain = transform is Transform.DICTIONARY or arrangement is Arrangement.PCODEC
    predictor = Predictor.NONE if plain else draw(st.sampled_from(Predictor))
    base = 0 if plain or predictor is Predictor.XOR else draw(numbers)
    parameter, extra_count = 0, 0
    if transform is Transform.DECIMAL:
        parameter, extra_count = draw(st.integers(0, MAX_DECIMAL_EXPONENT)), draw(st.integers(0, rows // 8))
    elif transform is Transform.DICTIONARY:
        extra_count = draw(st.integers(1, min(MAX_DICTIONARY, rows)))
    elif arrangement is Arrangement.PCODEC:
        parameter = draw(st.sampled_from(NumberType))
    field = Field(width, transform, parameter, predictor, arrangement, base, draw(numbers), draw(numbers), extra_count, ())
    return replace(field, streams=draw(_field_streams(field, rows)))


@st.composite
def _field_streams(draw: st.DrawFn, field: Field, rows: int) -> tuple[Stream, ...]:
    width = field.residual_width
    if field.arrangement is Arrangement.PCODEC:
        streams = [Stream(Coder.RAW, 0, draw(_JUNK))]
    elif field.arrangement is Arrangement.BYTES:
        streams = [draw(_streams(rows, True)) for _ in range(width)]
    else:
        streams = [draw(_streams(rows * width, False))]
    if field.extra_count:
        streams.append(draw(_streams(field.extra_bytes, False)))
    return tuple(streams)


@st.composite
def _streams(draw: st.DrawFn, size: int, plane: bool) -> Stream:  # noqa: FBT001 -- private to this module
    coder: Coder = draw(st.sampled_from(Coder if plane else (Coder.RAW, Coder.ZSTD)))
    bits = draw(st.integers(1, 7))
    match coder:
        case Coder.CONSTANT:
            return Stream(coder, draw(st.integers(0, 255)), b"")
        case Coder.RAW:
            return Stream(coder, 0, draw(st.binary(min_size=size, max_size=size)))
        case Coder.ZSTD:
            return Stream(coder, 0, draw(_JUNK))
        case Coder.BITS:
            packed = bits * -(-size // 8)
            return Stream(coder, bits, draw(st.binary(min_size=packed, max_size=packed)))
        case Coder.BITS_ZSTD:
            return Stream(coder, bits, draw(_JUNK))


_JUNK = st.binary(max_size=20)
_ARRANGEMENTS = {
    Transform.NONE: tuple(Arrangement),
    Transform.DECIMAL: (Arrangement.INTERLEAVED, Arrangement.BYTES),
    Transform.DICTIONARY: (Arrangement.BYTES,),
}
