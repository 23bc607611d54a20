"""Histories by number, and what is left of one that fails when everything is taken away that it does not need."""

import asyncio
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from random import Random

import pytest
from s4_codecs import policy
from s4_format import CodecId

from s4_gateway.backend.abc import Capabilities
from s4_gateway.objects import body, put
from s4_gateway.objects.uploads import manifest

from .history import History, Seen, Wrong
from .steps import BUCKETS, Generator, Scale, Step, simpler
from .uploads import Rules
from .world import Clock, InMemory, Local, OverHttp, Store, World, opened, store_options

KIB = 1024
MIB = KIB * KIB
LONG_AGO = 40 * 24 * 3600
"""Seconds that the stores' clocks are behind: everything is old enough to be swept at any time."""

FRAME = 4 * KIB
SMALL = Scale(
    sizes=(0, 1, 100, 3000, FRAME, 3 * FRAME, 40 * KIB, 100 * KIB),
    weights=(2, 2, 4, 4, 3, 4, 3, 1),
    part_sizes=(0, 1, 500, 16 * KIB, 20 * KIB, 50 * KIB),
    part_weights=(1, 2, 2, 6, 6, 2),
    min_part=16 * KIB,
)
"""A world of small numbers: frames of 4 KiB, objects streamed above 32 KiB, parts of 16 KiB."""
FULL = Scale(
    sizes=(0, 100, 40_000, 600_000, 1_600_000, 9 * MIB),
    weights=(2, 10, 10, 4, 2, 1),
    part_sizes=(100, 5 * MIB + 1, 6 * MIB),
    part_weights=(4, 3, 2),
    min_part=5 * MIB,
)
"""The limits as they are."""


@dataclass(frozen=True, slots=True)
class Setting:
    """Where a history plays."""

    store: str
    """memory (ETags that are no MD5s), strict (memory that wants equal parts), racing (memory, steps taken at once), local, http."""
    scale: Scale
    keeps_state: bool = True
    """Whether the gateways have state files; otherwise a restart loses all that they know."""

    @property
    def small(self) -> bool:
        """Whether the product's limits are made smaller."""
        return self.scale is SMALL

    def make(self, folder: Path) -> World:
        """A world that is not started yet."""
        clock = Clock(time.time() - LONG_AGO)
        small = self.small
        options = store_options(part_size=16 * KIB if small else 8 * MIB, frame_size=FRAME if small else 512 * KIB)
        return World(self._store(clock, folder), clock, folder, options, self.keeps_state, BUCKETS[:2])

    def _store(self, clock: Clock, folder: Path) -> Store:
        least = self.scale.min_part
        match self.store:
            case "local":
                return Local(clock, folder / "store")
            case "http":
                return OverHttp(clock, Capabilities(min_part_size=least))
            case "racing":
                return InMemory(clock, Capabilities(min_part_size=least), has_md5s=False, random=Random(1))
            case "strict":
                return InMemory(clock, Capabilities(min_part_size=least, strict_parts=True), has_md5s=True)
            case _:
                return InMemory(clock, Capabilities(min_part_size=least), has_md5s=False)


@contextmanager
def scaled(*, small: bool) -> Iterator[None]:
    """The product with smaller limits. They are constants and no settings, because S3 or the stored format gives them."""
    if not small:
        yield
        return
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(policy, "DEFAULT_FRAME_BYTES", 2 * FRAME)
        patch.setitem(policy._CODEC_FRAME_BYTES, CodecId.PASSTHROUGH, FRAME)
        patch.setattr(put, "BUFFERED_LIMIT", 32 * KIB)
        patch.setattr(put, "AT_ONCE_BYTES", KIB)
        patch.setattr(body, "AT_ONCE_BYTES", KIB)
        patch.setattr(manifest, "MIN_LOGICAL_PART", SMALL.min_part)
        yield


async def _play(setting: Setting, steps: Sequence[Step], seen: Seen) -> None:
    with tempfile.TemporaryDirectory(prefix="s4-model-") as folder:
        async with opened(setting.make(Path(folder))) as world:
            await History(world, rules=Rules(setting.scale.min_part), frame_size=FRAME, seen=seen).play(steps)


def play(setting: Setting, steps: Sequence[Step], seen: Seen | None = None) -> None:
    """Play steps.

    Raises:
        Wrong: an answer was not S3's.
    """
    with scaled(small=setting.small):
        asyncio.run(_play(setting, steps, seen or Seen()))


def steps_of(setting: Setting, seed: str, count: int) -> list[Step]:
    """The steps of one history."""
    return Generator(Random(seed), setting.scale, races=setting.store == "racing").steps(count)


def shrunk(setting: Setting, steps: Sequence[Step], wrong: Wrong, *, seconds: float) -> tuple[list[Step], Wrong]:
    """A shorter history that fails too, as far as time allows: steps are left out, in ever smaller runs, then what steps need not say."""
    deadline = time.monotonic() + seconds
    best, why = list(steps[: wrong.at + 1]), wrong

    def fails(candidate: list[Step]) -> bool:
        nonlocal best, why
        if time.monotonic() > deadline:
            return False
        try:
            play(setting, candidate)
        except Wrong as found:
            best, why = candidate[: found.at + 1], found
            return True
        return False

    run = max(1, len(best) // 2)
    while run:
        at = 0
        while at < len(best):
            if not fails(best[:at] + best[at + run :]):
                at += run
        run //= 2
    for at in range(len(best)):
        if at < len(best):
            for other in simpler(best[at]):
                fails([*best[:at], other, *best[at + 1 :]])
    return best, why


def fails(setting: Setting, steps: Sequence[Step], seen: Seen | None = None, *, seconds: float = 60.0) -> str | None:
    """The story of a history that fails, shortened as far as `seconds` allow; None for one that is right."""
    try:
        play(setting, steps, seen)
    except Wrong as wrong:
        return story(setting, *shrunk(setting, steps, wrong, seconds=seconds))
    return None


def story(setting: Setting, steps: Sequence[Step], wrong: Wrong) -> str:
    """A failure for people: what to paste into a test, and what was wrong."""
    lines = "\n".join(f"    {step!r}," for step in steps)
    return (
        f"store {setting.store}, {'small' if setting.small else 'full'} scale, state files: {setting.keeps_state}\n[\n{lines}\n]\n{wrong}"
    )
