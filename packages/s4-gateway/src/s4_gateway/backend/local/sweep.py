"""Removing what a crash left: files that no body names, in the epochs that did not stop clean."""

import logging
import sqlite3
from collections.abc import Callable, Iterable
from pathlib import Path

from s4_gateway.backend.local.blobs import BlobFiles
from s4_gateway.backend.local.bodies import BodyKind
from s4_gateway.backend.local.schema import open_reader

_log = logging.getLogger(__name__)


def sweep(directory: Path, blobs: BlobFiles, epochs: Iterable[int], *, is_stopping: Callable[[], bool]) -> None:
    """Clear the epochs, all older than this run: their files are never named anew, so what is unnamed now stays so.

    Runs beside the server. What fails or is not reached before it stops is left to the next start.
    """
    removed = 0
    try:
        connection = open_reader(directory)
        try:
            for epoch in epochs:
                groups = blobs.groups(epoch)
                for group in groups:
                    if is_stopping():
                        blobs.leftovers = True
                        return
                    removed += _sweep_group(connection, blobs, group)
                blobs.remove_empty(epoch, groups)
        finally:
            connection.close()
    except (OSError, sqlite3.Error) as error:
        blobs.leftovers = True
        _log.error("sweeping the store failed and is left to the next start: %s", error)
    if removed:
        _log.info("removed %d files that an earlier run left behind", removed)


def _sweep_group(connection: sqlite3.Connection, blobs: BlobFiles, group: str) -> int:
    found = blobs.bodies_in(group)
    orphans = found - _named(connection, found) if found else found
    blobs.remove(orphans)
    return len(orphans)


def _named(connection: sqlite3.Connection, found: set[int]) -> set[int]:
    rows = connection.execute("SELECT id FROM bodies WHERE id BETWEEN ? AND ? AND kind = ?", (min(found), max(found), int(BodyKind.FILE)))
    return {body for (body,) in rows}
