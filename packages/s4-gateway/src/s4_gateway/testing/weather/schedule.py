"""Schedules: what clients do, and what goes wrong meanwhile. A seed makes one; its steps can be left out one by one."""

import random
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Self

from s4_gateway.testing.weather.faults import TABLE, Kind
from s4_gateway.testing.weather.sky import Strike


class Verb(StrEnum):
    """What a client does in one step."""

    PUT = "put"
    PUT_IF_ABSENT = "put-if-absent"
    PUT_IF_MATCH = "put-if-match"
    GET = "get"
    GET_RANGE = "get-range"
    GET_PART = "get-part"
    HEAD = "head"
    ATTRIBUTES = "attributes"
    LIST = "list"
    COPY = "copy"
    RELABEL = "relabel"
    """A copy onto itself with other metadata."""
    DELETE = "delete"
    DELETE_MANY = "delete-many"
    CREATE = "create"
    PART = "part"
    PART_COPY = "part-copy"
    COMPLETE = "complete"
    COMPLETE_IF_ABSENT = "complete-if-absent"
    COMPLETE_AGAIN = "complete-again"
    """With the manifest of the Complete before."""
    ABORT = "abort"
    LIST_PARTS = "list-parts"
    LIST_UPLOADS = "list-uploads"
    WAIT = "wait"


WEIGHTS = {
    Verb.PUT: 10,
    Verb.PUT_IF_ABSENT: 4,
    Verb.PUT_IF_MATCH: 4,
    Verb.GET: 8,
    Verb.GET_RANGE: 10,
    Verb.GET_PART: 2,
    Verb.HEAD: 3,
    Verb.ATTRIBUTES: 1,
    Verb.LIST: 6,
    Verb.COPY: 4,
    Verb.RELABEL: 2,
    Verb.DELETE: 2,
    Verb.DELETE_MANY: 2,
    Verb.CREATE: 5,
    Verb.PART: 9,
    Verb.PART_COPY: 1,
    Verb.COMPLETE: 7,
    Verb.COMPLETE_IF_ABSENT: 2,
    Verb.COMPLETE_AGAIN: 2,
    Verb.ABORT: 2,
    Verb.LIST_PARTS: 2,
    Verb.LIST_UPLOADS: 1,
    Verb.WAIT: 2,
}

_READ = frozenset({Kind.GET, Kind.RANGE, Kind.HEAD})
_WRITE = frozenset({Kind.PUT, Kind.HEAD, Kind.CREATE, Kind.PART, Kind.COMPLETE, Kind.ABORT})
_RECORDS = frozenset({Kind.LIST, Kind.GET, Kind.PUT, Kind.HEAD})
_COMPLETE = _RECORDS | {Kind.CREATE, Kind.PART, Kind.COMPLETE, Kind.DELETE}

USES = {
    Verb.PUT: _WRITE,
    Verb.PUT_IF_ABSENT: _WRITE,
    Verb.PUT_IF_MATCH: _WRITE,
    Verb.GET: _READ - {Kind.RANGE},
    Verb.GET_RANGE: _READ,
    Verb.GET_PART: _READ,
    Verb.HEAD: _READ,
    Verb.ATTRIBUTES: _READ,
    Verb.LIST: frozenset({Kind.LIST, Kind.HEAD, Kind.RANGE}),
    Verb.COPY: frozenset({Kind.HEAD, Kind.RANGE, Kind.COPY}),
    Verb.RELABEL: frozenset({Kind.HEAD, Kind.RANGE, Kind.COPY}),
    Verb.DELETE: frozenset({Kind.DELETE, Kind.BUCKET}),
    Verb.DELETE_MANY: frozenset({Kind.DELETE, Kind.BUCKET}),
    Verb.CREATE: frozenset({Kind.PUT, Kind.BUCKET}),
    Verb.PART: _WRITE - {Kind.COMPLETE} | {Kind.GET},
    Verb.PART_COPY: _WRITE - {Kind.COMPLETE} | _READ,
    Verb.COMPLETE: _COMPLETE,
    Verb.COMPLETE_IF_ABSENT: _COMPLETE,
    Verb.COMPLETE_AGAIN: _COMPLETE,
    Verb.ABORT: frozenset({Kind.GET, Kind.PUT, Kind.ABORT, Kind.LIST, Kind.DELETE}),
    Verb.LIST_PARTS: frozenset({Kind.GET, Kind.LIST}),
    Verb.LIST_UPLOADS: frozenset({Kind.GET, Kind.LIST}),
    Verb.WAIT: frozenset(),
}
"""Kinds of requests that a step may send to the store: what hits none of them would be wasted."""

ONE_KEY = frozenset(Verb) - {Verb.LIST, Verb.COPY, Verb.DELETE_MANY, Verb.PART_COPY, Verb.LIST_UPLOADS}
"""Steps that a rival's write of their key can be told apart from."""

KEYS = ("a", "b/c")
CLIENTS = 2
UPLOADS = 1
"""Uploads that a schedule has open at a time."""
MOST_STEPS = 9

