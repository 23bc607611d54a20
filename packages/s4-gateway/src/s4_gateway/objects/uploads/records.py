"""The records of an upload below `.s4mpu/<id>/`: names and contents (data-paths.md 3.1, 3.2, 3.4).

    upload                                                  what Create was asked for
    backend                                                 which backend upload takes the parts, or that none will
    <part:05d>.<s|d>.<md5>.<size>.<crc64nvme>.<ms><random>  one uploaded part, staged or direct

Records never change. `backend` is written by conditional PUT only, so exactly one writer wins.
"""

import base64
import json
import re
import secrets
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from hashlib import sha256
from typing import Self

from s4_format import MULTIPART_PREFIX

from s4_gateway.errors import S3Error

RANDOM_BYTES = 16
MAX_RECORD_BYTES = 4 << 20
"""Bound for record bodies that are parsed (a direct record of 5 GiB in 1 MiB frames has about 100 KiB)."""
JSON_TYPE = {"content-type": "application/json"}
BODY_TYPE = {"content-type": "application/octet-stream"}
STORED_CRC = "stored-crc32c"
"""Metadata of a staged record: CRC32C of its body, decimal; a join never passes on damaged bytes."""
CHECKSUM = "checksum"
"""Metadata of a part record: the part's checksum under the upload's algorithm, base64."""

_ID = re.compile(r"[0-9a-f]{32}[0-9a-f]{12}")
_PART = re.compile(r"(\d{5})\.([sd])\.([0-9a-f]{32})\.(\d{1,13})\.([0-9a-f]{16})\.(\d{13})[0-9a-f]{8}")


def new_upload_id() -> str:
    """A fresh upload id: 128 random bits, then the time in milliseconds, 44 lower-case hex digits together."""
    return f"{secrets.token_hex(RANDOM_BYTES)}{time.time_ns() // 1_000_000:012x}"


def id_order(upload_id: str) -> tuple[str, str]:
    """Sorts ids by age, without a look at the uploads: one that a marker names may have ended since."""
    return upload_id[2 * RANDOM_BYTES :], upload_id


def upload_token(upload_id: str) -> str:
    """The write token of the object that this upload becomes, known also when all records are gone."""
    return sha256(upload_id.encode()).hexdigest()[:32]


def is_upload_id(text: str) -> bool:
    """Whether this may be an id of ours."""
    return _ID.fullmatch(text) is not None


def folder(upload_id: str) -> str:
    """Prefix of all records of an upload.

    Raises:
        S3Error: NoSuchUpload for what cannot be an id of ours.
    """
    if not is_upload_id(upload_id):
        raise S3Error("NoSuchUpload")
    return f"{MULTIPART_PREFIX}{upload_id}/"


def upload_key(upload_id: str) -> str:
    """Name of the upload record."""
    return folder(upload_id) + "upload"


def backend_key(upload_id: str) -> str:
    """Name of the backend record."""
    return folder(upload_id) + "backend"


@dataclass(frozen=True, slots=True)
class UploadRecord:
    """What CreateMultipartUpload was asked for."""

    bucket: str
    key: str
    headers: Mapping[str, str]
    metadata: Mapping[str, str]
    checksum_algorithm: str | None
    """Lower-case, as named by the client; None = none named."""
    checksum_type: str
    """FULL_OBJECT or COMPOSITE."""

    def pack(self) -> bytes:
        return _packed(asdict(self))

    @classmethod
    def unpack(cls, data: bytes) -> Self:
        """Raises S3Error InternalError for a body that no gateway wrote."""
        fields = _Fields(data)
        return cls(
            fields.text("bucket"),
            fields.text("key"),
            fields.texts("headers"),
            fields.texts("metadata"),
            fields.optional_text("checksum_algorithm"),
            fields.text("checksum_type"),
        )


@dataclass(frozen=True, slots=True)
class BackendRecord:
    """Where parts go. Bucket and key are there for the sweep: when the upload record is gone nothing else tells them."""

    bucket: str
    key: str
    upload_id: str | None
    """The backend's id; None = the upload was aborted before one existed."""
    manifest: str | None = None
    """SHA-256 of the manifest, where Complete created the backend upload: no other manifest can win then."""

    def pack(self) -> bytes:
        return _packed(asdict(self))

    @classmethod
    def unpack(cls, data: bytes) -> Self:
        """Raises S3Error InternalError for a body that no gateway wrote."""
        fields = _Fields(data)
        return cls(fields.text("bucket"), fields.text("key"), fields.optional_text("upload_id"), fields.optional_text("manifest"))


