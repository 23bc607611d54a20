"""Signed requests, attempted a bounded number of times."""

import asyncio
import hashlib
import random
import time
from base64 import b64encode
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import NamedTuple, TypeVar

from s4_gateway.backend._rules import exact_pieces
from s4_gateway.backend.abc import BackendError, Outcome, Payload
from s4_gateway.backend.s3.credentials import Credentials, KeyPair
from s4_gateway.backend.s3.errors import AttemptError, answered, inside_success, unanswered
from s4_gateway.backend.s3.headers import http_date
from s4_gateway.backend.s3.http import Answer as HttpAnswer
from s4_gateway.backend.s3.options import Observer, S3Options, split_endpoint
from s4_gateway.backend.s3.request import Guard, Request
from s4_gateway.backend.s3.transport import Transport
from s4_gateway.backend.s3.xml import MAX_DOCUMENT_BYTES, Node, error_fields, parse
from s4_gateway.errors import SettingsError
from s4_gateway.sigv4 import EMPTY_SHA256, UNSIGNED_PAYLOAD, Signer

INLINE_HASH_LIMIT = 128 * 1024
"""Bodies up to here are hashed on the event loop: a thread hop costs as much."""

Result = TypeVar("Result")

READING = frozenset({"GET", "HEAD"})


@dataclass(frozen=True, slots=True)
class Answer:
    """A successful answer, its body read.

    Attributes:
        status: HTTP status, 2xx.
        headers: lower-case names, latin-1 values.
        body: all of it.
        seconds: from the start of the first attempt to this answer.
    """

    status: int
    headers: Mapping[str, str]
    body: bytes
    seconds: float

    def document(self, root: str) -> Node:
        """The body as XML whose root has this local name.

        Raises:
            BackendError: it is something else.
        """
        return parse(self.body, root)


class Opened(NamedTuple):
    """A successful answer whose body is still to be read from `response`; whoever has it closes it and then calls `done(bytes read)`."""

    status: int
    headers: Mapping[str, str]
    response: HttpAnswer
    done: Callable[[int], None]


@dataclass(frozen=True, slots=True)
class Greeting:
    """How a store introduces itself.

    Attributes:
        server: its Server header.
        skew: seconds that our clock is ahead of its, to about a second; None = it told no time.
        code: S3 error code, if it refused to list buckets.
        message: the text that came with it.
    """

    server: str
    skew: float | None
    code: str | None
    message: str | None


