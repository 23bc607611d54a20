"""S3 through s3fs: its client, credentials, retries and error translation; requests of our own, since conditions and metadata matter."""

import asyncio
import errno
import os
import re
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from contextlib import aclosing
from datetime import datetime
from typing import Any

import s3fs.core
from aiohttp import ClientError as TransportError
from botocore.exceptions import BotoCoreError, NoCredentialsError, ParamValidationError
from s4_format import Buffer, quote_etag, unquote_etag

from s4fs.errors import ConditionFailedError, GatewayEndpointError
from s4fs.names import VERSION_QUERY, is_hidden
from s4fs.removal import leftovers
from s4fs.stored import UNCONDITIONAL, Condition, Moved, Span, StoredObject, Suffix, Wanted
from s4fs.targets.abc import Entry, Headers, Target

CHUNK_BYTES = 256 * 1024
RESUMES = 4
"""How often one body that breaks off is asked for again from where it broke."""
BACKOFF_SECONDS = 0.1

LARGEST_COPY_BYTES = 5 << 30
"""What CopyObject takes; above it copies are made of parts."""
COPY_PART_BYTES = 1 << 30
DELETE_BATCH = 1000

_MOVED = frozenset({"PreconditionFailed", "412", "InvalidRange", "416"})
_REFUSED = frozenset({"PreconditionFailed", "412", "ConditionalRequestConflict", "409"})
_EMPTY = frozenset({"InvalidRange", "416"})
_SHOWN = (
    "ContentType",
    "StorageClass",
    "VersionId",
    "CacheControl",
    "ContentDisposition",
    "ContentEncoding",
    "ContentLanguage",
    "Expires",
    "WebsiteRedirectLocation",
    "ServerSideEncryption",
    "SSEKMSKeyId",
    "BucketKeyEnabled",
)
"""What HEAD and GET tell beside size, ETag, time and metadata."""
_COPIED = tuple(name for name in _SHOWN if name != "VersionId")
_CONTENT_RANGE = re.compile(r"bytes (\d+)-(\d+)/")
_BROKEN = (TransportError, BotoCoreError, ConnectionError, TimeoutError, EOFError)
"""How a body breaks off."""

DEFINITE = frozenset(
    {
        "400",
        "403",
        "404",
        "405",
        "501",
        "AccessDenied",
        "AllAccessDisabled",
        "BadDigest",
        "EntityTooLarge",
        "EntityTooSmall",
        "InvalidAccessKeyId",
        "InvalidArgument",
        "InvalidBucketName",
        "InvalidPart",
        "InvalidPartOrder",
        "InvalidRequest",
        "KeyTooLongError",
        "MetadataTooLarge",
        "MethodNotAllowed",
        "NoSuchBucket",
        "NotImplemented",
        "SignatureDoesNotMatch",
    }
)
"""Refusals that say that nothing was written, and that cannot be the answer to an earlier attempt of the same write."""

Answer = Mapping[str, Any]


def code_of(error: BaseException) -> str | None:
    """The error code of S3, or the status where there is no document, behind an error of s3fs; None where the store said nothing."""
    answer = _answer_of(error)
    return None if answer is None else str(answer.get("Error", {}).get("Code", ""))


def _answer_of(error: BaseException) -> Answer | None:
    for candidate in (error, error.__cause__):
        answer = getattr(candidate, "response", None)
        if isinstance(answer, Mapping):
            return answer
    return None


