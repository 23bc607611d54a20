"""All figures of one process at a moment: what workers tell each other, and the sum of them that /metrics shows."""

import marshal
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Self

from s4_gateway.observe.families import FAMILIES, Labels

CPU = "process_cpu_seconds_total"
PROCESS_START = "process_start_time_seconds"


@dataclass(slots=True)
class Snapshot:
    """Figures by metric name."""

    counters: dict[str, dict[Labels, float]] = field(default_factory=lambda: {one.name: {} for one in FAMILIES if one.kind == "counter"})
    histograms: dict[str, dict[str, list[float]]] = field(
        default_factory=lambda: {one.name: {} for one in FAMILIES if one.kind == "histogram"}
    )
    """Label -> counts per bucket, +Inf included, then the sum of all observations."""
    gauges: dict[str, float] = field(default_factory=dict)
    process: dict[str, float] = field(default_factory=dict)
    """What the operating system tells about the process, by exported name."""
    started: float = 0.0
    """Seconds since the epoch."""

    def pack(self) -> bytes:
        """As bytes for another process of the same gateway: both run the same interpreter, which is all that marshal asks for."""
        return marshal.dumps((self.counters, self.histograms, self.gauges, self.process, self.started))

    @classmethod
    def unpack(cls, packed: bytes) -> Self:
        """The inverse."""
        return cls(*marshal.loads(packed))  # noqa: S302 - memory that only our own processes can write


def summed(living: Iterable[Snapshot], gone: Iterable[Snapshot] = ()) -> Snapshot:
    """Figures of several processes as if they were one.

    Args:
        living: count in full; at least one.
        gone: processes that ended: what they counted stays counted, but nothing of them is open or in use.
    """
    first, *others = living
    total = Snapshot.unpack(first.pack())
    for one in others:
        _count(total, one)
        for name, value in one.gauges.items():
            total.gauges[name] = total.gauges.get(name, 0.0) + value
        for name, value in one.process.items():
            known = total.process.get(name)
            total.process[name] = value if known is None else min(known, value) if name == PROCESS_START else known + value
    for one in gone:
        _count(total, one)
        if CPU in total.process:
            total.process[CPU] += one.process.get(CPU, 0.0)
    return total


def _count(total: Snapshot, one: Snapshot) -> None:
    for name, tally in one.counters.items():
        sums = total.counters[name]
        for labels, value in tally.items():
            sums[labels] = sums.get(labels, 0.0) + value
    for name, rows in one.histograms.items():
        known = total.histograms[name]
        for label, row in rows.items():
            known[label] = [a + b for a, b in zip(known[label], row, strict=True)] if label in known else [*row]
    total.started = min(total.started, one.started)