class Requester:
    """Signs, sends, counts and repeats requests.

    Attributes:
        requests: attempts by method of `Backend`.
    """

    def __init__(self, options: S3Options, credentials: Credentials, observe: Observer | None) -> None:
        self.requests: Counter[str] = Counter()
        self._options = options
        self._credentials = credentials
        self._observe = observe
        self._secure = options.secure
        _, self._host = split_endpoint(options.endpoint_url)
        self._transport: Transport | None = None
        self._keys: KeyPair | None = None
        self._signer = Signer("", "")

    def start(self) -> None:
        """Open the connection pool; inside the running event loop."""
        if self._transport is None:
            self._transport = Transport(self._options)

    async def close(self) -> None:
        """Drop all connections; repeatable."""
        if self._transport is not None:
            await self._transport.close()
            self._transport = None

    async def call(self, request: Request) -> Answer:
        """Send a request and read its whole answer.

        Raises:
            BackendError: no attempt succeeded.
        """
        begun = time.monotonic()

        async def attempt(headers: Mapping[str, str]) -> Answer:
            opened = await self._open(request, headers)
            body = await _read(request, opened)
            if request.commits:
                _check_commit(body)
            return Answer(opened.status, opened.headers, body, time.monotonic() - begun)

        return await self._repeat(request, attempt)

    async def open(self, request: Request) -> Opened:
        """Send a request and read the head of its answer.

        Raises:
            BackendError: no attempt succeeded.
        """
        return await self._repeat(request, lambda headers: self._open(request, headers))

    async def greet(self) -> Greeting:
        """Ask for the list of buckets and tell how the store answered; a refusal is an answer too.

        Raises:
            BackendError: no attempt was answered but by a failure of the store.
        """
        request = Request("ping", "GET", "/")

        async def attempt(headers: Mapping[str, str]) -> Greeting:
            opened = await self._exchange(request, headers)
            now = time.time()
            body = await _read(request, opened)
            if opened.status >= 500:
                raise answered(opened.status, opened.headers, body, has_key=False)
            date = http_date(opened.headers.get("date", ""))
            code, message = (None, None) if opened.status < 300 else error_fields(body)
            return Greeting(opened.headers.get("server", ""), None if date is None else now - date, code, message)

        return await self._repeat(request, attempt)

    async def _repeat(self, request: Request, attempt: Callable[[Mapping[str, str]], Awaitable[Result]]) -> Result:
        headers, payload_hash = await self._prepared(request)
        lost = False
        for number in range(1, self._options.attempts + 1):
            try:
                signer = await self._current_signer()
                signed = signer.sign(
                    request.method, request.path, request.query, headers=headers, payload_hash=payload_hash, when=time.time()
                )
                return await attempt(signed)
            except AttemptError as error:
                if not error.transient or number == self._options.attempts:
                    raise error.final(lost=lost, reads=request.method in READING) from error
                lost = lost or error.outcome is Outcome.UNKNOWN
            await asyncio.sleep(self._pause(number))
        raise AssertionError("attempts is at least 1")

    def _pause(self, attempts: int) -> float:
        """Seconds before the next attempt: random over the whole span ("full jitter"), so that clients that failed together spread out."""
        return random.uniform(0, min(self._options.backoff_limit, self._options.backoff * 2 ** (attempts - 1)))

    async def _open(self, request: Request, headers: Mapping[str, str]) -> Opened:
        """One attempt; an answer that is no success is read and raised."""
        opened = await self._exchange(request, headers)
        if 200 <= opened.status < 300:
            return opened
        body = await _read(request, opened)
        raise answered(opened.status, opened.headers, body, has_key=request.has_key)

    async def _exchange(self, request: Request, headers: Mapping[str, str]) -> Opened:
        """One attempt, whatever its status."""
        if self._transport is None:
            raise RuntimeError("the backend is not started")
        operation = request.operation
        self.requests[operation] += 1
        begun = time.monotonic()
        sent = 0 if request.payload is None else request.payload.size
        status = 0

        def done(received: int) -> None:
            if self._observe is not None:
                self._observe(operation, status, sent, received, time.monotonic() - begun)

        try:
            response = await self._transport.send(request, headers)
        except BaseException:
            done(0)
            raise
        status = response.status
        return Opened(status, response.headers, response, done)

    async def _prepared(self, request: Request) -> tuple[dict[str, str], str]:
        """(headers to sign, payload hash): what stays the same over all attempts."""
        headers = {"host": self._host, **request.headers}
        payload = request.payload
        if payload is None or payload.size == 0:
            return headers, EMPTY_SHA256
        if request.guard is Guard.DEMANDED or (self._secure and request.guard is Guard.END_TO_END):
            headers["content-md5"] = b64encode(await _digest(payload, "md5")).decode()
        if self._secure:
            return headers, UNSIGNED_PAYLOAD
        return headers, (await _digest(payload, "sha256")).hex()

    async def _current_signer(self) -> Signer:
        try:
            keys = await self._credentials.current()
        except SettingsError as error:
            # Where keys are fetched may be out of reach for a while, as the store itself may be.
            raise unanswered(str(error), sent=False) from error
        if keys is not self._keys:
            self._keys = keys
            self._signer = Signer(keys.access_key, keys.secret_key, keys.session_token, self._options.region)
        return self._signer


async def _read(request: Request, opened: Opened) -> bytes:
    """The whole body of an answer."""
    body = b""
    try:
        if request.method != "HEAD":
            body = await opened.response.read(MAX_DOCUMENT_BYTES)
    finally:
        opened.response.close()
        opened.done(len(body))
    return body


def _check_commit(body: bytes) -> None:
    """Raise what an answer with status 200 says about a commit that failed after its head was sent.

    Raises:
        AttemptError: an error document, or none that can be understood, which leaves the outcome open.
    """
    try:
        root = parse(body)
    except BackendError as error:
        raise unanswered(error.message, sent=True) from error
    if root.name == "Error":
        raise inside_success(body)


async def _digest(payload: Payload, algorithm: str) -> bytes:
    if payload.size <= INLINE_HASH_LIMIT:
        return _hash(payload, algorithm)
    return await asyncio.to_thread(_hash, payload, algorithm)


def _hash(payload: Payload, algorithm: str) -> bytes:
    digest = hashlib.new(algorithm, usedforsecurity=False)
    for piece in exact_pieces(payload):
        digest.update(piece)
    return digest.digest()