class S3Target(Target):
    """Objects in buckets."""

    keeps_metadata = True
    conditional = True
    min_part_bytes = 5 << 20

    def __init__(self, fs: s3fs.core.S3FileSystem) -> None:
        super().__init__(fs)
        self._writable = False

    async def head(self, path: str) -> StoredObject:
        answer = await self._call("head_object", **self._place(path))
        return _stored(path, answer)

    async def fetch(self, path: str, wanted: Wanted | None, *, pinned: StoredObject | None = None) -> "S3Download":
        download = S3Download(self, path, wanted, pinned)
        await download.open()
        return download

    async def get(self, path: str, wanted: Wanted | None, pinned: StoredObject | None) -> Answer:
        """One GET; see `fetch`."""
        options: dict[str, object] = self._place(path)
        if isinstance(wanted, Suffix):
            options["Range"] = f"bytes=-{wanted.size}"
        elif wanted is not None:
            options["Range"] = f"bytes={wanted.start}-{'' if wanted.stop is None else wanted.stop - 1}"
        if pinned is not None and pinned.etag is not None and not getattr(self.fs, "local_expiry_check", False):
            options["IfMatch"] = quote_etag(pinned.etag)
        try:
            return await self._call("get_object", **options)
        except FileNotFoundError as error:
            if pinned is None:
                raise
            raise Moved from error
        except OSError as error:
            if code_of(error) in _MOVED and (pinned is not None or code_of(error) not in _EMPTY):
                raise Moved from error
            raise

    async def put(self, path: str, body: Sequence[Buffer], headers: Headers, condition: Condition = UNCONDITIONAL) -> str | None:
        answer = await self._conditional(
            "put_object", path, condition, Body=b"".join(body), Metadata=dict(headers.metadata), **headers.options
        )
        return unquote_etag(str(told(answer, "ETag", path)))

    async def upload(self, path: str, headers: Headers) -> "S3Upload":
        answer = await self._call("create_multipart_upload", **self._destination(path), Metadata=dict(headers.metadata), **headers.options)
        return S3Upload(self, path, str(told(answer, "UploadId", path)))

    async def copy(self, source: StoredObject, path: str, headers: Headers) -> str | None:
        if source.etag is None:
            raise OSError(errno.ENOTSUP, "the store tells no ETag, without which a copy cannot be pinned to one version", source.path)
        kept = {name: source.details[name] for name in _COPIED if source.details.get(name) is not None}
        beside = Headers(headers.metadata, {**kept, **headers.options})
        origin = {"CopySource": self._place(source.path), "CopySourceIfMatch": quote_etag(source.etag)}
        try:
            if source.size > LARGEST_COPY_BYTES:
                return await self._copy_parts(source.size, origin, path, beside)
            answer = await self._call(
                "copy_object",
                **self._destination(path),
                **origin,
                MetadataDirective="REPLACE",
                Metadata=dict(beside.metadata),
                **beside.options,
            )
        except OSError as error:
            if code_of(error) in _MOVED:
                raise Moved from error
            raise
        return unquote_etag(str(told(told(answer, "CopyObjectResult", path), "ETag", path)))

    async def _copy_parts(self, size: int, origin: Mapping[str, object], path: str, headers: Headers) -> str | None:
        upload = await self.upload(path, headers)
        try:
            for start in range(0, size, COPY_PART_BYTES):
                await upload.add_copy(origin, Span(start, min(start + COPY_PART_BYTES, size)))
            return await upload.complete(UNCONDITIONAL)
        except BaseException:
            await upload.abort()
            raise

    async def remove(self, paths: Sequence[str]) -> None:
        by_bucket: dict[str, list[dict[str, object]]] = {}
        for path in paths:
            place = self._place(path)
            by_bucket.setdefault(str(place.pop("Bucket")), []).append(place)
        for bucket, places in by_bucket.items():
            for start in range(0, len(places), DELETE_BATCH):
                await self._remove(bucket, places[start : start + DELETE_BATCH])

    async def _remove(self, bucket: str, places: Sequence[Mapping[str, object]]) -> None:
        """One DeleteObjects, which has to name each object that is gone: an empty answer is none."""
        answer = await self._call("delete_objects", Bucket=bucket, Delete={"Objects": list(places), "Quiet": False})
        gone = {row.get("Key") for row in answer.get("Deleted", ())}
        for fault in answer.get("Errors", ()):
            if fault.get("Code") not in ("NoSuchKey", "404"):
                raise OSError(errno.EIO, f"{fault.get('Code')}: {fault.get('Message')}", f"{bucket}/{fault.get('Key')}")
            gone.add(fault.get("Key"))
        for place in places:
            if place["Key"] not in gone:
                raise OSError(errno.EIO, "the answer does not say that the object was deleted", f"{bucket}/{place['Key']}")

    async def remove_tree(self, path: str) -> None:
        await self.remove(leftovers([entry.name for entry in await self.descendants(path)]))

    async def children(self, path: str) -> list[Entry]:
        if not path:
            answer = await self._call("list_buckets")
            return [Entry(bucket["Name"], None, {"CreationDate": bucket.get("CreationDate")}) for bucket in told(answer, "Buckets", path)]
        bucket, prefix = self._folder(path)
        return [entry async for entry in self._list(bucket, prefix, delimiter="/")]

    async def descendants(self, path: str, *, prefix: str = "") -> list[Entry]:
        bucket, folder = self._folder(path)
        return [entry async for entry in self._list(bucket, folder + prefix, delimiter="")]

    async def is_directory(self, path: str) -> bool:
        if not path:
            return True
        bucket, prefix = self._folder(path)
        if not prefix:
            try:
                await self._call("head_bucket", Bucket=bucket)
            except FileNotFoundError:
                return False
            return True
        try:
            async with aclosing(self._list(bucket, prefix, delimiter="/", marker=True)) as entries:
                async for entry in entries:
                    if not is_hidden(entry.name):
                        return True
        except FileNotFoundError:
            return False
        return False

    async def check_writable(self, path: str) -> None:
        if self._writable:
            return
        bucket = self._place(path)["Bucket"]
        answer: Answer | None
        try:
            answer = await self._call("head_bucket", Bucket=bucket)
        except OSError as error:
            answer = _answer_of(error)
            if answer is None:
                raise
        headers = answer.get("ResponseMetadata", {}).get("HTTPHeaders", {})
        if str(headers.get("server", "")).lower().startswith("s4-gateway"):
            raise GatewayEndpointError(
                path, "the endpoint is an S4 gateway, through which S4 objects would be compressed again; write to the bucket behind it"
            )
        self._writable = True

    async def make_directory(self, path: str, *, parents: bool, exist_ok: bool) -> None:
        bucket, prefix = self._folder(path)
        if prefix and not parents:
            # Folders are made by what lies in them.
            return
        try:
            if prefix and await self.is_directory(bucket):
                return
            await self._translated(self.fs._mkdir(bucket))
        except FileExistsError:
            if not (prefix or exist_ok):
                raise

    async def remove_directory(self, path: str) -> None:
        bucket, prefix = self._folder(path)
        if not prefix:
            await self._call("delete_bucket", Bucket=bucket)
            self.fs.invalidate_cache("")

    async def complete(self, path: str, upload_id: str, parts: list[dict[str, object]], condition: Condition) -> Answer:
        """CompleteMultipartUpload; see `Upload.complete`."""
        return await self._conditional("complete_multipart_upload", path, condition, UploadId=upload_id, MultipartUpload={"Parts": parts})

    async def part(self, method: str, path: str, **options: object) -> Answer:
        """A request about one part."""
        return await self._call(method, **self._place(path), **options)

    async def _conditional(self, method: str, path: str, condition: Condition, **options: object) -> Answer:
        if condition.if_absent:
            options["IfNoneMatch"] = "*"
        elif condition.if_match is not None:
            options["IfMatch"] = quote_etag(condition.if_match)
        try:
            return await self._call(method, **self._destination(path), **options)
        except OSError as error:
            if condition is not UNCONDITIONAL and code_of(error) in _REFUSED:
                raise ConditionFailedError(path, "the object is another one than the write was to replace") from error
            raise
        finally:
            self.fs.invalidate_cache(path)

    async def _list(self, bucket: str, prefix: str, *, delimiter: str, marker: bool = False) -> AsyncGenerator[Entry, None]:
        """Rows of a listing, page by page; the placeholder of the folder itself only on request."""
        options: dict[str, object] = {"Bucket": bucket, "Prefix": prefix, "Delimiter": delimiter}
        while True:
            answer = await self._call("list_objects_v2", **options)
            more = told(answer, "IsTruncated", f"{bucket}/{prefix}")
            for folder in answer.get("CommonPrefixes", ()):
                yield Entry(f"{bucket}/{folder['Prefix'].rstrip('/')}", None, {"StorageClass": "DIRECTORY"})
            for row in answer.get("Contents", ()):
                if row["Key"] != prefix or not prefix.endswith("/") or marker:
                    yield _entry(bucket, row)
            if not more:
                return
            options["ContinuationToken"] = told(answer, "NextContinuationToken", f"{bucket}/{prefix}")

    def _folder(self, path: str) -> tuple[str, str]:
        bucket, key, _ = self.fs.split_path(path)
        return bucket, f"{key.rstrip('/')}/" if key else ""

    def _place(self, path: str) -> dict[str, object]:
        bucket, key, version = self.fs.split_path(path)
        if not key:
            raise IsADirectoryError(errno.EISDIR, "a bucket is no object", path)
        if not version and VERSION_QUERY in path:
            # Without `version_aware`, s3fs would name the latest version instead: it is a name like any other.
            key += path[path.index(VERSION_QUERY) :]
        return {"Bucket": bucket, "Key": key, **({"VersionId": version} if version else {})}

    def _destination(self, path: str) -> dict[str, object]:
        place = self._place(path)
        if "VersionId" in place:
            raise OSError(errno.EINVAL, "a version of an object cannot be written", path)
        return place

    async def _call(self, method: str, **options: object) -> Answer:
        try:
            answer: Answer = await self._translated(self.fs._call_s3(method, **options))
        except FileNotFoundError as error:
            path = "/".join(str(options[name]) for name in ("Bucket", "Key") if name in options)
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), path) from (error.__cause__ or error)
        return answer

    @staticmethod
    async def _translated(call: Any) -> Any:
        """Await a call of s3fs, whose own translation leaves out what is not about an answer."""
        try:
            return await call
        except OSError:
            raise
        except NoCredentialsError as error:
            raise PermissionError(errno.EACCES, "no credentials for the store were found") from error
        except ParamValidationError as error:
            raise OSError(errno.EINVAL, str(error)) from error
        except (*s3fs.core.S3_RETRYABLE_ERRORS, *_BROKEN) as error:
            raise OSError(errno.EIO, f"the store did not answer: {error}") from error
        except Exception as error:
            if _answer_of(error) is None:
                raise
            raise s3fs.core.translate_boto_error(error) from error


