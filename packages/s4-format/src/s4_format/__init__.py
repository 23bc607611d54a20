"""The stored bytes of S4, read and written with the standard library alone.

Bodies are `Frame` and `Padding` items: `iter_items` reads a whole body, `FrameReader` one that arrives in pieces, `FrameHeader.pack` and
`padding_header` write them. `FrameTable` says where the frames lie and `lookup_range` what to fetch for a range of the object.
An index travels in a `Sidecar` (S4IX) beside the object or in a `Trailer` (S4T1) at the end of its body.
`Manifest` is an object's metadata. Everything refused raises a `FormatError`, whose `reason` programs can read.
"""

from s4_format._buffer import Buffer
from s4_format._version import __version__
from s4_format.attributes import MAX_ATTRIBUTES_BYTES, Attributes
from s4_format.codec_id import CodecId, codec_from_label
from s4_format.crc32c import ACCELERATED, crc32c
from s4_format.envelope import ENVELOPE_MAGIC_BYTES, EnvelopeKind, detect_envelope
from s4_format.errors import FormatError, FrameError, KeyNameError, ManifestError, Reason, SidecarError, TrailerError
from s4_format.etag import composite_etag, md5_etag, quote_etag, unquote_etag
from s4_format.frame import (
    FRAME_HEADER_BYTES,
    FRAME_MAGIC,
    MAGIC_BYTES,
    PADDING_HEADER_BYTES,
    PADDING_MAGIC,
    Frame,
    FrameHeader,
    Padding,
    iter_frames,
    iter_items,
    pad_to_minimum,
    padding_for,
    padding_header,
    parse_frame_header,
    parse_padding_header,
    read_frame,
)
from s4_format.frames import MAX_TABLE_FRAMES, FrameColumns, FrameEntry, FrameTable, FrameTableBuilder
from s4_format.index import MAX_FRAMES, MAX_SIDECAR_BYTES, SIDECAR_MAGIC, Sidecar, SseBinding, decode_sidecar, scan_frames
from s4_format.keys import (
    DICTIONARY_PREFIX,
    MULTIPART_PREFIX,
    RESERVED_LISTING_JUMPS,
    SIDECAR_SUFFIX,
    VERSION_MARK,
    dictionary_key,
    is_dictionary_id,
    is_reserved,
    sidecar_key,
)
from s4_format.leaves import LEAF_FRAMES, SINGLE_LEVEL_FRAMES, Directory, Span
from s4_format.manifest import (
    CHECKSUM_KEY_PREFIX,
    METADATA_PREFIX,
    Manifest,
    MetadataKey,
    PayloadManifest,
    select_reserved,
    strip_reserved,
)
from s4_format.parts import MAX_PARTS, Part
from s4_format.ranges import RangePlan, lookup_range
from s4_format.reader import END, MAX_ITEM_BYTES, MAX_KEPT_PADDING, NEED_DATA, FrameReader, Signal
from s4_format.trailer import (
    FOOTER_BYTES,
    SUFFIX_BYTES,
    TAIL_BYTES,
    TRAILER_MAGIC,
    Tail,
    Trailer,
    encode_trailer,
    read_tail,
    read_trailer,
    trailer_size,
)

__all__ = [
    "ACCELERATED",
    "CHECKSUM_KEY_PREFIX",
    "DICTIONARY_PREFIX",
    "END",
    "ENVELOPE_MAGIC_BYTES",
    "FOOTER_BYTES",
    "FRAME_HEADER_BYTES",
    "FRAME_MAGIC",
    "LEAF_FRAMES",
    "MAGIC_BYTES",
    "MAX_ATTRIBUTES_BYTES",
    "MAX_FRAMES",
    "MAX_ITEM_BYTES",
    "MAX_KEPT_PADDING",
    "MAX_PARTS",
    "MAX_SIDECAR_BYTES",
    "MAX_TABLE_FRAMES",
    "METADATA_PREFIX",
    "MULTIPART_PREFIX",
    "NEED_DATA",
    "PADDING_HEADER_BYTES",
    "PADDING_MAGIC",
    "RESERVED_LISTING_JUMPS",
    "SIDECAR_MAGIC",
    "SIDECAR_SUFFIX",
    "SINGLE_LEVEL_FRAMES",
    "SUFFIX_BYTES",
    "TAIL_BYTES",
    "TRAILER_MAGIC",
    "VERSION_MARK",
    "Attributes",
    "Buffer",
    "CodecId",
    "Directory",
    "EnvelopeKind",
    "FormatError",
    "Frame",
    "FrameColumns",
    "FrameEntry",
    "FrameError",
    "FrameHeader",
    "FrameReader",
    "FrameTable",
    "FrameTableBuilder",
    "KeyNameError",
    "Manifest",
    "ManifestError",
    "MetadataKey",
    "Padding",
    "Part",
    "PayloadManifest",
    "RangePlan",
    "Reason",
    "Sidecar",
    "SidecarError",
    "Signal",
    "Span",
    "SseBinding",
    "Tail",
    "Trailer",
    "TrailerError",
    "__version__",
    "codec_from_label",
    "composite_etag",
    "crc32c",
    "decode_sidecar",
    "detect_envelope",
    "dictionary_key",
    "encode_trailer",
    "is_dictionary_id",
    "is_reserved",
    "iter_frames",
    "iter_items",
    "lookup_range",
    "md5_etag",
    "pad_to_minimum",
    "padding_for",
    "padding_header",
    "parse_frame_header",
    "parse_padding_header",
    "quote_etag",
    "read_frame",
    "read_tail",
    "read_trailer",
    "scan_frames",
    "select_reserved",
    "sidecar_key",
    "strip_reserved",
    "trailer_size",
    "unquote_etag",
]
