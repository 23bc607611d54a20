"""aws-chunked bodies: a decoder without IO, and the request body made of it.

    chunk    = size-in-hex [";chunk-signature=" 64-hex] CRLF data CRLF
    body     = *chunk last-chunk *(name ":" value CRLF) CRLF

The last chunk has size 0 and no data. With signatures, each covers its chunk's data and the signature before it, the first one the
request's own; a trailer ends with an `x-amz-trailer-signature` line.
Source: Amazon S3 API Reference, "Signature Calculations for the Authorization Header: Transferring Payload in Multiple Chunks" and
"... Including Trailing Headers (Chunked Upload)".
"""

import hmac
import re
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from enum import Enum, auto
from hashlib import sha256

from s4_gateway import sigv4
from s4_gateway.auth.refusals import signature_mismatch
from s4_gateway.backend.abc import Buffer
from s4_gateway.call import RequestBody
from s4_gateway.errors import S3Error

MAX_LINE_BYTES = 1024
"""Longest chunk line, CRLF included; a real one has at most 99 bytes, and some slack costs nothing."""
MAX_TRAILER_BYTES = 16 * 1024
MAX_TRAILERS = 100

TRAILER_SIGNATURE = "x-amz-trailer-signature"

_MANY_PIECES = 16
"""More pieces than this out of one read are joined: handing each on costs more than copying chunks that small."""

_signed_line = re.compile(rb"([0-9a-fA-F]{1,16});chunk-signature=([0-9a-f]{64})").fullmatch
_unsigned_line = re.compile(rb"([0-9a-fA-F]{1,16})").fullmatch
_trailer_name = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+").fullmatch
_trailer_value = re.compile(rb"[\t\x20-\x7e]*").fullmatch


@dataclass(slots=True)
class SignatureChain:
    """The signatures of a chunked upload, each made over the one before."""

    key: bytes
    """From `sigv4.signing_key`."""
    access_key: str
    """For refusals."""
    timestamp: str
    scope: str
    previous: str
    """Starts as the verified signature of the request."""

    def verify_chunk(self, provided: str, data_hash: str) -> None:
        """Raises SignatureDoesNotMatch unless `provided` signs a chunk whose data has this lower-hex SHA-256."""
        self._verify(provided, sigv4.chunk_string_to_sign(self.timestamp, self.scope, self.previous, data_hash))

    def verify_trailer(self, provided: str, trailer: bytes) -> None:
        """Raises SignatureDoesNotMatch unless `provided` signs these `name:value\\n` lines."""
        self._verify(provided, sigv4.trailer_string_to_sign(self.timestamp, self.scope, self.previous, sha256(trailer).hexdigest()))

    def _verify(self, provided: str, string_to_sign: str) -> None:
        signature = sigv4.sign(self.key, string_to_sign)
        if not hmac.compare_digest(signature.encode(), provided.encode("latin-1")):
            error = signature_mismatch(self.access_key, provided=provided, string_to_sign=string_to_sign)
            error.close = True
            raise error
        self.previous = signature


class _State(Enum):
    LINE = auto()
    DATA = auto()
    DATA_END = auto()
    TRAILER = auto()
    BROKEN = auto()