class S3Download:
    """A body on its way, which is taken up again where it breaks off."""

    def __init__(self, target: S3Target, path: str, wanted: Wanted | None, pinned: StoredObject | None) -> None:
        self._target = target
        self._path = path
        self._wanted = wanted
        self._pinned = pinned
        self._body: Any = None
        self.start = 0
        self._stop = 0

    async def open(self) -> None:
        """Send the request and read the answer's head."""
        try:
            answer = await self._target.get(self._path, self._wanted, self._pinned)
        except OSError as error:
            if not isinstance(self._wanted, Suffix) or code_of(error) not in _EMPTY:
                raise
            # No suffix of an empty body can be had.
            self.stored = await self._target.head(self._path)
            if self.stored.size:
                raise Moved from error
            return
        self._take(answer)
        if isinstance(self._wanted, Span) and self._wanted.start != self.start:
            self._close()
            raise OSError(errno.EIO, "the store answers with other bytes than it was asked for", self._path)

    def _take(self, answer: Answer) -> None:
        self._body = answer["Body"]
        self.stored = _stored(self._path, answer)
        if self._pinned is not None and not self.stored.is_same(self._pinned):
            self._close()
            raise Moved
        content_range = _CONTENT_RANGE.match(str(answer.get("ContentRange") or ""))
        # Where the two disagree, the body is one that ends early.
        self.start = int(content_range[1]) if content_range else 0
        self._stop = int(content_range[2]) + 1 if content_range else int(told(answer, "ContentLength", self._path))

    async def __aiter__(self) -> AsyncIterator[Buffer]:
        position = self.start
        for resumes in range(RESUMES + 1):
            try:
                async for chunk in self._chunks():
                    position += len(chunk)
                    yield chunk
                if position == self._stop:
                    return
                broken: Exception = EOFError(f"{self._stop - position} bytes are missing")
            except _BROKEN as error:
                broken = error
            self._close()
            if resumes == RESUMES:
                raise OSError(errno.EIO, f"the store breaks answers off: {broken}", self._path) from broken
            await asyncio.sleep(BACKOFF_SECONDS * 2**resumes)
            stop = self._stop
            self._take(await self._target.get(self._path, Span(position, stop), self.stored))
            if (self.start, self._stop) != (position, stop):
                self._close()
                raise OSError(errno.EIO, "the store answers with other bytes than it was asked for", self._path)

    async def _chunks(self) -> AsyncIterator[bytes]:
        if self._body is not None and self._stop > self.start:
            while chunk := await self._body.read(CHUNK_BYTES):
                yield chunk

    def _close(self) -> None:
        if self._body is not None:
            self._body.close()
            self._body = None

    async def aclose(self) -> None:
        """Give the connection back; repeatable."""
        self._close()


