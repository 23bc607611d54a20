"""Reading a body, whatever it is made of: bytes in a row, a file, or a list of both."""

import sqlite3
import threading
import warnings
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from s4_gateway.backend._rules import refuse, resolve_span
from s4_gateway.backend.abc import Span, StoredObject, Suffix
from s4_gateway.backend.local.blobs import BlobFiles
from s4_gateway.backend.local.bodies import BodyKind, unpack_segments
from s4_gateway.backend.local.faults import damaged
from s4_gateway.backend.local.pins import Pins
from s4_gateway.backend.local.reads import Body, find_with_body

CHUNK = 1024 * 1024
"""Most bytes that one read brings."""
_ATTEMPTS = 100
"""Looks for an object that is replaced each time before its body is reached."""


@dataclass(slots=True)
class _Piece:
    """Bytes [start, stop) of one body."""

    body: int
    start: int
    stop: int
    inline: bytes | None = None
    descriptor: int | None = None


class BodyReader:
    """What is left to read of a body. `read` blocks; `close` may be called from another thread meanwhile."""

    def __init__(self, blobs: BlobFiles, pieces: deque[_Piece], *, release: Callable[[], None]) -> None:
        self._blobs = blobs
        self._pieces = pieces
        self._release = release
        self._lock = threading.Lock()
        self._closing = False

    def read(self, connection: sqlite3.Connection) -> bytes:
        """The next bytes, at most CHUNK; none at the end, which also closes.

        Raises:
            BackendError: the body is shorter than it was, or not there.
        """
        with self._lock:
            if self._closing:
                return b""
            parts: list[bytes] = []
            room = CHUNK
            while room and self._pieces:
                part = self._next(connection, room)
                parts.append(part)
                room -= len(part)
            if not self._pieces or self._closing:
                self._finish()
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def close(self) -> None:
        """Give up files and the hold on the body; repeatable. A read that is running does it when it ends."""
        self._closing = True
        if self._lock.acquire(blocking=False):
            try:
                self._finish()
            finally:
                self._lock.release()

    def __del__(self) -> None:
        # Without the pins' lock, which the thread that collects garbage may hold: the hold on the body then lasts to the next start.
        if self._pieces:
            warnings.warn("a download was neither read to its end nor closed", ResourceWarning, source=self, stacklevel=2)
            while self._pieces:
                self._drop_first()

    def _finish(self) -> None:
        while self._pieces:
            self._drop_first()
        release, self._release = self._release, _nothing
        release()

    def _drop_first(self) -> None:
        piece = self._pieces.popleft()
        if piece.descriptor is not None:
            self._blobs.close(piece.descriptor)

    def _next(self, connection: sqlite3.Connection, room: int) -> bytes:
        piece = self._pieces[0]
        if piece.inline is None and piece.descriptor is None:
            self._open(connection, piece)
        size = min(room, piece.stop - piece.start)
        if piece.inline is not None:
            data = piece.inline[piece.start : piece.start + size]
        else:
            assert piece.descriptor is not None
            data = self._blobs.read(piece.descriptor, size, piece.start)
        if len(data) != size:
            raise damaged(f"body {piece.body:016x} ends early")
        piece.start += size
        if piece.start == piece.stop:
            self._drop_first()
        return data

    def _open(self, connection: sqlite3.Connection, piece: _Piece) -> None:
        row = connection.execute("SELECT kind, content FROM bodies WHERE id = ?", (piece.body,)).fetchone()
        if row is None:
            raise damaged(f"body {piece.body:016x} is referred to and not there")
        if row[0] == BodyKind.INLINE:
            piece.inline = row[1]
            return
        try:
            piece.descriptor = self._blobs.open(piece.body)
        except FileNotFoundError as error:
            raise damaged(f"the file of body {piece.body:016x} is gone") from error


@dataclass(frozen=True, slots=True)
class Opened:
    """An object with the first bytes of its download."""

    stored: StoredObject
    start: int
    stop: int
    first: bytes
    rest: BodyReader | None
    """None = `first` is all."""


class BodyOpener:
    """Opens objects in a reader's thread."""

    def __init__(self, blobs: BlobFiles, pins: Pins) -> None:
        self._blobs = blobs
        self._pins = pins

    def open(self, connection: sqlite3.Connection, bucket: str, key: str, *, span: Span | Suffix | None, if_match: str | None) -> Opened:
        """Find the object and read its first bytes, all in one go.

        A writer may replace the object between the look and the hold on its body; then it is looked for again.
        """
        missing: int | None = None
        for _ in range(_ATTEMPTS):
            stored, body = find_with_body(connection, bucket, key)
            if if_match is not None and stored.etag != if_match:
                raise refuse("PreconditionFailed")
            start, stop = resolve_span(span, stored.size)
            if body.kind is BodyKind.INLINE or start == stop:
                return Opened(stored, start, stop, body.content[start:stop], None)
            reader = self._reader(connection, body, start, stop)
            if reader is not None:
                return _begin(connection, stored, start, stop, reader)
            if missing == body.body:
                raise damaged(f"the file of body {missing:016x} is gone")
            missing = body.body
        raise refuse("OperationAborted", "The object is replaced faster than it can be opened; try again.")

    def _reader(self, connection: sqlite3.Connection, body: Body, start: int, stop: int) -> BodyReader | None:
        """A reader with a hold on the body; None where the body has just gone."""
        if body.kind is BodyKind.FILE:
            try:
                piece = _Piece(body.body, start, stop, descriptor=self._blobs.open(body.body))
            except FileNotFoundError:
                return None
            return BodyReader(self._blobs, deque([piece]), release=_nothing)
        self._pins.pin(body.body)
        reader = BodyReader(self._blobs, _cut(body.content, start, stop), release=lambda: self._pins.unpin(body.body))
        if connection.execute("SELECT 1 FROM bodies WHERE id = ?", (body.body,)).fetchone() is None:
            reader.close()
            return None
        return reader


def _begin(connection: sqlite3.Connection, stored: StoredObject, start: int, stop: int, reader: BodyReader) -> Opened:
    try:
        first = reader.read(connection)
    except BaseException:
        reader.close()
        raise
    return Opened(stored, start, stop, first, reader if len(first) < stop - start else None)


def _cut(segments: bytes, start: int, stop: int) -> deque[_Piece]:
    """The pieces of a list that hold bytes [start, stop) of it."""
    pieces: deque[_Piece] = deque()
    offset = 0
    for segment in unpack_segments(segments):
        low, high = max(start - offset, 0), min(stop - offset, segment.size)
        if low < high:
            pieces.append(_Piece(segment.body, low, high))
        offset += segment.size
    return pieces


def _nothing() -> None:
    pass
