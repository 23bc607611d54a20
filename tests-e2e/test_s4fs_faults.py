"""s4fs in hard weather: a proxy cuts bodies, refuses, answers into the void and lets others overwrite; what comes is right or an error."""

import asyncio
import errno
import random
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from clients.filesystems import filesystem, target_options
from s4_codecs.testing.workloads import WORKLOADS
from s4_gateway.testing.weather.faults import READS, TABLE, WRITES, Kind
from s4_gateway.testing.weather.sky import Sky, Strike
from servers.behind import Stored
from servers.stores import Store
from servers.weather import PLAYED, Weather

pytestmark = pytest.mark.servers("versitygw")

KIB, MIB = 1 << 10, 1 << 20
LANES = 6
"""Cases at once: most of their time is waiting before a request is repeated."""
SECONDS = 12.0
"""How long cases are begun; at least `LEAST` are."""
LEAST = 60
MOST_SECONDS = 120.0
MOST_REQUESTS = 150
"""Of one case: repetition ends."""
FOR_EVER = 1 << 20

LOG, OTHER_LOG = WORKLOADS["log"](9 * MIB), WORKLOADS["nginx"](9 * MIB)
NOISE = WORKLOADS["noise"](22 * MIB)
BODIES = {
    "frames": (LOG, OTHER_LOG),
    "one frame": (LOG[: 200 * KIB], OTHER_LOG[: 150 * KIB]),
    "as it is": (NOISE[: 3 * MIB], NOISE[3 * MIB : 7 * MIB]),
}
"""Name -> what lies there, and what somebody else writes over it."""
RANGES = [(0, 10), (70_000, 140_000), (-1000, None), (MIB - 5, MIB + 5), (100, 50_000)]

Read = Callable[[Any, str, Path], object]
Same = Callable[[bytes], object]


def _whole(fs: Any, path: str, local: Path) -> object:
    return fs.cat_file(path)


def _ranges(fs: Any, path: str, local: Path) -> object:
    starts, stops = zip(*RANGES, strict=True)
    return fs.cat_ranges([path] * len(RANGES), list(starts), list(stops), on_error="raise")


def _opened(fs: Any, path: str, local: Path) -> object:
    with fs.open(path, "rb") as file:
        file.seek(-1000, 2)
        end = file.read()
        file.seek(50_000)
        return [end, file.read(70_000)]


def _streamed(fs: Any, path: str, local: Path) -> object:
    with fs.open(path, "rb") as file:
        return b"".join(iter(lambda: file.read(MIB), b""))


def _size(fs: Any, path: str, local: Path) -> object:
    return fs.info(path)["size"]


def _listed(fs: Any, path: str, local: Path) -> object:
    return [(entry["name"], entry["size"]) for entry in fs.ls(path.rpartition("/")[0], detail=True) if entry["name"] == path]


def _downloaded(fs: Any, path: str, local: Path) -> object:
    fs.get_file(path, str(local))
    return local.read_bytes()


READING: Mapping[str, tuple[Read, Same]] = {
    "whole": (_whole, bytes),
    "ranges": (_ranges, lambda body: [body[start:stop] for start, stop in RANGES]),
    "opened": (_opened, lambda body: [body[-1000:], body[50_000:120_000]]),
    "streamed": (_streamed, bytes),
    "size": (_size, len),
    "listed": (_listed, len),
    "downloaded": (_downloaded, bytes),
}
"""Name -> the work, and what it gives for a body; a listing's row is put together in `_expected`."""


def _expected(work: str, body: bytes, path: str) -> object:
    told = READING[work][1](body)
    return [(path, told)] if work == "listed" else told


@dataclass(frozen=True, slots=True)
class Case:
    """One operation under one fault."""

    strike: Strike
    work: str
    body: str
    """Of BODIES."""

    def __str__(self) -> str:
        return f"{self.work} of {self.body} under {self.strike}"


