"""Accepts the connections of a port that several workers listen on, so that each of them gets its share.

All of them are woken for a new connection, and the kernel would give it to whoever comes first: 32 connections of one client, opened at
once, all to the same worker, where they stay. So a worker that has more than another one leaves it to that one for a moment.
"""

import asyncio
import errno
import logging
import socket
from collections.abc import Callable

from s4_gateway.observe.board import Place

PATIENCE_SECONDS = 0.005
"""How long a connection is left to those who have fewer: a few requests' work, in case they are busy."""
EXHAUSTED = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})
EXHAUSTED_SECONDS = 1.0

_log = logging.getLogger(__name__)


class Acceptor:
    """Accepts one connection at a time.

    Args:
        listening: shared with the other workers; closed here.
        make: the protocol of a connection.
        place: of this worker among the others.
    """

    def __init__(self, listening: socket.socket, make: Callable[[], asyncio.Protocol], place: Place) -> None:
        self._listening = listening
        self._make = make
        self._place = place
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None
        self._waited = False
        self._coming: set[asyncio.Task[None]] = set()
        self._loop.add_reader(listening, self._knock)

    async def settle(self) -> None:
        """Until everybody who was accepted is a connection."""
        if self._coming:
            await asyncio.wait(self._coming)

    def close(self) -> None:
        """Accept nobody any more; repeatable."""
        if self._timer is not None:
            self._timer.cancel()
        if self._listening.fileno() >= 0:
            self._loop.remove_reader(self._listening)
            self._listening.close()

    def _knock(self) -> None:
        """Somebody wants to connect, unless another worker was faster."""
        if not self._waited and self._others_have_fewer():
            self._pause(PATIENCE_SECONDS)
            return
        self._waited = False
        try:
            connected, _ = self._listening.accept()
        except OSError as error:
            if error.errno in EXHAUSTED:
                _log.error("connections cannot be accepted: %s", error.strerror)
                self._pause(EXHAUSTED_SECONDS)
            # Otherwise it went away, or to another worker.
            return
        connected.setblocking(False)
        task = self._loop.create_task(self._welcome(connected))
        self._coming.add(task)
        task.add_done_callback(self._coming.discard)

    async def _welcome(self, connected: socket.socket) -> None:
        try:
            await self._loop.connect_accepted_socket(self._make, connected)
        except OSError:
            connected.close()

    def _others_have_fewer(self) -> bool:
        mine = self._place.seat.connections + len(self._coming)
        seats = self._place.board.seats
        return any(seats[number].serving and seats[number].connections < mine for number in self._place.others())

    def _pause(self, seconds: float) -> None:
        self._loop.remove_reader(self._listening)
        self._timer = self._loop.call_later(seconds, self._resume)

    def _resume(self) -> None:
        self._waited = True
        self._loop.add_reader(self._listening, self._knock)
