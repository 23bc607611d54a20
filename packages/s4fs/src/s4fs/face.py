"""What users see of a stored body, and how that is found out: from metadata, from the trailer, from a sidecar or, at worst, frame by frame.

The order is the price: metadata costs nothing, a trailer one small GET, a walk over the frames up to a request for each.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

from s4_codecs import CodecError, CodecUnavailableError
from s4_codecs import EncryptedObjectError as CiphertextError
from s4_format import (
    ENVELOPE_MAGIC_BYTES,
    FRAME_HEADER_BYTES,
    FRAME_MAGIC,
    MAX_SIDECAR_BYTES,
    PADDING_MAGIC,
    TAIL_BYTES,
    FormatError,
    FrameTable,
    FrameTableBuilder,
    Layout,
    Manifest,
    Tail,
    decode_sidecar,
    detect_envelope,
    layout_of,
    read_tail,
)
from s4_format import Span as Section

from s4fs.errors import DamagedObjectError, EncryptedObjectError, UnreadableObjectError
from s4fs.memory import Lru
from s4fs.names import sidecar_of
from s4fs.stored import Moved, Span, StoredObject, Suffix, Wanted
from s4fs.targets import Target

WALK_BYTES = 64 * 1024
"""Fetched around a frame header where an object can only be told by walking it: small frames lie in it side by side."""

KEPT_WEIGHT = 2_000_000
"""Faces that are remembered, each weighing 64 and one for every frame: about 64 MiB of frame tables at most."""
_FACE_WEIGHT = 64

_OWN_MAGICS = (FRAME_MAGIC, PADDING_MAGIC)
_DESCRIBED_BY_TRAILER = Manifest(framed=True, trailer=True)


@dataclass(frozen=True, slots=True)
class Face:
    """One stored body as users see it."""

    stored: StoredObject
    manifest: Manifest
    layout: Layout
    size: int
    """Logical bytes."""
    etag: str | None
    """Logical ETag, unquoted; None = the object has none."""
    frames: FrameTable | None = None
    """None = not loaded, or there is no index."""
    index_absent: bool = False
    """It was looked for, and there is definitely none."""

    @property
    def is_plain(self) -> bool:
        """Whether the stored bytes are the logical ones."""
        return self.layout in (Layout.FOREIGN, Layout.RAW)


@contextmanager
def naming_faults(path: str) -> Iterator[None]:
    """Let what the codecs and the format refuse rise as errors of this package, which say what to do."""
    try:
        yield
    except CiphertextError as error:
        raise EncryptedObjectError(path, "the object is encrypted") from error
    except CodecUnavailableError as error:
        raise UnreadableObjectError(path, str(error)) from error
    except (CodecError, FormatError) as error:
        raise DamagedObjectError(path, f"the stored object is damaged ({error.reason}): {error}") from error


class FaceFinder:
    """Finds faces, and remembers them: a face is used again only for the very body that it is about.

    Args:
        target: where the bodies lie.
        trust_trailer: whether a body without S4 metadata may describe itself (docs/adr/0016-s4fs.md).
    """

    def __init__(self, target: Target, *, trust_trailer: bool) -> None:
        self._target = target
        self._trust_trailer = trust_trailer
        self._faces: Lru[Face] = Lru(KEPT_WEIGHT)

    @property
    def trusts_trailers(self) -> bool:
        """Whether a body without S4 metadata may describe itself."""
        return self._trust_trailer

    def remembered(self, path: str) -> Face | None:
        """What was last known of the path, which may have changed since."""
        return self._faces.get(path)

    def forget(self, path: str) -> None:
        """Forget what is at a path and below it."""
        self._faces.drop_path(path)

    def clear(self) -> None:
        """Forget everything."""
        self._faces.clear()

    async def find(self, stored: StoredObject, *, frames: bool = False, suffix: bytes | None = None, listed: bool = False) -> Face | None:
        """The face of exactly this body.

        Args:
            stored: what the target said of it.
            frames: whether its index is needed.
            suffix: the last bytes of the body, if they are at hand.
            listed: `stored` comes from a listing, which tells no metadata: None where nothing is remembered.

        Raises:
            DamagedObjectError: the body contradicts its metadata or trailer.
            Moved: it is no longer there.
            OSError: the target did not answer.
        """
        known = self._faces.get(stored.path)
        if known is not None and not known.stored.is_same(stored):
            known = None
        if listed and (known is not None or self._target.keeps_metadata):
            return known
        if known is not None and (listed or known.stored.metadata == stored.metadata):
            face = replace(known, stored=stored)
        else:
            with naming_faults(stored.path):
                face = await self._look(stored, suffix)
        if frames and face.layout is Layout.FRAMED and face.frames is None and not face.index_absent:
            with naming_faults(stored.path):
                face = await self._with_index(face, suffix)
        self._keep(face)
        return face

    async def walked(self, face: Face) -> Face:
        """The face of a framed body without index, its frames found by hopping from header to header.

        Raises:
            DamagedObjectError, Moved, OSError: as `find`.
        """
        known = self._faces.get(face.stored.path)
        if known is not None and known.frames is not None and known.stored.is_same(face.stored):
            # An open file keeps the face it was opened with.
            return known
        with naming_faults(face.stored.path):
            frames = await self._walk(face.stored)
        if face.size not in (-1, frames.original_size):
            raise DamagedObjectError(face.stored.path, f"the frames hold {frames.original_size} bytes, the metadata says {face.size}")
        face = replace(face, size=frames.original_size, frames=frames)
        self._keep(face)
        return face

    def _keep(self, face: Face) -> None:
        self._faces.put(face.stored.path, None, face, weight=_FACE_WEIGHT + (len(face.frames) if face.frames is not None else 0))

    async def _look(self, stored: StoredObject, suffix: bytes | None) -> Face:
        manifest = Manifest.from_metadata(stored.metadata)
        layout = layout_of(manifest)
        if layout is Layout.FOREIGN and self._trust_trailer:
            manifest = await self._sniffed(stored)
            layout = layout_of(manifest)
        size = manifest.original_size
        if layout is Layout.FOREIGN:
            return Face(stored, manifest, layout, stored.size, stored.etag)
        if layout is Layout.RAW:
            if size not in (None, stored.size):
                raise DamagedObjectError(stored.path, f"the stored body has {stored.size} bytes, its metadata says {size}")
            return Face(stored, manifest, layout, stored.size, manifest.logical_etag or stored.etag)
        if layout is Layout.FRAMED and manifest.trailer and (size is None or manifest.logical_etag is None or suffix is not None):
            tail, suffix = await self._tail(stored, suffix)
            return await self._from_tail(Face(stored, manifest, layout, size or 0, None), tail, suffix, frames=False)
        if size is None:
            return await self._of_unknown_size(Face(stored, manifest, layout, -1, manifest.logical_etag))
        return Face(stored, manifest, layout, size, manifest.logical_etag)

    async def _sniffed(self, stored: StoredObject) -> Manifest:
        """The manifest of a body that has no metadata, where those describe themselves: our frames, and a trailer behind them."""
        head = await self.read(stored, Span(0, ENVELOPE_MAGIC_BYTES)) if stored.size >= ENVELOPE_MAGIC_BYTES else b""
        if detect_envelope(head) is not None:
            return Manifest(encrypted=True)
        return _DESCRIBED_BY_TRAILER if head in _OWN_MAGICS else Manifest()

    async def _of_unknown_size(self, face: Face) -> Face:
        """A body whose metadata leaves the size out: frames have to tell it; of an envelope and a payload only the metadata could."""
        if face.layout is not Layout.FRAMED:
            return replace(face, size=face.stored.size)
        face = await self._with_index(face, None)
        return await self.walked(face) if face.frames is None else face

    async def _with_index(self, face: Face, suffix: bytes | None) -> Face:
        if face.manifest.trailer:
            tail, suffix = await self._tail(face.stored, suffix)
            return await self._from_tail(face, tail, suffix, frames=True)
        frames = await self._sidecar(face.stored)
        if frames is None or face.size not in (-1, frames.original_size):
            return replace(face, index_absent=True)
        return replace(face, size=frames.original_size, frames=frames)

    async def _from_tail(self, face: Face, tail: Tail, suffix: bytes, *, frames: bool) -> Face:
        said, promised = tail.attributes, face.manifest.original_size
        if promised not in (None, said.original_size):
            raise DamagedObjectError(face.stored.path, f"the trailer is about {said.original_size} bytes, the metadata about {promised}")
        table = None
        if frames or tail.cut(suffix, tail.index_span) is not None:
            table = tail.frames(await self._section(face.stored, tail, suffix, tail.index_span))
        return replace(face, size=said.original_size, etag=face.manifest.logical_etag or said.logical_etag, frames=table)

    async def _tail(self, stored: StoredObject, suffix: bytes | None) -> tuple[Tail, bytes]:
        if suffix is None:
            suffix = await self.read(stored, Suffix(TAIL_BYTES))
        return read_tail(suffix, body_size=stored.size), suffix

    async def _section(self, stored: StoredObject, tail: Tail, suffix: bytes, section: Section) -> bytes | memoryview:
        held = tail.cut(suffix, section)
        return held if held is not None else await self.read(stored, Span(section.start, section.stop))

    async def read(self, stored: StoredObject, wanted: Wanted) -> bytes:
        """Bytes of exactly this body, few enough to be held."""
        download = await self._target.fetch(stored.path, wanted, pinned=stored)
        try:
            return b"".join([bytes(chunk) async for chunk in download])
        finally:
            await download.aclose()

    async def _sidecar(self, stored: StoredObject) -> FrameTable | None:
        """The index beside a body, if it is bound to exactly this one; None where there is none that may be trusted."""
        place = sidecar_of(stored.path)
        if place is None or not self._target.keeps_metadata:
            return None
        try:
            download = await self._target.fetch(place, None)
        except FileNotFoundError:
            return None
        try:
            if download.stored.size > MAX_SIDECAR_BYTES:
                return None
            data = b"".join([bytes(chunk) async for chunk in download])
        finally:
            await download.aclose()
        try:
            return decode_sidecar(data).frames_of(etag=stored.etag, size=stored.size)
        except FormatError:
            # Not an index: somebody else's object, or a damaged one, which only costs the shortcut.
            return None

    async def _walk(self, stored: StoredObject) -> FrameTable:
        builder = FrameTableBuilder()
        window, window_at = b"", 0
        while (at := builder.stored_size) < stored.size:
            reach = min(at + FRAME_HEADER_BYTES, stored.size)
            if not window_at <= at or reach > window_at + len(window):
                window, window_at = await self.read(stored, Span(at, min(at + WALK_BYTES, stored.size))), at
            builder.append_item(window, at - window_at)
        if builder.stored_size != stored.size:
            raise DamagedObjectError(stored.path, "the last frame is cut off")
        return builder.build()


def refuse_ciphertext(face: Face) -> None:
    """Refuse an encrypted body, naming the key it needs.

    Raises:
        EncryptedObjectError: it is one.
    """
    if face.layout is not Layout.ENCRYPTED:
        return
    manifest, path = face.manifest, face.stored.path
    if manifest.sse_type == "aws:kms":
        key = f"the key {manifest.sse_kms_key_id or '(its id is in the envelope)'} of a key service (SSE-KMS)"
    elif manifest.sse_type is not None or manifest.sse_c_key_md5 is not None:
        key = f"the customer's key whose MD5 is {manifest.sse_c_key_md5 or 'not told'} (SSE-C)"
    else:
        key = "a key of the gateway's own keyring (SSE-S4)"
    raise EncryptedObjectError(path, f"the object is encrypted with {key}, which is not here; read it through a gateway that has it")


def refuse_envelope(path: str, head: bytes) -> None:
    """Refuse a body that begins as an envelope does, although no metadata says so: it must not be handed out as data.

    Raises:
        EncryptedObjectError: it begins so.
    """
    kind = detect_envelope(head)
    if kind is not None:
        raise EncryptedObjectError(path, f"the body begins as an {kind} envelope, so it is encrypted, and its key is not here")


__all__ = ["Face", "FaceFinder", "Moved", "naming_faults", "refuse_ciphertext", "refuse_envelope"]
