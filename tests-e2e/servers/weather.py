"""Hard weather in front of a store: a TCP proxy that does to each request what a `Sky` says."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from email.utils import formatdate

from s4_gateway.testing.exchange import Received, Reply
from s4_gateway.testing.weather.faults import TABLE, Ending, Fault, Reach, kind_of
from s4_gateway.testing.weather.sky import Sky

from servers.process import HOST

MOST = 1 << 26
"""Longest head or line that is read."""
BODILESS = frozenset({204, 304})

# What is left out: signatures hold the request as it is, and a gateway waits a minute for a store that is silent.
PLAYED = tuple(
    name for name, fault in TABLE.items() if fault.turn is None and fault.ending not in (Ending.SILENCE, Ending.STALL) and fault.delay == 0
)
"""The faults that can be played over real sockets, in time."""


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer as bytes."""

    head: bytes
    """With its empty line."""
    body: bytes


class Weather:
    """A proxy to one port of this machine.

    Attributes:
        port: its own.
        sky: decides.
    """

    def __init__(self, store_port: int, sky: Sky) -> None:
        self.port = 0
        self.sky = sky
        self._store_port = store_port
        self._connections: set[asyncio.Task[None]] = set()

    @contextlib.asynccontextmanager
    async def over(self) -> AsyncIterator[None]:
        """While it is up."""
        server = await asyncio.start_server(self._accepted, HOST, 0, limit=MOST)
        self.port = server.sockets[0].getsockname()[1]
        try:
            yield
        finally:
            server.close()
            for connection in self._connections:
                connection.cancel()
            await asyncio.gather(*self._connections, return_exceptions=True)

    async def deliver_late(self) -> None:
        """Send to the store what was held back and is due."""
        for held in self.sky.due():
            self.sky.carried_out(held, _reply(await self._ask(held.request)))

    def _accepted(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection = asyncio.create_task(self._serve(reader, writer))
        self._connections.add(connection)
        connection.add_done_callback(self._connections.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection of a gateway; requests come one after the other."""
        with contextlib.suppress(asyncio.CancelledError, asyncio.IncompleteReadError, ConnectionError):
            while await self._exchange(writer, await _request(reader, writer)):
                pass
        writer.close()
        with contextlib.suppress(asyncio.CancelledError, ConnectionError):
            await writer.wait_closed()

    async def _exchange(self, writer: asyncio.StreamWriter, request: Received) -> bool:
        """Answer one request; whether the connection goes on."""
        met = self.sky.meets(kind_of(request))
        await self.deliver_late()
        if met is None:
            answer = await self._ask(request)
            writer.write(answer.head + answer.body)
            return True
        fault, dose = met
        if fault.rival:
            await self.sky.let_rival_write()
        answer = await self._reach(request, fault, dose)
        if fault.say is not None:
            answer = _packed(request, fault.say(_reply(answer), dose))
        data = answer.head + answer.body
        match fault.ending:
            case Ending.WHOLE:
                writer.write(data)
            case Ending.CUT:
                writer.write(answer.head + answer.body[: len(answer.body) * dose // 100])
            case Ending.CUT_HEAD:
                writer.write(answer.head[: len(answer.head) * dose // 100])
            case Ending.TWICE:
                writer.write(data + data)
            case Ending.JUNK:
                writer.write(data + b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\njunk")
            case Ending.CLOSE:
                writer.write(data)
            case Ending.HANG_UP:
                pass
            case _:
                raise NotImplementedError(fault.name)
        return fault.ending in (Ending.WHOLE, Ending.TWICE, Ending.JUNK)

    async def _reach(self, request: Received, fault: Fault, dose: int) -> Answer:
        match fault.reach:
            case Reach.NEVER:
                return Answer(b"", b"")
            case Reach.ONCE:
                return await self._ask(request)
            case Reach.TWICE:
                await self._ask(request)
                return await self._ask(request)
            case Reach.LATE:
                self.sky.hold(request, dose)
                return Answer(b"", b"")

    async def _ask(self, request: Received) -> Answer:
        """The store's answer to a request, byte for byte."""
        reader, writer = await asyncio.open_connection(HOST, self._store_port, limit=MOST)
        try:
            lines = [f"{request.method} {request.target} HTTP/1.1".encode()]
            lines += [name + b": " + value for name, value in request.raw_headers]
            writer.write(b"\r\n".join(lines) + b"\r\n\r\n" + request.body)
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                status = int(head.split(b" ", 2)[1])
                if status >= 200:
                    break
            return Answer(head, await _body(reader, head, bodiless=request.method == "HEAD" or status in BODILESS))
        finally:
            writer.close()


async def _request(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> Received:
    head = await reader.readuntil(b"\r\n\r\n")
    first, *lines = head[:-4].split(b"\r\n")
    method, target, _ = first.decode("latin-1").split(" ")
    headers = tuple((name, value.strip()) for name, _, value in (line.partition(b":") for line in lines))
    if any((name.lower(), value.lower()) == (b"expect", b"100-continue") for name, value in headers):
        writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
    length = next((int(value) for name, value in headers if name.lower() == b"content-length"), 0)
    return Received(method, target, headers, await reader.readexactly(length))


async def _body(reader: asyncio.StreamReader, head: bytes, *, bodiless: bool) -> bytes:
    """The body behind a head as it is on the wire, chunk framing included."""
    headers = _headers(head)
    if bodiless:
        return b""
    if headers.get("transfer-encoding") == "chunked":
        pieces = []
        while True:
            line = await reader.readuntil(b"\r\n")
            pieces.append(line + await reader.readexactly(int(line, 16) + 2))
            if int(line, 16) == 0:
                return b"".join(pieces)
    return await reader.readexactly(int(headers.get("content-length", 0)))


def _headers(head: bytes) -> dict[str, str]:
    lines = head.decode("latin-1").split("\r\n")[1:]
    return {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines if line)}


def _reply(answer: Answer) -> Reply:
    """An answer as a value, its chunks joined."""
    if not answer.head:
        return Reply()
    headers, body = _headers(answer.head), answer.body
    if headers.pop("transfer-encoding", None) == "chunked":
        joined, at = b"", 0
        while size := int(body[at : (end := body.index(b"\r\n", at))], 16):
            joined += body[end + 2 : end + 2 + size]
            at = end + 4 + size
        body = joined
    return Reply(int(answer.head.split(b" ", 2)[1]), body, headers)


def _packed(request: Received, reply: Reply) -> Answer:
    own = {"date": formatdate(usegmt=True), **reply.headers}
    if request.method != "HEAD" and reply.status not in BODILESS:
        own["content-length"] = str(len(reply.body))
    lines = [f"HTTP/1.1 {reply.status} Because", *(f"{name}: {value}" for name, value in own.items()), "", ""]
    return Answer("\r\n".join(lines).encode("latin-1"), b"" if request.method == "HEAD" else reply.body)
