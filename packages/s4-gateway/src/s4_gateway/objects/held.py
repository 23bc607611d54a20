"""A client's body, for which memory is reserved when its bytes come: who announces a large one and sends nothing holds nothing."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

from s4_gateway.backend.abc import Buffer
from s4_gateway.objects.budget import Lease
from s4_gateway.objects.core import Core
from s4_gateway.objects.intake import Source
from s4_gateway.objects.patience import Watch

UNRESERVED_BYTES = 64 * 1024
"""So much of a body is taken before memory is reserved; a connection reads ahead more than that anyway."""
SMALL_BYTES = 2 * UNRESERVED_BYTES
"""Most that a request may hold to have its memory from the share that is kept for small ones."""


class HeldBody:
    """A body that reserves `footprint` bytes once it has come as far as `UNRESERVED_BYTES`, or has ended. Use `held`."""

    def __init__(self, core: Core, body: Source, footprint: int) -> None:
        self._core = core
        self._body = body
        self._footprint = footprint
        self._lease: Lease | None = None
        self._watch: Watch | None = None

    @property
    def size(self) -> int | None:
        return self._body.size

    @property
    def sha256(self) -> str | None:
        return self._body.sha256

    @property
    def trailers(self) -> Mapping[str, str]:
        return self._body.trailers

    async def __aiter__(self) -> AsyncIterator[Buffer]:
        received = 0
        async for chunk in self._body:
            received += len(chunk)
            if self._lease is None and received > UNRESERVED_BYTES:
                await self._reserve()
            yield chunk
        if self._lease is None and received:
            await self._reserve()

    async def _reserve(self) -> None:
        core = self._core
        if self._footprint <= SMALL_BYTES:
            self._lease = core.small.take_now(self._footprint)
        if self._lease is None:
            # From here on, also while it waits: a client that stands still must not keep its place.
            self._watch = core.patience.watch(core.budget)
            self._lease = await core.budget.take(self._footprint)

    def release(self) -> None:
        """Give everything back."""
        if self._watch is not None:
            self._watch.end()
        if self._lease is not None:
            self._lease.release()


@asynccontextmanager
async def held(core: Core, body: Source, footprint: int) -> AsyncIterator[HeldBody]:
    """The body, and in the end its memory back.

    Args:
        core: whose memory.
        body: the client's.
        footprint: most bytes that the request will hold at once.
    """
    source = HeldBody(core, body, footprint)
    try:
        yield source
    finally:
        source.release()
