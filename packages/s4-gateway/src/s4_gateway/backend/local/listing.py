"""One page of a listing by range reads of the primary key: what a common prefix rolls up is jumped over, never read."""

import json
import sqlite3
from dataclasses import dataclass, field

from s4_gateway.backend._rules import encoded, list_token, token_name
from s4_gateway.backend.abc import ListEntry, ListPage
from s4_gateway.backend.local.reads import behind, bucket_id

_RANGE = "SELECT key, size, etag, modified, metadata FROM objects WHERE bucket = ? AND key >= ? AND key < ? ORDER BY key LIMIT ?"
_FIRST_BATCH = 16
"""Rows of the first read behind a jump: beside a common prefix there is often another."""


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked of a listing; see `Backend.list_objects`."""

    prefix: str
    delimiter: str
    start_after: str
    token: str | None
    limit: int


@dataclass(slots=True)
class _Page:
    limit: int
    entries: list[ListEntry] = field(default_factory=list)
    prefixes: list[str] = field(default_factory=list)
    last: str = ""
    full: bool = False
    """Something is there that did not fit."""

    def room(self) -> bool:
        """Whether another name fits; if not, the page is full."""
        self.full = len(self.entries) + len(self.prefixes) >= self.limit
        return not self.full

    def add(self, row: tuple[bytes, int, str, int, str]) -> None:
        key, size, etag, modified, metadata = row
        self.last = key.decode()
        self.entries.append(ListEntry(self.last, size, etag, modified, metadata=json.loads(metadata)))

    def add_prefix(self, name: bytes) -> None:
        self.last = name.decode()
        self.prefixes.append(self.last)


def list_page(connection: sqlite3.Connection, bucket: str, question: Question) -> ListPage:
    """The page."""
    found = bucket_id(connection, bucket)
    prefix, delimiter = encoded(question.prefix), encoded(question.delimiter)
    after = encoded(question.start_after if question.token is None else token_name(question.token))
    if question.limit <= 0:
        return ListPage((), (), None)
    page = _Page(question.limit)
    start: bytes | None = _start(after, prefix, delimiter)
    stop = behind(prefix)
    batch = _FIRST_BATCH if delimiter else question.limit + 1
    while start is not None:
        batch = min(batch, question.limit + 1)
        rows = connection.execute(_RANGE, (found, start, stop, batch)).fetchall()
        start = _take(rows, page, prefix, delimiter)
        if start is None and len(rows) == batch and not page.full:
            start, batch = rows[-1][0] + b"\x00", batch * 4
        elif start is not None:
            batch = _FIRST_BATCH
    return ListPage(page.entries, page.prefixes, list_token(page.last) if page.full else None)


def _take(rows: list[tuple[bytes, int, str, int, str]], page: _Page, prefix: bytes, delimiter: bytes) -> bytes | None:
    """Add rows to the page, up to the first common prefix; where to go on behind that, None at the end of the rows or the page."""
    for row in rows:
        if not page.room():
            return None
        rolled = _rolled(row[0], prefix, delimiter)
        if rolled is not None:
            page.add_prefix(rolled)
            return behind(rolled)
        page.add(row)
    return None


def _start(after: bytes, prefix: bytes, delimiter: bytes) -> bytes:
    """The least key that may be shown: behind `after`, and behind all that shares a common prefix with it."""
    if not after or after < prefix:
        return prefix
    if after.startswith(prefix):
        rolled = _rolled(after, prefix, delimiter)
        if rolled is not None:
            return behind(rolled)
    return after + b"\x00"


def _rolled(key: bytes, prefix: bytes, delimiter: bytes) -> bytes | None:
    """The common prefix that stands for the key, if one does."""
    cut = key.find(delimiter, len(prefix)) if delimiter else -1
    return None if cut < 0 else key[: cut + len(delimiter)]
