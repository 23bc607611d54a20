"""Samples of one run: what was measured, kept in a file, and the medians over rounds."""

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import median
from typing import Any


@dataclass(frozen=True, slots=True)
class Metric:
    """One measured quantity."""

    heading: str
    short: str
    """Heading where room is scarce."""
    form: str
    """Format specification of a table cell."""


METRICS: Mapping[str, Metric] = {
    "rate": Metric("requests/s", "req/s", ",.0f"),
    "mb_per_second": Metric("MB/s", "MB/s", ",.0f"),
    "p50_ms": Metric("p50 ms", "p50", ",.1f"),
    "p99_ms": Metric("p99 ms", "p99", ",.1f"),
    "cpu_us": Metric("gateway CPU us/request", "CPU us", ",.0f"),
    "all_cpu_us": Metric("with backend", "all us", ",.0f"),
    "cpu_s_per_gb": Metric("gateway CPU s/GB", "CPU s/GB", ",.2f"),
    "all_cpu_s_per_gb": Metric("with backend s/GB", "all s/GB", ",.2f"),
    "peak_mib": Metric("peak MiB", "MiB", ",.0f"),
    "stored_bytes": Metric("stored bytes", "stored", ",.0f"),
    "load_share": Metric("load generator's share of a core", "load", ".0%"),
    "failures": Metric("failed", "failed", ",.0f"),
}
"""MB and GB are powers of ten of original bytes; CPU is user and system time; memory is that of the gateway's processes together,
and of the store's where it is measured directly."""


@dataclass(frozen=True, slots=True)
class Sample:
    """One measurement."""

    store: str
    target: str
    row: str
    round: int
    metrics: Mapping[str, float]
    backend: Mapping[str, float] = field(default_factory=dict)
    """Backend requests per client request, by operation, where they are known."""

    @property
    def place(self) -> tuple[str, str, str]:
        """Store, row and target: what rounds are repeated for."""
        return self.store, self.row, self.target


@dataclass(slots=True)
class Run:
    """All samples of one run, and what they were taken with."""

    facts: dict[str, Any] = field(default_factory=dict)
    """Machine, versions and commits."""
    samples: list[Sample] = field(default_factory=list)

    @classmethod
    def load(cls, path: Path) -> "Run":
        """The run kept in a file; an empty one where there is none."""
        if not path.exists():
            return cls()
        kept = json.loads(path.read_text(encoding="utf-8"))
        return cls(kept["facts"], [Sample(**one) for one in kept["samples"]])

    def save(self, path: Path) -> None:
        """Write it, whole or not at all."""
        lines = ",\n".join("  " + json.dumps(asdict(one), sort_keys=True) for one in sorted(self.samples, key=lambda one: one.place))
        partial = path.with_name(path.name + ".partial")
        partial.write_text(f'{{"facts": {json.dumps(self.facts, sort_keys=True)},\n "samples": [\n{lines}\n]}}\n', encoding="utf-8")
        partial.replace(path)

    def has(self, store: str, row: str, target: str, number: int) -> bool:
        """Whether this round was measured."""
        return any(one.place == (store, row, target) and one.round == number for one in self.samples)

    def medians(self) -> dict[tuple[str, str, str], Sample]:
        """One sample for each (store, row, target): the median of every metric over its rounds."""
        return {place: combined(list(group)) for place, group in _grouped(self.samples).items()}


def _grouped(samples: Iterable[Sample]) -> dict[tuple[str, str, str], list[Sample]]:
    groups: dict[tuple[str, str, str], list[Sample]] = {}
    for one in samples:
        groups.setdefault(one.place, []).append(one)
    return groups


def combined(rounds: list[Sample]) -> Sample:
    """The rounds of one place as one sample: medians; failures are summed, for none may hide."""
    first = rounds[0]
    metrics = {name: median(_values(rounds, name)) for name in first.metrics if name != "failures"}
    if failures := sum(_values(rounds, "failures")):
        metrics["failures"] = failures
    names = dict.fromkeys(name for one in rounds for name in one.backend)
    backend = {name: median(one.backend.get(name, 0.0) for one in rounds) for name in names}
    return Sample(first.store, first.target, first.row, len(rounds), metrics, backend)


def _values(rounds: list[Sample], name: str) -> Iterator[float]:
    return (one.metrics[name] for one in rounds if name in one.metrics)
