"""Removing what a run left that did not stop clean: files that it was to remove, and files that no body names."""

import logging
import sqlite3
from collections.abc import Callable
from pathlib import Path

from s4_gateway.backend.local.blobs import BlobFiles
from s4_gateway.backend.local.bodies import BodyKind
from s4_gateway.backend.local.peers import Peers
from s4_gateway.backend.local.schema import open_reader

_UNCLEAN = "SELECT id FROM epochs UNION SELECT epoch FROM removals ORDER BY 1"

_log = logging.getLogger(__name__)


class Sweep:
    """Clears the runs that have ended. Their files are never named anew, so what is unnamed now stays so.

    Runs beside the server. Each run is held meanwhile, so that no other process of this server sweeps it too. What fails or is not
    reached before the server stops is left to the next start.

    Args:
        directory: the store's directory.
        blobs: its files.
        peers: tells which runs live.
        own: the epoch of this run.
        forget: called with an epoch that has nothing left.
        is_stopping: whether to give up.
    """

    def __init__(
        self,
        directory: Path,
        blobs: BlobFiles,
        peers: Peers,
        *,
        own: int,
        forget: Callable[[int], None],
        is_stopping: Callable[[], bool],
    ) -> None:
        self._directory = directory
        self._blobs = blobs
        self._peers = peers
        self._own = own
        self._forget = forget
        self._is_stopping = is_stopping

    def run(self) -> None:
        """Sweep all; what fails is logged."""
        removed = 0
        try:
            connection = open_reader(self._directory)
            try:
                for (epoch,) in connection.execute(_UNCLEAN).fetchall():
                    if epoch != self._own and self._peers.begin_run(epoch):
                        try:
                            removed += self._sweep_run(connection, epoch)
                        finally:
                            self._peers.end_run(epoch)
            finally:
                connection.close()
        except (OSError, sqlite3.Error) as error:
            _log.error("sweeping the store failed and is left to the next start: %s", error)
        if removed:
            _log.info("removed %d files that an earlier run left behind", removed)

    def _sweep_run(self, connection: sqlite3.Connection, epoch: int) -> int:
        """The number of files removed."""
        listed = {body for (body,) in connection.execute("SELECT id FROM removals WHERE epoch = ?", (epoch,))}
        failed = self._blobs.remove(listed)
        groups = self._blobs.groups(epoch)
        unnamed: set[int] = set()
        for group in groups:
            if self._is_stopping():
                return len(listed) + len(unnamed)
            found = self._blobs.bodies_in(group)
            orphans = found - _named(connection, found) if found else found
            failed |= self._blobs.remove(orphans)
            unnamed |= orphans
        self._blobs.remove_empty(epoch, groups)
        if failed:
            _log.error("%d files could not be removed and are left to the next start", len(failed))
        else:
            self._blobs.sync_removals(listed | unnamed)
            self._forget(epoch)
        return len(listed) + len(unnamed) - len(failed)


def _named(connection: sqlite3.Connection, found: set[int]) -> set[int]:
    rows = connection.execute("SELECT id FROM bodies WHERE id BETWEEN ? AND ? AND kind = ?", (min(found), max(found), int(BodyKind.FILE)))
    return {body for (body,) in rows}