class ChunkedDecoder:
    """Takes aws-chunked framing off. Feed it bytes as they come, then `finish` it.

    Data is handed out before its chunk's signature is known to be right, because that signature can be checked only behind the chunk and
    chunks may be as large as the object. Whoever stores the data must not make it visible before `finish` returned.

    Args:
        size: x-amz-decoded-content-length in bytes; also the bound of every chunk.
        announced: lower-case names in x-amz-trailer; exactly these must come.
        signed_trailer: the trailer ends with a signature; only with a chain.
        chain: None where chunks are not signed.
    """

    def __init__(
        self,
        size: int,
        *,
        announced: frozenset[str] = frozenset(),
        signed_trailer: bool = False,
        chain: SignatureChain | None = None,
    ) -> None:
        self.size = size
        self.announced = announced
        self.trailers: dict[str, str] = {}
        """Lower-case names; filled by `finish`."""
        self._chain = chain
        self._signed_trailer = signed_trailer
        self._match = _signed_line if chain is not None else _unsigned_line
        self._state = _State.LINE
        self._held = bytearray()
        self._seen = 0
        self._left = 0
        self._signature = ""
        self._hash = sha256()

    def feed(self, data: Buffer) -> list[memoryview]:
        """Decode the next bytes of the body, cut anywhere; the pieces are views of `data`, in order.

        Raises:
            S3Error: IncompleteBody for broken framing or more data than declared, SignatureDoesNotMatch, MalformedTrailerError. The
                decoder takes nothing after that.
        """
        try:
            return self._feed(memoryview(data))
        except S3Error:
            self._state = _State.BROKEN
            raise

    def finish(self) -> None:
        """The body has ended. Returning means: every declared byte came, all signatures hold, and `trailers` is complete.

        Raises:
            S3Error: IncompleteBody, SignatureDoesNotMatch, MalformedTrailerError.
        """
        if self._state is not _State.TRAILER:
            raise _incomplete("The request body ended inside a chunk.")
        self._state = _State.BROKEN
        fields = _parse_trailer(bytes(self._held))
        if self._signed_trailer and self._chain is not None:
            signature = fields.pop(TRAILER_SIGNATURE, "")
            lines = "".join([f"{name}:{value}\n" for name, value in fields.items()])
            self._chain.verify_trailer(signature, lines.encode("ascii"))
        if fields.keys() != self.announced:
            raise _malformed_trailer("The trailer does not have the fields that x-amz-trailer announces.")
        self.trailers = fields

    def _feed(self, view: memoryview) -> list[memoryview]:
        pieces = []
        position, end = 0, len(view)
        while position < end:
            match self._state:
                case _State.DATA:
                    piece = view[position : position + self._left]
                    position += len(piece)
                    self._take(piece)
                    pieces.append(piece)
                case _State.LINE | _State.DATA_END:
                    position = self._read_line(view, position)
                case _State.TRAILER:
                    self._hold(view[position:], MAX_TRAILER_BYTES)
                    position = end
                case _State.BROKEN:
                    raise _incomplete("The request body is broken.")
        return pieces

    def _take(self, piece: memoryview) -> None:
        self._left -= len(piece)
        if self._chain is not None:
            self._hash.update(piece)
        if not self._left:
            self._state = _State.DATA_END
            if self._chain is not None:
                self._chain.verify_chunk(self._signature, self._hash.hexdigest())

    def _read_line(self, view: memoryview, position: int) -> int:
        """Go on with a line that may have begun in an earlier feed; the position behind what was used."""
        window = bytes(view[position : position + MAX_LINE_BYTES])
        end = window.find(b"\n") + 1
        if not end:
            self._hold(window, MAX_LINE_BYTES)
            return position + len(window)
        self._hold(window[:end], MAX_LINE_BYTES)
        line = bytes(self._held)
        self._held.clear()
        if not line.endswith(b"\r\n"):
            raise _incomplete("A line of the chunked body does not end with CRLF.")
        self._on_line(line[:-2])
        return position + end

    def _on_line(self, line: bytes) -> None:
        if self._state is _State.DATA_END:
            if line:
                raise _incomplete("A chunk is longer than its line says.")
            self._state = _State.LINE
            return
        match = self._match(line)
        if match is None:
            raise _incomplete("A chunk line is malformed.")
        self._left = int(match[1], 16)
        self._seen += self._left
        if self._seen > self.size or (not self._left and self._seen != self.size):
            raise _incomplete("The chunks do not have as many bytes as x-amz-decoded-content-length says.")
        self._state = _State.DATA if self._left else _State.TRAILER
        if self._chain is not None:
            self._signature = match[2].decode("ascii")
            self._hash = sha256()
            if not self._left:
                self._chain.verify_chunk(self._signature, sigv4.EMPTY_SHA256)

    def _hold(self, data: Buffer, limit: int) -> None:
        if len(self._held) + len(data) > limit:
            raise _incomplete("A chunk line or the trailer is too long.")
        self._held += data


class ChunkedBody:
    """A request body with aws-chunked framing taken off and everything signed in it verified.

    A clean end of the iteration means what `ChunkedDecoder.finish` means; pieces come before that.

    Hashing stays in the event loop: a server hands out reads of 64 to 256 KiB, which take 50 to 200 us, and a thread for each of them cost
    a quarter to a half of the throughput.
    """

    __slots__ = ("_decoder", "_raw")

    def __init__(self, raw: RequestBody, decoder: ChunkedDecoder) -> None:
        self._raw = raw
        self._decoder = decoder

    @property
    def size(self) -> int:
        return self._decoder.size

    @property
    def sha256(self) -> None:
        return None

    @property
    def announced_trailers(self) -> frozenset[str]:
        return self._decoder.announced

    @property
    def trailers(self) -> Mapping[str, str]:
        return self._decoder.trailers

    async def __aiter__(self) -> AsyncIterator[Buffer]:
        async for data in self._raw:
            pieces = self._decoder.feed(data)
            if len(pieces) > _MANY_PIECES:
                yield b"".join(pieces)
            else:
                for piece in pieces:
                    yield piece
        self._decoder.finish()


def _parse_trailer(section: bytes) -> dict[str, str]:
    """Fields between the last chunk's line and the end of the body, lower-case names, in order.

    A blank line ends the section. Lines may end with LF alone and blank lines may repeat: widespread clients write `name:value LF CRLF`,
    which is also what a trailer signature is made over.
    """
    if not (b"\n" + section).endswith(b"\n\r\n"):
        raise _incomplete("The trailer of the chunked body is cut off.")
    lines = [line for line in (line.removesuffix(b"\r") for line in section.split(b"\n")) if line]
    if len(lines) > MAX_TRAILERS:
        raise _malformed_trailer("The trailer has too many fields.")
    fields: dict[str, str] = {}
    for line in lines:
        raw_name, colon, value = line.partition(b":")
        name = raw_name.decode("latin-1").lower()
        if not colon or not _trailer_name(raw_name) or not _trailer_value(value) or name in fields or TRAILER_SIGNATURE in fields:
            raise _malformed_trailer("The trailer is malformed.")
        fields[name] = value.decode("ascii").strip(" \t")
    return fields


def _incomplete(message: str) -> S3Error:
    return S3Error("IncompleteBody", message, close=True)


def _malformed_trailer(message: str) -> S3Error:
    return S3Error("MalformedTrailerError", message, status=400, close=True)
