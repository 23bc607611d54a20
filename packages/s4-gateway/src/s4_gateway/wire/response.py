"""Results become HTTP answers. The head goes out with the first bytes, so that whatever fails before them still gets a proper error."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Final

from starlette.types import Send

from s4_gateway.backend.abc import Buffer
from s4_gateway.call import Call
from s4_gateway.errors import ClientDisconnected, NotModified, S3Error
from s4_gateway.operations.results import (
    NO_HEADERS,
    CompletedUpload,
    Content,
    CopyDone,
    Empty,
    ObjectAttributesResult,
    ObjectList,
    PendingUpload,
    Result,
    UploadCreated,
)
from s4_gateway.wire import xml_write
from s4_gateway.wire.dates import http_date

HEARTBEAT_SECONDS: Final = 5.0
"""A CompleteMultipartUpload that takes longer answers 200 and sends a space so often: clients give up after a minute of silence."""

Wait = Callable[[], Awaitable[None]]
Header = tuple[bytes, bytes]

_SERVER: Final = (b"server", b"s4-gateway")
_XML: Final = (b"content-type", b"application/xml")
_NO_CONTENT: Final = (b"content-length", b"0")
_CLOSE: Final = (b"connection", b"close")
_DECLARATION: Final = xml_write.DECLARATION.encode()


async def respond(
    send: Send,
    call: Call,
    result: Result,
    *,
    method: str,
    close: bool = False,
    gone: Wait | None = None,
    heartbeat_seconds: float = HEARTBEAT_SECONDS,
) -> None:
    """Send a result.

    Args:
        send: of the ASGI request.
        call: what is answered.
        result: rendered by its type. `Content.chunks` is closed whatever happens.
        method: of the request; HEAD never has a body.
        close: the connection cannot be used again (a request body was left unread).
        gone: returns when the client has left. A body of several chunks then stops at once, instead of being produced for nobody.
        heartbeat_seconds: silence before and between signs of life of a pending upload.

    Raises:
        S3Error: a `PendingUpload` failed before its head was sent.
        ClientDisconnected: see `gone`.
        Exception: whatever `Content.chunks` raises. If the head was sent, the connection must be broken off.
    """
    head = _head(call.request_id, close=close)
    match result:
        case Content():
            await _send_content(send, head, result, method=method, gone=gone)
        case Empty():
            await _send_empty(send, head, result, method=method)
        case PendingUpload():
            await _send_pending(send, head, result, call=call, seconds=heartbeat_seconds)
        case _:
            await _send_document(send, head, 200, xml_write.render(result), headers=_result_headers(result))


async def respond_error(
    send: Send,
    error: S3Error | NotModified,
    *,
    request_id: str,
    resource: str,
    method: str,
    close: bool = False,
    linger: Wait | None = None,
) -> None:
    """Send an error document, or a 304.

    Args:
        send: of the ASGI request.
        error: what to say.
        request_id: as in the log.
        resource: what was addressed.
        method: of the request; HEAD gets status and headers only.
        close: the connection cannot be used again; so may `error` say.
        linger: awaited between the answer and the close (`RawBody.linger`).
    """
    if isinstance(error, NotModified):
        await _send_whole(send, _head(request_id, close=close), 304, b"", headers=error.headers)
        return
    close = close or error.close
    head = _head(request_id, close=close)
    head.append(_XML)
    body = b""
    if method != "HEAD":
        body = _DECLARATION + _error_document(error, resource, request_id).encode()
        head.append((b"content-length", b"%d" % len(body)))
    head.extend(_encoded(error.headers))
    await send({"type": "http.response.start", "status": int(error.status), "headers": head})
    if close and linger is not None:
        await send({"type": "http.response.body", "body": body, "more_body": True})
        await linger()
        body = b""
    await send({"type": "http.response.body", "body": body, "more_body": False})


def _error_document(error: S3Error, resource: str, request_id: str) -> str:
    return xml_write.error_document(error.code, error.message, fields=error.fields, resource=resource, request_id=request_id)


class _Clock:
    """The Date header, made once a second."""

    __slots__ = ("_header", "_second")

    def __init__(self) -> None:
        self._second = -1
        self._header: Header = (b"date", b"")

    def header(self) -> Header:
        second = int(time.time())
        if second != self._second:
            self._second, self._header = second, (b"date", http_date(second).encode())
        return self._header


_clock = _Clock()


def _head(request_id: str, *, close: bool) -> list[Header]:
    head = [(b"x-amz-request-id", request_id.encode()), _SERVER, _clock.header()]
    if close:
        head.append(_CLOSE)
    return head


def _encoded(headers: Mapping[str, str]) -> Iterable[Header]:
    for name, value in headers.items():
        if "\n" in value or "\r" in value:
            raise ValueError(f"line break in response header {name}")
        yield name.encode("latin-1"), value.encode("latin-1")


def _result_headers(result: xml_write.Document) -> Mapping[str, str]:
    match result:
        case ObjectList() | CopyDone() | UploadCreated() | CompletedUpload() | ObjectAttributesResult():
            return result.headers
        case _:
            return NO_HEADERS


async def _send_whole(send: Send, head: list[Header], status: int, body: bytes, *, headers: Mapping[str, str]) -> None:
    head.extend(_encoded(headers))
    await send({"type": "http.response.start", "status": status, "headers": head})
    await send({"type": "http.response.body", "body": body, "more_body": False})


async def _send_document(send: Send, head: list[Header], status: int, document: str, *, headers: Mapping[str, str]) -> None:
    body = _DECLARATION + document.encode()
    head.append(_XML)
    head.append((b"content-length", b"%d" % len(body)))
    await _send_whole(send, head, status, body, headers=headers)


async def _send_empty(send: Send, head: list[Header], result: Empty, *, method: str) -> None:
    if result.status != 204:  # RFC 9110, section 8.6: a 204 has no Content-Length
        length = result.content_length if method == "HEAD" else None
        head.append(_NO_CONTENT if length is None else (b"content-length", b"%d" % length))
    await _send_whole(send, head, result.status, b"", headers=result.headers)


async def _send_content(send: Send, head: list[Header], content: Content, *, method: str, gone: Wait | None) -> None:
    try:
        head.append((b"content-length", b"%d" % content.length))
        head.extend(_encoded(content.headers))
        start = {"type": "http.response.start", "status": content.status, "headers": head}
        if method == "HEAD":
            await send(start)
            await send({"type": "http.response.body", "body": b"", "more_body": False})
        elif content.whole is not None and len(content.whole) == content.length:
            await send(start)
            await send({"type": "http.response.body", "body": content.whole, "more_body": False})
        else:
            await _Stream(send, start, content, gone).run()
    finally:
        close = getattr(content.chunks, "aclose", None)
        if close is not None:
            await close()


class BodyLengthError(RuntimeError):
    """A body is longer or shorter than its declared length; a defect of whoever produced it, never of the client."""


class _Stream:
    """One body on its way.

    The chunk that completes the body waits until the producer has ended: a check that fails at the very end must still break the body.
    """

    __slots__ = ("_content", "_gone", "_left", "_send", "_start", "_watch")

    def __init__(self, send: Send, start: dict[str, object], content: Content, gone: Wait | None) -> None:
        self._send = send
        self._start: dict[str, object] | None = start
        self._content = content
        self._gone = gone
        self._watch: asyncio.Task[None] | None = None
        self._left = False

    async def run(self) -> None:
        try:
            await self._run()
        except asyncio.CancelledError:
            if not self._left:
                raise
            task = asyncio.current_task()
            if task is not None:
                task.uncancel()
            raise ClientDisconnected("the client left in the middle of a body") from None
        finally:
            if self._watch is not None:
                self._watch.cancel()

    async def _run(self) -> None:
        length = self._content.length
        sent = 0
        last: Buffer = b""
        async for chunk in self._content.chunks:
            sent += len(chunk)
            if sent > length:
                raise BodyLengthError(f"body of {length} bytes has {sent} at least")
            if sent < length:
                await self._send_chunk(chunk, more=True)
            elif chunk:
                last = chunk
        if sent < length:
            raise BodyLengthError(f"body of {length} bytes ends after {sent}")
        await self._send_chunk(last, more=False)

    async def _send_chunk(self, chunk: Buffer, *, more: bool) -> None:
        if self._start is not None:
            start, self._start = self._start, None
            await self._send(start)
            if more and self._gone is not None:
                self._watch = asyncio.create_task(self._watch_client(self._gone, asyncio.current_task()))
        await self._send({"type": "http.response.body", "body": chunk, "more_body": more})

    async def _watch_client(self, gone: Wait, streaming: "asyncio.Task[object] | None") -> None:
        await gone()
        self._left = True
        if streaming is not None:
            streaming.cancel()


async def _send_pending(send: Send, head: list[Header], result: PendingUpload, *, call: Call, seconds: float) -> None:
    """What ends within the first interval is answered like anything else, with its own status. Later errors go into the body, as in S3."""
    done: asyncio.Future[CompletedUpload] = asyncio.ensure_future(result.done)
    if await _ended(done, seconds):
        completed = done.result()
        await _send_document(send, head, 200, xml_write.render(completed), headers={**result.headers, **completed.headers})
        return
    head.append(_XML)
    head.extend(_encoded(result.headers))
    await send({"type": "http.response.start", "status": 200, "headers": head})
    await send({"type": "http.response.body", "body": _DECLARATION, "more_body": True})
    while not await _ended(done, seconds):
        await send({"type": "http.response.body", "body": b" ", "more_body": True})
    try:
        document = xml_write.render(done.result())
    except S3Error as error:
        document = _error_document(error, call.resource, call.request_id)
    await send({"type": "http.response.body", "body": document.encode(), "more_body": False})


async def _ended(done: "asyncio.Future[CompletedUpload]", seconds: float) -> bool:
    """Wait for it so long. It goes on when this is cancelled: a commit is not undone by a client that leaves."""
    ended, _ = await asyncio.wait((done,), timeout=seconds)
    return bool(ended)
