"""The XML documents that clients send. Expat does the parsing; a DTD, and so every entity of one's own, is refused."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from xml.parsers import expat

from s4_gateway.errors import S3Error
from s4_gateway.wire.digests import ALGORITHMS, UNBUILT_ALGORITHMS
from s4_gateway.wire.headers import MAX_PART_NUMBER

MAX_DELETE_TARGETS = 1000
_MAX_DEPTH = 16
_MAX_ELEMENTS = 200_000
"""Three times what the largest legal document has (10,000 parts of 6 elements): each costs a call into Python."""
_CHECKSUMS = {f"Checksum{name.upper()}": name for name in (*ALGORITHMS, *UNBUILT_ALGORITHMS)}
_DELETE_CONDITIONS = ("ETag", "LastModifiedTime", "Size")


@dataclass(frozen=True, slots=True)
class PartChoice:
    """One part that a CompleteMultipartUpload names."""

    number: int
    """As sent; the range is for the caller to judge."""
    etag: str
    """Unquoted."""
    checksums: Mapping[str, str] = field(default_factory=dict)
    """Algorithm, lower-case -> base64 as sent."""


@dataclass(frozen=True, slots=True)
class DeleteRequest:
    """A DeleteObjects document."""

    quiet: bool
    targets: Sequence[tuple[str, str | None]]
    """(key, version id), 1 to 1,000."""


def parse_complete(xml: bytes) -> Sequence[PartChoice]:
    """CompleteMultipartUpload: 1 to 10,000 parts in the order sent.

    Raises:
        S3Error: MalformedXML, also for a part without number or ETag and for more than 10,000 parts.
    """
    document = _read(
        xml, root="CompleteMultipartUpload", record="Part", limit=MAX_PART_NUMBER, names=frozenset({"PartNumber", "ETag", *_CHECKSUMS})
    )
    if not document.records:
        raise _malformed()
    return [_part(record) for record in document.records]


def _part(record: Mapping[str, str]) -> PartChoice:
    number, etag = record.get("PartNumber", "").strip(), record.get("ETag", "").strip()
    if not (number.isascii() and number.isdigit() and len(number) <= 9 and etag):
        raise _malformed()
    checksums = {algorithm: record[name].strip() for name, algorithm in _CHECKSUMS.items() if record.get(name)} if len(record) > 2 else {}
    for algorithm in checksums:
        if algorithm not in ALGORITHMS:
            raise S3Error("NotImplemented", f"The checksum algorithm {algorithm.upper()} is not implemented.")
    return PartChoice(int(number), etag.removeprefix('"').removesuffix('"'), checksums)


def parse_delete(xml: bytes) -> DeleteRequest:
    """Delete: 1 to 1,000 targets in the order sent.

    Raises:
        S3Error: MalformedXML, also for an empty key or version id and for more than 1,000 targets; NotImplemented for a target with
            conditions (ETag, LastModifiedTime, Size), because leaving them out would delete what the client wants kept.
    """
    names = frozenset({"Key", "VersionId", "Quiet", *_DELETE_CONDITIONS})
    document = _read(xml, root="Delete", record="Object", limit=MAX_DELETE_TARGETS, names=names)
    quiet = document.fields.get("Quiet", "false").strip().lower()
    if not document.records or quiet not in ("true", "false"):
        raise _malformed()
    targets: list[tuple[str, str | None]] = []
    for record in document.records:
        key, version_id = record.get("Key"), record.get("VersionId")
        if not key or version_id == "":
            raise _malformed()
        for name in _DELETE_CONDITIONS:
            if name in record:
                raise S3Error("NotImplemented", f"Conditional deletes are not implemented ({name} in an Object of the Delete document).")
        targets.append((key, version_id))
    return DeleteRequest(quiet == "true", targets)


def parse_create_bucket(xml: bytes) -> str | None:
    """CreateBucketConfiguration: its LocationConstraint; None where there is no document or no constraint.

    Raises:
        S3Error: MalformedXML; NotImplemented for directory buckets and for tags.
    """
    if not xml.strip():
        return None
    document = _read(
        xml, root="CreateBucketConfiguration", record=None, limit=0, names=frozenset({"LocationConstraint", "Location", "Bucket", "Tags"})
    )
    for name in ("Location", "Bucket", "Tags"):
        if name in document.fields:
            raise S3Error("NotImplemented", f"{name} of CreateBucketConfiguration is not implemented.")
    return document.fields.get("LocationConstraint", "").strip() or None


class _Document:
    """What is kept of a document: texts of the wanted children of the root, and of the wanted children of each record."""

    def __init__(self, *, root: str, record: str | None, limit: int, names: frozenset[str]) -> None:
        self.fields: dict[str, str] = {}
        self.records: list[dict[str, str]] = []
        self._root = root
        self._record = record
        self._limit = limit
        self._names = names
        self._elements = 0
        self._path: list[str] = []
        self._text: list[str] = []
        self._wanted = 0
        """Depth of the element whose text is being collected; 0 = none."""

    def start(self, name: str, _attributes: Mapping[str, str]) -> None:
        local = name.rpartition(":")[2]
        self._path.append(local)
        self._elements += 1
        depth = len(self._path)
        if self._elements > _MAX_ELEMENTS or depth > _MAX_DEPTH or (depth == 1 and local != self._root):
            raise _malformed()
        if depth == 2 and local == self._record:
            if len(self.records) >= self._limit:
                raise _malformed()
            self.records.append({})
        elif local in self._names and (depth == 2 or (depth == 3 and self._path[1] == self._record)):
            self._wanted = depth
            self._text = []

    def text(self, data: str) -> None:
        if self._wanted == len(self._path):
            self._text.append(data)

    def end(self, _name: str) -> None:
        local = self._path.pop()
        if self._wanted != len(self._path) + 1:
            return
        target = self.fields if self._wanted == 2 else self.records[-1]
        if local in target:
            raise _malformed()
        target[local] = "".join(self._text)
        self._wanted = 0

    def refuse(self, *_: object) -> None:
        raise _malformed()


def _read(xml: bytes, *, root: str, record: str | None, limit: int, names: frozenset[str]) -> _Document:
    """Parse with or without a namespace. The encoding is UTF-8 (UTF-16 behind its byte order mark), whatever the declaration says."""
    document = _Document(root=root, record=record, limit=limit, names=names)
    parser = expat.ParserCreate("UTF-8")
    parser.buffer_text = True
    parser.StartElementHandler = document.start
    parser.EndElementHandler = document.end
    parser.CharacterDataHandler = document.text
    parser.StartDoctypeDeclHandler = document.refuse
    parser.EntityDeclHandler = document.refuse
    try:
        parser.Parse(xml, True)
    except expat.ExpatError:
        raise _malformed() from None
    return document


def _malformed() -> S3Error:
    return S3Error("MalformedXML")
