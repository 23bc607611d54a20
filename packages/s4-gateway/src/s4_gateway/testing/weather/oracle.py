"""What the store may hold, as a set of possibilities: each outcome that a client sees either narrows it, forks it, or is a violation.

A write that was acknowledged leaves one possibility. One that ended in an error leaves two, done and not done, until somebody reads.
A late request that the store carries out after all adds what it wrote.
"""

from collections import Counter
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from enum import Enum


class Violation(AssertionError):
    """An outcome that no possibility explains."""


@dataclass(frozen=True, slots=True)
class Version:
    """One object as clients see it."""

    etag: str
    size: int
    label: str
    """The client's own metadata."""

    def __str__(self) -> str:
        return f"{self.label}({self.etag[:6]}, {self.size} bytes)"


State = Version | None
"""None = no object."""


class Open(Enum):
    """Where an upload is."""

    OPEN = "open"
    DONE = "done"
    ABORTED = "aborted"


Part = tuple[str, int] | None
"""(ETag, size) of a part; None = there is none."""


@dataclass(slots=True)
class Upload:
    """What is possible of one upload."""

    id: str
    key: str
    label: str
    states: set[Open] = field(default_factory=lambda: {Open.OPEN})
    parts: dict[int, set[Part]] = field(default_factory=dict)
    told: dict[int, tuple[str, int]] = field(default_factory=dict)
    """What the client was told of each part last."""
    manifests: list[tuple[tuple[int, str], ...]] = field(default_factory=list)
    """Of the Completes that it sent."""
    spoiled: bool = False
    """A lie of the store about its records: it may have to be begun anew."""

    def narrow(self, states: Collection[Open], what: str) -> None:
        """It is in one of these states."""
        left = self.states & set(states)
        if not left:
            raise Violation(f"{what}, but upload {self.id[:6]} of {self.key!r} is {_names(self.states)}")
        self.states = left


@dataclass(slots=True)
class Effect:
    """What an operation writes, in case one of its requests comes late."""

    key: str
    states: frozenset[State]
    acknowledged: bool = False
    once: bool = False
    """It commits an upload, which cannot be done twice."""


class Oracle:
    """All keys and uploads.

    Attributes:
        bodies: every content that was ever sent, by ETag.
        effects: by operation.
        rivals: what others wrote by key while the step was under way; it may be ordered before or behind of them.
        deviations: what only a lie of the store explains, counted by the lie.
    """

    def __init__(self, keys: Iterable[str]) -> None:
        self.states: dict[str, set[State]] = {key: {None} for key in keys}
        self.bodies: dict[str, bytes] = {}
        self.effects: dict[int, list[Effect]] = {}
        self.rivals: dict[str, State] = {}
        self.deviations: Counter[str] = Counter()

    def may_hold(self, key: str, states: Iterable[State]) -> None:
        """A write of one of these states ended in an error."""
        self.states[key] |= set(states)

    def holds(self, key: str, states: Iterable[State]) -> None:
        """A write of one of these states was acknowledged."""
        self.states[key] = set(states)

    def saw(self, key: str, states: Iterable[State], what: str) -> None:
        """Somebody saw one of these states, or what only they explain."""
        left = self.states[key] & set(states)
        if not left:
            raise Violation(f"{what}, but {key!r} can only be {_names(self.states[key])}")
        self.states[key] = left

    def rival_wrote(self, key: str, state: State) -> None:
        """Somebody else's write was acknowledged in the midst of a step."""
        self.rivals[key] = state
        self.states[key].add(state)

    def step_ended(self, serial: int) -> None:
        """What was there before a rival wrote is gone now; which of the two writes came last is open."""
        for key, state in self.rivals.items():
            own = [effect.states for effect in self.effects.get(serial, ()) if effect.key == key]
            self.states[key] = {state}.union(*own)
        self.rivals.clear()

    def landed(self, serial: int, key: str, *, lie: str) -> None:
        """A late request of an operation was carried out."""
        for effect in self.effects.get(serial, ()):
            if effect.key != key:
                continue
            if effect.acknowledged and effect.once:
                raise Violation(f"a late Complete of {key!r} was carried out a second time")
            if effect.acknowledged:
                self.deviations[lie] += 1
            self.states[key] |= effect.states


def _names(states: Collection[object]) -> str:
    return " or ".join(sorted(str(state) if state is not None else "absent" for state in states))
