"""One budget of bytes in flight for the whole process: what gives back-pressure to client sockets (architecture.md section 6)."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager


class ByteBudget:
    """A first-come, first-served counting semaphore over bytes.

    A request reserves once, for all that it will hold, so that no two requests can wait for each other.
    """

    def __init__(self, limit: int) -> None:
        if limit <= 0:
            raise ValueError("a byte budget must be positive")
        self.limit = limit
        self.used = 0
        self.on_wait: Callable[[], None] | None = None
        """Called when somebody has to wait."""
        self._waiting: deque[tuple[int, asyncio.Future[None], float]] = deque()

    @asynccontextmanager
    async def reserve(self, size: int) -> AsyncIterator[None]:
        """Hold `size` bytes (cut to the limit, so one large request can always run alone)."""
        lease = await self.take(size)
        try:
            yield
        finally:
            lease.release()

    async def take(self, size: int) -> "Lease":
        """The same, until the lease is released."""
        size = min(size, self.limit)
        await self._acquire(size)
        return Lease(self, size)

    def take_now(self, size: int) -> "Lease | None":
        """The same without waiting; None where that is not possible."""
        size = min(size, self.limit)
        if self._waiting or self.used + size > self.limit:
            return None
        self.used += size
        return Lease(self, size)

    def is_quiet(self) -> bool:
        """Whether nobody waits and half of it is free: a request may then take more than it needs."""
        return not self._waiting and 2 * self.used <= self.limit

    @property
    def waited_since(self) -> float | None:
        """When the request whose turn comes next began to wait, on the loop's clock; None where nobody waits."""
        return next((since for _, turn, since in self._waiting if not turn.done()), None)

    async def _acquire(self, size: int) -> None:
        if not self._waiting and self.used + size <= self.limit:
            self.used += size
            return
        loop = asyncio.get_running_loop()
        turn = loop.create_future()
        self._waiting.append((size, turn, loop.time()))
        if self.on_wait is not None:
            self.on_wait()
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self.give_back(size)
            else:
                self._wake()
            raise

    def give_back(self, size: int) -> None:
        """What a lease calls when it ends."""
        self.used -= size
        self._wake()

    def _wake(self) -> None:
        """Serve from the front. A waiter that was cancelled lies there until its turn comes, and is passed over then."""
        while self._waiting:
            size, turn, _ = self._waiting[0]
            if not turn.done():
                if self.used + size > self.limit:
                    return
                self.used += size
                turn.set_result(None)
            self._waiting.popleft()


class Lease:
    """Bytes that somebody holds."""

    __slots__ = ("_budget", "_size")

    def __init__(self, budget: ByteBudget, size: int) -> None:
        self._budget = budget
        self._size = size

    def release(self) -> None:
        """Give them back; repeatable."""
        size, self._size = self._size, 0
        if size:
            self._budget.give_back(size)
