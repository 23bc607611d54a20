"""Pages of ListObjectsV2.

Stores write them in one regular shape: no comments, no attributes but the root's namespace, no white space between elements. What has that
shape to the last byte is cut by patterns, a page of 1,000 keys in a quarter of the time that an XML parser and its tree take; every other
document goes to the parser, which alone decides what is malformed.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from s4_gateway.backend.abc import ListEntry, ListPage
from s4_gateway.backend.s3.headers import unquoted, unusable
from s4_gateway.backend.s3.xml import count, parse, percent_decoded, required, timestamp

_ROOT: Final = "ListBucketResult"

# No markup, no line ends (a parser turns carriage returns into line feeds) and nothing that XML 1.0 forbids.
_PLAIN = r"[^<>&\x00-\x1f\ud800-\udfff\ufffe\uffff]*"
_TEXT = r"[^<>\x00-\x1f\ud800-\udfff\ufffe\uffff]*"
"""As `_PLAIN`, with references, which `_resolved` looks at."""

_BEGIN = re.compile(
    r'(?:<\?xml version="1\.0"(?: encoding="(?:UTF|utf)-8")?\?>)?[ \t\r\n]*'
    rf'<{_ROOT}(?: xmlns="http://s3\.amazonaws\.com/doc/2006-03-01/")?>'
)
_END = re.compile(rf"</{_ROOT}>[ \t\r\n]*")
_FIELD = re.compile(rf"<([A-Za-z]+)>({_TEXT})</\1>|<([A-Za-z]+)/>")
_PREFIX = re.compile(rf"<CommonPrefixes><Prefix>({_TEXT})</Prefix></CommonPrefixes>")
_OWNER = re.compile(rf"<Owner>(?:<ID>{_PLAIN}</ID>|<DisplayName>{_PLAIN}</DisplayName>)*</Owner>")
_REFERENCE = re.compile(r"&(?:(amp|lt|gt|quot|apos)|#([0-9]{1,7})|#x([0-9A-Fa-f]{1,6}));|&")
_NAMED: Mapping[str, str] = {"amp": "&", "lt": "<", "gt": ">", "quot": '"', "apos": "'"}

_WANTED: Mapping[str, str] = {
    "Key": f"({_TEXT})",
    "LastModified": r"([0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}):([0-5][0-9])(?:\.[0-9]+)?Z",
    "ETag": rf"(?:&quot;|&#34;)({_PLAIN})(?:&quot;|&#34;)",
    "Size": "([0-9]{1,19})",
    "StorageClass": f"({_PLAIN})",
}
_GROUPS: Mapping[str, int] = {"LastModified": 2}
_ABSENT = "((?!))?"
"""A group that never takes part: the value of an element that is not there is None."""
_LISTS = frozenset({"Contents", "CommonPrefixes"})


class _Irregular(Exception):
    """The document is not in the regular shape; whether it is one at all is the parser's to say."""


@dataclass(frozen=True, slots=True)
class _Shape:
    """The sequence of elements in a list entry."""

    pattern: re.Pattern[str]
    groups: tuple[int, ...]
    """Of key, minute, second, ETag, size, storage class."""


def list_page(body: bytes) -> ListPage:
    """A page of ListObjectsV2. Names are percent-decoded where the store says that it encoded them, `+` being a space.

    Raises:
        BackendError: something is missing, or the page is cut and tells no way on.
    """
    try:
        return _regular_page(body.decode())
    except (_Irregular, UnicodeDecodeError):
        return parsed_page(body)


def parsed_page(body: bytes) -> ListPage:
    """As `list_page`, for every shape that XML allows.

    Raises:
        BackendError: see there.
    """
    root = parse(body, _ROOT)
    url_encoded = root.text("EncodingType") == "url"
    try:
        entries = [
            ListEntry(
                percent_decoded(item["Key"]) if url_encoded else item["Key"],
                count(item["Size"]),
                unquoted(item["ETag"]),
                timestamp(item["LastModified"]),
                item.get("StorageClass"),
            )
            for item in root.texts("Contents")
        ]
    except KeyError as error:
        raise unusable(f"a list entry without {error}") from error
    names = [required(item, "Prefix") for item in root.all("CommonPrefixes")]
    prefixes = list(map(percent_decoded, names)) if url_encoded else names
    return ListPage(entries, prefixes, _way_on(root.text("IsTruncated"), root.text("NextContinuationToken")))


def _way_on(truncated: str | None, token: str | None) -> str | None:
    if truncated != "true":
        return None
    if not token:
        raise unusable("a list page is truncated but has no continuation token")
    return token


