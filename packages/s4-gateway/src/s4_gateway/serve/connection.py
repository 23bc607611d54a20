"""One client connection: bytes in, heads and bodies out to a `Cycle`, one request at a time.

This is the protocol class behind uvicorn's server, in place of uvicorn's own, which bounds neither the size of a head nor the time it
takes, goes on reading while requests queue up, and tells only the newest of them that the client is gone.
"""

import asyncio
import socket
import struct
from enum import Enum, auto
from typing import Any, cast
from urllib.parse import unquote_to_bytes

from starlette.types import Scope
from uvicorn.config import Config
from uvicorn.server import ServerState

from s4_gateway.app import REFUSED
from s4_gateway.backend.abc import Buffer
from s4_gateway.errors import S3Error
from s4_gateway.serve.blocks import FAST_READ_BYTES, MOST_READERS, WORTHWHILE_BYTES, BlockReader
from s4_gateway.serve.cycle import Cycle
from s4_gateway.serve.framing import ChunkedReader
from s4_gateway.serve.head import END, Head, parse_head
from s4_gateway.serve.limits import Limits
from s4_gateway.serve.listener import Admission, Listener, Reason

ASGI = {"version": "3.0", "spec_version": "2.3"}
UNREADABLE = Head(method="GET", path=b"/", query=b"", headers=[], http_version="1.1", length=0, keep_alive=False, expects_continue=False)
"""Stands for a head that could not be read."""
TRUNCATION_SECONDS = 0.25
"""A handler that does not notice in this time that the client ended its body early is cancelled."""


class Phase(Enum):
    """What the connection does with bytes that come."""

    HEAD = auto()
    """They are a request head, perhaps the first bytes of it."""
    BUSY = auto()
    """A request is worked on; they are its body, or the next head, which waits."""
    LINGER = auto()
    """All is said; they are dropped until the client closes."""


