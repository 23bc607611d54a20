"""PutObject, CopyObject, DeleteObject and DeleteObjects."""

from s4_format import is_reserved

from s4_gateway.backend.abc import BackendError, Deleted
from s4_gateway.call import Call
from s4_gateway.errors import S3Error
from s4_gateway.faults import backend_fault
from s4_gateway.objects.copy import CopyRequest
from s4_gateway.objects.face import Face
from s4_gateway.objects.intake import Expected
from s4_gateway.objects.put import LogicalCondition, PutRequest
from s4_gateway.objects.store import ObjectStore
from s4_gateway.operations.answers import written_headers
from s4_gateway.operations.results import CopyDone, DeleteDone, DeletedRow, DeleteFailure, Empty
from s4_gateway.sigv4 import UNSIGNED_PAYLOAD
from s4_gateway.wire.body import read_limited
from s4_gateway.wire.conditions import ReadConditions, WriteConditions
from s4_gateway.wire.digests import PREFIX, Promised
from s4_gateway.wire.headers import copy_source, stored_headers
from s4_gateway.wire.xml_read import parse_delete

MAX_XML_BYTES = 20 * 2**20
"""Largest XML request body (gateway.md 2.3)."""

RESERVED = S3Error("InvalidObjectName")
DIRECTIVES = {"": False, "COPY": False, "REPLACE": True}


def expected_digests(promised: Promised) -> Expected:
    """The client's promises as the object layer takes them."""
    trailing = frozenset({promised.trailer}) if promised.trailer else frozenset[str]()
    return Expected(promised.md5, promised.checksums, trailing, also=frozenset({promised.algorithm}) if promised.algorithm else frozenset())


def write_condition(call: Call) -> LogicalCondition:
    """If-Match and If-None-Match of a write."""
    conditions = WriteConditions.from_headers(call.headers)
    return LogicalCondition(conditions.if_match, conditions.if_absent)


async def put_object(store: ObjectStore, call: Call) -> Empty:
    """PutObject."""
    headers, metadata = stored_headers(call)
    if call.body.size is None:
        raise S3Error("MissingContentLength", close=True)
    request = PutRequest(
        call.bucket,
        call.key,
        call.body,
        headers,
        metadata,
        expected_digests(Promised.from_headers(call.headers)),
        write_condition(call),
    )
    done = await store.putter.put(request)
    call.notes.update(codec=done.codec, logical_bytes=done.digested.size, stored_bytes=done.stored_size, fallback=done.fallback)
    named = done.digested.named
    shown = {named: done.digested.checksums[named]} if named else {"crc64nvme": done.digested.checksums["crc64nvme"]}
    return Empty(200, written_headers(done.digested.etag, done.version_id, shown, "FULL_OBJECT"))


async def copy_object(store: ObjectStore, call: Call) -> CopyDone:
    """CopyObject; conditions on the source's logical ETag, COPY or REPLACE of headers and metadata."""
    source = copy_source(call.headers)
    directive = call.headers.get("x-amz-metadata-directive", "")
    if directive not in DIRECTIVES:
        raise S3Error(
            "InvalidArgument",
            "Unknown metadata directive.",
            fields={"ArgumentName": "x-amz-metadata-directive", "ArgumentValue": directive},
        )
    headers, metadata = stored_headers(call)
    replace = DIRECTIVES[directive]
    conditions = ReadConditions.from_headers(call.headers, prefix="x-amz-copy-source-")
    algorithm = Promised.from_headers(call.headers).algorithm

    def check(face: Face) -> None:
        conditions.check(face.attributes.etag, face.stored.modified, copy=True)
        if algorithm is not None and algorithm not in face.attributes.checksums:
            raise S3Error("NotImplemented", "A copy cannot compute a checksum that its source does not have.")

    done = await store.copier.copy(
        CopyRequest(
            call.bucket,
            call.key,
            source.bucket,
            source.key,
            source.version_id,
            check,
            headers if replace else None,
            metadata if replace else None,
            write_condition(call),
        )
    )
    answer = {}
    if done.source_version is not None:
        answer["x-amz-copy-source-version-id"] = done.source_version
    if done.version_id is not None:
        answer["x-amz-version-id"] = done.version_id
    return CopyDone(
        done.attributes.etag,
        done.modified,
        checksums=done.attributes.shown_checksums,
        checksum_type=done.attributes.checksum_type,
        headers=answer,
    )


async def delete_object(store: ObjectStore, call: Call) -> Empty:
    """DeleteObject: success also where nothing is there."""
    if "if-match" in call.headers:
        raise S3Error("NotImplemented", "Conditional deletes are not implemented.", fields={"Header": "If-Match"})
    deleted = await store.deleter.delete(call.bucket, call.key, call.query.get("versionId"))
    if deleted.error is not None:
        raise deleted.error
    headers = {}
    if deleted.delete_marker:
        headers["x-amz-delete-marker"] = "true"
    version = deleted.marker_version_id or deleted.version_id
    if version is not None:
        headers["x-amz-version-id"] = version
    return Empty(204, headers)


async def delete_objects(store: ObjectStore, call: Call) -> DeleteDone:
    """DeleteObjects: each key passes the same gates as a single delete, each refusal is its own row."""
    _require_digest(call)
    request = parse_delete(await read_limited(call.body, MAX_XML_BYTES, call.headers))
    allowed = [target for target in request.targets if not is_reserved(target[0])]
    outcomes = await store.deleter.delete_many(call.bucket, allowed)
    refused = [
        DeleteFailure(key, "InvalidObjectName", "The object key is reserved by the storage layer.", version)
        for key, version in request.targets
        if is_reserved(key)
    ]
    failures = [_failure(outcome, outcome.error) for outcome in outcomes if outcome.error is not None]
    return DeleteDone([_row(outcome) for outcome in outcomes if outcome.error is None], refused + failures, request.quiet)


def _require_digest(call: Call) -> None:
    """A flipped bit in the document would delete something else, so S3 wants a digest of it. A signed payload hash is one, too.

    Raises:
        S3Error: InvalidRequest.
    """
    promised = any(name == "content-md5" or name.startswith(PREFIX) for name in call.headers) or bool(call.body.announced_trailers)
    if not promised and call.headers.get("x-amz-content-sha256", UNSIGNED_PAYLOAD) == UNSIGNED_PAYLOAD:
        raise S3Error("InvalidRequest", "Missing required header for this request: Content-MD5", close=True)


def _failure(outcome: Deleted, error: BackendError) -> DeleteFailure:
    fault = backend_fault(error)
    return DeleteFailure(outcome.key, fault.code, fault.message, outcome.version_id)


def _row(outcome: Deleted) -> DeletedRow:
    return DeletedRow(outcome.key, outcome.version_id, outcome.delete_marker, outcome.marker_version_id)
