"""Listings of logical objects: full pages, no reserved names, logical sizes without a HEAD per key (data-paths.md section 4)."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from s4_format import DICTIONARY_PREFIX, MULTIPART_PREFIX, RESERVED_LISTING_JUMPS, SIDECAR_SUFFIX, VERSION_MARK, is_reserved

from s4_gateway.backend.abc import BackendError, ListEntry, ListPage, StoredObject
from s4_gateway.errors import S3Error
from s4_gateway.objects.attributes import Attributes
from s4_gateway.objects.core import Core
from s4_gateway.objects.face import FaceFinder, Moved, Wanted
from s4_gateway.objects.reader import MOVED, Reader
from s4_gateway.objects.together import together

FOLDERS = (MULTIPART_PREFIX, DICTIONARY_PREFIX)
PAGE = 1000
"""What the backend is always asked for: hidden names are refilled, not missed."""

LAST = "\U0010ffff"
"""Sorts behind every character: `prefix + LAST` is behind all keys of a common prefix."""

SHOWN = Wanted(checksums=True)
"""Listings tell which checksums an object has."""


class LogicalEntry(NamedTuple):
    """One key as clients see it. A tuple, because a page makes a thousand of them."""

    key: str
    modified: int
    attributes: Attributes
    storage_class: str | None


@dataclass(frozen=True, slots=True)
class LogicalPage:
    """One page, entries and prefixes each in UTF-8 byte order."""

    entries: Sequence[LogicalEntry]
    prefixes: Sequence[str]
    last: str | None
    """Where the next page goes on (the greatest name returned); None = nothing follows."""


class Lister:
    """Lists logical objects."""

    def __init__(self, core: Core, reader: Reader) -> None:
        self._core = core
        self._reader = reader
        self._faces = FaceFinder(core)

    async def page(self, bucket: str, *, prefix: str, delimiter: str, after: str, limit: int) -> LogicalPage:
        """At most `limit` (1 to 1,000) names behind `after` (exclusive).

        Raises:
            BackendError: the listing failed, or the attributes of a listed object could not be read.
        """
        entries: list[ListEntry] = []
        prefixes: list[str] = []
        last, more = after, False
        names = _Names(self._core, bucket, prefix=prefix, delimiter=delimiter, after=after)
        while not (names.ended or more):
            rows = await names.more()
            empty = await self._without_visible_keys(bucket, [name for name, entry in rows if entry is None])
            for name, entry in rows:
                if name in empty:
                    continue
                if len(entries) + len(prefixes) >= limit:
                    more = True
                    break
                if entry is None:
                    prefixes.append(name)
                else:
                    entries.append(entry)
                last = name
            # The backend has more, so the page is not the last; whether all of it is hidden is not worth a request.
            more = more or (len(entries) + len(prefixes) >= limit and not names.ended)
        rows_shown = await self._resolve(bucket, entries)
        return LogicalPage(rows_shown, prefixes, last if more else None)

    async def _without_visible_keys(self, bucket: str, prefixes: Sequence[str]) -> set[str]:
        """Those common prefixes below which only reserved names lie. With the usual delimiter none needs a look."""
        gate = asyncio.Semaphore(self._core.options.list_heads)
        doubtful = [prefix for prefix in prefixes if _may_hide_all(prefix)]

        async def is_empty(prefix: str) -> bool:
            async with gate:
                names = _Names(self._core, bucket, prefix=prefix, delimiter="", after="")
                while not names.ended:
                    if await names.more():
                        return False
                return True

        return {prefix for prefix, empty in zip(doubtful, await together(map(is_empty, doubtful)), strict=True) if empty}

    async def _resolve(self, bucket: str, entries: Sequence[ListEntry]) -> list[LogicalEntry]:
        known = await self._core.cache.get_many(bucket, entries)
        unknown = [entry for entry in entries if entry.key not in known] if len(known) < len(entries) else ()
        looked = await self._look_up(bucket, unknown) if unknown else {}
        shown: list[LogicalEntry] = []
        for entry in entries:
            key = entry.key
            attributes = known.get(key)
            if attributes is not None:
                shown.append(LogicalEntry(key, entry.modified, attributes, entry.storage_class))
            elif key in looked:
                shown.append(looked[key])
        return shown

    async def _look_up(self, bucket: str, entries: Sequence[ListEntry]) -> dict[str, LogicalEntry]:
        """What is to be shown of listed objects of which nothing is known, by key."""
        gate = asyncio.Semaphore(self._core.options.list_heads)

        async def look(entry: ListEntry) -> LogicalEntry | None:
            async with gate:
                return await self._look(bucket, entry)

        return {row.key: row for row in await together(map(look, entries)) if row is not None}

    async def _look(self, bucket: str, entry: ListEntry) -> LogicalEntry | None:
        """One listed object of which nothing is known, as it is now; None if it was deleted since.

        Raises:
            BackendError: it could not be read: a failure is not an absence.
            S3Error: InternalError: it is damaged; the message names it.
        """
        try:
            if entry.metadata is not None:
                listed = StoredObject(entry.key, entry.size, entry.etag, entry.modified, metadata=entry.metadata)
                try:
                    face = await self._faces.find(bucket, listed, wanted=SHOWN, listed=True)
                    return LogicalEntry(entry.key, entry.modified, face.attributes, entry.storage_class)
                except (Moved, BackendError) as error:
                    if isinstance(error, BackendError) and error.status not in (404, *MOVED):
                        raise
            face = await self._reader.head(bucket, entry.key, wanted=SHOWN)
            return LogicalEntry(entry.key, face.stored.modified, face.attributes, face.stored.storage_class)
        except BackendError as error:
            if error.code == "NoSuchKey":
                return None
            raise
        except S3Error as error:
            raise S3Error(error.code, f"{entry.key!r} cannot be listed: {error.message}", status=error.status) from error


class _Names:
    """Visible names in order, a backend page at a time."""

    def __init__(self, core: Core, bucket: str, *, prefix: str, delimiter: str, after: str) -> None:
        self._core = core
        self._bucket = bucket
        self._prefix = prefix
        self._delimiter = delimiter
        self._after = after
        self._token: str | None = None
        # Behind a common prefix the listing goes on behind all of its keys.
        inside = delimiter and after.startswith(prefix) and after[len(prefix) :].endswith(delimiter)
        self._start = after + LAST if inside else after
        self.ended = False

    async def more(self) -> list[tuple[str, ListEntry | None]]:
        """The next page's visible names, each with its entry, or None for a common prefix."""
        page = await self._core.backend.list_objects(
            self._bucket, prefix=self._prefix, delimiter=self._delimiter, start_after=self._start, token=self._token, limit=PAGE
        )
        rows = _merged(page)
        self._token = page.token
        self.ended = page.token is None
        jump = _jump_behind(rows[-1][0]) if rows else None
        if jump is not None:
            self._token, self._start = None, jump
        # A common prefix met again behind its own last key is dropped here.
        after = self._after
        return [row for row in rows if row[0] > after and not (is_reserved(row[0]) if row[1] is not None else _hides_all(row[0]))]


