"""Makes a failing schedule small: steps and strikes that it fails without are left out."""

from collections.abc import Callable
from dataclasses import replace

from s4_gateway.testing.weather.schedule import Schedule

Fails = Callable[[Schedule], bool]


def shrink(schedule: Schedule, fails: Fails) -> Schedule:
    """The smallest schedule that is found by leaving out; it still fails, whatever with.

    Args:
        schedule: fails.
        fails: plays a schedule. It is called some dozen times.
    """
    while True:
        smaller = _without_strikes(_without_steps(schedule, fails), fails)
        if smaller == schedule:
            return schedule
        schedule = smaller


def _without_steps(schedule: Schedule, fails: Fails) -> Schedule:
    width = max(1, len(schedule.steps) // 2)
    while width:
        at = 0
        while at < len(schedule.steps):
            fewer = replace(schedule, steps=schedule.steps[:at] + schedule.steps[at + width :])
            if fewer.steps and fails(fewer):
                schedule = fewer
            else:
                at += width
        width //= 2
    return schedule


def _without_strikes(schedule: Schedule, fails: Fails) -> Schedule:
    for at, (position, step) in enumerate(schedule.steps):
        for strike in step.strikes:
            kept = tuple(each for each in schedule.steps[at][1].strikes if each is not strike)
            changed = (position, replace(step, strikes=kept))
            fewer = replace(schedule, steps=(*schedule.steps[:at], changed, *schedule.steps[at + 1 :]))
            if fails(fewer):
                schedule = fewer
    return schedule
