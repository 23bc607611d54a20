"""Requests and answers over a real socket: framing, order, and what is written how."""

import json
import socket
import time

import pytest

from s4_gateway.serve.limits import Limits
from s4_gateway.testing.asgi import ASGIApp, Receive, Scope, Send
from s4_gateway.testing.server import running_server

from .helpers import Client, Watched, application, echo, eventually, read_body, reply


def test_keep_alive() -> None:
    """One connection carries many requests, with bodies and without, in both framings."""
    watched = Watched()
    with running_server(echo(watched)) as server, Client(server.address) as client:
        sizes = [json.loads(client.ask("/a", method="PUT", body=b"x" * size).body)["size"] for size in (0, 1, 300_000)]
        client.send(b"PUT /c HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n")
        chunked = json.loads(client.answer().body)
        last = client.ask("/b")

    assert sizes == [0, 1, 300_000]
    assert (chunked["size"], last.status) == (3, 200)
    assert watched.bodies == [b"", b"x", b"x" * 300_000, b"abc", b""]


def test_byte_by_byte() -> None:
    """A request that comes one byte at a time is the same request."""
    watched = Watched()
    request = b"\r\nPUT /a%20b?x HTTP/1.1\r\nHost: t\r\nContent-Length: 5\r\n\r\nhello"
    with running_server(echo(watched)) as server, Client(server.address) as client:
        client.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for i in range(len(request)):
            client.send(request[i : i + 1])
        answer = client.answer()

    assert json.loads(answer.body) == {"method": "PUT", "path": "/a%20b", "size": 5}
    assert watched.requests[0]["path"] == "/a b"
    assert watched.requests[0]["query_string"] == b"x"
    assert watched.requests[0]["client"][0] == "127.0.0.1"


def test_pipelining() -> None:
    """Requests sent without waiting are answered in order, one at a time, bodies included."""
    watched = Watched()
    running = 0
    most = 0

    async def handle(scope: Scope, receive: Receive, send: Send) -> None:
        nonlocal running, most
        running += 1
        most = max(most, running)
        body = await read_body(receive)
        await watched.released()
        running -= 1
        await reply(send, scope["raw_path"] + b":" + body)

    requests = b"".join(
        b"PUT /%d HTTP/1.1\r\nHost: t\r\nContent-Length: 3\r\n\r\n%03dGET /g%d HTTP/1.1\r\nHost: t\r\n\r\n" % (i, i, i) for i in range(20)
    )
    with running_server(application(handle)) as server, Client(server.address) as client:
        client.send(requests)
        watched.release.set()
        answers = [client.answer().body for _ in range(40)]

    assert answers == [body for i in range(20) for body in (b"/%d:%03d" % (i, i), b"/g%d:" % i)]
    assert most == 1


def test_pipelined_requests_wait_in_the_kernel() -> None:
    """While a request is worked on, no more than a head's limit of what follows is taken into memory."""
    watched = Watched()

    async def handle(scope: Scope, receive: Receive, send: Send) -> None:
        watched.entered.set()
        await watched.released()
        await reply(send)

    request = b"GET / HTTP/1.1\r\nHost: t\r\n\r\n"
    with running_server(application(handle), limits=Limits(header_bytes=16_384)) as server, Client(server.address) as client:
        client.send(request)
        assert watched.entered.wait(5)
        sent = client.fill(64 * 2**20, piece=request * 4096)
        watched.release.set()
        answers = [client.answer().status for _ in range(200)]

    assert answers == [200] * 200
    assert sent < 32 * 2**20


def test_an_answer_is_one_packet() -> None:
    """Head and small body leave together, and the socket does not wait to fill packets."""
    with running_server(echo(Watched())) as server, Client(server.address) as client:
        client.send(b"GET / HTTP/1.1\r\nHost: t\r\n\r\n")
        time.sleep(0.2)
        first = client.socket.recv(65536)
        connection = next(iter(server.server.server_state.connections))
        no_delay = connection._transport.get_extra_info("socket").getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)

    assert first.endswith(b"}")
    assert no_delay


