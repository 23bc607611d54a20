"""From a schedule to a verdict: all steps, then a clear sky under which everything is read back."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import partial

from s4_gateway.testing.weather import reading, uploading, writing
from s4_gateway.testing.weather.drive import Act, Play, Stage, World
from s4_gateway.testing.weather.oracle import Open, Upload, Violation
from s4_gateway.testing.weather.schedule import KEYS, Schedule, Step, Verb

THOUGHT_SECONDS = 0.01
"""Between two requests of the clients."""


async def wait(stage: Stage, act: Act) -> bool:
    """A pause of some milliseconds up to some minutes."""
    await stage.world.wait((0.3, 1.1, 65.0, 400.0)[act.step.pick % 4])
    return True


PLAYS: Mapping[Verb, Play] = {
    Verb.PUT: writing.put,
    Verb.PUT_IF_ABSENT: writing.put_if_absent,
    Verb.PUT_IF_MATCH: writing.put_if_match,
    Verb.GET: reading.get,
    Verb.GET_RANGE: reading.get_range,
    Verb.GET_PART: reading.get_part,
    Verb.HEAD: reading.head,
    Verb.ATTRIBUTES: reading.attributes,
    Verb.LIST: reading.list_objects,
    Verb.COPY: writing.copy,
    Verb.RELABEL: writing.relabel,
    Verb.DELETE: writing.delete,
    Verb.DELETE_MANY: writing.delete_many,
    Verb.CREATE: uploading.create,
    Verb.PART: uploading.part,
    Verb.PART_COPY: uploading.part_copy,
    Verb.COMPLETE: uploading.complete,
    Verb.COMPLETE_IF_ABSENT: uploading.complete,
    Verb.COMPLETE_AGAIN: uploading.complete_again,
    Verb.ABORT: uploading.abort,
    Verb.LIST_PARTS: uploading.list_parts,
    Verb.LIST_UPLOADS: uploading.list_uploads,
    Verb.WAIT: wait,
}


@dataclass(slots=True)
class Tally:
    """What schedules came to."""

    schedules: int = 0
    requests: int = 0
    faults: Counter[str] = field(default_factory=Counter)
    outcomes: Counter[str] = field(default_factory=Counter)
    deviations: Counter[str] = field(default_factory=Counter)

    def add(self, stage: Stage) -> None:
        """One more."""
        self.schedules += 1
        self.requests += stage.sky.requests
        self.faults.update(stage.sky.totals)
        self.outcomes.update(stage.outcomes)
        self.deviations.update(stage.oracle.deviations)

    def table(self) -> str:
        """All of it, as text."""
        rows = [f"{self.schedules} schedules, {self.requests} requests to the store, {self.faults.total()} of them struck"]
        for title, counts in (("faults", self.faults), ("outcomes", self.outcomes), ("explained by a lie alone", self.deviations)):
            rows.append(f"{title}: " + ", ".join(f"{name} {count}" for name, count in counts.most_common()))
        return "\n".join(rows)


async def play(schedule: Schedule, world: World, tally: Tally | None = None) -> None:
    """Play a schedule to its end.

    Raises:
        Violation: an outcome is silently wrong, or an error without a reason; its notes tell the step.
    """
    stage = Stage(schedule, world)
    for serial, step in schedule.steps:
        await _step(stage, serial, step)
    world.sky.begin(-1, ())
    world.sky.clear()
    await world.settle()
    stage.settle_landed()
    await _read_back(stage, schedule)
    if tally is not None:
        tally.add(stage)


async def _step(stage: Stage, serial: int, step: Step) -> None:
    act = Act(step, serial, stage.world.clients[step.client])
    stage.sky.begin(serial, step.strikes)
    stage.sky.rival = partial(stage.rival, act)
    try:
        for _ in range(step.tries):
            done = await PLAYS[step.verb](stage, act)
            stage.oracle.step_ended(serial)
            stage.settle_landed()
            await stage.world.wait(THOUGHT_SECONDS)
            if done:
                return
    except Violation as violation:
        violation.add_note(f"in step {serial}: {step}")
        raise


async def _read_back(stage: Stage, schedule: Schedule) -> None:
    """The sky is clear: every gateway tells the same of every key, and what is open can be ended."""
    plain = Step(Verb.GET, client=0, key=0, other=0, slot=0, body=0, pick=0, tries=1)
    serial = 10_000
    for verb, keys in ((Verb.GET, KEYS), (Verb.HEAD, KEYS), (Verb.GET_RANGE, KEYS), (Verb.LIST, KEYS[:1])):
        for key in range(len(keys)):
            for client in range(len(stage.world.clients)):
                serial += 1
                await _step(stage, serial, replace(plain, verb=verb, key=key, client=client))
    for slot, upload in stage.slots.items():
        serial += 1
        await _end(stage, serial, replace(plain, slot=slot), upload)
    for key in range(len(KEYS)):
        serial += 1
        await _step(stage, serial, replace(plain, key=key))


async def _end(stage: Stage, serial: int, plain: Step, upload: Upload) -> None:
    """Complete an upload that is still open, or find that it is not."""
    await _step(stage, serial, replace(plain, verb=Verb.LIST_PARTS))
    sure = upload.states == {Open.OPEN}
    await _step(stage, serial, replace(plain, verb=Verb.COMPLETE, pick=1))
    whole = all(upload.parts[number] == {told} for number, told in upload.told.items())
    fits = all(size >= stage.world.scale.smallest_part for _, size in [upload.told[number] for number in sorted(upload.told)][:-1])
    if sure and upload.told and whole and fits and not upload.spoiled and len(upload.manifests) == 1 and upload.states != {Open.DONE}:
        raise Violation(f"the open upload {upload.id[:6]} of {upload.key!r} cannot be completed")
