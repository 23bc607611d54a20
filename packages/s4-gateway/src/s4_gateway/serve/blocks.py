"""A long request body, read by the kernel straight into blocks as large as a frame.

The usual way costs a copy out of the event loop's own buffer for every read, and another where the reads are joined to a frame.
"""

import asyncio
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from s4_gateway.serve.connection import Connection

BLOCK_BYTES: Final = 512 * 1024
"""A frame of the default policy. Blocks begin at multiples of it in the body, so that a frame is one block and is never joined."""
FAST_READ_BYTES: Final = 32 * 1024
"""A client that has so much there at once fills blocks. For a slow one a block would be held for long, and for nothing."""
WORTHWHILE_BYTES: Final = 2 * BLOCK_BYTES
"""What must be left of a body."""
MOST_READERS: Final = 64
"""At the same time in one process: each holds one block that fills, beyond `Limits.read_ahead`."""


class BlockReader(asyncio.BufferedProtocol):
    """Stands in for the connection as its transport's protocol while a long body comes.

    Args:
        connection: told of full blocks, and of everything that is not data.
        received: bytes of the body that came before.
    """

    def __init__(self, connection: "Connection", received: int) -> None:
        self._connection = connection
        self._limit = BLOCK_BYTES - received % BLOCK_BYTES
        self._block: memoryview | None = None
        self._filled = 0

    def get_buffer(self, _sizehint: int) -> memoryview:
        """Where the next bytes go; never more room than the body still needs, for behind it comes the next request."""
        if self._block is None:
            self._limit = min(self._limit, self._connection.body_left or 0)
            # Made anew each time: codecs and digests look at a block long after the next one has begun.
            self._block = memoryview(bytearray(self._limit))
        return self._block[self._filled :]

    def buffer_updated(self, nbytes: int) -> None:
        """Bytes came."""
        self._filled += nbytes
        self._connection.block_grew(nbytes)
        if self._filled == self._limit:
            self._hand_over()

    def eof_received(self) -> bool:
        """The client ended its side, perhaps within a block."""
        self._hand_over()
        return self._connection.eof_received()

    def connection_lost(self, exc: Exception | None) -> None:
        self._block = None
        self._connection.connection_lost(exc)

    def pause_writing(self) -> None:
        self._connection.pause_writing()

    def resume_writing(self) -> None:
        self._connection.resume_writing()

    def _hand_over(self) -> None:
        block, filled = self._block, self._filled
        self._block, self._filled, self._limit = None, 0, BLOCK_BYTES
        if block is not None and filled:
            self._connection.block_ended(block[:filled])
