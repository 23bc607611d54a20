"""Multipart uploads of the perfect S3."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from xml.etree.ElementTree import ParseError, fromstring

from .reads import checksum_headers, checksum_nodes, span_of
from .values import (
    ANY,
    Node,
    Object,
    Part,
    Refusal,
    Reply,
    Request,
    State,
    Upload,
    checksum,
    composite_checksum,
    composite_etag,
    md5,
)
from .writes import check_digests, check_target, kept, named_algorithm, source_of

MAX_ROWS = 1000
CRCS = ("crc32", "crc32c", "crc64nvme")


@dataclass(frozen=True, slots=True)
class Rules:
    """Where the service may choose."""

    min_part: int
    """Bytes of every part but the last."""
    keeps_overwritten: bool = False
    """Complete may name a part by the ETag that it had before it was sent again: S3 has forgotten it, a service may still know it."""
    copies_anew: bool = False
    """A copy of an object without checksums is written anew, with one."""


def create(state: State, request: Request, *, upload_id: str) -> Reply:
    """CreateMultipartUpload; the id is the service's choice."""
    bucket = state.bucket(request.bucket)
    headers, metadata = kept(request.headers)
    named = request.headers.get("x-amz-checksum-algorithm")
    algorithm = named.lower() if named else None
    default = "FULL_OBJECT" if algorithm in (None, "crc64nvme") else "COMPOSITE"
    type_ = request.headers.get("x-amz-checksum-type", default)
    if algorithm is not None and (algorithm not in CRCS if type_ == "FULL_OBJECT" else algorithm == "crc64nvme"):
        raise Refusal("InvalidRequest")
    bucket.uploads[upload_id] = Upload(upload_id, request.key, state.now, headers, metadata, algorithm, type_)
    said = {} if named is None else {"x-amz-checksum-algorithm": named, "x-amz-checksum-type": type_}
    nodes = [("Bucket", request.bucket), ("Key", request.key), ("UploadId", ANY)]
    return Reply(200, said, ("InitiateMultipartUploadResult", nodes))


def _find(state: State, request: Request) -> Upload:
    found = state.bucket(request.bucket).uploads.get(request.query["uploadId"])
    if found is None or found.key != request.key:
        raise Refusal("NoSuchUpload")
    return found


def _keep(state: State, request: Request, upload: Upload, body: bytes) -> Part:
    algorithm = upload.algorithm
    known = {} if algorithm is None else {algorithm: checksum(algorithm, body)}
    part = Part(int(request.query["partNumber"]), body, md5(body), state.now, known)
    former = upload.parts.get(part.number)
    overwritten = upload.overwritten if former is None else {**upload.overwritten, (former.number, former.etag): former}
    kept = replace(upload, parts={**upload.parts, part.number: part}, overwritten=overwritten)
    state.bucket(request.bucket).uploads[upload.id] = kept
    return part


def _number(request: Request) -> None:
    text = request.query["partNumber"]
    if not text.isdigit() or not 1 <= int(text) <= 10_000:
        raise Refusal("InvalidArgument")


def put_part(state: State, request: Request) -> Reply:
    """UploadPart."""
    _number(request)
    upload = _find(state, request)
    named = named_algorithm(request.headers)
    if named is not None and upload.algorithm not in (None, named):
        raise Refusal("InvalidRequest")
    check_digests(request.headers, request.body)
    part = _keep(state, request, upload, request.body)
    shown = upload.algorithm or named or "crc64nvme"
    return Reply(200, {"etag": f'"{part.etag}"', **checksum_headers({shown: checksum(shown, part.body)}, None)})


def copy_part(state: State, request: Request) -> Reply:
    """UploadPartCopy; the range must lie inside the source."""
    _number(request)
    upload = _find(state, request)
    _, _, source = source_of(state, request)
    asked = request.headers.get("x-amz-copy-source-range")
    start, stop = 0, len(source.body)
    if asked is not None:
        span = span_of(asked, 2**40)
        if span is None or span[1] > len(source.body):
            raise Refusal("InvalidArgument")
        start, stop = span
    part = _keep(state, request, upload, source.body[start:stop])
    shown = upload.algorithm or "crc64nvme"
    nodes = [("LastModified", str(state.now)), ("ETag", f'"{part.etag}"'), *checksum_nodes({shown: checksum(shown, part.body)})]
    return Reply(200, {}, ("CopyPartResult", nodes))


