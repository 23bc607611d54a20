"""One request, from its head to its answer: `S3App.__call__` reads straight down, each line is a folder.

`build_app` puts it beside a small Starlette application that hosts lifespan, /health, /ready and /metrics.
"""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from s4_gateway.backend.abc import BackendError, StoreError
from s4_gateway.call import Call
from s4_gateway.errors import ClientDisconnected, NotModified, S3Error
from s4_gateway.faults import backend_fault
from s4_gateway.observe.record import CLIENT_CLOSED, Record
from s4_gateway.operations.results import CompletedUpload, PendingUpload
from s4_gateway.operations.table import TABLE
from s4_gateway.policy import authorize
from s4_gateway.services import Services
from s4_gateway.wire.request import RequestParser, new_request_id
from s4_gateway.wire.response import respond, respond_error
from s4_gateway.wire.unbuilt import refuse_unbuilt

logger = logging.getLogger(__name__)

REFUSED = "s4.refused"
"""Scope key under which the web server hands over a request that it could not accept: the S3Error to answer with."""

SERVICE_PATHS = frozenset({"/health", "/ready", "/metrics"})
SIGNATURE_PARAMETERS = (b"X-Amz-Signature=", b"X-Amz-Algorithm=", b"Signature=")

SERVER = {"server": "s4-gateway"}
READY_SECONDS = 1.0
"""An answer about readiness is repeated for so long: /ready is open to everybody, and each one would be a backend request."""
PING_SECONDS = 5.0


def build_app(services: Services) -> ASGIApp:
    """The gateway as one ASGI application."""
    return Gateway(S3App(services), service_host(services))


class Gateway:
    """Sends unsigned GET and HEAD of the service paths and the lifespan to Starlette, everything else to S3."""

    def __init__(self, s3: ASGIApp, host: ASGIApp) -> None:
        self._s3 = s3
        self._host = host

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and not is_service_request(scope):
            await self._s3(scope, receive, send)
        else:
            await self._host(scope, receive, send)


def is_service_request(scope: Scope) -> bool:
    """Whether this asks the gateway itself: a bucket may be called `health`, but S3 requests for it are signed."""
    if scope["path"] not in SERVICE_PATHS or scope["method"] not in ("GET", "HEAD") or REFUSED in scope:
        return False
    if any(parameter in scope["query_string"] for parameter in SIGNATURE_PARAMETERS):
        return False
    return all(name != b"authorization" for name, _ in scope["headers"])


class S3App:
    """The S3 side: every request becomes one answer, one count and one line of the access log."""

    def __init__(self, services: Services) -> None:
        listen = services.settings.listen
        self._services = services
        self._parser = RequestParser(domain=listen.domain, max_body_bytes=listen.max_body_bytes)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        exchange = Exchange(scope, receive, send)
        services = self._services
        services.request_began()
        try:
            if REFUSED in scope:
                raise scope[REFUSED]
            exchange.call = call = self._parser.parse(scope, exchange.receive)
            services.authenticator.authenticate(call)
            entry = TABLE[call.operation]
            exchange.writes = entry.writes
            authorize(call, entry)
            refuse_unbuilt(call)
            if entry.run is None:
                raise S3Error("NotImplemented", f"{call.operation} is not implemented.")
            result = await entry.run(services.store, call)
            if isinstance(result, PendingUpload):
                result = replace(result, done=self._completed(exchange, result.done))
            await respond(exchange.send, call, result, method=call.method)
        except asyncio.CancelledError:
            exchange.gone()
            raise
        except Exception as error:  # noqa: BLE001 - the boundary: whatever it is becomes an answer
            await self._fail(exchange, error)
        finally:
            self._record(exchange)
            services.request_ended()

    async def _fail(self, exchange: "Exchange", error: Exception) -> None:
        if isinstance(error, ClientDisconnected):
            exchange.gone()
            return
        answer = error if isinstance(error, NotModified) else self._answer(exchange, error)
        exchange.code = answer.code if isinstance(answer, S3Error) else None
        if exchange.status is not None:
            # The head is out: only a broken connection can still say that the body is not whole.
            logger.warning("%s: answer of %s broken off: %s", exchange.request_id, exchange.operation, error)
            return
        await respond_error(
            exchange.send,
            answer,
            request_id=exchange.request_id,
            resource=exchange.resource,
            method=exchange.method,
            close=isinstance(answer, S3Error) and answer.close,
        )

    async def _completed(self, exchange: "Exchange", done: Awaitable[CompletedUpload]) -> CompletedUpload:
        """What a pending upload gives; its errors, which may have to go into the body of a 200, are S3 errors."""
        try:
            return await done
        except Exception as error:
            answer = self._answer(exchange, error)
            exchange.code = answer.code
            raise answer from error

    def _answer(self, exchange: "Exchange", error: Exception) -> S3Error:
        if isinstance(error, S3Error):
            return error
        if isinstance(error, BackendError):
            answer = backend_fault(error)
            if isinstance(error, StoreError):
                logger.error("%s: %s: %s", exchange.request_id, exchange.operation, error)
            elif answer.code != error.code:
                logger.warning("%s: %s answered as %s: %s", exchange.request_id, exchange.operation, answer.code, error)
            return answer
        logger.error("%s: %s failed", exchange.request_id, exchange.operation, exc_info=error)
        return S3Error("InternalError")

    def _record(self, exchange: "Exchange") -> None:
        record = exchange.record()
        self._services.metrics.request_ended(record, writes=exchange.writes)
        self._services.access_log.write(record)