class Connection(asyncio.Protocol):
    """The protocol. uvicorn's server makes it with the keyword arguments `config`, `server_state`, `app_state`, `_loop`."""

    def __init__(
        self,
        listener: Listener,
        *,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        self._listener = listener
        self._app = config.loaded_app
        self._state = server_state
        self._app_state = app_state
        self._loop = _loop or asyncio.get_running_loop()
        self._phase = Phase.HEAD
        self._held = bytearray()
        self._head_began: float | None = None
        self._chunks: ChunkedReader | None = None
        self._blocks: BlockReader | None = None
        self._cycle: Cycle | None = None
        self._deaf = False
        self._eof = False
        self._lost = False
        self._read_paused = False
        self._drained: asyncio.Future[None] | None = None
        self._received = self._written = 0
        self._flushed = 0
        self._unsent_since: float | None = None
        self.limits: Limits = listener.limits
        self.body_left: int | None = 0
        """Body bytes still to come; None = unknown."""
        self.write_paused = False
        self.served = 0
        """Requests answered."""
        self.moved = self.waiting_since = self._loop.time()

    # From the event loop.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._transport.set_write_buffer_limits(high=self.limits.write_high, low=self.limits.write_low)
        self._client = _address(transport.get_extra_info("peername"))
        self._server = _address(transport.get_extra_info("sockname"))
        self._state.connections.add(self)  # type: ignore[arg-type]
        match self._listener.admit(self):
            case Admission.REFUSED:
                self.refuse(S3Error("SlowDown", "The gateway has too many connections.", close=True), "cap")
            case Admission.FLOODED:
                self.break_off("cap")
            case Admission.WELCOME:
                pass

    def data_received(self, data: bytes) -> None:
        self.moved = self._loop.time()
        self._received += len(data)
        self._take(data)

    def eof_received(self) -> bool:
        """The client ended its side. Returns True where its answer is still to be written."""
        cycle = self._cycle
        if self._phase is not Phase.BUSY or cycle is None or cycle.ended:
            return False
        if cycle.body_complete:
            self._client_gone(cycle)
            return False
        self._eof = True
        if not self._deaf:
            cycle.body_truncated()
            self.waiting_since = self._loop.time()
        return True

    def connection_lost(self, _exc: Exception | None) -> None:
        self._state.connections.discard(self)
        self._listener.closed(self)
        self._lost = True
        self._forget_blocks()
        if self._cycle is not None:
            self._cycle.disconnect()
        self.resume_writing()

    def pause_writing(self) -> None:
        self.write_paused = True

    def resume_writing(self) -> None:
        self.write_paused = False
        if self._drained is not None and not self._drained.done():
            self._drained.set_result(None)
        self._drained = None

    # From the reader of blocks, which takes the event loop's calls while there is one.

    def block_grew(self, size: int) -> None:
        """Bytes of the body came."""
        self.moved = self._loop.time()
        if self.body_left is not None:
            self.body_left -= size

    def block_ended(self, block: memoryview) -> None:
        """They fill a block, or are the last."""
        cycle = self._cycle
        if cycle is None:
            return
        if not self._deaf:
            cycle.feed(block)
        if self.body_left == 0:
            self._leave_blocks()
            self._body_ended(cycle)

    # From the server.

    def shutdown(self) -> None:
        """The server stops: close now, or behind the answer that is being made."""
        if self._cycle is None or self._phase is not Phase.BUSY:
            self._transport.close()
        else:
            self._cycle.keep_alive = False

    # From the cycle.

    def write(self, data: Buffer) -> None:
        """Hand bytes to the socket."""
        self._written += len(data)
        self._transport.write(data)

    async def drained(self) -> None:
        """Wait until the client has read enough."""
        if self.write_paused:
            self._drained = self._loop.create_future()
            await self._drained

    def pause_reading(self) -> None:
        """Leave bytes in the kernel, and the client waiting."""
        if not self._read_paused and not self._transport.is_closing():
            self._read_paused = True
            self._transport.pause_reading()

    def resume_reading(self) -> None:
        """Read again."""
        if self._read_paused and not self._transport.is_closing():
            self._read_paused = False
            self._transport.resume_reading()

    def response_ended(self, cycle: Cycle) -> None:
        """The last byte of an answer is written: go on with the next request, or end."""
        self._state.total_requests += 1
        self.served += 1
        self.waiting_since = self._loop.time()
        if self._transport.is_closing():
            return
        if cycle.keep_alive and cycle.body_complete:
            self._next_request()
        elif cycle.keep_alive:
            # The rest of the body is short: it is dropped as it comes.
            self.resume_reading()
        elif self._eof or (cycle.body_complete and not self._deaf):
            self._transport.close()
        else:
            self._linger()

    def break_off(self, reason: Reason | None = None) -> None:
        """End the connection so that the client cannot take what it got for a whole answer."""
        if self._lost:
            return
        if reason is not None:
            self._listener.count(reason)
        connected = self._transport.get_extra_info("socket")
        if connected is not None:
            # Without lingering a close is a reset; an ordinary one would look like the end of a body that has no length.
            connected.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._transport.abort()

    # From the object layer, which knows it as a `Peer`.

    @property
    def moved_bytes(self) -> int:
        """Bytes that came, and those that went out."""
        return self._received + self._written - self._transport.get_write_buffer_size()

    @property
    def due(self) -> bool:
        """The client could send of its body, or read of its answer."""
        cycle = self._cycle
        if cycle is None or self._lost or self._deaf:
            return False
        return self.write_paused or not (cycle.body_complete or cycle.truncated or self._read_paused)

    def dismiss(self) -> None:
        """Others wait for what this client's request holds."""
        cycle = self._cycle
        if cycle is not None and cycle.waiting_for_body:
            self._listener.count("slow")
            self._deaf = True
            cycle.fail(S3Error("SlowDown", "The body comes too slowly while others wait; try again.", close=True))
        else:
            self.break_off("slow")

    # From the listener.

    @property
    def idle(self) -> bool:
        """Between requests, with nothing of the next one there."""
        return self._phase is Phase.HEAD and not self._held and not self._transport.is_closing()

    def close_idle(self) -> None:
        """Make room for somebody else."""
        self._transport.close()

    def refuse(self, error: S3Error, reason: Reason) -> None:
        """Answer with an error document whatever the client wanted, and end."""
        self._listener.count(reason)
        self._deaf = True
        self.body_left = None
        self._held.clear()
        scope = self._scope(UNREADABLE)
        scope[REFUSED] = error
        self._run(Cycle(self, UNREADABLE, scope))

    def check(self, now: float) -> None:
        """Close what stands still. Called once in `limits.tick` seconds."""
        if self._write_stalled(now):
            self._listener.count("idle")
            self._transport.abort()
        elif self._phase is Phase.LINGER:
            if now - self.waiting_since > self.limits.linger_seconds:
                self._transport.abort()
        elif self._cycle is not None:
            self._check_cycle(self._cycle, now)
        elif self._head_began is not None:
            if now - self._head_began > self.limits.head_seconds:
                self.refuse(S3Error("RequestTimeout", close=True), "head")
        elif self._unsent_since is not None:
            self.waiting_since = now
        elif now - self.waiting_since > self._patience:
            self._transport.close()

    # Inside.

    @property
    def _patience(self) -> float:
        return self.limits.keep_alive_seconds if self.served else self.limits.head_seconds

    def _check_cycle(self, cycle: Cycle, now: float) -> None:
        unnoticed = cycle.unread_end and now - self.waiting_since > TRUNCATION_SECONDS
        if unnoticed or (self._read_paused and _peer_closed(self._transport)):
            self._client_gone(cycle)
        elif self.limits.idle_seconds is None:
            return
        elif cycle.ended:
            if now - max(self.moved, self.waiting_since) > self.limits.idle_seconds:
                self._listener.count("idle")
                self._transport.close()
        elif cycle.waiting_for_body and now - max(self.moved, cycle.wait_began) > self.limits.idle_seconds:
            self._listener.count("idle")
            self._deaf = True
            cycle.fail(S3Error("RequestTimeout", close=True))

    def _write_stalled(self, now: float) -> bool:
        """Bytes wait to be sent, and none of them left for too long."""
        waiting = self._transport.get_write_buffer_size()
        flushed = self._written - waiting
        if not waiting:
            self._unsent_since = None
        elif self._unsent_since is None or flushed != self._flushed:
            self._unsent_since = now
        self._flushed = flushed
        if self._unsent_since is None or self.limits.idle_seconds is None:
            return False
        return now - self._unsent_since > self.limits.idle_seconds

    def _client_gone(self, cycle: Cycle) -> None:
        cycle.disconnect()
        self._transport.abort()

    def _take(self, data: bytes) -> None:
        if self._deaf or self._phase is Phase.LINGER:
            return
        if self._phase is Phase.BUSY and self.body_left != 0:
            self._take_body(data)
        else:
            self._take_head(data)

    def _take_head(self, data: bytes) -> None:
        if self._phase is Phase.BUSY:
            # Pipelined: it waits its turn, in the kernel when it is long.
            self._held += data
            if len(self._held) > self.limits.header_bytes:
                self.pause_reading()
            return
        if not self._held:
            # Empty lines before a request line are ignored (RFC 9112 2.2).
            data = data.lstrip(b"\r\n")
            if not data:
                return
            if not b"A" <= data[:1] <= b"Z":
                self.refuse(S3Error("InvalidRequest", "This is not an HTTP request.", close=True), "protocol")
                return
            if data.endswith(END) and len(data) <= self.limits.header_bytes and data.find(END) == len(data) - len(END):
                # Nearly always: one whole head and nothing else.
                self._head_ended(data, b"")
                return
            self._head_began = self.moved
        searched = max(0, len(self._held) - len(END))
        self._held += data
        end = self._held.find(END, searched)
        size = end + len(END) if end >= 0 else len(self._held)
        if size > self.limits.header_bytes:
            self.refuse(S3Error("RequestHeaderSectionTooLarge", close=True), "protocol")
        elif end >= 0:
            self._head_ended(bytes(self._held[:size]), bytes(self._held[size:]))

    def _head_ended(self, data: bytes, rest: bytes) -> None:
        self._held.clear()
        self._head_began = None
        try:
            head = parse_head(data)
        except S3Error as error:
            self.refuse(error, "protocol")
            return
        self.body_left = head.length
        self._chunks = ChunkedReader() if head.length is None else None
        cycle = Cycle(self, head, self._scope(head))
        if head.length == 0:
            cycle.body_ended()
        self._run(cycle)
        if rest:
            self._take(rest)

    def _take_body(self, data: bytes) -> None:
        cycle = self._cycle
        assert cycle is not None
        rest = b""
        if self._chunks is not None:
            try:
                pieces = self._chunks.feed(data)
            except S3Error as error:
                self._deaf = True
                self._listener.count("protocol")
                cycle.fail(error)
                return
            cycle.feed(pieces[0] if len(pieces) == 1 else b"".join(pieces))
            if self._chunks.done:
                self.body_left, rest = 0, self._chunks.rest
        elif self.body_left is not None:
            if len(data) > self.body_left:
                data, rest = data[: self.body_left], data[self.body_left :]
            self.body_left -= len(data)
            cycle.feed(data)
            if len(data) >= FAST_READ_BYTES and self.body_left >= WORTHWHILE_BYTES and self._listener.block_readers < MOST_READERS:
                self._read_blocks(cycle.length - self.body_left)
        if self.body_left == 0:
            self._held += rest
            self._body_ended(cycle)

    def _body_ended(self, cycle: Cycle) -> None:
        cycle.body_ended()
        if cycle.ended:
            self._next_request()

    def _read_blocks(self, received: int) -> None:
        """Have the rest of the body read into blocks."""
        self._blocks = BlockReader(self, received)
        self._listener.block_readers += 1
        self._hand_transport_to(self._blocks)

    def _leave_blocks(self) -> None:
        """Read as usual again."""
        if self._blocks is not None:
            self._forget_blocks()
            self._hand_transport_to(self)

    def _forget_blocks(self) -> None:
        if self._blocks is not None:
            self._blocks = None
            self._listener.block_readers -= 1

    def _hand_transport_to(self, protocol: asyncio.BaseProtocol) -> None:
        self._transport.set_protocol(protocol)
        if not self._read_paused and not self._transport.is_closing():
            # How the event loop reads is decided where reading begins.
            self._transport.pause_reading()
            self._transport.resume_reading()

    def _run(self, cycle: Cycle) -> None:
        self._phase = Phase.BUSY
        self._cycle = cycle
        cycle.task = task = self._loop.create_task(cycle.run(self._app))
        self._state.tasks.add(task)
        task.add_done_callback(self._state.tasks.discard)

    def _next_request(self) -> None:
        self._phase = Phase.HEAD
        self._cycle = None
        self._chunks = None
        self.body_left = 0
        self.resume_reading()
        if self._held:
            data = bytes(self._held)
            self._held.clear()
            self._take_head(data)

    def _linger(self) -> None:
        """Say that no more comes, and read on for a moment: a close with unread bytes is a reset, which can overtake the answer."""
        self._phase = Phase.LINGER
        self._cycle = None
        self._leave_blocks()
        self.resume_reading()
        self._transport.write_eof()

    def _scope(self, head: Head) -> Scope:
        path = head.path
        return {
            "type": "http",
            "asgi": ASGI,
            "http_version": head.http_version,
            "server": self._server,
            "client": self._client,
            "scheme": "http",
            "method": head.method,
            "root_path": "",
            "path": (unquote_to_bytes(path) if b"%" in path else path).decode("utf-8", "replace"),
            "raw_path": path,
            "query_string": head.query,
            "headers": head.headers,
            "state": self._app_state.copy(),
        }


def _address(name: object) -> tuple[str, int] | None:
    return (str(name[0]), int(name[1])) if isinstance(name, tuple) else None


TCP_INFO: int | None = getattr(socket, "TCP_INFO", None)
TCP_ESTABLISHED = 1


def _peer_closed(transport: asyncio.BaseTransport) -> bool:
    """Whether the client closed a connection that is not being read, where the system tells (Linux).

    Behind more unread bytes than the kernel holds the close has not arrived yet; it shows when they are read.
    """
    connected = transport.get_extra_info("socket")
    if TCP_INFO is None or connected is None or transport.is_closing():
        return False
    try:
        state: bytes = connected.getsockopt(socket.IPPROTO_TCP, TCP_INFO, 1)
    except OSError:
        return False
    return state[0] != TCP_ESTABLISHED
