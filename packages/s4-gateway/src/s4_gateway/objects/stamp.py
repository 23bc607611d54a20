"""The `s4-*` metadata that we write: complete where the object is known beforehand, the core where it is not (data-paths.md 1.5-1.7)."""

from collections.abc import Mapping

from s4_codecs import ObjectEncoder
from s4_format import CodecId, Manifest, strip_reserved

from s4_gateway.backend.abc import Capabilities
from s4_gateway.errors import S3Error
from s4_gateway.objects.intake import Digested
from s4_gateway.objects.options import CLIENT_METADATA_LIMIT, CORE_METADATA_BYTES

COMPLETE_METADATA_BYTES = 420
"""Most that the complete set of our keys takes: every key of `complete_metadata` with its longest value."""


def metadata_bytes(metadata: Mapping[str, str]) -> int:
    """Size as S3 counts it: names without prefix plus values. Values are latin-1 `str`, so characters are bytes."""
    return sum(len(name) + len(value) for name, value in metadata.items())


def check_client_metadata(metadata: Mapping[str, str], capabilities: Capabilities) -> None:
    """Refuse client metadata that would leave no room for our core keys.

    Raises:
        S3Error: MetadataTooLarge.
    """
    limit = min(CLIENT_METADATA_LIMIT, capabilities.metadata_limit - CORE_METADATA_BYTES)
    size = metadata_bytes(strip_reserved(metadata))
    if size > limit:
        raise S3Error("MetadataTooLarge", fields={"Size": str(size), "MaxSizeAllowed": str(limit)})


def has_room(client: Mapping[str, str], capabilities: Capabilities) -> bool:
    """Whether the complete set fits beside the client's metadata."""
    return metadata_bytes(client) + COMPLETE_METADATA_BYTES <= capabilities.metadata_limit


def complete_metadata(encoder: ObjectEncoder, digested: Digested, token: str, *, stored_size: int, trailer: bool) -> dict[str, str]:
    """Everything a reader wants to know without looking at the body: the buffered PUT."""
    checksums = dict(digested.checksums)
    return Manifest(
        codec=encoder.codec,
        original_size=digested.size,
        compressed_size=stored_size,
        crc32c=encoder.crc32c,
        framed=not encoder.raw,
        logical_etag=digested.etag,
        trailer=trailer,
        write_token=token,
        crc64nvme=checksums.pop("crc64nvme"),
        checksums=checksums,
        checksum_type="FULL_OBJECT" if checksums else None,
    ).to_metadata()


def core_metadata(codec: CodecId, token: str, *, size: int | None, etag: str | None = None) -> dict[str, str]:
    """What stays where the rest lies in the trailer: at most 128 bytes without the ETag, which only streamed PUTs with Content-MD5 have."""
    return Manifest(codec=codec, original_size=size, framed=True, logical_etag=etag, trailer=True, write_token=token).to_metadata()


def multipart_metadata(
    codec: CodecId, token: str, *, size: int | None = None, etag: str | None = None, crc64nvme: str | None = None
) -> dict[str, str]:
    """The same for multipart objects; size, ETag and CRC are known only where Complete creates the backend upload."""
    return Manifest(
        codec=codec, original_size=size, multipart=True, logical_etag=etag, trailer=True, write_token=token, crc64nvme=crc64nvme
    ).to_metadata()
