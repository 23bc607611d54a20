"""Connections without sockets: real HTTP bytes between the gateway's own client and a store in this process, with weather between them."""

import asyncio
import re
from collections import deque
from email.utils import formatdate
from typing import Any

from s4_gateway.testing.exchange import Handler, Received, Reply, check
from s4_gateway.testing.mini_s3 import AGAIN
from s4_gateway.testing.weather.faults import Ending, Fault, Kind, Reach, kind_of
from s4_gateway.testing.weather.sky import Sky

from .still import StillLoop

JUNK = b'HTTP/1.1 200 OK\r\nContent-Length: 4\r\nETag: "0"\r\n\r\njunk'
REQUEST_SECONDS = 0.002
AGAIN_SECONDS = 0.001
UPLOAD_ID = re.compile("<UploadId>([^<]+)</UploadId>")
BODILESS = frozenset({204, 304})


class Network:
    """All connections to one store.

    Attributes:
        opened: ids of the store's uploads that a gateway was told of.
    """

    def __init__(self, loop: StillLoop, sky: Sky, store: Handler) -> None:
        self._loop = loop
        self._sky = sky
        self._store = store
        self.opened: set[str] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        loop.connect = self.connect

    def connect(self, protocol: asyncio.Protocol) -> asyncio.Transport:
        return Line(self._loop, protocol, self)

    def receive(self, line: "Line", request: Received) -> None:
        """A whole request has come."""
        task = self._loop.create_task(self._exchange(line, request))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _exchange(self, line: "Line", request: Received) -> None:
        await asyncio.sleep(REQUEST_SECONDS)
        met = self._sky.meets(kind_of(request))
        await self.deliver_late()
        if met is None:
            reply = await self._store(request)
            self.opened.update(UPLOAD_ID.findall(reply.body.decode("latin-1")) if kind_of(request) is Kind.CREATE else ())
            line.deliver(packed(request, reply))
            return
        fault, dose = met
        if fault.rival:
            await self._sky.let_rival_write()
        await asyncio.sleep(fault.delay)
        refusal = check(request)
        reply = refusal or await self._reach(request, fault, dose)
        if refusal is None and fault.say is not None:
            reply = fault.say(reply, dose)
        await _end(line, request, reply, fault.ending, dose)

    async def _reach(self, request: Received, fault: Fault, dose: int) -> Reply:
        turned = request if fault.turn is None else fault.turn(request)
        match fault.reach:
            case Reach.NEVER:
                return Reply()
            case Reach.ONCE:
                return await self._store(turned)
            case Reach.TWICE:
                await self._store(turned)
                return await self._store(turned)
            case Reach.LATE:
                self._sky.hold(request, dose)
                return Reply()

    async def deliver_late(self) -> None:
        """What was held back and is due goes to the store."""
        for held in self._sky.due():
            reply = await self._store(held.request)
            if AGAIN not in reply.headers:
                self._sky.carried_out(held, reply)


def packed(request: Received, reply: Reply) -> bytes:
    """An answer's bytes."""
    head = {"content-length": str(len(reply.body)), "date": formatdate(usegmt=True), **reply.headers}
    if reply.status in BODILESS:
        del head["content-length"]
    lines = [f"HTTP/1.1 {reply.status} Because", *(f"{name}: {_text(value)}" for name, value in head.items()), "", ""]
    body = b"" if request.method == "HEAD" or reply.status in BODILESS else reply.body
    return "\r\n".join(lines).encode("latin-1") + body


def _text(value: str | bytes) -> str:
    return value if isinstance(value, str) else value.decode("latin-1")


async def _end(line: "Line", request: Received, reply: Reply, ending: Ending, dose: int) -> None:
    data = packed(request, reply)
    head = data.index(b"\r\n\r\n") + 4
    part = head + (len(data) - head) * dose // 100
    match ending:
        case Ending.WHOLE:
            line.deliver(data)
        case Ending.HANG_UP:
            line.hang_up()
        case Ending.SILENCE:
            pass
        case Ending.CUT:
            line.deliver(data[:part])
            line.hang_up()
        case Ending.CUT_HEAD:
            line.deliver(data[: head * dose // 100])
            line.hang_up()
        case Ending.STALL:
            line.deliver(data[:part])
        case Ending.TWICE:
            line.deliver(data + data if dose % 2 else data)
            if dose % 2 == 0:
                await asyncio.sleep(AGAIN_SECONDS)
                if line.idle:
                    # Behind the next request nobody could tell it from the answer to that one.
                    line.deliver(data)
        case Ending.JUNK:
            line.deliver(data + JUNK)
        case Ending.CLOSE:
            line.deliver(data)
            line.hang_up()


class Line(asyncio.Transport):
    """The client's end of a connection."""

    def __init__(self, loop: StillLoop, protocol: asyncio.Protocol, network: Network) -> None:
        super().__init__()
        self._loop = loop
        self._protocol: Any = protocol
        self._network = network
        self._sent = bytearray()
        self._coming: deque[bytes | None] = deque()
        self._paused = False
        self._closed = False
        self.idle = True
        """No request is on its way or unanswered."""

    # What the client does.

    def write(self, data: Any) -> None:
        if not self._closed:
            self._sent += data
            self.idle = False
            self._take()

    def writelines(self, list_of_data: Any) -> None:
        self.write(b"".join(list_of_data))

    def _take(self) -> None:
        """Hand on each request that is whole."""
        end = self._sent.find(b"\r\n\r\n")
        if end < 0:
            return
        first, *lines = bytes(self._sent[:end]).split(b"\r\n")
        method, target, _ = first.decode("latin-1").split(" ")
        headers = tuple((name, value.strip()) for name, _, value in (line.partition(b":") for line in lines))
        length = next((int(value) for name, value in headers if name.lower() == b"content-length"), 0)
        if len(self._sent) < end + 4 + length:
            return
        body = bytes(self._sent[end + 4 : end + 4 + length])
        del self._sent[: end + 4 + length]
        self._network.receive(self, Received(method, target, headers, body))

    def close(self) -> None:
        if not self._closed:
            self._closed = True
            self._loop.call_soon(self._protocol.connection_lost, None)

    abort = close

    def is_closing(self) -> bool:
        return self._closed

    def pause_reading(self) -> None:
        self._paused = True

    def resume_reading(self) -> None:
        self._paused = False
        self._loop.call_soon(self._hand_over)

    def is_reading(self) -> bool:
        return not self._paused

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return default

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        self._protocol = protocol

    def get_protocol(self) -> asyncio.BaseProtocol:
        return self._protocol  # type: ignore[no-any-return]

    def get_write_buffer_size(self) -> int:
        return 0

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        pass

    def can_write_eof(self) -> bool:
        return False

    # What the network does.

    def deliver(self, data: bytes) -> None:
        """Bytes for the client, in most cases a whole answer."""
        self.idle = True
        if data:
            self._coming.append(data)
            self._loop.call_soon(self._hand_over)

    def hang_up(self) -> None:
        """The other end closes, behind all that was delivered."""
        self._coming.append(None)
        self._loop.call_soon(self._hand_over)

    def _hand_over(self) -> None:
        while self._coming and not self._paused and not self._closed:
            data = self._coming.popleft()
            if data is None:
                self.close()
            else:
                self._protocol.data_received(data)
