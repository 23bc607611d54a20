"""Finding out what clients see of a stored body: from metadata, the cache, the trailer, a sidecar or, at worst, the frames themselves.

The order is the price: metadata costs nothing, the trailer one suffix GET, a walk over the frames up to a request for each.
"""

from dataclasses import dataclass, replace
from typing import NamedTuple

from s4_format import (
    FRAME_HEADER_BYTES,
    TAIL_BYTES,
    FormatError,
    FrameTable,
    FrameTableBuilder,
    Layout,
    Manifest,
    Part,
    Tail,
    layout_of,
    read_tail,
)

from s4_gateway.backend.abc import Span, StoredObject, Suffix
from s4_gateway.errors import S3Error
from s4_gateway.objects.attributes import (
    Attributes,
    attributes_from_metadata,
    attributes_from_tail,
    has_checksums,
    unreadable,
)
from s4_gateway.objects.core import Core
from s4_gateway.objects.options import AT_ONCE_BYTES
from s4_gateway.objects.sidecar import read_sidecar

WALK_BYTES = 64 * 1024
"""Fetched around a frame header where an object can only be told by walking it: small frames lie in it side by side."""


class Face(NamedTuple):
    """A stored body and its logical face."""

    stored: StoredObject
    manifest: Manifest
    attributes: Attributes


@dataclass(frozen=True, slots=True)
class Wanted:
    """What the caller needs beyond size and ETag."""

    checksums: bool = False
    parts: bool = False
    frames: bool = False


NOTHING = Wanted()
"""Size and ETag alone."""


class FaceFinder:
    """Resolves faces and remembers them. Versioned reads bypass the cache: its key has no version id."""

    def __init__(self, core: Core) -> None:
        self._core = core

    async def find(
        self,
        bucket: str,
        stored: StoredObject,
        *,
        wanted: Wanted = NOTHING,
        version: str | None = None,
        suffix: bytes | None = None,
        listed: bool = False,
    ) -> Face:
        """The face of exactly this stored body.

        Args:
            bucket: where it lies.
            stored: what the backend said of it.
            wanted: what must be loaded; frames stay None only where there is no index (`index_absent`).
            version: the version id the client asked for, if any.
            suffix: the last bytes of the body, if they are at hand.
            listed: `stored` comes from a listing with metadata, which will tell as much the next time.

        Raises:
            S3Error: InternalError for a body that contradicts its metadata or trailer.
            BackendError: the backend did not answer.
        """
        try:
            manifest = Manifest.from_metadata(stored.metadata)
        except FormatError as error:
            raise S3Error("InternalError", f"The object's s4 metadata is damaged: {error}") from error
        known = attributes_from_metadata(stored, manifest)
        cached = self._core.cache.match(bucket, stored) if version is None else None
        # Who reads a small object needs no more than its metadata tells; what else the cache has of it stays there.
        is_told = known is not None and wanted is NOTHING and known.size <= AT_ONCE_BYTES
        merged = known if is_told else _merge(known, cached)
        found = merged
        if found is None or not _enough(found, manifest, wanted):
            found = await self._load(bucket, stored, manifest, known=merged, wanted=wanted, version=version, suffix=suffix)
        told = cached is None and not listed and has_checksums(manifest, found)
        if version is None and (found is not merged or told):
            # Also what metadata told, if it was all that there is to tell: most listings have no metadata.
            self._core.cache.put_stored(bucket, stored, found)
        return Face(stored, manifest, found)

    async def _load(
        self,
        bucket: str,
        stored: StoredObject,
        manifest: Manifest,
        *,
        known: Attributes | None,
        wanted: Wanted,
        version: str | None,
        suffix: bytes | None,
    ) -> Attributes:
        if layout_of(manifest) is Layout.ENCRYPTED:
            raise unreadable(manifest)
        if manifest.trailer:
            found = await self._from_trailer(bucket, stored, wanted=wanted, version=version, suffix=suffix)
            if manifest.original_size not in (None, found.size):
                raise S3Error("InternalError", "The object's trailer is about another size than its metadata.")
            return found
        frames = await read_sidecar(self._core, bucket, stored) if version is None else None
        if frames is not None and manifest.original_size not in (None, frames.original_size):
            frames = None
        if known is None:
            if frames is None:
                frames = await self._walk(bucket, stored, version)
            known = Attributes(Layout.FRAMED, frames.original_size, manifest.logical_etag)
        # The reference stores one frame per part, so its index is its part table.
        known = replace(known, frames=frames, index_absent=frames is None)
        return replace(known, parts=_parts_of(frames) if manifest.multipart else ())

    async def _from_trailer(
        self, bucket: str, stored: StoredObject, *, wanted: Wanted, version: str | None, suffix: bytes | None
    ) -> Attributes:
        if suffix is None:
            suffix = await self._read(bucket, stored, Suffix(TAIL_BYTES), version)
        try:
            tail = read_tail(suffix, body_size=stored.size)
            parts = frames = None
            if wanted.parts or _holds(suffix, tail, tail.part_span):
                parts = tail.parts(await self._section(bucket, stored, tail.part_span, suffix, version))
            if wanted.frames or _holds(suffix, tail, tail.index_span):
                frames = tail.frames(await self._section(bucket, stored, tail.index_span, suffix, version))
        except FormatError as error:
            raise S3Error("InternalError", f"The object's trailer is damaged: {error}") from error
        return attributes_from_tail(tail, parts, frames)

    async def _section(self, bucket: str, stored: StoredObject, span: tuple[int, int], suffix: bytes, version: str | None) -> bytes:
        start, stop = span
        held_from = stored.size - len(suffix)
        if start == stop:
            return b""
        if start >= held_from:
            return suffix[start - held_from : stop - held_from]
        return await self._read(bucket, stored, Span(start, stop), version)

    async def _read(self, bucket: str, stored: StoredObject, span: Span | Suffix, version: str | None) -> bytes:
        """Bytes of exactly this body: the answer must still be it."""
        download = await self._core.backend.get_object(bucket, stored.key, span=span, if_match=stored.etag, version_id=version)
        async with download:
            require_same(stored, download.object)
            return await download.read()

    async def _walk(self, bucket: str, stored: StoredObject, version: str | None) -> FrameTable:
        """Hop from frame header to frame header: only for multipart objects of the reference that carry neither stamp nor sidecar."""
        builder = FrameTableBuilder()
        window, window_at = b"", 0
        try:
            while (at := builder.stored_size) < stored.size:
                reach = min(at + FRAME_HEADER_BYTES, stored.size)
                if not window_at <= at or reach > window_at + len(window):
                    window, window_at = await self._read(bucket, stored, Span(at, min(at + WALK_BYTES, stored.size)), version), at
                builder.append_item(window, at - window_at)
        except FormatError as error:
            raise S3Error("InternalError", f"The object's frames are damaged: {error}") from error
        if builder.stored_size != stored.size:
            raise S3Error("InternalError", "The object's last frame is cut off.")
        return builder.build()


