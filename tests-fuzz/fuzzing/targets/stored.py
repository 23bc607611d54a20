"""Bytes that lie in a bucket, where anybody may have put them: frames, sidecars, trailers, metadata, records of uploads."""

from collections.abc import Iterable
from random import Random
from struct import pack, pack_into

from s4_codecs import CodecError, codec_for, decode_object, decompress, encode_object
from s4_format import (
    END,
    FOOTER_BYTES,
    NEED_DATA,
    TAIL_BYTES,
    Algorithm,
    Attributes,
    CodecId,
    ElementType,
    FormatError,
    Frame,
    FrameHeader,
    FrameReader,
    FrameTable,
    GpuContainer,
    Manifest,
    Padding,
    Part,
    PayloadManifest,
    Sidecar,
    Trailer,
    crc32c,
    decode_sidecar,
    encode_trailer,
    iter_items,
    lookup_range,
    padding_header,
    read_trailer,
    scan_frames,
)
from s4_format.inspect import describe
from s4_gateway.objects.uploads.records import BackendRecord, DirectPart, PartRecord, UploadRecord
from s4_gateway.state.attribute_codec import pack_attributes, unpack_attributes

from fuzzing.target import Target, cuts, outcome, require

FRAME = FrameHeader(CodecId.CPU_ZSTD, 5, 14, 0x9A71BB4C).pack() + b"\x28\xb5\x2f\xfd\x20\x05\x29\x00\x00hello"
PAGE = ((1 | 5 << 3 | ord("h") << 19).to_bytes(4, "little") + b"".join(bytes([byte, 0, 0, 0]) for byte in b"ello")).ljust(128, b"\0")
"""A GDeflate page of one stored block (docs/format/gpu-container.md)."""
CONTAINERS = {
    CodecId.NVCOMP_ZSTD: GpuContainer(Algorithm.ZSTD, ElementType.CHAR, 5, 65_536, (len(FRAME[28:]),)).pack() + FRAME[28:],
    CodecId.NVCOMP_GDEFLATE: GpuContainer(Algorithm.GDEFLATE, ElementType.CHAR, 5, 65_536, (len(PAGE),)).pack() + PAGE,
}
CHANCE = Random(5)
COLUMNS = tuple(
    (len(numbers), codec_for("cpu-columnar").compress(numbers))
    for numbers in (
        pack("<1100i", *(CHANCE.randrange(500) for _ in range(1100))),
        pack("<600q", *(10**15 + number * number for number in range(600))),
        pack("<600d", *(number % 37 / 100 if number % 99 else 1 / 3 for number in range(600))),
        pack("<3000h", *(1250 * CHANCE.randrange(23) for _ in range(3000))),
    )
)
"""Sizes, and payloads of cpu-columnar."""
TABLE = FrameTable.from_sizes([(2**20, 180_000 + number * 7919) for number in range(5)])
TRAILER = Trailer(
    Attributes(TABLE.original_size, "d41d8cd98f00b204e9800998ecf8427e-2", {"crc32": "AAAA"}, "COMPOSITE", "crc32", {"s4-x": "y"}),
    (Part(1, 2**20, b"1234"), Part(9, 2**22, None)),
    TABLE,
)


def check_body(data: bytes) -> None:
    """Cut anywhere, a body has the same items, or the same fault; the decoder of objects agrees that there is one."""
    if not data:
        return
    seed, body = data[0], data[1:]
    whole = outcome(lambda: [_plain(item) for item in iter_items(body)], FormatError)
    require(outcome(lambda: _fed(cuts(body, seed)), FormatError) == whole, "a cut body has the items of a whole one")
    describe(body)
    if whole[0] == "read":  # type: ignore[index]
        table, size = scan_frames(body)
        require(size == len(body) and len(table) == sum(kind == "frame" for kind, *_ in whole[1]), "a scan finds every frame")  # type: ignore[index]
    try:
        decode_object(body, Manifest(codec=CodecId.CPU_ZSTD, original_size=5, compressed_size=len(body), crc32c=0x9A71BB4C, framed=True))
    except (CodecError, FormatError):
        pass


def _plain(item: Frame | Padding) -> tuple[object, ...]:
    kind = ("frame", item.header) if isinstance(item, Frame) else ("padding", item.size)
    return *kind, bytes(item.payload), item.offset


