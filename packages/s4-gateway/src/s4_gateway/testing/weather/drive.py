"""Plays a schedule: sends what its clients send, and holds each outcome against the oracle."""

from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from typing import Protocol

from s4_gateway.errors import ERRORS
from s4_gateway.testing.client import Answer, BrokenOff
from s4_gateway.testing.exchange import Received
from s4_gateway.testing.weather.content import Scale, etag_of
from s4_gateway.testing.weather.faults import Kind, kind_of
from s4_gateway.testing.weather.oracle import Effect, Open, Oracle, State, Upload, Version, Violation
from s4_gateway.testing.weather.schedule import KEYS, Schedule, Step
from s4_gateway.testing.weather.sky import Sky

LABEL = "x-amz-meta-label"
OVERLOADED = frozenset({"OperationAborted", "ConditionalRequestConflict"})
"""Refusals that ask the client to come again."""


class Client(Protocol):
    """Sends signed requests to one gateway."""

    async def send(self, method: str, key: str, *, query: Mapping[str, str], headers: Mapping[str, str], body: bytes) -> Answer:
        """One request for the bucket, or for a key in it.

        Raises:
            BrokenOff: the answer did not come, or not to its end.
        """
        ...


class World(Protocol):
    """What carries a schedule's requests."""

    bucket: str
    scale: Scale
    sky: Sky
    clients: Sequence[Client]

    async def wait(self, seconds: float) -> None:
        """Time goes by."""
        ...

    async def settle(self) -> None:
        """Let what is late arrive, and what gateways do behind their answers end."""
        ...


class Act:
    """One step on its way."""

    def __init__(self, step: Step, serial: int, client: Client) -> None:
        self.step = step
        self.serial = serial
        self.client = client
        self.key = KEYS[step.key]
        self.source = KEYS[step.other]
        self.label = f"step-{serial}"
        self.chosen: str | None = None
        """What the first try chose among what was possible then: the others send the same."""


