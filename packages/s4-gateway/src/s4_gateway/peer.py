"""The client at the other end of a request, as far as deeper layers may know it: whether it keeps up."""

from contextvars import ContextVar
from typing import Protocol


class Peer(Protocol):
    """A client that may be slow."""

    @property
    def moved_bytes(self) -> int:
        """Bytes that it sent and took so far, over all requests of its connection; grows only."""
        ...

    @property
    def due(self) -> bool:
        """The next move is its: the gateway would take bytes of the request's body, or has bytes of the answer that it does not take."""
        ...

    def dismiss(self) -> None:
        """End the exchange, with an error document where that is still possible."""
        ...


PEER: ContextVar[Peer | None] = ContextVar("peer", default=None)
"""Of the request that the current task works on; None where no connection is behind it."""
