"""GetObject: what to ask for, whether the answer is that, and the bytes on their way."""

import re
from collections.abc import AsyncGenerator

from s4_gateway.backend.abc import BackendError, Download, Outcome, Span, StoredObject, Suffix
from s4_gateway.backend.s3.errors import AttemptError
from s4_gateway.backend.s3.headers import number, stored_object, unusable
from s4_gateway.backend.s3.retries import Opened

_CONTENT_RANGE = re.compile(r"bytes ([0-9]{1,19})-([0-9]{1,19})/([0-9]{1,19})")

_EMPTY_RANGE = "bytes 0--1/0"
"""What MinIO answers to a suffix of an empty object, where S3 answers 416."""


def range_header(span: Span | Suffix | None) -> str | None:
    """Value of Range (RFC 9110 14.1.2); None to ask for everything."""
    match span:
        case Suffix(length):
            return f"bytes=-{length}"
        case Span(0, None) | None:
            return None
        case Span(start, stop):
            return f"bytes={start}-" if stop is None else f"bytes={start}-{stop - 1}"


def extent(span: Span | Suffix | None, size: int) -> tuple[int, int]:
    """Half-open range of stored bytes that `span` means in an object of `size` bytes."""
    match span:
        case None:
            return 0, size
        case Suffix(length):
            return max(0, size - length), size
        case Span(start, stop):
            return start, size if stop is None else min(stop, size)


def open_download(opened: Opened, key: str, *, span: Span | Suffix | None, if_match: str | None) -> Download:
    """The download in an answer.

    Raises:
        BackendError: the store sends other bytes than asked, or of another object: it ignored Range or If-Match.
    """
    body = _Body(opened)
    try:
        size, start, stop = _what_came(opened)
        stored = stored_object(key, opened.headers, size=size)
        if if_match is not None and stored.etag != if_match:
            raise BackendError("PreconditionFailed", 412, "the object is another than the expected one, and the store ignored If-Match")
        if (start, stop) != extent(span, size):
            raise unusable(f"asked for {range_header(span)}, got bytes {start} to {stop} of {size}")
    except BackendError:
        body.drop()
        raise
    whole = opened.response.whole()
    if whole is not None and len(whole) == stop - start:
        body.taken(len(whole))
        return Download(stored, start=start, stop=stop, whole=whole)
    return Download(stored, start=start, stop=stop, chunks=body.chunks(stop - start), release=body.release)


def _what_came(opened: Opened) -> tuple[int, int, int]:
    """(object size, start, stop) as the answer tells them."""
    length = number(opened.headers, "content-length")
    if length is None:
        raise unusable("no Content-Length")
    if opened.status != 206:
        return length, 0, length
    content_range = opened.headers.get("content-range", "")
    if content_range == _EMPTY_RANGE and length == 0:
        return 0, 0, 0
    match = _CONTENT_RANGE.fullmatch(content_range)
    if match is None:
        raise unusable("no Content-Range")
    first, last, size = map(int, match.groups())
    if not first <= last < size or last + 1 - first != length:
        raise unusable(f"Content-Range {match.group()} with {length} bytes")
    return size, first, last + 1


class _Body:
    """The bytes of one answer, counted; the connection is kept only if all came."""

    __slots__ = ("_opened", "_received", "_released")

    def __init__(self, opened: Opened) -> None:
        self._opened = opened
        self._received = 0
        self._released = False

    async def chunks(self, expected: int) -> AsyncGenerator[bytes, None]:
        """Pieces as they arrive; raises BackendError unless exactly `expected` bytes come."""
        try:
            while chunk := await self._opened.response.piece():
                self._received += len(chunk)
                yield chunk
        except AttemptError as error:
            raise error.final(lost=False, reads=True) from error
        finally:
            self.drop()
        # The connection raises where a body is shorter than its Content-Length; that nothing short ever looks whole must not hang on that
        # alone.
        if self._received != expected:
            message = f"the storage backend sent {self._received} of {expected} bytes"
            raise BackendError("ServiceUnavailable", 503, message, outcome=Outcome.UNKNOWN)

    def taken(self, size: int) -> None:
        """All came at once."""
        self._received = size
        self.drop()

    async def release(self) -> None:
        """As `drop`."""
        self.drop()

    def drop(self) -> None:
        """Give the connection back, or close it if bytes are still under way; repeatable."""
        if self._released:
            return
        self._released = True
        self._opened.response.close()
        self._opened.done(self._received)


def empty_download(stored: StoredObject) -> Download:
    """No bytes, from the end of the object."""
    return Download(stored, start=stored.size, stop=stored.size, whole=b"")
