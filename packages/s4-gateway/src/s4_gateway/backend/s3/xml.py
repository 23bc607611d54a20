"""S3's XML documents, read and written. Documents come from the store, so they are bounded and may hold no DTD."""

import html
import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from urllib.parse import unquote_plus
from xml.etree import ElementTree
from xml.sax.saxutils import escape

from s4_gateway.backend.abc import Bucket, OpenUpload
from s4_gateway.backend.s3.headers import unusable

MAX_DOCUMENT_BYTES = 32 * 2**20
"""Most bytes of one answer that are held: a page of 1,000 keys of 1,024 bytes, each percent-encoded, stays below 5 MiB."""

_NAMESPACE = "http://s3.amazonaws.com/doc/2006-03-01/"
_ILLEGAL = re.compile(r"[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_ERROR_FIELD = re.compile(rb"<(Code|Message)>([^<]{0,2048})</")


class Node:
    """One element; children are found by local name, whatever the namespace."""

    __slots__ = ("_element", "_space")

    def __init__(self, element: ElementTree.Element) -> None:
        self._element = element
        self._space = element.tag[: element.tag.rfind("}") + 1]

    @property
    def name(self) -> str:
        """Local name."""
        return self._element.tag[len(self._space) :]

    def text(self, name: str) -> str | None:
        """Text of the first child of that name; None if there is none."""
        return self._element.findtext(self._space + name)

    def texts(self, name: str) -> Iterable[Mapping[str, str]]:
        """For each child of that name, the texts of its own children by local name: the quick way through long lists."""
        cut = len(self._space)
        for item in self._element.iterfind(self._space + name):
            yield {child.tag[cut:]: child.text or "" for child in item}

    def all(self, name: str) -> Iterable["Node"]:
        """All children of that name."""
        return map(Node, self._element.iterfind(self._space + name))

    def child(self, name: str) -> "Node | None":
        """The first child of that name."""
        found = self._element.find(self._space + name)
        return None if found is None else Node(found)


def parse(body: bytes, root: str | None = None) -> Node:
    """The root of a document; white space before the XML declaration is skipped.

    Args:
        body: the document.
        root: the local name that the root must have; None = any. Another document, read as this one, would look like an empty one.

    Raises:
        BackendError: not well formed, a DTD in it, or another root.
    """
    # The encoding is fixed and NUL refused, so that no other encoding can hide a DTD from this look at the bytes.
    if b"<!DOCTYPE" in body or b"\0" in body:
        raise unusable("XML with a DTD")
    parser = ElementTree.XMLParser(encoding="utf-8")  # noqa: S314 - without a DTD there are no entities to expand
    try:
        parser.feed(body.lstrip(b" \t\r\n"))
        found = Node(parser.close())
    except (ElementTree.ParseError, ValueError) as error:
        raise unusable(f"malformed XML ({error})") from error
    if root is not None and found.name != root:
        raise unusable(f"{found.name} in place of {root}")
    return found


def error_fields(body: bytes) -> tuple[str | None, str | None]:
    """(Code, Message) of an error document, also of one that is not well formed because it echoes a key XML cannot hold."""
    fields: dict[bytes, str] = {}
    for name, value in _ERROR_FIELD.findall(body):
        fields.setdefault(name, html.unescape(value.strip().decode("utf-8", "replace")))
    return fields.get(b"Code") or None, fields.get(b"Message") or None


def is_expressible(text: str) -> bool:
    """XML 1.0 can carry this text (production [2] Char)."""
    return _ILLEGAL.search(text) is None


def _escaped(text: str) -> str:
    # A literal carriage return would be read back as a line feed (XML 1.0, 2.11).
    return escape(text, {"\r": "&#13;"})


def complete_document(parts: Iterable[tuple[int, str]]) -> bytes:
    """Body of CompleteMultipartUpload; ETags come unquoted."""
    items = "".join([f"<Part><PartNumber>{number}</PartNumber><ETag>&quot;{_escaped(etag)}&quot;</ETag></Part>" for number, etag in parts])
    return f'<CompleteMultipartUpload xmlns="{_NAMESPACE}">{items}</CompleteMultipartUpload>'.encode()


def delete_document(targets: Iterable[tuple[str, str | None]]) -> bytes:
    """Body of DeleteObjects."""
    items = []
    for key, version_id in targets:
        version = "" if version_id is None else f"<VersionId>{_escaped(version_id)}</VersionId>"
        items.append(f"<Object><Key>{_escaped(key)}</Key>{version}</Object>")
    return f'<Delete xmlns="{_NAMESPACE}">{"".join(items)}</Delete>'.encode()


def create_bucket_document(location: str) -> bytes:
    """Body of CreateBucket."""
    constraint = f"<LocationConstraint>{_escaped(location)}</LocationConstraint>"
    return f'<CreateBucketConfiguration xmlns="{_NAMESPACE}">{constraint}</CreateBucketConfiguration>'.encode()


def timestamp(value: str | None) -> int:
    """Whole seconds since the epoch of an ISO 8601 time, rounded down as HTTP dates are.

    Raises:
        BackendError: it is none.
    """
    try:
        when = datetime.fromisoformat(value or "")
    except ValueError as error:
        raise unusable(f"time {value!r}") from error
    return int((when if when.tzinfo else when.replace(tzinfo=UTC)).timestamp() // 1)


def required(node: Node, name: str) -> str:
    """Text of the first child of that name.

    Raises:
        BackendError: there is none.
    """
    value = node.text(name)
    if value is None:
        raise unusable(f"{node.name} without {name}")
    return value


def count(value: str) -> int:
    """A size.

    Raises:
        BackendError: it is not a decimal number below 10^19.
    """
    if not (value.isascii() and value.isdigit() and len(value) < 20):
        raise unusable(f"size {value!r}")
    return int(value)


def percent_decoded(text: str) -> str:
    """A name as stores encode it on demand, `+` being a space.

    Raises:
        BackendError: it is not the encoding of UTF-8.
    """
    if "%" not in text and "+" not in text:
        return text
    try:
        return unquote_plus(text, errors="strict")
    except UnicodeDecodeError as error:
        raise unusable(f"name {text!r} is not UTF-8") from error


def bucket_page(body: bytes) -> tuple[Sequence[Bucket], str | None]:
    """(buckets, continuation token) of ListBuckets."""
    root = parse(body, "ListAllMyBucketsResult")
    holder = root.child("Buckets")
    buckets = (
        [] if holder is None else [Bucket(required(item, "Name"), timestamp(item.text("CreationDate"))) for item in holder.all("Bucket")]
    )
    return buckets, root.text("ContinuationToken") or None


def upload_page(body: bytes) -> tuple[Sequence[OpenUpload], tuple[str, str] | None]:
    """(uploads, (key marker, upload id marker) of the next page or None) of ListMultipartUploads."""
    root = parse(body, "ListMultipartUploadsResult")
    decode = percent_decoded if root.text("EncodingType") == "url" else str
    uploads = [
        OpenUpload(decode(required(item, "Key")), required(item, "UploadId"), timestamp(item.text("Initiated")))
        for item in root.all("Upload")
    ]
    if root.text("IsTruncated") != "true":
        return uploads, None
    return uploads, (decode(required(root, "NextKeyMarker")), root.text("NextUploadIdMarker") or "")
