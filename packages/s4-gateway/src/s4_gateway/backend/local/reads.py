"""Looking up buckets, objects and uploads; each call is one statement and so one snapshot."""

import json
import sqlite3
from collections.abc import Mapping
from dataclasses import dataclass

from s4_gateway.backend._rules import encoded, refuse
from s4_gateway.backend.abc import Bucket, BucketState, OpenUpload, StoredObject
from s4_gateway.backend.local.bodies import BodyKind
from s4_gateway.backend.local.faults import damaged
from s4_gateway.backend.local.transaction import Labels

_OBJECT = """
    SELECT o.size, o.etag, o.modified, o.headers, o.metadata FROM buckets b JOIN objects o ON o.bucket = b.id
    WHERE b.name = ? AND o.key = ?
"""
_OBJECT_AND_BODY = """
    SELECT o.size, o.etag, o.modified, o.headers, o.metadata, y.id, y.kind, y.content
    FROM buckets b JOIN objects o ON o.bucket = b.id LEFT JOIN bodies y ON y.id = o.body
    WHERE b.name = ? AND o.key = ?
"""
_UPLOADS = "SELECT key, id, initiated FROM uploads WHERE bucket = ? AND key >= ? AND key < ? ORDER BY key, initiated"


@dataclass(frozen=True, slots=True)
class Body:
    """The body of an object."""

    body: int
    kind: BodyKind
    content: bytes
    """Bytes of an INLINE body, segments of a LIST, nothing of a FILE."""


def pack_labels(headers: Mapping[str, str], metadata: Mapping[str, str]) -> Labels:
    """Headers and metadata as the database keeps them; names and values are any `str`, so JSON escapes what is not ASCII."""
    return Labels(json.dumps(dict(headers)), json.dumps(dict(metadata)))


def behind(prefix: bytes) -> bytes:
    """Above every key that begins with `prefix`: UTF-8 has no byte 0xff."""
    return prefix + b"\xff"


def bucket_id(connection: sqlite3.Connection, bucket: str) -> int:
    """The bucket's row; NoSuchBucket where there is none."""
    row = connection.execute("SELECT id FROM buckets WHERE name = ?", (bucket,)).fetchone()
    if row is None:
        raise refuse("NoSuchBucket")
    found: int = row[0]
    return found


def buckets(connection: sqlite3.Connection) -> list[Bucket]:
    """All buckets by name."""
    return [Bucket(*row) for row in connection.execute("SELECT name, created FROM buckets ORDER BY name")]


def bucket_state(connection: sqlite3.Connection, bucket: str) -> BucketState:
    """What is known of a bucket; versioning and locks do not exist here."""
    row = connection.execute("SELECT location FROM buckets WHERE name = ?", (bucket,)).fetchone()
    if row is None:
        raise refuse("NoSuchBucket")
    return BucketState(region=row[0], versioned=False, locked=False)


def find(connection: sqlite3.Connection, bucket: str, key: str) -> StoredObject:
    """The object as HEAD tells it."""
    rows = connection.execute(_OBJECT, (bucket, key.encode())).fetchall()
    if not rows:
        raise _absent(connection, bucket)
    return _stored(key, rows[0])


def find_with_body(connection: sqlite3.Connection, bucket: str, key: str) -> tuple[StoredObject, Body]:
    """The object and where its bytes are."""
    rows = connection.execute(_OBJECT_AND_BODY, (bucket, key.encode())).fetchall()
    if not rows:
        raise _absent(connection, bucket)
    row = rows[0]
    if row[5] is None:
        raise damaged("an object's body is not there")
    return _stored(key, row), Body(row[5], BodyKind(row[6]), row[7] or b"")


def uploads(connection: sqlite3.Connection, bucket: str, prefix: str) -> list[OpenUpload]:
    """Open uploads below a prefix in order of their keys."""
    start = encoded(prefix)
    rows = connection.execute(_UPLOADS, (bucket_id(connection, bucket), start, behind(start)))
    return [OpenUpload(bytes(key).decode(), upload_id, initiated) for key, upload_id, initiated in rows]


def _absent(connection: sqlite3.Connection, bucket: str) -> Exception:
    bucket_id(connection, bucket)
    return refuse("NoSuchKey")


def _stored(key: str, row: tuple[int, str, int, str, str]) -> StoredObject:
    size, etag, modified, headers, metadata = row[:5]
    return StoredObject(
        key=key, size=size, etag=etag, modified=modified, headers=json.loads(headers), metadata=json.loads(metadata) if metadata else {}
    )
