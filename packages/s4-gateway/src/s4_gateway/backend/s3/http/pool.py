"""Connections to one endpoint: made when they are needed, kept while both sides want to, bounded in number."""

import asyncio
import ssl
from collections import deque
from dataclasses import dataclass

from s4_gateway.backend.s3.errors import AttemptError, unanswered
from s4_gateway.backend.s3.http.connection import Connection

IDLE_SECONDS = 15.0
"""Kept connections are closed after so long: a store that does it first may do it while a request is on its way."""
CHECKS_PER_TIMEOUT = 8
"""How often silence is looked at within the shortest patience: one timer for all connections instead of one for each request."""
SHORTEST_TICK, LONGEST_TICK = 0.02, 1.0


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where to connect to, and how patiently. Times in seconds."""

    host: str
    port: int
    tls: ssl.SSLContext | None
    connections: int
    """Most open connections."""
    connect_timeout: float
    """For the TCP and TLS handshake."""
    pool_timeout: float
    """For a free connection and its handshake together."""
    shortest_patience: float
    """The smallest `patience` of any exchange."""


class Pool:
    """Lends connections. Make it inside the running event loop.

    The newest kept connection is lent first, so that the others grow old and are closed.
    """

    def __init__(self, endpoint: Endpoint) -> None:
        self._endpoint = endpoint
        self._loop = asyncio.get_running_loop()
        self._idle: list[Connection] = []
        self._all: set[Connection] = set()
        self._opening = 0
        self._waiters: deque[asyncio.Future[Connection | None]] = deque()
        self._timer: asyncio.TimerHandle | None = None
        self._tick_seconds = min(LONGEST_TICK, max(SHORTEST_TICK, endpoint.shortest_patience / CHECKS_PER_TIMEOUT))
        self._closed = False

    async def borrow(self) -> Connection:
        """A connection for one exchange.

        Raises:
            AttemptError: none became free in time, or the endpoint cannot be reached.
        """
        while self._idle:
            connection = self._idle.pop()
            if connection.usable:
                return connection
        try:
            async with asyncio.timeout(self._endpoint.pool_timeout):
                return await self._another()
        except TimeoutError as error:
            raise unanswered(f"no connection to the storage backend in {self._endpoint.pool_timeout:g} seconds", sent=False) from error

    def give_back(self, connection: Connection) -> None:
        """An exchange ended well and its connection can carry another."""
        if self._closed:
            connection.close()
        elif not self._pass_on(connection):
            self._idle.append(connection)

    def lost(self, connection: Connection) -> None:
        """A connection is gone."""
        if connection in self._all:
            self._all.discard(connection)
            if connection in self._idle:
                self._idle.remove(connection)
            self._pass_on(None)

    async def close(self) -> None:
        """Drop all connections; repeatable."""
        self._closed = True
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        for connection in [*self._all]:
            connection.abort()
        while self._waiters:
            self._pass_on(None)
        # The transports close in the loop's next turns.
        await asyncio.sleep(0)

    async def _another(self) -> Connection:
        """A new connection, or one that somebody gives back where there are as many as may be."""
        if len(self._all) + self._opening >= self._endpoint.connections:
            waiter: asyncio.Future[Connection | None] = self._loop.create_future()
            self._waiters.append(waiter)
            try:
                connection = await waiter
            except BaseException:
                self._forsake(waiter)
                raise
            if connection is not None:
                return connection
            # A place is free; it is counted as ours already.
            self._opening -= 1
        return await self._connect()

    def _forsake(self, waiter: "asyncio.Future[Connection | None]") -> None:
        """Somebody stopped waiting: what was to be his goes to the next."""
        if waiter in self._waiters:
            self._waiters.remove(waiter)
        elif waiter.done() and not waiter.cancelled():
            connection = waiter.result()
            if connection is not None:
                self.give_back(connection)
            else:
                self._opening -= 1
                self._pass_on(None)

    def _pass_on(self, connection: Connection | None) -> bool:
        """Give a connection, or with None the place of one, to who waits longest."""
        while self._waiters:
            waiter = self._waiters.popleft()
            if not waiter.done():
                if connection is None:
                    self._opening += 1
                waiter.set_result(connection)
                return True
        return False

    async def _connect(self) -> Connection:
        if self._closed:
            raise unanswered("the client is closed", sent=False)
        endpoint = self._endpoint
        self._opening += 1
        try:
            async with asyncio.timeout(endpoint.connect_timeout):
                _, connection = await self._loop.create_connection(
                    lambda: Connection(self, self._loop),
                    endpoint.host,
                    endpoint.port,
                    ssl=endpoint.tls,
                    server_hostname=endpoint.host if endpoint.tls is not None else None,
                )
        except BaseException as error:
            self._opening -= 1
            self._pass_on(None)
            if isinstance(error, OSError):
                raise _unreachable(error) from error
            raise
        self._opening -= 1
        self._all.add(connection)
        if self._timer is None:
            self._timer = self._loop.call_later(self._tick_seconds, self._tick)
        return connection

    def _tick(self) -> None:
        self._timer = None
        now = self._loop.time()
        for connection in [*self._all]:
            connection.check(now)
        while self._idle and now - self._idle[0].since > IDLE_SECONDS:
            self._idle.pop(0).close()
        if self._all:
            self._timer = self._loop.call_later(self._tick_seconds, self._tick)


def _unreachable(error: Exception) -> AttemptError:
    return unanswered(f"no answer from the storage backend: it cannot be reached ({type(error).__name__}: {error})", sent=False)
