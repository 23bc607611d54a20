"""One soak: a gateway, load, looks at it every few seconds, and a verdict."""

import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from servers.gateways import Gateway

from soak.load import BUCKET, Load
from soak.trend import Trend, trends
from soak.vitals import MIB, Vitals, Watcher

SETTLE_SECONDS = 6.0
"""After the load, for connections to close and for the store to clear away what was deleted."""
GARBAGE_BYTES = 16 * MIB
"""Stored beyond the objects that there are, most: what was deleted is cleared away in its time."""
LOOKS = 240
"""At most, however long it takes."""


@dataclass(frozen=True, slots=True)
class Report:
    """What came of it."""

    seconds: float
    done: Counter[str]
    failures: list[str]
    looks: list[Vitals]
    after: Vitals
    """When the load had ended."""
    objects: int
    """Compared at the end."""
    live_bytes: int
    """Of those objects, as clients see them."""

    @property
    def trends(self) -> list[Trend]:
        return trends(self.looks)

    @property
    def faults(self) -> list[str]:
        """What is not as it must be."""
        grown = [f"{row.name} grew by {row.growth:,.0f}, {row.allowed:,.0f} are allowed" for row in self.trends if not row.flat]
        left = [f"{self.after.temp_files} temporary files are left"] if self.after.temp_files else []
        if self.after.objects > self.live_bytes + GARBAGE_BYTES:
            left.append(f"{self.after.objects:,} bytes are stored for objects of {self.live_bytes:,}")
        return [*self.failures, *grown, *left]


def soak(gateway: Gateway, *folders: Path, seconds: float, rate: float, seed: int, say: Callable[[str], None] = print) -> Report:
    """Run it.

    Args:
        gateway: fresh, for this alone.
        folders: as `Watcher` has them.
        seconds: of load.
        rate: actions a second.
        seed: of the load's choices.
        say: takes lines about the progress.
    """
    gateway.client().create_bucket(Bucket=BUCKET)
    watcher, load = Watcher(gateway, *folders), Load(gateway, rate=rate, seed=seed)
    looks = [watcher.look()]
    pause = max(1.0, seconds / LOOKS)
    with load.running():
        while looks[-1].seconds < seconds and not load.failures:
            time.sleep(pause)
            looks.append(watcher.look())
            if len(looks) % 20 == 0:
                now = looks[-1]
                say(f"{now.seconds:6.0f} s  {load.done().total():7,} actions  {now.rss / MIB:6.1f} MiB  {now.descriptors} descriptors")
    objects = load.check() if not load.failures else 0
    time.sleep(SETTLE_SECONDS)
    return Report(looks[-1].seconds, load.done(), load.failures, looks, watcher.look(), objects, load.live_bytes())


def table(report: Report) -> list[str]:
    """The report as Markdown."""
    lines = [
        f"{report.seconds:.0f} s, {report.done.total():,} actions, {report.objects} objects compared at the end",
        ", ".join(f"{name} {count:,}" for name, count in report.done.most_common()),
        "",
        "| figure | start | median | most | end | growth | allowed | after the load |",
        "|---|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for row in report.trends:
        scale, form = (MIB, ",.1f") if row.most > MIB else (1, ",.1f")
        name = f"{row.name}, MiB" if scale == MIB else row.name
        values = (row.first, row.middle, row.most, row.last, row.growth, row.allowed, getattr(report.after, row.name))
        lines.append(f"| {name} | " + " | ".join(format(value / scale, form) for value in values) + " |")
    return [*lines, "", "not flat: " + "; ".join(report.faults) if report.faults else "flat"]
