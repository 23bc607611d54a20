"""Steps as requests: what a step says in words, in terms of what is there now."""

import base64
from collections.abc import Mapping
from random import Random
from typing import Any
from urllib.parse import quote
from xml.sax.saxutils import escape

from .reads import http_date
from .steps import HEADER_SETS, Step
from .values import Object, Part, Request, State, Upload, checksum, composite_checksum, md5

OTHER = "0" * 32


def _found(state: State, bucket: str, key: str) -> Object | None:
    place = state.buckets.get(bucket)
    return None if place is None else place.objects.get(key)


def _conditions(text: str | None, found: Object | None, *, now: int, prefix: str = "") -> dict[str, str]:
    """`if-match current, if-modified-since -1`: names, each with what it compares with."""
    headers: dict[str, str] = {}
    for clause in filter(None, (text or "").split(", ")):
        name, _, value = clause.partition(" ")
        if name.endswith("since"):
            headers[prefix + name] = http_date((found.modified if found is not None else now) + int(value))
        else:
            tags = {"current": found.etag if found is not None and found.etag is not None else OTHER, "other": OTHER}
            headers[prefix + name] = "*" if value == "*" else f'"{tags[value]}"'
    return headers


def _digests(digest: str | None, body: bytes) -> dict[str, str]:
    """Of this body, or of another one."""
    if digest is None:
        return {}
    name = digest.removeprefix("wrong ")
    of = body if name == digest else body + b"x"
    if name == "md5":
        return {"content-md5": base64.b64encode(bytes.fromhex(md5(of))).decode()}
    return {f"x-amz-checksum-{name}": checksum(name, of)}


def _range(name: str, size: int) -> str:
    third = size // 3
    return {
        "first": "bytes=0-0",
        "last": f"bytes={max(0, size - 1)}-{max(0, size - 1)}",
        "middle": f"bytes={third}-{2 * third}",
        "rest": f"bytes={third}-",
        "suffix": f"bytes=-{third + 1}",
        "suffix of more": f"bytes=-{size + 10}",
        "beyond": f"bytes={third}-{size + 10}",
        "at the end": f"bytes={size}-",
        "suffix of nothing": "bytes=-0",
        "past": f"bytes={size + 5}-{size + 9}",
        "nonsense": "bytes=a-b",
        "wrong order": "bytes=5-2",
    }[name]


def put(state: State, step: Step) -> Request:
    """PutObject."""
    body = step.body.bytes
    conditions = _conditions(step.condition, _found(state, step.bucket, step.key), now=state.now)
    headers = {**HEADER_SETS[step.headers or 0], **_digests(step.digest, body), **conditions}
    return Request("PUT", step.bucket, step.key, headers=headers, body=body)


def read(state: State, step: Step) -> Request:
    """GetObject or HeadObject."""
    found = _found(state, step.bucket, step.key)
    headers = _conditions(step.condition, found, now=state.now)
    if step.range is not None:
        headers["range"] = _range(step.range, len(found.body) if found is not None else 10)
    if step.if_range is not None:
        modified = found.modified if found is not None else state.now
        etag = found.etag if found is not None and found.etag is not None else OTHER
        dates = {"date": http_date(modified), "older date": http_date(modified - 5)}
        headers["if-range"] = dates.get(step.if_range, f'"{etag if step.if_range == "current" else OTHER}"')
    if step.checksums:
        headers["x-amz-checksum-mode"] = "ENABLED"
    query = {} if step.part is None else {"partNumber": str(step.part)}
    if step.overrides:
        query |= {"response-content-type": "x/y", "response-cache-control": "no-store"}
    return Request(step.method, step.bucket, step.key, query, headers)


def attributes(_state: State, step: Step) -> Request:
    """GetObjectAttributes."""
    headers = {"x-amz-object-attributes": step.names}
    if step.most is not None:
        headers["x-amz-max-parts"] = str(step.most)
    if step.marker is not None:
        headers["x-amz-part-number-marker"] = str(step.marker)
    return Request("GET", step.bucket, step.key, {"attributes": ""}, headers)


def _source(state: State, step: Step) -> dict[str, str]:
    found = _found(state, step.source_bucket, step.source)
    conditions = _conditions(step.source_condition, found, now=state.now, prefix="x-amz-copy-source-")
    return {"x-amz-copy-source": quote(f"/{step.source_bucket}/{step.source}"), **conditions}


def copy(state: State, step: Step) -> Request:
    """CopyObject."""
    headers = {**_source(state, step), **_conditions(step.condition, _found(state, step.bucket, step.key), now=state.now)}
    if step.directive is not None:
        headers["x-amz-metadata-directive"] = step.directive
    if step.directive == "REPLACE":
        headers |= HEADER_SETS[step.headers or 0]
    return Request("PUT", step.bucket, step.key, headers=headers)


def delete(_state: State, step: Step) -> Request:
    """DeleteObject."""
    return Request("DELETE", step.bucket, step.key)


def delete_many(_state: State, step: Step) -> Request:
    """DeleteObjects."""
    rows = "".join(f"<Object><Key>{escape(key, {chr(13): '&#13;'})}</Key></Object>" for key in step.keys)
    quiet = "<Quiet>true</Quiet>" if step.quiet else ""
    return Request("POST", step.bucket, query={"delete": ""}, body=f"<Delete>{quiet}{rows}</Delete>".encode())


def bucket(_state: State, step: Step) -> Request:
    """CreateBucket, DeleteBucket, HeadBucket."""
    return Request(step.method, step.bucket)


