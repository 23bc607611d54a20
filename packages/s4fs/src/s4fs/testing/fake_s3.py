"""S3 in memory behind the calls of s3fs: ranges, conditions, multipart uploads and error codes as a real store has them.

It stands in for `s3fs.S3FileSystem` where a test counts requests, lets answers fail, or needs no server.
"""

import asyncio
import hashlib
import itertools
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, ClassVar

from botocore.exceptions import ClientError, ConnectionClosedError
from fsspec.asyn import AsyncFileSystem
from s3fs.errors import translate_boto_error
from s4_format import quote_etag, unquote_etag

_STATUS = {"NoSuchKey": 404, "NoSuchBucket": 404, "NoSuchUpload": 404, "404": 404, "PreconditionFailed": 412, "InvalidRange": 416}
_KEPT = ("ContentType", "CacheControl", "StorageClass")
PAGE = 1000


@dataclass(slots=True)
class FakeObject:
    """One stored object."""

    body: bytes
    etag: str
    metadata: Mapping[str, str]
    headers: Mapping[str, Any]
    modified: datetime


@dataclass(frozen=True, slots=True)
class Request:
    """One request that was answered, or failed."""

    method: str
    key: str
    sent: int
    """Bytes of body in the answer."""


Fault = Callable[[str, Mapping[str, Any]], "Exception | None"]
"""Told the method and options of each request; what it returns is raised instead of the answer. See `FakeS3.after` for lost answers."""


def refusal(code: str, method: str, *, server: str = "Fake") -> ClientError:
    """An error document of S3."""
    status = _STATUS.get(code) or (int(code) if code.isdigit() else 503 if code in ("SlowDown", "ServiceUnavailable") else 400)
    meta = {"HTTPStatusCode": status, "HTTPHeaders": {"server": server}}
    return ClientError({"Error": {"Code": code, "Message": code}, "ResponseMetadata": meta}, method)


def lost() -> Exception:
    """A connection that broke before the answer."""
    broken: Exception = ConnectionClosedError(endpoint_url="http://fake")
    return broken


