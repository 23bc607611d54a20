"""The run: stores and targets are started, every row is measured round-robin over the targets, every sample is kept at once."""

import os
import platform
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from programs import program
from servers.stores import EMBEDDED, Store, running_store

from benchmarks.ground import Ground
from benchmarks.link import Far, linked
from benchmarks.rows import LINKS, NEAR, ROWS
from benchmarks.samples import Run, Sample
from benchmarks.targets import NEEDS_SERVER, Starter, version

STORE_OPTIONS: Mapping[str, tuple[str, ...]] = {"versitygw": ("--keep-alive",)}
"""Without it versitygw closes the connection behind each answer, and every target would be measured connecting."""
_MARGIN = 1.3
"""A round is begun only if so many times what the longest took is left of the time."""


class OutOfTimeError(Exception):
    """The time given to this slice is used up; what was measured is kept."""


@dataclass(slots=True)
class Clock:
    """The time given to a slice."""

    budget: float | None
    started: float = field(default_factory=time.monotonic)
    longest: float = 0.0

    @contextmanager
    def round(self) -> Iterator[None]:
        """One round; OutOfTimeError instead of a beginning that would not end in time."""
        now = time.monotonic()
        if self.budget is not None and now - self.started + self.longest * _MARGIN > self.budget:
            raise OutOfTimeError
        yield
        self.longest = max(self.longest, time.monotonic() - now)


@dataclass(frozen=True, slots=True)
class Plan:
    """What is to be measured."""

    stores: Sequence[str]
    rows: Sequence[str]
    targets: Mapping[str, Starter]
    rounds: int
    seconds: int
    file: Path

    def missing(self, run: Run, store: str, row: str) -> list[tuple[int, list[str]]]:
        """The rounds that lack targets, and which."""
        names = [name for name in self.targets if store != EMBEDDED or name not in NEEDS_SERVER]
        lacking = ((number, [name for name in names if not run.has(store, row, name, number)]) for number in range(self.rounds))
        return [(number, targets) for number, targets in lacking if targets]


def measure(plan: Plan, run: Run, clock: Clock) -> Iterator[Sample]:
    """All samples that the run lacks, each kept in the file before it is yielded.

    Raises:
        OutOfTimeError: not all could be taken in time.
    """
    for store in plan.stores:
        for setting in dict.fromkeys(ROWS[name].setting for name in plan.rows):
            rows = [name for name in plan.rows if ROWS[name].setting == setting and (store != EMBEDDED or setting == NEAR)]
            rows = [name for name in rows if plan.missing(run, store, name)]
            if rows:
                yield from _measure_rows(plan, run, clock, store, rows, setting)


def _measure_rows(plan: Plan, run: Run, clock: Clock, store: str, rows: list[str], setting: str) -> Iterator[Sample]:
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="s4-bench-")))
        running = stack.enter_context(running_store(store, folder, *STORE_OPTIONS.get(store, ())))
        far = None if setting == NEAR else stack.enter_context(linked(running, LINKS[setting]))
        grounds = Grounds(plan, far.store if far else running, far, folder, stack)
        for row in rows:
            for number, targets in plan.missing(run, store, row):
                with clock.round():
                    for name in targets:
                        metrics, backend = ROWS[row].measure(grounds[name], number)
                        run.samples.append(Sample(store, name, row, number, metrics, backend))
                        run.save(plan.file)
                        yield run.samples[-1]


@dataclass(slots=True)
class Grounds:
    """Targets of one store, started when first asked for."""

    plan: Plan
    store: Store
    far: Far | None
    folder: Path
    stack: ExitStack
    _started: dict[str, Ground] = field(default_factory=dict)

    def __getitem__(self, name: str) -> Ground:
        if name not in self._started:
            target = self.stack.enter_context(self.plan.targets[name](self.store, self.folder, name))
            self._started[name] = Ground(target, self.plan.seconds, self.plan.rounds, self.folder, self.far)
        return self._started[name]


def note(run: Run, plan: Plan, reference: Path | None) -> None:
    """Write down what this part of the run is taken with: machine, kernel, commits, versions."""
    model = next((line.partition(": ")[2] for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")), "?")
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    known = run.facts
    known["machine"] = f"{os.cpu_count()} cores ({model}), {memory:.0f} GiB"
    known["kernel"] = platform.release()
    known["python"] = platform.python_version()
    known["seconds"] = plan.seconds
    known["commits"] = list(dict.fromkeys([*known.get("commits", ()), _commit()]))
    # The cache folder of a server is named after the module and version that it was built from.
    servers = [program(store).parent.name for store in plan.stores if store != EMBEDDED]
    known["stores"] = list(dict.fromkeys([*known.get("stores", ()), *servers]))
    if reference is not None:
        known["reference"] = version(reference)


def _commit() -> str:
    if shutil.which("git") is None:
        return "unknown"
    here = Path(__file__).parent
    told = subprocess.run(["git", "describe", "--always", "--dirty"], cwd=here, capture_output=True, text=True, check=False)
    return told.stdout.strip() or "unknown"