def create(_state: State, step: Step) -> Request:
    """CreateMultipartUpload."""
    headers = dict(HEADER_SETS[step.headers or 0])
    if step.algorithm is not None:
        headers["x-amz-checksum-algorithm"] = step.algorithm
    if step.type is not None and step.algorithm is not None:
        headers["x-amz-checksum-type"] = step.type
    return Request("POST", step.bucket, step.key, {"uploads": ""}, headers)


class Uploads:
    """Requests about uploads, whose ids the gateway chose: `ids` by label."""

    def __init__(self, ids: Mapping[str, str]) -> None:
        self._ids = ids

    def _id(self, step: Step) -> str:
        return self._ids.get(step.label, "f" * 44)

    def _open(self, state: State, step: Step) -> Upload | None:
        place = state.buckets.get(step.bucket)
        return None if place is None else place.uploads.get(self._id(step))

    def part(self, _state: State, step: Step) -> Request:
        """UploadPart."""
        query = {"partNumber": str(step.number), "uploadId": self._id(step)}
        body = step.body.bytes
        return Request("PUT", step.bucket, step.key, query, _digests(step.digest, body), body)

    def copy_part(self, state: State, step: Step) -> Request:
        """UploadPartCopy."""
        headers = _source(state, step)
        found = _found(state, step.source_bucket, step.source)
        if step.range is not None:
            headers["x-amz-copy-source-range"] = _range(step.range, len(found.body) if found is not None else 10)
        return Request("PUT", step.bucket, step.key, {"partNumber": str(step.number), "uploadId": self._id(step)}, headers)

    def abort(self, _state: State, step: Step) -> Request:
        """AbortMultipartUpload."""
        return Request("DELETE", step.bucket, step.key, {"uploadId": self._id(step)})

    def list_parts(self, _state: State, step: Step) -> Request:
        """ListParts."""
        query = {"uploadId": self._id(step)}
        if step.most is not None:
            query["max-parts"] = str(step.most)
        if step.marker is not None:
            query["part-number-marker"] = str(step.marker)
        return Request("GET", step.bucket, step.key, query)

    def complete(self, state: State, step: Step) -> Request:
        """CompleteMultipartUpload."""
        upload = self._open(state, step)
        parts = self._parts(state, step, upload)
        rows = "".join(
            f'<Part><PartNumber>{number}</PartNumber><ETag>"{etag}"</ETag></Part>' for number, etag in _planned(parts, step, upload)
        )
        xml = f"<CompleteMultipartUpload>{rows}</CompleteMultipartUpload>" if step.plan != "nonsense" else "<Complete"
        chosen = parts if step.plan != "subset" else _some(parts, step.pick)
        found = _found(state, step.bucket, step.key)
        headers = {} if upload is None or not chosen else _stated(step.extra, upload, chosen)
        if upload is not None and step.extra is not None and step.extra.startswith("if-"):
            headers = _conditions(step.extra, found, now=state.now)
        return Request("POST", step.bucket, step.key, {"uploadId": self._id(step)}, headers, xml.encode())

    def _parts(self, state: State, step: Step, upload: Upload | None) -> list[Part]:
        if upload is not None:
            return [upload.parts[number] for number in sorted(upload.parts)]
        found = _found(state, step.bucket, step.key)
        if found is not None and found.upload == self._id(step):
            return list(found.parts)
        return [Part(1, b"", md5(b""), 0)]


def _some(parts: list[Part], pick: int) -> list[Part]:
    random = Random(pick)
    return [part for part in parts if random.random() < 0.6]


def _planned(parts: list[Part], step: Step, upload: Upload | None) -> list[tuple[int, str]]:
    rows = [(part.number, part.etag) for part in parts]
    match step.plan:
        case "subset":
            return [(part.number, part.etag) for part in _some(parts, step.pick)]
        case "reversed":
            return rows[::-1]
        case "twice":
            return [*rows, *rows[-1:]]
        case "unknown":
            return [*rows, (10_000, OTHER)] if not rows or rows[-1][0] < 10_000 else [(1, OTHER)]
        case "wrong":
            return [*rows[:-1], *((number, OTHER) for number, _ in rows[-1:])]
        case "overwritten":
            older = dict(upload.overwritten) if upload is not None else {}
            return [(number, next((tag for at, tag in older if at == number), etag)) for number, etag in rows]
        case "nothing":
            return []
    return rows


def _stated(extra: str | None, upload: Upload, chosen: list[Part]) -> dict[str, str]:
    """What a Complete says of the object."""
    size = sum(len(part.body) for part in chosen)
    other = {"FULL_OBJECT": "COMPOSITE", "COMPOSITE": "FULL_OBJECT"}[upload.checksum_type]
    said: dict[str, Any] = {
        "size": {"x-amz-mp-object-size": str(size)},
        "wrong size": {"x-amz-mp-object-size": str(size + 1)},
        "type": {"x-amz-checksum-type": upload.checksum_type},
        "wrong type": {"x-amz-checksum-type": other},
    }
    if extra in ("checksum", "wrong checksum") and upload.algorithm is not None:
        algorithm = upload.algorithm
        whole = b"".join(part.body for part in chosen) + (b"x" if extra == "wrong checksum" else b"")
        if upload.checksum_type == "FULL_OBJECT":
            return {f"x-amz-checksum-{algorithm}": checksum(algorithm, whole)}
        values = [part.checksums[algorithm] for part in chosen] + ([checksum(algorithm, b"x")] if extra == "wrong checksum" else [])
        return {f"x-amz-checksum-{algorithm}": composite_checksum(algorithm, values)}
    return dict(said.get(extra or "", {}))


BUILDERS = {
    "put": put,
    "read": read,
    "attributes": attributes,
    "copy": copy,
    "delete": delete,
    "delete_many": delete_many,
    "bucket": bucket,
    "create": create,
}
