"""How exchanges end before their time: the client goes away, or the server is told to stop."""

import asyncio
import socket
import struct
import time
from collections.abc import Callable

import pytest

from s4_gateway.observe import Metrics
from s4_gateway.serve.limits import Limits
from s4_gateway.serve.server import GatewayServer, bind
from s4_gateway.testing.asgi import ASGIApp, Receive, Scope, Send
from s4_gateway.testing.server import running_server

from .helpers import Client, Watched, application, echo, eventually, read_body, reply

MIB = 2**20
SOON = 1.0
"""Seconds in which a handler must know that its client is gone."""


def reset(client: Client) -> None:
    """Close with a reset, as a client process that is killed with bytes unread."""
    client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    client.socket.close()


def leave(client: Client) -> None:
    """Close in order."""
    client.socket.close()


def shut(client: Client) -> None:
    """End the client's own side only."""
    client.socket.shutdown(socket.SHUT_WR)


def busy(watched: Watched, *, reads: bool = True) -> ASGIApp:
    """A handler that reads the body or not, then works until it is released or cancelled."""

    async def handle(scope: Scope, receive: Receive, send: Send) -> None:
        try:
            if reads:
                watched.bodies.append(await read_body(receive))
            watched.entered.set()
            await watched.released()
        except asyncio.CancelledError:
            watched.cancelled.set()
            raise
        await reply(send)

    return application(handle)


class TestClientLeaves:
    """A handler is cancelled, by the server itself: no watcher costs healthy requests anything."""

    @pytest.mark.parametrize("how", [leave, reset, shut])
    def test_while_the_handler_works(self, how: Callable[[Client], None]) -> None:
        """A handler that neither reads nor writes is cancelled within a second, however the client leaves."""
        watched = Watched()
        with running_server(busy(watched)) as server, Client(server.address) as client:
            client.send(b"PUT / HTTP/1.1\r\nHost: t\r\nContent-Length: 3\r\n\r\nabc")
            assert watched.entered.wait(5)
            how(client)
            assert watched.cancelled.wait(SOON)
            eventually(lambda: server.metrics.connections == 0)

    @pytest.mark.parametrize("how", [leave, reset])
    def test_while_the_handler_writes(self, how: Callable[[Client], None]) -> None:
        """A handler held back by a slow reader is cancelled when the reader leaves."""
        watched = Watched()

        async def handle(scope: Scope, receive: Receive, send: Send) -> None:
            await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % 2**40)]})
            try:
                while True:
                    await send({"type": "http.response.body", "body": bytes(MIB), "more_body": True})
                    watched.entered.set()
            except asyncio.CancelledError:
                watched.cancelled.set()
                raise

        with running_server(application(handle)) as server, Client(server.address) as client:
            client.send(b"GET / HTTP/1.1\r\nHost: t\r\n\r\n")
            assert watched.entered.wait(5)
            time.sleep(0.2)
            how(client)
            assert watched.cancelled.wait(SOON)
            eventually(lambda: server.metrics.connections == 0)

    def test_in_the_middle_of_a_body_that_is_read(self) -> None:
        """The handler reads an early end, so that it can answer a client that only ended its own side."""
        watched = Watched()

        async def handle(scope: Scope, receive: Receive, send: Send) -> None:
            body = await read_body(receive)
            await reply(send, b"%d" % len(body), status=400)

        with running_server(application(handle)) as server, Client(server.address) as client:
            client.send(b"PUT / HTTP/1.1\r\nHost: t\r\nContent-Length: 1000\r\n\r\nabc")
            shut(client)
            answer = client.answer()
            closed = client.closed()

        assert (answer.status, answer.body, answer.headers["connection"], closed) == (400, b"3", "close", True)
        assert not watched.cancelled.is_set()

    def test_in_the_middle_of_a_body_by_reset(self) -> None:
        """A handler that waits for the body of a client that is gone for good is cancelled."""
        watched = Watched()
        with running_server(busy(watched)) as server, Client(server.address) as client:
            client.send(b"PUT / HTTP/1.1\r\nHost: t\r\nContent-Length: 1000\r\n\r\nabc")
            eventually(lambda: len(server.server.server_state.tasks) == 1)
            time.sleep(0.05)
            reset(client)
            assert watched.cancelled.wait(SOON)

    @pytest.mark.parametrize("how", [leave, reset])
    @pytest.mark.parametrize("size", [10, 96 * 1024], ids=["read", "not read"])
    def test_in_the_middle_of_a_body_that_is_not_read(self, size: int, how: Callable[[Client], None]) -> None:
        """A handler that is busy with something else is cancelled within a second, also where the socket is not being read at all."""
        watched = Watched()
        limits = Limits(read_ahead=16 * 1024)
        with running_server(busy(watched, reads=False), limits=limits) as server, Client(server.address) as client:
            client.send(b"PUT / HTTP/1.1\r\nHost: t\r\nContent-Length: 1000000000\r\n\r\n" + bytes(size))
            assert watched.entered.wait(5)
            time.sleep(0.1)
            how(client)
            assert watched.cancelled.wait(SOON)
            eventually(lambda: server.metrics.connections == 0)

    def test_with_requests_in_the_queue(self) -> None:
        """The handler that runs is cancelled, not the request behind it, which is never started."""
        watched = Watched()
        with running_server(busy(watched)) as server, Client(server.address) as client:
            client.send(b"GET /1 HTTP/1.1\r\nHost: t\r\n\r\nGET /2 HTTP/1.1\r\nHost: t\r\n\r\n")
            assert watched.entered.wait(5)
            reset(client)
            assert watched.cancelled.wait(SOON)
            time.sleep(0.1)

        assert watched.bodies == [b""]

    def test_behind_the_answer(self) -> None:
        """What a handler still does when its answer is out is its own affair."""
        watched = Watched()

        async def handle(scope: Scope, receive: Receive, send: Send) -> None:
            await reply(send, b"ok")
            try:
                await watched.released()
                watched.entered.set()
            except asyncio.CancelledError:
                watched.cancelled.set()
                raise

        with running_server(application(handle)) as server:
            with Client(server.address) as client:
                assert client.ask().body == b"ok"
                assert client.ask().body == b"ok"
            eventually(lambda: server.metrics.connections == 0)
            watched.release.set()
            assert watched.entered.wait(5)

        assert not watched.cancelled.is_set()

    def test_messages_to_nobody(self) -> None:
        """A handler that goes on after its cancellation hears of the disconnect, and what it sends is dropped."""
        heard: list[str] = []
        watched = Watched()

        async def handle(scope: Scope, receive: Receive, send: Send) -> None:
            try:
                watched.entered.set()
                await watched.released()
            except asyncio.CancelledError:
                heard.append((await receive())["type"])
                await reply(send, b"nobody")
                watched.cancelled.set()

        with running_server(application(handle)) as server, Client(server.address) as client:
            client.send(b"GET / HTTP/1.1\r\nHost: t\r\n\r\n")
            assert watched.entered.wait(5)
            reset(client)
            assert watched.cancelled.wait(SOON)

        assert heard == ["http.disconnect"]


