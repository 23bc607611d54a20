"""What was decided, why, and what deciding cost."""

from dataclasses import dataclass, field
from enum import StrEnum

from s4_format import CodecId


class Why(StrEnum):
    """Why a codec was chosen."""

    CONFIGURED = "configured"
    """It is the configured one, and nothing spoke against it."""
    INCOMPRESSIBLE = "incompressible"
    """The sample is compressed already or looks random."""
    PROMOTED = "promoted"
    """A device is there, and the object is large enough for it."""
    TOO_SMALL = "too-small"
    """Too few bytes for a trial: as configured."""
    SMALLEST = "smallest"
    """It stores the fewest bytes of all that were tried."""
    CHEAPEST = "cheapest"
    """Others store less, but by so little that the fastest of them was taken."""


class Verdict(StrEnum):
    """What became of a codec in a trial."""

    CHOSEN = "chosen"
    LARGER = "larger"
    """It stores more bytes than the one chosen."""
    DEARER = "dearer"
    """It stores about as many bytes and takes longer."""
    OVER_BUDGET = "over-budget"
    """It takes more time than the budget allows; it was not tried."""
    EXCLUDED = "excluded"
    UNAVAILABLE = "unavailable"
    """It is not installed, or there is no device for it."""
    NO_ROOM = "no-room"
    """What another codec left is so little that it was not tried."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """One codec in a trial."""

    codec: CodecId
    verdict: Verdict
    ns_per_byte: float
    """By the table of costs: nanoseconds a byte on one core."""
    stored: int | None = None
    """Bytes that the sample takes; None: not tried."""


@dataclass(frozen=True, slots=True)
class Decision:
    """One choice of a codec."""

    codec: CodecId
    why: Why
    sample_bytes: int
    """Bytes that were looked at."""
    candidates: tuple[Candidate, ...] = ()
    """The codecs of a trial, in the order of their costs; empty where nothing was tried."""
    cost_ns: float = 0.0
    """What the trial costs by the table of costs, in nanoseconds on one core."""
    seconds: float = field(default=0.0, compare=False)
    """CPU time that the thread spent on the trial."""
    offset: int = 0
    """Position in the object from which on it counts."""

    def __str__(self) -> str:
        lines = [f"{self.codec.label}: {self.why}, by {self.sample_bytes} bytes, in {self.seconds * 1000:.2f} ms"]
        for candidate in self.candidates:
            stored = "" if candidate.stored is None else f"{candidate.stored} bytes, {self.sample_bytes / max(candidate.stored, 1):.2f}x"
            lines.append(f"  {candidate.codec.label:16} {candidate.verdict:12} {candidate.ns_per_byte:7.2f} ns/byte  {stored}".rstrip())
        return "\n".join(lines)
