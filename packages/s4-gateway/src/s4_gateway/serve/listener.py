"""What all connections of one server share: their limits, their number, and the clock that closes those that stand still."""

import asyncio
from enum import Enum, auto
from typing import TYPE_CHECKING, Literal

from s4_gateway.observe import Metrics
from s4_gateway.observe.board import Seat
from s4_gateway.serve.limits import Limits

if TYPE_CHECKING:
    from s4_gateway.serve.connection import Connection

NEWCOMER_SECONDS = 1.0
"""A connection that never asked anything for so long may be closed for another one."""
MIN_REFUSED, REFUSED_SHARE = 16, 8
"""Refused connections that may wait for the end of their answer: this many, or this share of the cap."""

Reason = Literal["cap", "head", "idle", "protocol", "drain", "slow"]


class Admission(Enum):
    """What becomes of a new connection."""

    WELCOME = auto()
    REFUSED = auto()
    """The cap is reached and no other connection is idle: it gets an answer that says so."""
    FLOODED = auto()
    """So many are being refused that not even an answer is affordable."""


class Listener:
    """Counts connections, and looks at each of them once a tick: cheaper than a timer for every byte that moves.

    Args:
        limits: of connections.
        metrics: told how many there are.
        seat: told too, where other workers have to know; None = there are none.
    """

    def __init__(self, limits: Limits, metrics: Metrics, *, seat: Seat | None = None) -> None:
        self.limits = limits
        self._seat = seat
        self._connections: set[Connection] = set()
        self._refused: set[Connection] = set()
        self._metrics = metrics
        self._timer: asyncio.TimerHandle | None = None
        self.block_readers = 0
        """Connections that read a long body into blocks just now."""

    def admit(self, connection: "Connection") -> Admission:
        """Judge a new connection. At the cap the one that is idle for longest makes room."""
        if len(self._connections) >= self.limits.connections and not self._make_room():
            if len(self._refused) >= max(MIN_REFUSED, self.limits.connections // REFUSED_SHARE):
                return Admission.FLOODED
            self._refused.add(connection)
            admission = Admission.REFUSED
        else:
            self._connections.add(connection)
            self._tell()
            admission = Admission.WELCOME
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(self.limits.tick, self._tick)
        return admission

    def closed(self, connection: "Connection") -> None:
        """Forget a connection."""
        self._refused.discard(connection)
        self._connections.discard(connection)
        self._tell()

    def count(self, reason: Reason) -> None:
        """A connection is closed by us."""
        self._metrics.connection_closed(reason)

    def _tell(self) -> None:
        self._metrics.connections = len(self._connections)
        if self._seat is not None:
            self._seat.connections = len(self._connections)

    def _make_room(self) -> bool:
        now = asyncio.get_running_loop().time()
        idle = [one for one in self._connections if one.idle and (one.served or now - one.waiting_since > NEWCOMER_SECONDS)]
        if not idle:
            return False
        longest = min(idle, key=lambda one: one.waiting_since)
        longest.close_idle()
        # Gone as far as the count is concerned: its transport closes behind the bytes that it still has to send.
        self._connections.discard(longest)
        self._refused.add(longest)
        return True

    def _tick(self) -> None:
        self._timer = None
        loop = asyncio.get_running_loop()
        now = loop.time()
        for connection in [*self._connections, *self._refused]:
            connection.check(now)
        if self._connections or self._refused:
            self._timer = loop.call_later(self.limits.tick, self._tick)
