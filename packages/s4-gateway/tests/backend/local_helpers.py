"""What the tests of the embedded store share."""

import os
import sqlite3
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, closing
from pathlib import Path

from s4_gateway.backend.abc import Pieces
from s4_gateway.backend.local import LocalBackend
from s4_gateway.backend.local.files import FileLayer

NOTHING: dict[str, str] = {}
LARGE = 100_000
"""Bytes of a body that becomes a file."""


@asynccontextmanager
async def opened(directory: Path, layer: FileLayer | None = None) -> AsyncIterator[LocalBackend]:
    """A started store with the bucket `bucket`."""
    backend = LocalBackend(directory, layer=layer)
    await backend.start()
    try:
        if not await backend.list_buckets():
            await backend.create_bucket("bucket")
        yield backend
    finally:
        await backend.close()


async def store(backend: LocalBackend, key: str, body: bytes) -> str:
    """Put; the ETag."""
    return (await backend.put_object("bucket", key, Pieces.of(body), headers=NOTHING, metadata=NOTHING)).etag


async def fetch(backend: LocalBackend, key: str) -> bytes:
    """The whole body."""
    return await (await backend.get_object("bucket", key)).read()


async def copy(backend: LocalBackend, source: str, etag: str, target: str) -> None:
    """Copy within the bucket."""
    await backend.copy_object(
        "bucket",
        target,
        source_bucket="bucket",
        source_key=source,
        source_version_id=None,
        source_etag=etag,
        headers=NOTHING,
        metadata=NOTHING,
    )


async def upload(backend: LocalBackend, key: str, bodies: Sequence[bytes]) -> str:
    """A multipart upload of these parts; the ETag."""
    upload_id = await backend.create_multipart("bucket", key, headers=NOTHING, metadata=NOTHING)
    parts = [
        (number, await backend.upload_part("bucket", key, upload_id, number, Pieces.of(body)))
        for number, body in enumerate(bodies, start=1)
    ]
    return (await backend.complete_multipart("bucket", key, upload_id, parts)).etag


def blobs(directory: Path) -> set[Path]:
    """The files of bodies."""
    # A walk, because it does not mind that directories go while it looks.
    return {Path(above, name) for above, _, files in os.walk(directory / "blobs") for name in files}


def names(directory: Path) -> set[str]:
    """What is in a directory."""
    return {path.name for path in directory.iterdir()}


def query(directory: Path, statement: str) -> list[tuple[object, ...]]:
    """Ask, or change, the database behind the store's back."""
    with closing(sqlite3.connect(directory / "store.sqlite3", isolation_level=None)) as connection:
        return connection.execute(statement).fetchall()
