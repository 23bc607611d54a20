"""S4IX sidecars, the index beside an object, versions 1 to 3 (docs/format/sidecar.md), and the scan that makes one from a body.

Integers are little endian. Versions 2 and 3 bind the index to the ETag and the length of one stored object; readers use no other.
"""

from array import array
from dataclasses import dataclass
from struct import Struct
from sys import byteorder
from typing import Any

from s4_format._buffer import Buffer, as_view
from s4_format.codec_id import CodecId
from s4_format.errors import FrameError, Reason, SidecarError
from s4_format.frame import FRAME_HEADER_BYTES, FRAME_MAGIC, PADDING_HEADER_BYTES, PADDING_MAGIC, parse_frame_header, parse_padding_header
from s4_format.frames import MAX_TABLE_FRAMES, FrameColumns, FrameTable

SIDECAR_MAGIC = b"S4IX"
MAX_FRAMES = 2**24
"""A declared count above this is refused before anything else is looked at, as existing readers do."""
MAX_ETAG_BYTES = 4096

_HEAD = Struct("<4sIQQQ")
_SOURCE = Struct("<QI")
_BINDING = Struct("<IIH8sQI")
_ENTRY_BYTES = 32

MAX_SIDECAR_BYTES = _HEAD.size + _SOURCE.size + MAX_ETAG_BYTES + _BINDING.size + MAX_TABLE_FRAMES * _ENTRY_BYTES
"""The longest sidecar that is decoded: 2^20 frames, 32 MiB and 4 KiB. No body has more frames than that."""


@dataclass(frozen=True, slots=True)
class SseBinding:
    """Geometry of the chunked envelope (S4E6) around the framed body, version 3 only.

    Attributes:
        chunk_size: plaintext bytes of each chunk but the last, at least 1.
        chunk_count: number of chunks, at least 1.
        key_id: number of the gateway key.
        salt: 8 bytes of the envelope header.
        framed_size: bytes of the framed body inside the envelope.
        header_bytes: bytes of the envelope header before the first chunk.

    Raises:
        SidecarError: INVALID_VALUE, a number that does not fit its field, or no chunks.
    """

    chunk_size: int
    chunk_count: int
    key_id: int
    salt: bytes
    framed_size: int
    header_bytes: int

    def __post_init__(self) -> None:
        fits = (
            0 < self.chunk_size < 2**32
            and 0 < self.chunk_count < 2**32
            and 0 <= self.key_id < 2**16
            and len(self.salt) == 8
            and 0 <= self.framed_size < 2**64
            and 0 <= self.header_bytes < 2**32
        )
        if not fits:
            raise SidecarError(f"no envelope has this geometry: {self}", Reason.INVALID_VALUE)


@dataclass(frozen=True, slots=True)
class Sidecar:
    """What a sidecar says.

    Attributes:
        frames: where the frames of the body lie, before encryption.
        padded_size: bytes of the framed body with its padding, before encryption.
        source_size: bytes of the stored object; None: not bound to a length (0 cannot be told from that).
        source_etag: backend ETag of the stored object, unquoted, at most 4,096 bytes of UTF-8; None: not bound to an ETag.
        sse: geometry of the envelope around the body, if there is one.

    Raises:
        SidecarError: INVALID_VALUE, ETAG_TOO_LONG.
    """

    frames: FrameTable
    padded_size: int
    source_size: int | None = None
    source_etag: str | None = None
    sse: SseBinding | None = None

    def __post_init__(self) -> None:
        if not (0 <= self.padded_size < 2**64 and 0 <= (self.source_size or 0) < 2**64):
            raise SidecarError(f"a size does not fit in 64 bits: {self}", Reason.INVALID_VALUE)
        if self.source_etag is not None and len(self.source_etag.encode()) > MAX_ETAG_BYTES:
            raise SidecarError(f"the ETag has more than {MAX_ETAG_BYTES} bytes", Reason.ETAG_TOO_LONG)

    def frames_of(self, *, etag: str | None, size: int) -> FrameTable | None:
        """The frames of the stored object with this backend ETag (unquoted) and length; None where this index may not be trusted for it.

        It is trusted only if it is bound to exactly this ETag (both None for a store that gives none) and length, describes the body
        itself and no envelope, and has frames that lie in the body.
        """
        bound = self.source_etag == etag and self.source_size == size and self.sse is None
        return self.frames if bound and len(self.frames) > 0 and self.frames.stored_end <= size else None

    def encode(self) -> bytes:
        """The sidecar's bytes: version 3 with an envelope geometry, else version 2."""
        version = 2 if self.sse is None else 3
        etag = (self.source_etag or "").encode()
        head = _HEAD.pack(SIDECAR_MAGIC, version, len(self.frames), self.frames.original_size, self.padded_size)
        binding = b""
        if self.sse is not None:
            sse = self.sse
            binding = _BINDING.pack(sse.chunk_size, sse.chunk_count, sse.key_id, sse.salt, sse.framed_size, sse.header_bytes)
        return b"".join((head, _SOURCE.pack(self.source_size or 0, len(etag)), etag, binding, _pack_entries(self.frames)))


