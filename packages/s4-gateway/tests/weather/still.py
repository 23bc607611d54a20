"""A world without threads, sockets and chance: time goes on only when everything waits for it, and each run of a schedule is the same."""

import asyncio
import contextlib
import random
import secrets
import selectors
import time
from collections.abc import Callable, Coroutine, Iterator
from typing import Any, TypeVar
from unittest.mock import patch

T = TypeVar("T")

BEGIN = 1_800_000_000.0
LONGEST = 30 * 86400.0
"""Seconds after which a schedule counts as one that never ends."""


class Clock:
    """All clocks of the process while it is used."""

    def __init__(self) -> None:
        self.now = BEGIN

    def time(self) -> float:
        return self.now

    def time_ns(self) -> int:
        return int(self.now * 1e9)

    def advance(self, seconds: float) -> None:
        self.now += seconds
        if self.now > BEGIN + LONGEST:
            raise RuntimeError("the schedule never ends")


class _Leaping(selectors.DefaultSelector):  # type: ignore[misc,valid-type]
    """Waits for nothing: where the loop would sleep, the clock leaps."""

    def __init__(self, clock: Clock) -> None:
        super().__init__()
        self._clock = clock

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None:
            raise RuntimeError("everything waits for something that never comes")
        if timeout > 0:
            # A leap below the resolution of a float at this date would be none.
            self._clock.advance(max(timeout, 1e-5))
        return []


class StillLoop(asyncio.SelectorEventLoop):
    """An event loop in virtual time whose executor jobs run at once and whose connections are `connect`'s.

    Args:
        clock: moved by this loop.

    Attributes:
        connect: makes the transport of a new connection for a client's protocol.
    """

    def __init__(self, clock: Clock) -> None:
        self._virtual = clock
        self.connect: Callable[[asyncio.Protocol], asyncio.Transport] | None = None
        super().__init__(_Leaping(clock))
        # The real one is smaller than what a float at this date can tell.
        self._clock_resolution = 1e-5

    def time(self) -> float:
        return self._virtual.now

    def run_in_executor(self, executor: Any, func: Callable[..., T], *args: Any) -> asyncio.Future[T]:  # type: ignore[override]
        done: asyncio.Future[T] = self.create_future()
        try:
            done.set_result(func(*args))
        except Exception as error:  # noqa: BLE001 - whoever awaits it has it
            done.set_exception(error)
        return done

    async def create_connection(self, protocol_factory: Callable[[], Any], *_: Any, **__: Any) -> tuple[Any, Any]:  # type: ignore[override]
        assert self.connect is not None
        protocol = protocol_factory()
        transport = self.connect(protocol)
        protocol.connection_made(transport)
        return transport, protocol


@contextlib.contextmanager
def still(seed: int) -> Iterator[Clock]:
    """Clocks stand still and chance comes from `seed`."""
    clock, chance = Clock(), random.Random(seed)
    state = random.getstate()
    random.seed(seed)

    def token_hex(size: int = 32) -> str:
        return chance.randbytes(size).hex()

    with (
        patch.object(time, "time", clock.time),
        patch.object(time, "monotonic", clock.time),
        patch.object(time, "time_ns", clock.time_ns),
        patch.object(secrets, "token_hex", token_hex),
    ):
        try:
            yield clock
        finally:
            random.setstate(state)


def run_still(seed: int, main: Callable[[Clock, StillLoop], Coroutine[Any, Any, None]]) -> None:
    """Run a coroutine in such a world."""
    with still(seed) as clock:
        loop = StillLoop(clock)
        try:
            loop.run_until_complete(main(clock, loop))
        finally:
            with contextlib.suppress(RuntimeError):
                _cancel_all(loop)
            loop.close()


def _cancel_all(loop: asyncio.AbstractEventLoop) -> None:
    tasks = asyncio.all_tasks(loop)
    for task in tasks:
        task.cancel()
    if tasks:
        loop.run_until_complete(asyncio.gather(*tasks, return_exceptions=True))
    loop.run_until_complete(loop.shutdown_asyncgens())
