"""The attributes section of a trailer: what clients see of the object (docs/format/trailer.md, "Attributes")."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from struct import Struct
from types import MappingProxyType

from s4_format.errors import Reason, TrailerError
from s4_format.manifest import METADATA_PREFIX

MAX_ATTRIBUTES_BYTES = 964
"""With the footer they lie in the last 1,024 bytes of the body."""
MIN_ATTRIBUTES_BYTES = 8

_SIZE = Struct("<Q")
_RECORD = Struct("<BBH")
_LOGICAL_ETAG, _CHECKSUM, _CHECKSUM_TYPE, _PART_ALGORITHM, _EXTRA = range(1, 6)
_SINGLE = {_LOGICAL_ETAG: "logical_etag", _CHECKSUM_TYPE: "checksum_type", _PART_ALGORITHM: "part_algorithm"}
_KEYED = {_CHECKSUM: "checksums", _EXTRA: "extra"}
_FIRST_OPTIONAL_TAG = 128


@dataclass(frozen=True, slots=True)
class Attributes:
    """What a trailer says about the object as clients see it.

    Attributes:
        original_size: its length in bytes.
        logical_etag: its ETag, unquoted.
        checksums: algorithm in lower case -> value as S3 writes it (base64, with "-<parts>" when composite).
        checksum_type: "FULL_OBJECT" or "COMPOSITE".
        part_algorithm: algorithm of the checksums in the part table, in lower case.
        extra: `s4-*` metadata that found no room in the object's metadata, keys in lower case.

    Raises:
        TrailerError: INVALID_VALUE (a size beyond 64 bits, an empty text, a foreign key in `extra`), SIZE_LIMIT (more than 964 bytes).
    """

    original_size: int
    logical_etag: str | None = None
    checksums: Mapping[str, str] = field(default_factory=dict, hash=False)
    checksum_type: str | None = None
    part_algorithm: str | None = None
    extra: Mapping[str, str] = field(default_factory=dict, hash=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "checksums", MappingProxyType(dict(self.checksums)))
        object.__setattr__(self, "extra", MappingProxyType(dict(self.extra)))
        if not 0 <= self.original_size < 2**64:
            raise TrailerError(f"no object has {self.original_size} bytes", Reason.INVALID_VALUE)
        for key in self.extra:
            if not key.startswith(METADATA_PREFIX) or key != key.lower():
                raise TrailerError(f"{key!r} is not metadata of S4", Reason.INVALID_VALUE)
        size = len(pack_attributes(self))
        if size > MAX_ATTRIBUTES_BYTES:
            raise TrailerError(f"attributes of {size} bytes are more than {MAX_ATTRIBUTES_BYTES}", Reason.SIZE_LIMIT)

    def __reduce__(self) -> tuple[object, ...]:
        """Copies and travels between processes with plain mappings, since its own cannot."""
        singles = self.checksum_type, self.part_algorithm
        return type(self), (self.original_size, self.logical_etag, dict(self.checksums), *singles, dict(self.extra))


def pack_attributes(attributes: Attributes) -> bytes:
    """The section's bytes.

    Raises:
        TrailerError: INVALID_VALUE, an empty or overlong text, or one that is not Unicode.
    """
    sections = [_SIZE.pack(attributes.original_size)]
    for tag, key, value in _records(attributes):
        try:
            raw_key, raw_value = key.encode(), value.encode()
        except UnicodeEncodeError:
            raise TrailerError(f"attribute {tag} of {key!r} is not Unicode", Reason.INVALID_VALUE) from None
        if not raw_value or bool(raw_key) != (tag in _KEYED) or len(raw_key) > 255 or len(raw_value) > 65535:
            raise TrailerError(f"attribute {tag} of {key!r} is empty or too long", Reason.INVALID_VALUE)
        sections += (_RECORD.pack(tag, len(raw_key), len(raw_value)), raw_key, raw_value)
    return b"".join(sections)


def _records(attributes: Attributes) -> Iterator[tuple[int, str, str]]:
    """Tag, key and value of everything that is set, ascending by (tag, key as bytes)."""
    for tag in range(_LOGICAL_ETAG, _EXTRA + 1):
        value = getattr(attributes, _SINGLE.get(tag) or _KEYED[tag])
        if tag in _SINGLE:
            if value is not None:
                yield tag, "", value
        else:
            yield from ((tag, key, value[key]) for key in sorted(value))


def unpack_attributes(section: memoryview) -> Attributes:
    """Read the section, which its checksum has proven.

    Raises:
        TrailerError: MALFORMED.
    """
    if len(section) < _SIZE.size:
        raise TrailerError("the attributes have no size", Reason.MALFORMED)
    singles: dict[str, str] = {}
    keyed: dict[str, dict[str, str]] = {name: {} for name in _KEYED.values()}
    before = (0, b"")
    offset = _SIZE.size
    while offset < len(section):
        tag, key, value, offset = _unpack_record(section, offset)
        if (tag, key) <= before:
            raise TrailerError("attribute records are not in order", Reason.MALFORMED, offset=offset)
        before = (tag, key)
        if tag in _SINGLE and not key:
            singles[_SINGLE[tag]] = value
        elif tag in _KEYED and key:
            keyed[_KEYED[tag]][key.decode()] = value
        elif tag < _FIRST_OPTIONAL_TAG:
            raise TrailerError(f"attribute {tag} is not known", Reason.MALFORMED, offset=offset)
    try:
        return Attributes(_SIZE.unpack_from(section)[0], **singles, **keyed)  # type: ignore[arg-type]
    except TrailerError as error:
        raise TrailerError(str(error), Reason.MALFORMED) from error


def _unpack_record(section: memoryview, offset: int) -> tuple[int, bytes, str, int]:
    start = offset + _RECORD.size
    if start > len(section):
        raise TrailerError("an attribute record is cut short", Reason.MALFORMED, offset=offset)
    tag, key_bytes, value_bytes = _RECORD.unpack_from(section, offset)
    middle, stop = start + key_bytes, start + key_bytes + value_bytes
    if stop > len(section):
        raise TrailerError("an attribute record runs past the section", Reason.MALFORMED, offset=offset)
    key, value = bytes(section[start:middle]), bytes(section[middle:stop])
    try:
        key.decode()
        return tag, key, value.decode(), stop
    except UnicodeDecodeError:
        raise TrailerError("an attribute is not UTF-8", Reason.MALFORMED, offset=offset) from None
