"""The embedded store: blobs in files, everything else in SQLite, safe under kill -9 at any moment.

A write is on the disk when it is acknowledged. All that blocks runs on threads: one writes to the database (`writer`), a few read
(`readers`), a few write blobs.
"""

import asyncio
import functools
import secrets
import sqlite3
import threading
import time
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from hashlib import md5
from pathlib import Path

from s4_gateway.backend._rules import (
    MAX_DELETES,
    MAX_LIST,
    check_bucket_name,
    check_key,
    check_metadata,
    check_part_number,
    exact_pieces,
    refuse,
)
from s4_gateway.backend.abc import (
    BackendError,
    Bucket,
    BucketState,
    Capabilities,
    Condition,
    Deleted,
    Download,
    ListPage,
    OpenUpload,
    Payload,
    Span,
    StoredObject,
    Suffix,
    Written,
)
from s4_gateway.backend.local import reads
from s4_gateway.backend.local.blobs import BlobFiles
from s4_gateway.backend.local.bodies import BodyIds, Content
from s4_gateway.backend.local.body_reader import BodyOpener, BodyReader, Opened
from s4_gateway.backend.local.faults import damaged, database_error, disk_error, unavailable
from s4_gateway.backend.local.files import FileLayer
from s4_gateway.backend.local.headroom import Headroom
from s4_gateway.backend.local.listing import Question, list_page
from s4_gateway.backend.local.lock import DirectoryLock
from s4_gateway.backend.local.peers import Peers
from s4_gateway.backend.local.readers import Readers
from s4_gateway.backend.local.schema import FILE_NAME, open_writer
from s4_gateway.backend.local.sweep import Sweep
from s4_gateway.backend.local.transaction import Transaction
from s4_gateway.backend.local.writer import Writer, wait_for

CAPABILITIES = Capabilities(min_part_size=0, metadata_limit=8192, lists_metadata=True)
INLINE_LIMIT = 32 * 1024
"""Bodies up to this size lie in the database: they share its sync instead of needing two of their own (file and directory)."""
READER_THREADS = 4
BLOB_THREADS = 16
"""Syncs of different files that may be under way; the file system joins them into common ones."""


