"""The thread that removes files: of bodies that a committed transaction dropped, and of bodies that found no transaction.

The transaction that drops a file lists it in the table `removals`. It is taken from that list only when its removal is on the disk; that
may wait, because what is still listed after a crash is simply removed again.
"""

import logging
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

from s4_gateway.backend.local.blobs import BlobFiles

SETTLED_TOGETHER = 256
"""Removals that share the sync of their directories, and the transaction that forgets them."""

_log = logging.getLogger(__name__)


class Janitor:
    """Methods may be called from any thread.

    Args:
        blobs: the files.
        forget: called, on the janitor's thread, with bodies that can be taken from the list.
    """

    def __init__(self, blobs: BlobFiles, forget: Callable[[Sequence[int]], None]) -> None:
        self._blobs = blobs
        self._forget = forget
        self._pool = ThreadPoolExecutor(1, "s4-store-janitor")
        self._removed: list[int] = []

    def run(self, work: Callable[[], None]) -> None:
        """Do `work` on the thread."""
        with suppress(RuntimeError):  # Shut down: the next start finds it in the database.
            self._pool.submit(work)

    def remove(self, bodies: Sequence[int]) -> None:
        """Remove files that are listed in `removals`."""
        self.run(lambda: self._remove(bodies))

    def discard(self, body: int) -> None:
        """Remove a file that no transaction knows."""
        self.run(lambda: self._blobs.discard([body]))

    def close(self) -> Sequence[int]:
        """Finish what was begun; the bodies that can be taken from the list. Blocks."""
        self._pool.shutdown(wait=True)
        return self._settled()

    def _remove(self, bodies: Sequence[int]) -> None:
        failed = self._blobs.remove(bodies)
        self._removed += [body for body in bodies if body not in failed]
        if len(self._removed) >= SETTLED_TOGETHER and (settled := self._settled()):
            self._forget(settled)

    def _settled(self) -> Sequence[int]:
        """What was removed, once that is on the disk; nothing where that fails, so that the next start removes it again."""
        removed, self._removed = self._removed, []
        try:
            self._blobs.sync_removals(removed)
        except OSError as error:
            _log.error("the removal of %d files is left to the next start: %s", len(removed), error)
            return ()
        return removed
