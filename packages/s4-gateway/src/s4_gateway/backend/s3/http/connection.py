"""One connection to the store: a request out, its answer in, one at a time."""

import asyncio
from collections.abc import Iterator
from typing import TYPE_CHECKING, cast

from s4_gateway.backend.abc import Buffer
from s4_gateway.backend.s3.errors import AttemptError, unanswered
from s4_gateway.backend.s3.http.answer import Answer
from s4_gateway.backend.s3.http.chunks import ChunkedBody
from s4_gateway.backend.s3.http.head import MAX_HEAD_BYTES, AnswerHead, parse_answer_head

if TYPE_CHECKING:
    from s4_gateway.backend.s3.http.pool import Pool

END = b"\r\n\r\n"
SMALL_BODY = 64 * 1024
"""A body up to here is awaited together with its head: whoever waits is woken once."""
SLICE = 256 * 1024
"""Most bytes handed to the transport between two looks at whether the store keeps up."""


class Connection(asyncio.Protocol):
    """The protocol. A pool makes it and lends it for one exchange at a time.

    Attributes:
        since: when it was given back last, on the loop's clock.
    """

    __slots__ = (
        "_answer",
        "_bodiless",
        "_chunks",
        "_drained",
        "_held",
        "_keep",
        "_left",
        "_loop",
        "_moved",
        "_patience",
        "_pool",
        "_read_paused",
        "_sending",
        "_transport",
        "_waiter",
        "_write_paused",
        "busy",
        "since",
    )

    def __init__(self, pool: "Pool", loop: asyncio.AbstractEventLoop) -> None:
        self._pool = pool
        self._loop = loop
        self._transport: asyncio.Transport | None = None
        self._waiter: asyncio.Future[Answer] | None = None
        self._drained: asyncio.Future[None] | None = None
        self._answer: Answer | None = None
        self._chunks: ChunkedBody | None = None
        self._held = b""
        self._left: int | None = 0
        self._bodiless = self._keep = self._sending = self._read_paused = self._write_paused = False
        self._patience = self._moved = 0.0
        self.busy = False
        """An exchange is going on."""
        self.since = 0.0

    # For whoever borrowed it.

    async def exchange(
        self, head: bytes, pieces: Iterator[Buffer] | None = None, *, size: int = 0, bodiless: bool, patience: float
    ) -> Answer:
        """Send a request and wait for the head of its answer, and for the body behind it where that is small.

        Args:
            head: the request's, with its empty line, and with the body where that is small.
            pieces: the rest of the body.
            size: bytes in `pieces`.
            bodiless: the answer has no body whatever its head says: this is a HEAD.
            patience: longest silence of the store, in seconds, while it is to answer or to take a slice of the body.

        Raises:
            AttemptError: no usable answer.
            Exception: what `pieces` raised.
        """
        assert self._transport is not None
        self.busy = True
        self._bodiless = bodiless
        self._patience = patience
        self._moved = self._loop.time()
        self._answer = None
        self._sending = pieces is not None
        waiter: asyncio.Future[Answer] = self._loop.create_future()
        self._waiter = waiter
        try:
            self._transport.write(head)
            if pieces is not None:
                await self._send(pieces, size, waiter)
            return await waiter
        except BaseException:
            # An exchange that has ended may have been followed by somebody else's already.
            if self._waiter is waiter:
                waiter.cancel()
                self.abort()
            raise

    def pause_reading(self) -> None:
        """Leave bytes in the kernel, and the store waiting."""
        if not self._read_paused and self._transport is not None and not self._transport.is_closing():
            self._read_paused = True
            self._transport.pause_reading()

    def resume_reading(self) -> None:
        """Read again; from now on silence is the store's."""
        if self._read_paused and self._transport is not None and not self._transport.is_closing():
            self._read_paused = False
            self._moved = self._loop.time()
            self._transport.resume_reading()

    def abort(self) -> None:
        """End it whatever is under way; repeatable."""
        self._fail(unanswered("the exchange with the storage backend was given up", sent=True))

    # For the pool.

    @property
    def usable(self) -> bool:
        """Whether the next exchange may use it, as far as one knows."""
        return self._transport is not None and not self._transport.is_closing()

    def check(self, now: float) -> None:
        """Fail if the store has been silent for too long."""
        if self.busy and not self._read_paused and now - self._moved > self._patience:
            self._fail(unanswered(f"the storage backend was silent for {self._patience:g} seconds", sent=True))

    def close(self) -> None:
        """End an idle one."""
        if self._transport is not None:
            self._transport.close()

    # From the event loop.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def connection_lost(self, exc: Exception | None) -> None:
        answer = self._answer
        if self.busy and exc is None and answer is not None and self._chunks is None and self._left is None:
            # Neither a length nor chunks: the end of the connection is the end of the body.
            self._keep = False
            self._ended(answer)
        told = f"{type(exc).__name__}: {exc}" if exc is not None else "it closed the connection"
        self._fail(unanswered(f"the storage backend gave no answer ({told})", sent=True))
        self._pool.lost(self)

    def pause_writing(self) -> None:
        self._write_paused = True

    def resume_writing(self) -> None:
        self._write_paused = False
        self._wake_sender()

    def data_received(self, data: bytes) -> None:
        self._moved = self._loop.time()
        if not self.busy:
            # Nobody asked: what it says belongs to no request.
            self.close()
            return
        try:
            if self._answer is None:
                self._take_head(data)
            else:
                self._take_body(self._answer, data)
        except AttemptError as error:
            self._fail(error)

    # Inside.

    async def _send(self, pieces: Iterator[Buffer], left: int, waiter: asyncio.Future[Answer]) -> None:
        """Hand the body over as fast as the store takes it; an answer that comes meanwhile ends it."""
        assert self._transport is not None
        for piece in pieces:
            view = memoryview(piece)
            for start in range(0, len(view), SLICE):
                part = view[start : start + SLICE]
                left -= len(part)
                self._sending = left > 0
                self._moved = self._loop.time()
                self._transport.write(part)
                if self._write_paused and self._sending and not waiter.done():
                    self._drained = self._loop.create_future()
                    await self._drained
                if waiter.done():
                    self._answered_early(waiter)
                    return

    def _answered_early(self, waiter: asyncio.Future[Answer]) -> None:
        """The store did not wait for the body: a refusal counts, a success cannot be meant."""
        if self._sending and waiter.exception() is None and waiter.result().status < 300:
            raise unanswered("the storage backend confirmed a body before it had come", sent=True)

    def _take_head(self, data: bytes) -> None:
        held = self._held + data if self._held else data
        while (end := held.find(END)) >= 0:
            head = parse_answer_head(held[:end], bodiless=self._bodiless)
            held = held[end + len(END) :]
            if head.status >= 200:
                self._held = b""
                self._began(head, held)
                return
            if head.status == 101:
                raise unanswered("the storage backend changed the protocol", sent=True)
        if len(held) > MAX_HEAD_BYTES:
            raise unanswered(f"the head of the storage backend's answer is longer than {MAX_HEAD_BYTES} bytes", sent=True)
        self._held = held

    def _began(self, head: AnswerHead, rest: bytes) -> None:
        """The head is there, and perhaps all of the body."""
        self._answer = answer = Answer(self, head.status, head.headers)
        self._keep = head.keep
        self._left = head.length
        self._chunks = ChunkedBody() if head.chunked else None
        if rest or self._left == 0:
            self._take_body(answer, rest)
        if self.busy and (self._left is None or self._left > SMALL_BODY):
            self._wake(answer)

    def _take_body(self, answer: Answer, data: bytes) -> None:
        if self._chunks is not None:
            for piece in self._chunks.feed(data):
                answer.feed(piece)
            if self._chunks.done:
                self._keep = self._keep and not self._chunks.excess
                self._ended(answer)
            return
        if self._left is not None:
            if len(data) > self._left:
                data, self._keep = data[: self._left], False
            self._left -= len(data)
        if data:
            answer.feed(data)
        if self._left == 0:
            self._ended(answer)

    def _ended(self, answer: Answer) -> None:
        """The answer is complete: the connection is free, unless the request is not."""
        self.busy = False
        self._answer = None
        answer.end()
        self._wake(answer)
        self._waiter = None
        if self._keep and not self._sending:
            self.resume_reading()
            self.since = self._loop.time()
            self._pool.give_back(self)
        elif self._transport is not None:
            self._transport.abort()

    def _fail(self, error: AttemptError) -> None:
        """The exchange ends without its answer, or in the middle of it."""
        if self.busy:
            self.busy = False
            answer, self._answer = self._answer, None
            if answer is not None:
                answer.end(error)
            if self._waiter is not None and not self._waiter.done():
                self._waiter.set_exception(error)
            self._waiter = None
            self._wake_sender()
        if self._transport is not None and not self._transport.is_closing():
            self._transport.abort()

    def _wake(self, answer: Answer) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(answer)
            self._wake_sender()

    def _wake_sender(self) -> None:
        if self._drained is not None and not self._drained.done():
            self._drained.set_result(None)
        self._drained = None
