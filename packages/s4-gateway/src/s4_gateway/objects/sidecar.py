"""Sidecars `<key>.s4index`: written for other readers, read only where a body has no trailer (data-paths.md 1.8, wire-format.md 3.7)."""

import logging
from collections.abc import Mapping

from s4_format import MAX_SIDECAR_BYTES, FormatError, FrameTable, Manifest, Sidecar, decode_sidecar, sidecar_key

from s4_gateway.backend.abc import BackendError, Pieces, StoredObject
from s4_gateway.objects.attributes import Attributes
from s4_gateway.objects.core import Core

CONTENT_TYPE = "application/x-s4-index"
MAX_KEY_BYTES = 1024

_log = logging.getLogger(__name__)


def sidecar_name(key: str) -> str | None:
    """Name of the sidecar of a key; None where it would be longer than a key may be."""
    name = sidecar_key(key)
    return name if len(name.encode()) <= MAX_KEY_BYTES else None


def sidecar_due(core: Core, attributes: Attributes) -> bool:
    """Whether other readers need one: framed, more than one frame, above the size where a full read is cheap."""
    return (
        core.options.sidecars
        and attributes.frames is not None
        and len(attributes.frames) > 1
        and attributes.size > core.options.sidecar_above
    )


async def write_sidecar(core: Core, bucket: str, key: str, *, etag: str, stored_size: int, attributes: Attributes) -> None:
    """Write the sidecar of a body that was just committed, if one is due. A failure never fails the write: ours have the trailer."""
    frames, name = attributes.frames, sidecar_name(key)
    if frames is None or name is None or not sidecar_due(core, attributes):
        return
    body = Sidecar(frames=frames, padded_size=stored_size, source_size=stored_size, source_etag=etag, sse=None).encode()
    try:
        await core.backend.put_object(
            bucket, name, Pieces.of(body), headers={"content-type": CONTENT_TYPE}, metadata=_face_metadata(attributes)
        )
    except BackendError as error:
        _log.warning("sidecar of %r in %r was not written: %s", key, bucket, error)


def _face_metadata(attributes: Attributes) -> Mapping[str, str]:
    """Size, ETag and checksums again, readable when the object itself sits in an archive tier."""
    checksums = dict(attributes.checksums)
    return Manifest(
        original_size=attributes.size,
        logical_etag=attributes.etag,
        crc64nvme=checksums.pop("crc64nvme", None),
        checksums=checksums,
        checksum_type=attributes.checksum_type if checksums else None,
    ).to_metadata()


async def read_sidecar(core: Core, bucket: str, stored: StoredObject) -> FrameTable | None:
    """The index beside a body, if it is bound to exactly this one; None where there is none that may be trusted.

    Raises:
        BackendError: the sidecar could not be read: a failure is not an absence.
    """
    name = sidecar_name(stored.key)
    if name is None:
        return None
    try:
        download = await core.backend.get_object(bucket, name)
    except BackendError as error:
        if error.status == 404:
            return None
        raise
    async with download:
        if download.object.size > MAX_SIDECAR_BYTES:
            return None
        data = await download.read()
    try:
        sidecar = decode_sidecar(data)
    except FormatError:
        return None
    return sidecar.frames_of(etag=stored.etag, size=stored.size)
