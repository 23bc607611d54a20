"""Decides what happens to each request of a schedule; the network that carries the bytes asks it."""

from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from s4_gateway.testing.exchange import Received, Reply
from s4_gateway.testing.weather.faults import TABLE, Fault, Kind


@dataclass(frozen=True, slots=True)
class Strike:
    """A fault that hits `times` requests in a row of those that it can hit, after the first `nth` of them."""

    fault: str
    nth: int = 0
    times: int = 1
    dose: int = 50
    """0 to 99: how much of a body comes, how many requests pass a late one."""

    def __str__(self) -> str:
        return f"{self.fault}(nth={self.nth}, times={self.times}, dose={self.dose})"


@dataclass(slots=True)
class _Waiting:
    strike: Strike
    pass_over: int
    left: int


@dataclass(slots=True)
class Held:
    """A request that the store sees later than it was sent."""

    request: Received
    serial: int
    """Of the client's operation that it belongs to."""
    passing: int
    """Requests that overtake it still."""


class Sky:
    """The weather over one store.

    Attributes:
        serial: number of the client's operation that is under way.
        fired: faults that hit its requests.
        totals: hits by fault, over all operations.
        requests: requests so far.
        landed: told of each late request that the store carried out: (serial, request).
        rival: what another client does in the midst of an operation.
    """

    def __init__(self) -> None:
        self.serial = 0
        self.fired: list[Fault] = []
        self.totals: Counter[str] = Counter()
        self.requests = 0
        self.landed: Callable[[int, Received], None] | None = None
        self.rival: Callable[[], Awaitable[None]] | None = None
        self._calm = False
        self._waiting: list[_Waiting] = []
        self._held: list[Held] = []

    def begin(self, serial: int, strikes: Sequence[Strike]) -> None:
        """The next operation, and what will go wrong in it."""
        self.serial = serial
        self.fired = []
        self._waiting = [_Waiting(strike, strike.nth, strike.times) for strike in strikes]

    def clear(self) -> None:
        """Nothing goes wrong any more; what is held is to be let go by the network (`due`)."""
        self._waiting = []
        for held in self._held:
            held.passing = 0

    def meets(self, kind: Kind) -> tuple[Fault, int] | None:
        """The fault that hits this request, and its dose."""
        self.requests += 1
        if self._calm:
            return None
        for held in self._held:
            held.passing -= 1
        for waiting in self._waiting:
            fault = TABLE[waiting.strike.fault]
            if waiting.left == 0 or kind not in fault.hits:
                continue
            if waiting.pass_over:
                waiting.pass_over -= 1
                continue
            waiting.left -= 1
            self.fired.append(fault)
            self.totals[fault.name] += 1
            return fault, waiting.strike.dose
        return None

    async def let_rival_write(self) -> None:
        """Let the other client write, under a clear sky of its own."""
        assert self.rival is not None
        self._calm = True
        try:
            await self.rival()
        finally:
            self._calm = False

    def hold(self, request: Received, dose: int) -> None:
        """Keep a request back until some others have passed it."""
        self._held.append(Held(request, self.serial, 1 + dose // 4))

    def due(self) -> list[Held]:
        """What is to go to the store now; the network does so and calls `carried_out`."""
        ready = [held for held in self._held if held.passing <= 0]
        self._held = [held for held in self._held if held.passing > 0]
        return ready

    def carried_out(self, held: Held, reply: Reply) -> None:
        """The store's answer to a late request, which nobody else hears."""
        if reply.status < 300 and self.landed is not None:
            self.landed(held.serial, held.request)
