"""The store past its gateway: what really lies there, and a way to put there what no gateway would."""

import hashlib
import itertools
import json
import sqlite3
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from clients.s3 import client


@dataclass(frozen=True, slots=True)
class Stored:
    """A stored object."""

    body: bytes
    metadata: Mapping[str, str] = field(default_factory=dict)
    """User metadata, `s4-*` included."""
    content_type: str | None = None


class Behind(Protocol):
    """Another way into a store."""

    def keys(self, bucket: str) -> list[str]:
        """All keys, reserved ones included, sorted by their UTF-8 bytes."""
        ...

    def size(self, bucket: str, key: str) -> int:
        """Stored bytes."""
        ...

    def get(self, bucket: str, key: str) -> Stored: ...

    def put(self, bucket: str, key: str, stored: Stored) -> None: ...

    def uploads(self, bucket: str) -> list[str]:
        """Keys of the store's own open multipart uploads."""
        ...

    def remove_bucket(self, bucket: str) -> None:
        """The bucket and all that is in it."""
        ...


class S3Behind:
    """A store that is an S3 server, reached directly."""

    def __init__(self, endpoint: str, access_key: str, secret_key: str) -> None:
        self.client = client(endpoint, access_key, secret_key)

    def keys(self, bucket: str) -> list[str]:
        pages = self.client.get_paginator("list_objects_v2").paginate(Bucket=bucket)
        return sorted((entry["Key"] for page in pages for entry in page.get("Contents", ())), key=str.encode)

    def size(self, bucket: str, key: str) -> int:
        size: int = self.client.head_object(Bucket=bucket, Key=key)["ContentLength"]
        return size

    def get(self, bucket: str, key: str) -> Stored:
        answer = self.client.get_object(Bucket=bucket, Key=key)
        return Stored(answer["Body"].read(), answer["Metadata"], answer.get("ContentType"))

    def put(self, bucket: str, key: str, stored: Stored) -> None:
        extra = {"ContentType": stored.content_type} if stored.content_type else {}
        self.client.put_object(Bucket=bucket, Key=key, Body=stored.body, Metadata=dict(stored.metadata), **extra)

    def uploads(self, bucket: str) -> list[str]:
        return sorted(upload["Key"] for upload in self._uploads(bucket))

    def remove_bucket(self, bucket: str) -> None:
        for upload in self._uploads(bucket):
            self.client.abort_multipart_upload(Bucket=bucket, Key=upload["Key"], UploadId=upload["UploadId"])
        keys = iter(self.keys(bucket))
        while batch := [{"Key": key} for key in itertools.islice(keys, 1000)]:
            self.client.delete_objects(Bucket=bucket, Delete={"Objects": batch, "Quiet": True})
        self.client.delete_bucket(Bucket=bucket)

    def _uploads(self, bucket: str) -> list[dict[str, Any]]:
        return [
            upload
            for page in self.client.get_paginator("list_multipart_uploads").paginate(Bucket=bucket)
            for upload in page.get("Uploads", ())
        ]


class EmbeddedBehind:
    """The embedded store's own files, while a gateway has them open."""

    INLINE, FILE, LIST = range(3)

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        # Far above every id that the store gives, so that the two never meet.
        self._ids = itertools.count(1 << 62)

    def keys(self, bucket: str) -> list[str]:
        return [key.decode() for (key,) in self._rows("SELECT key FROM objects WHERE bucket = ? ORDER BY key", self._bucket(bucket))]

    def size(self, bucket: str, key: str) -> int:
        ((size,),) = self._rows("SELECT size FROM objects WHERE bucket = ? AND key = ?", self._bucket(bucket), key.encode())
        return int(size)

    def get(self, bucket: str, key: str) -> Stored:
        found = "SELECT body, headers, metadata FROM objects WHERE bucket = ? AND key = ?"
        ((body, headers, metadata),) = self._rows(found, self._bucket(bucket), key.encode())
        return Stored(b"".join(self._body(body)), json.loads(metadata), json.loads(headers).get("content-type"))

    def put(self, bucket: str, key: str, stored: Stored) -> None:
        owner, body, etag = self._bucket(bucket), next(self._ids), hashlib.md5(stored.body).hexdigest()
        headers = {"content-type": stored.content_type} if stored.content_type else {}
        labels = (json.dumps(headers), json.dumps(dict(stored.metadata)))
        with closing(self._connect()) as connection, connection:
            connection.execute("INSERT INTO bodies VALUES (?, ?, 1, ?, ?)", (body, self.INLINE, len(stored.body), stored.body))
            row = (owner, key.encode(), body, len(stored.body), etag, int(time.time()), *labels)
            connection.execute("INSERT OR REPLACE INTO objects VALUES (?, ?, ?, ?, ?, ?, ?, ?)", row)

    def uploads(self, bucket: str) -> list[str]:
        return [key.decode() for (key,) in self._rows("SELECT key FROM uploads WHERE bucket = ? ORDER BY key", self._bucket(bucket))]

    def blobs(self) -> list[Path]:
        """All files of bodies, named by an object or not."""
        return [path for path in (self._directory / "blobs").rglob("*") if path.is_file()]

    def remove_bucket(self, bucket: str) -> None:
        """Nothing: the folder goes with the test run."""

    def _bucket(self, name: str) -> int:
        ((found,),) = self._rows("SELECT id FROM buckets WHERE name = ?", name)
        return int(found)

    def _body(self, body: int) -> Iterator[bytes]:
        ((kind, content),) = self._rows("SELECT kind, content FROM bodies WHERE id = ?", body)
        if kind == self.INLINE:
            yield content
        elif kind == self.FILE:
            (path,) = (self._directory / "blobs").rglob(f"{body:016x}")
            yield path.read_bytes()
        else:
            for start in range(0, len(content), 16):
                yield from self._body(int.from_bytes(content[start : start + 8], "little"))

    def _rows(self, statement: str, *values: object) -> Sequence[tuple[Any, ...]]:
        with closing(self._connect()) as connection:
            return connection.execute(statement, values).fetchall()

    def _connect(self) -> sqlite3.Connection:
        return sqlite3.connect(self._directory / "store.sqlite3", timeout=20)
