"""GetObject, HeadObject and GetObjectAttributes."""

from base64 import b64encode
from typing import NamedTuple

from s4_format import Part, unquote_etag

from s4_gateway.call import Call
from s4_gateway.errors import S3Error
from s4_gateway.objects.attributes import Attributes
from s4_gateway.objects.face import NOTHING, Face, Wanted
from s4_gateway.objects.reader import ReadRequest
from s4_gateway.objects.store import ObjectStore
from s4_gateway.operations.answers import KEPT_IN_304, face_headers
from s4_gateway.operations.results import AttributePart, Content, Empty, ObjectAttributesResult, ObjectParts
from s4_gateway.wire.conditions import UNCONDITIONAL, ReadConditions, if_range_matches
from s4_gateway.wire.headers import http_date, int_param, part_number, response_overrides
from s4_gateway.wire.ranges import ByteRange, content_range, parse_range

MAX_ATTRIBUTE_PARTS = 1000
ATTRIBUTE_NAMES = frozenset({"ETag", "Checksum", "ObjectParts", "StorageClass", "ObjectSize"})


class _Ask(NamedTuple):
    """What a GET or HEAD asks for, typed."""

    conditions: ReadConditions
    range: ByteRange | None
    if_range: str | None
    part: int | None
    version: str | None
    overrides: dict[str, str]
    checksums: bool

    @classmethod
    def of(cls, call: Call) -> "_Ask":
        headers, query = call.headers, call.query
        part, asked = part_number(query), parse_range(headers.get("range"))
        if part is not None and asked is not None:
            raise S3Error("InvalidRequest", "Cannot specify both Range header and partNumber query parameter")
        return cls(
            ReadConditions.from_headers(headers),
            asked,
            headers.get("if-range"),
            part,
            query.get("versionId"),
            response_overrides(query),
            headers.get("x-amz-checksum-mode", "").upper() == "ENABLED",
        )

    @property
    def wanted(self) -> Wanted:
        return Wanted(checksums=self.checksums, parts=self.part is not None) if self.checksums or self.part is not None else NOTHING

    def check(self, face: Face) -> None:
        if self.conditions is not UNCONDITIONAL:
            headers = face_headers(face, checksums=False)
            kept = {name: headers[name] for name in KEPT_IN_304 if name in headers}
            self.conditions.check(face.attributes.etag, face.stored.modified, headers_304=kept)

    def check_partial(self, face: Face) -> None:
        """The same, for a request that was begun as one for a part.

        Raises:
            _RangeVoid: If-Range names another object than the one that is there.
        """
        self.check(face)
        if not self.partial(face):
            raise _RangeVoid

    def partial(self, face: Face) -> bool:
        """Whether only a part of the object is asked for."""
        if self.part is not None:
            return True
        return self.range is not None and if_range_matches(self.if_range, face.attributes.etag, face.stored.modified)

    def span(self, attributes: Attributes) -> tuple[int, int]:
        """Logical half-open span."""
        if self.part is not None:
            return part_span(attributes, self.part)
        return (0, attributes.size) if self.range is None else self.range.resolve(attributes.size)

    def headers(self, face: Face, start: int, stop: int, *, partial: bool) -> dict[str, str]:
        headers = face_headers(face, checksums=self.checksums and not partial)
        if partial and stop > start:
            # Only a part can be empty, and no Content-Range can say so.
            headers["content-range"] = content_range(start, stop, face.attributes.size)
        if self.part is not None and face.attributes.parts:
            headers["x-amz-mp-parts-count"] = str(len(face.attributes.parts))
        headers.update(self.overrides)
        return headers


class _RangeVoid(Exception):
    """The request is one for the whole object."""


def part_span(attributes: Attributes, number: int) -> tuple[int, int]:
    """Logical span of a client part; an object that was not uploaded in parts is its own part 1.

    Raises:
        S3Error: InvalidPartNumber (416).
    """
    if not attributes.parts:
        if number == 1:
            return 0, attributes.size
        raise S3Error("InvalidPartNumber")
    start = 0
    for position, part in enumerate(attributes.parts, 1):
        # S3 counts the parts of a finished object from 1, whatever numbers they were uploaded under.
        if position == number:
            return start, start + part.original_size
        start += part.original_size
    raise S3Error("InvalidPartNumber")


