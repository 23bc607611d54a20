"""The database of the embedded store: tables, their versions, and connections to it.

A body is what objects and parts refer to: bytes in the row (small ones), a file, or the list of the bodies of a multipart upload's parts.
Keys are BLOBs, so that SQLite orders them by their UTF-8 bytes as S3 lists them.
"""

import sqlite3
from pathlib import Path

from s4_gateway.backend.local.faults import database_error, unavailable

APPLICATION_ID = 0x53345354
"""`S4ST`, in the header of the database file."""

FILE_NAME = "store.sqlite3"

MIGRATIONS = (
    """
    CREATE TABLE buckets (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        name TEXT NOT NULL UNIQUE,
        created INTEGER NOT NULL,
        location TEXT
    );
    CREATE TABLE bodies (
        id INTEGER PRIMARY KEY,
        kind INTEGER NOT NULL,
        refs INTEGER NOT NULL,
        size INTEGER NOT NULL,
        content BLOB
    );
    CREATE TABLE objects (
        bucket INTEGER NOT NULL,
        key BLOB NOT NULL,
        body INTEGER NOT NULL,
        size INTEGER NOT NULL,
        etag TEXT NOT NULL,
        modified INTEGER NOT NULL,
        headers TEXT NOT NULL,
        metadata TEXT NOT NULL,
        PRIMARY KEY (bucket, key)
    ) WITHOUT ROWID;
    CREATE TABLE uploads (
        id TEXT PRIMARY KEY,
        bucket INTEGER NOT NULL,
        key BLOB NOT NULL,
        initiated INTEGER NOT NULL,
        headers TEXT NOT NULL,
        metadata TEXT NOT NULL
    ) WITHOUT ROWID;
    CREATE INDEX uploads_by_key ON uploads (bucket, key, initiated);
    CREATE TABLE parts (
        upload TEXT NOT NULL,
        number INTEGER NOT NULL,
        body INTEGER NOT NULL,
        size INTEGER NOT NULL,
        md5 BLOB NOT NULL,
        PRIMARY KEY (upload, number)
    ) WITHOUT ROWID;
    CREATE TABLE trash (
        id INTEGER PRIMARY KEY,
        content BLOB NOT NULL
    );
    CREATE TABLE epochs (
        id INTEGER PRIMARY KEY AUTOINCREMENT
    );
    """,
    """
    CREATE TABLE removals (
        id INTEGER PRIMARY KEY,
        epoch INTEGER NOT NULL
    );
    """,
)
"""Script n brings a database from schema n to n + 1; what is here is never changed, only added to.

    bodies.kind     a value of `BodyKind`; refs counts the objects, parts and lists that hold the body, which goes with the last of them
    bodies.content  the bytes (INLINE), nothing (FILE: the file is named by the id), or the list of segments (LIST)
    objects         what is current at each key; headers and metadata are JSON objects
    trash           lists that nothing refers to, whose segments are still to be dropped
    epochs          runs, one a process, that may have left files which no body names; empty after a clean stop
    removals        bodies that are gone and whose files may be there; epoch is the run that removes them
"""

_BUSY_SECONDS = 10.0
_WRITER_PRAGMAS = (
    # Each commit is on the disk before it is acknowledged; fullfsync is what that takes on macOS.
    "PRAGMA synchronous = FULL",
    "PRAGMA fullfsync = ON",
    "PRAGMA checkpoint_fullfsync = ON",
    # The writer makes its checkpoints itself: one made inside a commit would hide its errors.
    "PRAGMA wal_autocheckpoint = 0",
    "PRAGMA journal_size_limit = 67108864",
    "PRAGMA cache_size = -32768",
)
_READER_PRAGMAS = ("PRAGMA query_only = ON", "PRAGMA cache_size = -8192")


def open_writer(directory: Path) -> sqlite3.Connection:
    """The connection that writes, on a database that is made or brought up to date.

    Raises:
        BackendError: the file is not one of ours, of a newer schema, damaged, or cannot be written.
    """
    path = directory / FILE_NAME
    try:
        connection = _connect(path)
    except sqlite3.Error as error:
        raise database_error(error, f"opening {path}") from error
    try:
        _prepare(connection, path)
    except sqlite3.Error as error:
        connection.close()
        raise database_error(error, f"opening {path}") from error
    except BaseException:
        connection.close()
        raise
    return connection


def open_reader(directory: Path) -> sqlite3.Connection:
    """A connection that only reads; raises sqlite3.Error."""
    connection = _connect(directory / FILE_NAME)
    for pragma in _READER_PRAGMAS:
        connection.execute(pragma)
    return connection


def open_examiner(directory: Path) -> sqlite3.Connection:
    """A connection that changes nothing, not even the log, on a database that is a store's.

    Raises:
        BackendError: the file is not one of ours, or cannot be opened.
    """
    path = directory / FILE_NAME
    try:
        connection = sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True, timeout=_BUSY_SECONDS, isolation_level=None)
        if connection.execute("PRAGMA application_id").fetchone()[0] != APPLICATION_ID:
            connection.close()
            raise unavailable(f"{path} is not a store of S4")
    except sqlite3.Error as error:
        raise database_error(error, f"opening {path}") from error
    return connection


def _connect(path: Path) -> sqlite3.Connection:
    # Transactions are begun and ended by hand; a connection is used by one thread at a time, but closed by another.
    return sqlite3.connect(path, timeout=_BUSY_SECONDS, isolation_level=None, check_same_thread=False)


def _prepare(connection: sqlite3.Connection, path: Path) -> None:
    application, version = (connection.execute(f"PRAGMA {name}").fetchone()[0] for name in ("application_id", "user_version"))
    tables = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
    if tables and application != APPLICATION_ID:
        raise unavailable(f"{path} is not a store of S4")
    if version > len(MIGRATIONS):
        raise unavailable(f"{path} was written by a newer S4 (schema {version}); this one knows schemas up to {len(MIGRATIONS)}")
    mode = connection.execute("PRAGMA journal_mode = WAL").fetchone()[0]
    if mode != "wal":
        raise unavailable(f"{path} is on a file system without the locks and shared memory that SQLite needs")
    for pragma in _WRITER_PRAGMAS:
        connection.execute(pragma)
    for known in range(version, len(MIGRATIONS)):
        connection.executescript(
            f"BEGIN IMMEDIATE; {MIGRATIONS[known]}; PRAGMA application_id = {APPLICATION_ID}; PRAGMA user_version = {known + 1}; COMMIT;"
        )