@dataclass(slots=True)
class FakeS3:
    """The store: buckets of objects, and what was asked of it."""

    buckets: dict[str, dict[str, FakeObject]] = field(default_factory=dict)
    requests: list[Request] = field(default_factory=list)
    server: str = "Fake"
    """The Server header."""
    before: Fault | None = None
    """Fails requests that then have no effect."""
    after: Fault | None = None
    """Fails requests that have had their effect: their answers are lost."""
    cut: Callable[[bytes], bytes] | None = None
    """What of a body reaches the reader before the connection breaks."""
    delay: float = 0.0
    """Seconds that each request takes."""
    uploads: dict[str, tuple[str, str, dict[str, Any], dict[int, bytes]]] = field(default_factory=dict)
    _clock: itertools.count = field(default_factory=itertools.count)  # type: ignore[type-arg]

    def put(self, path: str, body: bytes, metadata: Mapping[str, str] | None = None, **headers: Any) -> FakeObject:
        """Store an object past any file system; its ETag is that of a PUT."""
        bucket, _, key = path.partition("/")
        made = FakeObject(body, hashlib.md5(body, usedforsecurity=False).hexdigest(), dict(metadata or {}), headers, self._now())
        self.buckets.setdefault(bucket, {})[key] = made
        return made

    def get(self, path: str) -> FakeObject:
        """The object as it is stored."""
        bucket, _, key = path.partition("/")
        return self.buckets[bucket][key]

    def count(self, method: str | None = None) -> int:
        """Requests so far, of one kind or of all."""
        return sum(method in (None, request.method) for request in self.requests)

    def _now(self) -> datetime:
        return datetime(2026, 1, 1, tzinfo=UTC) + timedelta(seconds=next(self._clock))

    async def call(self, method: str, options: dict[str, Any]) -> dict[str, Any]:
        """Answer one request.

        Raises:
            ClientError, BotoCoreError: as botocore.
        """
        await asyncio.sleep(self.delay)
        self.requests.append(Request(method, str(options.get("Key", "")), 0))
        place = len(self.requests) - 1
        fault = self.before(method, options) if self.before else None
        if fault is not None:
            raise fault
        bucket = options.get("Bucket")
        if bucket is not None and bucket not in self.buckets and method != "create_bucket":
            raise refusal("NoSuchBucket", method, server=self.server)
        answer: dict[str, Any] = getattr(self, f"_{method}")(**options)
        if "Body" in answer:
            self.requests[place] = Request(method, str(options.get("Key", "")), len(answer["Body"].whole))
        answer["ResponseMetadata"] = {"HTTPStatusCode": 200, "HTTPHeaders": {"server": self.server}}
        fault = self.after(method, options) if self.after else None
        if fault is not None:
            raise fault
        return answer

    def _list_buckets(self) -> dict[str, Any]:
        return {"Buckets": [{"Name": name, "CreationDate": None} for name in sorted(self.buckets)]}

    def _head_bucket(self, Bucket: str) -> dict[str, Any]:
        return {}

    def _create_bucket(self, Bucket: str) -> dict[str, Any]:
        self.buckets[Bucket] = {}
        return {}

    def _delete_bucket(self, Bucket: str) -> dict[str, Any]:
        if self.buckets[Bucket]:
            raise refusal("BucketNotEmpty", "DeleteBucket", server=self.server)
        del self.buckets[Bucket]
        return {}

    def _find(self, method: str, options: Mapping[str, Any]) -> FakeObject:
        found = self.buckets[options["Bucket"]].get(options["Key"])
        if found is None:
            raise refusal("404" if method == "HeadObject" else "NoSuchKey", method, server=self.server)
        if options.get("IfMatch") is not None and unquote_etag(options["IfMatch"]) != found.etag:
            raise refusal("PreconditionFailed", method, server=self.server)
        return found

    @staticmethod
    def _told(found: FakeObject) -> dict[str, Any]:
        return {"ETag": quote_etag(found.etag), "LastModified": found.modified, "Metadata": dict(found.metadata), **found.headers}

    def _head_object(self, **options: Any) -> dict[str, Any]:
        found = self._find("HeadObject", options)
        return {**self._told(found), "ContentLength": len(found.body)}

    def _get_object(self, **options: Any) -> dict[str, Any]:
        found = self._find("GetObject", options)
        answer, body = self._told(found), found.body
        if "Range" in options:
            first, _, last = str(options["Range"]).removeprefix("bytes=").partition("-")
            start = max(len(body) - int(last), 0) if not first else int(first)
            stop = min(int(last) + 1, len(body)) if first and last else len(body)
            if start >= stop:
                raise refusal("InvalidRange", "GetObject", server=self.server)
            answer["ContentRange"] = f"bytes {start}-{stop - 1}/{len(body)}"
            body = body[start:stop]
        return {**answer, "ContentLength": len(body), "Body": FakeBody(body, self.cut)}

    def _check(self, method: str, options: Mapping[str, Any]) -> None:
        found = self.buckets[options["Bucket"]].get(options["Key"])
        wanted = options.get("IfMatch")
        if options.get("IfNoneMatch") == "*" and found is not None:
            raise refusal("PreconditionFailed", method, server=self.server)
        if wanted is not None and (found is None or unquote_etag(wanted) != found.etag):
            raise refusal("PreconditionFailed", method, server=self.server)

    def _put_object(self, **options: Any) -> dict[str, Any]:
        self._check("PutObject", options)
        headers = {name: options[name] for name in _KEPT if name in options}
        made = self.put(f"{options['Bucket']}/{options['Key']}", bytes(options["Body"]), options.get("Metadata"), **headers)
        return {"ETag": quote_etag(made.etag)}

    def _copy_object(self, **options: Any) -> dict[str, Any]:
        source = {**options["CopySource"], "IfMatch": options.get("CopySourceIfMatch")}
        found = self._find("CopyObject", source)
        headers = {name: options[name] for name in _KEPT if name in options}
        made = self.put(f"{options['Bucket']}/{options['Key']}", found.body, options["Metadata"], **headers)
        return {"CopyObjectResult": {"ETag": quote_etag(made.etag)}}

    def _delete_objects(self, Bucket: str, Delete: Mapping[str, Any]) -> dict[str, Any]:
        for one in Delete["Objects"]:
            self.buckets[Bucket].pop(one["Key"], None)
        return {} if Delete.get("Quiet") else {"Deleted": [{"Key": one["Key"]} for one in Delete["Objects"]]}

    def _list_objects_v2(
        self,
        Bucket: str,
        Prefix: str = "",
        Delimiter: str = "",
        ContinuationToken: str = "",
    ) -> dict[str, Any]:
        objects = self.buckets[Bucket]
        rows: dict[str, FakeObject | None] = {}
        for key in sorted(key for key in objects if key.startswith(Prefix)):
            inside = key[len(Prefix) :]
            if Delimiter and Delimiter in inside:
                rows[Prefix + inside.partition(Delimiter)[0] + Delimiter] = None
            else:
                rows[key] = objects[key]
        names = [name for name in rows if name > ContinuationToken]
        page = names[:PAGE]
        contents = [
            {"Key": name, "Size": len(found.body), "ETag": quote_etag(found.etag), "LastModified": found.modified}
            for name in page
            if (found := rows[name]) is not None
        ]
        more = {"IsTruncated": True, "NextContinuationToken": page[-1]} if len(names) > PAGE else {"IsTruncated": False}
        return {"Contents": contents, "CommonPrefixes": [{"Prefix": name} for name in page if rows[name] is None], **more}

    def _create_multipart_upload(self, **options: Any) -> dict[str, Any]:
        upload = f"upload-{len(self.requests)}"
        self.uploads[upload] = options["Bucket"], options["Key"], options, {}
        return {"UploadId": upload}

    def _upload_part(self, **options: Any) -> dict[str, Any]:
        parts = self._upload(options["UploadId"])[3]
        parts[options["PartNumber"]] = bytes(options["Body"])
        return {"ETag": quote_etag(hashlib.md5(options["Body"], usedforsecurity=False).hexdigest())}

    def _complete_multipart_upload(self, **options: Any) -> dict[str, Any]:
        self._check("CompleteMultipartUpload", options)
        bucket, key, created, parts = self._upload(options["UploadId"])
        numbers = [part["PartNumber"] for part in options["MultipartUpload"]["Parts"]]
        headers = {name: created[name] for name in _KEPT if name in created}
        made = self.put(f"{bucket}/{key}", b"".join(parts[number] for number in numbers), created.get("Metadata"), **headers)
        made.etag = f"{made.etag}-{len(numbers)}"
        del self.uploads[options["UploadId"]]
        return {"ETag": quote_etag(made.etag)}

    def _abort_multipart_upload(self, **options: Any) -> dict[str, Any]:
        self._upload(options["UploadId"])
        del self.uploads[options["UploadId"]]
        return {}

    def _upload(self, upload: str) -> tuple[str, str, dict[str, Any], dict[int, bytes]]:
        if upload not in self.uploads:
            raise refusal("NoSuchUpload", "UploadPart", server=self.server)
        return self.uploads[upload]