class TestDrain:
    """The server is told to stop."""

    def test_requests_in_progress_end_well(self) -> None:
        """A request that is worked on and a body that is being sent are finished; the answers end their connections."""
        watched = Watched()
        with running_server(busy(watched)) as server, Client(server.address) as working, Client(server.address) as sending:
            working.send(b"GET / HTTP/1.1\r\nHost: t\r\n\r\n")
            sending.send(b"PUT / HTTP/1.1\r\nHost: t\r\nContent-Length: 6\r\n\r\nabc")
            eventually(lambda: len(server.server.server_state.tasks) == 2)
            server.stop()
            time.sleep(0.4)
            sending.send(b"def")
            watched.release.set()
            answers = [working.answer(), sending.answer()]
            server.join(5)

        assert [(answer.status, answer.headers["connection"]) for answer in answers] == [(200, "close")] * 2
        assert b"abcdef" in watched.bodies

    def test_nobody_else_is_waited_for(self) -> None:
        """Idle connections, new ones and half-sent heads are closed at once, and no new connection is accepted."""
        with running_server(echo(Watched()), drain_seconds=30) as server:
            idle, new, half = Client(server.address), Client(server.address), Client(server.address)
            with idle, new, half:
                idle.ask()
                half.send(b"GET / HTTP/1.1\r\n")
                eventually(lambda: server.metrics.connections == 3)
                began = time.monotonic()
                server.stop()
                assert [client.closed() for client in (idle, new, half)] == [True] * 3
                server.join(5)
                assert time.monotonic() - began < 2
                with pytest.raises(ConnectionRefusedError):
                    socket.create_connection(server.address, timeout=5)

    def test_patience_ends(self) -> None:
        """A request that does not end in time is cancelled and its connection broken, not ended as if all was said."""
        watched = Watched()
        with running_server(busy(watched), drain_seconds=0.3) as server, Client(server.address) as client:
            client.send(b"GET / HTTP/1.1\r\nHost: t\r\n\r\n")
            assert watched.entered.wait(5)
            server.stop()
            assert watched.cancelled.wait(3)
            with pytest.raises((ConnectionResetError, EOFError)):
                client.answer()
            server.join(5)

        assert server.metrics.tallies["s4_gateway_connections_closed"]["drain",] == 1

    def test_a_client_that_never_reads_is_not_waited_for(self) -> None:
        """A finished answer that nobody takes does not hold up the end for longer than the patience."""

        async def handle(scope: Scope, receive: Receive, send: Send) -> None:
            await reply(send, bytes(64 * MIB))

        with running_server(application(handle), limits=Limits(), drain_seconds=0.3) as server, Client(server.address) as client:
            client.send(b"GET / HTTP/1.1\r\nHost: t\r\n\r\n")
            eventually(lambda: server.server.server_state.total_requests == 1)
            began = time.monotonic()
            server.stop()
            server.join(5)

        assert time.monotonic() - began < 3


def test_told_to_stop_while_it_starts() -> None:
    """The start is finished, and the application's end is run like any other."""
    seen: list[str] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        assert scope["type"] == "lifespan"
        for step in ("startup", "shutdown"):
            assert (await receive())["type"] == f"lifespan.{step}"
            if step == "startup":
                server.stop()
            seen.append(step)
            await send({"type": f"lifespan.{step}.complete"})

    server = GatewayServer(app, Limits(), metrics=Metrics(), drain_seconds=1.0)
    server.run([bind("127.0.0.1", 0)])

    assert seen == ["startup", "shutdown"]