@dataclass(slots=True)
class Lane:
    """A file system that sees the store through weather of its own, and objects that no other lane touches."""

    store: Store
    weather: Weather
    fs: Any
    folder: str
    local: Path
    stored: Mapping[str, tuple[Stored, Stored]]
    """The bodies as they lie in the store."""
    problems: list[str] = field(default_factory=list)
    played: int = 0

    def path(self, body: str) -> str:
        return f"{self.folder}/{body}"

    async def put(self, body: str, which: int) -> None:
        bucket, _, key = self.path(body).partition("/")
        await asyncio.to_thread(self.store.behind.put, bucket, key, self.stored[body][which])

    async def play(self, case: Case, work: Callable[[], object]) -> object:
        """What the work gives under the case's fault, or its error; anything but OSError is a problem."""
        sky = self.weather.sky = Sky()
        sky.rival = lambda: self.put(case.body, 1)
        sky.begin(0, [case.strike])
        self.fs.invalidate_cache()
        self.played += 1
        began = time.monotonic()
        outcome: object
        try:
            outcome = await asyncio.to_thread(work)
        except OSError as error:
            outcome = error
        except Exception as error:  # noqa: BLE001  whatever it is, it is told with its case
            outcome = error
            self.problems.append(f"{case}: {error!r}")
        took = time.monotonic() - began
        if took > MOST_SECONDS or sky.requests > MOST_REQUESTS:
            self.problems.append(f"{case}: {sky.requests} requests in {took:.0f} s")
        return outcome


@asynccontextmanager
async def lanes(store: Store, bucket: str, tmp_path: Path, **client: Any) -> AsyncIterator[Sequence[Lane]]:
    """All lanes, their objects in the store; `client` are options of botocore's client."""
    assert store.process is not None
    stored = {}
    plain = filesystem(store)
    for name, bodies in BODIES.items():
        pair = []
        for body in bodies:
            await asyncio.to_thread(plain.pipe_file, f"{bucket}/made", body)
            pair.append(await asyncio.to_thread(store.behind.get, bucket, "made"))
        stored[name] = (pair[0], pair[1])
    async with AsyncExitStack() as stack:
        made = []
        for number in range(LANES):
            weather = Weather(store.process.port, Sky())
            await stack.enter_async_context(weather.over())
            options = {**target_options(store, port=weather.port), "config_kwargs": client}
            fs = filesystem(store, target_options=options)
            lane = Lane(store, weather, fs, f"{bucket}/lane-{number}", tmp_path / str(number), stored)
            for name in BODIES:
                await lane.put(name, 0)
            made.append(lane)
        yield made


async def run(lanes: Sequence[Lane], cases: Sequence[Case], play: Callable[[Lane, Case], Any]) -> None:
    """Play cases, each on the lane that is free, as far as the time goes; all that was wrong is told at once."""
    began, left = time.monotonic(), list(reversed(cases))

    async def drive(lane: Lane) -> None:
        while left and (len(cases) - len(left) < LEAST or time.monotonic() - began < SECONDS):
            await play(lane, left.pop())

    async with asyncio.TaskGroup() as group:
        for lane in lanes:
            group.create_task(drive(lane))
    print(f"{len(cases) - len(left)} of {len(cases)} cases in {time.monotonic() - began:.0f} s")
    problems = [problem for lane in lanes for problem in lane.problems]
    assert not problems, "\n".join(problems)


def _cases(kinds: frozenset[Kind], works: Sequence[str], bodies: Sequence[str]) -> list[Case]:
    """Every fault that can hit these kinds of requests, with every work; each hits at first, later, or again and again. Always the same."""
    chosen = random.Random(11)

    def strike(fault: str) -> Strike:
        return Strike(fault, nth=chosen.choice((0, 0, 1, 2)), times=chosen.choice((1, 1, 2)), dose=chosen.randrange(100))

    faults = [name for name in PLAYED if TABLE[name].hits & kinds and TABLE[name].lie is None]
    cases = [Case(strike(fault), work, chosen.choice(bodies)) for fault in faults for work in works]
    chosen.shuffle(cases)
    return cases


async def test_reads(store: Store, bucket: str, tmp_path: Path) -> None:
    """Every read gives one version of the object, whole, or an OSError, after a bounded number of requests."""

    async def play(lane: Lane, case: Case) -> None:
        path, (work, _) = lane.path(case.body), READING[case.work]
        outcome = await lane.play(case, lambda: work(lane.fs, path, lane.local))
        right = [_expected(case.work, body, path) for body in BODIES[case.body]]
        if not isinstance(outcome, Exception) and outcome not in right[: 2 if TABLE[case.strike.fault].rival else 1]:
            lane.problems.append(f"{case}: gave something else, {str(outcome)[:80]}")
        if TABLE[case.strike.fault].rival:
            await lane.put(case.body, 0)

    async with lanes(store, bucket, tmp_path) as made:
        await run(made, _cases(READS, list(READING), list(BODIES)), play)


