"""How a stored body is to be read, as its metadata says (docs/format/metadata.md, "Reading")."""

from enum import StrEnum

from s4_format.codec_id import CodecId
from s4_format.manifest import Manifest


class Layout(StrEnum):
    """What the bytes of a stored body are."""

    FOREIGN = "foreign"
    """Not S4's: passed through untouched."""
    RAW = "raw"
    """The original bytes, unframed, with a manifest."""
    SINGLE = "single"
    """One unframed compressed payload of the reference (gzip, legacy zstd, GPU containers)."""
    FRAMED = "framed"
    """S4F2 frames."""
    ENCRYPTED = "encrypted"
    """An envelope around what the rest of the metadata describes."""


def layout_of(manifest: Manifest) -> Layout:
    """The layout that the metadata announces; magic bytes alone decide nothing."""
    if not manifest.is_s4:
        return Layout.FOREIGN
    if manifest.encrypted:
        return Layout.ENCRYPTED
    if manifest.framed or manifest.multipart or manifest.trailer:
        return Layout.FRAMED
    if manifest.codec is CodecId.PASSTHROUGH:
        return Layout.RAW
    return Layout.SINGLE