OPENINGS = (
    (),
    (Verb.PUT, Verb.PUT),
    (Verb.PUT, Verb.PUT, Verb.PUT),
    (Verb.PUT, Verb.CREATE, Verb.PART),
    (Verb.CREATE, Verb.PART, Verb.PART, Verb.PART),
    (Verb.CREATE, Verb.PART, Verb.PART, Verb.COMPLETE, Verb.GET_RANGE),
)
"""What schedules begin with, so that there is something to read, to overwrite and to complete."""


@dataclass(frozen=True, slots=True)
class Step:
    """One operation of a client. Which of the numbers count depends on the verb."""

    verb: Verb
    client: int
    key: int
    other: int
    """Another key: the source of a copy."""
    slot: int
    """Which of the uploads."""
    body: int
    """Chooses kind and size of the content."""
    pick: int
    """Any other choice, 0 to 999."""
    tries: int
    """How often the client repeats what failed."""
    strikes: tuple[Strike, ...] = ()

    def __str__(self) -> str:
        words = [f"client {self.client}: {self.verb} key={KEYS[self.key]} other={KEYS[self.other]} slot={self.slot}"]
        words.append(f"body={self.body} pick={self.pick} tries={self.tries}")
        return " ".join([*words, *map(str, self.strikes)])


@dataclass(frozen=True, slots=True)
class Schedule:
    """A seed's steps, or some of them."""

    seed: int
    steps: tuple[tuple[int, Step], ...]
    """(position in the whole schedule, step)."""

    @classmethod
    def of(cls, seed: int, faults: Sequence[str] = tuple(TABLE)) -> Self:
        """The whole schedule of a seed; only with these faults."""
        choice = random.Random(seed)
        verbs = [*choice.choice(OPENINGS), *choice.choices(_VERBS, _SHARES, k=choice.randint(1, MOST_STEPS))]
        steps = [_step(choice, verb, faults) for verb in verbs]
        return cls(seed, tuple(enumerate(steps)))

    @classmethod
    def parse(cls, text: str, faults: Sequence[str] = tuple(TABLE)) -> Self:
        """What `str` wrote: `SEED`, or `SEED:3,5.0,9.`: steps by position, behind a dot the strikes that are left of it.

        Raises:
            ValueError: it is something else.
        """
        if not re.fullmatch(r"\d+(:(\d+(\.[\d+]*)?)(,\d+(\.[\d+]*)?)*)?", text):
            raise ValueError(f"no schedule: {text!r}")
        seed, _, kept = text.partition(":")
        whole = cls.of(int(seed), faults)
        if not kept:
            return whole
        steps = []
        for word in kept.split(","):
            position, dot, strikes = word.partition(".")
            step = whole.steps[int(position)][1]
            if dot:
                step = replace(step, strikes=tuple(step.strikes[int(number)] for number in strikes.split("+") if number))
            steps.append((int(position), step))
        return cls(int(seed), tuple(steps))

    def __str__(self) -> str:
        whole = dict(type(self).of(self.seed).steps)
        words = []
        for position, step in self.steps:
            strikes = whole[position].strikes
            kept = "+".join(str(strikes.index(strike)) for strike in step.strikes)
            words.append(f"{position}" if step.strikes == strikes else f"{position}.{kept}")
        return f"{self.seed}" if len(words) == len(whole) and "." not in "".join(words) else f"{self.seed}:{','.join(words)}"

    def story(self) -> str:
        """All steps, a line each."""
        return "\n".join(f"  {position:2} {step}" for position, step in self.steps)


FEW_KINDS = 4
SPECIAL_SHARE = 4
"""How much likelier a fault is that hits few kinds of requests: those that hit all come often enough."""

_VERBS, _SHARES = zip(*WEIGHTS.items(), strict=True)


def _step(choice: random.Random, verb: Verb, faults: Sequence[str]) -> Step:
    possible = [name for name in faults if TABLE[name].hits & USES[verb] and (verb in ONE_KEY or not TABLE[name].rival)]
    strikes = tuple(_strike(choice, possible) for _ in range(choice.choice((0, 1, 1, 2, 3)) if possible else 0))
    return Step(
        verb,
        client=choice.randrange(CLIENTS),
        key=choice.randrange(len(KEYS)),
        other=choice.randrange(len(KEYS)),
        slot=choice.randrange(UPLOADS),
        body=choice.randrange(1000),
        pick=choice.randrange(1000),
        tries=choice.choice((1, 1, 2, 3)),
        strikes=strikes,
    )


def _strike(choice: random.Random, faults: Sequence[str]) -> Strike:
    nth, times = choice.choice((0, 0, 0, 1, 2, 3, 5)), choice.choice((1, 1, 2, 3, 4))
    (fault,) = choice.choices(faults, [SPECIAL_SHARE if len(TABLE[name].hits) <= FEW_KINDS else 1 for name in faults])
    return Strike(fault, nth=nth, times=times, dose=choice.randrange(100))
