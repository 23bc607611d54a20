"""Listings of logical objects: full pages, no reserved names, logical sizes without a HEAD per key (data-paths.md section 4)."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

from s4_format import RESERVED_LISTING_JUMPS, is_reserved

from s4_gateway.backend.abc import BackendError, ListEntry, ListPage, StoredObject
from s4_gateway.objects.attributes import Attributes
from s4_gateway.objects.core import Core
from s4_gateway.objects.face import FaceFinder, Moved
from s4_gateway.objects.together import together

PAGE = 1000
"""What the backend is always asked for: hidden names are refilled, not missed."""

LAST = "\U0010ffff"
"""Sorts behind every character: `prefix + LAST` is behind all keys of a common prefix."""


@dataclass(frozen=True, slots=True)
class LogicalEntry:
    """One key as clients see it."""

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

    def __init__(self, core: Core) -> None:
        self._core = core
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
            for name, entry in await names.more():
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
        rows = await self._resolve(bucket, entries)
        return LogicalPage(rows, prefixes, last if more else None)

    async def _resolve(self, bucket: str, entries: Sequence[ListEntry]) -> list[LogicalEntry]:
        known = await self._core.cache.get_many(bucket, entries)
        gate = asyncio.Semaphore(self._core.options.list_heads)

        async def face(entry: ListEntry) -> Attributes | None:
            async with gate:
                return await self._face(bucket, entry)

        unknown = [entry for entry in entries if entry.key not in known]
        found = await together(map(face, unknown))
        all_known = {**known, **{entry.key: attributes for entry, attributes in zip(unknown, found, strict=True) if attributes is not None}}
        return [
            LogicalEntry(entry.key, entry.modified, all_known[entry.key], entry.storage_class)
            for entry in entries
            if entry.key in all_known
        ]

    async def _face(self, bucket: str, entry: ListEntry) -> Attributes | None:
        """Attributes of one listed object; None if it was deleted since the listing."""
        try:
            if entry.metadata is not None:
                stored = StoredObject(entry.key, entry.size, entry.etag, entry.modified, metadata=entry.metadata)
                try:
                    return (await self._faces.find(bucket, stored)).attributes
                except (Moved, BackendError) as error:
                    if isinstance(error, BackendError) and error.status not in (404, 412):
                        raise
            stored = await self._core.backend.head_object(bucket, entry.key)
            attributes = (await self._faces.find(bucket, stored)).attributes
        except BackendError as error:
            if error.code in ("NoSuchKey", "NotFound"):
                return None
            raise
        # Where metadata alone told them nothing was remembered, and the next listing shows no metadata.
        self._core.cache.put_stored(bucket, stored, attributes)
        return attributes


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
        return [(name, entry) for name, entry in rows if name > self._after and not is_reserved(name)]


def _jump_behind(name: str) -> str | None:
    """Where to go on so that the rest of a reserved folder is passed over; None outside of one."""
    return next((target for folder, target in RESERVED_LISTING_JUMPS if name.startswith(folder) and name != folder), None)


def _merged(page: ListPage) -> list[tuple[str, ListEntry | None]]:
    """Keys and common prefixes of one page in one order: UTF-8 byte order is code point order, which is how `str` compares."""
    rows: list[tuple[str, ListEntry | None]] = [(entry.key, entry) for entry in page.entries]
    if page.prefixes:
        rows.extend((prefix, None) for prefix in page.prefixes)
        rows.sort(key=_name)
    return rows


def _name(row: tuple[str, ListEntry | None]) -> str:
    return row[0]
