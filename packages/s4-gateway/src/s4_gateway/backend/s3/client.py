"""The S3 backend: any S3 endpoint behind `backend.abc.Backend`."""

import asyncio
import math
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from copy import copy
from dataclasses import replace

from s4_gateway.backend._rules import MAX_DELETES, check_manifest, check_part_number, refuse
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
    Outcome,
    Payload,
    Pieces,
    Span,
    StoredObject,
    Suffix,
    Written,
)
from s4_gateway.backend.s3 import xml
from s4_gateway.backend.s3.address import bucket_path, copy_source, object_path, raw_query
from s4_gateway.backend.s3.batch import delete_batch, deleted
from s4_gateway.backend.s3.credentials import Credentials
from s4_gateway.backend.s3.download import empty_download, open_download, range_header
from s4_gateway.backend.s3.headers import number, stored_headers, stored_object, unquoted, unusable
from s4_gateway.backend.s3.listing import list_page
from s4_gateway.backend.s3.moments import UploadStarts, interval
from s4_gateway.backend.s3.options import Observer, S3Options
from s4_gateway.backend.s3.probe import check_greeting, find_bucket, known, try_out
from s4_gateway.backend.s3.report import Fact, Origin, StoreReport
from s4_gateway.backend.s3.request import Guard, Request
from s4_gateway.backend.s3.retries import Answer, Requester

MAX_LIST_PAGES = 100_000
"""Pages of one listing of uploads or buckets, 1,000 entries each; a store that goes on for ever is an error."""

LEARN_AGAIN_SECONDS = 60.0
"""Between searches for a bucket to try out what the store can do."""

_ABSENT_FEATURE = frozenset({"NotImplemented", "MethodNotAllowed"})


