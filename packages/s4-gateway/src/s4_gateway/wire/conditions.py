"""Preconditions of reads (RFC 9110, section 13) and of writes (the part of them that S3 has). ETags of objects are unquoted."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

from s4_gateway.errors import NotModified, S3Error
from s4_gateway.wire.dates import parse_http_date

_TAG = re.compile(r'(W/)?"([^"]*)"|([^\s,"]+)')


@dataclass(frozen=True, slots=True)
class _Tags:
    """The value of If-Match or If-None-Match."""

    any: bool
    strong: frozenset[str]
    weak: frozenset[str]

    @classmethod
    def parse(cls, value: str | None) -> Self | None:
        """A list of ETags or `*`. As in S3, an ETag may lack its quotes. None = the header is absent."""
        if value is None:
            return None
        if value.strip() == "*":
            return cls(any=True, strong=frozenset(), weak=frozenset())
        strong: set[str] = set()
        weak: set[str] = set()
        for match in _TAG.finditer(value):
            (weak if match[1] else strong).add(match[3] if match[2] is None else match[2])
        return cls(any=False, strong=frozenset(strong), weak=frozenset(weak))

    def match_strongly(self, etag: str | None) -> bool:
        return self.any or etag in self.strong

    def match_weakly(self, etag: str | None) -> bool:
        return self.any or etag in self.strong or etag in self.weak


def _date(value: str | None) -> int | None:
    """A date that cannot be read makes its condition void (RFC 9110, sections 13.1.3 and 13.1.4)."""
    return None if value is None else parse_http_date(value)


@dataclass(frozen=True, slots=True)
class ReadConditions:
    """What a GET, a HEAD or the source of a copy must fulfil."""

    if_match: _Tags | None = None
    if_none_match: _Tags | None = None
    if_modified_since: int | None = None
    if_unmodified_since: int | None = None

    @classmethod
    def from_headers(cls, headers: Mapping[str, str], prefix: str = "") -> "ReadConditions":
        """From lower-case headers; without any it is `UNCONDITIONAL`. `prefix` is `x-amz-copy-source-` for the source of a copy."""
        if not prefix and headers.keys().isdisjoint(_OF_READS):
            return UNCONDITIONAL
        return cls(
            if_match=_Tags.parse(headers.get(f"{prefix}if-match")),
            if_none_match=_Tags.parse(headers.get(f"{prefix}if-none-match")),
            if_modified_since=_date(headers.get(f"{prefix}if-modified-since")),
            if_unmodified_since=_date(headers.get(f"{prefix}if-unmodified-since")),
        )

    def check(self, etag: str | None, modified: int, *, headers_304: Mapping[str, str] | None = None, copy: bool = False) -> None:
        """Evaluate in the order of RFC 9110, section 13.2.2; an ETag condition puts the date condition beside it out of force.

        Args:
            etag: the object's, unquoted; None = it has no validator, so only `*` matches.
            modified: its Last-Modified.
            headers_304: what a 304 carries (ETag, Last-Modified, Cache-Control, ...).
            copy: the object is a copy's source, where S3 answers 412 instead of 304.

        Raises:
            S3Error: PreconditionFailed.
            NotModified: the client's copy is current.
        """
        if self.if_match is not None:
            if not self.if_match.match_strongly(etag):
                raise _failed("If-Match", copy=copy)
        elif self.if_unmodified_since is not None and modified > self.if_unmodified_since:
            raise _failed("If-Unmodified-Since", copy=copy)
        if self.if_none_match is not None:
            unchanged, condition = self.if_none_match.match_weakly(etag), "If-None-Match"
        else:
            unchanged = self.if_modified_since is not None and modified <= self.if_modified_since
            condition = "If-Modified-Since"
        if unchanged:
            if copy:
                raise _failed(condition, copy=True)
            raise NotModified(headers_304 or {})


_OF_READS = ("if-match", "if-none-match", "if-modified-since", "if-unmodified-since")
UNCONDITIONAL = ReadConditions()
"""Nothing to fulfil."""


def _failed(condition: str, *, copy: bool) -> S3Error:
    return S3Error("PreconditionFailed", fields={"Condition": f"x-amz-copy-source-{condition}" if copy else condition})


def if_range_matches(value: str | None, etag: str | None, modified: int) -> bool:
    """Whether Range counts: If-Range is absent, or names exactly this object (RFC 9110, section 13.1.5)."""
    if value is None:
        return True
    text = value.strip()
    date = parse_http_date(text)
    if date is not None:
        return date == modified
    tags = _Tags.parse(text)
    return tags is not None and not tags.any and tags.match_strongly(etag)


@dataclass(frozen=True, slots=True)
class WriteConditions:
    """What PutObject, CopyObject and CompleteMultipartUpload demand of the object at their key. At most one is set."""

    if_match: str | None = None
    """Logical ETag it must have, unquoted; `*` = any object."""
    if_absent: bool = False
    """There must be none."""

    @classmethod
    def from_headers(cls, headers: Mapping[str, str]) -> Self:
        """S3 knows `If-None-Match: *` and `If-Match` with one ETag.

        Raises:
            S3Error: NotImplemented for every other condition (it cannot be left out without writing what should not be written),
                InvalidArgument for an empty one.
        """
        if_match, if_none_match = headers.get("if-match"), headers.get("if-none-match")
        if headers.get("if-unmodified-since") is not None:
            raise _unsupported("If-Unmodified-Since")
        if if_none_match is not None:
            if if_match is not None or if_none_match.strip() != "*":
                raise _unsupported("If-None-Match")
            return cls(if_absent=True)
        if if_match is None:
            return cls()
        tags = _Tags.parse(if_match)
        if tags is None or tags.any:
            return cls(if_match="*")
        if tags.weak or len(tags.strong) > 1:
            raise _unsupported("If-Match")
        for etag in tags.strong:
            if etag:
                return cls(if_match=etag)
        raise S3Error("InvalidArgument", "If-Match names no ETag.", fields={"ArgumentName": "If-Match", "ArgumentValue": if_match})


def _unsupported(header: str) -> S3Error:
    return S3Error("NotImplemented", "A header you provided implies functionality that is not implemented.", fields={"Header": header})
