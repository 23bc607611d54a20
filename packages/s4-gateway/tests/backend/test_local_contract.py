"""LocalBackend passes the contract, and what it stores is where it says: rows of SQLite and files."""

import asyncio
import json
import sqlite3
from collections.abc import Iterator, Sequence
from hashlib import md5
from pathlib import Path

import pytest

from s4_gateway.backend.local import LocalBackend
from s4_gateway.backend.local.bodies import BodyKind, file_name, group_directory, unpack_segments
from s4_gateway.testing.contract import ODD_KEYS, BackendContract, Seen


class LocalBehind:
    """Plain SQL and plain files, without a line of the store's own code for reading and writing."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._connection = sqlite3.connect(directory / "store.sqlite3", isolation_level=None)
        self._next_body = 1

    def close(self) -> None:
        self._connection.close()

    async def put(self, bucket: str, key: str, seen: Seen) -> None:
        await self.delete(bucket, key)
        self._next_body += 1
        self._connection.execute("INSERT INTO bodies VALUES (?, ?, 1, ?, ?)", (self._next_body, BodyKind.INLINE, len(seen.body), seen.body))
        self._connection.execute(
            "INSERT INTO objects SELECT id, ?, ?, ?, ?, 1700000000, ?, ? FROM buckets WHERE name = ?",
            (
                key.encode(),
                self._next_body,
                len(seen.body),
                md5(seen.body).hexdigest(),
                json.dumps(seen.headers),
                json.dumps(seen.metadata),
                bucket,
            ),
        )

    async def get(self, bucket: str, key: str) -> Seen | None:
        row = self._connection.execute(
            "SELECT body, headers, metadata FROM objects JOIN buckets ON id = bucket WHERE name = ? AND key = ?", (bucket, key.encode())
        ).fetchone()
        return row and Seen(self._body(row[0]), json.loads(row[1]), json.loads(row[2]))

    def _body(self, body: int) -> bytes:
        kind, content = self._connection.execute("SELECT kind, content FROM bodies WHERE id = ?", (body,)).fetchone()
        if kind == BodyKind.INLINE:
            return bytes(content)
        if kind == BodyKind.LIST:
            return b"".join(self._body(segment.body) for segment in unpack_segments(content))
        return (self._directory / "blobs" / group_directory(body) / file_name(body)).read_bytes()

    async def keys(self, bucket: str) -> Sequence[str]:
        rows = self._connection.execute("SELECT key FROM objects JOIN buckets ON id = bucket WHERE name = ?", (bucket,))
        return [key.decode() for (key,) in rows]

    async def delete(self, bucket: str, key: str) -> None:
        self._connection.execute(
            "DELETE FROM objects WHERE key = ? AND bucket = (SELECT id FROM buckets WHERE name = ?)", (key.encode(), bucket)
        )


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of the store under test."""
    return tmp_path_factory.mktemp("contract")


@pytest.fixture(scope="module")
def backend(directory: Path) -> Iterator[LocalBackend]:
    """One store for all cases: it is bound to no event loop."""
    backend = LocalBackend(directory)
    asyncio.run(backend.start())
    yield backend
    asyncio.run(backend.close())


@pytest.fixture(scope="module")
def behind(backend: LocalBackend, directory: Path) -> Iterator[LocalBehind]:
    """Its directory."""
    behind = LocalBehind(directory)
    yield behind
    behind.close()


class TestLocal(BackendContract):
    """The contract over a directory."""

    odd_keys = (*ODD_KEYS, "nul\x00byte")
