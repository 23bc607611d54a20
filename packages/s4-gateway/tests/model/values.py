"""What the perfect S3 hears and says: requests and replies as plain values, its objects, and the arithmetic of their digests."""

import base64
import hashlib
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from types import MappingProxyType

from awscrt import checksums as crt

Node = tuple[str, "str | Sequence[Node]"]
"""One XML element: its name, and its text or its children."""

ANY = "\0any"
"""A text that the service may choose (tokens, upload ids)."""

NOTHING: Mapping[str, str] = MappingProxyType({})

STATUS: Mapping[str, int] = {
    "BadDigest": 400,
    "BucketAlreadyOwnedByYou": 409,
    "BucketNotEmpty": 409,
    "EntityTooSmall": 400,
    "InvalidArgument": 400,
    "InvalidDigest": 400,
    "InvalidObjectName": 400,
    "InvalidPart": 400,
    "InvalidPartNumber": 416,
    "InvalidPartOrder": 400,
    "InvalidRange": 416,
    "InvalidRequest": 400,
    "MalformedXML": 400,
    "MetadataTooLarge": 400,
    "NoSuchBucket": 404,
    "NoSuchKey": 404,
    "NoSuchUpload": 404,
    "NotModified": 304,
    "PreconditionFailed": 412,
}
"""Error codes of the S3 API reference, and InvalidObjectName for names that belong to the storage layer (docs/format/names.md)."""


@dataclass(frozen=True, slots=True)
class Request:
    """One S3 request, before it is signed and encoded."""

    method: str
    bucket: str
    key: str = ""
    query: Mapping[str, str] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""

    @property
    def about(self) -> str:
        """In one line, for people."""
        query = "&".join(f"{name}={value}" if value else name for name, value in self.query.items())
        headers = {name: value if len(value) < 100 else f"{value[:20]}... ({len(value)})" for name, value in self.headers.items()}
        return f"{self.method} {self.bucket}/{self.key!r}?{query} {headers} + {len(self.body)} bytes"


@dataclass(frozen=True, slots=True)
class Reply:
    """One answer. `headers` are all that it has, but for those that every answer has (Date, request id, ...)."""

    status: int
    headers: Mapping[str, str] = field(default_factory=dict)
    body: "bytes | Node" = b""

    @property
    def code(self) -> str | None:
        """Code of an error document."""
        if isinstance(self.body, bytes) or self.body[0] != "Error" or isinstance(self.body[1], str):
            return None
        return next((text for name, text in self.body[1] if name == "Code" and isinstance(text, str)), None)


class Refusal(Exception):
    """The request is refused with a code of `STATUS`."""

    def __init__(self, code: str, headers: Mapping[str, str] = NOTHING) -> None:
        super().__init__(code)
        self.code = code
        self.headers = headers

    def reply(self, *, head: bool) -> Reply:
        """As an answer; to HEAD it has no document."""
        document = ("Error", [("Code", self.code)])
        return Reply(STATUS[self.code], self.headers, b"" if head or self.code == "NotModified" else document)


@dataclass(frozen=True, slots=True)
class Part:
    """One part of an open upload or of a finished object."""

    number: int
    body: bytes
    etag: str
    modified: int
    checksums: Mapping[str, str] = field(default_factory=dict)
    """Under the upload's algorithm, if it named one."""


@dataclass(frozen=True, slots=True)
class Object:
    """An object as clients see it."""

    body: bytes
    etag: str | None
    """Unquoted; None = it has no validator (objects of the reference that were never stamped)."""
    modified: int
    headers: Mapping[str, str] = field(default_factory=dict)
    """System headers that were stored."""
    metadata: Mapping[str, str] = field(default_factory=dict)
    checksums: Mapping[str, str] = field(default_factory=dict)
    """Those that are shown: algorithm -> base64."""
    checksum_type: str | None = None
    parts: tuple[Part, ...] = ()
    upload: str | None = None
    """Id of the upload that made it."""


@dataclass(frozen=True, slots=True)
class Upload:
    """An open multipart upload."""

    id: str
    key: str
    initiated: int
    headers: Mapping[str, str]
    metadata: Mapping[str, str]
    algorithm: str | None
    checksum_type: str
    parts: Mapping[int, Part] = field(default_factory=dict)
    overwritten: Mapping[tuple[int, str], Part] = field(default_factory=dict)
    """By (number, ETag): parts whose number was sent again."""


@dataclass(slots=True)
class Bucket:
    """Objects by key, uploads by id in the order of their creation."""

    objects: dict[str, Object] = field(default_factory=dict)
    uploads: dict[str, Upload] = field(default_factory=dict)


@dataclass(slots=True)
class State:
    """All of it, and the clock (seconds since the epoch)."""

    now: int
    buckets: dict[str, Bucket] = field(default_factory=dict)

    def bucket(self, name: str) -> Bucket:
        """Raises Refusal NoSuchBucket."""
        found = self.buckets.get(name)
        if found is None:
            raise Refusal("NoSuchBucket")
        return found

    def object(self, bucket: str, key: str) -> Object:
        """Raises Refusal NoSuchBucket, NoSuchKey."""
        found = self.bucket(bucket).objects.get(key)
        if found is None or is_reserved(key):
            raise Refusal("NoSuchKey")
        return found

    def copy(self) -> "State":
        """An independent copy; what is in it is immutable."""
        return State(self.now, {name: Bucket(dict(each.objects), dict(each.uploads)) for name, each in self.buckets.items()})


def is_reserved(key: str) -> bool:
    """Whether the name belongs to the storage layer (docs/format/names.md)."""
    return key.endswith(".s4index") or key.startswith((".s4mpu/", ".s4dict/")) or ".__s4ver__/" in key


def _big(size: int) -> Callable[[int], bytes]:
    return lambda value: value.to_bytes(size)


_RAW: Mapping[str, Callable[[bytes], bytes]] = {
    "crc32": lambda body: _big(4)(zlib.crc32(body)),
    "crc32c": lambda body: _big(4)(crt.crc32c(body)),
    "crc64nvme": lambda body: _big(8)(crt.crc64nvme(body)),
    "sha1": lambda body: hashlib.sha1(body).digest(),
    "sha256": lambda body: hashlib.sha256(body).digest(),
}
ALGORITHMS = tuple(_RAW)


@lru_cache(maxsize=512)
def checksum(algorithm: str, body: bytes) -> str:
    """Base64, as in headers."""
    return base64.b64encode(_RAW[algorithm](body)).decode()


@lru_cache(maxsize=512)
def md5(body: bytes) -> str:
    """Lower hex, as in ETags."""
    return hashlib.md5(body).hexdigest()


def composite_etag(etags: Sequence[str]) -> str:
    """ETag of an object uploaded in parts: MD5 of the parts' MD5s, and their count."""
    return f"{hashlib.md5(b''.join(map(bytes.fromhex, etags))).hexdigest()}-{len(etags)}"


def composite_checksum(algorithm: str, values: Sequence[str]) -> str:
    """COMPOSITE checksum: that of the parts' checksums, and their count."""
    return f"{checksum(algorithm, b''.join(map(base64.b64decode, values)))}-{len(values)}"
