"""How objects are read and written."""

from dataclasses import dataclass, field
from typing import Literal, TypeAlias, get_args

from s4_codecs import EncodeOptions

MIB = 1 << 20

OnChange: TypeAlias = Literal["error", "reopen"]

BUFFERED_BYTES = 8 * MIB
"""Objects up to this many stored bytes go out as one PUT with complete metadata (data-paths.md section 2)."""

SIDECAR_ABOVE_BYTES = 4 * MIB
"""Logical size above which objects of several frames get a sidecar for other readers (data-paths.md section 1.8)."""


@dataclass(frozen=True, slots=True)
class ReadOptions:
    """Settings of reading; sizes in bytes."""

    cache_bytes: int = 64 * MIB
    """Decoded frames that are kept, over all objects."""
    readahead_bytes: int = 16 * MIB
    """Logical bytes of one step of a file that is read in order, at most; an open file may hold three of them."""
    coalesce_bytes: int = 512 * 1024
    """Stored bytes between two wanted frames that are fetched along rather than asked around."""
    heads: int = 32
    """Objects that a listing asks about at once."""
    attempts: int = 3
    """How often a read starts again when the object was replaced under it."""
    on_change: OnChange = "error"
    """What an open file does when its object was replaced."""

    def __post_init__(self) -> None:
        if self.on_change not in get_args(OnChange):
            raise ValueError(f"on_change must be one of {', '.join(get_args(OnChange))}, not {self.on_change!r}")
        for name in ("cache_bytes", "readahead_bytes", "coalesce_bytes"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} must not be negative, not {getattr(self, name)}")


@dataclass(frozen=True, slots=True)
class WriteOptions:
    """Settings of writing; sizes in bytes."""

    enabled: bool = False
    """Whether anything may be written at all."""
    encode: EncodeOptions = field(default_factory=EncodeOptions)
    frame_size: int | None = None
    """Plaintext of one frame; None: the format's policy, and smaller ones for Parquet."""
    part_size: int = 8 * MIB
    """Stored bytes of the parts of large objects."""
    sidecars: bool = True
    """Whether large objects get a sidecar for readers that know no trailers."""
