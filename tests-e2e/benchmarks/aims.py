"""What the gateway aims at, as data, and whether a run met it."""

import operator
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from benchmarks.samples import METRICS, Sample

Medians = Mapping[tuple[str, str, str], Sample]

_SENSES: Mapping[str, Callable[[float, float], bool]] = {">=": operator.ge, "<=": operator.le}
GATEWAYS = ("ours", "ours-2")
"""Targets that are judged."""


@dataclass(frozen=True, slots=True)
class Aim:
    """`metric` of a gateway of ours `sense` `factor` x that of `against` + `plus`, in the same row, store and run."""

    row: str
    metric: str
    sense: str
    factor: float
    against: str = "reference"
    plus: float = 0.0
    """In the metric's unit."""
    stores: tuple[str, ...] = ("minio", "versitygw")

    def words(self) -> str:
        """The aim, as a reader is told it."""
        plus = f" + {self.plus:g}" if self.plus else ""
        return f"{METRICS[self.metric].heading} {self.sense} {self.factor:g} x {self.against}{plus}"

    def met(self, value: float, base: float) -> bool:
        """Whether the value meets it."""
        return _SENSES[self.sense](value, self.factor * base + self.plus)


@dataclass(frozen=True, slots=True)
class Verdict:
    """An aim held against a run."""

    aim: Aim
    store: str
    target: str
    value: float
    base: float

    @property
    def ratio(self) -> float:
        return self.value / self.base if self.base else float("inf")

    @property
    def met(self) -> bool:
        return self.aim.met(self.value, self.base)


AIMS: tuple[Aim, ...] = (
    Aim("get4k", "rate", ">=", 5.0),
    Aim("get4k", "cpu_us", "<=", 1.0, stores=("minio",)),
    Aim("get4k", "cpu_us", "<=", 0.75, stores=("versitygw",)),
    Aim("get64k", "rate", ">=", 1.2),
    Aim("put4k", "rate", ">=", 1.2),
    Aim("put4k", "cpu_us", "<=", 0.8),
    Aim("put64k", "rate", ">=", 1.2),
    Aim("put64k", "cpu_us", "<=", 0.8),
    Aim("list500", "rate", ">=", 12.0, stores=("minio",)),
    Aim("list500", "rate", ">=", 20.0, stores=("versitygw",)),
    Aim("range64k", "rate", ">=", 20.0),
    Aim("putlog", "mb_per_second", ">=", 1.5),
    Aim("putlog", "mb_per_second", ">=", 1.2, against="direct"),
    Aim("getlog", "mb_per_second", ">=", 1.5),
    Aim("awscli", "mb_per_second", ">=", 1.2),
    Aim("awscli", "stored_bytes", "<=", 0.4),
    Aim("coldget", "p50_ms", "<=", 1.0, "direct", plus=22.0),
    Aim("warmget", "p50_ms", "<=", 1.0, "direct", plus=2.0),
    Aim("coldrange", "p50_ms", "<=", 1.0, "direct", plus=22.0),
    Aim("warmrange", "p50_ms", "<=", 1.0, "direct", plus=2.0),
    Aim("turnput", "p50_ms", "<=", 1.0, "direct", plus=2.0),
    Aim("slowput", "mb_per_second", ">=", 3.0, "direct"),
    Aim("slowget", "mb_per_second", ">=", 3.0, "direct"),
    Aim("peak", "peak_mib", "<=", 0.35),
)


def verdicts(medians: Medians) -> Iterator[Verdict]:
    """Every aim for which the run has both sides, in the order of the aims."""
    stores = dict.fromkeys(store for store, _, _ in medians)
    for aim in AIMS:
        for store in stores:
            base = medians.get((store, aim.row, aim.against))
            for target in GATEWAYS:
                ours = medians.get((store, aim.row, target))
                if store in aim.stores and base and ours and aim.metric in base.metrics and aim.metric in ours.metrics:
                    yield Verdict(aim, store, target, ours.metrics[aim.metric], base.metrics[aim.metric])


def with_peaks(medians: Medians) -> dict[tuple[str, str, str], Sample]:
    """The medians and a row `peak` for each target: the most memory of any row that all targets of its store ran."""
    found = dict(medians)
    for store in dict.fromkeys(store for store, _, _ in medians):
        rows: dict[str, dict[str, float]] = {}
        for (where, row, target), sample in medians.items():
            if where == store and "peak_mib" in sample.metrics:
                rows.setdefault(row, {})[target] = sample.metrics["peak_mib"]
        most = max((len(targets) for targets in rows.values()), default=0)
        common = [targets for targets in rows.values() if len(targets) == most]
        for target in common[0] if common else ():
            peak = max(targets[target] for targets in common if target in targets)
            found[store, "peak", target] = Sample(store, target, "peak", 1, {"peak_mib": peak})
    return found
