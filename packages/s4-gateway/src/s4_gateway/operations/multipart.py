"""Multipart uploads: create, upload and copy parts, complete, abort, list."""

import asyncio
from collections.abc import Mapping

from s4_format import quote_etag, unquote_etag

from s4_gateway.call import Call
from s4_gateway.errors import S3Error
from s4_gateway.objects.face import Face, Wanted
from s4_gateway.objects.intake import Digested, Expected
from s4_gateway.objects.logical_body import LogicalBody
from s4_gateway.objects.options import MAX_PUT_BYTES
from s4_gateway.objects.reader import ReadRequest
from s4_gateway.objects.stamp import check_client_metadata
from s4_gateway.objects.store import ObjectStore
from s4_gateway.objects.uploads.complete import CompleteRequest, Finished
from s4_gateway.objects.uploads.manifest import Choice
from s4_gateway.objects.uploads.part import PartRequest
from s4_gateway.objects.uploads.records import UploadRecord, id_order, new_upload_id
from s4_gateway.objects.uploads.shelf import Upload
from s4_gateway.operations.answers import OWNER
from s4_gateway.operations.results import (
    CompletedUpload,
    CopyDone,
    Empty,
    PartList,
    PartRow,
    PendingUpload,
    UploadCreated,
    UploadList,
    UploadRow,
)
from s4_gateway.operations.write import MAX_XML_BYTES, expected_digests, write_condition
from s4_gateway.wire.body import read_limited
from s4_gateway.wire.conditions import ReadConditions
from s4_gateway.wire.digests import Promised, checksum_headers
from s4_gateway.wire.headers import copy_source, int_param, part_number, stored_headers
from s4_gateway.wire.ranges import parse_copy_range
from s4_gateway.wire.xml_read import parse_complete

MAX_ROWS = 1000
FULL_OBJECT_ALGORITHMS = frozenset({"crc64nvme"})
"""Algorithms whose default type is FULL_OBJECT; the others' is COMPOSITE, as on S3."""


async def create_multipart_upload(store: ObjectStore, call: Call) -> UploadCreated:
    """CreateMultipartUpload."""
    headers, metadata = stored_headers(call)
    check_client_metadata(metadata, store.core.backend.capabilities)
    promised = Promised.from_headers(call.headers)
    checksum_type = promised.type or ("COMPOSITE" if promised.algorithm not in (None, *FULL_OBJECT_ALGORITHMS) else "FULL_OBJECT")
    record = UploadRecord(call.bucket, call.key, headers, metadata, promised.algorithm, checksum_type)
    upload = await store.uploads.create(record, new_upload_id())
    answer: dict[str, str] = {}
    if promised.algorithm is not None:
        answer = {"x-amz-checksum-algorithm": promised.algorithm.upper(), "x-amz-checksum-type": checksum_type}
    return UploadCreated(call.bucket, call.key, upload.upload_id, answer)


async def _open(store: ObjectStore, call: Call) -> Upload:
    return await store.uploads.shelf.open(call.bucket, call.key, call.query.get("uploadId", ""))


def _number(call: Call) -> int:
    number = part_number(call.query)
    if number is None:
        raise S3Error("InvalidArgument", "Part number must be an integer between 1 and 10000, inclusive")
    return number


def _part_expected(upload: Upload, promised: Promised) -> Expected:
    """The upload's own algorithm is computed for every part, also where the client states none."""
    expected = expected_digests(promised)
    algorithm = upload.record.checksum_algorithm
    if promised.algorithm is not None and algorithm is not None and promised.algorithm != algorithm:
        raise S3Error(
            "InvalidRequest",
            f"Checksum Type mismatch occurred, expected checksum Type: {algorithm}, actual checksum Type: {promised.algorithm}",
        )
    return Expected(expected.md5, expected.checksums, expected.trailing, expected.also | ({algorithm} if algorithm else frozenset()))


def _part_checksums(upload: Upload, digested: Digested, promised: Promised) -> Mapping[str, str]:
    name = upload.record.checksum_algorithm or promised.algorithm or "crc64nvme"
    return {name: digested.checksums[name]}


async def upload_part(store: ObjectStore, call: Call) -> Empty:
    """UploadPart."""
    number = _number(call)
    if call.body.size is None:
        raise S3Error("MissingContentLength", close=True)
    promised = Promised.from_headers(call.headers)
    upload = await _open(store, call)
    stored = await store.uploads.parts.put(upload, PartRequest(number, call.body, _part_expected(upload, promised)))
    call.notes["fallback"] = stored.fallback
    digested = stored.digested
    return Empty(200, {"etag": quote_etag(digested.etag), **checksum_headers(_part_checksums(upload, digested, promised), None)})