class S3Backend:
    """A client of one S3 endpoint.

    Retries, what they mean for `outcome` and `retried`, and signing are in `retries`.

    Args:
        options: endpoint and limits.
        credentials: the store's keys.
        observe: told of every attempt, for metrics.

    Attributes:
        requests: attempts so far by method name; may be cleared.
    """

    def __init__(self, options: S3Options, credentials: Credentials, *, observe: Observer | None = None) -> None:
        self.options = options
        self._http = Requester(options, credentials, observe)
        self._starts = UploadStarts()
        self._report = known(options.endpoint_url, strict_parts=options.strict_parts)
        self._capabilities = self._report.capabilities()
        self._learning = asyncio.Lock()
        self._learn_again = math.inf

    @property
    def requests(self) -> Counter[str]:
        return self._http.requests

    @property
    def capabilities(self) -> Capabilities:
        return self._capabilities

    @property
    def report(self) -> StoreReport:
        """What `capabilities` rests on."""
        return self._report

    async def start(self) -> None:
        """Open the pool, and try out what the store can do where it lets us write.

        Raises:
            BackendError: the store cannot be reached or fails.
            SettingsError: it refuses our keys, or is an S4 gateway itself.
        """
        self._http.start()
        try:
            greeting = await self._http.greet()
            check_greeting(greeting, self.options.endpoint_url)
            self._report = replace(self._report, server=greeting.server, clock_skew=greeting.skew)
            bucket = self.options.probe_bucket or await find_bucket(self)
            if bucket is not None:
                await self._learn(bucket)
            self._learn_again = time.monotonic() + LEARN_AGAIN_SECONDS
        except BaseException:
            await self.close()
            raise

    async def close(self) -> None:
        """Drop all connections; repeatable."""
        await self._http.close()

    async def _learn(self, bucket: str) -> None:
        """Try out what the store can do, once."""
        async with self._learning:
            if self._report.tried:
                return
            granted = Fact(value=True, origin=Origin.ASSUMED)
            twin = copy(self)
            twin._learn_again = math.inf  # noqa: SLF001 - of our own class; its own conditional writes are what is tried out
            twin._capabilities = replace(self._capabilities, conditional_put=True, conditional_complete=True)  # noqa: SLF001 - of our own class
            twin._report = replace(self._report, conditional_copy=granted)  # noqa: SLF001
            self._report = await try_out(twin, bucket, self._report)
            self._capabilities = self._report.capabilities()

    async def _learn_late(self) -> None:
        """Before a conditional write, where there was no bucket to try at the start: another gateway may have made one since."""
        if self._report.tried or time.monotonic() < self._learn_again:
            return
        self._learn_again = time.monotonic() + LEARN_AGAIN_SECONDS
        with suppress(BackendError):
            bucket = await find_bucket(self)
            if bucket is not None:
                await self._learn(bucket)

    # Buckets

    async def ping(self) -> None:
        """Any answer but a failure of the store counts: keys may well lack the right to list buckets."""
        await self._http.greet()

    async def list_buckets(self) -> Sequence[Bucket]:
        buckets: list[Bucket] = []
        token: str | None = None
        for _ in range(MAX_LIST_PAGES):
            answer = await self._http.call(Request("list_buckets", "GET", "/", raw_query([("continuation-token", token)])))
            page, token = xml.bucket_page(answer.body)
            buckets += page
            if token is None:
                return buckets
        raise unusable("an endless list of buckets")

    async def create_bucket(self, bucket: str, *, location: str | None = None) -> None:
        where = location or self.options.region
        body = None if where == "us-east-1" else Pieces.of(xml.create_bucket_document(where))
        await self._http.call(Request("create_bucket", "PUT", bucket_path(bucket), payload=body))
        if not self._report.tried:
            # There was no bucket at the start. What cannot be found out now stays assumed: the bucket has been made all the same.
            with suppress(BackendError):
                await self._learn(bucket)

    async def delete_bucket(self, bucket: str) -> None:
        await self._http.call(Request("delete_bucket", "DELETE", bucket_path(bucket)))

    async def head_bucket(self, bucket: str) -> BucketState:
        """Up to three requests. A store that has no versioning or no lock has none of it in this bucket; other failures are raised."""
        path = bucket_path(bucket)
        head = await self._http.call(Request("head_bucket", "HEAD", path))
        versioned = await self._is_versioned(path)
        # S3 refuses locks in buckets without versioning.
        locked = versioned and await self._is_locked(path)
        return BucketState(head.headers.get("x-amz-bucket-region"), versioned, locked)

    async def _is_versioned(self, path: str) -> bool:
        try:
            answer = await self._http.call(Request("head_bucket", "GET", path, "versioning="))
        except BackendError as error:
            if error.code in _ABSENT_FEATURE:
                return False
            raise
        return answer.document("VersioningConfiguration").text("Status") in ("Enabled", "Suspended")

    async def _is_locked(self, path: str) -> bool:
        try:
            answer = await self._http.call(Request("head_bucket", "GET", path, "object-lock="))
        except BackendError as error:
            if error.code in _ABSENT_FEATURE or error.code == "ObjectLockConfigurationNotFoundError":
                return False
            raise
        return answer.document("ObjectLockConfiguration").text("ObjectLockEnabled") == "Enabled"

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
        if condition is not None:
            await self._learn_late()
        wire = stored_headers(headers, metadata)
        _add_condition(wire, condition, granted=self._capabilities.conditional_put)
        answer = await self._http.call(Request("put_object", "PUT", object_path(bucket, key), headers=wire, payload=payload, has_key=True))
        return _written(answer, answer.headers.get("etag"))

    async def head_object(self, bucket: str, key: str, *, version_id: str | None = None) -> StoredObject:
        return await self._head("head_object", bucket, key, version_id=version_id)

    async def get_object(
        self,
        bucket: str,
        key: str,
        *,
        span: Span | Suffix | None = None,
        if_match: str | None = None,
        version_id: str | None = None,
    ) -> Download:
        if isinstance(span, Span) and span.stop is not None and span.stop <= span.start:
            raise refuse("InvalidRange")
        if isinstance(span, Suffix) and span.length <= 0:
            return await self._download_nothing(bucket, key, if_match=if_match, version_id=version_id, anyway=True)
        wire = _if_match(if_match)
        wanted = range_header(span)
        if wanted is None:
            wire["x-amz-checksum-mode"] = "ENABLED"
        else:
            wire["range"] = wanted
        query = raw_query([("versionId", version_id)])
        try:
            opened = await self._http.open(Request("get_object", "GET", object_path(bucket, key), query, headers=wire, has_key=True))
        except BackendError as error:
            if isinstance(span, Suffix) and error.status == 416:
                return await self._download_nothing(bucket, key, if_match=if_match, version_id=version_id, anyway=False)
            raise
        return open_download(opened, key, span=span, if_match=if_match)

    async def _download_nothing(self, bucket: str, key: str, *, if_match: str | None, version_id: str | None, anyway: bool) -> Download:
        """The empty tail of an object; unless `anyway`, only of an empty object: S3 answers 416 to every suffix of one."""
        stored = await self._head("get_object", bucket, key, version_id=version_id, if_match=if_match)
        if if_match is not None and stored.etag != if_match:
            raise refuse("PreconditionFailed")
        if stored.size and not anyway:
            raise BackendError("ServiceUnavailable", 503, "the object changed while its end was read")
        return empty_download(stored)

    async def _head(self, operation: str, bucket: str, key: str, *, version_id: str | None, if_match: str | None = None) -> StoredObject:
        wire = {**_if_match(if_match), "x-amz-checksum-mode": "ENABLED"}
        query = raw_query([("versionId", version_id)])
        answer = await self._http.call(Request(operation, "HEAD", object_path(bucket, key), query, headers=wire, has_key=True))
        size = number(answer.headers, "content-length")
        if size is None:
            raise unusable("no Content-Length")
        return stored_object(key, answer.headers, size=size)

    async def delete_object(self, bucket: str, key: str, *, version_id: str | None = None) -> Deleted:
        query = raw_query([("versionId", version_id)])
        answer = await self._http.call(Request("delete_object", "DELETE", object_path(bucket, key), query, has_key=True))
        marker = answer.headers.get("x-amz-delete-marker") == "true"
        return deleted(key, version_id, marker=marker, marker_version_id=answer.headers.get("x-amz-version-id"))

    async def delete_objects(self, bucket: str, targets: Sequence[tuple[str, str | None]]) -> Sequence[Deleted]:
        if not 1 <= len(targets) <= MAX_DELETES:
            raise refuse("MalformedXML", "A delete names 1 to 1,000 objects.")
        in_xml = [target for target in targets if xml.is_expressible(target[0])]
        outcomes = await delete_batch(self._http, bucket_path(bucket), in_xml) if in_xml else {}
        return [outcomes[target] if target in outcomes else await self._delete_alone(bucket, *target) for target in targets]

    async def _delete_alone(self, bucket: str, key: str, version_id: str | None) -> Deleted:
        """For keys that XML cannot hold."""
        try:
            return await self.delete_object(bucket, key, version_id=version_id)
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
        if condition is not None:
            await self._learn_late()
        wire = stored_headers(headers, metadata)
        wire["x-amz-copy-source"] = copy_source(source_bucket, source_key, source_version_id)
        wire["x-amz-copy-source-if-match"] = f'"{source_etag}"'
        wire["x-amz-metadata-directive"] = "REPLACE"
        _add_condition(wire, condition, granted=bool(self._report.conditional_copy.value))
        answer = await self._http.call(Request("copy_object", "PUT", object_path(bucket, key), headers=wire, commits=True, has_key=True))
        return _written(answer, answer.document("CopyObjectResult").text("ETag"))

    async def list_objects(
        self, bucket: str, *, prefix: str = "", delimiter: str = "", start_after: str = "", token: str | None = None, limit: int = 1000
    ) -> ListPage:
        query = raw_query(
            [
                ("list-type", "2"),
                ("encoding-type", "url"),
                ("max-keys", str(limit)),
                ("prefix", prefix or None),
                ("delimiter", delimiter or None),
                ("start-after", start_after or None if token is None else None),
                ("continuation-token", token),
            ]
        )
        answer = await self._http.call(Request("list_objects", "GET", bucket_path(bucket), query))
        return list_page(answer.body)

    # Multipart uploads

    async def create_multipart(self, bucket: str, key: str, *, headers: Mapping[str, str], metadata: Mapping[str, str]) -> str:
        """Where an attempt is lost, its upload stays open without anybody knowing its id; `list_multipart` shows it."""
        wire = stored_headers(headers, metadata)
        answer = await self._http.call(
            Request("create_multipart", "POST", object_path(bucket, key), "uploads=", headers=wire, has_key=True)
        )
        upload_id = answer.document("InitiateMultipartUploadResult").text("UploadId")
        if not upload_id:
            raise unusable("no UploadId")
        self._starts.opened(upload_id, interval(answer.headers.get("date", ""), answer.seconds)[0])
        return upload_id

    async def upload_part(self, bucket: str, key: str, upload_id: str, number: int, payload: Payload) -> str:
        check_part_number(number)
        query = raw_query([("partNumber", str(number)), ("uploadId", upload_id)])
        request = Request("upload_part", "PUT", object_path(bucket, key), query, payload=payload, guard=Guard.END_TO_END, has_key=True)
        answer = await self._http.call(request)
        return _etag(answer.headers.get("etag"))

    async def complete_multipart(
        self, bucket: str, key: str, upload_id: str, parts: Sequence[tuple[int, str]], *, condition: Condition | None = None
    ) -> Written:
        check_manifest(parts)
        if condition is not None:
            await self._learn_late()
        wire: dict[str, str] = {"content-type": "application/xml"}
        _add_condition(wire, condition, granted=self._capabilities.conditional_complete)
        request = Request(
            "complete_multipart",
            "POST",
            object_path(bucket, key),
            raw_query([("uploadId", upload_id)]),
            headers=wire,
            payload=Pieces.of(xml.complete_document(parts)),
            commits=True,
            has_key=True,
        )
        answer = await self._http.call(request)
        written = _written(answer, answer.document("CompleteMultipartUploadResult").text("ETag"))
        earliest = self._starts.earliest(upload_id)
        self._starts.ended(upload_id)
        return Written(written.etag, min(earliest, written.earliest), written.latest, written.version_id)

    async def abort_multipart(self, bucket: str, key: str, upload_id: str) -> None:
        query = raw_query([("uploadId", upload_id)])
        await self._http.call(Request("abort_multipart", "DELETE", object_path(bucket, key), query, has_key=True))
        self._starts.ended(upload_id)

    async def list_multipart(self, bucket: str, *, prefix: str = "") -> Sequence[OpenUpload]:
        path = bucket_path(bucket)
        uploads: list[OpenUpload] = []
        marker: tuple[str, str] | None = None
        for _ in range(MAX_LIST_PAGES):
            key_marker, id_marker = marker or (None, None)
            query = raw_query(
                [
                    ("uploads", ""),
                    ("encoding-type", "url"),
                    ("max-uploads", "1000"),
                    ("prefix", prefix or None),
                    ("key-marker", key_marker),
                    ("upload-id-marker", id_marker or None),
                ]
            )
            answer = await self._http.call(Request("list_multipart", "GET", path, query))
            page, following = xml.upload_page(answer.body)
            uploads += page
            if following is None:
                return uploads
            if following == marker:
                break
            marker = following
        raise unusable("an endless list of uploads")


def _if_match(etag: str | None) -> dict[str, str]:
    return {} if etag is None else {"if-match": f'"{etag}"'}


def _add_condition(wire: dict[str, str], condition: Condition | None, *, granted: bool) -> None:
    """Put the condition of a write into its headers; a store that would ignore it is never asked."""
    if condition is None or condition == Condition():
        return
    if not granted:
        raise refuse("NotImplemented", "The storage backend has no conditional writes.")
    if condition.if_absent:
        wire["if-none-match"] = "*"
    if condition.if_match is not None:
        wire["if-match"] = f'"{condition.if_match}"'


def _etag(value: str | None) -> str:
    etag = unquoted(value or "")
    if not etag:
        raise BackendError("InternalError", 500, "the storage backend told no ETag", outcome=Outcome.UNKNOWN)
    return etag


def _written(answer: Answer, etag: str | None) -> Written:
    earliest, latest = interval(answer.headers.get("date", ""), answer.seconds)
    return Written(_etag(etag), earliest, latest, answer.headers.get("x-amz-version-id"))
