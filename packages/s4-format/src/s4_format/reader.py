"""An incremental reader of framed bodies: bytes in, frames and padding out, no input or output of its own."""

from collections import deque
from enum import Enum
from typing import Final, Literal

from s4_format._buffer import Buffer, as_view
from s4_format.errors import FrameError, Reason
from s4_format.frame import (
    FRAME_HEADER_BYTES,
    MAGIC_BYTES,
    PADDING_HEADER_BYTES,
    PADDING_MAGIC,
    Frame,
    FrameHeader,
    Padding,
    parse_frame_header,
    parse_padding_header,
)

MAX_ITEM_BYTES = 5 * 2**30
"""Default bound of one frame's payload and of what it may decode to: the largest object of one PUT."""
MAX_KEPT_PADDING = 64 * 1024
"""Padding content up to this size is handed out (a trailer may be in it); more is skipped, since padding may be as large as a part."""


class Signal(Enum):
    """What `FrameReader.next_item` returns when there is no item."""

    NEED_DATA = "need-data"
    END = "end"


NEED_DATA: Final = Signal.NEED_DATA
"""Feed more bytes, or close."""
END: Final = Signal.END
"""The body ended behind a whole item; nothing will follow."""


class FrameReader:
    """Cuts a body that arrives in pieces into frames and padding.

    Feed pieces of any size, then call `next_item` until it returns NEED_DATA; at the end of the body call `close`.
    A payload that lies in one piece is handed out as a view into that piece, so pieces must not change while items made of
    them live; a payload that spans several is copied once. Memory is what has been fed but not read, plus one payload.

    Args:
        offset: position in the body of the first byte that will be fed; items and errors count from the body's start.
        max_original_size, max_payload_size: bounds in bytes of one frame, checked before its payload is collected.
        max_kept_padding: content of larger padding is skipped, and `Padding.payload` is empty then.
    """

    def __init__(
        self,
        *,
        offset: int = 0,
        max_original_size: int = MAX_ITEM_BYTES,
        max_payload_size: int = MAX_ITEM_BYTES,
        max_kept_padding: int = MAX_KEPT_PADDING,
    ) -> None:
        self._pieces: deque[memoryview] = deque()
        self._offset = offset
        self._max_original_size = max_original_size
        self._max_payload_size = max_payload_size
        self._max_kept_padding = max_kept_padding
        self._head = bytearray()
        self._header: FrameHeader | int | None = None
        self._content = bytearray()
        self._skipped = 0
        self._closed = False
        self._failed: FrameError | None = None

    @property
    def offset(self) -> int:
        """Position of the item that comes next: the end of the last item handed out."""
        return self._offset

    def feed(self, data: Buffer) -> None:
        """Take the next piece of the body; nothing is parsed yet.

        Raises:
            ValueError: the reader is closed.
        """
        if self._closed:
            raise ValueError("feed() after close()")
        view = as_view(data)
        if len(view) and self._failed is None:
            self._pieces.append(view)

    def close(self) -> None:
        """Say that the body has ended. Call `next_item` again until it returns END.

        Raises:
            FrameError: HEADER_TRUNCATED or PAYLOAD_TRUNCATED, when everything fed is read and an item is unfinished. What is not yet
                read is judged by `next_item`.
        """
        self._closed = True
        if not self._pieces:
            self._at_end()

    def next_item(self) -> Frame | Padding | Literal[Signal.NEED_DATA, Signal.END]:
        """The next whole item, or NEED_DATA, or END after `close`.

        Raises:
            FrameError: HEADER_TRUNCATED, BAD_MAGIC, UNKNOWN_CODEC, SIZE_LIMIT, PAYLOAD_TRUNCATED. The reader stays broken: every later
                call raises the same.
        """
        if self._failed is not None:
            raise self._failed.within(0)
        try:
            return self._advance()
        except FrameError as error:
            self._failed = error
            self._pieces.clear()
            raise

    def _advance(self) -> Frame | Padding | Literal[Signal.NEED_DATA, Signal.END]:
        if self._header is None and not self._read_header():
            return self._at_end()
        item = self._read_frame(self._header) if isinstance(self._header, FrameHeader) else self._read_padding(self._header or 0)
        if item is None:
            return self._at_end()
        self._header = None
        self._offset += item.stored_size
        return item

    def _at_end(self) -> Literal[Signal.NEED_DATA, Signal.END]:
        """All pieces are used up: more to come, the end, or a truncated item."""
        if not self._closed:
            return NEED_DATA
        if self._failed is None and self._header is not None:
            got = len(self._content) + self._skipped
            self._failed = FrameError(f"the body ends {got} bytes into a payload", Reason.PAYLOAD_TRUNCATED, offset=self._offset)
        elif self._failed is None and self._head:
            self._failed = FrameError(f"the body ends {len(self._head)} bytes into a header", Reason.HEADER_TRUNCATED, offset=self._offset)
        if self._failed is not None:
            raise self._failed.within(0)
        return END

    def _read_header(self) -> bool:
        """Parse the header of the next item, in place if it lies in one piece; False when bytes are missing."""
        if not self._head and self._pieces and len(self._pieces[0]) >= FRAME_HEADER_BYTES:
            self._header = self._parse_header(self._pieces[0])
            self._pop(PADDING_HEADER_BYTES if isinstance(self._header, int) else FRAME_HEADER_BYTES)
            return True
        if not self._collect(self._head, MAGIC_BYTES):
            return False
        size = PADDING_HEADER_BYTES if self._head[:MAGIC_BYTES] == PADDING_MAGIC else FRAME_HEADER_BYTES
        if not self._collect(self._head, size):
            return False
        self._header = self._parse_header(memoryview(self._head))
        self._head = bytearray()
        return True

    def _parse_header(self, view: memoryview) -> FrameHeader | int:
        """The frame header at the start of `view`, within the limits, or the content size of a padding."""
        if view[:MAGIC_BYTES] == PADDING_MAGIC:
            return parse_padding_header(view)
        try:
            header = parse_frame_header(view)
        except FrameError as error:
            raise error.within(self._offset) from None
        self._check_limits(header)
        return header

    def _check_limits(self, header: FrameHeader) -> None:
        if header.original_size > self._max_original_size or header.payload_size > self._max_payload_size:
            limits = f"{self._max_original_size} and {self._max_payload_size}"
            raise FrameError(f"{header} is above the limits of {limits} bytes", Reason.SIZE_LIMIT, offset=self._offset)

    def _read_frame(self, header: FrameHeader) -> Frame | None:
        payload = self._take(header.payload_size)
        return None if payload is None else Frame(header, payload, self._offset)

    def _read_padding(self, size: int) -> Padding | None:
        if size <= self._max_kept_padding:
            payload = self._take(size)
            return None if payload is None else Padding(self._offset, size, payload)
        while self._skipped < size and self._pieces:
            self._skipped += len(self._pop(size - self._skipped))
        if self._skipped < size:
            return None
        self._skipped = 0
        return Padding(self._offset, size, memoryview(b""))

    def _take(self, size: int) -> memoryview | None:
        """`size` contiguous bytes: a view of the first piece if it holds them all, else collected in a buffer that grows as bytes come."""
        if not self._content and self._pieces and len(self._pieces[0]) >= size:
            return self._pop(size)
        if not self._collect(self._content, size):
            return None
        content, self._content = self._content, bytearray()
        return memoryview(content)

    def _collect(self, into: bytearray, size: int) -> bool:
        """Move bytes from the pieces until `into` has `size`; False when they run out first."""
        while len(into) < size and self._pieces:
            into += self._pop(size - len(into))
        return len(into) >= size

    def _pop(self, limit: int) -> memoryview:
        """Up to `limit` bytes off the front of the first piece."""
        piece = self._pieces[0]
        if len(piece) <= limit:
            return self._pieces.popleft()
        self._pieces[0] = piece[limit:]
        return piece[:limit]