def list_parts(state: State, request: Request) -> Reply:
    """ListParts."""
    upload = _find(state, request)
    marker, limit = int(request.query.get("part-number-marker", 0)), min(int(request.query.get("max-parts", MAX_ROWS)), MAX_ROWS)
    behind = [upload.parts[number] for number in sorted(upload.parts) if number > marker]
    page = behind[:limit]
    nodes: list[Node] = [
        ("Bucket", request.bucket),
        ("Key", request.key),
        ("UploadId", upload.id),
        ("StorageClass", "STANDARD"),
        ("PartNumberMarker", str(marker)),
        ("NextPartNumberMarker", str(page[-1].number if page else marker)),
        ("MaxParts", str(limit)),
        ("IsTruncated", "true" if limit and len(behind) > limit else "false"),
    ]
    if upload.algorithm is not None:
        nodes += [("ChecksumAlgorithm", upload.algorithm.upper()), ("ChecksumType", upload.checksum_type)]
    nodes += [("Part", _part_row(part)) for part in page]
    return Reply(200, {}, ("ListPartsResult", nodes))


def _part_row(part: Part) -> list[Node]:
    return [
        ("PartNumber", str(part.number)),
        ("LastModified", str(part.modified)),
        ("ETag", f'"{part.etag}"'),
        ("Size", str(len(part.body))),
        *checksum_nodes(part.checksums),
    ]


def abort(state: State, request: Request) -> Reply:
    """AbortMultipartUpload."""
    upload = _find(state, request)
    del state.bucket(request.bucket).uploads[upload.id]
    return Reply(204)


def manifest(body: bytes) -> list[tuple[int, str]]:
    """(number, ETag) of a Complete's document.

    Raises:
        Refusal: MalformedXML.
    """
    try:
        parts = [
            (int(part.findtext("PartNumber") or ""), (part.findtext("ETag") or "").strip('"')) for part in fromstring(body).iter("Part")
        ]
    except (ParseError, ValueError):
        parts = []
    if not parts:
        raise Refusal("MalformedXML")
    return parts


def complete(state: State, request: Request, rules: Rules) -> Reply:
    """CompleteMultipartUpload. Sent again after its success it answers the same for as long as its object is there."""
    bucket = state.bucket(request.bucket)
    named = manifest(request.body)
    upload = bucket.uploads.get(request.query["uploadId"])
    if upload is None or upload.key != request.key:
        return _again(request, bucket.objects.get(request.key), named)
    if request.headers.get("x-amz-checksum-type", upload.checksum_type) != upload.checksum_type:
        raise Refusal("InvalidRequest")
    chosen = _choose(upload, named, rules)
    size = request.headers.get("x-amz-mp-object-size")
    if size is not None and int(size) != sum(len(part.body) for part in chosen):
        raise Refusal("InvalidRequest")
    check_target(bucket, request.key, request.headers)
    made = _join(state, upload, chosen)
    stated = named_algorithm(request.headers)
    if stated is not None and made.checksums.get(stated) != request.headers[f"x-amz-checksum-{stated}"]:
        raise Refusal("BadDigest")
    bucket.objects[request.key] = made
    del bucket.uploads[upload.id]
    return _done(request, made)


def _choose(upload: Upload, named: Sequence[tuple[int, str]], rules: Rules) -> list[Part]:
    if any(later <= earlier for (earlier, _), (later, _) in pairwise(named)):
        raise Refusal("InvalidPartOrder")
    chosen: list[Part] = []
    for number, etag in named:
        part = upload.parts.get(number)
        if rules.keeps_overwritten and part is not None and part.etag != etag:
            part = upload.overwritten.get((number, etag))
        if part is None or part.etag != etag:
            raise Refusal("InvalidPart")
        chosen.append(part)
    if any(len(part.body) < rules.min_part for part in chosen[:-1]):
        raise Refusal("EntityTooSmall")
    return chosen


