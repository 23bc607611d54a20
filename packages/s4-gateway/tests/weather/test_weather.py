"""Random schedules of faults over all operations: each outcome is right or an error, never silently wrong."""

import logging
import time
from collections.abc import Iterator
from datetime import UTC, datetime

import pytest

from s4_gateway.testing.weather.faults import TABLE
from s4_gateway.testing.weather.play import Tally
from s4_gateway.testing.weather.schedule import Schedule
from s4_gateway.testing.weather.shrink import shrink

from .small_world import play_small

RANDOM_SCHEDULES = 20
SEEDS_A_DAY = 100_000
"""Schedules that nobody has played before, but the same all day: what failed fails again, and what passed passes."""
SHRINK_SECONDS = 60.0


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    """Without the gateway's log of each fault, which would fill the report of a failure."""
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


def broken_by(schedule: Schedule) -> Exception | None:
    """What a schedule ends in; None if all is right."""
    try:
        play_small(schedule)
    except Exception as error:  # noqa: BLE001 - whatever it is, it is a failure of the schedule
        return error
    return None


def verdict(schedule: Schedule, error: BaseException) -> str:
    """A failure, its smallest form, and the line that repeats it."""
    deadline = time.perf_counter() + SHRINK_SECONDS
    small = shrink(schedule, lambda fewer: time.perf_counter() < deadline and broken_by(fewer) is not None)
    return f"{broken_by(small) or error}\n{small.story()}\npytest tests/weather --schedule {small}"


@pytest.mark.timeout(3600)
def test_schedules(request: pytest.FixtureRequest, capsys: pytest.CaptureFixture[str]) -> None:
    """Whatever goes wrong: what was acknowledged is there byte for byte, nothing that nobody wrote is seen, no condition is overridden, and
    under a clear sky everything can be read and ended again.
    """
    option = request.config.getoption
    given = option("--schedule", default=None)
    first, count = option("--first-seed", default=0), option("--schedules", default=300)
    late = SEEDS_A_DAY * datetime.now(UTC).toordinal()
    schedules = (
        [Schedule.parse(given)]
        if given is not None
        else [Schedule.of(seed) for seed in (*range(first, first + count), *range(late, late + RANDOM_SCHEDULES))]
    )
    tally, began = Tally(), time.perf_counter()
    for schedule in schedules:
        try:
            play_small(schedule, tally)
        except Exception as error:  # noqa: BLE001 - whatever it is, it is shrunk and told
            pytest.fail(verdict(schedule, error))
    with capsys.disabled():
        print(f"\n{tally.table()}\nseeds of the day from {late}; {time.perf_counter() - began:.0f} s")  # noqa: T201 - the report


def test_same_seed_same_course() -> None:
    """A schedule takes the same course each time, so that what failed once fails again."""
    tallies = [Tally(), Tally()]
    for tally in tallies:
        for seed in range(5):
            play_small(Schedule.of(seed), tally)
    assert tallies[0] == tallies[1]


def test_every_fault_strikes() -> None:
    """No row of the table is idle: each fault hits something within few schedules that know no other."""
    idle = []
    for name in TABLE:
        tally = Tally()
        for seed in range(12):
            play_small(Schedule.of(seed, (name,)), tally)
            if tally.faults[name]:
                break
        else:
            idle.append(name)
    assert not idle


def test_schedules_can_be_written_down() -> None:
    """What a schedule prints gives it back, whole or shrunk."""
    whole = Schedule.of(7)
    some = Schedule.parse(f"7:{whole.steps[0][0]}.,{whole.steps[-1][0]}")
    assert Schedule.parse(str(whole)) == whole
    assert Schedule.parse(str(some)) == some
    assert len(some.steps) == 2
    with pytest.raises(ValueError, match="no schedule"):
        Schedule.parse("7:a")


def test_shrinking_finds_the_culprit() -> None:
    """Of a schedule that fails because of one step only this one is left."""
    whole = Schedule.of(7)
    culprit = whole.steps[-2]
    small = shrink(whole, lambda schedule: any(position == culprit[0] for position, _ in schedule.steps))
    assert [position for position, _ in small.steps] == [culprit[0]]
    assert small.steps[0][1].strikes == ()
