"""The chunked transfer coding (RFC 9112 section 7.1), without IO: strict about line ends and sizes, bounded in everything it keeps."""

import re
from enum import Enum, auto

from s4_gateway.errors import S3Error

MAX_LINE_BYTES = 4096
"""A size line with its extensions, which are ignored."""
MAX_TRAILER_BYTES = 16 * 1024
"""All trailer lines together; they are dropped, as RFC 9110 6.5.1 allows. (aws-chunked trailers are inside the body.)"""

_SIZE = re.compile(rb"([0-9A-Fa-f]{1,15})[ \t]*(?:;[^\x00-\x08\x0a-\x1f\x7f]*)?")


class _Expects(Enum):
    SIZE = auto()
    DATA = auto()
    DATA_END = auto()
    TRAILER = auto()
    NOTHING = auto()


class ChunkedReader:
    """Feed it what came; it gives the data of the chunks.

    Attributes:
        done: the last chunk and its trailers have come.
        rest: what came behind them.
    """

    __slots__ = ("_expects", "_held", "_left", "_trailer_bytes", "done", "rest")

    def __init__(self) -> None:
        self._expects = _Expects.SIZE
        self._held = b""
        self._left = 0
        self._trailer_bytes = 0
        self.done = False
        self.rest = b""

    def feed(self, data: bytes) -> list[bytes]:
        """The body bytes in `data`, in pieces.

        Raises:
            S3Error: InvalidRequest with `close`: the framing is broken or a line is too long.
        """
        pieces: list[bytes] = []
        position = 0
        while position < len(data) and not self.done:
            if self._expects is _Expects.DATA:
                end = min(position + self._left, len(data))
                pieces.append(data[position:end])
                self._left -= end - position
                position = end
                if not self._left:
                    self._expects = _Expects.DATA_END
            else:
                position = self._line(data, position)
        if self.done:
            self.rest += data[position:]
        return pieces

    def _line(self, data: bytes, position: int) -> int:
        """Take the line that continues at `position`; the position behind it."""
        end = data.find(b"\n", position)
        stop = len(data) if end < 0 else end + 1
        if len(self._held) + stop - position > MAX_LINE_BYTES:
            raise _broken("a line is too long")
        self._held += data[position:stop]
        if end >= 0:
            line, self._held = self._held, b""
            if not line.endswith(b"\r\n") or b"\r" in line[:-2]:
                raise _broken("a line does not end with CRLF")
            self._ended(line[:-2])
        return stop

    def _ended(self, line: bytes) -> None:
        match self._expects:
            case _Expects.SIZE:
                size = _SIZE.fullmatch(line)
                if size is None:
                    raise _broken("a chunk has no size")
                self._left = int(size[1], 16)
                self._expects = _Expects.DATA if self._left else _Expects.TRAILER
            case _Expects.DATA_END:
                if line:
                    raise _broken("a chunk is longer than its size")
                self._expects = _Expects.SIZE
            case _:
                self._trailer_bytes += len(line) + 2
                if self._trailer_bytes > MAX_TRAILER_BYTES:
                    raise _broken("the trailers are too long")
                if not line:
                    self._expects = _Expects.NOTHING
                    self.done = True


def _broken(why: str) -> S3Error:
    return S3Error("InvalidRequest", f"The chunked transfer coding is broken: {why}.", close=True)
