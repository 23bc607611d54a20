"""The reference implementation of `Backend`, for tests: S3's rules in memory, counted requests, failures and races on demand."""

import asyncio
import time
from collections import Counter, defaultdict, deque
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager

from s4_gateway.backend._rules import MAX_DELETES, MAX_LIST, exact_pieces, refuse, resolve_span
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
from s4_gateway.backend.memory_store import MemoryStore

CHUNK = 64 * 1024
"""Bytes in one piece of a download."""

OPERATIONS = frozenset(
    {
        "abort_multipart",
        "complete_multipart",
        "copy_object",
        "create_bucket",
        "create_multipart",
        "delete_bucket",
        "delete_object",
        "delete_objects",
        "get_object",
        "head_bucket",
        "head_object",
        "list_buckets",
        "list_multipart",
        "list_objects",
        "ping",
        "put_object",
        "upload_part",
    }
)
"""What is counted: one call, one request."""
DOWNLOAD = "download"
"""Point before each piece of a download; not a request of its own."""

Action = Callable[[], Awaitable[None]]


class Hold:
    """One request standing still."""

    def __init__(self) -> None:
        self._reached = asyncio.Event()
        self._released = asyncio.Event()

    async def reached(self) -> None:
        """Wait until the request stands."""
        await self._reached.wait()

    def release(self) -> None:
        """Let it go on."""
        self._released.set()

    async def __call__(self) -> None:
        self._reached.set()
        await self._released.wait()