def _regular_page(text: str) -> ListPage:
    """A page in the regular shape.

    Raises:
        _Irregular: it is not in it.
        BackendError: it is, and its content is unusable.
    """
    begin = _BEGIN.match(text)
    if begin is None:
        raise _Irregular
    at = begin.end()
    fields: dict[str, str] = {}
    prefixes: list[str] = []
    entries: list[ListEntry] = []
    while _END.fullmatch(text, at) is None:
        if text.startswith("<Contents>", at):
            at = _read_entries(text, at, entries)
        elif (prefix := _PREFIX.match(text, at)) is not None:
            prefixes.append(_resolved(prefix[1]))
            at = prefix.end()
        elif (field := _FIELD.match(text, at)) is not None and (field[1] or field[3]) not in _LISTS:
            fields.setdefault(field[1] or field[3], _resolved(field[2] or ""))
            at = field.end()
        else:
            raise _Irregular
    if fields.get("EncodingType") == "url":
        prefixes = list(map(percent_decoded, prefixes))
        entries = [entry._replace(key=percent_decoded(entry.key)) if "%" in entry.key or "+" in entry.key else entry for entry in entries]
    return ListPage(entries, prefixes, _way_on(fields.get("IsTruncated"), fields.get("NextContinuationToken")))


def _read_entries(text: str, at: int, entries: list[ListEntry]) -> int:
    """Append the entries that lie side by side from `at` on; returns where they end."""
    while text.startswith("<Contents>", at):
        shape = _shape(_elements(text, at))
        match, groups = shape.pattern.match, shape.groups
        found = match(text, at)
        if found is None:
            raise _Irregular
        # Nearly always all entries of a page have the shape of the first.
        while found is not None:
            key, minute, second, etag, size, storage_class = found.group(*groups)
            modified = _minute(minute) + int(second)
            entries.append(ListEntry(_resolved(key) if "&" in key else key, int(size), etag, modified, storage_class))
            at = found.end()
            found = match(text, at)
    return at


def _elements(text: str, at: int) -> tuple[str, ...]:
    """Names of the children of the entry that begins at `at`."""
    names: list[str] = []
    at += len("<Contents>")
    while not text.startswith("</Contents>", at):
        child = _OWNER.match(text, at) or _FIELD.match(text, at)
        if child is None:
            raise _Irregular
        names.append("Owner" if child.re is _OWNER else child[1] or "")
        at = child.end()
    return tuple(names)


@lru_cache(maxsize=64)
def _shape(names: tuple[str, ...]) -> _Shape:
    """The pattern of entries with these children.

    Raises:
        _Irregular: one that is wanted is missing or there twice, or one is empty.
    """
    if any(names.count(name) != 1 for name in ("Key", "LastModified", "ETag", "Size")) or names.count("StorageClass") > 1 or "" in names:
        raise _Irregular
    pieces: list[str] = []
    groups: dict[str, int] = {}
    group = 1
    for name in names:
        if name in _WANTED:
            groups[name] = group
            group += _GROUPS.get(name, 1)
            pieces.append(f"<{name}>{_WANTED[name]}</{name}>")
        elif name == "Owner":
            pieces.append(_OWNER.pattern)
        else:
            pieces.append(f"<{name}>{_PLAIN}</{name}>")
    pattern = re.compile(f"<Contents>{''.join(pieces)}</Contents>{_ABSENT}")
    minute = groups["LastModified"]
    return _Shape(pattern, (groups["Key"], minute, minute + 1, groups["ETag"], groups["Size"], groups.get("StorageClass", group)))


@lru_cache(maxsize=4096)
def _minute(minute: str) -> int:
    """Seconds since the epoch of an ISO 8601 time without seconds, UTC.

    Raises:
        BackendError: there is no such time.
    """
    return timestamp(f"{minute}:00Z")


def _resolved(text: str) -> str:
    """Text with its references replaced.

    Raises:
        _Irregular: one is unknown, or stands for what XML 1.0 cannot hold.
    """
    return _REFERENCE.sub(_character, text) if "&" in text else text


def _character(match: re.Match[str]) -> str:
    name, decimal, hexadecimal = match.groups()
    if name is not None:
        return _NAMED[name]
    number = int(decimal) if decimal else int(hexadecimal, 16) if hexadecimal else 0
    if number < 0x20 or 0xD800 <= number < 0xE000 or number in (0xFFFE, 0xFFFF) or number > 0x10FFFF:
        raise _Irregular
    return chr(number)
