"""What an operation answers: values, never XML. `wire.response` renders each type."""

from collections.abc import AsyncIterator, Awaitable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from s4_gateway.backend.abc import Buffer

NO_HEADERS: Mapping[str, str] = {}


@dataclass(frozen=True, slots=True)
class Empty:
    """No body: PutObject, UploadPart, DeleteObject, HEAD and the like."""

    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    content_length: int | None = None
    """What a HEAD says; None = 0, or no header at all with 204."""


class Content(NamedTuple):
    """An object's bytes. `chunks` is iterated once and always closed (aclose), also when the client went away.

    An exception while it runs aborts the connection: a clean end is only ever the right body.
    """

    status: int
    headers: Mapping[str, str]
    length: int
    """Exact bytes that `chunks` yields."""
    chunks: AsyncIterator[Buffer]
    whole: Buffer | None = None
    """All of them, where they are there already: then `chunks` need not be iterated."""


@dataclass(frozen=True, slots=True)
class BucketRow:
    name: str
    created: int
    region: str | None = None


@dataclass(frozen=True, slots=True)
class BucketList:
    buckets: Sequence[BucketRow]
    owner: str
    prefix: str | None = None
    token: str | None = None


@dataclass(frozen=True, slots=True)
class Location:
    """`region` us-east-1 renders as an empty LocationConstraint."""

    region: str


class ObjectRow(NamedTuple):
    """A tuple, because a page has a thousand of them."""

    key: str
    size: int
    etag: str | None
    """Unquoted; None = no validator, the element is left out."""
    modified: int
    storage_class: str = "STANDARD"
    checksum_algorithms: tuple[str, ...] = ()
    checksum_type: str | None = None


@dataclass(frozen=True, slots=True)
class ObjectList:
    """ListObjects (v1) and ListObjectsV2; fields of the other version are None. Names are plain; the renderer applies encoding-type."""

    bucket: str
    prefix: str
    delimiter: str
    max_keys: int
    truncated: bool
    rows: Sequence[ObjectRow]
    prefixes: Sequence[str]
    url_encoded: bool
    version: int
    """1 or 2."""
    marker: str | None = None
    next_marker: str | None = None
    token: str | None = None
    next_token: str | None = None
    start_after: str | None = None
    owner: str | None = None
    """Owner id to show, v1 always, v2 with fetch-owner."""
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class CopyDone:
    """CopyObject and UploadPartCopy (`part` True: root CopyPartResult)."""

    etag: str | None
    """None = the object has no validator."""
    modified: int
    part: bool = False
    checksums: Mapping[str, str] = field(default_factory=dict)
    """Algorithm, lower-case -> base64."""
    checksum_type: str | None = None
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class UploadCreated:
    bucket: str
    key: str
    upload_id: str
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class CompletedUpload:
    bucket: str
    key: str
    etag: str
    location: str
    checksums: Mapping[str, str] = field(default_factory=dict)
    checksum_type: str | None = None
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class PendingUpload:
    """CompleteMultipartUpload whose conditions were checked: the 200 goes out at once, whitespace every few seconds until `done`.

    `done` gives the result or raises S3Error, which then is written into the body as S3 does.
    """

    done: Awaitable[CompletedUpload]
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class PartRow:
    number: int
    size: int
    etag: str | None
    modified: int
    checksums: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class PartList:
    bucket: str
    key: str
    upload_id: str
    marker: int
    next_marker: int
    max_parts: int
    truncated: bool
    rows: Sequence[PartRow]
    owner: str
    checksum_algorithm: str | None = None
    checksum_type: str | None = None
    storage_class: str = "STANDARD"


@dataclass(frozen=True, slots=True)
class UploadRow:
    key: str
    upload_id: str
    initiated: int
    checksum_algorithm: str | None = None
    checksum_type: str | None = None


@dataclass(frozen=True, slots=True)
class UploadList:
    bucket: str
    prefix: str
    delimiter: str
    key_marker: str
    upload_id_marker: str
    next_key_marker: str | None
    next_upload_id_marker: str | None
    max_uploads: int
    truncated: bool
    rows: Sequence[UploadRow]
    prefixes: Sequence[str]
    url_encoded: bool
    owner: str


@dataclass(frozen=True, slots=True)
class DeletedRow:
    key: str
    version_id: str | None = None
    delete_marker: bool = False
    marker_version_id: str | None = None


@dataclass(frozen=True, slots=True)
class DeleteFailure:
    key: str
    code: str
    message: str
    version_id: str | None = None


@dataclass(frozen=True, slots=True)
class DeleteDone:
    """DeleteObjects; `quiet` leaves out `deleted`."""

    deleted: Sequence[DeletedRow]
    failures: Sequence[DeleteFailure]
    quiet: bool


@dataclass(frozen=True, slots=True)
class AttributePart:
    number: int
    size: int
    checksums: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ObjectParts:
    total: int
    marker: int
    next_marker: int
    max_parts: int
    truncated: bool
    rows: Sequence[AttributePart]


@dataclass(frozen=True, slots=True)
class ObjectAttributesResult:
    """GetObjectAttributes; None leaves an element out (not asked for, or not known)."""

    headers: Mapping[str, str]
    etag: str | None = None
    checksums: Mapping[str, str] = field(default_factory=dict)
    checksum_type: str | None = None
    size: int | None = None
    storage_class: str | None = None
    parts: ObjectParts | None = None


Result = (
    Empty
    | Content
    | BucketList
    | Location
    | ObjectList
    | CopyDone
    | UploadCreated
    | CompletedUpload
    | PendingUpload
    | PartList
    | UploadList
    | DeleteDone
    | ObjectAttributesResult
)