class Stage:
    """What all verbs share: sending, and judging objects.

    Attributes:
        oracle: what is possible.
        outcomes: how many steps ended how.
    """

    def __init__(self, schedule: Schedule, world: World) -> None:
        self.schedule = schedule
        self.world = world
        self.sky = world.sky
        self.oracle = Oracle(KEYS)
        self.outcomes: Counter[str] = Counter()
        self.slots: dict[int, Upload] = {}
        self.strays: list[Upload] = []
        """Uploads that made way for others."""
        self.parts: dict[str, tuple[int, ...]] = {}
        """Sizes of the parts of multipart contents, by ETag."""
        self._rivals = 0
        self._landed: list[tuple[int, str]] = []
        self.sky.landed = self._lands

    def _lands(self, serial: int, request: Received) -> None:
        _, key = request.address
        match kind_of(request):
            case Kind.DELETE:
                keys = [name for name in KEYS if f"<Key>{name}</Key>".encode() in request.body]
            case Kind.PUT | Kind.COPY | Kind.COMPLETE:
                keys = [key]
            case _:
                keys = []
        for name in keys:
            self._landed.append((serial, name))
            self.oracle.landed(serial, name, lie="late")
        for upload in [*self.slots.values(), *self.strays]:
            self._lands_in(upload, request, key)

    @staticmethod
    def _lands_in(upload: Upload, request: Received, key: str) -> None:
        """A late request about an upload: its record, which may have been deleted meanwhile, or one of its parts."""
        if key == f".s4mpu/{upload.id}/upload":
            upload.states.add(Open.OPEN)
        elif key.startswith(f".s4mpu/{upload.id}/0"):
            number, _, etag, size, *_ = key.rpartition("/")[2].split(".")
            upload.parts[int(number)].add((etag, int(size)))
        elif key == upload.key and kind_of(request) is Kind.PART:
            # The store's own part, which the records do not know.
            upload.parts.setdefault(int(request.query["partNumber"]), {None}).add(("late", 0))

    def settle_landed(self) -> None:
        """What landed while an answer was on its way may have landed before or after what the answer tells."""
        for serial, key in self._landed:
            for effect in self.oracle.effects.get(serial, ()):
                if effect.key == key:
                    self.oracle.states[key] |= effect.states
        self._landed.clear()

    async def rival(self, act: Act) -> None:
        """Another client writes the key of the step."""
        self._rivals += 1
        label = f"rival-{self._rivals}"
        shapes = self.world.scale.objects
        body = shapes[(act.step.body + self._rivals) % len(shapes)].body(f"{self.schedule.seed}-{label}")
        version = self.remember(body, etag_of(body), label)
        other = self.world.clients[1 - act.step.client]
        answer = await other.send("PUT", act.key, query={}, headers={LABEL: label}, body=body)
        if answer.status != 200:
            raise Violation(f"a rival's PUT was answered {answer.status} {answer.code or ''}")
        self.oracle.rival_wrote(act.key, version)

    # Sending

    async def ask(
        self,
        act: Act,
        method: str,
        key: str = "",
        *,
        query: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        body: bytes = b"",
        may: Sequence[str] = (),
    ) -> Answer | None:
        """One request; None where it ended in an error that says nothing definite.

        Args:
            may: codes of such errors that need no fault as their reason.
        """
        try:
            answer = await act.client.send(method, key, query=query or {}, headers=headers or {}, body=body)
        except BrokenOff as broken:
            if broken.answer is not None and method == "GET":
                self._check_prefix(key, broken.answer, headers or {})
            self._error("broken off", may)
            return None
        code = answer.code
        if answer.status < 300 and code is not None:
            # An error that came inside a 200, as that of a Complete may.
            answer = replace(answer, status=ERRORS[code][0])
        if answer.status >= 500 or code in OVERLOADED:
            self._error(f"{answer.status} {code or ''}".strip(), may)
            return None
        self.outcomes[f"{answer.status} {code or ''}".strip()] += 1
        return answer

    def _error(self, told: str, may: Sequence[str]) -> None:
        if not self.sky.fired and not any(code in told for code in may):
            raise Violation(f"{told}, although nothing went wrong")
        self.outcomes[told] += 1

    def unexpected(self, act: Act, answer: Answer) -> Violation:
        """For an answer that nothing explains."""
        return Violation(f"{act.step.verb} was answered {answer.status} {answer.code or ''}: {answer.body[:300]!r}")

    # Objects

    def new_object(self, act: Act) -> tuple[bytes, Version]:
        """What a PUT sends."""
        shape = self.world.scale.objects[act.step.body % len(self.world.scale.objects)]
        body = shape.body(f"{self.schedule.seed}-{act.serial}")
        return body, self.remember(body, etag_of(body), act.label)

    def remember(self, body: bytes, etag: str, label: str, parts: Sequence[int] = ()) -> Version:
        """A version of this content."""
        self.oracle.bodies[etag] = body
        if parts:
            self.parts[etag] = tuple(parts)
        return Version(etag, len(body), label)

    def effect(self, act: Act, key: str, states: Sequence[State], *, once: bool = False) -> Effect:
        """Note what the step writes; the same value for each of its tries."""
        effects = self.oracle.effects.setdefault(act.serial, [])
        for effect in effects:
            if effect.key == key:
                effect.states |= frozenset(states)
                return effect
        effects.append(Effect(key, frozenset(states), once=once))
        return effects[-1]

    def present(self, key: str) -> set[Version]:
        """The possibilities in which there is an object."""
        return {state for state in self.oracle.states[key] if state is not None}

    def told(self, answer: Answer, size: int) -> Version:
        """The version that an answer's headers tell of."""
        return Version(answer.etag or "", size, answer.headers.get(LABEL, ""))

    def content(self, version: Version) -> bytes:
        """The content behind an ETag; Violation if nobody sent it."""
        if version.etag not in self.oracle.bodies:
            raise Violation(f"nobody sent what is told of as {version}")
        return self.oracle.bodies[version.etag]

    def _check_prefix(self, key: str, answer: Answer, headers: Mapping[str, str]) -> None:
        """Even of an answer that breaks off each byte must be right."""
        if answer.status not in (200, 206) or not key:
            return
        at = int(headers.get("range", "bytes=0-").removeprefix("bytes=").split("-")[0])
        candidates = [self.oracle.bodies[state.etag] for state in self.oracle.states[key] if state is not None]
        if not any(body[at:].startswith(answer.body) for body in candidates):
            raise Violation(f"{len(answer.body)} wrong bytes of {key!r} came before the answer broke off")


Play = Callable[[Stage, Act], Awaitable[bool]]
"""One try of a step; whether it has its answer. The next try sends the same again."""
