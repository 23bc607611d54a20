"""What one connection may take: bytes of a head, time, silence, memory, and how many connections there are."""

import asyncio
import contextlib
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from s4_gateway.errors import S3Error
from s4_gateway.serve.cycle import Cycle
from s4_gateway.serve.limits import Limits
from s4_gateway.settings import ListenSettings
from s4_gateway.testing.asgi import ASGIApp, Receive, Scope, Send
from s4_gateway.testing.server import RunningServer, running_server

from .helpers import Client, Watched, application, echo, eventually, read_body, reply, request

MIB = 2**20


def closed_early(server: RunningServer, reason: str) -> float:
    """Connections that the gateway closed for this reason."""
    return server.metrics.tallies["s4_gateway_connections_closed"][reason,]


def cycles(server: RunningServer) -> list[Cycle]:
    """The requests that are being worked on."""
    return [connection._cycle for connection in server.server.server_state.connections if connection._cycle is not None]


class TestHeads:
    """The size of a request head and the time that it takes."""

    LIMIT = 16 * 1024

    def head(self, size: int) -> bytes:
        """A request whose head has exactly this many bytes."""
        start, end = b"GET / HTTP/1.1\r\nHost: t\r\nX: ", b"\r\n\r\n"
        return start + b"x" * (size - len(start) - len(end)) + end

    @pytest.mark.parametrize("piece", [MIB, 1000], ids=["whole", "in pieces"])
    def test_the_limit_is_exact(self, piece: int) -> None:
        """A head of the limit's size is served, one byte more is RequestHeaderSectionTooLarge and the end."""
        with running_server(echo(Watched()), limits=Limits(header_bytes=self.LIMIT)) as server, Client(server.address) as client:
            for request in (self.head(self.LIMIT), self.head(self.LIMIT + 1)):
                for start in range(0, len(request), piece):
                    client.send(request[start : start + piece])
                    time.sleep(0.001)
                answer = client.answer()
                if len(request) == self.LIMIT:
                    assert answer.status == 200
            assert (answer.status, answer.code, answer.headers["connection"]) == (400, "RequestHeaderSectionTooLarge", "close")
            assert client.closed()

    def test_an_endless_head_is_refused_while_it_comes(self) -> None:
        """The answer comes when the limit is passed, not when the head ends, and nothing of the rest is kept."""
        with running_server(echo(Watched()), limits=Limits(linger_seconds=0.2)) as server, Client(server.address) as client:
            client.send(b"GET / HTTP/1.1\r\nHost: t\r\n")
            with pytest.raises(OSError, match=r"reset|[Bb]roken"):
                client.fill(2**40, piece=b"X-Header: " + b"x" * 10_000 + b"\r\n")
            eventually(lambda: server.metrics.connections == 0)
            assert closed_early(server, "protocol") == 1

    @pytest.mark.parametrize("part", [b"GET", b"GET / HTTP/1.1\r\nHost: t\r\nX: ", b"GET / HTTP/1.1\r\nHost: t\r\n"])
    def test_a_half_sent_head_is_closed(self, part: bytes) -> None:
        """A head that does not end in time gets RequestTimeout, also when bytes of it keep coming."""
        watched = Watched()
        with running_server(echo(watched), limits=Limits(head_seconds=0.4)) as server, Client(server.address) as client:
            began = time.monotonic()
            client.send(part)
            for _ in range(3):
                time.sleep(0.1)
                client.send(b"x")
            answer = client.answer()
            took = time.monotonic() - began

        assert (answer.status, answer.code) == (400, "RequestTimeout")
        assert 0.4 <= took < 1.5
        assert closed_early(server, "head") == 1

    def test_a_silent_connection_is_closed(self) -> None:
        """Whoever connects and says nothing is sent away without a word."""
        with running_server(echo(Watched()), limits=Limits(head_seconds=0.3)) as server, Client(server.address) as client:
            began = time.monotonic()
            assert client.closed()
            assert 0.3 <= time.monotonic() - began < 1.5

    def test_a_kept_connection_ends(self) -> None:
        """Between requests a connection is kept for its own time, which begins anew with each request."""
        limits = Limits(head_seconds=0.2, keep_alive_seconds=0.8)
        with running_server(echo(Watched()), limits=limits) as server, Client(server.address) as client:
            for _ in range(3):
                client.ask()
                time.sleep(0.5)
            client.ask()
            began = time.monotonic()
            assert client.closed()
            assert 0.7 <= time.monotonic() - began < 2

    @pytest.mark.parametrize("data", [b"\x16\x03\x01\x02\x00\x01\x00", b"\0", b"get / http/1.1\r\n\r\n"])
    def test_other_protocols_are_refused_at_their_first_byte(self, data: bytes) -> None:
        """A TLS handshake does not wait for the end of a head that never comes."""
        with running_server(echo(Watched())) as server, Client(server.address) as client:
            answer = client.send(data).answer()

        assert (answer.status, answer.code) == (400, "InvalidRequest")

    def test_who_asks_and_listens_gets_the_refusal(self) -> None:
        """A client that ended its own side behind a broken request still reads the answer, and at once its end."""
        with running_server(echo(Watched()), limits=Limits(linger_seconds=30)) as server, Client(server.address) as client:
            client.send(b"nonsense\r\n\r\n")
            client.socket.shutdown(socket.SHUT_WR)
            answer = client.answer()
            closed = client.closed()

        assert (answer.status, answer.code, closed) == (400, "InvalidRequest", True)

    @pytest.mark.parametrize(
        "data",
        [
            request("PUT", "Content-Length: 5", "Transfer-Encoding: chunked", body="0\r\n\r\n"),
            request("PUT", "Content-Length: 0", "Content-Length: 44"),
            request("PUT", "Transfer-Encoding: chunked", "Transfer-Encoding: identity", body="0\r\n\r\n"),
            request("PUT", "X: a\nContent-Length: 9"),
            request("PUT", "Transfer-Encoding: chunked", body="1\r\nab\r\n0\r\n\r\n"),
        ],
        ids=["both framings", "two lengths", "two codings", "bare LF", "long chunk"],
    )
    def test_nothing_is_smuggled(self, data: bytes) -> None:
        """Behind a request whose framing is in doubt nothing on the connection is taken for a request."""
        watched = Watched()

        async def handle(scope: Scope, receive: Receive, send: Send) -> None:
            watched.requests.append(scope)
            await inner(scope, receive, send)

        inner = echo(Watched())
        with running_server(application(handle), limits=Limits(linger_seconds=0.1)) as server, Client(server.address) as client:
            client.send(data + request("GET", target="/smuggled"))
            with contextlib.suppress(OSError):
                client.rest()
            eventually(lambda: server.metrics.connections == 0)

        assert [scope["path"] for scope in watched.requests] != []
        assert "/smuggled" not in [scope["path"] for scope in watched.requests]