def _fed(pieces: Iterable[bytes]) -> list[tuple[object, ...]]:
    # The one-shot reader has no bounds of its own; these are out of the way.
    reader, items = FrameReader(max_original_size=2**64, max_payload_size=2**64, max_kept_padding=2**64), []
    for piece in pieces:
        reader.feed(piece)
        while (item := reader.next_item()) is not NEED_DATA:
            items.append(_plain(item))  # type: ignore[arg-type]
    reader.close()
    require(reader.next_item() is END, "a closed reader is at its end")
    return items


def check_payload(data: bytes) -> None:
    """A payload of any codec decodes to what its manifest says, or is refused."""
    if len(data) < 3:
        return
    size, payload = int.from_bytes(data[1:3]), data[3:]
    codec = tuple(CodecId)[data[0] % len(CodecId)]
    plain = decompress(payload, PayloadManifest(codec, size, len(payload), crc32c(payload)))
    require(len(plain) == size, "what is decoded has the size that was promised")


def check_index(data: bytes) -> None:
    """A sidecar, or a trailer with its checksums made right again as a forger would, says something that can be written again."""
    if not data:
        return
    if data[0] & 1:
        found = decode_sidecar(data[1:])
        require(decode_sidecar(found.encode()).frames == found.frames, "a sidecar survives being written")
        lookup_range(found.frames, 0, max(1, found.frames.original_size))
        return
    content = sealed(bytearray(data[1:])) if data[0] & 2 else data[1:]
    trailer = _trailer(padding_header(len(content)) + content)
    require(trailer.frames.original_size == trailer.attributes.original_size, "a trailer's frames make up its object")
    again = encode_trailer(trailer, offset=TABLE.stored_end)
    require(_trailer(again) == trailer, "a trailer survives writing")


def _trailer(item: bytes) -> Trailer:
    """Read out of the last bytes of a body: all of the trailer, and as much of the frames as a reader may be given."""
    return read_trailer(bytes(TAIL_BYTES) + item, body_size=TABLE.stored_end + len(item))


FIELDS = ((-60, 2), (-52, 4), (-48, 4), (-44, 4))
"""Places in the footer of the lengths of attributes, index, part table and directory (docs/format/trailer.md)."""


def sealed(content: bytearray) -> bytes:
    """The content of a trailer with checksums, lengths and place that are right."""
    if len(content) < FOOTER_BYTES:
        return bytes(content)
    attributes, index, parts, directory = (int.from_bytes(content[at:][:size], "little") for at, size in FIELDS)
    starts = (index + parts + directory, index, index + parts)
    for place, (start, size) in enumerate(zip(starts, (attributes, parts, directory), strict=True)):
        pack_into("<I", content, len(content) - 40 + 4 * place, crc32c(content[start : start + size]))
    offset = TABLE.stored_end
    pack_into("<QQI", content, len(content) - 28, offset, offset + 12 + len(content), len(content))
    pack_into("<I", content, len(content) - 8, crc32c(content[-FOOTER_BYTES:-8]))
    return bytes(content)


def check_metadata(data: bytes) -> None:
    """Metadata that is read says the same when it is written again."""
    lines = (line.partition("=") for line in data.decode("latin-1").split("\n"))
    found = Manifest.from_metadata({name: value for name, _, value in lines})
    require(Manifest.from_metadata(found.to_metadata()) == found, "a manifest survives being written")


def check_record(data: bytes) -> None:
    """Records of uploads and of the attribute cache: what is read says the same when it is written again."""
    if not data:
        return
    kind, body = data[0] % 5, data[1:]
    if kind == 4:
        PartRecord.parse(body.decode("utf-8", "replace"))
    elif kind == 3:
        try:
            attributes = unpack_attributes(body)
        except ValueError:
            return
        require(unpack_attributes(pack_attributes(attributes)) == attributes, "attributes survive being written")
    else:
        record = (UploadRecord, BackendRecord, DirectPart)[kind].unpack(body)
        require(type(record).unpack(record.pack()) == record, "a record survives being written")


STORED = ("s4_format.frame", "s4_format.frames", "s4_format.reader", "s4_format.index", "s4_format.inspect")
INDEX = (
    *STORED,
    "s4_format.trailer",
    "s4_format.attributes",
    "s4_format.parts",
    "s4_format.leaves",
    "s4_format.packed",
    "s4_format.ranges",
)
_TEXT = b"a line of text that repeats, " * 40

