"""/metrics of several workers: whoever is asked lets the others publish their figures and shows the sum.

Counting itself costs nothing more than in a single process. Whatever was shown once lies on the board, so that the sum never goes
backwards, even if a worker is killed: its successor counts on from there.
"""

import asyncio
import contextlib
import logging
import struct

from s4_gateway.observe.exposition import render
from s4_gateway.observe.metrics import Metrics
from s4_gateway.observe.snapshot import Snapshot, summed
from s4_gateway.observe.switchboard import Switchboard

ANSWER_SECONDS = 0.5
"""A worker that does not publish in this time counts with what it published before."""
PUBLISH_SECONDS = 1.0
"""How often a worker publishes unasked: what it counted since is lost if it is killed."""

ASK, DONE = b"?", b"!"
"""Messages: publish; I did. Both with the asker's round."""
_ROUND = struct.Struct("=I")

_log = logging.getLogger(__name__)


class Census:
    """One worker's side of it. All methods are called on the event loop.

    Args:
        metrics: counted nothing yet: they go on from where the seat's former worker had come.
        switchboard: to the others.
    """

    def __init__(self, metrics: Metrics, switchboard: Switchboard) -> None:
        self._metrics = metrics
        self._switchboard = switchboard
        self._place = place = switchboard.place
        switchboard.listen(ASK, self._asked)
        switchboard.listen(DONE, self._done)
        self._lock = asyncio.Lock()
        self._round = 0
        self._missing: set[int] = set()
        self._complete = asyncio.Event()
        self._publisher: asyncio.Task[None] | None = None
        packed = place.seat.published()
        if packed is not None:
            metrics.carry_on(Snapshot.unpack(packed))

    async def start(self) -> None:
        """Publish from now on."""
        self._publisher = asyncio.get_running_loop().create_task(self._publish_on())

    async def close(self) -> None:
        """Publish a last time; repeatable."""
        publisher, self._publisher = self._publisher, None
        if publisher is None:
            return
        publisher.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await publisher
        self._publish()

    async def render(self) -> bytes:
        """The figures of all workers as one text."""
        async with self._lock:
            await self._ask()
        board = self._place.board
        living: list[Snapshot] = [self._publish()]
        gone: list[Snapshot] = []
        for number in self._place.others():
            seat = board.seats[number]
            packed = seat.published()
            if packed is not None:
                (living if seat.serving else gone).append(Snapshot.unpack(packed))
        total = summed(living, gone)
        total.counters["s4_gateway_worker_restarts"][()] = float(board.restarts)
        return render(total)

    async def _ask(self) -> None:
        """Let all others publish, and wait for them."""
        self._round = (self._round + 1) % 2**32
        self._complete.clear()
        payload, seats = _ROUND.pack(self._round), self._place.board.seats
        self._missing = {
            number for number in self._place.others() if seats[number].serving and self._switchboard.tell(number, ASK, payload)
        }
        if not self._missing:
            return
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                await self._complete.wait()
        except TimeoutError:
            _log.info("workers %s did not tell their figures in time", sorted(self._missing))

    def _asked(self, sender: int, payload: bytes) -> None:
        self._publish()
        self._switchboard.tell(sender, DONE, payload)

    def _done(self, sender: int, payload: bytes) -> None:
        if payload == _ROUND.pack(self._round):
            self._missing.discard(sender)
            if not self._missing:
                self._complete.set()

    def _publish(self) -> Snapshot:
        snapshot = self._metrics.snapshot()
        if not self._place.seat.publish(snapshot.pack()):
            _log.warning("the figures of this worker are too long to be told")
        return snapshot

    async def _publish_on(self) -> None:
        while True:
            await asyncio.sleep(PUBLISH_SECONDS)
            self._publish()
