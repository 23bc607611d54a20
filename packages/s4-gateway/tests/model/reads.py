"""GetObject, HeadObject and GetObjectAttributes of the perfect S3: conditions, ranges, parts (S3 API reference; RFC 9110, 13 and 14)."""

import re
from collections.abc import Mapping
from email.utils import formatdate, parsedate_to_datetime

from .values import NOTHING, Node, Object, Refusal, Reply, Request, State

KEPT_IN_304 = ("etag", "last-modified", "cache-control", "expires")
MAX_PARTS = 1000
_RANGE = re.compile(r"bytes=(\d*)-(\d*)")


def http_date(seconds: int) -> str:
    """An HTTP date."""
    return formatdate(seconds, usegmt=True)


def _seconds(date: str) -> int:
    return int(parsedate_to_datetime(date).timestamp())


def matches(tags: str, etag: str | None) -> bool:
    """Whether an If-Match or If-None-Match names the ETag; `*` names every object."""
    if tags.strip() == "*":
        return True
    return etag is not None and etag in {tag.strip().removeprefix("W/").strip('"') for tag in tags.split(",")}


def check(headers: Mapping[str, str], found: Object, *, prefix: str = "") -> None:
    """Preconditions in order; an ETag condition puts the date condition beside it out of force. For the source of a copy, whose headers
    have a prefix, there is no 304.
    """
    said = {name: headers.get(prefix + name) for name in ("if-match", "if-none-match", "if-modified-since", "if-unmodified-since")}
    if said["if-match"] is not None:
        if not matches(said["if-match"], found.etag):
            raise Refusal("PreconditionFailed")
    elif said["if-unmodified-since"] is not None and found.modified > _seconds(said["if-unmodified-since"]):
        raise Refusal("PreconditionFailed")
    if said["if-none-match"] is not None:
        unchanged = matches(said["if-none-match"], found.etag)
    else:
        unchanged = said["if-modified-since"] is not None and found.modified <= _seconds(said["if-modified-since"])
    if unchanged:
        if prefix:
            raise Refusal("PreconditionFailed")
        described = describe(found)
        raise Refusal("NotModified", {name: described[name] for name in KEPT_IN_304 if name in described})


def describe(found: Object) -> dict[str, str]:
    """Headers of every answer about the object."""
    headers = {"accept-ranges": "bytes", "content-type": "binary/octet-stream", "last-modified": http_date(found.modified), **found.headers}
    headers |= {f"x-amz-meta-{name}": value for name, value in found.metadata.items()}
    if found.etag is not None:
        headers["etag"] = f'"{found.etag}"'
    return headers


def checksum_headers(checksums: Mapping[str, str], checksum_type: str | None) -> dict[str, str]:
    """As in answers about objects."""
    headers = {f"x-amz-checksum-{name}": value for name, value in checksums.items()}
    return headers | {"x-amz-checksum-type": checksum_type} if headers and checksum_type else headers


def _is_range(value: str | None) -> bool:
    try:
        return span_of(value, 2**40) is not None
    except Refusal:
        return True


def span_of(value: str | None, size: int) -> tuple[int, int] | None:
    """Half-open span of a Range header; None where it is ignored.

    Raises:
        Refusal: InvalidRange.
    """
    match = _RANGE.fullmatch(value or "")
    if match is None or match[0] == "bytes=-":
        return None
    first, last = match.groups()
    if not first:
        start, stop = max(0, size - int(last)), size
    else:
        start, stop = int(first), size if not last else int(last) + 1
        if start >= stop and last:
            return None
    if start >= min(stop, size):
        raise Refusal("InvalidRange", {"content-range": f"bytes */{size}"})
    return start, min(stop, size)


def _part_span(found: Object, number: int) -> tuple[int, int]:
    sizes = [len(part.body) for part in found.parts] or [len(found.body)]
    if number > len(sizes):
        raise Refusal("InvalidPartNumber")
    start = sum(sizes[: number - 1])
    return start, start + sizes[number - 1]


def _in_range(if_range: str | None, found: Object) -> bool:
    if if_range is None:
        return True
    if if_range.endswith("GMT"):
        return _seconds(if_range) == found.modified
    return found.etag is not None and if_range.strip('"') == found.etag


def read(state: State, request: Request) -> Reply:
    """GetObject and HeadObject."""
    query, headers = request.query, request.headers
    if "partNumber" in query and _is_range(headers.get("range")):
        raise Refusal("InvalidRequest")
    found = state.object(request.bucket, request.key)
    check(headers, found)
    size = len(found.body)
    span: tuple[int, int] | None = None
    said = describe(found)
    if "partNumber" in query:
        span = _part_span(found, int(query["partNumber"]))
        if found.parts:
            said["x-amz-mp-parts-count"] = str(len(found.parts))
    elif _in_range(headers.get("if-range"), found):
        span = span_of(headers.get("range"), size)
    if span is None and headers.get("x-amz-checksum-mode") == "ENABLED":
        said |= checksum_headers(found.checksums, found.checksum_type)
    start, stop = span or (0, size)
    if span is not None and stop > start:
        said["content-range"] = f"bytes {start}-{stop - 1}/{size}"
    said["content-length"] = str(stop - start)
    said |= {name.removeprefix("response-"): value for name, value in query.items() if name.startswith("response-")}
    return Reply(200 if span is None else 206, said, b"" if request.method == "HEAD" else found.body[start:stop])


def attributes(state: State, request: Request) -> Reply:
    """GetObjectAttributes. The parts are the client's own, whatever checksums the upload had."""
    found = state.object(request.bucket, request.key)
    check(request.headers, found)
    asked = {name.strip() for name in request.headers["x-amz-object-attributes"].split(",")}
    nodes: list[Node] = []
    if "ETag" in asked and found.etag is not None:
        nodes.append(("ETag", found.etag))
    if "Checksum" in asked and found.checksums:
        nodes.append(("Checksum", checksum_nodes(found.checksums, found.checksum_type)))
    if "ObjectParts" in asked and found.parts:
        nodes.append(("ObjectParts", _part_nodes(found, request.headers)))
    if "StorageClass" in asked:
        nodes.append(("StorageClass", "STANDARD"))
    if "ObjectSize" in asked:
        nodes.append(("ObjectSize", str(len(found.body))))
    return Reply(200, {"last-modified": http_date(found.modified)}, ("GetObjectAttributesResponse", nodes))


def checksum_nodes(checksums: Mapping[str, str] = NOTHING, checksum_type: str | None = None) -> list[Node]:
    """Checksum elements, and their type where there is one to tell."""
    nodes: list[Node] = [(f"Checksum{name.upper()}", value) for name, value in checksums.items()]
    return [*nodes, ("ChecksumType", checksum_type)] if nodes and checksum_type else nodes


def _part_nodes(found: Object, headers: Mapping[str, str]) -> list[Node]:
    marker, limit = int(headers.get("x-amz-part-number-marker", 0)), min(int(headers.get("x-amz-max-parts", MAX_PARTS)), MAX_PARTS)
    behind = [part for part in found.parts if part.number > marker]
    page = behind[:limit]
    rows: list[Node] = [
        ("Part", [("PartNumber", str(part.number)), ("Size", str(len(part.body))), *checksum_nodes(part.checksums)]) for part in page
    ]
    return [
        ("PartsCount", str(len(found.parts))),
        ("PartNumberMarker", str(marker)),
        ("NextPartNumberMarker", str(page[-1].number if page else marker)),
        ("MaxParts", str(limit)),
        ("IsTruncated", "true" if len(behind) > len(page) else "false"),
        *rows,
    ]