def decode_sidecar(data: Buffer) -> Sidecar:
    """Read a sidecar of any version. Whether it belongs to an object is for the caller to check, by ETag and length.

    An ETag that is not UTF-8, a source length of 0 and an envelope without chunks count as absent. The declared original size is
    not believed; the last entry says it.

    Raises:
        SidecarError: in this order SIZE_LIMIT, HEADER_TRUNCATED, BAD_MAGIC, TOO_MANY_FRAMES, UNSUPPORTED_VERSION, HEADER_TRUNCATED,
            ETAG_TOO_LONG, ENTRY_COUNT_MISMATCH, OFFSET_OVERFLOW, NOT_MONOTONIC.
    """
    view = as_view(data)
    if len(view) > MAX_SIDECAR_BYTES:
        raise SidecarError(f"{len(view)} bytes are more than {MAX_SIDECAR_BYTES}", Reason.SIZE_LIMIT)
    magic, version, count, _, padded_size = _unpack(_HEAD, view, 0)
    if magic != SIDECAR_MAGIC:
        raise SidecarError(f"expected a sidecar, found {magic!r}", Reason.BAD_MAGIC, offset=0)
    if count > MAX_FRAMES:
        raise SidecarError(f"{count} frames are more than {MAX_FRAMES}", Reason.TOO_MANY_FRAMES, offset=8)
    if version not in (1, 2, 3):
        raise SidecarError(f"version {version} is not known", Reason.UNSUPPORTED_VERSION, offset=4)
    source_size, etag, sse, start = (None, None, None, _HEAD.size) if version == 1 else _unpack_source(view, version)
    if len(view) - start != count * _ENTRY_BYTES:
        raise SidecarError(f"{count} entries do not fill {len(view) - start} bytes", Reason.ENTRY_COUNT_MISMATCH, offset=start)
    try:
        frames = FrameTable(_unpack_entries(view[start:]))
    except FrameError as error:
        raise SidecarError(str(error), error.reason, offset=start) from error
    return Sidecar(frames, padded_size, source_size, etag, sse)


def _unpack(layout: Struct, view: memoryview, offset: int) -> tuple[Any, ...]:
    if len(view) - offset < layout.size:
        raise SidecarError(f"{len(view) - offset} bytes are too few", Reason.HEADER_TRUNCATED, offset=offset)
    return layout.unpack_from(view, offset)


