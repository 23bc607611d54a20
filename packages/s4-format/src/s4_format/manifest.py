"""The user metadata with which S4 describes a stored object: keys, value syntax, and one value type (docs/format/metadata.md).

Keys are written without the HTTP prefix `x-amz-meta-`. Every key that begins with `s4-`, in any letter case, belongs to S4.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from enum import StrEnum
from functools import lru_cache
from re import compile as pattern
from types import MappingProxyType
from typing import Self

from s4_format.codec_id import CodecId, codec_from_label
from s4_format.errors import FormatError, ManifestError, Reason
from s4_format.keys import is_dictionary_id

METADATA_PREFIX = "s4-"
CHECKSUM_KEY_PREFIX = "s4-checksum-"
"""`s4-checksum-<algorithm>`: a checksum of the client, the algorithm in lower case."""


class MetadataKey(StrEnum):
    """Every fixed key."""

    CODEC = "s4-codec"
    ORIGINAL_SIZE = "s4-original-size"
    COMPRESSED_SIZE = "s4-compressed-size"
    CRC32C = "s4-crc32c"
    FRAMED = "s4-framed"
    MULTIPART = "s4-multipart"
    LOGICAL_ETAG = "s4-logical-etag"
    DICT_ID = "s4-dict-id"
    DICT_SHA256 = "s4-dict-sha256"
    ENCRYPTED = "s4-encrypted"
    SSE_TYPE = "s4-sse-type"
    SSE_C_KEY_MD5 = "s4-sse-c-key-md5"
    SSE_KMS_KEY_ID = "s4-sse-kms-key-id"
    ZSTD_LEVEL = "s4-zstd-level"
    LEDGER = "s4-ledger"
    PARQUET_ZSTD_LEVEL = "s4-parquet-zstd-level"
    PARQUET_OP_ID = "s4-parquet-op-id"
    TRAILER = "s4-trailer"
    WRITE = "s4-write"
    CRC64NVME = "s4-crc64nvme"
    CHECKSUM_TYPE = "s4-checksum-type"


@dataclass(frozen=True, slots=True)
class PayloadManifest:
    """The four facts that an unframed payload is decoded and checked by; they exist together or not at all.

    Attributes:
        codec: who decodes the payload.
        original_size: bytes after decoding.
        compressed_size: bytes of the stored body before encryption, frame headers included.
        crc32c: CRC32C of all decoded bytes.
    """

    codec: CodecId
    original_size: int
    compressed_size: int
    crc32c: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """What an object's metadata says. A field that is None, False or empty stands for an absent key.

    Attributes:
        codec: codec of the body; in framed bodies each frame's own id decides. None also when `codec_label` names no known codec.
        codec_label: the label as written; filled in from `codec` when only that is given.
        original_size: bytes as clients see the object.
        compressed_size: bytes of the stored body before encryption.
        crc32c: CRC32C of the object as clients see it.
        framed: the body is frames, written by one PUT.
        multipart: the body is frames, put together from parts.
        logical_etag: the ETag that clients see, unquoted: 32 lower-case hex digits, with "-<parts>" after a multipart upload.
        dict_id, dict_sha256: 16 and 64 lower-case hex digits: the dictionary of a body, and the full digest on the dictionary itself.
        encrypted: the body is an envelope around what the other fields describe.
        sse_type: "AES256" (key of the customer) or "aws:kms".
        sse_c_key_md5: base64 of the customer key's MD5.
        sse_kms_key_id: key id as stored in the envelope.
        zstd_level, parquet_zstd_level, parquet_op_id: notes of rewriting tools.
        ledger: the object is counted in a savings ledger.
        trailer: the body ends in an S4T1 trailer, which may and must be trusted.
        write_token: 32 lower-case hex digits that name one write.
        crc64nvme: base64 of the CRC64NVME of the object as clients see it.
        checksums: further checksums, algorithm in lower case -> base64 (with "-<parts>" when composite).
        checksum_type: "FULL_OBJECT" or "COMPOSITE".

    Raises:
        ManifestError: INVALID_VALUE, a value that its key's syntax does not allow.
    """

    codec: CodecId | None = None
    codec_label: str | None = None
    original_size: int | None = None
    compressed_size: int | None = None
    crc32c: int | None = None
    framed: bool = False
    multipart: bool = False
    logical_etag: str | None = None
    dict_id: str | None = None
    dict_sha256: str | None = None
    encrypted: bool = False
    sse_type: str | None = None
    sse_c_key_md5: str | None = None
    sse_kms_key_id: str | None = None
    zstd_level: int | None = None
    ledger: bool = False
    parquet_zstd_level: int | None = None
    parquet_op_id: str | None = None
    trailer: bool = False
    write_token: str | None = None
    crc64nvme: str | None = None
    checksums: Mapping[str, str] = field(default_factory=dict, hash=False)
    checksum_type: str | None = None

    def __post_init__(self) -> None:
        if self.codec is not None:
            if self.codec_label not in (None, self.codec.label):
                raise ManifestError(f"label {self.codec_label!r} is not the one of {self.codec!r}", Reason.INVALID_VALUE)
            object.__setattr__(self, "codec_label", self.codec.label)
        object.__setattr__(self, "checksums", MappingProxyType(dict(self.checksums)))
        for key, name, allows in _CHECKED:
            value = getattr(self, name)
            if value is not None and value is not False and not allows(value):
                raise ManifestError(f"{key} cannot be {value!r}", Reason.INVALID_VALUE)
        for algorithm, checksum in self.checksums.items():
            key = CHECKSUM_KEY_PREFIX + algorithm
            if key in _ENTRIES or not _is_checksum(key, checksum):
                raise ManifestError(f"{key} cannot be {checksum!r}", Reason.INVALID_VALUE)

    def __reduce__(self) -> tuple[object, ...]:
        """Copies and travels between processes as metadata, since its mapping cannot."""
        return type(self).from_metadata, (self.to_metadata(),)

    @classmethod
    def from_metadata(cls, metadata: Mapping[str, str]) -> Self:
        """Read an object's user metadata; keys in any letter case, keys of others are passed over.

        A value that breaks its key's syntax counts as absent, as existing readers have it. The trailer marker is the exception: a value
        that is not known says that there is something at the body's end which this reader cannot use, and is refused.

        Raises:
            ManifestError: DUPLICATE_KEY, INVALID_VALUE (`s4-trailer` only).
        """
        values = dict(_ABSENT)
        checksums: dict[str, str] = {}
        for key, value in _own_keys(metadata).items():
            entry = _ENTRIES.get(key)
            if entry is None:
                if _is_checksum(key, value):
                    checksums[key.removeprefix(CHECKSUM_KEY_PREFIX)] = value
            elif entry.allows(value):
                values[entry.name] = entry.read(value)
            elif key == MetadataKey.TRAILER:
                raise ManifestError(f"{key} is {value!r}, which no known trailer is marked by", Reason.INVALID_VALUE)
        label = values["codec_label"]
        if isinstance(label, str):
            values["codec"] = _known_codec(label)
        values["checksums"] = MappingProxyType(checksums)
        # Not by the constructor: it would check again what was checked on the way.
        manifest = object.__new__(cls)
        for field_name, field_value in values.items():
            object.__setattr__(manifest, field_name, field_value)
        return manifest

    def to_metadata(self) -> dict[str, str]:
        """The user metadata that says this, in the order of `MetadataKey`, checksums last."""
        metadata: dict[str, str] = {}
        for key, name, flag in _WRITTEN:
            value = getattr(self, name)
            if value is not None and value is not False:
                metadata[key] = flag or str(value)
        if self.checksums:
            metadata.update((CHECKSUM_KEY_PREFIX + algorithm, self.checksums[algorithm]) for algorithm in sorted(self.checksums))
        return metadata

    @property
    def payload(self) -> PayloadManifest | None:
        """Codec, both sizes and checksum, if all four are there and the codec is known."""
        if self.codec is None or self.original_size is None or self.compressed_size is None or self.crc32c is None:
            return None
        return PayloadManifest(self.codec, self.original_size, self.compressed_size, self.crc32c)

    @property
    def is_s4(self) -> bool:
        """Whether the body is S4's, and not a foreign one that is passed on as it is.

        A complete manifest whose codec label is unknown counts as S4's: to pass such a body on would hand out compressed bytes.
        """
        numbers = (self.original_size, self.compressed_size, self.crc32c)
        complete = self.codec_label is not None and None not in numbers
        return complete or self.framed or self.multipart or self.encrypted or self.trailer


def strip_reserved(metadata: Mapping[str, str]) -> dict[str, str]:
    """The metadata that belongs to the client: everything but `s4-*` in any letter case."""
    return {key: value for key, value in metadata.items() if not _is_own(key)}


def select_reserved(metadata: Mapping[str, str]) -> dict[str, str]:
    """The metadata that belongs to S4, keys in lower case, values as they are, also keys that this version does not know.

    Raises:
        ManifestError: DUPLICATE_KEY, one key in two spellings.
    """
    return _own_keys(metadata)


def _is_own(key: str) -> bool:
    return key.lower().startswith(METADATA_PREFIX)


def _own_keys(metadata: Mapping[str, str]) -> dict[str, str]:
    found: dict[str, str] = {}
    for key, value in metadata.items():
        lower = key.lower()
        if lower.startswith(METADATA_PREFIX):
            if lower in found:
                raise ManifestError(f"metadata has {lower} twice", Reason.DUPLICATE_KEY)
            found[lower] = value
    return found


@lru_cache(maxsize=64)
def _known_codec(label: str) -> CodecId | None:
    try:
        return codec_from_label(label)
    except FormatError:
        return None


Judge = Callable[[str], object]
"""Tells by the truth of its result whether a value is allowed."""


def _matches(regex: str) -> Judge:
    return pattern(regex).fullmatch


def _decimal(limit: int) -> Judge:
    """Plain decimal digits, at most 20 of them so that no text costs more than a short conversion."""
    digits = _matches("[0-9]{1,20}")
    return lambda value: digits(value) and int(value) <= limit


_is_checksum_key = _matches("s4-checksum-[a-z0-9]{1,16}")
_is_checksum_value = _matches("[A-Za-z0-9+/]{4,88}={0,2}(-[0-9]{1,5})?")


def _is_checksum(key: str, value: str) -> bool:
    return bool(_is_checksum_key(key) and _is_checksum_value(value))


def _field_judge(entry: "_Entry") -> Callable[[object], object]:
    """Whether a field's value may be written: as its text may be read."""
    if entry.flag is not None:
        return lambda value: value is True
    return lambda value: entry.allows(value if isinstance(value, str) else str(value))


