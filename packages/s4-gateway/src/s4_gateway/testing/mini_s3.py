"""A small S3 over `MemoryStore`, with the oddities that real stores have."""

import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from email.utils import formatdate
from functools import partial
from urllib.parse import quote_plus, unquote
from xml.etree import ElementTree
from xml.sax.saxutils import escape

from s4_gateway.backend._rules import resolve_span
from s4_gateway.backend.abc import SYSTEM_HEADERS, BackendError, Capabilities, Condition, Deleted, Span, StoredObject, Suffix, Written
from s4_gateway.backend.memory_store import MemoryStore
from s4_gateway.testing.exchange import Received, Reply, error_reply

META = "x-amz-meta-"
AGAIN = "x-mini-again"
"""Header of an answer that confirms a Complete without doing anything."""
NAMESPACE = "{http://s3.amazonaws.com/doc/2006-03-01/}"
XML = '<?xml version="1.0" encoding="UTF-8"?>'


@dataclass(frozen=True, slots=True)
class Quirks:
    """How this store differs from S3."""

    ignores_put_conditions: bool = False
    ignores_complete_conditions: bool = False
    ignores_copy_conditions: bool = False
    refuses_conditions: bool = False
    counts_meta_prefix: bool = False
    keeps_values: str | None = None
    """Metadata values that this codec cannot read come back with question marks."""
    unordered: bool = False
    readonly: bool = False
    keeps_objects: bool = False
    """Refuses to delete."""
    hides_buckets: bool = False
    no_versioning: bool = False
    """Does not know the requests about versions and locks."""
    empty_suffix_is_partial: bool = False
    fails_copy: bool = False
    confirms_again: bool = False
    """Says yes to a Complete that comes again, as versitygw does, whatever is at the key by then."""
    server: str = "mini"


