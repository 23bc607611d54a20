"""From settings to a process that serves until it is told to stop."""

import asyncio
import contextlib
import gc
import logging
import resource
import signal
import socket
import threading
import time
from collections.abc import Callable, Generator, Iterator
from functools import partial
from types import FrameType
from typing import Any, cast

import uvicorn
import uvloop
from starlette.types import ASGIApp

from s4_gateway.app import build_app
from s4_gateway.errors import SettingsError
from s4_gateway.observe import Metrics
from s4_gateway.serve.acceptor import Acceptor
from s4_gateway.serve.connection import Connection
from s4_gateway.serve.heap import keep_freed_blocks
from s4_gateway.serve.limits import Limits
from s4_gateway.serve.listener import Listener
from s4_gateway.serve.worker import SIGNALS, Station
from s4_gateway.services import Services

logger = logging.getLogger(__name__)

Handler = Callable[[int, FrameType | None], None]

BACKLOG = 2048
DRAIN_TICK = 0.01
BREAK_OFF_SECONDS = 1.0
"""For the event loop to close what was broken off."""
COLLECTOR_THRESHOLDS = (10_000, 20, 20)
"""New objects before the youngest are looked at, and how many such looks before older ones are."""
SPARE_DESCRIPTORS = 256
"""Files, SQLite and sockets beside two for each client connection (one to the client, one to the backend)."""


class GatewayServer(uvicorn.Server):
    """uvicorn's server with our connections and our own end: it hears at once that it is to stop, and waits for nobody else than it must.

    Args:
        app: with its lifespan.
        limits: of connections.
        metrics: told of connections.
        drain_seconds: how long requests in progress may go on after the signal to stop.
        ready: called once, when connections are accepted.
        reload: called in the event loop when SIGHUP came.
        station: where other workers accept connections of the same sockets; None = this process is alone.
    """

    def __init__(
        self,
        app: ASGIApp,
        limits: Limits,
        *,
        metrics: Metrics,
        drain_seconds: float,
        ready: Callable[[], None] | None = None,
        reload: Callable[[], None] | None = None,
        station: Station | None = None,
    ) -> None:
        self._drain_seconds = drain_seconds
        self._ready = ready
        self._reload = reload
        self._station = station
        self._acceptors: list[Acceptor] = []
        self._loop: asyncio.AbstractEventLoop | None = None
        self._told = asyncio.Event()
        self._stopping = False
        listener = Listener(limits, metrics, seat=station.place.seat if station is not None else None)
        super().__init__(
            uvicorn.Config(
                app,
                # Whatever makes protocols will do; uvicorn's annotation knows classes only.
                http=cast("type[asyncio.Protocol]", partial(Connection, listener)),
                ws="none",
                interface="asgi3",
                lifespan="on",
                loop="none",
                log_config=None,
                access_log=False,
                proxy_headers=False,
                server_header=False,
                date_header=False,
                backlog=BACKLOG,
            )
        )

    def run(self, sockets: list[socket.socket] | None = None) -> None:
        """Serve until told to stop, on a uvloop of its own; the process's event loop policy stays what it is."""
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(self.serve(sockets=sockets))

    def stop(self) -> None:
        """Drain and end, as after SIGTERM. May be called from another thread."""
        self._stopping = True
        self._wake()

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        """They are `serve`'s: uvicorn would send itself the one that stopped it once more."""
        yield

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """A signal came: the first one stops, a second SIGINT does not wait for anything."""
        if self._stopping and sig == signal.SIGINT:
            self.force_exit = True
        self.stop()

    def handle_hangup(self, _sig: int, _frame: FrameType | None) -> None:
        """SIGHUP came. Before there is an event loop nothing has been read that could have changed since."""
        if self._reload is not None and self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._reload)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Run the application's start, then listen."""
        self._loop = asyncio.get_running_loop()
        if self._station is None:
            await super().startup(sockets)
        else:
            self._loop.add_reader(self._station.lifeline, self._orphaned, self._station.lifeline)
            await super().startup([])
            self._accept(sockets or [], self._station)
        if self.started and self._ready is not None:
            self._ready()

    async def main_loop(self) -> None:
        """Wait for the word to stop."""
        while not self._stopping:
            await self._told.wait()
            self._told.clear()
        # Not earlier: some releases of uvicorn leave out the end of a server that is told to exit while it starts.
        self.should_exit = True

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Accept nobody, let requests in progress end, run the application's end, break off who is still connected."""
        for listening in (*self.servers, *self._acceptors, *(sockets or ())):
            listening.close()
        for acceptor in self._acceptors:
            await acceptor.settle()
        state = self.server_state
        for connection in list(state.connections):
            connection.shutdown()
        await self._until_drained(self._drain_seconds)
        for task in state.tasks:
            task.cancel("the server stops")
        if not self.force_exit:
            await self.lifespan.shutdown()
        # uvloop cannot be closed with connections open.
        for connection in list(state.connections):
            cast("Connection", connection).break_off("drain")
        await self._until_drained(BREAK_OFF_SECONDS)

    async def _until_drained(self, seconds: float) -> None:
        state = self.server_state
        deadline = time.monotonic() + seconds
        while (state.connections or state.tasks) and not self.force_exit and time.monotonic() < deadline:  # noqa: ASYNC110
            await asyncio.sleep(DRAIN_TICK)

    def _accept(self, sockets: list[socket.socket], station: Station) -> None:
        def make() -> asyncio.Protocol:
            # mypy knows uvicorn's own classes only.
            connection: Any = self.config.http_protocol_class
            protocol: asyncio.Protocol = connection(config=self.config, server_state=self.server_state, app_state=self.lifespan.state)
            return protocol

        for listening in sockets:
            listening.listen(BACKLOG)
            self._acceptors.append(Acceptor(listening, make, station.place))

    def _orphaned(self, lifeline: int) -> None:
        logger.error("the supervisor is gone: this worker ends")
        asyncio.get_running_loop().remove_reader(lifeline)
        self.stop()

    def _wake(self) -> None:
        if self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._told.set)