@pytest.mark.parametrize("faults", [["refused-503", "cut-body"], ["slow-down", "lost"]], ids=["once", "on two levels"])
async def test_reads_end_where_the_fault_does_not(store: Store, bucket: str, tmp_path: Path, faults: list[str]) -> None:
    """A store that never gets better is an OSError before long, not an endless repetition."""

    async def play(lane: Lane, case: Case) -> None:
        outcome = await lane.play(case, lambda: lane.fs.cat_file(lane.path(case.body)))
        if not isinstance(outcome, OSError):
            lane.problems.append(f"{case}: gave {str(outcome)[:80]}")

    # What s3fs repeats too, botocore need not: it would be the same for three quarters of a minute.
    client = {"retries": {"total_max_attempts": 1}} if "lost" in faults else {}
    async with lanes(store, bucket, tmp_path, **client) as made:
        await run(made, [Case(Strike(fault, times=FOR_EVER), "whole", body) for fault in faults for body in BODIES], play)


WRITING: Mapping[str, int] = {"piped": 200 * KIB, "piped large": len(NOISE), "streamed": len(NOISE), "copied": 0, "removed": 0}
"""Name -> bytes of what is written."""


def _write(lane: Lane, work: str, path: str) -> None:
    match work:
        case "piped" | "piped large":
            lane.fs.pipe_file(path, NOISE[: WRITING[work]])
        case "streamed":
            with lane.fs.open(path, "wb") as file:
                for start in range(0, len(NOISE), MIB):
                    file.write(NOISE[start : start + MIB])
        case "copied":
            lane.fs.cp_file(lane.path("frames"), path)
        case "removed":
            lane.fs.rm_file(path)


async def test_writes(store: Store, bucket: str, tmp_path: Path) -> None:
    """A write that ends well is there; one that fails has left what was there before or all of the new; nothing else is ever read."""
    clear = filesystem(store)

    async def play(lane: Lane, case: Case) -> None:
        path = lane.path(case.body)
        await lane.put(case.body, 0)
        outcome = await lane.play(case, lambda: _write(lane, case.work, path))
        before, rivals = BODIES[case.body]
        after = {"copied": LOG, "removed": None}.get(case.work, NOISE[: WRITING[case.work]])
        possible = [after] if outcome is None else [after, before]
        if TABLE[case.strike.fault].rival:
            possible.append(rivals)
        found = await asyncio.to_thread(_content, clear, path)
        if found not in possible:
            lane.problems.append(f"{case}: {outcome!r} and then {'nothing' if found is None else f'{len(found)} other bytes'}")

    async with lanes(store, bucket, tmp_path) as made:
        await run(made, _cases(WRITES, list(WRITING), ["one frame", "as it is"]), play)


def _content(fs: Any, path: str) -> bytes | None:
    """What an object holds; None where there is none."""
    fs.invalidate_cache()
    try:
        return bytes(fs.cat_file(path))
    except FileNotFoundError:
        return None


def test_an_object_replaced_between_two_ranges(store: Store, bucket: str) -> None:
    """An open file reads on from the version that it began with, or says that the file has changed; a new one reads the new object."""
    fs = filesystem(store)
    path = f"{bucket}/key"
    for first, second in ((LOG, OTHER_LOG), (LOG, NOISE[: 9 * MIB]), (NOISE[: 9 * MIB], LOG)):
        fs.pipe_file(path, first)
        with fs.open(path, "rb") as file:
            assert file.read(1000) == first[:1000]
            filesystem(store).pipe_file(path, second)
            file.seek(8 * MIB)
            assert _rest_or_error(file) in (first[8 * MIB : 8 * MIB + 1000], errno.ESTALE)
        assert fs.cat_file(path, start=8 * MIB, end=8 * MIB + 1000) == second[8 * MIB : 8 * MIB + 1000]
        with fs.open(path, "rb") as file:
            assert file.read() == second


def _rest_or_error(file: Any) -> bytes | int | None:
    try:
        return bytes(file.read(1000))
    except OSError as error:
        return error.errno
