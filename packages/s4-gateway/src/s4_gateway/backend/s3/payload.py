"""Request bodies for aiohttp: sent piece by piece, never joined, with a limit on how long the store may not read."""

import asyncio
from collections.abc import Iterator

from aiohttp.abc import AbstractStreamWriter
from aiohttp.payload import Payload as AiohttpPayload

from s4_gateway.backend._rules import exact_pieces
from s4_gateway.backend.abc import Buffer, Payload

JOIN_LIMIT = 64 * 1024
"""Bodies up to here go out in one write together with the head: copying costs less than a second system call and packet."""

SLICE = 256 * 1024
"""Most bytes handed to the transport between two looks at whether the store keeps up."""


class BodyPayload(AiohttpPayload):
    """A backend payload as aiohttp wants it.

    Args:
        payload: the body.
        stall: seconds in which the store must take a slice.
        narrow: the header text is latin-1 and its bytes must go out unchanged (see `headers.for_aiohttp`).

    Attributes:
        broken: what the payload raised, or IncompleteBody where it holds more or fewer bytes than it says.
    """

    def __init__(self, payload: Payload, *, stall: float, narrow: bool) -> None:
        super().__init__(payload)
        self._size = payload.size
        self._body = payload
        self._stall = stall
        self._narrow = narrow
        self.broken: Exception | None = None

    def decode(self, encoding: str = "utf-8", errors: str = "strict") -> str:
        """Required by the base class; used by aiohttp only to show digests of text bodies."""
        return b"".join(self._body).decode(encoding, errors)

    async def write(self, writer: AbstractStreamWriter) -> None:
        """Send everything.

        Raises:
            TimeoutError: the store took nothing for `stall` seconds.
            Exception: the one in `broken`.
        """
        if self._narrow:
            narrow_head(writer)
        if self._body.size <= JOIN_LIMIT:
            await writer.write(b"".join(self._pieces()))
            return
        # Without this aiohttp copies head and first piece together.
        writer.send_headers()
        for piece in self._pieces():
            await self._send(writer, piece)

    def _pieces(self) -> Iterator[Buffer]:
        try:
            yield from exact_pieces(self._body)
        except Exception as error:
            self.broken = error
            raise

    async def write_with_length(self, writer: AbstractStreamWriter, content_length: int | None) -> None:
        """As `write`; Content-Length is always the payload's own size."""
        await self.write(writer)

    async def _send(self, writer: AbstractStreamWriter, piece: Buffer) -> None:
        view = memoryview(piece)
        for start in range(0, len(view), SLICE):
            async with asyncio.timeout(self._stall):
                await writer.write(view[start : start + SLICE])
                await writer.drain()


def narrow_head(writer: AbstractStreamWriter) -> None:
    """Turn the head that aiohttp holds back, UTF-8 of latin-1 text, into the bytes that the text stands for.

    aiohttp has no way to send header bytes that are not UTF-8, and drops unpaired surrogates silently. A test keeps this in step with it.
    """
    head: bytes = writer._headers_buf  # type: ignore[attr-defined]  # noqa: SLF001
    writer._headers_buf = head.decode("utf-8").encode("latin-1")  # type: ignore[attr-defined]  # noqa: SLF001
