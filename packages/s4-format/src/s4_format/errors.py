"""The errors of this package, one tree, each with a reason that programs can read.

    FormatError (ValueError)
    ├── FrameError      frames, padding and frame tables
    ├── SidecarError    S4IX sidecars
    ├── TrailerError    S4T1 trailers
    ├── ManifestError   object metadata
    ├── ContainerError  FCG1 containers
    └── KeyNameError    reserved object names

Callers branch on `FormatError.reason`, never on the text.
"""

from enum import StrEnum
from typing import Self


class Reason(StrEnum):
    """Why bytes, metadata or a name were refused."""

    HEADER_TRUNCATED = "header-truncated"
    """The input ends inside a fixed-size header."""
    PAYLOAD_TRUNCATED = "payload-truncated"
    """The input ends before the length that a header declares."""
    BAD_MAGIC = "bad-magic"
    """The four bytes at this place name no known structure."""
    UNKNOWN_CODEC = "unknown-codec"
    """A codec id or label that this version does not list."""
    UNKNOWN_FILTER = "unknown-filter"
    """A number in a columnar payload that stands for a way of storing which this version does not know."""
    SIZE_LIMIT = "size-limit"
    """A declared size is above the reader's bound."""
    TOO_MANY_FRAMES = "too-many-frames"
    """A count of frames is above the bound of an index."""
    OFFSET_OVERFLOW = "offset-overflow"
    """An offset plus a size does not fit in 64 bits."""
    NOT_MONOTONIC = "not-monotonic"
    """Frames overlap or go backwards."""
    UNSUPPORTED_VERSION = "unsupported-version"
    """The structure is known, its version is not."""
    ETAG_TOO_LONG = "etag-too-long"
    """A source ETag longer than the format allows."""
    ENTRY_COUNT_MISMATCH = "entry-count-mismatch"
    """The declared count of entries does not fill the bytes that are there."""
    CHECKSUM_MISMATCH = "checksum-mismatch"
    """Bytes do not match the CRC32C stored with them."""
    WRONG_PLACE = "wrong-place"
    """A structure names another position or length than the one where it was found."""
    NOT_TILED = "not-tiled"
    """An index leaves bytes of the body uncovered that cannot be padding."""
    INDEX_MISMATCH = "index-mismatch"
    """An index and the frames of its body say different things."""
    SIZE_MISMATCH = "size-mismatch"
    """Sizes that must add up do not."""
    SPAN_MISMATCH = "span-mismatch"
    """The caller handed in another number of bytes than the span it was asked for."""
    MALFORMED = "malformed"
    """The bytes break a rule of their layout."""
    INVALID_VALUE = "invalid-value"
    """A value that cannot be written, or a marker whose value is not one that readers know."""
    DUPLICATE_KEY = "duplicate-key"
    """One metadata key twice, in different letter case."""
    INVALID_NAME = "invalid-name"
    """An object name that cannot be made into the reserved name asked for."""


class FormatError(ValueError):
    """Base of the tree.

    Attributes:
        reason: machine-readable cause.
        offset: position in the input, in bytes from its start, at which the fault was seen; None where there is no such place.
    """

    def __init__(self, message: str, reason: Reason, *, offset: int | None = None) -> None:
        super().__init__(message)
        self.reason = reason
        self.offset = offset

    def __str__(self) -> str:
        place = "" if self.offset is None else f" (at byte {self.offset})"
        return f"{self.args[0]}{place}"

    def __reduce__(self) -> tuple[object, ...]:
        """Survive the way between processes, which rebuilds exceptions from positional arguments."""
        return _rebuild, (type(self), str(self.args[0]), self.reason, self.offset)

    def within(self, base: int) -> Self:
        """The same error with its offset counted from `base` bytes earlier; None stays None."""
        return type(self)(str(self.args[0]), self.reason, offset=None if self.offset is None else base + self.offset)


def _rebuild(kind: type[FormatError], message: str, reason: Reason, offset: int | None) -> FormatError:
    return kind(message, reason, offset=offset)


class FrameError(FormatError):
    """A framed body, a frame header, padding, or a frame table is wrong."""


class SidecarError(FormatError):
    """An S4IX sidecar is wrong; readers fall back to the body itself."""


class TrailerError(FormatError):
    """An S4T1 trailer is wrong although metadata promises one, or it cannot be written."""


class ManifestError(FormatError):
    """Object metadata contradicts itself, or a value cannot be written as metadata."""


class ContainerError(FormatError):
    """An FCG1 container is wrong; its chunks were not looked at."""


class KeyNameError(FormatError):
    """No reserved name can be made from this key or id."""
