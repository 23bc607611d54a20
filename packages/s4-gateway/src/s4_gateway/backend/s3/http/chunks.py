"""The chunked transfer coding of answers (RFC 9112 section 7.1), read by httptools."""

import httptools

from s4_gateway.backend.s3.errors import unanswered

_HEAD = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"


class ChunkedBody:
    """Feed it what came behind the head; it gives the data of the chunks.

    Attributes:
        done: the last chunk and its trailers have come.
        excess: more came than that.
    """

    __slots__ = ("_parser", "_pieces", "done", "excess")

    def __init__(self) -> None:
        self.done = False
        self.excess = False
        self._pieces: list[bytes] = []
        # The parser wants a whole message; ours begins behind the head.
        self._parser = httptools.HttpResponseParser(self)
        self._parser.feed_data(_HEAD)

    def feed(self, data: bytes) -> list[bytes]:
        """The body bytes in `data`, in pieces.

        Raises:
            AttemptError: the framing is broken.
        """
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError as error:
            if not self.done:
                raise unanswered(f"the storage backend's chunks are broken ({error})", sent=True) from error
            self.excess = True
        pieces, self._pieces = self._pieces, []
        return pieces

    # httptools' callbacks.

    def on_message_begin(self) -> None:
        self.excess = self.done

    def on_body(self, body: bytes) -> None:
        if not self.done:
            self._pieces.append(body)

    def on_message_complete(self) -> None:
        self.done = True
