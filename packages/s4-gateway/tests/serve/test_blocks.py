"""Long request bodies, read into blocks: every byte, in order, and nothing of what comes behind them."""

import random
import socket
import time

import pytest

from s4_gateway.serve import connection
from s4_gateway.serve.blocks import BLOCK_BYTES, WORTHWHILE_BYTES
from s4_gateway.testing.asgi import ASGIApp, Receive, Scope, Send
from s4_gateway.testing.server import running_server

from .helpers import Client, Watched, application, echo, eventually, reply

BODY = random.Random(8).randbytes(6 * BLOCK_BYTES)


def pieces_of(watched: Watched, sizes: list[int]) -> ASGIApp:
    """An application that keeps bodies and the sizes of the pieces in which they come."""

    async def handle(_scope: Scope, receive: Receive, send: Send) -> None:
        body = bytearray()
        more = True
        while more:
            message = await receive()
            if message["type"] != "http.request":
                return
            piece, more = message["body"], message["more_body"]
            sizes.append(len(piece))
            body += piece
            watched.entered.set()
        watched.bodies.append(bytes(body))
        await reply(send, b"%d" % len(body))

    return application(handle)


def head(size: int) -> bytes:
    """Of a PUT with a body."""
    return b"PUT /long HTTP/1.1\r\nHost: t\r\nContent-Length: %d\r\n\r\n" % size


@pytest.mark.parametrize("size", [WORTHWHILE_BYTES + BLOCK_BYTES + 1, 4 * BLOCK_BYTES - 1, 4 * BLOCK_BYTES, 4 * BLOCK_BYTES + 1, len(BODY)])
def test_whole_bodies(size: int) -> None:
    """Blocks end at multiples of their size in the body, the last with the body, and the connection goes on."""
    watched, sizes = Watched(), list[int]()
    body = BODY[:size]
    with running_server(pieces_of(watched, sizes)) as server, Client(server.address) as client:
        for _ in range(2):
            assert client.send(head(size) + body).answer().body == b"%d" % size
        assert client.ask("/next").body == b"0"

    assert watched.bodies == [body, body, b""]
    assert BLOCK_BYTES in sizes


def test_what_follows_is_another_request() -> None:
    """A request sent right behind a long body is not read into its last block."""
    watched, sizes = Watched(), list[int]()
    body = BODY[: 3 * BLOCK_BYTES + 77]
    with running_server(pieces_of(watched, sizes)) as server, Client(server.address) as client:
        client.send((head(len(body)) + body) * 3 + b"GET /next HTTP/1.1\r\nHost: t\r\n\r\n")
        answers = [client.answer().body for _ in range(4)]

    assert answers == [b"%d" % len(body)] * 3 + [b"0"]
    assert watched.bodies == [body, body, body, b""]


def test_a_client_that_becomes_slow() -> None:
    """After a fast beginning a body may trickle."""
    watched, sizes = Watched(), list[int]()
    body = BODY[: 3 * BLOCK_BYTES]
    with running_server(pieces_of(watched, sizes)) as server, Client(server.address) as client:
        client.send(head(len(body)) + body[:BLOCK_BYTES])
        assert watched.entered.wait(10)
        for at in range(BLOCK_BYTES, len(body), 100_003):
            client.send(body[at : at + 100_003])
            time.sleep(0.002)
        assert client.answer().body == b"%d" % len(body)

    assert watched.bodies == [body]


def test_a_body_that_ends_early() -> None:
    """What came of a body before the client ended its side reaches the application, a block that is not full included."""
    watched, sizes = Watched(), list[int]()
    with running_server(pieces_of(watched, sizes)) as server, Client(server.address) as client:
        client.send(head(len(BODY)) + BODY[: 3 * BLOCK_BYTES + 12_345])
        client.socket.shutdown(socket.SHUT_WR)
        assert client.answer().body == b"%d" % (3 * BLOCK_BYTES + 12_345)

    assert watched.bodies == [BODY[: 3 * BLOCK_BYTES + 12_345]]


def test_clients_that_break_off_cost_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """The number of bodies read into blocks is bounded, the others are read as usual, and whoever leaves makes room."""
    monkeypatch.setattr(connection, "MOST_READERS", 1)
    watched, sizes = Watched(), list[int]()
    body = BODY[: 4 * BLOCK_BYTES]
    with running_server(pieces_of(watched, sizes)) as server:
        with Client(server.address) as first, Client(server.address) as second:
            first.send(head(len(body)) + body[: 2 * BLOCK_BYTES + 5])
            eventually(lambda: BLOCK_BYTES in sizes)
            sizes.clear()
            assert second.send(head(len(body)) + body).answer().body == b"%d" % len(body)
            assert BLOCK_BYTES not in sizes
        eventually(lambda: _uses_blocks(server.address, body, sizes))

    assert body in watched.bodies
    assert all(body.startswith(seen) for seen in watched.bodies)


def _uses_blocks(address: tuple[str, int], body: bytes, sizes: list[int]) -> bool:
    sizes.clear()
    with Client(address) as client:
        client.send(head(len(body)) + body).answer()
    return BLOCK_BYTES in sizes


def test_an_answer_before_the_end() -> None:
    """An application that answers without reading is heard, whatever the client still sends."""

    async def handle(_scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await reply(send, b"enough", status=400)

    with running_server(application(handle)) as server, Client(server.address) as client:
        client.send(head(len(BODY)) + BODY[: 3 * BLOCK_BYTES])
        answer = client.answer()
        assert (answer.status, answer.body) == (400, b"enough")
        assert client.closed()


def test_a_short_rest_behind_the_answer() -> None:
    """A short rest of the body is dropped, and the connection carries the next request."""
    watched = Watched()

    async def handle(scope: Scope, receive: Receive, send: Send) -> None:
        seen = 0
        while scope["raw_path"] == b"/long" and seen < 3 * BLOCK_BYTES:
            seen += len((await receive())["body"])
        watched.entered.set()
        await watched.released()
        await reply(send, scope["raw_path"])

    with running_server(application(handle)) as server, Client(server.address) as client:
        client.send(head(4 * BLOCK_BYTES) + BODY[: 4 * BLOCK_BYTES - 1000])
        assert watched.entered.wait(10)
        time.sleep(0.3)
        watched.release.set()
        assert client.answer().body == b"/long"
        client.send(BODY[:1000])
        assert client.ask("/next").body == b"/next"


def test_transfer_coding_is_read_as_ever() -> None:
    """A body of unknown length is not read into blocks."""
    watched = Watched()
    body = BODY[: 3 * BLOCK_BYTES]
    with running_server(echo(watched)) as server, Client(server.address) as client:
        client.send(b"PUT /c HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%b\r\n0\r\n\r\n" % (len(body), body))
        assert client.answer().status == 200

    assert watched.bodies == [body]