TARGETS = (
    Target(
        "body",
        check_body,
        modules=(*STORED, "s4_codecs.decode", "s4_codecs.payload"),
        seeds=(b"\x05" + FRAME, b"\x03" + FRAME + padding_header(3) + b"abc" + FRAME, b"\x01" + encode_object(_TEXT).body),
        words=(b"S4F2\x01\x00\x00\x00", b"S4P1", b"S4T1", b"\xff" * 8, b"\x00" * 8, b"\x28\xb5\x2f\xfd"),
        refusals=(FormatError,),
    ),
    Target(
        "payload",
        check_payload,
        modules=(
            "s4_codecs.payload",
            "s4_codecs.zstd",
            "s4_codecs.gzip",
            "s4_codecs._zstd_blocks",
            "s4_codecs.nvcomp.codec",
            "s4_codecs.nvcomp.gdeflate",
            "s4_codecs.nvcomp.gdeflate_codes",
            "s4_codecs.nvcomp.gdeflate_lanes",
            "s4_format.gpu_container",
            "s4_format.columnar",
            "s4_codecs.columnar.codec",
            "s4_codecs.columnar.fields",
            "s4_codecs.columnar.filters",
            "s4_codecs.columnar.rows",
            "s4_codecs.columnar.streams",
        ),
        seeds=(
            *(bytes([number, 0, 5]) + FRAME[28:] for number in range(len(CodecId))),
            *(bytes([tuple(CodecId).index(codec), 0, 5]) + payload for codec, payload in CONTAINERS.items()),
            *(bytes([tuple(CodecId).index(CodecId.CPU_COLUMNAR), *size.to_bytes(2)]) + payload for size, payload in COLUMNS),
        ),
        words=(b"\x28\xb5\x2f\xfd", b"\x1f\x8b\x08", b"\xff" * 4, b"\x50\x2a\x4d\x18"),
        refusals=(CodecError, FormatError),
    ),
    Target(
        "index",
        check_index,
        modules=INDEX,
        seeds=(
            b"\x01" + Sidecar(TABLE, TABLE.stored_end, 5, "etag").encode(),
            b"\x01" + Sidecar(TABLE, TABLE.stored_end).encode(),
            b"\x02" + encode_trailer(TRAILER, offset=TABLE.stored_end)[12:],
            b"\x02" + encode_trailer(Trailer(Attributes(TABLE.original_size), (), TABLE), offset=TABLE.stored_end)[12:],
        ),
        words=(b"S4IX", b"S4T1", b"\xff" * 8, b"s4-", b"\x01\x00\x00\x00", b"\x80"),
        refusals=(FormatError,),
    ),
    Target(
        "metadata",
        check_metadata,
        modules=("s4_format.manifest", "s4_format.codec_id"),
        seeds=(
            "\n".join(
                f"{key}={value}"
                for key, value in Manifest(
                    codec=CodecId.CPU_ZSTD, original_size=5, compressed_size=9, crc32c=7, framed=True, trailer=True, write_token="0" * 32
                )
                .to_metadata()
                .items()
            ).encode(),
            b"s4-checksum-sha256=AAAA-3\ns4-checksum-type=COMPOSITE\nS4-Codec=cpu-zstd\ns4-sse-type=aws:kms\ns4-logical-etag=x",
        ),
        words=(
            b"s4-trailer=",
            b"s4-checksum-",
            b"s4-codec=",
            b"\n",
            b"\xb2",
            b"18446744073709551616",
            b"s4-original-size=",
            b"s4-crc64nvme=",
        ),
        refusals=(FormatError,),
    ),
    Target(
        "records",
        check_record,
        modules=("s4_gateway.objects.uploads.records", "s4_gateway.state.attribute_codec"),
        seeds=(
            b"\x00" + UploadRecord("b", "k", {"content-type": "x"}, {"a": "b"}, "crc32", "COMPOSITE").pack(),
            b"\x01" + BackendRecord("b", "k", "id", None).pack(),
            b"\x02" + DirectPart("etag", 9, ((5, 9),)).pack(),
            b"\x04.s4mpu/x/00001.s.d41d8cd98f00b204e9800998ecf8427e.5.0123456789abcdef.136935360000012345678",
        ),
        words=(b'{"v":1,', b"null", b"1e999", b"NaN", b'"frames":[[', b"-1", b"true", b"\\ud800", b"[" * 8, b'"key":'),
        codes=frozenset({"InternalError"}),
    ),
)
