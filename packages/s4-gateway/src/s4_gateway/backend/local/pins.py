"""Which lists of segments are being read: a list that nothing refers to any more is purged only when its last reader has left."""

import threading
from collections import Counter
from collections.abc import Callable, Iterable


class Pins:
    """Counts readers of lists; called from any thread.

    Args:
        purge: called with a list that was dropped and has no reader left.
    """

    def __init__(self, purge: Callable[[int], None]) -> None:
        self._purge = purge
        self._lock = threading.Lock()
        self._readers: Counter[int] = Counter()
        self._waiting: set[int] = set()

    def pin(self, body: int) -> None:
        """Hold the list. It may just have been dropped: look for it again afterwards, and only then read."""
        with self._lock:
            self._readers[body] += 1

    def unpin(self, body: int) -> None:
        """Let go."""
        with self._lock:
            self._readers[body] -= 1
            if self._readers[body]:
                return
            del self._readers[body]
            if body not in self._waiting:
                return
            self._waiting.remove(body)
        self._purge(body)

    def drop(self, bodies: Iterable[int]) -> None:
        """The transaction that put these lists into the trash is committed."""
        for body in bodies:
            with self._lock:
                if body in self._readers:
                    self._waiting.add(body)
                    continue
            self._purge(body)