@dataclass(frozen=True, slots=True)
class _Entry:
    """How one key is read and written: field of `Manifest`, values that the syntax allows, what a text stands for."""

    name: str
    allows: Judge
    read: Callable[[str], object] = str
    flag: str | None = None
    """For markers: the one text that sets them."""


def _text(name: str, regex: str) -> _Entry:
    return _Entry(name, _matches(regex))


def _number(name: str, limit: int) -> _Entry:
    return _Entry(name, _decimal(limit), read=int)


def _marker(name: str, flag: str) -> _Entry:
    return _Entry(name, flag.__eq__, read=bool, flag=flag)


_ENTRIES: Mapping[str, _Entry] = {
    MetadataKey.CODEC: _text("codec_label", r"[!-~]{1,64}"),
    MetadataKey.ORIGINAL_SIZE: _number("original_size", 2**64 - 1),
    MetadataKey.COMPRESSED_SIZE: _number("compressed_size", 2**64 - 1),
    MetadataKey.CRC32C: _number("crc32c", 2**32 - 1),
    MetadataKey.FRAMED: _marker("framed", "true"),
    MetadataKey.MULTIPART: _marker("multipart", "true"),
    MetadataKey.LOGICAL_ETAG: _text("logical_etag", "[0-9a-f]{32}(-[0-9]{1,5})?"),
    MetadataKey.DICT_ID: _Entry("dict_id", is_dictionary_id),
    MetadataKey.DICT_SHA256: _text("dict_sha256", "[0-9a-f]{64}"),
    MetadataKey.ENCRYPTED: _marker("encrypted", "aes-256-gcm"),
    MetadataKey.SSE_TYPE: _text("sse_type", "AES256|aws:kms"),
    MetadataKey.SSE_C_KEY_MD5: _text("sse_c_key_md5", "[A-Za-z0-9+/]{22}=="),
    MetadataKey.SSE_KMS_KEY_ID: _text("sse_kms_key_id", r"[^\x00-\x1f\x7f]{1,255}"),
    MetadataKey.ZSTD_LEVEL: _number("zstd_level", 22),
    MetadataKey.LEDGER: _marker("ledger", "1"),
    MetadataKey.PARQUET_ZSTD_LEVEL: _number("parquet_zstd_level", 22),
    MetadataKey.PARQUET_OP_ID: _text("parquet_op_id", "[0-9A-Za-z-]{1,64}"),
    MetadataKey.TRAILER: _marker("trailer", "1"),
    MetadataKey.WRITE: _text("write_token", "[0-9a-f]{32}"),
    MetadataKey.CRC64NVME: _text("crc64nvme", "[A-Za-z0-9+/]{11}="),
    MetadataKey.CHECKSUM_TYPE: _text("checksum_type", "FULL_OBJECT|COMPOSITE"),
}

_WRITTEN = tuple((str(key), entry.name, entry.flag) for key, entry in _ENTRIES.items())
"""Key, field and marker text of everything that may be written."""

_CHECKED = tuple((str(key), entry.name, _field_judge(entry)) for key, entry in _ENTRIES.items())
"""Key, field and judge of everything that may be written."""

_ABSENT: Mapping[str, object] = {entry.name: entry.default for entry in fields(Manifest)}
"""The manifest of a body without metadata."""
