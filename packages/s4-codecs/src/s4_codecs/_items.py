"""Cuts a framed body that arrives in pieces into headers and views of content, copying nothing but headers.

Unlike `s4_format.FrameReader` it reports a header before its content is there, so that content can be skipped or decoded as it comes.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum, auto
from typing import Literal, TypeAlias

from s4_format import (
    FRAME_HEADER_BYTES,
    PADDING_HEADER_BYTES,
    PADDING_MAGIC,
    FrameError,
    FrameHeader,
    parse_frame_header,
    parse_padding_header,
)
from s4_format import Reason as FormatReason

_MAGIC_BYTES = len(PADDING_MAGIC)


class Mark(Enum):
    """A token without content."""

    ITEM_END = auto()


@dataclass(frozen=True, slots=True)
class PaddingStart:
    """A padding item begins; `size` bytes of content follow."""

    size: int


Token: TypeAlias = FrameHeader | PaddingStart | memoryview | Literal[Mark.ITEM_END]
"""A header, then views of the item's content, then ITEM_END."""


class ItemScanner:
    """Feed bytes, iterate tokens.

    Args:
        offset: position in the body of the first byte fed; errors count from the body's start.
    """

    def __init__(self, *, offset: int = 0) -> None:
        self._item = offset
        self._next = offset
        self._header = bytearray()
        self._left = 0
        self._in_item = False

    @property
    def item_offset(self) -> int:
        """Position in the body of the item at hand: of its magic."""
        return self._item

    def feed(self, view: memoryview) -> Iterator[Token]:
        """Tokens of the next bytes; exhaust it before the next call.

        Raises:
            FrameError: a malformed header.
        """
        while view:
            if not self._in_item:
                header, used = self._read_header(view)
                view = view[used:]
                if header is None:
                    return
                yield header
            if self._left:
                content, view = view[: self._left], view[self._left :]
                self._left -= len(content)
                if content:
                    yield content
            if not self._left:
                self._in_item = False
                yield Mark.ITEM_END

    def close(self) -> None:
        """The body ended.

        Raises:
            FrameError: in the middle of an item.
        """
        if self._in_item:
            raise FrameError(f"{self._left} bytes of content are missing", FormatReason.PAYLOAD_TRUNCATED, offset=self._item)
        if self._header:
            raise FrameError(f"the body ends {len(self._header)} bytes into a header", FormatReason.HEADER_TRUNCATED, offset=self._next)

    def _read_header(self, view: memoryview) -> tuple[FrameHeader | PaddingStart | None, int]:
        """The next header, None while it is incomplete; and how many bytes of `view` were used for it."""
        held = len(self._header)
        head: bytearray | memoryview = view
        if held:
            self._header += view[: FRAME_HEADER_BYTES - held]
            head = self._header
        is_padding = bytes(head[:_MAGIC_BYTES]) == PADDING_MAGIC
        wanted = PADDING_HEADER_BYTES if is_padding else FRAME_HEADER_BYTES
        if len(head) < wanted:
            if not held:
                self._header += view
            return None, len(view)
        self._item = self._next
        header, content = self._parse_padding(head) if is_padding else self._parse_frame(head)
        self._header = bytearray()
        self._in_item, self._left = True, content
        self._next = self._item + wanted + content
        return header, wanted - held

    def _parse_frame(self, head: bytearray | memoryview) -> tuple[FrameHeader, int]:
        try:
            header = parse_frame_header(head)
        except FrameError as error:
            raise error.within(self._item) from None
        return header, header.payload_size

    def _parse_padding(self, head: bytearray | memoryview) -> tuple[PaddingStart, int]:
        size = parse_padding_header(head)
        return PaddingStart(size), size