class FakeBody:
    """The body of an answer."""

    def __init__(self, whole: bytes, cut: Callable[[bytes], bytes] | None) -> None:
        self.whole = whole
        self._sent = whole if cut is None else cut(whole)
        self._at = 0

    async def read(self, size: int = -1) -> bytes:
        """The next bytes; the connection breaks where the answer was cut."""
        await asyncio.sleep(0)
        stop = len(self._sent) if size < 0 else min(self._at + size, len(self._sent))
        data, self._at = self._sent[self._at : stop], stop
        if not data and len(self._sent) < len(self.whole):
            raise ConnectionResetError("the connection broke")
        return data

    def close(self) -> None:
        """Nothing is held."""


class FakeS3FileSystem(AsyncFileSystem):  # type: ignore[misc]  # fsspec has no annotations
    """What `S4FileSystem` uses of s3fs, over a `FakeS3`."""

    protocol: ClassVar[str] = "fakes3"
    root_marker = ""
    cachable = False

    def __init__(self, store: FakeS3, *, version_aware: bool = False, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.version_aware = version_aware
        self.store = store

    @classmethod
    def _strip_protocol(cls, path: Any) -> Any:
        return [cls._strip_protocol(one) for one in path] if isinstance(path, list) else str(path).removeprefix("s3://").rstrip("/")

    def split_path(self, path: str) -> tuple[str, str, str | None]:
        """Bucket, key and version."""
        bucket, _, key = path.lstrip("/").partition("/")
        key, _, version = key.partition("?versionId=")
        return bucket, key, version if self.version_aware and version else None

    async def _call_s3(self, method: str, **options: Any) -> dict[str, Any]:
        try:
            return await self.store.call(method, options)
        except ClientError as error:
            raise translate_boto_error(error) from error

    async def _mkdir(self, path: str, **kwargs: Any) -> None:
        if path in self.store.buckets:
            raise FileExistsError(path)
        await self._call_s3("create_bucket", Bucket=path)
