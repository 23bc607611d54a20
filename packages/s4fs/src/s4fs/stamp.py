"""What is written beside and behind a body: the metadata and the trailer that a gateway writes (data-paths.md sections 1.3 to 1.7)."""

import secrets
from collections.abc import Mapping
from dataclasses import dataclass

from s4_codecs import Digests, ObjectEncoder
from s4_format import Attributes, CodecId, Manifest, Trailer, encode_trailer, md5_etag

DIGESTS = ("md5", "crc64nvme")
METADATA_LIMIT = 2048
"""User metadata that S3 takes, names without prefix plus values."""
COMPLETE_METADATA_BYTES = 420
"""Most that the complete set of keys takes."""


def new_token() -> str:
    """A random 128-bit write token, 32 lower-case hex digits."""
    return secrets.token_hex(16)


def has_room(metadata: Mapping[str, str]) -> bool:
    """Whether the complete set of keys fits beside a client's own metadata."""
    return sum(len(name) + len(value.encode()) for name, value in metadata.items()) + COMPLETE_METADATA_BYTES <= METADATA_LIMIT


@dataclass(frozen=True, slots=True)
class Digested:
    """What is known of the plaintext once all of it was seen."""

    size: int
    etag: str
    crc64nvme: str

    @classmethod
    def of(cls, digests: Digests) -> "Digested":
        """The result of running digests of `DIGESTS`."""
        return cls(digests.size, md5_etag(digests.raw("md5")), digests.base64("crc64nvme"))


def complete(encoder: ObjectEncoder, digested: Digested, token: str, *, stored_size: int, trailer: bool) -> dict[str, str]:
    """Everything a reader wants to know without looking at the body."""
    return Manifest(
        codec=encoder.codec,
        original_size=digested.size,
        compressed_size=stored_size,
        crc32c=encoder.crc32c,
        framed=not encoder.raw,
        logical_etag=digested.etag,
        trailer=trailer,
        write_token=token,
        crc64nvme=digested.crc64nvme,
    ).to_metadata()


def core(codec: CodecId, token: str, *, size: int | None, digested: Digested | None) -> dict[str, str]:
    """What can be said before the body is encoded; the rest lies in the trailer."""
    known = digested.size if digested is not None else size
    return Manifest(
        codec=codec,
        original_size=known,
        framed=True,
        logical_etag=None if digested is None else digested.etag,
        trailer=True,
        write_token=token,
        crc64nvme=None if digested is None else digested.crc64nvme,
    ).to_metadata()


def trailer_of(encoder: ObjectEncoder, digested: Digested, *, offset: int) -> bytes:
    """The trailer of a body whose frames end at `offset`."""
    attributes = Attributes(
        digested.size, logical_etag=digested.etag, checksums={"crc64nvme": digested.crc64nvme}, checksum_type="FULL_OBJECT"
    )
    return encode_trailer(Trailer(attributes, (), encoder.frames), offset=offset)
