"""What decides how objects are stored and how much may be in flight."""

from dataclasses import dataclass, field

from s4_codecs import EncodeOptions

MIB = 2**20

BUFFERED_LIMIT = 8 * MIB
"""Largest stored form that is held back until every digest is verified and then sent as one PUT (data-paths.md section 2)."""

MAX_OBJECT_BYTES = 5 * 2**40
"""Largest logical object (S3: 5 TiB)."""

MAX_PUT_BYTES = 5 * 2**30
"""Largest logical body of one PutObject, UploadPart or CopyObject (S3: 5 GiB)."""

CORE_METADATA_BYTES = 128
"""Room that our indispensable keys need beside the client's metadata (data-paths.md 1.7)."""

CLIENT_METADATA_LIMIT = 2048
"""User metadata that S3 takes, names without prefix plus values."""


AT_ONCE_BYTES = 128 * 1024
"""Objects up to here are hashed, encoded and decoded on the event loop's thread when all their bytes are there: a few tenths of a
millisecond at most, while handing them to another thread costs a good part of that in CPU time and waits for its turn.
"""


@dataclass(frozen=True, slots=True)
class SmallBatching:
    """Small objects of several requests are compressed together."""

    max_items: int
    """Frames of a batch at most."""
    window: float
    """Longest wait of a frame for others, in seconds."""
    below_bytes: int
    """Objects of this size and larger ones fill batches by themselves."""


@dataclass(frozen=True, slots=True)
class StoreOptions:
    """Settings of the object layer. Sizes in bytes, times in seconds."""

    encode: EncodeOptions = field(default_factory=EncodeOptions)
    """Where no `Encoding` says otherwise."""
    small_batching: SmallBatching | None = None
    sidecars: bool = True
    sidecar_above: int = 4 * MIB
    """Logical size from which a sidecar is written for other readers."""
    part_size: int = 8 * MIB
    """Stored bytes of one backend part of a streamed PUT; also the staging group's aim."""
    frames_in_flight: int = 4
    inline_below: int = 32 * 1024
    """Frames smaller than this are coded on the event loop: a thread hop costs more."""
    memory_bytes: int = 128 * MIB
    """Budget for bodies in flight, over all requests."""
    spool_memory: int = 16 * MIB
    """Stored bytes of one part kept in RAM before the spool moves to a file."""
    spool_bytes: int = 20 * 2**30
    """Quota for all spool files."""
    spool_dir: str | None = None
    staging_bucket: str | None = None
    list_heads: int = 32
    """Concurrent HEADs for listing entries whose attributes are not cached."""
    upload_record_ttl: float = 60.0
    sweep_seconds: float = 3600.0
    """Between sweeps for records of ended uploads; each asks every bucket for one page."""
