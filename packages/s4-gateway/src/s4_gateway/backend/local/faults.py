"""What the disk or SQLite says when something is wrong, as StoreError: one table each, and the rest by its own words."""

import errno
import sqlite3

from s4_gateway.backend.abc import Outcome, StoreError

_DISK = {
    errno.ENOSPC: "the disk is full",
    errno.EDQUOT: "the disk quota is used up",
    errno.EROFS: "the file system is read-only",
    errno.EACCES: "the permission is missing",
    errno.EPERM: "the permission is missing",
    errno.EIO: "the disk reports an I/O error",
    errno.EMFILE: "too many files are open; raise the limit of open files",
    errno.ENFILE: "too many files are open on this machine",
}

_DATABASE = {
    sqlite3.SQLITE_FULL: "the disk is full",
    sqlite3.SQLITE_READONLY: "the database is read-only",
    sqlite3.SQLITE_IOERR: "the disk reports an I/O error",
    sqlite3.SQLITE_CANTOPEN: "the database cannot be opened",
    sqlite3.SQLITE_BUSY: "the database is locked by another program",
    sqlite3.SQLITE_PERM: "the permission is missing",
}
_DAMAGE = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)
_PRIMARY = 0xFF
"""The low byte of an extended SQLite code is the primary one."""


def unavailable(message: str, *, outcome: Outcome = Outcome.REFUSED) -> StoreError:
    """The store cannot serve this now; nothing that was acknowledged is lost."""
    return StoreError("ServiceUnavailable", 503, message, outcome=outcome)


def damaged(message: str) -> StoreError:
    """What was stored is not there as it was; repeating the request does not help."""
    return StoreError("InternalError", 500, message)


def disk_error(error: OSError, doing: str) -> StoreError:
    """A failed system call; `doing` says what it was for, e.g. "storing a body"."""
    reason = _DISK.get(error.errno or 0) or error.strerror or str(error)
    return unavailable(f"{doing}: {reason}")


def database_error(error: sqlite3.Error, doing: str, *, outcome: Outcome = Outcome.REFUSED) -> StoreError:
    """A failed SQLite call."""
    code = primary_code(error)
    if code in _DAMAGE:
        return damaged(f"{doing}: the database is damaged ({error})")
    return unavailable(f"{doing}: {_DATABASE.get(code, str(error))}", outcome=outcome)


def primary_code(error: sqlite3.Error) -> int:
    """SQLite's primary result code, 0 where the error is not SQLite's own."""
    code: int | None = getattr(error, "sqlite_errorcode", None)
    return (code or 0) & _PRIMARY