async def get_object(store: ObjectStore, call: Call) -> Content:
    """GetObject, whole, ranged or by part."""
    ask = _Ask.of(call)
    partial = ask.range is not None or ask.part is not None
    request = ReadRequest(call.bucket, call.key, ask.version, ask.check, wanted=ask.wanted)
    try:
        part = request._replace(check=ask.check_partial, select=ask.span)
        opened = await store.reader.open(part if partial else request)
    except _RangeVoid:
        # Judged on the very answer whose bytes would be sent: between two requests the object may change.
        partial = False
        opened = await store.reader.open(request)
    call.notes["codec"] = opened.face.manifest.codec_label
    try:
        headers = ask.headers(opened.face, opened.start, opened.stop, partial=partial)
    except BaseException:
        await opened.chunks.aclose()
        raise
    return Content(206 if partial else 200, headers, opened.stop - opened.start, opened.chunks, opened.chunks.whole)


async def head_object(store: ObjectStore, call: Call) -> Empty:
    """HeadObject; Range and partNumber count, as in S3."""
    ask = _Ask.of(call)
    face = await store.reader.head(call.bucket, call.key, version=ask.version, wanted=ask.wanted)
    ask.check(face)
    partial = ask.partial(face)
    start, stop = ask.span(face.attributes) if partial else (0, face.attributes.size)
    call.notes["codec"] = face.manifest.codec_label
    return Empty(206 if partial else 200, ask.headers(face, start, stop, partial=partial), content_length=stop - start)


async def get_object_attributes(store: ObjectStore, call: Call) -> ObjectAttributesResult:
    """GetObjectAttributes, from the logical object and its part table."""
    asked = {name.strip() for name in call.headers.get("x-amz-object-attributes", "").split(",") if name.strip()}
    if not asked or asked - ATTRIBUTE_NAMES:
        raise S3Error("InvalidArgument", "Invalid attribute name specified.", fields={"ArgumentName": "x-amz-object-attributes"})
    limit = min(int_param(call.headers, "x-amz-max-parts", default=MAX_ATTRIBUTE_PARTS, low=0, high=2**31 - 1), MAX_ATTRIBUTE_PARTS)
    marker = int_param(call.headers, "x-amz-part-number-marker", default=0, low=0, high=2**31 - 1)
    face = await store.reader.head(
        call.bucket, call.key, version=call.query.get("versionId"), wanted=Wanted(checksums=True, parts="ObjectParts" in asked)
    )
    stored, attributes = face.stored, face.attributes
    ReadConditions.from_headers(call.headers).check(attributes.etag, stored.modified, headers_304={})
    headers = {"last-modified": http_date(stored.modified)}
    if stored.version_id is not None:
        headers["x-amz-version-id"] = stored.version_id
    return ObjectAttributesResult(
        headers,
        etag=unquote_etag(attributes.etag) if "ETag" in asked and attributes.etag is not None else None,
        checksums=attributes.shown_checksums if "Checksum" in asked else {},
        checksum_type=attributes.checksum_type if "Checksum" in asked else None,
        size=attributes.size if "ObjectSize" in asked else None,
        storage_class=(stored.storage_class or "STANDARD") if "StorageClass" in asked else None,
        parts=_parts_page(attributes, marker, limit) if "ObjectParts" in asked and attributes.parts else None,
    )


def _parts_page(attributes: Attributes, marker: int, limit: int) -> ObjectParts:
    parts = attributes.parts or ()
    behind = [part for part in parts if part.number > marker]
    page = behind[:limit]
    rows = [AttributePart(part.number, part.original_size, part_checksums(part, attributes.part_algorithm)) for part in page]
    return ObjectParts(len(parts), marker, page[-1].number if page else marker, limit, len(behind) > len(page), rows)


def part_checksums(part: Part, algorithm: str | None) -> dict[str, str]:
    """A part's checksum as S3 shows it: algorithm -> base64."""
    return {algorithm: b64encode(part.checksum).decode()} if part.checksum is not None and algorithm is not None else {}
