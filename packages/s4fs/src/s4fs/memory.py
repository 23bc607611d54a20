"""What is remembered of objects: the last ones used, up to a bound."""

import threading
from collections import OrderedDict
from collections.abc import Hashable
from typing import Generic, TypeVar

from s4_format import Buffer

from s4fs.stored import StoredObject

V = TypeVar("V")

Version = tuple[str, str | None, int]
"""Path, ETag and length of one stored body: what decoded bytes are remembered under."""


def version_of(stored: StoredObject) -> Version:
    """The version that an answer is about."""
    return stored.path, stored.etag, stored.size


class Lru(Generic[V]):
    """The values used last, by path and a key within it. Safe for threads: users forget from theirs what the event loop remembers.

    Args:
        limit: sum of the weights that are kept.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._weight = 0
        self._values: OrderedDict[tuple[str, Hashable], tuple[V, int]] = OrderedDict()
        self._lock = threading.RLock()

    @property
    def limit(self) -> int:
        """Sum of the weights that are kept at most."""
        return self._limit

    def get(self, path: str, key: Hashable = None) -> V | None:
        """The value, which counts as used now."""
        with self._lock:
            found = self._values.get((path, key))
            if found is None:
                return None
            self._values.move_to_end((path, key))
            return found[0]

    def put(self, path: str, key: Hashable, value: V, *, weight: int) -> None:
        """Keep a value, at the cost of those used longest ago; one heavier than the limit is not kept."""
        with self._lock:
            self.drop(path, key)
            if weight > self._limit:
                return
            self._values[path, key] = value, weight
            self._weight += weight
            while self._weight > self._limit:
                _, (_, dropped) = self._values.popitem(last=False)
                self._weight -= dropped

    def drop(self, path: str, key: Hashable = None) -> None:
        """Forget one value."""
        with self._lock:
            found = self._values.pop((path, key), None)
            if found is not None:
                self._weight -= found[1]

    def drop_path(self, path: str) -> None:
        """Forget all values of a path, and of what lies below it."""
        below = path.rstrip("/") + "/"
        with self._lock:
            for found, key in [place for place in self._values if place[0] == path or place[0].startswith(below)]:
                self.drop(found, key)

    def clear(self) -> None:
        """Forget everything."""
        with self._lock:
            self._values.clear()
            self._weight = 0


class FrameCache:
    """Decoded frames of all objects, in bytes. Frames of a replaced object are never found again, and fall out in time."""

    def __init__(self, limit: int) -> None:
        self._frames: Lru[Buffer] = Lru(limit)

    @property
    def limit(self) -> int:
        """Bytes that are kept at most."""
        return self._frames.limit

    def get(self, stored: StoredObject, number: int) -> Buffer | None:
        """The plaintext of one frame of this version."""
        return self._frames.get(stored.path, (version_of(stored), number))

    def put(self, stored: StoredObject, number: int, data: Buffer) -> None:
        """Keep the plaintext of a frame; a view of something larger is copied, so that its weight is its size."""
        kept = bytes(data) if isinstance(data, memoryview) else data
        self._frames.put(stored.path, (version_of(stored), number), kept, weight=len(kept))

    def drop_path(self, path: str) -> None:
        """Forget what is at a path and below it."""
        self._frames.drop_path(path)

    def clear(self) -> None:
        """Forget everything."""
        self._frames.clear()
