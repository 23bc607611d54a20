"""Who holds memory and does not move: while nobody waits for it everybody has all the time there is, under pressure slow clients make room.

A body in flight holds its share of memory for as long as its client takes, so a few clients that stand still could hold everything.
"""

import asyncio

from s4_gateway.objects.budget import ByteBudget
from s4_gateway.peer import PEER, Peer

SLOW_BYTES_PER_SECOND = 16 * 1024
"""Below it a client is slow. Slower links exist, but a share of 2 to 32 MiB is too much to hold for them while others wait."""
WINDOW_SECONDS = 5.0
"""Time over which it is judged: long enough for a link that stutters, short against the 20 seconds that others wait."""
PRESSED_SECONDS = 0.5
"""For so long somebody has waited before anybody is judged."""
TICK_SECONDS = 0.25


class Watch:
    """One request that holds memory, or waits for it, and the pace of its client."""

    __slots__ = ("_marked_bytes", "_marked_time", "_patience", "_peer", "budgets")

    def __init__(self, patience: "Patience", peer: Peer, budgets: tuple[ByteBudget, ...], now: float) -> None:
        self._patience = patience
        self._peer = peer
        self._marked_bytes, self._marked_time = peer.moved_bytes, now
        self.budgets = budgets

    def judge(self, now: float) -> None:
        """Dismiss the client if it was too slow since it was last looked at, in a window in which it was its turn."""
        moved, seconds = self._peer.moved_bytes, now - self._marked_time
        if self._peer.due:
            if seconds < WINDOW_SECONDS:
                return
            if moved - self._marked_bytes < seconds * SLOW_BYTES_PER_SECOND:
                self._peer.dismiss()
        self._marked_bytes, self._marked_time = moved, now

    def end(self) -> None:
        """The request holds nothing any more; repeatable."""
        self._patience.forget(self)


class Patience:
    """Looks at the pace of clients while somebody waits for memory that they hold."""

    def __init__(self, *budgets: ByteBudget) -> None:
        self._budgets = budgets
        self._watches: set[Watch] = set()
        self._timer: asyncio.TimerHandle | None = None
        for budget in budgets:
            budget.on_wait = self._begin

    def watch(self, *budgets: ByteBudget) -> Watch | None:
        """Look at the current request's client from now on, whose memory comes from these budgets; None where there is no connection."""
        peer = PEER.get()
        if peer is None:
            return None
        watch = Watch(self, peer, budgets, asyncio.get_running_loop().time())
        self._watches.add(watch)
        return watch

    def forget(self, watch: Watch) -> None:
        """Look at it no more."""
        self._watches.discard(watch)

    def _begin(self) -> None:
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(TICK_SECONDS, self._tick)

    def _tick(self) -> None:
        self._timer = None
        now = asyncio.get_running_loop().time()
        since = {budget: budget.waited_since for budget in self._budgets}
        if all(moment is None for moment in since.values()):
            return
        pressed = {budget for budget, moment in since.items() if moment is not None and now - moment >= PRESSED_SECONDS}
        for watch in list(self._watches):
            if not pressed.isdisjoint(watch.budgets):
                watch.judge(now)
        self._begin()