class TestSilence:
    """The idle timer: no byte either way while the gateway waits for the client."""

    LIMITS = Limits(idle_seconds=0.4)

    def test_a_body_that_stops(self) -> None:
        """The handler's read raises RequestTimeout, the client is told so and the connection ends."""
        seen: list[str] = []

        async def handle(scope: Scope, receive: Receive, send: Send) -> None:
            try:
                await read_body(receive)
            except S3Error as error:
                seen.append(error.code)
                await reply(send, b"timeout", status=400)

        with running_server(application(handle), limits=self.LIMITS) as server, Client(server.address) as client:
            client.send(b"PUT / HTTP/1.1\r\nHost: t\r\nContent-Length: 100\r\n\r\nabc")
            answer = client.answer()
            closed = client.closed()

        assert seen == ["RequestTimeout"]
        assert (answer.status, answer.headers["connection"], closed) == (400, "close", True)
        assert closed_early(server, "idle") == 1

    def test_a_slow_body_survives(self) -> None:
        """A body that trickles for longer than the limit is whole: idle means silence, not duration."""
        with running_server(echo(Watched()), limits=self.LIMITS) as server, Client(server.address) as client:
            client.send(b"PUT / HTTP/1.1\r\nHost: t\r\nContent-Length: 10\r\n\r\n")
            for _ in range(10):
                time.sleep(0.15)
                client.send(b"x")
            assert client.answer().status == 200

    def test_a_working_gateway_is_not_idle(self) -> None:
        """A handler that takes longer than the limit, before or after it read the body, is left alone."""

        async def handle(scope: Scope, receive: Receive, send: Send) -> None:
            await asyncio.sleep(1)
            body = await read_body(receive)
            await asyncio.sleep(1)
            await reply(send, body)

        with running_server(application(handle), limits=self.LIMITS) as server, Client(server.address) as client:
            assert client.ask(method="PUT", body=b"x" * 100).body == b"x" * 100

    def test_an_answer_that_pauses(self) -> None:
        """Pauses between the pieces of an answer are the gateway's own: the connection stays."""

        async def handle(scope: Scope, receive: Receive, send: Send) -> None:
            await send({"type": "http.response.start", "status": 200, "headers": []})
            for _ in range(3):
                await send({"type": "http.response.body", "body": b" ", "more_body": True})
                await asyncio.sleep(0.7)
            await send({"type": "http.response.body", "body": b"done"})

        with running_server(application(handle), limits=self.LIMITS) as server, Client(server.address) as client:
            assert client.ask().body == b"   done"

    def test_a_client_that_does_not_read(self) -> None:
        """An answer of which nothing leaves for so long is broken off and its handler cancelled."""
        watched = Watched()
        with running_server(flood(watched, size=256 * MIB), limits=self.LIMITS) as server, Client(server.address) as client:
            client.send(b"GET / HTTP/1.1\r\nHost: t\r\n\r\n")
            assert watched.cancelled.wait(10)
            assert closed_early(server, "idle") == 1

    def test_a_client_that_reads_slowly(self) -> None:
        """As long as bytes leave, an answer may take any time."""
        watched = Watched()
        size = 12 * MIB
        server = running_server(flood(watched, size=size), limits=self.LIMITS)
        with server as running, Client(running.address, receive_buffer=65536) as client:
            client.send(b"GET / HTTP/1.1\r\nHost: t\r\n\r\n")
            received = 0
            while received < size:
                received += len(client.socket.recv(MIB // 2))
                time.sleep(0.01)

        assert not watched.cancelled.is_set()

    def test_no_limit(self) -> None:
        """Without an idle limit a silent body waits, and the head still has a deadline."""
        listen = ListenSettings(read_timeout_seconds=0.0)

        assert (Limits.of(listen).idle_seconds, Limits.of(listen).head_seconds) == (None, 60.0)


def flood(watched: Watched, *, size: int) -> ASGIApp:
    """Answers with `size` bytes as fast as they are taken."""

    async def handle(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % size)]})
        try:
            for _ in range(size // MIB):
                await send({"type": "http.response.body", "body": bytes(MIB), "more_body": True})
                watched.produced += MIB
            await send({"type": "http.response.body"})
        except asyncio.CancelledError:
            watched.cancelled.set()
            raise

    return application(handle)


class TestMemory:
    """Back-pressure, both ways."""

    def test_a_slow_reader_holds_the_handler_back(self) -> None:
        """Of an endless answer no more is produced than the sockets and one write buffer take."""
        watched = Watched()
        with running_server(flood(watched, size=1024 * MIB)) as server, Client(server.address, receive_buffer=65536) as client:
            client.send(b"GET / HTTP/1.1\r\nHost: t\r\n\r\n")
            time.sleep(1)
            produced = watched.produced
            unsent = max(connection._transport.get_write_buffer_size() for connection in server.server.server_state.connections)

        assert produced < 32 * MIB
        assert unsent <= 256 * 1024 + MIB

    def test_a_handler_that_does_not_read_holds_the_sender_back(self) -> None:
        """Of a body nobody reads no more is taken than the read-ahead and the sockets."""
        watched = Watched()

        async def handle(scope: Scope, receive: Receive, send: Send) -> None:
            await watched.released()
            watched.bodies.append(await read_body(receive))
            await reply(send)

        size = 96 * MIB
        with running_server(application(handle)) as server, Client(server.address) as client:
            client.send(b"PUT / HTTP/1.1\r\nHost: t\r\nContent-Length: %d\r\n\r\n" % size)
            sent = client.fill(size)
            held = sum(cycle._held for cycle in cycles(server))
            watched.release.set()
            client.send(bytes(size - sent))
            answer = client.answer()

        assert held <= 512 * 1024
        assert sent < 32 * MIB
        assert (answer.status, len(watched.bodies[0])) == (200, size)

    def test_tiny_pieces(self) -> None:
        """A body in pieces of one byte takes no more memory than one in large pieces, whoever cuts it."""
        watched = Watched()

        async def handle(scope: Scope, receive: Receive, send: Send) -> None:
            await watched.released()
            watched.bodies.append(await read_body(receive))
            await reply(send)

        with running_server(application(handle)) as server, Client(server.address) as client:
            client.send(request("PUT", "Transfer-Encoding: chunked"))
            client.send(b"1\r\nx\r\n" * 100_000)
            eventually(lambda: sum(cycle._held for cycle in cycles(server)) == 100_000)
            pieces = sum(len(cycle._pieces) for cycle in cycles(server))
            watched.release.set()
            client.send(b"0\r\n\r\n")
            answer = client.answer()

        assert pieces < 100
        assert (answer.status, len(watched.bodies[0])) == (200, 100_000)


class TestCap:
    """The number of connections."""

    @pytest.fixture(name="busy")
    def fixture_busy(self) -> Iterator[tuple[Watched, ASGIApp]]:
        watched = Watched()

        async def handle(scope: Scope, receive: Receive, send: Send) -> None:
            if scope["path"] == "/wait":
                await watched.released()
            if "s4.refused" in scope:
                await reply(send, f"<Code>{scope['s4.refused'].code}</Code>".encode(), status=scope["s4.refused"].status)
            else:
                await reply(send)

        yield watched, application(handle)
        watched.release.set()

    def test_the_idle_make_room(self, busy: tuple[Watched, ASGIApp]) -> None:
        """At the cap the connection that is idle for longest is closed for a new one."""
        _, app = busy
        with running_server(app, limits=Limits(connections=3)) as server, ExitStack() as stack:
            clients = [stack.enter_context(Client(server.address)) for _ in range(3)]
            for client in clients:
                assert client.ask().status == 200
                time.sleep(0.01)
            newcomer = stack.enter_context(Client(server.address))
            assert newcomer.ask().status == 200
            assert clients[0].closed()
            assert [client.ask().status for client in clients[1:]] == [200, 200]

    def test_beyond_the_cap_there_is_an_answer(self, busy: tuple[Watched, ASGIApp]) -> None:
        """Where all are busy a further connection gets SlowDown at once; when one ends there is room again."""
        watched, app = busy
        with running_server(app, limits=Limits(connections=2, linger_seconds=0.2)) as server, ExitStack() as stack:
            clients = [stack.enter_context(Client(server.address)) for _ in range(2)]
            for client in clients:
                client.send(b"GET /wait HTTP/1.1\r\nHost: t\r\n\r\n")
            eventually(lambda: server.metrics.connections == 2 and len(server.server.server_state.tasks) == 2)
            refused = stack.enter_context(Client(server.address)).answer()
            assert (refused.status, refused.code, refused.headers["connection"]) == (503, "SlowDown", "close")
            watched.release.set()
            assert [client.answer().status for client in clients] == [200, 200]
            assert stack.enter_context(Client(server.address)).ask().status == 200
            assert closed_early(server, "cap") == 1

    def test_a_flood_costs_no_more_than_its_share(self, busy: tuple[Watched, ASGIApp]) -> None:
        """Refused connections are few at any time: the others are reset, and the server goes on."""
        watched, app = busy
        with running_server(app, limits=Limits(connections=1)) as server, ExitStack() as stack:
            first = stack.enter_context(Client(server.address)).send(b"GET /wait HTTP/1.1\r\nHost: t\r\n\r\n")
            eventually(lambda: len(server.server.server_state.tasks) == 1)
            sockets = [stack.enter_context(socket.create_connection(server.address)) for _ in range(100)]
            eventually(lambda: closed_early(server, "cap") == 100)
            assert len(server.server.server_state.connections) <= 17
            assert len(sockets) == 100
            watched.release.set()
            assert first.answer().status == 200

    def test_the_server_stops_at_the_cap(self, busy: tuple[Watched, ASGIApp]) -> None:
        """A full server still hears that it is to stop, and drains."""
        watched, app = busy
        with running_server(app, limits=Limits(connections=1)) as server, Client(server.address) as client:
            client.send(b"GET /wait HTTP/1.1\r\nHost: t\r\n\r\n")
            eventually(lambda: len(server.server.server_state.tasks) == 1)
            server.stop()
            time.sleep(0.3)
            watched.release.set()
            assert client.answer().status == 200
            server.join(5)


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="counts file descriptors in /proc")
def test_nothing_is_kept_of_connections_that_ended() -> None:
    """After many connections that ended in every way the server holds none of them, nor their file descriptors."""
    descriptors = Path("/proc/self/fd")
    before = len(list(descriptors.iterdir()))
    requests = (b"", b"GET / HT", request("GET"), b"\0", request("PUT", "Content-Length: 9", body="x"))
    with running_server(echo(Watched()), limits=Limits(linger_seconds=0.1)) as server:
        for data in requests * 20:
            with Client(server.address) as client:
                client.send(data)
        eventually(lambda: server.metrics.connections == 0)
        eventually(lambda: not server.server.server_state.connections)
        eventually(lambda: not server.server.server_state.tasks)

    assert len(list(descriptors.iterdir())) <= before + 2
