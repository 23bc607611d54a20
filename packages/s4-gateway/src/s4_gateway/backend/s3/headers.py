"""HTTP headers of S3 both ways. Every value is `str` holding wire bytes as latin-1."""

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_tz
from functools import lru_cache

from s4_gateway.backend.abc import SYSTEM_HEADERS, BackendError, Outcome, StoredObject

META_PREFIX = "x-amz-meta-"

_FORBIDDEN = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")
# What an answer says about itself rather than about the object, or what has a field of its own.
_NOT_EXTRA = frozenset(
    {"x-amz-id-2", "x-amz-request-id", "x-amz-version-id", "x-amz-storage-class", "x-amz-bucket-region", "x-amz-delete-marker"}
)
_DIGITS = re.compile(r"[0-9]{1,19}")


def stored_headers(headers: Mapping[str, str], metadata: Mapping[str, str]) -> dict[str, str]:
    """The request headers that store `headers` and `metadata` with an object.

    Raises:
        BackendError: InvalidArgument for a control character, which no HTTP message can carry.
    """
    wire = dict(headers)
    for name, value in metadata.items():
        wire[META_PREFIX + name] = value
    for name, value in wire.items():
        if _FORBIDDEN.search(value) or _FORBIDDEN.search(name):
            raise BackendError("InvalidArgument", 400, f"header {name!r} holds a control character")
    return wire


@lru_cache(maxsize=1024)
def http_date(value: str) -> int | None:
    """Seconds since the epoch of an HTTP date (RFC 9110 5.6.7); None if it is none."""
    try:
        parts = parsedate_tz(value)
        return None if parts is None else int(datetime(*parts[:6], tzinfo=UTC).timestamp()) - (parts[9] or 0)
    except (ValueError, OverflowError, IndexError):
        return None


def unquoted(etag: str) -> str:
    """An entity tag without its quotes."""
    return etag[1:-1] if len(etag) > 1 and etag[0] == etag[-1] == '"' else etag


def number(headers: Mapping[str, str], name: str) -> int | None:
    """A header that is a decimal number; None where it is missing or something else."""
    value = headers.get(name, "")
    return int(value) if _DIGITS.fullmatch(value) else None


def unusable(what: str) -> BackendError:
    """The error for an answer that cannot be one of an S3 store."""
    return BackendError("InternalError", 500, f"unusable answer of the storage backend: {what}", outcome=Outcome.UNKNOWN)


@lru_cache(maxsize=4096)
def _kind(name: str) -> tuple[int, str]:
    """(0 = about the answer, 1 = stored header, 2 = user metadata, 3 = other header about the object; the name it has there)."""
    if name in SYSTEM_HEADERS:
        return 1, name
    if name.startswith(META_PREFIX):
        return 2, name[len(META_PREFIX) :]
    return (3, name) if name.startswith("x-amz-") and name not in _NOT_EXTRA else (0, name)


def stored_object(key: str, headers: Mapping[str, str], *, size: int) -> StoredObject:
    """The object that an answer to HEAD or GET describes.

    Raises:
        BackendError: ETag or Last-Modified is missing.
    """
    modified = http_date(headers.get("last-modified", ""))
    etag = unquoted(headers.get("etag", ""))
    if modified is None or not etag:
        raise unusable("no Last-Modified or no ETag")
    # By kind, so that each known name is looked at once in the life of the process.
    kinds: tuple[dict[str, str], dict[str, str], dict[str, str], dict[str, str]] = ({}, {}, {}, {})
    for name, value in headers.items():
        kind, stored_name = _kind(name)
        kinds[kind][stored_name] = value
    _, system, metadata, extra = kinds
    return StoredObject(
        key=key,
        size=size,
        etag=etag,
        modified=modified,
        headers=system,
        metadata=metadata,
        version_id=headers.get("x-amz-version-id"),
        storage_class=headers.get("x-amz-storage-class"),
        extra=extra,
    )
