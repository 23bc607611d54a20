"""What s4fs is held to."""

from collections.abc import Iterator
from dataclasses import dataclass
from operator import ge, le

from benchmarks.s4fs.clients import OURS, PLAIN, REFERENCE
from benchmarks.s4fs.figures import Figures
from benchmarks.s4fs.rows import DISTANCES, FAR

_SENSES = {"<=": le, ">=": ge}


@dataclass(frozen=True, slots=True)
class Aim:
    """A number of ours, in terms of somebody else's or by itself."""

    row: str
    metric: str
    sense: str
    bound: float
    base: str | None
    """Client in whose terms it is; None = the number itself."""
    links: tuple[str, ...]


AIMS = (
    Aim("parquet", "requests", "<=", 1.2, PLAIN, DISTANCES),
    Aim("parquet", "received", "<=", 1.3, PLAIN, DISTANCES),
    Aim("parquet known", "requests", "<=", 1.2, PLAIN, DISTANCES),
    Aim("parquet known", "received", "<=", 1.3, PLAIN, DISTANCES),
    Aim("csv", "received", "<=", 0.5, PLAIN, DISTANCES),
    Aim("listing", "per_second", ">=", 15.0, REFERENCE, ("20 ms",)),
    Aim("sequential", "per_second", ">=", 2.0, REFERENCE, ("0 ms",)),
    Aim("random", "per_second", ">=", 10.0, REFERENCE, ("0 ms",)),
    Aim("seeking", "per_second", ">=", 10.0, REFERENCE, ("0 ms",)),
    Aim("far", "per_second", ">=", 3.0, PLAIN, (FAR,)),
    Aim("write", "peak_mib", "<=", 256.0, None, ("0 ms",)),
)


@dataclass(frozen=True, slots=True)
class Verdict:
    """An aim, and what was measured."""

    aim: Aim
    link: str
    value: float
    base: float | None

    @property
    def ratio(self) -> float:
        """In terms of the base where there is one."""
        return self.value if self.base is None else self.value / self.base

    @property
    def met(self) -> bool:
        return bool(_SENSES[self.aim.sense](self.ratio, self.aim.bound))


def verdicts(figures: Figures) -> Iterator[Verdict]:
    """One for each aim and distance at which both sides were measured."""
    for aim in AIMS:
        for link in aim.links:
            value = figures.metric(aim.row, link, OURS, aim.metric)
            base = figures.metric(aim.row, link, aim.base, aim.metric) if aim.base else None
            if value is not None and (base or aim.base is None):
                yield Verdict(aim, link, value, base)