class LocalBackend:
    """A store in a directory of this machine.

    Args:
        directory: made if it is not there; one server at a time. Other files in it are left alone.
        clock: seconds since the epoch, for Last-Modified.
        layer: the system calls on blobs.
        lock: of the directory, held by the caller, who gives it back after the store is closed; see `DirectoryLock` for servers of
            several processes. None = the store takes it when it starts and gives it back when it closes.
    """

    def __init__(
        self,
        directory: Path,
        *,
        clock: Callable[[], float] = time.time,
        layer: FileLayer | None = None,
        lock: DirectoryLock | None = None,
    ) -> None:
        self._directory = directory.absolute()
        self._clock = clock
        self._layer = layer or FileLayer()
        self._lock = lock
        self._running: _Running | None = None

    @property
    def capabilities(self) -> Capabilities:
        return CAPABILITIES

    async def start(self) -> None:
        """Open the store.

        Raises:
            BackendError: the directory cannot be written, is in use, is of a newer version, or is damaged.
        """
        self._running = await asyncio.to_thread(_Running.open, self._directory, self._clock, self._layer, self._lock)

    async def close(self) -> None:
        """Finish what was begun; repeatable. Downloads that are under way break."""
        running, self._running = self._running, None
        if running is not None:
            running.writer.refuse_more()
            await asyncio.to_thread(running.close)

    async def ping(self) -> None:
        self._store.writer.check()
        await self._store.readers.run(lambda connection: connection.execute("SELECT 1").fetchall())

    @property
    def _store(self) -> "_Running":
        if self._running is None:
            raise unavailable("the store is closed")
        return self._running

    # Buckets

    async def list_buckets(self) -> Sequence[Bucket]:
        return await self._store.readers.run(reads.buckets)

    async def create_bucket(self, bucket: str, *, location: str | None = None) -> None:
        check_bucket_name(bucket)
        self._store.headroom.check(0)
        await self._store.writer.run(lambda transaction: transaction.create_bucket(bucket, location))

    async def delete_bucket(self, bucket: str) -> None:
        await self._store.writer.run(lambda transaction: transaction.delete_bucket(bucket))

    async def head_bucket(self, bucket: str) -> BucketState:
        return await self._store.readers.run(lambda connection: reads.bucket_state(connection, bucket))

    # Objects

    async def put_object(
        self,
        bucket: str,
        key: str,
        payload: Payload,
        *,
        headers: Mapping[str, str],
        metadata: Mapping[str, str],
        condition: Condition | None = None,
    ) -> Written:
        raw = check_key(key)
        check_metadata(metadata, CAPABILITIES.metadata_limit)
        labels = reads.pack_labels(headers, metadata)
        content = await self._content(payload)

        def put(transaction: Transaction) -> Written:
            return transaction.put(bucket, raw, content=content, labels=labels, condition=condition)

        return await self._store.writer.run(put, content=content)

    async def head_object(self, bucket: str, key: str, *, version_id: str | None = None) -> StoredObject:
        check_key(key)
        _check_version(version_id)
        return await self._store.readers.run(lambda connection: reads.find(connection, bucket, key))

    async def get_object(
        self,
        bucket: str,
        key: str,
        *,
        span: Span | Suffix | None = None,
        if_match: str | None = None,
        version_id: str | None = None,
    ) -> Download:
        check_key(key)
        _check_version(version_id)
        store = self._store
        opened = await store.readers.run(
            lambda connection: store.opener.open(connection, bucket, key, span=span, if_match=if_match), dispose=_dispose
        )
        rest = opened.rest
        if rest is None:
            return Download(opened.stored, start=opened.start, stop=opened.stop, whole=opened.first)
        return Download(
            opened.stored,
            start=opened.start,
            stop=opened.stop,
            chunks=_chunks(store.readers, opened.first, rest),
            release=functools.partial(_release, rest),
        )

    async def delete_object(self, bucket: str, key: str, *, version_id: str | None = None) -> Deleted:
        raw = check_key(key)
        _check_version(version_id)
        await self._store.writer.run(lambda transaction: transaction.delete(bucket, raw))
        return Deleted(key, version_id=version_id)

    async def delete_objects(self, bucket: str, targets: Sequence[tuple[str, str | None]]) -> Sequence[Deleted]:
        if not 1 <= len(targets) <= MAX_DELETES:
            raise refuse("MalformedXML", "A delete names 1 to 1,000 objects.")
        outcomes = [_target(key, version_id) for key, version_id in targets]
        keys = [outcome.key.encode() for outcome in outcomes if outcome.error is None]
        await self._store.writer.run(lambda transaction: transaction.delete_all(bucket, keys))
        return outcomes

    async def copy_object(
        self,
        bucket: str,
        key: str,
        *,
        source_bucket: str,
        source_key: str,
        source_version_id: str | None,
        source_etag: str,
        headers: Mapping[str, str],
        metadata: Mapping[str, str],
        condition: Condition | None = None,
    ) -> Written:
        raw = check_key(key)
        source = (source_bucket, check_key(source_key))
        _check_version(source_version_id)
        check_metadata(metadata, CAPABILITIES.metadata_limit)
        labels = reads.pack_labels(headers, metadata)
        self._store.headroom.check(0)
        return await self._store.writer.run(
            lambda transaction: transaction.copy(bucket, raw, source=source, source_etag=source_etag, labels=labels, condition=condition)
        )

    async def list_objects(
        self, bucket: str, *, prefix: str = "", delimiter: str = "", start_after: str = "", token: str | None = None, limit: int = 1000
    ) -> ListPage:
        question = Question(prefix, delimiter, start_after, token, min(limit, MAX_LIST))
        return await self._store.readers.run(lambda connection: list_page(connection, bucket, question))

    # Multipart uploads

    async def create_multipart(self, bucket: str, key: str, *, headers: Mapping[str, str], metadata: Mapping[str, str]) -> str:
        raw = check_key(key)
        check_metadata(metadata, CAPABILITIES.metadata_limit)
        labels = reads.pack_labels(headers, metadata)
        upload_id = secrets.token_hex(16)
        self._store.headroom.check(0)
        await self._store.writer.run(lambda transaction: transaction.create_upload(bucket, raw, upload_id=upload_id, labels=labels))
        return upload_id

    async def upload_part(self, bucket: str, key: str, upload_id: str, number: int, payload: Payload) -> str:
        raw = check_key(key)
        check_part_number(number)
        content = await self._content(payload)

        def put_part(transaction: Transaction) -> str:
            return transaction.put_part(bucket, raw, upload_id, number=number, content=content)

        return await self._store.writer.run(put_part, content=content)

    async def complete_multipart(
        self, bucket: str, key: str, upload_id: str, parts: Sequence[tuple[int, str]], *, condition: Condition | None = None
    ) -> Written:
        raw = check_key(key)
        self._store.headroom.check(0)
        body = self._store.ids.next()
        return await self._store.writer.run(
            lambda transaction: transaction.complete(bucket, raw, upload_id, parts=parts, body=body, condition=condition)
        )

    async def abort_multipart(self, bucket: str, key: str, upload_id: str) -> None:
        raw = check_key(key)
        await self._store.writer.run(lambda transaction: transaction.abort(bucket, raw, upload_id))

    async def list_multipart(self, bucket: str, *, prefix: str = "") -> Sequence[OpenUpload]:
        return await self._store.readers.run(lambda connection: reads.uploads(connection, bucket, prefix))

    async def _content(self, payload: Payload) -> Content:
        """The payload as a body that no transaction knows yet."""
        if payload.size > CAPABILITIES.max_part_size:
            raise refuse("EntityTooLarge")
        self._store.headroom.check(payload.size)
        if payload.size > INLINE_LIMIT:
            return await self._store.write_blob(payload)
        inline = b"".join(exact_pieces(payload))
        return Content(self._store.ids.next(), len(inline), md5(inline, usedforsecurity=False).digest(), inline)


