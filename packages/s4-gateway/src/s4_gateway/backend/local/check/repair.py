"""Mending what is provable: counts of references, bodies and files that nothing refers to, and what a run left to do."""

import sqlite3
from collections.abc import Iterable
from contextlib import closing
from pathlib import Path

from s4_gateway.backend.local.blobs import BlobFiles
from s4_gateway.backend.local.check.census import Census
from s4_gateway.backend.local.schema import open_writer
from s4_gateway.backend.local.transaction import Transaction

_NO_EPOCH = 0
"""Files that are listed for removal here are removed at once."""


def repair(directory: Path, blobs: BlobFiles, orphan_files: Iterable[int]) -> None:
    """Put the rows right in one transaction, then remove what no row names.

    Args:
        directory: of a store that no server uses.
        blobs: its files.
        orphan_files: bodies that have a file and no row.

    Raises:
        BackendError, sqlite3.Error, OSError: nothing is worse than before; a second try goes on.
    """
    with closing(open_writer(directory)) as connection:
        connection.execute("BEGIN IMMEDIATE")
        connection.execute("DELETE FROM parts WHERE upload NOT IN (SELECT id FROM uploads)")
        _correct_counts(connection)
        transaction = Transaction(connection, float, epoch=_NO_EPOCH)
        for (dropped,) in connection.execute("SELECT id FROM trash").fetchall():
            while transaction.purge(dropped):
                pass
        connection.execute("COMMIT")
        removals = {body for (body,) in connection.execute("SELECT id FROM removals")} | set(orphan_files)
        if failed := blobs.remove(removals):
            raise OSError(f"{len(failed)} files could not be removed")
        blobs.sync_removals(removals)
        connection.execute("BEGIN IMMEDIATE")
        connection.execute("DELETE FROM removals")
        connection.execute("DELETE FROM epochs")
        connection.execute("COMMIT")


def _correct_counts(connection: sqlite3.Connection) -> None:
    """Set every count, and put what nothing refers to where dropped bodies go. A list that goes takes references along: once more then."""
    while True:
        census = Census.take(connection)
        assert census.complete
        unreferenced = [row for row in census.bodies.values() if not census.holders[row.body]]
        for row in census.bodies.values():
            if census.holders[row.body] not in (0, row.references):
                connection.execute("UPDATE bodies SET refs = ? WHERE id = ?", (census.holders[row.body], row.body))
        for row in unreferenced:
            if row.body in census.files:
                connection.execute("INSERT OR REPLACE INTO removals (id, epoch) VALUES (?, ?)", (row.body, _NO_EPOCH))
            connection.execute("DELETE FROM bodies WHERE id = ?", (row.body,))
        if not unreferenced:
            return
