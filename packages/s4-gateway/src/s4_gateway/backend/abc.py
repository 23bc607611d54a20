"""What the gateway asks of an object store: one Protocol, its values and its errors.

A backend stores bytes and knows nothing of S4: sizes and ETags here are those of the **stored** body.
ETags are always unquoted. Header and metadata values are `str` holding the wire bytes decoded as latin-1, so every byte survives.
Times are whole seconds since the epoch, UTC. All names of metadata and headers are lower-case.

Every implementation passes `s4_gateway.testing.BackendContract`.
"""

from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import NamedTuple, Protocol, Self

Buffer = bytes | bytearray | memoryview

SYSTEM_HEADERS = ("cache-control", "content-disposition", "content-encoding", "content-language", "content-type", "expires")
"""The headers that S3 stores with an object beside user metadata."""


class Outcome(StrEnum):
    """What a failed request left behind."""

    REFUSED = "refused"
    """The store said no; nothing changed."""
    UNKNOWN = "unknown"
    """Timeout, dropped connection or 5xx: the request may have taken effect (data-paths.md section 2)."""


class BackendError(Exception):
    """The store refused a request or gave no usable answer.

    Attributes:
        code: S3 error code, e.g. `NoSuchKey`; `SlowDown` and `ServiceUnavailable` for what the caller may repeat.
        status: HTTP status of the answer; 503 where there was none.
        outcome: whether the request may have taken effect.
        retried: an attempt before this answer was lost, so a 412 or NoSuchUpload may answer one's own earlier attempt.
    """

    def __init__(self, code: str, status: int, message: str, *, outcome: Outcome = Outcome.REFUSED, retried: bool = False) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code
        self.status = status
        self.message = message
        self.outcome = outcome
        self.retried = retried


class StoreError(BackendError):
    """Trouble of a store of our own, the disk's for example.

    Code, status and message are made for clients: once the store is started they name nothing of this machine.
    """


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What a store can do; found by probing (`s3`) or known (`local`, `memory`)."""

    min_part_size: int = 5 * 2**20
    """Smallest legal part but the last, in bytes; 0 = no minimum."""
    max_part_size: int = 5 * 2**30
    strict_parts: bool = False
    """Parts must be consecutive and of one size, the last not larger (data-paths.md 3.7)."""
    conditional_put: bool = True
    """PutObject honours If-None-Match: * and If-Match."""
    conditional_complete: bool = True
    """CompleteMultipartUpload honours them too."""
    metadata_limit: int = 2048
    """Most bytes of user metadata (names without prefix plus values) that PutObject takes."""
    lists_metadata: bool = False
    """`ListEntry.metadata` is filled."""


@dataclass(frozen=True, slots=True)
class Span:
    """Stored bytes [start, stop); `stop` None = to the end."""

    start: int
    stop: int | None = None


@dataclass(frozen=True, slots=True)
class Suffix:
    """The last `length` stored bytes, or all of them where there are fewer; an empty object gives an empty download, not an error."""

    length: int


@dataclass(frozen=True, slots=True)
class Condition:
    """Precondition of a write, on the stored object at the key. At most one of the two is set."""

    if_match: str | None = None
    """Physical ETag the current object must have, unquoted."""
    if_absent: bool = False
    """No object may be there (If-None-Match: *)."""


@dataclass(frozen=True, slots=True)
class StoredObject:
    """One stored object as HEAD tells it."""

    key: str
    size: int
    etag: str
    modified: int
    headers: Mapping[str, str] = field(default_factory=dict)
    """Those of `SYSTEM_HEADERS` that are set."""
    metadata: Mapping[str, str] = field(default_factory=dict)
    """All user metadata without the `x-amz-meta-` prefix, `s4-*` included."""
    version_id: str | None = None
    storage_class: str | None = None
    extra: Mapping[str, str] = field(default_factory=dict)
    """Other `x-amz-*` headers of the answer that clients of a foreign object expect (restore, replication status, checksums, ...)."""


@dataclass(frozen=True, slots=True)
class Written:
    """A committed write."""

    etag: str
    earliest: int
    """The object's Last-Modified is in [earliest, latest]; equal where the store tells it exactly."""
    latest: int
    version_id: str | None = None


@dataclass(frozen=True, slots=True)
class Deleted:
    """Outcome for one key of a delete."""

    key: str
    version_id: str | None = None
    delete_marker: bool = False
    marker_version_id: str | None = None
    error: BackendError | None = None


class ListEntry(NamedTuple):
    """One key of a listing. A tuple, because a page makes a thousand of them."""

    key: str
    size: int
    etag: str
    modified: int
    storage_class: str | None = None
    metadata: Mapping[str, str] | None = None
    """Only where `Capabilities.lists_metadata`."""


@dataclass(frozen=True, slots=True)
class ListPage:
    """One page of a listing, in UTF-8 byte order of the keys."""

    entries: Sequence[ListEntry]
    prefixes: Sequence[str]
    token: str | None
    """Goes on behind this page; None = it was the last."""


@dataclass(frozen=True, slots=True)
class Bucket:
    name: str
    created: int


@dataclass(frozen=True, slots=True)
class BucketState:
    """What decides where records may live (data-paths.md 3.8)."""

    region: str | None
    versioned: bool
    """Versioning Enabled or Suspended."""
    locked: bool
    """Object Lock is on."""


@dataclass(frozen=True, slots=True)
class OpenUpload:
    """A multipart upload that the store has open."""

    key: str
    upload_id: str
    initiated: int