@dataclass(frozen=True, slots=True)
class DirectPart:
    """Body of a direct record: the backend part and where its frames lie."""

    etag: str
    stored_size: int
    frames: tuple[tuple[int, int], ...]
    """(original size, stored size) of each frame, in order from offset 0."""

    def pack(self) -> bytes:
        return _packed({"etag": self.etag, "stored_size": self.stored_size, "frames": self.frames})

    @classmethod
    def unpack(cls, data: bytes) -> Self:
        """Raises S3Error InternalError for a body that no gateway wrote."""
        fields = _Fields(data)
        return cls(fields.text("etag"), fields.size("stored_size"), fields.pairs("frames"))


@dataclass(frozen=True, slots=True, order=True)
class PartRecord:
    """One uploaded part, as its record's name tells; ordered by name."""

    name: str
    number: int = field(compare=False)
    direct: bool = field(compare=False)
    md5: str = field(compare=False)
    size: int = field(compare=False)
    """Logical bytes."""
    crc64nvme: str = field(compare=False)
    """Base64."""
    millis: int = field(compare=False)
    stored_size: int = field(compare=False, default=0)
    """Bytes of the record's body; of a staged record that is the part's stored size."""
    modified: int = field(compare=False, default=0)

    @classmethod
    def parse(cls, key: str, *, stored_size: int = 0, modified: int = 0) -> Self | None:
        """From a record's key; None for the other records."""
        name = key.rpartition("/")[2]
        match = _PART.fullmatch(name)
        if match is None:
            return None
        crc = base64.b64encode(bytes.fromhex(match[5])).decode()
        return cls(name, int(match[1]), match[2] == "d", match[3], int(match[4]), crc, int(match[6]), stored_size, modified)


def part_name(number: int, *, direct: bool, md5: str, size: int, crc64nvme: str) -> str:
    """A fresh record name for a part; `crc64nvme` in base64."""
    stamp = f"{time.time_ns() // 1_000_000:013d}{secrets.token_hex(4)}"
    return f"{number:05d}.{'d' if direct else 's'}.{md5}.{size}.{base64.b64decode(crc64nvme).hex()}.{stamp}"


def _packed(fields: Mapping[str, object]) -> bytes:
    return json.dumps({"v": 1, **fields}, separators=(",", ":")).encode()


class _Fields:
    """The fields of a record, by type.

    Raises:
        S3Error: InternalError for anything but what was packed.
    """

    def __init__(self, data: bytes) -> None:
        try:
            fields = json.loads(data)
        except (ValueError, RecursionError):
            fields = None
        if not isinstance(fields, dict) or fields.get("v") != 1:
            raise _damaged("it is no record of this version")
        self._fields: dict[str, object] = fields

    def text(self, name: str) -> str:
        value = self._fields.get(name)
        if not isinstance(value, str):
            raise _damaged(name)
        return value

    def optional_text(self, name: str) -> str | None:
        return None if name in self._fields and self._fields[name] is None else self.text(name)

    def texts(self, name: str) -> dict[str, str]:
        value = self._fields.get(name)
        if not isinstance(value, dict) or not all(isinstance(each, str) for each in value.values()):
            raise _damaged(name)
        return value

    def size(self, name: str) -> int:
        value = self._fields.get(name)
        if not _is_size(value):
            raise _damaged(name)
        assert isinstance(value, int)
        return value

    def pairs(self, name: str) -> tuple[tuple[int, int], ...]:
        value = self._fields.get(name)
        if not isinstance(value, list) or not all(isinstance(pair, list) and len(pair) == 2 and all(map(_is_size, pair)) for pair in value):
            raise _damaged(name)
        return tuple((first, second) for first, second in value)


def _is_size(value: object) -> bool:
    return type(value) is int and value >= 0


def _damaged(what: str) -> S3Error:
    return S3Error("InternalError", f"A multipart record is damaged: {what}")
