"""A backend that counts what it is asked and passes everything on."""

import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from typing import TypeVar

from s4_gateway.backend.abc import (
    Backend,
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

T = TypeVar("T")

Observer = Callable[[str, int, int, int, float], None]
"""Told of each call: method of `Backend`, HTTP status (0 = none), body bytes sent, body bytes received, seconds."""


class ObservedBackend:
    """Implements `Backend` over another one, for stores that send no requests to observe. Operations have the same names as
    those of the S3 client: the methods of `Backend`.
    """

    def __init__(self, backend: Backend, observer: Observer) -> None:
        self._backend = backend
        self._observer = observer

    @property
    def capabilities(self) -> Capabilities:
        return self._backend.capabilities

    async def start(self) -> None:
        await self._backend.start()

    async def close(self) -> None:
        await self._backend.close()

    async def ping(self) -> None:
        await self._count("ping", self._backend.ping())

    async def list_buckets(self) -> Sequence[Bucket]:
        return await self._count("list_buckets", self._backend.list_buckets())

    async def create_bucket(self, bucket: str, *, location: str | None = None) -> None:
        await self._count("create_bucket", self._backend.create_bucket(bucket, location=location))

    async def delete_bucket(self, bucket: str) -> None:
        await self._count("delete_bucket", self._backend.delete_bucket(bucket))

    async def head_bucket(self, bucket: str) -> BucketState:
        return await self._count("head_bucket", self._backend.head_bucket(bucket))

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
        return await self._count(
            "put_object",
            self._backend.put_object(bucket, key, payload, headers=headers, metadata=metadata, condition=condition),
            sent=payload.size,
        )

    async def head_object(self, bucket: str, key: str, *, version_id: str | None = None) -> StoredObject:
        return await self._count("head_object", self._backend.head_object(bucket, key, version_id=version_id))

    async def get_object(
        self,
        bucket: str,
        key: str,
        *,
        span: Span | Suffix | None = None,
        if_match: str | None = None,
        version_id: str | None = None,
    ) -> Download:
        began, status = time.perf_counter(), 0
        try:
            download = await self._backend.get_object(bucket, key, span=span, if_match=if_match, version_id=version_id)
            status = 206 if span is not None else 200
        except BackendError as error:
            status = error.status
            raise
        finally:
            if status not in (200, 206):
                self._observer("get_object", status, 0, 0, time.perf_counter() - began)
        if download.whole is not None:
            self._observer("get_object", status, 0, len(download.whole), time.perf_counter() - began)
            return download
        return _ObservedDownload(download, self._observer, status=status, began=began).opened()

    async def delete_object(self, bucket: str, key: str, *, version_id: str | None = None) -> Deleted:
        return await self._count("delete_object", self._backend.delete_object(bucket, key, version_id=version_id))

    async def delete_objects(self, bucket: str, targets: Sequence[tuple[str, str | None]]) -> Sequence[Deleted]:
        return await self._count("delete_objects", self._backend.delete_objects(bucket, targets))

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
        return await self._count(
            "copy_object",
            self._backend.copy_object(
                bucket,
                key,
                source_bucket=source_bucket,
                source_key=source_key,
                source_version_id=source_version_id,
                source_etag=source_etag,
                headers=headers,
                metadata=metadata,
                condition=condition,
            ),
        )

    async def list_objects(
        self, bucket: str, *, prefix: str = "", delimiter: str = "", start_after: str = "", token: str | None = None, limit: int = 1000
    ) -> ListPage:
        return await self._count(
            "list_objects",
            self._backend.list_objects(bucket, prefix=prefix, delimiter=delimiter, start_after=start_after, token=token, limit=limit),
        )

    async def create_multipart(self, bucket: str, key: str, *, headers: Mapping[str, str], metadata: Mapping[str, str]) -> str:
        return await self._count("create_multipart", self._backend.create_multipart(bucket, key, headers=headers, metadata=metadata))

    async def upload_part(self, bucket: str, key: str, upload_id: str, number: int, payload: Payload) -> str:
        return await self._count("upload_part", self._backend.upload_part(bucket, key, upload_id, number, payload), sent=payload.size)

    async def complete_multipart(
        self, bucket: str, key: str, upload_id: str, parts: Sequence[tuple[int, str]], *, condition: Condition | None = None
    ) -> Written:
        return await self._count("complete_multipart", self._backend.complete_multipart(bucket, key, upload_id, parts, condition=condition))

    async def abort_multipart(self, bucket: str, key: str, upload_id: str) -> None:
        await self._count("abort_multipart", self._backend.abort_multipart(bucket, key, upload_id))

    async def list_multipart(self, bucket: str, *, prefix: str = "") -> Sequence[OpenUpload]:
        return await self._count("list_multipart", self._backend.list_multipart(bucket, prefix=prefix))

    async def _count(self, operation: str, work: Awaitable[T], *, sent: int = 0) -> T:
        # Status 0: cancelled, or failed in a way that the backend did not foresee.
        began, status = time.perf_counter(), 0
        try:
            result = await work
            status = 200
            return result
        except BackendError as error:
            status = error.status
            raise
        finally:
            self._observer(operation, status, sent, 0, time.perf_counter() - began)


class _ObservedDownload:
    """Counts a download when it is given back, with the bytes that were taken from it."""

    def __init__(self, download: Download, observer: Observer, *, status: int, began: float) -> None:
        self._download = download
        self._observer: Observer | None = observer
        self._status = status
        self._began = began
        self._received = 0

    def opened(self) -> Download:
        return Download(
            self._download.object,
            start=self._download.start,
            stop=self._download.stop,
            chunks=self._chunks(),
            release=self._release,
        )

    async def _chunks(self) -> AsyncGenerator[bytes, None]:
        async for chunk in self._download:
            self._received += len(chunk)
            yield chunk

    async def _release(self) -> None:
        observer, self._observer = self._observer, None
        if observer is not None:
            observer("get_object", self._status, 0, self._received, time.perf_counter() - self._began)
        await self._download.aclose()
