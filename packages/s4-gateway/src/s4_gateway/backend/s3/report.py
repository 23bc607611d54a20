"""What is known about a store, and how it is known."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from s4_gateway.backend.abc import Capabilities

Value = bool | int | str


class Origin(StrEnum):
    """Where a fact comes from."""

    TRIED = "tried"
    """Seen in this store."""
    KNOWN = "known"
    """Said by its name or by a setting."""
    ASSUMED = "assumed"
    """As Amazon S3 does it; this store was not asked."""


@dataclass(frozen=True, slots=True)
class Fact:
    """One property of a store."""

    value: Value
    origin: Origin


@dataclass(frozen=True, slots=True)
class StoreReport:
    """What a store can do.

    The defaults are those of Amazon S3; conditional copies, which few stores know, are only believed when seen.
    """

    server: str = ""
    """Server header of its answers."""
    clock_skew: float | None = None
    """Seconds that our clock is ahead, to about a second; None = unknown."""
    bucket: str | None = None
    """Where it was tried out; None = nowhere."""
    conditional_put: Fact = Fact(True, Origin.ASSUMED)
    conditional_complete: Fact = Fact(True, Origin.ASSUMED)
    conditional_copy: Fact = Fact(False, Origin.ASSUMED)
    min_part_size: Fact = Fact(5 * 2**20, Origin.ASSUMED)
    """Bytes."""
    strict_parts: Fact = Fact(False, Origin.ASSUMED)
    metadata_limit: Fact = Fact(2048, Origin.ASSUMED)
    """Bytes of names without prefix plus values, in 32 entries."""
    metadata_bytes: Fact = Fact("ascii", Origin.ASSUMED)
    """Which metadata values come back as sent: `any` bytes, `utf-8`, or only `ascii`."""
    ordered: Fact = Fact(True, Origin.ASSUMED)
    """Lists are in UTF-8 byte order."""
    leftovers: Sequence[str] = ()
    """Scratch keys that could not be deleted."""

    @property
    def tried(self) -> bool:
        """A bucket was found to try it out."""
        return self.bucket is not None

    def capabilities(self) -> Capabilities:
        """The part that decides what the gateway does."""
        return Capabilities(
            min_part_size=int(self.min_part_size.value),
            strict_parts=bool(self.strict_parts.value),
            conditional_put=bool(self.conditional_put.value),
            conditional_complete=bool(self.conditional_complete.value),
            metadata_limit=int(self.metadata_limit.value),
        )