class MiniS3:
    """Answers requests; a handler for whatever brings them."""

    def __init__(
        self,
        capabilities: Capabilities | None = None,
        quirks: Quirks | None = None,
        *,
        clock: Callable[[], float] = time.time,
        opaque_etags: bool = False,
    ) -> None:
        self.quirks = quirks or Quirks()
        self.store = MemoryStore(capabilities or Capabilities(min_part_size=1000), clock=clock, opaque_etags=opaque_etags)
        self._clock = clock
        self._completed: dict[str, Written] = {}

    async def __call__(self, request: Received) -> Reply:
        try:
            reply = self._route(request)(request)
        except BackendError as error:
            headers = {"content-range": "bytes */0"} if error.status == 416 else {}
            reply = replace(error_reply(error.code, error.status, error.message), headers=headers)
        except ElementTree.ParseError:
            reply = error_reply("MalformedXML", 400)
        own = {"server": self.quirks.server, "date": formatdate(self._clock(), usegmt=True)}
        return replace(reply, headers={**own, **reply.headers})

    def _route(self, request: Received) -> Callable[[Received], Reply]:
        bucket, key = request.address
        level = "object" if key else "bucket" if bucket else "service"
        sub = next((name for name in ("uploads", "uploadId", "delete", "versioning", "object-lock") if name in request.query), "")
        return partial(ROUTES[request.method, level, sub], self)

    # Buckets

    def list_buckets(self, request: Received) -> Reply:
        if self.quirks.hides_buckets:
            raise BackendError("AccessDenied", 403, "not for you")
        items = "".join(
            f"<Bucket><Name>{bucket.name}</Name><CreationDate>{iso(bucket.created)}</CreationDate></Bucket>"
            for bucket in self.store.buckets()
        )
        return xml(f"<ListAllMyBucketsResult><Buckets>{items}</Buckets></ListAllMyBucketsResult>")

    def create_bucket(self, request: Received) -> Reply:
        location = document(request).findtext(f"{NAMESPACE}LocationConstraint") if request.body else None
        self.store.create_bucket(request.address[0], location)
        return Reply()

    def delete_bucket(self, request: Received) -> Reply:
        self.store.delete_bucket(request.address[0])
        return Reply(204)

    def head_bucket(self, request: Received) -> Reply:
        return Reply(headers={"x-amz-bucket-region": self.store.state(request.address[0]).region or "us-east-1"})

    def get_versioning(self, request: Received) -> Reply:
        if self.quirks.no_versioning:
            raise BackendError("NotImplemented", 501, "no versions here")
        versioned = self.store.state(request.address[0]).versioned
        return xml(f"<VersioningConfiguration>{'<Status>Enabled</Status>' if versioned else ''}</VersioningConfiguration>")

    def get_lock(self, request: Received) -> Reply:
        if not self.store.state(request.address[0]).locked:
            raise BackendError("ObjectLockConfigurationNotFoundError", 404, "no lock")
        return xml("<ObjectLockConfiguration><ObjectLockEnabled>Enabled</ObjectLockEnabled></ObjectLockConfiguration>")

    def list_objects(self, request: Received) -> Reply:
        query = request.query
        page = self.store.page(
            request.address[0],
            prefix=query.get("prefix", ""),
            delimiter=query.get("delimiter", ""),
            start_after=query.get("start-after", ""),
            token=query.get("continuation-token"),
            limit=int(query["max-keys"]),
        )
        entries = list(reversed(page.entries)) if self.quirks.unordered else page.entries
        items = [
            f"<Contents><Key>{quote_plus(entry.key)}</Key><LastModified>{iso(entry.modified)}</LastModified>"
            f"<ETag>&quot;{entry.etag}&quot;</ETag><Size>{entry.size}</Size><StorageClass>STANDARD</StorageClass></Contents>"
            for entry in entries
        ]
        items += [f"<CommonPrefixes><Prefix>{quote_plus(prefix)}</Prefix></CommonPrefixes>" for prefix in page.prefixes]
        more = "" if page.token is None else f"<NextContinuationToken>{page.token}</NextContinuationToken>"
        head = f"<EncodingType>url</EncodingType><IsTruncated>{'true' if page.token else 'false'}</IsTruncated>{more}"
        return xml(f'<ListBucketResult xmlns="{NAMESPACE[1:-1]}">{head}{"".join(items)}</ListBucketResult>')

    # Objects

    def put_object(self, request: Received) -> Reply:
        headers, metadata = stored(request)
        if "x-amz-copy-source" in request.headers:
            return self._copy(request, headers, metadata)
        self._check_writable()
        condition = self._condition(request, ignored=self.quirks.ignores_put_conditions)
        written = self.store.put(*request.address, request.body, headers=headers, metadata=self._kept(metadata), condition=condition)
        return Reply(headers=written_headers(written))

    def _copy(self, request: Received, headers: Mapping[str, str], metadata: Mapping[str, str]) -> Reply:
        if self.quirks.fails_copy:
            raise BackendError("NotImplemented", 501, "no copies here")
        path, _, version = request.headers["x-amz-copy-source"].partition("?versionId=")
        source_bucket, _, source_key = unquote(path)[1:].partition("/")
        written = self.store.copy(
            *request.address,
            source=(source_bucket, source_key, unquote(version) or None),
            source_etag=request.headers["x-amz-copy-source-if-match"].strip('"'),
            headers=headers,
            metadata=self._kept(metadata),
            condition=self._condition(request, ignored=self.quirks.ignores_copy_conditions),
        )
        body = f"<CopyObjectResult><ETag>&quot;{written.etag}&quot;</ETag></CopyObjectResult>"
        return xml(body, **written_headers(written))

    def get_object(self, request: Received) -> Reply:
        stored_object, body = self.store.head(*request.address, request.query.get("versionId"))
        if request.headers.get("if-match", f'"{stored_object.etag}"') != f'"{stored_object.etag}"':
            raise BackendError("PreconditionFailed", 412, "another object")
        headers = object_headers(stored_object)
        span = parse_range(request.headers.get("range"))
        if isinstance(span, Suffix) and not body:
            if not self.quirks.empty_suffix_is_partial:
                raise BackendError("InvalidRange", 416, "nothing is there")
            return Reply(206, b"", {**headers, "content-range": "bytes 0--1/0"})
        start, stop = resolve_span(span, len(body))
        if span is None:
            return Reply(200, body, headers)
        return Reply(206, body[start:stop], {**headers, "content-range": f"bytes {start}-{stop - 1}/{len(body)}"})

    def head_object(self, request: Received) -> Reply:
        stored_object, body = self.store.head(*request.address, request.query.get("versionId"))
        return Reply(200, body, object_headers(stored_object))

    def delete_object(self, request: Received) -> Reply:
        outcome = self.store.delete(*request.address, request.query.get("versionId"))
        headers = {"x-amz-delete-marker": "true"} if outcome.delete_marker else {}
        version_id = outcome.marker_version_id or outcome.version_id
        return Reply(204, headers=headers if version_id is None else {**headers, "x-amz-version-id": version_id})

    def delete_objects(self, request: Received) -> Reply:
        bucket = request.address[0]
        self.store.state(bucket)
        items = []
        for item in document(request).iterfind(f"{NAMESPACE}Object"):
            key, version_id = item.findtext(f"{NAMESPACE}Key") or "", item.findtext(f"{NAMESPACE}VersionId")
            if self.quirks.keeps_objects:
                items.append(f"<Error><Key>{escape(key)}</Key><Code>AccessDenied</Code><Message>no</Message></Error>")
            else:
                items.append(deleted_item(self.store.delete(bucket, key, version_id)))
        return xml(f"<DeleteResult>{''.join(items)}</DeleteResult>")

    # Multipart uploads

    def create_upload(self, request: Received) -> Reply:
        headers, metadata = stored(request)
        upload_id = self.store.create_upload(*request.address, headers=headers, metadata=self._kept(metadata))
        return xml(f"<InitiateMultipartUploadResult><UploadId>{upload_id}</UploadId></InitiateMultipartUploadResult>")

    def put_part(self, request: Received) -> Reply:
        query = request.query
        etag = self.store.put_part(*request.address, query["uploadId"], number=int(query["partNumber"]), body=request.body)
        return Reply(headers={"etag": f'"{etag}"'})

    def complete(self, request: Received) -> Reply:
        parts = [
            (int(part.findtext(f"{NAMESPACE}PartNumber") or 0), (part.findtext(f"{NAMESPACE}ETag") or "").strip('"'))
            for part in document(request).iterfind(f"{NAMESPACE}Part")
        ]
        condition = self._condition(request, ignored=self.quirks.ignores_complete_conditions)
        upload_id = request.query["uploadId"]
        again = upload_id in self._completed and self.quirks.confirms_again
        if again:
            written = self._completed[upload_id]
        else:
            written = self._completed[upload_id] = self.store.complete(*request.address, upload_id, parts=parts, condition=condition)
        # S3 begins with the declaration and then sends white space until it is done.
        body = f"{XML}\n   \n<CompleteMultipartUploadResult><ETag>&quot;{written.etag}&quot;</ETag></CompleteMultipartUploadResult>"
        return Reply(200, body.encode(), {**written_headers(written), **({AGAIN: "yes"} if again else {})})

    def abort(self, request: Received) -> Reply:
        self.store.abort(*request.address, request.query["uploadId"])
        return Reply(204)

    def list_uploads(self, request: Received) -> Reply:
        query = request.query
        uploads = self.store.uploads(request.address[0], query.get("prefix", ""))
        marker = (query.get("key-marker", ""), query.get("upload-id-marker", ""))
        uploads = [
            upload
            for upload in sorted(uploads, key=lambda upload: (upload.key, upload.upload_id))
            if (upload.key, upload.upload_id) > marker
        ]
        # Pages of two, so that every listing has several.
        shown = uploads[:2]
        items = "".join(
            f"<Upload><Key>{quote_plus(upload.key)}</Key><UploadId>{upload.upload_id}</UploadId><Initiated>{iso(upload.initiated)}</Initiated></Upload>"
            for upload in shown
        )
        more = "<IsTruncated>false</IsTruncated>"
        if len(uploads) > len(shown):
            last = shown[-1]
            more = (
                f"<IsTruncated>true</IsTruncated><NextKeyMarker>{quote_plus(last.key)}</NextKeyMarker>"
                f"<NextUploadIdMarker>{last.upload_id}</NextUploadIdMarker>"
            )
        return xml(f"<ListMultipartUploadsResult><EncodingType>url</EncodingType>{more}{items}</ListMultipartUploadsResult>")

    # Oddities

    def _check_writable(self) -> None:
        if self.quirks.readonly:
            raise BackendError("AccessDenied", 403, "not for you")

    def _condition(self, request: Received, *, ignored: bool) -> Condition | None:
        if_match, if_none_match = request.headers.get("if-match"), request.headers.get("if-none-match")
        if ignored or (if_match is None and if_none_match is None):
            return None
        if self.quirks.refuses_conditions:
            raise BackendError("NotImplemented", 501, "no conditions here")
        return Condition(None if if_match is None else if_match[1:-1], if_absent=if_none_match == "*")

    def _kept(self, metadata: Mapping[str, str]) -> Mapping[str, str]:
        """Metadata as the store keeps it."""
        if self.quirks.counts_meta_prefix and sum(len(META + name + value) for name, value in metadata.items()) > 2048:
            raise BackendError("MetadataTooLarge", 400, "too much")
        codec = self.quirks.keeps_values
        if codec is None:
            return metadata
        return {
            name: value.encode("latin-1").decode(codec, "replace").encode("utf-8").decode("latin-1") for name, value in metadata.items()
        }


