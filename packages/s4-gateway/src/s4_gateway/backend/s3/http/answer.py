"""One answer: its head, and its body as it comes."""

import asyncio
from collections import deque
from collections.abc import Mapping
from typing import TYPE_CHECKING

from s4_gateway.backend.s3.errors import AttemptError, unanswered

if TYPE_CHECKING:
    from s4_gateway.backend.s3.http.connection import Connection

READ_AHEAD = 512 * 1024
"""Received bytes held per connection before the store is told to wait."""


class Answer:
    """Status and headers of an answer, and its body. Read it to the end or `close` it: until then it holds a connection.

    Attributes:
        status: HTTP status, 200 to 999.
        headers: lower-case names, latin-1 values.
    """

    __slots__ = ("_connection", "_ended", "_error", "_held", "_pieces", "_waiter", "headers", "status")

    def __init__(self, connection: "Connection", status: int, headers: Mapping[str, str]) -> None:
        self.status = status
        self.headers = headers
        self._connection = connection
        self._pieces: deque[bytes] = deque()
        self._held = 0
        self._ended = False
        self._error: AttemptError | None = None
        self._waiter: asyncio.Future[None] | None = None

    # For the reader.

    def whole(self) -> bytes | None:
        """The body, if all of it has come; None otherwise. Ask before the first `piece`; it is not taken away."""
        if not self._ended or self._error is not None:
            return None
        if len(self._pieces) > 1:
            self._pieces = deque((b"".join(self._pieces),))
        return self._pieces[0] if self._pieces else b""

    async def piece(self) -> bytes:
        """The next bytes of the body; empty at its end, and only if it came to the end that its head told.

        Raises:
            AttemptError: it ended early or stood still.
        """
        while not self._pieces:
            if self._error is not None:
                raise self._error
            if self._ended:
                return b""
            self._waiter = asyncio.get_running_loop().create_future()
            try:
                await self._waiter
            finally:
                self._waiter = None
        piece = self._pieces.popleft()
        self._held -= len(piece)
        if self._held < READ_AHEAD // 2 and not self._ended:
            self._connection.resume_reading()
        return piece

    async def read(self, limit: int) -> bytes:
        """The whole body.

        Args:
            limit: most bytes.

        Raises:
            AttemptError: it ended early, stood still or is longer.
        """
        pieces: list[bytes] = []
        size = 0
        while piece := await self.piece():
            size += len(piece)
            if size > limit:
                raise unanswered(f"the storage backend sends a document of more than {limit} bytes", sent=True)
            pieces.append(piece)
        return b"".join(pieces)

    def close(self) -> None:
        """Give the connection up, unless the answer came to its end; repeatable."""
        if not self._ended:
            self._connection.abort()

    # For the connection.

    def feed(self, data: bytes) -> None:
        """Body bytes came."""
        self._pieces.append(data)
        self._held += len(data)
        if self._held >= READ_AHEAD:
            self._connection.pause_reading()
        self._wake()

    def end(self, error: AttemptError | None = None) -> None:
        """No more will come: all did, or `error` says why not."""
        if not self._ended:
            self._ended = True
            self._error = error
            self._wake()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)
