"""A client connection: requests behind each other, their bodies, and whatever else comes."""

import asyncio
from hashlib import sha256
from types import SimpleNamespace
from typing import Any, cast

from s4_gateway.app import REFUSED
from s4_gateway.errors import S3Error
from s4_gateway.observe import Metrics
from s4_gateway.serve.answer import CONTINUE
from s4_gateway.serve.connection import Connection
from s4_gateway.serve.limits import Limits
from s4_gateway.serve.listener import Listener
from starlette.types import Receive, Scope, Send

from fuzzing.target import Target, cuts, require

LIMITS = Limits(header_bytes=8 * 1024)
TURNS = 12
"""Of the loop, after which a handler without anything to wait for has ended."""
LOOP = asyncio.new_event_loop()


class Wire:
    """The transport: keeps what is written."""

    def __init__(self) -> None:
        self.written = b""
        self.closed = self.aborted = self.paused = False

    def write(self, data: bytes) -> None:
        if not self.closed:
            self.written += bytes(data)

    def close(self) -> None:
        self.closed = True

    def abort(self) -> None:
        self.closed = self.aborted = True

    def is_closing(self) -> bool:
        return self.closed

    def pause_reading(self) -> None:
        self.paused = True

    def resume_reading(self) -> None:
        self.paused = False

    def write_eof(self) -> None:
        pass

    def set_write_buffer_limits(self, high: int, low: int) -> None:
        pass

    def get_write_buffer_size(self) -> int:
        return 0

    def get_extra_info(self, _name: str) -> None:
        return None


async def echo(scope: Scope, receive: Receive, send: Send) -> None:
    """Answers with what it was asked: method, target, and the digest of the body."""
    digest, status = sha256(), 200
    if REFUSED in scope:
        status = scope[REFUSED].status
    else:
        try:
            while (message := await receive())["type"] == "http.request":
                digest.update(message["body"])
                if not message["more_body"]:
                    break
        except S3Error as error:
            # How much came before it depends on the cuts.
            digest, status = sha256(), error.status
    text = b"%s %s?%s %s" % (scope["method"].encode(), scope["raw_path"], scope["query_string"], digest.hexdigest().encode())
    await send({"type": "http.response.start", "status": status, "headers": [(b"content-length", b"%d" % len(text))]})
    await send({"type": "http.response.body", "body": text})


async def _talk(pieces: list[bytes]) -> tuple[bytes, bool]:
    """What a client reads that sends these pieces, and whether its connection is still open."""
    state = SimpleNamespace(connections=set(), tasks=set(), total_requests=0)
    config = cast("Any", SimpleNamespace(loaded_app=echo))
    connection = Connection(Listener(LIMITS, Metrics()), config=config, server_state=cast("Any", state), app_state={}, _loop=LOOP)
    wire = Wire()
    connection.connection_made(cast("asyncio.Transport", wire))
    for piece in pieces:
        if wire.closed:
            break
        connection.data_received(piece)
        for _ in range(TURNS):
            await asyncio.sleep(0)
    open_still = not wire.closed
    connection.connection_lost(None)
    for _ in range(TURNS):
        await asyncio.sleep(0)
    require(not state.tasks and not state.connections, "nothing is left of a connection")
    # Whether it is sent depends on what of the body has come.
    return wire.written.replace(CONTINUE, b""), open_still


def check_connection(data: bytes) -> None:
    """However the network cuts what a client sends, it reads the same answers."""
    if not data:
        return
    seed, sent = data[0], data[1:]
    whole = LOOP.run_until_complete(_talk([sent]))
    require(LOOP.run_until_complete(_talk(cuts(sent, seed))) == whole, "a cut conversation has the answers of a whole one")


_GET = b"GET /b/k?x HTTP/1.1\r\nHost: h\r\n\r\n"

TARGETS = (
    Target(
        "connection",
        check_connection,
        modules=tuple(f"s4_gateway.serve.{name}" for name in ("connection", "cycle", "framing", "answer")),
        seeds=(
            b"\x01" + _GET + _GET,
            b"\x02PUT /b/k HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nhello" + _GET,
            b"\x03PUT /b/k HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n" + _GET,
            b"\x04PUT /b/k HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\nhello" + _GET,
            b"\x05GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n" + _GET,
            b"\x06\r\n\r\nHEAD / HTTP/1.0\r\n\r\n",
        ),
        words=(
            b"\r\n\r\n",
            b"\r\n",
            b"Content-Length: ",
            b"Transfer-Encoding: chunked\r\n",
            b"Expect: 100-continue\r\n",
            b"0\r\n\r\n",
            _GET,
        ),
        max_bytes=1024,
    ),
)
