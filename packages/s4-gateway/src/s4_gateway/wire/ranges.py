"""Byte ranges of requests (RFC 9110, section 14). Spans are half-open."""

import re
from dataclasses import dataclass

from s4_gateway.errors import S3Error

_RANGE = re.compile(r"[ \t]*bytes[ \t]*=[ \t]*([0-9]*)-([0-9]*)[ \t]*", re.IGNORECASE)
_MOST_DIGITS = 18
"""Longer numbers lie behind the end of every object (5 TiB has 13 digits)."""


def _position(digits: str) -> int:
    return int(digits) if len(digits) <= _MOST_DIGITS else 10**_MOST_DIGITS


@dataclass(frozen=True, slots=True)
class ByteRange:
    """One requested range, before the object's size is known."""

    start: int = 0
    """First byte; 0 for a suffix."""
    stop: int | None = None
    """Behind the last byte; None = to the end."""
    suffix: int | None = None
    """The last so many bytes; `start` and `stop` mean nothing then."""

    def resolve(self, size: int) -> tuple[int, int]:
        """The span [start, stop) of an object of `size` bytes; an end behind the object's is cut.

        Raises:
            S3Error: InvalidRange (416, with `Content-Range: bytes */size`) if no byte is in it; so always for an empty object.
        """
        if self.suffix is None:
            start, stop = self.start, size if self.stop is None else min(self.stop, size)
        else:
            start, stop = max(0, size - self.suffix), size
        if start >= stop:
            raise unsatisfiable(self, size)
        return start, stop

    def resolve_exact(self, size: int) -> tuple[int, int]:
        """The span of a copy source, which must lie inside the object.

        Raises:
            S3Error: InvalidArgument, as S3 answers for `x-amz-copy-source-range`.
        """
        stop = size if self.stop is None else self.stop
        if stop > size:
            raise S3Error("InvalidArgument", f"Range specified is not valid for source object of size: {size}")
        return self.start, stop

    def __str__(self) -> str:
        if self.suffix is not None:
            return f"bytes=-{self.suffix}"
        return f"bytes={self.start}-{'' if self.stop is None else self.stop - 1}"


def unsatisfiable(requested: ByteRange, size: int) -> S3Error:
    """The 416 for a range that holds no byte of an object of `size` bytes."""
    return S3Error(
        "InvalidRange",
        fields={"RangeRequested": str(requested), "ActualObjectSize": str(size)},
        headers={"content-range": f"bytes */{size}"},
    )


def parse_range(value: str | None) -> ByteRange | None:
    """The Range header, or None where it is absent or to be ignored.

    S3 answers 200 with the whole object for what it does not understand: other units, several ranges, `5-2`, nonsense. `-0` is well
    formed and never satisfiable (RFC 9110, section 14.1.2).
    """
    if value is None:
        return None
    match = _RANGE.fullmatch(value)
    if match is None:
        return None
    first, last = match[1], match[2]
    if not first:
        return ByteRange(suffix=_position(last)) if last else None
    start = _position(first)
    if not last:
        return ByteRange(start)
    stop = _position(last) + 1
    return ByteRange(start, stop) if stop > start else None


def parse_copy_range(value: str | None) -> ByteRange | None:
    """`x-amz-copy-source-range`, of which S3 takes `bytes=first-last` only.

    Raises:
        S3Error: InvalidArgument for every other form.
    """
    if value is None:
        return None
    parsed = parse_range(value)
    if parsed is None or parsed.stop is None:
        raise S3Error(
            "InvalidArgument",
            "The x-amz-copy-source-range value must be of the form bytes=first-last where first and last are the zero-based offsets of "
            "the first and last bytes to copy.",
            fields={"ArgumentName": "x-amz-copy-source-range", "ArgumentValue": value},
        )
    return parsed


def content_range(start: int, stop: int, size: int) -> str:
    """Content-Range of a 206 for the span [start, stop)."""
    return f"bytes {start}-{stop - 1}/{size}"
