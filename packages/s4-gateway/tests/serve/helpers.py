"""A client that speaks bytes, and applications to speak with."""

import asyncio
import json
import socket
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Self

from s4_gateway.testing.asgi import ASGIApp, Receive, Scope, Send

TIMEOUT = 10.0


@dataclass(frozen=True)
class Answer:
    """One response as it came."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def code(self) -> str:
        """Code of the S3 error document."""
        return self.body.decode().partition("<Code>")[2].partition("</Code>")[0]


class Client:
    """One connection; reads whole responses and fails after TIMEOUT seconds."""

    def __init__(self, address: tuple[str, int], *, receive_buffer: int | None = None) -> None:
        self.socket = socket.socket()
        if receive_buffer is not None:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self.socket.settimeout(TIMEOUT)
        self.socket.connect(address)
        self.held = b""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    def send(self, data: bytes) -> Self:
        self.socket.sendall(data)
        return self

    def answer(self, *, head: bool = False) -> Answer:
        """The next response; `head` = to a HEAD request."""
        status_line, headers = self._head()
        status = int(status_line.split()[1])
        if head or status in (204, 304) or 100 <= status < 200:
            return Answer(status, headers, b"")
        if headers.get("transfer-encoding") == "chunked":
            return Answer(status, headers, self._chunked())
        if "content-length" in headers:
            return Answer(status, headers, self._exactly(int(headers["content-length"])))
        return Answer(status, headers, self.rest())

    def fill(self, most: int, *, piece: bytes = bytes(2**20)) -> int:
        """Send until nothing is taken for a second, or `most` bytes are sent; bytes sent."""
        self.socket.settimeout(1)
        sent = 0
        try:
            while sent < most:
                sent += self.socket.send(piece)
        except TimeoutError:
            pass
        self.socket.settimeout(TIMEOUT)
        return sent

    def ask(self, target: str = "/", *, method: str = "GET", headers: str = "", body: bytes = b"") -> Answer:
        """One whole request and its response."""
        framing = f"Content-Length: {len(body)}\r\n" if body else ""
        self.send(f"{method} {target} HTTP/1.1\r\nHost: test\r\n{framing}{headers}\r\n".encode("latin-1") + body)
        return self.answer(head=method == "HEAD")

    def rest(self) -> bytes:
        """All bytes up to the end of the connection. A reset is an error."""
        data, self.held = self.held, b""
        while piece := self.socket.recv(65536):
            data += piece
        return data

    def closed(self) -> bool:
        """Whether the server ends the connection, with nothing more to say, before TIMEOUT."""
        try:
            return self.rest() == b""
        except ConnectionResetError:
            return True

    def _head(self) -> tuple[str, dict[str, str]]:
        while b"\r\n\r\n" not in self.held:
            self._more()
        head, _, self.held = self.held.partition(b"\r\n\r\n")
        status_line, *lines = head.decode("latin-1").split("\r\n")
        return status_line, {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}

    def _chunked(self) -> bytes:
        body = b""
        while True:
            while b"\r\n" not in self.held:
                self._more()
            size, _, self.held = self.held.partition(b"\r\n")
            body += self._exactly(int(size, 16))
            assert self._exactly(2) == b"\r\n"
            if int(size, 16) == 0:
                return body

    def _exactly(self, size: int) -> bytes:
        while len(self.held) < size:
            self._more()
        data, self.held = self.held[:size], self.held[size:]
        return data

    def _more(self) -> None:
        piece = self.socket.recv(65536)
        if not piece:
            raise EOFError(f"the connection ended behind {self.held[:200]!r}")
        self.held += piece


@dataclass
class Watched:
    """What an application saw, for assertions from the test's thread."""

    requests: list[Scope] = field(default_factory=list)
    bodies: list[bytes] = field(default_factory=list)
    cancelled: threading.Event = field(default_factory=threading.Event)
    entered: threading.Event = field(default_factory=threading.Event)
    release: threading.Event = field(default_factory=threading.Event)
    produced: int = 0

    async def released(self) -> None:
        """Wait for the test to set `release`."""
        while not self.release.is_set():  # noqa: ASYNC110 - it is set in another thread
            await asyncio.sleep(0.005)


def application(handle: ASGIApp) -> ASGIApp:
    """An ASGI application with lifespan around a handler of requests."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            for kind in ("startup", "shutdown"):
                assert (await receive())["type"] == f"lifespan.{kind}"
                await send({"type": f"lifespan.{kind}.complete"})
        else:
            await handle(scope, receive, send)

    return app


async def read_body(receive: Receive) -> bytes:
    """The whole body."""
    pieces: list[bytes] = []
    while True:
        message = await receive()
        assert message["type"] == "http.request"
        pieces.append(message["body"])
        if not message["more_body"]:
            return b"".join(pieces)


async def reply(send: Send, body: bytes = b"", *, status: int = 200, headers: tuple[tuple[bytes, bytes], ...] = ()) -> None:
    """A whole answer."""
    await send({"type": "http.response.start", "status": status, "headers": [(b"content-length", b"%d" % len(body)), *headers]})
    await send({"type": "http.response.body", "body": body})


def echo(watched: Watched) -> ASGIApp:
    """Reads the body and answers with what it saw, as JSON."""

    async def handle(scope: Scope, receive: Receive, send: Send) -> None:
        watched.requests.append(scope)
        if "s4.refused" in scope:
            error = scope["s4.refused"]
            document = f"<Error><Code>{error.code}</Code></Error>".encode()
            await reply(send, document, status=error.status, headers=((b"connection", b"close"),))
            return
        body = await read_body(receive)
        watched.bodies.append(body)
        seen = {"method": scope["method"], "path": scope["raw_path"].decode("latin-1"), "size": len(body)}
        await reply(send, json.dumps(seen).encode())

    return application(handle)


def request(method: str, *headers: str, body: str = "", target: str = "/") -> bytes:
    """A request with exactly these headers beside Host."""
    return "\r\n".join((f"{method} {target} HTTP/1.1", "Host: t", *headers, "", body)).encode("latin-1")


def eventually(true: Callable[[], bool], *, seconds: float = TIMEOUT) -> None:
    """Wait until a condition holds; fail if it does not in time."""
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.005)
