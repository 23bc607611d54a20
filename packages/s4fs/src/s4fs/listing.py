"""Rows of listings: logical sizes and ETags, asked for only where they are wanted, and then of many objects at once."""

import asyncio
from collections.abc import Iterable
from typing import Any

from s4_format import quote_etag

from s4fs.face import Face, FaceFinder
from s4fs.names import is_hidden
from s4fs.reader import Reader
from s4fs.targets import Entry, Target

Row = dict[str, Any]


def directory_row(name: str, details: dict[str, Any] | None = None) -> Row:
    """A directory as listings show it."""
    return {**(details or {}), "name": name, "size": 0, "type": "directory"}


def row_of(face: Face, *, keeps_metadata: bool) -> Row:
    """An object as listings show it: size, ETag and time as users see it, and what is stored for it."""
    stored = face.stored
    row: Row = {**stored.details, "name": stored.path, "size": face.size, "type": "file"}
    if (face.etag is not None and keeps_metadata) or (face.manifest.is_s4 and face.etag is not None):
        row["ETag"] = quote_etag(face.etag)
    if stored.modified is not None:
        row["LastModified"] = stored.modified
    row["s4_size_exact"] = True
    row["s4_stored_size"] = stored.size
    row["s4_codec"] = face.manifest.codec_label
    return row


class Lister:
    """Lists logical objects of one target.

    Args:
        target: where they lie.
        finder: what is remembered of them.
        reader: asks about the others.
        at_once: how many of them at once.
    """

    def __init__(self, target: Target, finder: FaceFinder, reader: Reader, *, at_once: int) -> None:
        self._target = target
        self._finder = finder
        self._reader = reader
        self._at_once = at_once

    async def children(self, path: str) -> list[Entry]:
        """What is visible directly below a directory.

        Raises:
            FileNotFoundError, OSError
        """
        return sorted((entry for entry in await self._target.children(path) if not is_hidden(entry.name)), key=_name)

    async def descendants(self, path: str, prefix: str) -> list[Entry]:
        """All visible objects below a directory whose names go on with `prefix`; placeholders of folders are none."""
        entries = await self._target.descendants(path, prefix=prefix)
        return sorted((entry for entry in entries if not is_hidden(entry.name) and not entry.name.endswith("/")), key=_name)

    async def rows(self, entries: Iterable[Entry], *, sizes: bool) -> list[Row]:
        """The entries as rows; objects that were deleted meanwhile are left out.

        Args:
            entries: from a listing.
            sizes: whether logical sizes are wanted, which cost a request for each object that nothing is known of.

        Raises:
            OSError: an object could not be asked about, or is damaged: a failure is not an absence.
        """
        gate = asyncio.Semaphore(self._at_once)

        async def row(entry: Entry) -> Row | None:
            if entry.stored is None:
                return directory_row(entry.name, dict(entry.details))
            if not sizes:
                return {**entry.details, "name": entry.name, "size": None, "type": "file"}
            face = self._finder.remembered(entry.name)
            if face is None or not face.stored.is_same(entry.stored):
                async with gate:
                    try:
                        face = await self._reader.head(entry.name)
                    except (FileNotFoundError, IsADirectoryError):
                        return None
            return {**entry.details, **row_of(face, keeps_metadata=self._target.keeps_metadata)}

        tasks = [asyncio.create_task(row(entry)) for entry in entries]
        try:
            return [found for found in await asyncio.gather(*tasks) if found is not None]
        finally:
            for task in tasks:
                task.cancel()


def _name(entry: Entry) -> str:
    return entry.name