class S3Upload:
    """A multipart upload."""

    def __init__(self, target: S3Target, path: str, upload_id: str) -> None:
        self._target = target
        self._path = path
        self._id = upload_id
        self._parts: list[dict[str, object]] = []
        self._open = True

    async def add(self, part: Sequence[Buffer]) -> None:
        number = self._number()
        answer = await self._target.part("upload_part", self._path, UploadId=self._id, PartNumber=number, Body=b"".join(part))
        self._sent(number, answer)

    async def add_copy(self, origin: Mapping[str, object], span: Span) -> None:
        """A part that is copied from another object."""
        number = self._number()
        bounds = f"bytes={span.start}-{(span.stop or 0) - 1}"
        answer = await self._target.part(
            "upload_part_copy", self._path, UploadId=self._id, PartNumber=number, CopySourceRange=bounds, **origin
        )
        self._sent(number, told(answer, "CopyPartResult", self._path))

    async def complete(self, condition: Condition) -> str | None:
        # After an answer that was lost the upload may be the object: then it must not be aborted.
        self._open = False
        try:
            answer = await self._target.complete(self._path, self._id, sorted(self._parts, key=_part_number), condition)
        except OSError as error:
            self._open = isinstance(error, ConditionFailedError | PermissionError) or code_of(error) in DEFINITE
            raise
        return unquote_etag(str(told(answer, "ETag", self._path)))

    async def abort(self) -> None:
        if self._open:
            self._open = False
            try:
                await self._target.part("abort_multipart_upload", self._path, UploadId=self._id)
            except OSError:
                # What is left are parts nobody can see, which the bucket's lifecycle rule for incomplete uploads removes.
                return

    def _number(self) -> int:
        number = len(self._parts) + 1
        self._parts.append({"PartNumber": number})
        return number

    def _sent(self, number: int, answer: Answer) -> None:
        self._parts[number - 1]["ETag"] = told(answer, "ETag", self._path)


