"""What one write does to the database: conditions are checked in the same transaction that acts on them.

Every method refuses (BackendError) before its first change, so that a refusal leaves the shared transaction clean for its neighbours.
"""

import sqlite3
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import islice

from s4_format.etag import composite_etag, md5_etag

from s4_gateway.backend._rules import check_manifest, check_part_sizes, refuse
from s4_gateway.backend.abc import Condition, Written
from s4_gateway.backend.local.bodies import BodyKind, Content, Segment, pack_segments, unpack_segments

PURGE_SEGMENTS = 500
"""Most segments of a dropped list that one transaction drops, so that writers beside it do not wait."""


@dataclass(frozen=True, slots=True)
class Labels:
    """Headers and metadata of an object, as JSON objects."""

    headers: str
    metadata: str


@dataclass(frozen=True, slots=True)
class _Place:
    """A key in a bucket, and what is there."""

    bucket: int
    key: bytes
    body: int | None
    """None = nothing."""
    etag: str


class Transaction:
    """The changes of one batch of writes.

    Attributes:
        dropped_files: bodies whose files are to be removed once the transaction is committed; they are listed in `removals`.
        dropped_lists: lists in the trash, to be purged when no reader is inside.
    """

    def __init__(self, connection: sqlite3.Connection, clock: Callable[[], float], *, epoch: int) -> None:
        self._connection = connection
        self._clock = clock
        self._epoch = epoch
        self.dropped_files: list[int] = []
        self.dropped_lists: list[int] = []

    # Buckets

    def create_bucket(self, name: str, location: str | None) -> None:
        if self._connection.execute("SELECT 1 FROM buckets WHERE name = ?", (name,)).fetchall():
            raise refuse("BucketAlreadyOwnedByYou")
        self._connection.execute("INSERT INTO buckets (name, created, location) VALUES (?, ?, ?)", (name, self._now(), location))

    def delete_bucket(self, name: str) -> None:
        """An upload under way does not keep a bucket; it is aborted."""
        bucket = self._bucket(name)
        if self._connection.execute("SELECT 1 FROM objects WHERE bucket = ? LIMIT 1", (bucket,)).fetchall():
            raise refuse("BucketNotEmpty")
        for (upload_id,) in self._connection.execute("SELECT id FROM uploads WHERE bucket = ?", (bucket,)).fetchall():
            self._drop_upload(upload_id, keep=frozenset())
        self._connection.execute("DELETE FROM buckets WHERE id = ?", (bucket,))

    # Objects

    def put(self, bucket: str, key: bytes, *, content: Content, labels: Labels, condition: Condition | None) -> Written:
        place = self._place(bucket, key)
        _check_condition(place, condition)
        self._add_body(content)
        return self._set(place, content.body, size=content.size, etag=md5_etag(content.digest), labels=labels)

    def copy(
        self,
        bucket: str,
        key: bytes,
        *,
        source: tuple[str, bytes],
        source_etag: str,
        labels: Labels,
        condition: Condition | None,
    ) -> Written:
        """The copy shares the source's body and ETag."""
        origin = self._place(*source)
        if origin.body is None:
            raise refuse("NoSuchKey")
        if origin.etag != source_etag:
            raise refuse("PreconditionFailed")
        place = self._place(bucket, key)
        _check_condition(place, condition)
        (size,) = self._connection.execute("SELECT size FROM bodies WHERE id = ?", (origin.body,)).fetchone()
        self._connection.execute("UPDATE bodies SET refs = refs + 1 WHERE id = ?", (origin.body,))
        return self._set(place, origin.body, size=size, etag=origin.etag, labels=labels)

    def delete(self, bucket: str, key: bytes) -> None:
        place = self._place(bucket, key)
        if place.body is not None:
            self._connection.execute("DELETE FROM objects WHERE bucket = ? AND key = ?", (place.bucket, key))
            self._release(place.body)

    def delete_all(self, bucket: str, keys: Iterable[bytes]) -> None:
        self._bucket(bucket)
        for key in keys:
            self.delete(bucket, key)

    # Multipart uploads

    def create_upload(self, bucket: str, key: bytes, *, upload_id: str, labels: Labels) -> None:
        self._connection.execute(
            "INSERT INTO uploads (id, bucket, key, initiated, headers, metadata) VALUES (?, ?, ?, ?, ?, ?)",
            (upload_id, self._bucket(bucket), key, self._now(), labels.headers, labels.metadata),
        )

    def put_part(self, bucket: str, key: bytes, upload_id: str, *, number: int, content: Content) -> str:
        self._upload(bucket, key, upload_id)
        old = self._connection.execute("SELECT body FROM parts WHERE upload = ? AND number = ?", (upload_id, number)).fetchall()
        self._add_body(content)
        self._connection.execute(
            "INSERT OR REPLACE INTO parts (upload, number, body, size, md5) VALUES (?, ?, ?, ?, ?)",
            (upload_id, number, content.body, content.size, content.digest),
        )
        for (body,) in old:
            self._release(body)
        return md5_etag(content.digest)

    def complete(
        self,
        bucket: str,
        key: bytes,
        upload_id: str,
        *,
        parts: Sequence[tuple[int, str]],
        body: int,
        condition: Condition | None,
    ) -> Written:
        """Make the parts one object without touching a byte of them; `body` is the id of their list."""
        labels = self._upload(bucket, key, upload_id)
        check_manifest(parts)
        rows = self._connection.execute("SELECT number, body, size, md5 FROM parts WHERE upload = ?", (upload_id,)).fetchall()
        known = {number: (Segment(part, size), md5) for number, part, size, md5 in rows}
        segments: list[Segment] = []
        digests: list[bytes] = []
        for number, etag in parts:
            segment, md5 = known.get(number, (None, b""))
            if segment is None or md5.hex() != etag:
                raise refuse("InvalidPart")
            segments.append(segment)
            digests.append(md5)
        check_part_sizes([segment.size for segment in segments], min_part_size=0)
        place = self._place(bucket, key)
        _check_condition(place, condition)
        self._drop_upload(upload_id, keep={segment.body for segment in segments})
        size = sum(segment.size for segment in segments)
        if len(segments) == 1:
            body = segments[0].body
        else:
            self._insert_body(body, BodyKind.LIST, size=size, content=pack_segments(segments))
        return self._set(place, body, size=size, etag=composite_etag(digests), labels=labels)

    def abort(self, bucket: str, key: bytes, upload_id: str) -> None:
        self._upload(bucket, key, upload_id)
        self._drop_upload(upload_id, keep=frozenset())

    # Housekeeping

    def purge(self, dropped: int) -> bool:
        """Drop segments of a list in the trash; True = some are left for another transaction."""
        row = self._connection.execute("SELECT content FROM trash WHERE id = ?", (dropped,)).fetchone()
        if row is None:
            return False
        segments = unpack_segments(row[0])
        for segment in islice(segments, PURGE_SEGMENTS):
            self._release(segment.body)
        rest = pack_segments(segments)
        if rest:
            self._connection.execute("UPDATE trash SET content = ? WHERE id = ?", (rest, dropped))
        else:
            self._connection.execute("DELETE FROM trash WHERE id = ?", (dropped,))
        return bool(rest)

    def forget_removals(self, bodies: Iterable[int]) -> None:
        """The files of these bodies are removed."""
        self._connection.executemany("DELETE FROM removals WHERE id = ?", ((body,) for body in bodies))

    def forget_run(self, epoch: int) -> None:
        """A run that has ended left nothing, or what it left is removed."""
        self._connection.execute("DELETE FROM removals WHERE epoch = ?", (epoch,))
        self._connection.execute("DELETE FROM epochs WHERE id = ?", (epoch,))

    # Steps

    def _now(self) -> int:
        return int(self._clock())

    def _bucket(self, name: str) -> int:
        row = self._connection.execute("SELECT id FROM buckets WHERE name = ?", (name,)).fetchone()
        if row is None:
            raise refuse("NoSuchBucket")
        found: int = row[0]
        return found

    def _place(self, bucket: str, key: bytes) -> _Place:
        row = self._connection.execute(
            "SELECT b.id, o.body, o.etag FROM buckets b LEFT JOIN objects o ON o.bucket = b.id AND o.key = ? WHERE b.name = ?",
            (key, bucket),
        ).fetchone()
        if row is None:
            raise refuse("NoSuchBucket")
        return _Place(row[0], key, row[1], row[2] or "")

    def _upload(self, bucket: str, key: bytes, upload_id: str) -> Labels:
        row = self._connection.execute(
            "SELECT headers, metadata FROM uploads WHERE id = ? AND key = ? AND bucket = ?", (upload_id, key, self._bucket(bucket))
        ).fetchone()
        if row is None:
            raise refuse("NoSuchUpload")
        return Labels(*row)

    def _set(self, place: _Place, body: int, *, size: int, etag: str, labels: Labels) -> Written:
        modified = self._now()
        self._connection.execute(
            "INSERT OR REPLACE INTO objects (bucket, key, body, size, etag, modified, headers, metadata) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            (place.bucket, place.key, body, size, etag, modified, labels.headers, labels.metadata),
        )
        if place.body is not None:
            self._release(place.body)
        return Written(etag, modified, modified)

    def _add_body(self, content: Content) -> None:
        kind = BodyKind.FILE if content.inline is None else BodyKind.INLINE
        self._insert_body(content.body, kind, size=content.size, content=content.inline)

    def _insert_body(self, body: int, kind: BodyKind, *, size: int, content: bytes | None) -> None:
        self._connection.execute(
            "INSERT INTO bodies (id, kind, refs, size, content) VALUES (?, ?, 1, ?, ?)", (body, int(kind), size, content)
        )

    def _drop_upload(self, upload_id: str, *, keep: Iterable[int]) -> None:
        rows = self._connection.execute("SELECT body FROM parts WHERE upload = ?", (upload_id,)).fetchall()
        self._connection.execute("DELETE FROM parts WHERE upload = ?", (upload_id,))
        self._connection.execute("DELETE FROM uploads WHERE id = ?", (upload_id,))
        for body in {body for (body,) in rows} - set(keep):
            self._release(body)

    def _release(self, body: int) -> None:
        """Take one reference off a body; the last one takes the body with it."""
        row = self._connection.execute("SELECT refs, kind FROM bodies WHERE id = ?", (body,)).fetchone()
        if row is None:
            return  # Damage, which readers report; it does not keep a key from being replaced or deleted.
        refs, kind = row
        if refs > 1:
            self._connection.execute("UPDATE bodies SET refs = refs - 1 WHERE id = ?", (body,))
            return
        if kind == BodyKind.LIST:
            self._connection.execute("INSERT INTO trash (id, content) SELECT id, content FROM bodies WHERE id = ?", (body,))
            self.dropped_lists.append(body)
        elif kind == BodyKind.FILE:
            self._connection.execute("INSERT OR REPLACE INTO removals (id, epoch) VALUES (?, ?)", (body, self._epoch))
            self.dropped_files.append(body)
        self._connection.execute("DELETE FROM bodies WHERE id = ?", (body,))


def _check_condition(place: _Place, condition: Condition | None) -> None:
    if condition is None:
        return
    if condition.if_absent and place.body is not None:
        raise refuse("PreconditionFailed")
    if condition.if_match is not None:
        if place.body is None:
            raise refuse("NoSuchKey")
        if place.etag != condition.if_match:
            raise refuse("PreconditionFailed")