ROUTES: Mapping[tuple[str, str, str], Callable[[MiniS3, Received], Reply]] = {
    ("GET", "service", ""): MiniS3.list_buckets,
    ("PUT", "bucket", ""): MiniS3.create_bucket,
    ("DELETE", "bucket", ""): MiniS3.delete_bucket,
    ("HEAD", "bucket", ""): MiniS3.head_bucket,
    ("GET", "bucket", ""): MiniS3.list_objects,
    ("GET", "bucket", "versioning"): MiniS3.get_versioning,
    ("GET", "bucket", "object-lock"): MiniS3.get_lock,
    ("GET", "bucket", "uploads"): MiniS3.list_uploads,
    ("POST", "bucket", "delete"): MiniS3.delete_objects,
    ("PUT", "object", ""): MiniS3.put_object,
    ("GET", "object", ""): MiniS3.get_object,
    ("HEAD", "object", ""): MiniS3.head_object,
    ("DELETE", "object", ""): MiniS3.delete_object,
    ("POST", "object", "uploads"): MiniS3.create_upload,
    ("PUT", "object", "uploadId"): MiniS3.put_part,
    ("POST", "object", "uploadId"): MiniS3.complete,
    ("DELETE", "object", "uploadId"): MiniS3.abort,
}


def document(request: Received) -> ElementTree.Element:
    """The document in a request."""
    return ElementTree.fromstring(request.body)  # noqa: S314 - from our own client