def _join(state: State, upload: Upload, chosen: Sequence[Part]) -> Object:
    body = b"".join(part.body for part in chosen)
    algorithm = upload.algorithm or "crc64nvme"
    if upload.checksum_type == "FULL_OBJECT":
        checksums = {algorithm: checksum(algorithm, body)}
    else:
        checksums = {algorithm: composite_checksum(algorithm, [part.checksums[algorithm] for part in chosen])}
    etag = composite_etag([part.etag for part in chosen])
    type_ = upload.checksum_type
    return Object(body, etag, state.now, upload.headers, upload.metadata, checksums, type_, tuple(chosen), upload.id)


def _again(request: Request, found: Object | None, named: Sequence[tuple[int, str]]) -> Reply:
    try:
        etag = composite_etag([etag for _, etag in named])
    except ValueError:
        etag = ""
    if found is None or found.upload != request.query["uploadId"] or found.etag != etag:
        raise Refusal("NoSuchUpload")
    return _done(request, found)


def _done(request: Request, made: Object) -> Reply:
    nodes = [("Location", f"/{request.bucket}/{request.key}"), ("Bucket", request.bucket), ("Key", request.key), ("ETag", f'"{made.etag}"')]
    return Reply(200, {}, ("CompleteMultipartUploadResult", [*nodes, *checksum_nodes(made.checksums, made.checksum_type)]))


def list_uploads(state: State, request: Request) -> Reply:
    """ListMultipartUploads: by key, uploads of one key by age."""
    query = request.query
    prefix, delimiter = query.get("prefix", ""), query.get("delimiter", "")
    key_marker, id_marker = query.get("key-marker", ""), query.get("upload-id-marker", "")
    limit = min(int(query.get("max-uploads", MAX_ROWS)), MAX_ROWS)
    ordered = sorted(state.bucket(request.bucket).uploads.values(), key=lambda upload: upload.key)
    rows: list[tuple[tuple[str, str], Node]] = []
    passed = not id_marker
    for upload in ordered:
        key = upload.key
        if not passed and key == key_marker:
            passed = upload.id == id_marker
            continue
        if not key.startswith(prefix) or key < key_marker or (key == key_marker and not id_marker):
            continue
        cut = key.find(delimiter, len(prefix)) if delimiter else -1
        if cut < 0:
            rows.append(((key, upload.id), ("Upload", _upload_row(upload))))
        elif (name := key[: cut + len(delimiter)]) > key_marker and (name, "") not in [row[0] for row in rows]:
            rows.append(((name, ""), ("CommonPrefixes", [("Prefix", name)])))
    truncated = 0 < limit < len(rows)
    nodes: list[Node] = [
        ("Bucket", request.bucket),
        ("KeyMarker", key_marker),
        ("UploadIdMarker", id_marker),
        ("Prefix", prefix),
        ("MaxUploads", str(limit)),
        ("IsTruncated", "true" if truncated else "false"),
        *optional(Delimiter=delimiter, EncodingType=query.get("encoding-type", "")),
    ]
    if truncated:
        last = rows[limit - 1][0]
        nodes += [("NextKeyMarker", last[0]), ("NextUploadIdMarker", last[1])]
    return Reply(200, {}, ("ListMultipartUploadsResult", [*nodes, *(row for _, row in rows[:limit])]))


def _upload_row(upload: Upload) -> list[Node]:
    nodes: list[Node] = [
        ("Key", upload.key),
        ("UploadId", upload.id),
        ("StorageClass", "STANDARD"),
        ("Initiated", str(upload.initiated)),
    ]
    if upload.algorithm is not None:
        nodes += [("ChecksumAlgorithm", upload.algorithm.upper()), ("ChecksumType", upload.checksum_type)]
    return nodes


def optional(**texts: str) -> list[Node]:
    """Elements that are there only if they say something."""
    return [(name, text) for name, text in texts.items() if text]
