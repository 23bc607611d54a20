"""Request bodies as they come over ASGI."""

import asyncio
import hashlib
from collections.abc import AsyncIterator, Mapping
from typing import Self

from s4_codecs.checksums import Digests
from starlette.types import Receive

from s4_gateway.backend.abc import Buffer
from s4_gateway.call import RequestBody
from s4_gateway.errors import ClientDisconnected, S3Error
from s4_gateway.wire.digests import PREFIX, Promised, check_value

MAX_DOCUMENT_BYTES = 20 * 2**20
"""Largest XML document that is read, as in S3."""
LINGER_BYTES = 2**20
LINGER_SECONDS = 2.0

NO_HEADERS: Mapping[str, str] = {}
_NO_NAMES: frozenset[str] = frozenset()


class RawBody:
    """The bytes of a request with transfer framing taken off (RequestBody of `s4_gateway.call`).

    Args:
        receive: of the ASGI request.
        size: Content-Length; None = chunked transfer, length unknown.
        max_bytes: most bytes of a body of unknown size.
    """

    __slots__ = ("_iterated", "_max_bytes", "_receive", "_sha256", "_size", "_unread")

    def __init__(self, receive: Receive, *, size: int | None, max_bytes: int | None = None) -> None:
        self._receive = receive
        self._size = size
        self._max_bytes = max_bytes
        self._sha256: str | None = None
        self._unread = size != 0
        self._iterated = False

    def with_sha256(self, sha256: str) -> Self:
        """This body, whose bytes must have that lower-hex SHA-256; the reader compares."""
        self._sha256 = sha256
        return self

    @property
    def size(self) -> int | None:
        return self._size

    @property
    def sha256(self) -> str | None:
        return self._sha256

    @property
    def announced_trailers(self) -> frozenset[str]:
        return _NO_NAMES

    @property
    def trailers(self) -> Mapping[str, str]:
        return NO_HEADERS

    @property
    def unread(self) -> bool:
        """Whether bytes of it may still be on the connection, which then cannot carry another request."""
        return self._unread

    def __aiter__(self) -> AsyncIterator[Buffer]:
        if self._iterated:
            raise RuntimeError("a request body can be read once")
        self._iterated = True
        return self._chunks()

    async def _chunks(self) -> AsyncIterator[Buffer]:
        received = 0
        while self._unread:
            message = await self._receive()
            if message["type"] == "http.disconnect":
                raise ClientDisconnected("the client left before its request body was complete")
            if not message.get("more_body", False):
                self._unread = False
            chunk: bytes = message.get("body", b"")
            if chunk:
                received += len(chunk)
                self._check_excess(received)
                yield chunk
        if self._size is not None and received < self._size:
            raise S3Error("IncompleteBody", fields={"NumberBytesExpected": str(self._size), "NumberBytesProvided": str(received)})

    def _check_excess(self, received: int) -> None:
        if self._size is not None:
            if received > self._size:
                raise S3Error("RequestBodyLengthMismatch", close=True)
        elif self._max_bytes is not None and received > self._max_bytes:
            raise too_large(received, self._max_bytes)

    async def gone(self) -> None:
        """Return when the client has left. Only for after the body was read, or given up: what still comes of it is dropped."""
        while (await self._receive())["type"] != "http.disconnect":
            pass

    async def linger(self) -> None:
        """Read on for a moment without looking.

        A socket closed with bytes unread in it is reset, and the reset can overtake the answer that says why: so between answer and close
        a client gets the chance to stop sending. Bounded by LINGER_BYTES and LINGER_SECONDS.
        """
        dropped = 0
        try:
            async with asyncio.timeout(LINGER_SECONDS):
                while self._unread and dropped < LINGER_BYTES:
                    message = await self._receive()
                    if message["type"] == "http.disconnect":
                        return
                    dropped += len(message.get("body", b""))
                    self._unread = message.get("more_body", False)
        except TimeoutError:
            return


def too_large(proposed: int, allowed: int) -> S3Error:
    """The refusal of a body above the limit, which was not read to its end."""
    return S3Error("EntityTooLarge", fields={"ProposedSize": str(proposed), "MaxSizeAllowed": str(allowed)}, close=True)


async def read_limited(body: RequestBody, limit: int = MAX_DOCUMENT_BYTES, headers: Mapping[str, str] = NO_HEADERS) -> bytes:
    """A whole small body, checked against everything that was promised of it.

    Args:
        body: iterated here, to its end.
        limit: most bytes.
        headers: of the request; Content-MD5 and checksums in them must hold. Those of CompleteMultipartUpload describe the object and not
            the document: it hands in none.

    Raises:
        S3Error: MaxMessageLengthExceeded, XAmzContentSHA256Mismatch, BadDigest, what `Promised` and the body itself raise.
    """
    promised = Promised.from_headers(headers)
    if body.size is not None and body.size > limit:
        raise _too_long(limit)
    chunks: list[Buffer] = []
    total = 0
    async for chunk in body:
        total += len(chunk)
        if total > limit:
            raise _too_long(limit)
        chunks.append(chunk)
    content = b"".join(chunks)
    if body.sha256 is not None and hashlib.sha256(content).hexdigest() != body.sha256:
        raise S3Error("XAmzContentSHA256Mismatch", fields={"ClientComputedContentSHA256": body.sha256})
    _check(content, promised, body.trailers)
    return content


def _too_long(limit: int) -> S3Error:
    return S3Error("MaxMessageLengthExceeded", fields={"MaxMessageLengthBytes": str(limit)}, close=True)


def _check(content: bytes, promised: Promised, trailers: Mapping[str, str]) -> None:
    expected = {algorithm: check_value(algorithm, value) for algorithm, value in promised.checksums.items()}
    if promised.trailer is not None:
        sent = trailers.get(PREFIX + promised.trailer)
        if sent is None:
            raise S3Error("InvalidRequest", f"The announced trailer {PREFIX}{promised.trailer} did not come.")
        expected[promised.trailer] = check_value(promised.trailer, sent)
    if promised.md5 is not None:
        expected["md5"] = promised.md5
    if not expected:
        return
    digests = Digests(expected)
    digests.update(content)
    for algorithm, value in expected.items():
        if digests.raw(algorithm) != value:
            name = "Content-MD5" if algorithm == "md5" else algorithm.upper()
            raise S3Error("BadDigest", f"The {name} you specified did not match the calculated checksum.")