async def upload_part_copy(store: ObjectStore, call: Call) -> CopyDone:
    """UploadPartCopy: the logical source range, read under the source's own ETag, becomes a part like any other."""
    number = _number(call)
    source = copy_source(call.headers)
    asked = parse_copy_range(call.headers.get("x-amz-copy-source-range"))
    conditions = ReadConditions.from_headers(call.headers, prefix="x-amz-copy-source-")
    upload = await _open(store, call)

    def check(face: Face) -> None:
        conditions.check(face.attributes.etag, face.stored.modified, copy=True)
        size = face.attributes.size if asked is None else asked.resolve_exact(face.attributes.size)[1] - asked.start
        if size > MAX_PUT_BYTES:
            raise S3Error(
                "InvalidRequest", f"The specified copy source is larger than the maximum allowable size for a copy source: {MAX_PUT_BYTES}"
            )

    select = None if asked is None else (lambda attributes: asked.resolve_exact(attributes.size))
    read = ReadRequest(source.bucket, source.key, source.version_id, check, select, Wanted(), reserved=True)
    opened = await store.reader.open(read)
    try:
        body = LogicalBody(opened)
        stored = await store.uploads.parts.put(upload, PartRequest(number, body, _part_expected(upload, Promised()), ours=True))
    finally:
        await opened.chunks.aclose()
    call.notes["fallback"] = stored.fallback
    headers = {} if opened.face.stored.version_id is None else {"x-amz-copy-source-version-id": opened.face.stored.version_id}
    checksums = _part_checksums(upload, stored.digested, Promised())
    return CopyDone(stored.digested.etag, stored.modified, part=True, checksums=checksums, headers=headers)


async def complete_multipart_upload(store: ObjectStore, call: Call) -> PendingUpload:
    """CompleteMultipartUpload: checked, then answered early and finished while the client waits."""
    condition = write_condition(call)
    promised = Promised.from_headers(call.headers, composite=True)
    size = call.headers.get("x-amz-mp-object-size")
    xml = await read_limited(call.body, MAX_XML_BYTES, {})
    choices = [Choice(part.number, unquote_etag(part.etag), part.checksums) for part in parse_complete(xml)]
    request = CompleteRequest(
        call.bucket,
        call.key,
        call.query.get("uploadId", ""),
        choices,
        condition,
        None if size is None else int_param(call.headers, "x-amz-mp-object-size", default=0, low=0, high=2**63 - 1),
        promised.checksums,
        promised.type,
    )
    prepared = await store.uploads.completer.prepare(request)
    location = call.resource

    def answer(finished: Finished) -> CompletedUpload:
        attributes = finished.attributes
        call.notes.update(codec=finished.codec, logical_bytes=attributes.size, stored_bytes=finished.stored_size)
        return CompletedUpload(call.bucket, call.key, attributes.etag or "", location, attributes.shown_checksums, attributes.checksum_type)

    if isinstance(prepared, Finished):
        return PendingUpload(_ready(answer(prepared)))
    # A client that goes away does not stop a commit that has begun.
    work = asyncio.create_task(prepared.run())
    store.core.keep(work)

    async def done() -> CompletedUpload:
        return answer(await asyncio.shield(work))

    return PendingUpload(done())


async def _ready(result: CompletedUpload) -> CompletedUpload:
    return result


async def abort_multipart_upload(store: ObjectStore, call: Call) -> Empty:
    """AbortMultipartUpload."""
    await store.uploads.roster.abort(call.bucket, call.key, call.query.get("uploadId", ""))
    return Empty(204)


async def list_parts(store: ObjectStore, call: Call) -> PartList:
    """ListParts, with logical sizes and ETags."""
    upload = await _open(store, call)
    marker = int_param(call.query, "part-number-marker", default=0, low=0, high=2**31 - 1)
    limit = min(int_param(call.query, "max-parts", default=MAX_ROWS, low=0, high=2**31 - 1), MAX_ROWS)
    listed, truncated = await store.uploads.roster.parts(upload, after=marker, limit=limit)
    algorithm = upload.record.checksum_algorithm
    rows = [
        PartRow(
            part.record.number,
            part.record.size,
            part.record.md5,
            part.record.modified,
            {algorithm: part.checksum} if algorithm is not None and part.checksum is not None else {},
        )
        for part in listed
    ]
    return PartList(
        call.bucket,
        call.key,
        upload.upload_id,
        marker,
        rows[-1].number if rows else marker,
        limit,
        truncated,
        rows,
        OWNER,
        algorithm.upper() if algorithm is not None else None,
        upload.record.checksum_type if algorithm is not None else None,
    )


async def list_multipart_uploads(store: ObjectStore, call: Call) -> UploadList:
    """ListMultipartUploads: the uploads that have a record."""
    query = call.query
    prefix, delimiter = query.get("prefix", ""), query.get("delimiter", "")
    key_marker, id_marker = query.get("key-marker", ""), query.get("upload-id-marker", "")
    limit = min(int_param(query, "max-uploads", default=MAX_ROWS, low=0, high=2**31 - 1), MAX_ROWS)
    rows: list[UploadRow] = []
    prefixes: list[str] = []
    last: tuple[str, str] | None = None
    truncated = False
    for upload in await store.uploads.roster.uploads(call.bucket, prefix=prefix):
        key, upload_id = upload.record.key, upload.upload_id
        if key < key_marker or (key == key_marker and (not id_marker or id_order(upload_id) <= id_order(id_marker))):
            continue
        cut = key.find(delimiter, len(prefix)) if delimiter else -1
        name = key[: cut + len(delimiter)] if cut >= 0 else None
        if name is not None and (name <= key_marker or name in prefixes[-1:]):
            continue
        if len(rows) + len(prefixes) >= limit:
            truncated = limit > 0
            break
        if name is not None:
            prefixes.append(name)
            last = (name, "")
        else:
            rows.append(UploadRow(key, upload_id, upload.initiated, upload.record.checksum_algorithm, upload.record.checksum_type))
            last = (key, upload_id)
    return UploadList(
        call.bucket,
        prefix,
        delimiter,
        key_marker,
        id_marker,
        last[0] if truncated and last else None,
        last[1] if truncated and last else None,
        limit,
        truncated,
        rows,
        prefixes,
        query.get("encoding-type") == "url",
        OWNER,
    )