class Exchange:
    """One request and its answer on their way: what was read and written, for the log."""

    __slots__ = ("_began", "_receive", "_scope", "_send", "_unaddressed_id", "call", "code", "received", "sent", "status", "writes")

    def __init__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self._scope = scope
        self._receive = receive
        self._send = send
        self._began = time.perf_counter()
        self._unaddressed_id = ""
        self.call: Call | None = None
        self.writes = False
        self.status: int | None = None
        """What was sent; None = nothing yet."""
        self.code: str | None = None
        self.received = 0
        self.sent = 0

    async def receive(self) -> Message:
        message = await self._receive()
        if message["type"] == "http.request":
            self.received += len(message.get("body", b""))
        return message

    async def send(self, message: Message) -> None:
        await self._send(message)
        if message["type"] == "http.response.start":
            self.status = message["status"]
        else:
            self.sent += len(message.get("body", b""))

    def gone(self) -> None:
        """Nobody waits for the answer any more."""
        self.status, self.code = CLIENT_CLOSED, "ClientDisconnected"

    @property
    def request_id(self) -> str:
        if self.call is not None:
            return self.call.request_id
        if not self._unaddressed_id:
            self._unaddressed_id = new_request_id()
        return self._unaddressed_id

    @property
    def operation(self) -> str:
        return self.call.operation if self.call is not None else "Unknown"

    @property
    def method(self) -> str:
        return str(self._scope["method"])

    @property
    def resource(self) -> str:
        return self.call.resource if self.call is not None else str(self._scope["path"])

    def record(self) -> Record:
        """All of it, at the end."""
        call, scope = self.call, self._scope
        client = scope.get("client")
        seconds = time.perf_counter() - self._began
        status = self.status if self.status is not None else CLIENT_CLOSED
        if call is None:
            return Record(
                request_id=self.request_id,
                operation=self.operation,
                method=self.method,
                bucket="",
                key="",
                principal=None,
                status=status,
                code=self.code,
                received=self.received,
                sent=self.sent,
                seconds=seconds,
                source_ip=client[0] if client else None,
                user_agent=None,
                notes=NO_NOTES,
            )
        principal = call.principal
        return Record(
            call.request_id,
            call.operation,
            call.method,
            call.bucket,
            call.key,
            principal.access_key if principal is not None else None,
            status,
            self.code,
            self.received,
            self.sent,
            seconds,
            client[0] if client else None,
            call.headers.get("user-agent"),
            call.notes,
        )


NO_NOTES: Mapping[str, object] = {}


def service_host(services: Services) -> ASGIApp:
    """Starlette with lifespan, /health, /ready and /metrics."""
    readiness = Readiness(services)

    @asynccontextmanager
    async def lifespan(_app: Starlette) -> AsyncIterator[None]:
        await services.start()
        try:
            yield
        finally:
            await services.close()

    async def health(_request: Request) -> Response:
        return PlainTextResponse("ok\n", headers=SERVER)

    async def ready(_request: Request) -> Response:
        reason = await readiness.reason()
        if reason is not None:
            return PlainTextResponse(f"not ready: {reason}\n", status_code=503, headers=SERVER)
        return PlainTextResponse("ready\n", headers=SERVER)

    async def metrics(_request: Request) -> Response:
        return Response(await services.metrics_text(), headers={"content-type": services.metrics.content_type, **SERVER})

    routes = [Route("/health", health), Route("/ready", ready), Route("/metrics", metrics)]
    return Starlette(routes=routes, lifespan=lifespan)


class Readiness:
    """Whether the backend answers; asked at most once in READY_SECONDS, however many ask us."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._lock = asyncio.Lock()
        self._until = 0.0
        self._reason: str | None = None

    async def reason(self) -> str | None:
        """Why not, in a word that is safe to show anybody; None = ready."""
        async with self._lock:
            if time.monotonic() >= self._until:
                self._reason = await self._ask()
                self._until = time.monotonic() + READY_SECONDS
            return self._reason

    async def _ask(self) -> str | None:
        try:
            async with asyncio.timeout(PING_SECONDS):
                await self._services.backend.ping()
        except TimeoutError:
            return "the backend did not answer in time"
        except BackendError as error:
            logger.warning("the backend is not ready: %s", error)
            return f"the backend answered {error.code}"
        return None