def xml(text: str, **headers: str) -> Reply:
    """A document as the answer."""
    return Reply(200, (XML + text).encode(), {"content-type": "application/xml", **headers})


def iso(when: int) -> str:
    """With milliseconds, as stores send it."""
    return datetime.fromtimestamp(when, UTC).strftime("%Y-%m-%dT%H:%M:%S.789Z")


def stored(request: Received) -> tuple[dict[str, str], dict[str, str]]:
    """(system headers, metadata) of a request that makes an object."""
    headers = {name: value for name, value in request.headers.items() if name in SYSTEM_HEADERS}
    metadata = {name.removeprefix(META): value for name, value in request.headers.items() if name.startswith(META)}
    return headers, metadata


def written_headers(written: Written) -> dict[str, str]:
    """Headers of an answer to a write."""
    headers = {"etag": f'"{written.etag}"'}
    return headers if written.version_id is None else {**headers, "x-amz-version-id": written.version_id}


def object_headers(found: StoredObject) -> dict[str, str]:
    """Headers of an answer that carries an object."""
    headers = {"etag": f'"{found.etag}"', "last-modified": formatdate(found.modified, usegmt=True), **found.headers}
    headers.update({META + name: value for name, value in found.metadata.items()})
    return headers if found.version_id is None else {**headers, "x-amz-version-id": found.version_id}


def deleted_item(outcome: Deleted) -> str:
    """One success of a batch."""
    version = "" if outcome.version_id is None else f"<VersionId>{outcome.version_id}</VersionId>"
    marker = (
        ""
        if not outcome.delete_marker
        else f"<DeleteMarker>true</DeleteMarker><DeleteMarkerVersionId>{outcome.marker_version_id}</DeleteMarkerVersionId>"
    )
    key = escape(outcome.key, {"\r": "&#13;"})
    return f"<Deleted><Key>{key}</Key>{version}{marker}</Deleted>"


def parse_range(value: str | None) -> Span | Suffix | None:
    """The forms that the client sends."""
    if value is None:
        return None
    match = re.fullmatch(r"bytes=(\d*)-(\d*)", value)
    assert match is not None
    first, last = match.groups()
    if not first:
        return Suffix(int(last))
    return Span(int(first), int(last) + 1 if last else None)
