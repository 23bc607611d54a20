"""How much plaintext one frame holds.

Small frames make ranges cheap, large ones save headers and index entries; docs/adr/0003-frame-size.md has the measurements.
"""

from collections.abc import Iterable
from enum import StrEnum

from s4_format import CodecId

KIB = 1 << 10
MIB = 1 << 20

MIN_FRAME_BYTES = 256 * KIB
DEFAULT_FRAME_BYTES = 512 * KIB
MAX_FRAME_BYTES = 8 * MIB

_CODEC_FRAME_BYTES = {CodecId.PASSTHROUGH: MIN_FRAME_BYTES, CodecId.CPU_COLUMNAR: 4 * MIB}
"""Codecs with another default: passthrough has no ratio to lose, and its ranges are fetched uncompressed; cpu-columnar looks for the layout
of each frame, which is to cost little beside the frame, and finds periods of hundreds of KiB (docs/adr/0012-columns.md)."""

TARGET_FRAMES = 1 << 20
"""Frames grow with the object so that a body has at most this many, as far as `MAX_FRAME_BYTES` allows."""

_PART_FRAMES = 64
_REFERENCE_FRAME_BYTES = ((1 * MIB, 1 * MIB), (100 * MIB, 4 * MIB))
_REFERENCE_UNKNOWN = 4 * MIB
_REFERENCE_LARGEST = 16 * MIB


class FramePolicy(StrEnum):
    """Who decides the frame size."""

    DEFAULT = "default"
    """This package: small frames, and a frame that does not shrink is stored as it is."""
    REFERENCE = "reference"
    """The reference's sizes and bytes, for bodies equal to its own (wire-format.md 6.1)."""


def frame_size(policy: FramePolicy, *, size: int | None, codec: CodecId) -> int:
    """Plaintext bytes of each frame but the last.

    Args:
        policy: whose sizes.
        size: bytes of the object, None when unknown.
        codec: the codec picked for the object.
    """
    match policy:
        case FramePolicy.REFERENCE:
            return _reference_frame_size(size)
        case FramePolicy.DEFAULT:
            return _default_frame_size(size, codec)


def part_frame_size(part_size: int, codec: CodecId = CodecId.CPU_ZSTD) -> int:
    """As `frame_size`, for a part of `part_size` bytes of an object whose own size is not known."""
    least = max(DEFAULT_FRAME_BYTES, _CODEC_FRAME_BYTES.get(codec, DEFAULT_FRAME_BYTES))
    return min(max(-(-part_size // _PART_FRAMES), least), MAX_FRAME_BYTES)


def largest_frame_size(size: int | None, codecs: Iterable[CodecId], *, part: bool = False) -> int:
    """Plaintext bytes of the largest frame that an object of `size` bytes, or a part of that size, has under any of `codecs`."""
    sizes = (part_frame_size(size or 0, codec) if part else _default_frame_size(size, codec) for codec in codecs)
    return max(sizes, default=DEFAULT_FRAME_BYTES)


def _default_frame_size(size: int | None, codec: CodecId) -> int:
    frame = _CODEC_FRAME_BYTES.get(codec, DEFAULT_FRAME_BYTES)
    while size is not None and frame < MAX_FRAME_BYTES and size > frame * TARGET_FRAMES:
        frame *= 2
    return frame


def _reference_frame_size(size: int | None) -> int:
    if size is None:
        return _REFERENCE_UNKNOWN
    for limit, frame in _REFERENCE_FRAME_BYTES:
        if size <= limit:
            return frame
    return _REFERENCE_LARGEST
