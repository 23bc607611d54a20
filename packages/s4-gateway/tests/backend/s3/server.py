"""An HTTP server whose every answer is scripted: it drops, delays, cuts and lies. It checks signatures and digests of what it gets."""

import asyncio
import ssl
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from email.utils import formatdate

from s4_gateway.backend.s3 import S3Backend, S3Options, StaticCredentials
from s4_gateway.testing.exchange import KEYS, Handler, Received, Reply, check, error_reply

OBJECT_HEADERS = {"etag": '"0123456789abcdef0123456789abcdef"', "last-modified": formatdate(1_700_000_000, usegmt=True)}
ETAG = "0123456789abcdef0123456789abcdef"


def object_reply(body: bytes, *, status: int = 200, **headers: str) -> Reply:
    """An answer that carries an object."""
    return Reply(status, body, {**OBJECT_HEADERS, **{name.replace("_", "-"): value for name, value in headers.items()}})


class Server:
    """Answers from a script, then from `handler`.

    Attributes:
        received: all requests.
        arrived: set by the first of them since it was cleared.
        connections: how many were opened.
        deaf: read heads only, so that bodies pile up.
        hasty: answer before a body comes, and read none of it.
    """

    def __init__(self, handler: Handler | None = None) -> None:
        self.received: list[Received] = []
        self.arrived = asyncio.Event()
        self.connections = 0
        self.deaf = False
        self.hasty = False
        self.url = ""
        self._handler = handler
        self._script: deque[Reply] = deque()
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    def script(self, *replies: Reply) -> None:
        """The next answers, in order."""
        self._script.extend(replies)

    @property
    def unspent(self) -> int:
        """Scripted answers that nobody asked for."""
        return len(self._script)

    async def start(self, tls: ssl.SSLContext | None = None) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0, limit=2**20, ssl=tls)
        self.url = f"{'https' if tls else 'http'}://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    async def close(self) -> None:
        assert self._server is not None
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self.connections += 1
        try:
            while await self._exchange(reader, writer):
                pass
        except (asyncio.CancelledError, asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            self._tasks.discard(task)
            writer.transport.abort()

    async def _exchange(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        head = await reader.readuntil(b"\r\n\r\n")
        if self.deaf:
            await asyncio.sleep(3600)
        first, *lines = head[:-4].split(b"\r\n")
        method, target, _ = first.decode("latin-1").split(" ")
        raw_headers = tuple((name, value.strip()) for name, _, value in (line.partition(b":") for line in lines))
        length = next((int(value) for name, value in raw_headers if name.lower() == b"content-length"), 0)
        if self.hasty:
            await _send(writer, Received(method, target, raw_headers, b""), self._script.popleft())
            await asyncio.sleep(3600)
        request = Received(method, target, raw_headers, await reader.readexactly(length))
        self.received.append(request)
        self.arrived.set()
        reply = check(request) or (self._script.popleft() if self._script else await self._answer(request))
        return await _send(writer, request, reply)

    async def _answer(self, request: Received) -> Reply:
        if self._handler is None:
            return error_reply("InternalError", 501, "the script is over")
        return await self._handler(request)


async def _send(writer: asyncio.StreamWriter, request: Received, reply: Reply) -> bool:
    """Send the answer; whether the connection goes on."""
    if reply.silent:
        await asyncio.sleep(3600)
    await asyncio.sleep(reply.delay)
    if reply.drop:
        return False
    if reply.raw is not None:
        writer.write(reply.raw)
        await writer.drain()
        return False
    own = {} if reply.bare else {"content-length": str(len(reply.body)), "date": formatdate(usegmt=True), "server": "stub"}
    lines = [f"HTTP/1.1 {reply.status} Because".encode()]
    for name, value in {**own, **reply.headers}.items():
        lines.append(name.encode("latin-1") + b": " + (value if isinstance(value, bytes) else value.encode("latin-1")))
    writer.write(b"\r\n".join(lines) + b"\r\n\r\n")
    if request.method != "HEAD":
        writer.write(reply.body if reply.cut is None else reply.body[: reply.cut])
    await writer.drain()
    if reply.behind:
        await asyncio.sleep(0.01)
        writer.write(reply.behind)
    return reply.cut is None and not reply.bare


@asynccontextmanager
async def serving(handler: Handler | None = None, *, tls: ssl.SSLContext | None = None) -> AsyncIterator[Server]:
    """A started server."""
    server = Server(handler)
    await server.start(tls)
    try:
        yield server
    finally:
        await server.close()


def options(url: str, **changes: object) -> S3Options:
    """Impatient settings."""
    given: dict[str, object] = {"read_timeout": 5.0, "commit_timeout": 5.0, "backoff": 0.001, "connect_timeout": 2.0, **changes}
    return S3Options(url, **given)  # type: ignore[arg-type]


@asynccontextmanager
async def connected(server: Server, **changes: object) -> AsyncIterator[S3Backend]:
    """A client whose pool is open, without having asked the server anything: only its first greeting is scripted."""
    server.script(error_reply("AccessDenied", 403), error_reply("AccessDenied", 403))
    backend = S3Backend(options(server.url, **changes), StaticCredentials(KEYS))
    await backend.start()
    server.received.clear()
    server.arrived.clear()
    backend.requests.clear()
    try:
        yield backend
    finally:
        await backend.close()