@pytest.fixture(name="length")
def fixture_length() -> ASGIApp:
    """An application whose answer has no declared length."""

    async def handle(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        for piece in (b"one ", b"", b"two"):
            await send({"type": "http.response.body", "body": piece, "more_body": True})
        await send({"type": "http.response.body"})

    return application(handle)


def test_answers_without_a_length(length: ASGIApp) -> None:
    """HTTP/1.1 gets chunks and keeps the connection; HTTP/1.0 gets bytes up to its end; HEAD gets neither."""
    with running_server(length) as server:
        with Client(server.address) as client:
            first, second = client.ask(), client.ask(method="HEAD")
            third = client.ask()
        with Client(server.address) as client:
            client.send(b"GET / HTTP/1.0\r\n\r\n")
            old = client.answer()

    assert (first.body, first.headers["transfer-encoding"]) == (b"one two", "chunked")
    assert "transfer-encoding" not in second.headers
    assert third.body == b"one two"
    assert (old.body, old.headers) == (b"one two", {"connection": "close"})


@pytest.mark.parametrize("request_line", ["GET / HTTP/1.1\r\nHost: t\r\nConnection: close", "GET / HTTP/1.0"])
def test_the_client_asks_for_the_end(request_line: str) -> None:
    """`Connection: close` and HTTP/1.0 end the connection behind the answer, and the answer says so."""
    with running_server(echo(Watched())) as server, Client(server.address) as client:
        client.send(f"{request_line}\r\n\r\n".encode())
        answer = client.answer()
        closed = client.closed()

    assert (answer.status, answer.headers["connection"], closed) == (200, "close", True)


def test_head_and_bodiless_answers() -> None:
    """HEAD keeps the length of the body that is not sent; 204 and 304 have none; the connection goes on."""

    async def handle(scope: Scope, receive: Receive, send: Send) -> None:
        status = int(scope["raw_path"][1:])
        headers = [(b"content-length", b"7")] if status == 200 else []
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": b"" if status != 200 else b"1234567"})

    with running_server(application(handle)) as server, Client(server.address) as client:
        answers = [client.ask("/200", method="HEAD"), client.ask("/204"), client.ask("/304"), client.ask("/200")]

    assert [(answer.status, answer.headers.get("content-length"), answer.body) for answer in answers] == [
        (200, "7", b""),
        (204, None, b""),
        (304, None, b""),
        (200, "7", b"1234567"),
    ]


class TestExpect:
    """Expect: 100-continue (RFC 9110 10.1.1)."""

    HEAD = b"PUT / HTTP/1.1\r\nHost: t\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n"

    def test_continue_comes_when_the_body_is_wanted(self) -> None:
        """The interim answer waits until the handler reads; then body and final answer follow on a connection that lives on."""
        watched = Watched()

        async def handle(scope: Scope, receive: Receive, send: Send) -> None:
            watched.entered.set()
            await watched.released()
            await reply(send, await read_body(receive))

        with running_server(application(handle)) as server, Client(server.address) as client:
            client.send(self.HEAD)
            assert watched.entered.wait(5)
            client.socket.settimeout(0.2)
            with pytest.raises(TimeoutError):
                client.socket.recv(1)
            client.socket.settimeout(10)
            watched.release.set()
            interim = client.answer()
            final = client.send(b"hello").answer()
            again = client.ask(method="PUT", body=b"x")

        assert (interim.status, final.body, again.body) == (100, b"hello", b"x")

    def test_a_refusal_needs_no_body(self) -> None:
        """A final answer without 100 Continue ends the connection: what comes next could be the body or not."""

        async def handle(scope: Scope, receive: Receive, send: Send) -> None:
            await reply(send, b"no", status=403)

        with running_server(application(handle)) as server, Client(server.address) as client:
            answer = client.send(self.HEAD).answer()
            closed = client.closed()

        assert (answer.status, answer.headers["connection"], closed) == (403, "close", True)

    def test_an_empty_body_is_answered_in_two_steps_too(self) -> None:
        """Where there is no body to wait for, 100 Continue still comes first, and the connection lives on."""
        with running_server(echo(Watched())) as server, Client(server.address) as client:
            client.send(self.HEAD.replace(b"Length: 5", b"Length: 0"))
            interim, final = client.answer(), client.answer()
            again = client.ask(method="PUT", body=b"x")

        assert (interim.status, final.status, json.loads(final.body)["size"], again.status) == (100, 200, 0, 200)

    def test_a_body_that_comes_unasked_needs_no_continue(self) -> None:
        """A client that does not wait is not told to go on."""
        with running_server(echo(Watched())) as server, Client(server.address) as client:
            answer = client.send(self.HEAD + b"hello").answer()

        assert answer.status == 200


class TestUnreadBodies:
    """What happens to a body that the handler does not read."""

    @staticmethod
    def refusing() -> ASGIApp:
        async def handle(scope: Scope, receive: Receive, send: Send) -> None:
            await reply(send, b"no", status=403)

        return application(handle)

    def test_a_short_rest_is_dropped(self) -> None:
        """A small unread body does not cost the connection, also when it comes after the answer."""
        with running_server(self.refusing()) as server, Client(server.address) as client:
            first = client.ask(method="PUT", body=b"x" * 1000)
            client.send(b"PUT / HTTP/1.1\r\nHost: t\r\nContent-Length: 1000\r\n\r\n")
            second = client.answer()
            client.send(b"y" * 1000)
            third = client.ask()

        assert [first.status, second.status, third.status] == [403] * 3
        assert "connection" not in second.headers

    def test_a_long_rest_ends_the_connection(self) -> None:
        """The client of a long body gets its answer while it still sends, although nobody reads what it sends."""
        with running_server(self.refusing(), limits=Limits(linger_seconds=1.0)) as server, Client(server.address) as client:
            client.send(b"PUT / HTTP/1.1\r\nHost: t\r\nContent-Length: 1000000000\r\n\r\n")
            for _ in range(32):
                client.send(b"x" * 65536)
            answer = client.answer()
            eventually(lambda: server.metrics.connections == 0)

        assert (answer.status, answer.headers["connection"], answer.body) == (403, "close", b"no")


class TestBrokenAnswers:
    """A clean end is only ever the right body."""

    @staticmethod
    def failing(*, length: int | None, pieces: int = 1) -> ASGIApp:
        async def handle(scope: Scope, receive: Receive, send: Send) -> None:
            headers = [] if length is None else [(b"content-length", b"%d" % length)]
            await send({"type": "http.response.start", "status": 200, "headers": headers})
            for _ in range(pieces):
                await send({"type": "http.response.body", "body": b"x" * 1000, "more_body": True})

        return application(handle)

    @pytest.mark.parametrize("head", [b"GET / HTTP/1.1\r\nHost: t\r\n\r\n", b"GET / HTTP/1.0\r\n\r\n"])
    @pytest.mark.parametrize("length", [5000, None])
    def test_an_unfinished_answer_is_broken_off(self, head: bytes, length: int | None) -> None:
        """An application that returns early breaks the connection with a reset, whatever framing the answer has."""
        with running_server(self.failing(length=length)) as server, Client(server.address) as client:
            client.send(head)
            with pytest.raises((ConnectionResetError, EOFError)):
                client.answer()

    def test_an_answer_that_lacks_only_its_last_message(self) -> None:
        """All bytes that were declared are out: they are not destroyed, and the connection ends."""
        with running_server(self.failing(length=1000)) as server, Client(server.address) as client:
            client.send(b"GET / HTTP/1.1\r\nHost: t\r\n\r\n")
            answer = client.answer()
            closed = client.closed()

        assert (len(answer.body), closed) == (1000, True)

    def test_too_many_bytes(self) -> None:
        """An application that sends more than it declared is broken off before the excess."""
        with running_server(self.failing(length=1500, pieces=2)) as server, Client(server.address) as client:
            client.send(b"GET / HTTP/1.1\r\nHost: t\r\n\r\n")
            with pytest.raises((ConnectionResetError, EOFError)):
                client.answer()

    @pytest.mark.parametrize("value", [b"a\r\nSet-Cookie: x", b"a\nb", b"a\rb", b"a\0b"])
    def test_a_header_cannot_end_a_line(self, value: bytes) -> None:
        """A header value with a line end is an error for the application, which can still answer with another one."""

        async def handle(scope: Scope, receive: Receive, send: Send) -> None:
            try:
                await reply(send, headers=((b"x-amz-meta-a", value),))
            except ValueError:
                await reply(send, b"refused", status=500)

        with running_server(application(handle)) as server, Client(server.address) as client:
            answer = client.ask()

        assert (answer.status, answer.body, "set-cookie" in answer.headers) == (500, b"refused", False)


def test_the_server_says_nothing_of_itself() -> None:
    """No Server and no Date header but the application's."""
    with running_server(echo(Watched())) as server, Client(server.address) as client:
        assert client.ask().headers.keys() == {"content-length"}


def test_a_stopped_server_accepts_nothing() -> None:
    """The port is free when the server has ended."""
    with running_server(echo(Watched())) as server:
        pass
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(server.address, timeout=5)