class Payload(Protocol):
    """A body to send: replayable, of known size."""

    @property
    def size(self) -> int:
        """Bytes in all."""
        ...

    def __iter__(self) -> Iterator[Buffer]:
        """The body from its beginning, in pieces; each call starts again."""
        ...


@dataclass(frozen=True, slots=True)
class Pieces:
    """A payload in memory; pieces are never joined."""

    pieces: Sequence[Buffer]
    size: int

    @classmethod
    def of(cls, *pieces: Buffer) -> Self:
        """The pieces as they are; sizes in bytes, so only byte views."""
        return cls(pieces, sum(map(len, pieces)))

    def __iter__(self) -> Iterator[Buffer]:
        return iter(self.pieces)


class Download:
    """The stored bytes [start, stop) of `object` on their way; iterate once, then or earlier `aclose`.

    Iteration ends only when all bytes came; a body that ends early raises BackendError.

    Attributes:
        whole: all of the bytes, where they are there already: they may be taken instead of iterating.
    """

    __slots__ = ("_chunks", "_release", "object", "start", "stop", "whole")

    def __init__(
        self,
        object: StoredObject,
        *,
        start: int,
        stop: int,
        chunks: AsyncGenerator[bytes, None] | None = None,
        release: Callable[[], Awaitable[None]] | None = None,
        whole: bytes | None = None,
    ) -> None:
        if (chunks is None) is (whole is None):
            raise ValueError("a download has chunks or is whole")
        self.object = object
        self.start = start
        self.stop = stop
        self.whole = whole
        self._chunks = chunks
        self._release = release

    def __aiter__(self) -> AsyncGenerator[bytes, None]:
        if self._chunks is None:
            self._chunks = _once(self.whole or b"")
        return self._chunks

    async def read(self) -> bytes:
        """All of it; the caller knows from `start` and `stop` that it is small."""
        if self.whole is not None:
            await self.aclose()
            return self.whole
        try:
            return b"".join([chunk async for chunk in self])
        finally:
            await self.aclose()

    async def aclose(self) -> None:
        """Give the connection back, whatever was read; repeatable."""
        if self._chunks is not None:
            await self._chunks.aclose()
        if self._release is not None:
            await self._release()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()


async def _once(data: bytes) -> AsyncGenerator[bytes, None]:
    if data:
        yield data


class Backend(Protocol):
    """An object store. Every method raises BackendError with S3's own codes; absence is `NoSuchKey`, `NoSuchBucket`, `NoSuchUpload`,
    a failed condition `PreconditionFailed` (412) or `ConditionalRequestConflict` (409).
    """

    @property
    def capabilities(self) -> Capabilities: ...

    async def start(self) -> None:
        """Open files or connections; refuse what cannot work with a clear BackendError."""
        ...

    async def close(self) -> None: ...

    async def ping(self) -> None:
        """Raise unless the store answers (readiness)."""
        ...

    async def list_buckets(self) -> Sequence[Bucket]: ...

    async def create_bucket(self, bucket: str, *, location: str | None = None) -> None:
        """BucketAlreadyOwnedByYou, BucketAlreadyExists, InvalidBucketName as the store says."""
        ...

    async def delete_bucket(self, bucket: str) -> None: ...

    async def head_bucket(self, bucket: str) -> BucketState: ...

    async def put_object(
        self,
        bucket: str,
        key: str,
        payload: Payload,
        *,
        headers: Mapping[str, str],
        metadata: Mapping[str, str],
        condition: Condition | None = None,
    ) -> Written: ...

    async def head_object(self, bucket: str, key: str, *, version_id: str | None = None) -> StoredObject: ...

    async def get_object(
        self,
        bucket: str,
        key: str,
        *,
        span: Span | Suffix | None = None,
        if_match: str | None = None,
        version_id: str | None = None,
    ) -> Download:
        """Open a download. `InvalidRange` when a Span starts at or behind the end; a Span that ends behind it is cut.

        The implementation compares the answer with what was asked: ETag with `if_match`, Content-Range with `span`; a store that ignored
        either gives BackendError, never other bytes.
        """
        ...

    async def delete_object(self, bucket: str, key: str, *, version_id: str | None = None) -> Deleted:
        """Deleting what is not there succeeds, as in S3."""
        ...

    async def delete_objects(self, bucket: str, targets: Sequence[tuple[str, str | None]]) -> Sequence[Deleted]:
        """Up to 1,000 (key, version id) pairs; one outcome each, in order, errors inside."""
        ...

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
        """Copy inside the store, always replacing headers and metadata, only if the source still has `source_etag`."""
        ...

    async def list_objects(
        self, bucket: str, *, prefix: str = "", delimiter: str = "", start_after: str = "", token: str | None = None, limit: int = 1000
    ) -> ListPage:
        """One page; `start_after` (exclusive) counts only where `token` is None."""
        ...

    async def create_multipart(self, bucket: str, key: str, *, headers: Mapping[str, str], metadata: Mapping[str, str]) -> str:
        """Open an upload; its id."""
        ...

    async def upload_part(self, bucket: str, key: str, upload_id: str, number: int, payload: Payload) -> str:
        """Store one part; its ETag."""
        ...

    async def complete_multipart(
        self, bucket: str, key: str, upload_id: str, parts: Sequence[tuple[int, str]], *, condition: Condition | None = None
    ) -> Written:
        """Commit (number, ETag) pairs in ascending order; an error inside a 200 answer is raised like any other."""
        ...

    async def abort_multipart(self, bucket: str, key: str, upload_id: str) -> None: ...

    async def list_multipart(self, bucket: str, *, prefix: str = "") -> Sequence[OpenUpload]:
        """All uploads the store has open below `prefix` (all pages)."""
        ...
