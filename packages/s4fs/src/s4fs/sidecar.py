"""Sidecars of large objects, for readers that know no trailers (data-paths.md section 1.8)."""

import logging

from s4_format import FrameTable, Manifest, Sidecar

from s4fs.names import sidecar_of
from s4fs.options import SIDECAR_ABOVE_BYTES
from s4fs.stamp import Digested
from s4fs.targets import Target
from s4fs.targets.abc import Headers

CONTENT_TYPE = "application/x-s4-index"

_log = logging.getLogger(__name__)


async def write_sidecar(
    target: Target, path: str, *, etag: str | None, stored_size: int, frames: FrameTable, digested: Digested | None
) -> None:
    """Write the sidecar of a body that was just committed, if one is due. A failure never fails the write: our readers have the trailer."""
    place = sidecar_of(path)
    due = target.keeps_metadata and etag is not None and len(frames) > 1 and frames.original_size > SIDECAR_ABOVE_BYTES
    if not due or place is None:
        return
    body = Sidecar(frames, stored_size, source_size=stored_size, source_etag=etag).encode()
    face = Manifest(
        original_size=frames.original_size,
        logical_etag=None if digested is None else digested.etag,
        crc64nvme=None if digested is None else digested.crc64nvme,
    )
    try:
        await target.put(place, (body,), Headers(face.to_metadata(), {"ContentType": CONTENT_TYPE}))
    except OSError as error:
        _log.warning("the sidecar of %r was not written: %s", path, error)
