"""Commit points whose answer may be lost: the write token tells whether this write is at the key (data-paths.md section 2)."""

import secrets
import time
from collections.abc import Awaitable, Callable

from s4_format import FormatError, Manifest

from s4_gateway.backend.abc import Backend, BackendError, Outcome, StoredObject, Written
from s4_gateway.errors import S3Error

LOST_CODES = frozenset({"NoSuchUpload", "PreconditionFailed", "ConditionalRequestConflict"})
"""Refusals that may answer one's own earlier attempt. Not every attempt is one of ours: proxies send a PUT again, too, when a connection
breaks (nginx does at its defaults), and give the second answer.
"""


def new_token() -> str:
    """A random 128-bit write token, 32 lower-case hex digits."""
    return secrets.token_hex(16)


def told_time(written: Written) -> int:
    """A write's Last-Modified as far as its answer tells: at most a second off, and never in the future."""
    return max(written.earliest, min(written.latest, int(time.time())))


async def commit(
    backend: Backend,
    bucket: str,
    key: str,
    token: str,
    write: Awaitable[Written],
    *,
    find: Callable[[], Awaitable[StoredObject | None]] | None = None,
) -> Written:
    """Await a write that stamps `token`; resolve an unknown outcome by reading the key.

    `find` reads it where the token alone does not tell this write from others; None = definitely not there.

    Run it under `Core.to_the_end`: a write that is cut off has no outcome.

    Raises:
        BackendError: the write did not happen (outcome REFUSED), as the store said it.
        S3Error: ServiceUnavailable, or SlowDown, where the outcome stays unknown, also for a 412 that followed a lost attempt: that attempt
            may have held and been overwritten, and the client's retry gets the definite answer.
    """
    try:
        return await write
    except BackendError as error:
        lost = error.outcome is Outcome.UNKNOWN or (error.retried and error.code in LOST_CODES)
        if not lost and error.code not in LOST_CODES:
            raise
        found = await (find_own(backend, bucket, key, token) if find is None else find())
        if found is not None:
            return Written(found.etag, found.modified, found.modified, found.version_id)
        if not lost:
            raise
        if error.code == "SlowDown":
            raise S3Error("SlowDown") from error
        raise S3Error("ServiceUnavailable", "The storage backend's answer was lost and the write is not there; try again.") from error


async def find_own(backend: Backend, bucket: str, key: str, token: str) -> StoredObject | None:
    """The object at the key if it is the write with this token; None if it is definitely not.

    Raises:
        S3Error: ServiceUnavailable when the key cannot be read: a failure is not an absence.
    """
    try:
        found = await backend.head_object(bucket, key)
    except BackendError as error:
        if error.status == 404:
            return None
        raise S3Error("ServiceUnavailable", "The outcome of the write is unknown; try again.") from error
    try:
        return found if Manifest.from_metadata(found.metadata).write_token == token else None
    except FormatError:
        # Nothing of ours has metadata that cannot be read.
        return None
