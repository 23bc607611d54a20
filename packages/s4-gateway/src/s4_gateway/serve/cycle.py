"""One request and its answer on a connection: the ASGI side of it."""

import asyncio
import logging
from collections import deque
from typing import TYPE_CHECKING

from starlette.types import ASGIApp, Message, Scope

from s4_gateway.backend.abc import Buffer
from s4_gateway.errors import S3Error
from s4_gateway.peer import PEER
from s4_gateway.serve.answer import CONTINUE, Framing, render_head
from s4_gateway.serve.head import Head

if TYPE_CHECKING:
    from s4_gateway.serve.connection import Connection

logger = logging.getLogger(__name__)

DISCONNECTED = "the client disconnected"
"""Message of the cancellation that a handler gets."""
LAST_CHUNK = b"0\r\n\r\n"
MAX_PIECES = 1024
"""Pieces held for a handler that does not read; tiny ones cost more than their bytes."""
JOIN_BELOW = 64 * 1024
"""Smaller pieces are joined: one message, one write for many."""


class Cycle:
    """Feeds an application and writes what it answers. The connection calls the methods without `async`."""

    __slots__ = (
        "_connection",
        "_end_given",
        "_error",
        "_expects_continue",
        "_framing",
        "_head",
        "_held",
        "_left",
        "_pieces",
        "_scope",
        "_unsent_head",
        "_waiter",
        "answered",
        "body_complete",
        "ended",
        "gone",
        "keep_alive",
        "task",
        "truncated",
        "wait_began",
    )

    def __init__(self, connection: "Connection", head: Head, scope: Scope) -> None:
        self._connection = connection
        self._head = head
        self._scope = scope
        self._pieces: deque[Buffer] = deque()
        self._held = 0
        self._waiter: asyncio.Future[None] | None = None
        self._error: S3Error | None = None
        self._end_given = False
        self._expects_continue = head.expects_continue
        self._unsent_head = b""
        self._framing: Framing | None = None
        self._left: int | None = None
        self.task: asyncio.Task[None] | None = None
        self.keep_alive = head.keep_alive
        self.body_complete = False
        """All bytes of the request have come."""
        self.truncated = False
        """The client ended its side before them."""
        self.answered = False
        """All bytes of the answer are written."""
        self.ended = False
        """So is the application's last message."""
        self.gone = False
        self.wait_began = 0.0
        """When the handler began to wait for the client, on the loop's clock."""

    # What the connection tells.

    def feed(self, piece: Buffer) -> None:
        """Body bytes came."""
        if self.ended or not piece:
            return
        self._pieces.append(piece)
        self._held += len(piece)
        if self._held >= self._connection.limits.read_ahead or len(self._pieces) >= MAX_PIECES:
            self._connection.pause_reading()
        self._wake()

    def body_ended(self) -> None:
        """The last of them came."""
        self.body_complete = True
        self._wake()

    def body_truncated(self) -> None:
        """No more of them will come, but the client may still read an answer."""
        self.truncated = True
        self.keep_alive = False
        self._wake()

    def fail(self, error: S3Error) -> None:
        """The rest of the body will not come: the handler's next read raises `error`."""
        self._error = error
        self.keep_alive = False
        self._wake()

    def disconnect(self) -> None:
        """Nobody waits any more: cancel the handler, unless all was said."""
        self.gone = True
        self._wake()
        if self.task is not None and not self.answered:
            self.task.cancel(DISCONNECTED)

    @property
    def length(self) -> int:
        """Bytes of a request body that comes unchunked."""
        return self._head.length or 0

    @property
    def waiting_for_body(self) -> bool:
        """The handler waits for bytes of the client. (A handler that works, or waits for the backend, does not.)"""
        return self._waiter is not None and not self.body_complete and not self.truncated

    @property
    def unread_end(self) -> bool:
        """The body was cut off, and the handler has not noticed."""
        return self.truncated and not self._end_given and self._waiter is None

    @property
    def may_drain(self) -> bool:
        """What is left of the body is worth reading to keep the connection."""
        left = self._connection.body_left
        return not self._expects_continue and left is not None and left <= self._connection.limits.drain_bytes

    # What the application calls.

    async def run(self, app: ASGIApp) -> None:
        """Have the application answer. An answer that it leaves unfinished is broken off."""
        PEER.set(self._connection)
        if self._expects_continue and self._head.length == 0:
            # RFC 9110 10.1.1 lets a server choose. To a final answer without it aws-cli sends the next request on this connection,
            # and then takes that one's status line for a header.
            self._expects_continue = False
            self._connection.write(CONTINUE)
        try:
            await app(self._scope, self.receive, self.send)
        except asyncio.CancelledError:
            if not self.gone:
                self._connection.break_off("drain")
        except Exception:
            logger.exception("the application failed")
        if self.ended:
            return
        if self.answered:
            # Only the message that says so is missing.
            self.keep_alive = False
            self._end()
        else:
            self._connection.break_off()

    async def receive(self) -> Message:
        """ASGI receive.

        Raises:
            S3Error: RequestTimeout, or InvalidRequest for a broken transfer coding.
        """
        if self._expects_continue:
            self._expects_continue = False
            if not (self.body_complete or self._pieces or self.gone):
                self._connection.write(CONTINUE)
        while not self.gone and not self.ended:
            if self._pieces:
                return self._next_piece()
            if self._error is not None:
                raise self._error
            if (self.body_complete or self.truncated) and not self._end_given:
                self._end_given = True
                return {"type": "http.request", "body": b"", "more_body": False}
            await self._wait()
        return {"type": "http.disconnect"}

    async def send(self, message: Message) -> None:
        """ASGI send; waits while the client reads too slowly. Messages to a client that is gone are dropped.

        Raises:
            ValueError: a header that cannot be sent.
            RuntimeError: messages out of order, or a body that is not as long as its head says.
        """
        if self._connection.write_paused:
            await self._connection.drained()
        if self.gone:
            return
        kind = message["type"]
        if kind == "http.response.start" and self._framing is None:
            self._start(message)
        elif kind == "http.response.body" and self._framing is not None and not self.ended:
            self._body(message.get("body", b""), self._framing, last=not message.get("more_body", False))
        else:
            raise RuntimeError(f"unexpected {kind}")

    def _start(self, message: Message) -> None:
        close = not self.keep_alive or not (self.body_complete or self.may_drain)
        self._unsent_head, self._framing = render_head(
            message["status"], message["headers"], method=self._head.method, http_version=self._head.http_version, close=close
        )
        self._left = self._framing.length
        self.keep_alive = not self._framing.close
        self._expects_continue = False

    def _body(self, body: Buffer, framing: Framing, *, last: bool) -> None:
        if self._head.method == "HEAD":
            body = b""
        if self._left is not None:
            self._left -= len(body)
            if self._left < 0 or (last and self._left):
                raise RuntimeError(f"the body is {'longer' if self._left < 0 else 'shorter'} than its Content-Length")
            self.answered = self._left == 0
        elif framing.chunked:
            pieces = (b"%x\r\n" % len(body), body, b"\r\n") if body else ()
            body = b"".join((*pieces, LAST_CHUNK if last else b""))
        self._write(body)
        if last:
            self._end()

    def _end(self) -> None:
        self.answered = self.ended = True
        self._pieces.clear()
        self._wake()
        self._connection.response_ended(self)

    def _write(self, body: Buffer) -> None:
        """The head waits for the first body bytes: one packet for a small answer."""
        head, self._unsent_head = self._unsent_head, b""
        if head and len(body) <= JOIN_BELOW:
            self._connection.write(head + body)
            return
        if head:
            self._connection.write(head)
        if body:
            self._connection.write(body)

    def _next_piece(self) -> Message:
        if self._held <= JOIN_BELOW and len(self._pieces) > 1:
            piece: Buffer = b"".join(self._pieces)
            self._pieces.clear()
        else:
            piece = self._pieces.popleft()
        self._held -= len(piece)
        if self._held < self._connection.limits.read_ahead // 2 and len(self._pieces) < MAX_PIECES // 2:
            self._connection.resume_reading()
        self._end_given = not self._pieces and self.body_complete
        return {"type": "http.request", "body": piece, "more_body": not self._end_given}

    async def _wait(self) -> None:
        loop = asyncio.get_running_loop()
        self._waiter = loop.create_future()
        self.wait_began = loop.time()
        try:
            await self._waiter
        finally:
            self._waiter = None

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)