class _Running:
    """An open store: the locks, the threads and what they share."""

    def __init__(
        self,
        opened: ExitStack,
        ids: BodyIds,
        blobs: BlobFiles,
        *,
        writer: Writer,
        readers: Readers,
        headroom: Headroom,
    ) -> None:
        self.ids = ids
        self.headroom = headroom
        self.writer = writer
        self.readers = readers
        self.opener = BodyOpener(blobs, writer.pins)
        self._opened = opened
        """Gives back what was opened: the database's file, the place among the peers, the lock of the directory."""
        self._blobs = blobs
        self._pool = ThreadPoolExecutor(BLOB_THREADS, "s4-store-blobs")

    @classmethod
    def open(cls, directory: Path, clock: Callable[[], float], layer: FileLayer, held: DirectoryLock | None) -> "_Running":
        """Open everything; blocks. Raises BackendError."""
        with ExitStack() as opened:
            lock = None
            if held is None:
                lock = DirectoryLock(directory, layer=layer)
                lock.acquire()
                opened.callback(lock.release)
            elif not held.is_held:
                raise unavailable(f"the lock of {directory} was handed over without being held")
            try:
                headroom = Headroom(directory, layer)
                headroom.check_start()
                peers = Peers(directory)
                opened.callback(peers.leave)
                with peers.opening():
                    connection = open_writer(directory)
                    opened.callback(connection.close)
                    epoch = _begin_run(connection, peers)
                    layer.sync_directory(str(directory))
                # Closed after the connections: closing a file drops the locks that SQLite has on it.
                database = layer.open(str(directory / FILE_NAME))
                opened.callback(layer.close, database)
                ids = BodyIds(epoch)
                blobs = BlobFiles(directory, layer, ids)
                writer = Writer(connection, blobs, peers, epoch=epoch, clock=clock, sync_database=lambda: layer.sync(database))
                writer.start()
            except sqlite3.Error as error:
                raise database_error(error, f"opening the store in {directory}") from error
            except OSError as error:
                raise disk_error(error, f"opening the store in {directory}") from error
            kept = opened.pop_all()
        sweep = Sweep(directory, blobs, peers, own=epoch, forget=writer.forget_run, is_stopping=lambda: writer.is_closing)
        writer.janitor.run(sweep.run)
        readers = Readers(directory, threads=READER_THREADS)
        return cls(kept, ids, blobs, writer=writer, readers=readers, headroom=headroom)

    def close(self) -> None:
        """Close everything, the locks last; blocks."""
        self._pool.shutdown(wait=True)
        self.readers.close()
        self.writer.close()
        self._opened.close()

    async def write_blob(self, payload: Payload) -> Content:
        """Store the payload in a file; a cancelled task leaves none."""
        self.writer.check()
        abandoned = threading.Event()
        future = asyncio.get_running_loop().run_in_executor(self._pool, self._blobs.write, payload, abandoned.is_set)
        try:
            return await asyncio.shield(future)
        except asyncio.CancelledError:
            abandoned.set()
            await wait_for(future)
            if not future.cancelled() and future.exception() is None:
                self.writer.janitor.discard(future.result().body)
            raise


def _begin_run(connection: sqlite3.Connection, peers: Peers) -> int:
    """The epoch of a new run. It is held before others can see it, so that none takes it for one that has ended."""
    with peers.turn():
        connection.execute("BEGIN IMMEDIATE")
        epoch = connection.execute("INSERT INTO epochs DEFAULT VALUES").lastrowid
        assert epoch is not None
        if not peers.begin_run(epoch):
            raise damaged(f"run {epoch} is under way and not in the database")
        connection.execute("COMMIT")
    return epoch


async def _chunks(readers: Readers, first: bytes, rest: BodyReader) -> AsyncGenerator[bytes, None]:
    if first:
        yield first
    while chunk := await readers.run(rest.read):
        yield chunk


async def _release(rest: BodyReader) -> None:
    rest.close()


def _dispose(opened: Opened) -> None:
    if opened.rest is not None:
        opened.rest.close()


def _target(key: str, version_id: str | None) -> Deleted:
    """The outcome of one key in a batch, as far as the key itself decides it."""
    try:
        check_key(key)
        _check_version(version_id)
    except BackendError as error:
        return Deleted(key, version_id=version_id, error=error)
    return Deleted(key, version_id=version_id)


def _check_version(version_id: str | None) -> None:
    """Buckets have no versions but the one that S3 calls null."""
    if version_id not in (None, "null"):
        raise refuse("NoSuchVersion")
