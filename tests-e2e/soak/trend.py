"""Whether a figure is flat: its slope after a time of warming up, and what is allowed."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from statistics import median

from soak.vitals import MIB, Vitals

WARM_UP = 0.3
"""Share of the run that is not judged: caches fill, threads start, every key is written for the first time."""


SHORT_SECONDS, SHORT_FACTOR = 600.0, 4.0
"""A run below it has hardly warmed up when it ends: it may grow that many times more."""


@dataclass(frozen=True, slots=True)
class Allowance:
    """What a figure may grow over the judged part of a run, by its slope: so much, or that share of its median if that is more."""

    amount: float
    share: float = 0.0


ALLOWED: Mapping[str, Allowance] = {
    "rss": Allowance(20 * MIB, 0.1),
    "descriptors": Allowance(12),
    "threads": Allowance(4),
    "temp_files": Allowance(4),
    "objects": Allowance(32 * MIB, 0.25),
    "sqlite": Allowance(1 * MIB, 0.15),
    "wal": Allowance(16 * MIB),
}
"""Bodies come in random sizes, and the store begins its log anew once that has 16 MiB: those figures swing without growing."""


@dataclass(frozen=True, slots=True)
class Trend:
    """One figure over a run."""

    name: str
    first: float
    middle: float
    """Median of the judged part."""
    most: float
    last: float
    growth: float
    """Over the judged part, by its slope."""
    allowed: float

    @property
    def flat(self) -> bool:
        return self.growth <= self.allowed


def slope(points: Sequence[tuple[float, float]]) -> float:
    """The median of the slopes between all pairs (Theil and Sen): one peak does not tilt it."""
    found = [(y - x) / (later - earlier) for (earlier, x), (later, y) in combinations(points, 2) if later > earlier]
    return median(found) if found else 0.0


def trends(looks: Sequence[Vitals]) -> list[Trend]:
    """All figures of a run, in the order of `Vitals`."""
    judged = looks[int(len(looks) * WARM_UP) :]
    span = judged[-1].seconds - judged[0].seconds
    rows = []
    for name in Vitals.names():
        values = [float(getattr(look, name)) for look in judged]
        growth = slope(list(zip((look.seconds for look in judged), values, strict=True))) * span
        allowed = max(ALLOWED[name].amount, ALLOWED[name].share * median(values)) * (1.0 if span > SHORT_SECONDS / 2 else SHORT_FACTOR)
        first, last = float(getattr(looks[0], name)), float(getattr(looks[-1], name))
        rows.append(Trend(name, first, median(values), max(getattr(look, name) for look in looks), last, growth, allowed))
    return rows
