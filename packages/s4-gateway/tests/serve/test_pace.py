"""What deeper layers see of a client, and how its exchange ends when it is dismissed."""

import asyncio
import threading
from dataclasses import dataclass, field

import pytest

from s4_gateway.errors import S3Error
from s4_gateway.peer import PEER, Peer
from s4_gateway.testing.asgi import ASGIApp, Receive, Scope, Send
from s4_gateway.testing.server import RunningServer, running_server

from .helpers import Client, application, eventually, read_body, reply

MIB = 2**20
HEAD = b"PUT / HTTP/1.1\r\nHost: t\r\nContent-Length: 100000\r\n\r\n"


@dataclass
class Seen:
    """The peer of each request, and how its handler ended."""

    peers: list[Peer] = field(default_factory=list)
    cancelled: threading.Event = field(default_factory=threading.Event)
    go: threading.Event = field(default_factory=threading.Event)
    before: bool = False
    """Wait for `go` before the body is read."""
    answer: int = 0
    """MiB of the answer."""

    def app(self) -> ASGIApp:
        async def handle(scope: Scope, receive: Receive, send: Send) -> None:
            peer = PEER.get()
            assert peer is not None
            self.peers.append(peer)
            try:
                while self.before and not self.go.is_set():  # noqa: ASYNC110 - it is set in another thread
                    await asyncio.sleep(0.005)
                try:
                    await read_body(receive)
                except S3Error as error:
                    await reply(send, f"<Code>{error.code}</Code>".encode(), status=error.status)
                    return
                await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % (self.answer * MIB))]})
                for _ in range(self.answer):
                    await send({"type": "http.response.body", "body": bytes(MIB), "more_body": True})
                await send({"type": "http.response.body"})
            except asyncio.CancelledError:
                self.cancelled.set()
                raise

        return application(handle)


def dismiss(server: RunningServer, peer: Peer) -> None:
    """As the object layer does it, on the server's loop."""
    assert server.server._loop is not None
    server.server._loop.call_soon_threadsafe(peer.dismiss)


def slow(server: RunningServer) -> float:
    """Clients that were dismissed."""
    return server.metrics.tallies["s4_gateway_connections_closed"]["slow",]


def test_slow_body() -> None:
    """A client whose body is waited for is told to slow down, and its connection ends."""
    seen = Seen()
    with running_server(seen.app()) as server, Client(server.address) as client:
        client.send(HEAD + bytes(1000))
        eventually(lambda: bool(seen.peers) and seen.peers[0].moved_bytes == len(HEAD) + 1000)
        assert seen.peers[0].due
        dismiss(server, seen.peers[0])
        answer = client.answer()
        assert (answer.status, answer.code, answer.headers["connection"]) == (503, "SlowDown", "close")
        assert client.closed()
        assert slow(server) == 1


def test_slow_body_whose_handler_waits_for_others() -> None:
    """Where the handler is not reading there is nobody to answer: it is cancelled, and the connection broken off."""
    seen = Seen(before=True)
    with running_server(seen.app()) as server, Client(server.address) as client:
        client.send(HEAD + bytes(1000))
        eventually(lambda: bool(seen.peers))
        assert seen.peers[0].due
        dismiss(server, seen.peers[0])
        assert client.closed()
        assert seen.cancelled.wait(5)
        assert slow(server) == 1


def test_body_that_came_as_far_as_it_may() -> None:
    """A client whose bytes the gateway does not take, and one that has sent everything, are not slow."""
    seen = Seen(before=True)
    with running_server(seen.app()) as server, Client(server.address) as client, Client(server.address) as other:
        client.send(b"PUT / HTTP/1.1\r\nHost: t\r\nContent-Length: %d\r\n\r\n" % (64 * MIB)).fill(64 * MIB)
        other.send(HEAD + bytes(100_000))
        eventually(lambda: len(seen.peers) == 2 and not any(peer.due for peer in seen.peers))


def test_slow_reader() -> None:
    """An answer that is not taken shows as the client's turn, and dismissing it breaks the answer off."""
    seen = Seen(answer=64)
    with running_server(seen.app()) as server, Client(server.address, receive_buffer=65536) as client:
        client.send(b"GET / HTTP/1.1\r\nHost: t\r\n\r\n")
        eventually(lambda: bool(seen.peers) and seen.peers[0].due)
        before = seen.peers[0].moved_bytes
        assert before < 64 * MIB
        client.socket.recv(MIB)
        dismiss(server, seen.peers[0])
        assert seen.cancelled.wait(5)
        with pytest.raises(ConnectionResetError):
            client.rest()
        assert slow(server) == 1
        assert not seen.peers[0].due


def test_next_request() -> None:
    """Bytes are counted over all requests of a connection, and between them it is nobody's turn."""
    seen = Seen()
    with running_server(seen.app()) as server, Client(server.address) as client:
        client.ask()
        first = seen.peers[0].moved_bytes
        assert first > 0
        assert not seen.peers[0].due
        client.ask(method="PUT", body=bytes(1000))
        assert seen.peers[1].moved_bytes > first + 1000