def _part_number(part: Mapping[str, object]) -> int:
    return int(str(part["PartNumber"]))


def told(answer: Answer, name: str, path: str) -> Any:
    """What every store tells in this answer. A portal or a proxy that answers for the store does not, and its page is no object.

    Raises:
        OSError: it is not there.
    """
    if answer.get(name) in (None, ""):
        raise OSError(errno.EIO, f"the answer has no {name}, so it does not come from an object store", path)
    return answer[name]


def _stored(path: str, answer: Answer) -> StoredObject:
    told(answer, "ETag", path)
    content_range = answer.get("ContentRange")
    size = int(str(content_range).rpartition("/")[2]) if content_range else int(told(answer, "ContentLength", path))
    details = {name: answer[name] for name in _SHOWN if answer.get(name) is not None}
    return StoredObject(path, size, _etag(answer), _time(answer.get("LastModified")), answer.get("Metadata") or {}, details)


def _entry(bucket: str, row: Answer) -> Entry:
    name = f"{bucket}/{row['Key']}"
    return Entry(
        name,
        StoredObject(name, int(row["Size"]), _etag(row), _time(row.get("LastModified"))),
        {"StorageClass": row.get("StorageClass", "STANDARD")},
    )


def _etag(answer: Answer) -> str | None:
    return unquote_etag(str(answer["ETag"])) if answer.get("ETag") else None


def _time(value: object) -> datetime | None:
    return value if isinstance(value, datetime) else None
