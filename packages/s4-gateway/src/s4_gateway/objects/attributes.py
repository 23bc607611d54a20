"""What clients see of an object: logical size, ETag, checksums, parts; and where its frames lie."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from s4_codecs import CodecUnavailableError
from s4_format import FrameTable, Layout, Manifest, Part, Tail, layout_of

from s4_gateway.backend.abc import ListEntry, StoredObject
from s4_gateway.errors import S3Error


@dataclass(frozen=True, slots=True)
class Attributes:
    """The logical face of one stored body. Never headers, tags or metadata: those may change while the body stays."""

    layout: Layout
    size: int
    """Logical bytes."""
    etag: str | None
    """Logical ETag, unquoted; None = the object has no validator."""
    checksums: Mapping[str, str] = field(default_factory=dict)
    """Lower-case algorithm -> base64 (composite ones end in `-<parts>`)."""
    checksum_type: str | None = None
    """`FULL_OBJECT` or `COMPOSITE`."""
    part_algorithm: str | None = None
    parts: tuple[Part, ...] | None = None
    """Client parts in order; None = not loaded or unknown, empty = not a multipart object."""
    frames: FrameTable | None = None
    """None = not loaded, or there is no index."""
    index_absent: bool = False
    """It was looked for and there is none: ranges decode from the start."""

    @property
    def shown_checksums(self) -> Mapping[str, str]:
        """What clients are told."""
        shown = shown_algorithms(self.checksums)
        return self.checksums if len(shown) == len(self.checksums) else {name: self.checksums[name] for name in shown}


def shown_algorithms(names: Collection[str]) -> Collection[str]:
    """Of the checksums known, those that clients are told of: the one that they named, else CRC64NVME, as on S3."""
    return names if len(names) < 2 else [name for name in names if name != "crc64nvme"]


def attributes_from_metadata(stored: StoredObject | ListEntry, manifest: Manifest) -> Attributes | None:
    """What metadata alone says; None where size or ETag lie in the trailer, a sidecar or the frames.

    Raises:
        S3Error: a raw body whose length is not what its manifest says (InternalError; the object is damaged).
    """
    layout = layout_of(manifest)
    if layout is Layout.FOREIGN:
        return Attributes(layout, stored.size, stored.etag, parts=())
    size = manifest.original_size
    if layout is Layout.RAW:
        if size is not None and size != stored.size:
            raise S3Error("InternalError", "The stored body does not have the length that its metadata gives.")
        # A raw body is the original, so the store's own ETag validates it where the reference stamped none.
        return _complete(layout, stored.size, manifest.logical_etag or stored.etag, manifest, parts=())
    if size is None or (manifest.logical_etag is None and manifest.trailer):
        return None
    return _complete(layout, size, manifest.logical_etag, manifest, parts=None if manifest.multipart else ())


def _complete(layout: Layout, size: int, etag: str | None, manifest: Manifest, *, parts: tuple[Part, ...] | None) -> Attributes:
    checksums = dict(manifest.checksums)
    if manifest.crc64nvme is not None:
        checksums.setdefault("crc64nvme", manifest.crc64nvme)
    return Attributes(layout, size, etag, checksums, manifest.checksum_type or ("FULL_OBJECT" if checksums else None), parts=parts)


def has_checksums(manifest: Manifest, attributes: Attributes) -> bool:
    """Whether checksums are as complete as they will get without reading the trailer."""
    return not manifest.trailer or bool(attributes.checksums)


def attributes_from_tail(tail: Tail, parts: tuple[Part, ...] | None, frames: FrameTable | None) -> Attributes:
    """The trailer's own account of the object."""
    said = tail.attributes
    return Attributes(
        Layout.FRAMED,
        said.original_size,
        said.logical_etag,
        dict(said.checksums),
        said.checksum_type,
        said.part_algorithm,
        parts,
        frames,
    )


def unreadable(manifest: Manifest) -> S3Error:
    """The named error for a body that this gateway cannot decode; its stored bytes are never handed out."""
    if manifest.encrypted:
        return S3Error("NotImplemented", "The object is encrypted (S4E envelope); this gateway cannot decrypt it.")
    return S3Error("NotImplemented", f"The object's codec {manifest.codec_label or 'unknown'} cannot be decoded here.")


def unavailable(error: CodecUnavailableError) -> S3Error:
    """A frame's codec is not installed: say which one, never pass raw frames on."""
    return S3Error("NotImplemented", f"The object cannot be decoded by this gateway: {error}")