def _unpack_source(view: memoryview, version: int) -> tuple[int | None, str | None, SseBinding | None, int]:
    """What versions 2 and 3 have before the entries, and where the entries begin."""
    source_size, etag_bytes = _unpack(_SOURCE, view, _HEAD.size)
    offset = _HEAD.size + _SOURCE.size
    if etag_bytes > MAX_ETAG_BYTES:
        raise SidecarError(f"an ETag of {etag_bytes} bytes is above {MAX_ETAG_BYTES}", Reason.ETAG_TOO_LONG, offset=offset - 4)
    raw = bytes(view[offset : offset + etag_bytes])
    if len(raw) < etag_bytes:
        raise SidecarError(f"the ETag ends after {len(raw)} bytes", Reason.HEADER_TRUNCATED, offset=offset)
    offset += etag_bytes
    sse = None
    if version == 3:
        chunk_size, chunk_count, *rest = _unpack(_BINDING, view, offset)
        offset += _BINDING.size
        if chunk_size and chunk_count:
            sse = SseBinding(chunk_size, chunk_count, *rest)
    try:
        etag = raw.decode() or None
    except UnicodeDecodeError:
        etag = None
    return source_size or None, etag, sse, offset


def _unpack_entries(rows: memoryview) -> FrameColumns:
    """Split rows of four numbers into columns; the strided views copy one column at a time."""
    numbers = rows.cast("Q")
    columns = []
    for which in range(4):
        column = array("Q", numbers[which::4].tobytes())
        if byteorder == "big":
            column.byteswap()
        columns.append(column)
    return FrameColumns(*columns)


def _pack_entries(frames: FrameTable) -> bytes:
    rows = array("Q", bytes(len(frames) * _ENTRY_BYTES))
    for which, column in enumerate(frames.columns.all()):
        rows[which::4] = column
    if byteorder == "big":
        rows.byteswap()
    return rows.tobytes()


_SCAN_HEADER = Struct("<4sIQQ")
_SHORT_PADDING = (PADDING_MAGIC, 0, 0, 0)
_CODECS = frozenset(int(codec) for codec in CodecId)


def scan_frames(body: Buffer) -> tuple[FrameTable, int]:
    """The table of a whole framed body that has no index, and the body's length.

    Payloads are not touched; the cost is linear in the number of items. An end that is cut short inside padding, or fewer than 28
    bytes of something else, stop the scan without error, as in the tools that made existing sidecars: `iter_items` judges strictly.

    Raises:
        FrameError: BAD_MAGIC, UNKNOWN_CODEC, PAYLOAD_TRUNCATED, OFFSET_OVERFLOW, TOO_MANY_FRAMES.
    """
    view = as_view(body)
    end = len(view)
    columns = FrameColumns.empty()
    original_offsets, original_sizes, stored_offsets, stored_sizes = columns.all()
    offset = original_end = 0
    unpack = _SCAN_HEADER.unpack_from
    while (left := end - offset) >= PADDING_HEADER_BYTES:
        if left < FRAME_HEADER_BYTES and view[offset : offset + 4] != PADDING_MAGIC:
            break
        magic, codec, original_size, payload_size = unpack(view, offset) if left >= FRAME_HEADER_BYTES else _SHORT_PADDING
        if magic == PADDING_MAGIC:
            offset = _behind_padding(view, offset)
            continue
        if magic != FRAME_MAGIC or codec not in _CODECS:
            parse_frame_header(view, offset)
        stored_size = FRAME_HEADER_BYTES + payload_size
        if stored_size > left:
            raise FrameError(f"{payload_size} bytes are declared, fewer are there", Reason.PAYLOAD_TRUNCATED, offset=offset)
        if original_end + original_size >= 2**64:
            raise FrameError("the original sizes do not fit in 64 bits", Reason.OFFSET_OVERFLOW, offset=offset)
        original_offsets.append(original_end)
        original_sizes.append(original_size)
        stored_offsets.append(offset)
        stored_sizes.append(stored_size)
        if len(stored_sizes) > MAX_TABLE_FRAMES:
            raise FrameError(f"more than {MAX_TABLE_FRAMES} frames", Reason.TOO_MANY_FRAMES, offset=offset)
        offset += stored_size
        original_end += original_size
    return FrameTable(columns, in_order=True), end


def _behind_padding(view: memoryview, offset: int) -> int:
    behind = offset + PADDING_HEADER_BYTES + parse_padding_header(view, offset)
    if behind >= 2**64:
        raise FrameError("padding ends behind 64 bits", Reason.OFFSET_OVERFLOW, offset=offset)
    return behind
