"""PutObject, CopyObject, DeleteObject and DeleteObjects of the perfect S3."""

import base64
from collections.abc import Mapping
from dataclasses import replace
from urllib.parse import unquote
from xml.etree.ElementTree import fromstring

from .reads import check, checksum_headers, checksum_nodes, matches
from .values import ALGORITHMS, Bucket, Node, Object, Refusal, Reply, Request, State, checksum, is_reserved, md5

SYSTEM_HEADERS = ("cache-control", "content-disposition", "content-encoding", "content-language", "content-type", "expires")
MAX_METADATA = 2048


def kept(headers: Mapping[str, str]) -> tuple[dict[str, str], dict[str, str]]:
    """(system headers, user metadata) that a request stores; names that begin with `s4-` are the storage layer's and are dropped.

    Raises:
        Refusal: MetadataTooLarge.
    """
    prefix = "x-amz-meta-"
    metadata = {name.removeprefix(prefix): value for name, value in headers.items() if name.startswith(prefix)}
    metadata = {name: value for name, value in metadata.items() if not name.startswith("s4-")}
    if sum(len(name) + len(value) for name, value in metadata.items()) > MAX_METADATA:
        raise Refusal("MetadataTooLarge")
    return {name: value for name, value in headers.items() if name in SYSTEM_HEADERS}, metadata


def named_algorithm(headers: Mapping[str, str]) -> str | None:
    """The checksum that a request carries a value for."""
    return next((name for name in ALGORITHMS if f"x-amz-checksum-{name}" in headers), None)


def check_digests(headers: Mapping[str, str], body: bytes) -> None:
    """Raises Refusal BadDigest where a digest that was sent is another body's."""
    if headers.get("content-md5") not in (None, base64.b64encode(bytes.fromhex(md5(body))).decode()):
        raise Refusal("BadDigest")
    for name in ALGORITHMS:
        if headers.get(f"x-amz-checksum-{name}") not in (None, checksum(name, body)):
            raise Refusal("BadDigest")


def check_target(bucket: Bucket, key: str, headers: Mapping[str, str]) -> None:
    """If-None-Match: * and If-Match of a write.

    Raises:
        Refusal: PreconditionFailed, NoSuchKey (If-Match where nothing is).
    """
    found = bucket.objects.get(key)
    if "if-none-match" in headers and found is not None:
        raise Refusal("PreconditionFailed")
    if "if-match" in headers:
        if found is None:
            raise Refusal("NoSuchKey")
        if not matches(headers["if-match"], found.etag):
            raise Refusal("PreconditionFailed")


def put(state: State, request: Request) -> Reply:
    """PutObject. Without a checksum of the client's the service keeps a CRC64NVME of its own."""
    bucket = state.bucket(request.bucket)
    headers, metadata = kept(request.headers)
    check_target(bucket, request.key, request.headers)
    check_digests(request.headers, request.body)
    algorithm = named_algorithm(request.headers) or "crc64nvme"
    checksums = {algorithm: checksum(algorithm, request.body)}
    bucket.objects[request.key] = Object(request.body, md5(request.body), state.now, headers, metadata, checksums, "FULL_OBJECT")
    return Reply(200, {"etag": f'"{md5(request.body)}"', **checksum_headers(checksums, "FULL_OBJECT")})


def source_of(state: State, request: Request) -> tuple[str, str, Object]:
    """Bucket and key that `x-amz-copy-source` names, and what is there, its conditions checked."""
    name, _, key = unquote(request.headers["x-amz-copy-source"].removeprefix("/")).partition("/")
    found = state.object(name, key)
    check(request.headers, found, prefix="x-amz-copy-source-")
    return name, key, found


def copy(state: State, request: Request, *, anew: bool = False) -> Reply:
    """CopyObject. Stored bytes are copied as they lie, so the copy of an object uploaded in parts keeps its ETag, checksums and parts.

    Args:
        anew: the service may write an object that it knows no checksum of anew, as Amazon S3 does with every copy.
    """
    replaces = request.headers.get("x-amz-metadata-directive") == "REPLACE"
    if not replaces and unquote(request.headers["x-amz-copy-source"]).removeprefix("/") == f"{request.bucket}/{request.key}":
        raise Refusal("InvalidRequest")
    _, _, found = source_of(state, request)
    bucket = state.bucket(request.bucket)
    check_target(bucket, request.key, request.headers)
    headers, metadata = kept(request.headers) if replaces else (found.headers, found.metadata)
    if anew and not found.checksums:
        whole = {"crc64nvme": checksum("crc64nvme", found.body)}
        found = replace(found, etag=md5(found.body), checksums=whole, checksum_type="FULL_OBJECT", parts=())
    bucket.objects[request.key] = replace(found, modified=state.now, headers=headers, metadata=metadata, upload=None)
    etag: list[Node] = [] if found.etag is None else [("ETag", f'"{found.etag}"')]
    nodes = [("LastModified", str(state.now)), *etag, *checksum_nodes(found.checksums, found.checksum_type)]
    return Reply(200, {}, ("CopyObjectResult", nodes))


def delete(state: State, request: Request) -> Reply:
    """DeleteObject: success also where nothing is."""
    state.bucket(request.bucket).objects.pop(request.key, None)
    return Reply(204)


def delete_many(state: State, request: Request) -> Reply:
    """DeleteObjects: an outcome per key; `Quiet` leaves out the successes."""
    document = fromstring(request.body)
    keys = [element.findtext("Key") or "" for element in document.iter("Object")]
    if not 1 <= len(keys) <= 1000:
        raise Refusal("MalformedXML")
    bucket = state.bucket(request.bucket)
    rows: list[Node] = []
    for key in keys:
        if is_reserved(key):
            rows.append(("Error", [("Key", key), ("Code", "InvalidObjectName"), ("Message", "")]))
        else:
            bucket.objects.pop(key, None)
            if document.findtext("Quiet") != "true":
                rows.append(("Deleted", [("Key", key)]))
    return Reply(200, {}, ("DeleteResult", rows))