def _hides_all(prefix: str) -> bool:
    """Whether every key below a common prefix is hidden by its beginning."""
    return prefix.startswith(FOLDERS) or VERSION_MARK in prefix


def _may_hide_all(prefix: str) -> bool:
    """Whether a common prefix may stand for reserved names alone, although others could lie below it: delimiters can be anything."""
    if any(folder.startswith(prefix) for folder in FOLDERS):
        return True
    return any(prefix.endswith(mark[:end]) for mark in (SIDECAR_SUFFIX, VERSION_MARK) for end in range(1, len(mark) + 1))


def _jump_behind(name: str) -> str | None:
    """Where to go on so that the rest of a reserved folder is passed over; None outside of one."""
    # Never backwards: somebody else may have put names there that sort behind the target.
    return next((target for folder, target in RESERVED_LISTING_JUMPS if name.startswith(folder) and folder != name < target), None)


def _merged(page: ListPage) -> list[tuple[str, ListEntry | None]]:
    """Keys and common prefixes of one page in one order: UTF-8 byte order is code point order, which is how `str` compares."""
    rows: list[tuple[str, ListEntry | None]] = [(entry.key, entry) for entry in page.entries]
    if page.prefixes:
        rows.extend((prefix, None) for prefix in page.prefixes)
        rows.sort(key=_name)
    return rows


def _name(row: tuple[str, ListEntry | None]) -> str:
    return row[0]
