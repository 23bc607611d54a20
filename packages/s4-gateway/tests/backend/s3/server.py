"""An HTTP server whose every answer is scripted: it drops, delays, cuts and lies. It checks signatures and digests of what it gets."""

import asyncio
import hashlib
import re
import ssl
from base64 import b64encode
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from email.utils import formatdate
from urllib.parse import unquote, unquote_plus

from s4_gateway import sigv4
from s4_gateway.backend.s3 import KeyPair, S3Backend, S3Options, StaticCredentials

KEYS = KeyPair("AKIDEXAMPLE", "secret/EXAMPLE")

_AUTHORIZATION = re.compile(r"AWS4-HMAC-SHA256 Credential=([^/]+)/([^,]+), SignedHeaders=([^,]+), Signature=([0-9a-f]{64})")


@dataclass(frozen=True, slots=True)
class Received:
    """One request as it came."""

    method: str
    target: str
    """Raw path and query."""
    raw_headers: tuple[tuple[bytes, bytes], ...]
    body: bytes

    @property
    def path(self) -> str:
        return self.target.partition("?")[0]

    @property
    def raw_query(self) -> str:
        return self.target.partition("?")[2]

    @property
    def query(self) -> dict[str, str]:
        pairs = [part.partition("=") for part in self.raw_query.split("&") if part]
        return {name: unquote_plus(value) for name, _, value in pairs}

    @property
    def headers(self) -> dict[str, str]:
        """Lower-case names, latin-1 values."""
        return {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in self.raw_headers}

    @property
    def address(self) -> tuple[str, str]:
        """(bucket, key), decoded."""
        bucket, _, key = self.path[1:].partition("/")
        return unquote(bucket), unquote(key)


@dataclass(frozen=True, slots=True)
class Reply:
    """One answer, or what comes instead of one."""

    status: int = 200
    body: bytes = b""
    headers: Mapping[str, str | bytes] = field(default_factory=dict)
    drop: bool = False
    """Close the connection without an answer."""
    cut: int | None = None
    """Close the connection after so many bytes of the body."""
    delay: float = 0.0
    """Seconds before the answer."""
    silent: bool = False
    """Never answer."""
    raw: bytes | None = None
    """Send this and close, instead of all else."""
    bare: bool = False
    """Add no header by itself."""


Handler = Callable[[Received], Awaitable[Reply]]


def error_reply(code: str, status: int, message: str = "it says why") -> Reply:
    """An S3 error document."""
    document = f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>{message}</Message></Error>"
    return Reply(status, document.encode(), {"content-type": "application/xml"})


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
    return reply.cut is None and not reply.bare


def check(request: Received) -> Reply | None:
    """Refuse a request whose signature or digests do not fit the bytes that came."""
    headers = request.headers
    match = _AUTHORIZATION.fullmatch(headers.get("authorization", ""))
    if match is None:
        return error_reply("AccessDenied", 403, "not signed")
    access_key, scope, signed, signature = match.groups()
    names = signed.split(";")
    payload_hash = headers["x-amz-content-sha256"]
    canonical = sigv4.canonical_request(
        request.method,
        sigv4.canonical_path(request.path.encode()),
        sigv4.canonical_query(sigv4.query_pairs(request.raw_query.encode())),
        headers=headers,
        names=names,
        payload_hash=payload_hash,
    )
    text = sigv4.string_to_sign(headers["x-amz-date"], scope, canonical)
    date, region, *_ = scope.split("/")
    key = sigv4.signing_key(KEYS.secret_key, date, region)
    if access_key != KEYS.access_key or sigv4.sign(key, text) != signature:
        return error_reply("SignatureDoesNotMatch", 403)
    if payload_hash != sigv4.UNSIGNED_PAYLOAD and hashlib.sha256(request.body).hexdigest() != payload_hash:
        return error_reply("XAmzContentSHA256Mismatch", 400)
    md5 = headers.get("content-md5")
    if md5 is not None and b64encode(hashlib.md5(request.body).digest()).decode() != md5:
        return error_reply("BadDigest", 400)
    return None


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