class Moved(Exception):
    """The object at the key is no longer the one that was looked at."""


def require_same(expected: StoredObject, got: StoredObject) -> None:
    """Compare ETag, size and time of two answers about one key (data-paths.md section 4).

    Raises:
        Moved: they are about different bodies.
    """
    if (expected.etag, expected.size, expected.modified) != (got.etag, got.size, got.modified):
        raise Moved


def _merge(known: Attributes | None, cached: Attributes | None) -> Attributes | None:
    """Metadata of the answer wins; the cache fills in what metadata never has."""
    if known is None or cached is None or known.layout is not cached.layout:
        return known or cached
    return replace(
        known,
        checksums=known.checksums or cached.checksums,
        checksum_type=known.checksum_type or cached.checksum_type,
        part_algorithm=cached.part_algorithm,
        parts=cached.parts if known.parts is None else known.parts,
        frames=cached.frames,
        index_absent=cached.index_absent,
    )


def _enough(attributes: Attributes, manifest: Manifest, wanted: Wanted) -> bool:
    if attributes.layout is not Layout.FRAMED:
        return True
    if wanted.checksums and not has_checksums(manifest, attributes):
        return False
    if wanted.parts and attributes.parts is None:
        return attributes.index_absent
    return not wanted.frames or attributes.frames is not None or attributes.index_absent


def _holds(suffix: bytes, tail: Tail, span: tuple[int, int]) -> bool:
    """Whether a section can be had without another request."""
    return tail.body_size - span[0] <= len(suffix)


def _parts_of(frames: FrameTable | None) -> tuple[Part, ...] | None:
    return None if frames is None else tuple(Part(number, entry.original_size, None) for number, entry in enumerate(frames, 1))
