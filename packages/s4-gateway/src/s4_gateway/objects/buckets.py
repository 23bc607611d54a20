"""What is known of buckets: versioning and lock, asked once a minute."""

import time

from s4_gateway.backend.abc import BucketState
from s4_gateway.objects.core import Core

TTL = 60.0
"""Seconds that an answer counts: versioning is switched rarely, and every delete asks."""
MOST = 10_000


class BucketStates:
    """Cached `head_bucket`."""

    def __init__(self, core: Core) -> None:
        self._core = core
        self._known: dict[str, tuple[float, BucketState]] = {}

    async def get(self, bucket: str) -> BucketState:
        """The bucket's state, at most a minute old.

        Raises:
            BackendError: NoSuchBucket, or the backend did not answer.
        """
        now = time.monotonic()
        known = self._known.get(bucket)
        if known is not None and now - known[0] < TTL:
            return known[1]
        state = await self._core.backend.head_bucket(bucket)
        if len(self._known) >= MOST:
            self._known.clear()
        self._known[bucket] = (now, state)
        return state

    def forget(self, bucket: str) -> None:
        """Ask again next time."""
        self._known.pop(bucket, None)
