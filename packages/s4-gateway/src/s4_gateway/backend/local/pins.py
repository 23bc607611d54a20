"""Which lists of segments are being read: a list that nothing refers to any more is purged only when its last reader has left."""

import threading
from collections import Counter
from collections.abc import Callable, Iterable

from s4_gateway.backend.local.peers import Peers


class Pins:
    """Counts readers of lists; called from any thread.

    Readers in this process are counted here, those of other processes hold the list as `peers` tells.

    Args:
        purge: called with a list that was dropped and has no reader left.
        peers: the processes of this server.
    """

    def __init__(self, purge: Callable[[int], None], peers: Peers) -> None:
        self._purge = purge
        self._peers = peers
        self._lock = threading.Lock()
        self._readers: Counter[int] = Counter()
        self._waiting: set[int] = set()
        """Dropped, and read in this process."""
        self._held_elsewhere: set[int] = set()
        """Dropped, and read in another process, which does not tell when it ends: asked again by `retry`."""

    @property
    def must_retry(self) -> bool:
        """Whether `retry` has something to do."""
        return bool(self._held_elsewhere)

    def pin(self, body: int) -> None:
        """Hold the list. It may just have been dropped: look for it again afterwards, and only then read. Raises OSError."""
        with self._lock:
            if not self._readers[body]:
                self._peers.hold(body)
            self._readers[body] += 1

    def unpin(self, body: int) -> None:
        """Let go."""
        with self._lock:
            self._readers[body] -= 1
            if self._readers[body]:
                return
            del self._readers[body]
            self._peers.let_go(body)
            if body not in self._waiting:
                return
            self._waiting.remove(body)
        self.drop([body])

    def drop(self, bodies: Iterable[int]) -> None:
        """The transaction that put these lists into the trash is committed."""
        for body in bodies:
            with self._lock:
                if body in self._readers:
                    self._waiting.add(body)
                    continue
                if self._peers.is_held(body):
                    self._held_elsewhere.add(body)
                    continue
            self._purge(body)

    def retry(self) -> None:
        """Ask again for the lists that other processes were reading."""
        with self._lock:
            bodies, self._held_elsewhere = self._held_elsewhere, set()
        self.drop(bodies)