def bind(host: str, port: int) -> socket.socket:
    """A listening socket's address taken, so that a port in use is refused before anything else starts.

    Raises:
        SettingsError: the address is not ours or is in use.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        bound = socket.socket(family, kind, protocol)
    except OSError as error:
        raise SettingsError(f"--host: {host}: {error.strerror}") from error
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind(address)
    except OSError as error:
        bound.close()
        raise SettingsError(f"--host, --port: cannot listen on {host}:{port}: {error.strerror}") from error
    bound.setblocking(False)
    return bound


def serve(services: Services, listening: socket.socket, *, ready: Callable[[], None] | None = None, station: Station | None = None) -> None:
    """Serve until SIGTERM or SIGINT, then drain and return. A second SIGINT ends at once. SIGHUP reads again what can be read again.

    A worker listens to SIGTERM only: Ctrl-C reaches all processes of a terminal, and its supervisor decides what it means.

    Args:
        services: started and closed here.
        listening: bound; closed here.
        ready: called when connections are accepted.
        station: of this worker; None = it is alone.

    Raises:
        Exception: why the services could not start.
    """
    listen = services.settings.listen
    keep_freed_blocks()
    raise_descriptor_limit(2 * listen.max_concurrent_connections + SPARE_DESCRIPTORS)
    app = build_app(services)
    spare_the_collector()
    server = GatewayServer(
        app,
        Limits.of(listen),
        metrics=services.metrics,
        drain_seconds=listen.drain_seconds,
        ready=ready,
        reload=services.reload,
        station=station,
    )
    with orderly_signals(server.handle_exit, server.handle_hangup, interrupt=station is None):
        # uvicorn leaves by SystemExit where the application's start failed, or returns, depending on its release.
        with contextlib.suppress(SystemExit):
            server.run([listening])
        listening.close()
        if services.failure is not None:
            raise services.failure


def spare_the_collector() -> None:
    """Have the garbage collector look less often, and never at what lives as long as the process.

    A request makes a few hundred objects, and reference counts free nearly all of them: at the default thresholds the collector takes a
    twentieth of a small request's time and finds nothing.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(*COLLECTOR_THRESHOLDS)


@contextlib.contextmanager
def orderly_signals(stop: Handler, hangup: Handler, *, interrupt: bool) -> Iterator[None]:
    """SIGTERM and SIGINT tell the server to stop and do nothing else; SIGHUP tells it to read its files again.

    Args:
        stop: called with each signal that came, from the moment on that this is entered.
        hangup: called with each SIGHUP.
        interrupt: False = SIGINT does nothing either.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    handlers: dict[signal.Signals, Any] = {
        signal.SIGTERM: signal.signal(signal.SIGTERM, stop),
        signal.SIGINT: signal.signal(signal.SIGINT, stop if interrupt else _ignore),
        signal.SIGHUP: signal.signal(signal.SIGHUP, hangup),
    }
    # A worker was forked with them blocked: what came since then comes now.
    signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
    try:
        yield
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)


def _ignore(_number: int, _frame: object) -> None:
    """Unlike SIG_IGN, not inherited by child processes."""


def raise_descriptor_limit(wanted: int) -> None:
    """Take as many file descriptors as `wanted`, or as the hard limit gives; say so where that is less."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        given = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (given, hard))
        if given < wanted:
            logger.warning("the system allows %d open files; --max-concurrent-connections needs %d", given, wanted)