class MemoryBackend:
    """A store in memory.

    Args:
        capabilities: limits are enforced; conditions that are not granted are NotImplemented.
        clock: seconds since the epoch.
        opaque_etags: random ETags instead of MD5s.
        store: share the state of another backend, as two gateways over one store do; the other arguments are then the store's.

    Attributes:
        requests: requests so far by method name; tests may clear it.
        store: the state, for reading and writing behind the backend's back: never counted, never failing.
    """

    def __init__(
        self,
        *,
        capabilities: Capabilities | None = None,
        clock: Callable[[], float] = time.time,
        opaque_etags: bool = False,
        store: MemoryStore | None = None,
    ) -> None:
        self.store = store or MemoryStore(capabilities or Capabilities(), clock=clock, opaque_etags=opaque_etags)
        self.requests: Counter[str] = Counter()
        self._before: defaultdict[str, deque[Action]] = defaultdict(deque)
        self._after: defaultdict[str, deque[Action]] = defaultdict(deque)

    @property
    def capabilities(self) -> Capabilities:
        return self.store.capabilities

    # Failures and races

    def on_next(self, operation: str, action: Action, *, after_commit: bool = False) -> None:
        """Run `action` once inside the next call of `operation`: before it does anything, or after it took effect but before it answers.

        Actions of one operation run one a call, in order. `operation` is a method's name, or `download` for the next piece of any download.
        """
        if operation not in OPERATIONS and operation != DOWNLOAD:
            raise ValueError(f"{operation} is no operation of a backend")
        (self._after if after_commit else self._before)[operation].append(action)

    def fail_next(self, operation: str, error: BackendError, *, after_commit: bool = False, times: int = 1) -> None:
        """Let the next calls of `operation` fail; with `after_commit` they take effect and only the answer is lost."""

        async def fail() -> None:
            raise error

        for _ in range(times):
            self.on_next(operation, fail, after_commit=after_commit)

    def hold_next(self, operation: str, *, after_commit: bool = False) -> Hold:
        """Make the next call of `operation` stand still until it is released."""
        hold = Hold()
        self.on_next(operation, hold, after_commit=after_commit)
        return hold

    @property
    def unspent(self) -> Mapping[str, int]:
        """Actions that no call has met yet, by operation."""
        waiting: Counter[str] = Counter()
        for points in (self._before, self._after):
            waiting.update({operation: len(actions) for operation, actions in points.items() if actions})
        return waiting

    @asynccontextmanager
    async def _request(self, operation: str) -> AsyncIterator[None]:
        self.requests[operation] += 1
        await asyncio.sleep(0)  # Others run in between, as over a network.
        await self._pass(self._before, operation)
        yield
        await self._pass(self._after, operation)

    async def _pass(self, points: defaultdict[str, deque[Action]], operation: str) -> None:
        if points[operation]:
            await points[operation].popleft()()

    # Life

    async def start(self) -> None:
        """Nothing to open."""

    async def close(self) -> None:
        """Nothing to close; the state stays with `store`."""

    async def ping(self) -> None:
        async with self._request("ping"):
            pass

    # Buckets

    async def list_buckets(self) -> Sequence[Bucket]:
        async with self._request("list_buckets"):
            return self.store.buckets()

    async def create_bucket(self, bucket: str, *, location: str | None = None) -> None:
        async with self._request("create_bucket"):
            self.store.create_bucket(bucket, location)

    async def delete_bucket(self, bucket: str) -> None:
        async with self._request("delete_bucket"):
            self.store.delete_bucket(bucket)

    async def head_bucket(self, bucket: str) -> BucketState:
        async with self._request("head_bucket"):
            return self.store.state(bucket)

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
        async with self._request("put_object"):
            body = await _received(payload)
            return self.store.put(bucket, key, body, headers=headers, metadata=metadata, condition=condition)

    async def head_object(self, bucket: str, key: str, *, version_id: str | None = None) -> StoredObject:
        async with self._request("head_object"):
            return self.store.head(bucket, key, version_id)[0]

    async def get_object(
        self,
        bucket: str,
        key: str,
        *,
        span: Span | Suffix | None = None,
        if_match: str | None = None,
        version_id: str | None = None,
    ) -> Download:
        async with self._request("get_object"):
            stored, body = self.store.head(bucket, key, version_id)
            if if_match is not None and stored.etag != if_match:
                raise refuse("PreconditionFailed")
            start, stop = resolve_span(span, stored.size)
            return Download(stored, start=start, stop=stop, chunks=self._chunks(body, start, stop))

    async def _chunks(self, body: bytes, start: int, stop: int) -> AsyncGenerator[bytes, None]:
        for offset in range(start, stop, CHUNK):
            await self._pass(self._before, DOWNLOAD)
            yield body[offset : min(offset + CHUNK, stop)]

    async def delete_object(self, bucket: str, key: str, *, version_id: str | None = None) -> Deleted:
        async with self._request("delete_object"):
            return self.store.delete(bucket, key, version_id)

    async def delete_objects(self, bucket: str, targets: Sequence[tuple[str, str | None]]) -> Sequence[Deleted]:
        async with self._request("delete_objects"):
            self.store.state(bucket)
            if not 1 <= len(targets) <= MAX_DELETES:
                raise refuse("MalformedXML", "A delete names 1 to 1,000 objects.")
            return [self._deleted(bucket, key, version_id) for key, version_id in targets]

    def _deleted(self, bucket: str, key: str, version_id: str | None) -> Deleted:
        try:
            return self.store.delete(bucket, key, version_id)
        except BackendError as error:
            return Deleted(key, version_id=version_id, error=error)

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
        async with self._request("copy_object"):
            source = (source_bucket, source_key, source_version_id)
            return self.store.copy(
                bucket, key, source=source, source_etag=source_etag, headers=headers, metadata=metadata, condition=condition
            )

    async def list_objects(
        self, bucket: str, *, prefix: str = "", delimiter: str = "", start_after: str = "", token: str | None = None, limit: int = 1000
    ) -> ListPage:
        async with self._request("list_objects"):
            limit = min(limit, MAX_LIST)
            return self.store.page(bucket, prefix=prefix, delimiter=delimiter, start_after=start_after, token=token, limit=limit)

    # Multipart uploads

    async def create_multipart(self, bucket: str, key: str, *, headers: Mapping[str, str], metadata: Mapping[str, str]) -> str:
        async with self._request("create_multipart"):
            return self.store.create_upload(bucket, key, headers=headers, metadata=metadata)

    async def upload_part(self, bucket: str, key: str, upload_id: str, number: int, payload: Payload) -> str:
        async with self._request("upload_part"):
            body = await _received(payload)
            return self.store.put_part(bucket, key, upload_id, number=number, body=body)

    async def complete_multipart(
        self, bucket: str, key: str, upload_id: str, parts: Sequence[tuple[int, str]], *, condition: Condition | None = None
    ) -> Written:
        async with self._request("complete_multipart"):
            return self.store.complete(bucket, key, upload_id, parts=parts, condition=condition)

    async def abort_multipart(self, bucket: str, key: str, upload_id: str) -> None:
        async with self._request("abort_multipart"):
            self.store.abort(bucket, key, upload_id)

    async def list_multipart(self, bucket: str, *, prefix: str = "") -> Sequence[OpenUpload]:
        async with self._request("list_multipart"):
            return self.store.uploads(bucket, prefix)


async def _received(payload: Payload) -> bytes:
    """The whole body; others run between its pieces, and a cancellation there leaves nothing."""
    pieces: list[bytes] = []
    for piece in exact_pieces(payload):
        pieces.append(bytes(piece))
        await asyncio.sleep(0)
    return b"".join(pieces)
