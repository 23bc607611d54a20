"""Signed requests over bare sockets: paths as they are, bodies that end early or never, answers that break off."""

import contextlib
import hashlib
import hmac
import http.client
import re
import socket
from base64 import b64encode
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote
from xml.etree.ElementTree import Element, fromstring
from zlib import crc32

from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

TIMEOUT_SECONDS = 60.0
UNSIGNED = "UNSIGNED-PAYLOAD"
CHUNK = 2**20


@dataclass(frozen=True, slots=True)
class Answer:
    """One whole response."""

    status: int
    headers: Mapping[str, str]
    """Names in lower case; values that are UTF-8 as text, others as latin-1."""
    body: bytes

    @property
    def etag(self) -> str | None:
        return self.headers.get("etag")

    @property
    def code(self) -> str | None:
        """The code of an error document."""
        return self.xml.findtext("Code") if b"<Error" in self.body else None

    @property
    def xml(self) -> Element:
        """The body's root element, namespaces taken off all names."""
        root = fromstring(self.body.strip())
        for element in root.iter():
            element.tag = element.tag.rpartition("}")[2]
        return root


class _Signer(S3SigV4Auth):
    """botocore's signer with a payload hash of our choice."""

    def __init__(self, credentials: Credentials, payload_hash: str) -> None:
        super().__init__(credentials, "s3", "us-east-1")
        self._payload_hash = payload_hash

    def payload(self, _request: AWSRequest) -> str:
        return self._payload_hash


class Wire:
    """Sends requests to one endpoint, a new connection each."""

    def __init__(self, endpoint: str, access_key: str, secret_key: str) -> None:
        self.host = endpoint.removeprefix("http://")
        self._credentials = Credentials(access_key, secret_key)

    def head_of(
        self, method: str, path: str, headers: Mapping[str, str] | None = None, *, payload_hash: str = UNSIGNED, signed: bool = True
    ) -> bytes:
        """The bytes of a request head; `path` is sent as it is, with its query, and headers as UTF-8."""
        sent = {"host": self.host, **{name.lower(): value for name, value in (headers or {}).items()}}
        if signed:
            request = AWSRequest(method=method, url=f"http://{self.host}{path}", headers=dict(sent))
            _Signer(self._credentials, payload_hash).add_auth(request)
            sent = {name.lower(): _text(value) for name, value in request.headers.items()}
        lines = [f"{method} {path} HTTP/1.1", *(f"{name}: {value}" for name, value in sent.items()), "", ""]
        return "\r\n".join(lines).encode()

    def request(
        self,
        method: str,
        path: str,
        body: bytes = b"",
        headers: Mapping[str, str] | None = None,
        *,
        signed: bool = True,
        payload_hash: str | None = None,
    ) -> Answer:
        """One request and its whole answer; http.client.IncompleteRead where the answer breaks off."""
        framed = {"content-length": str(len(body)), **{name.lower(): value for name, value in (headers or {}).items()}}
        hashed = hashlib.sha256(body).hexdigest() if payload_hash is None else payload_hash
        with self.connection() as connection:
            connection.sendall(self.head_of(method, path, framed, payload_hash=hashed, signed=signed))
            connection.sendall(body)
            return read_answer(connection, method)

    @contextlib.contextmanager
    def answer(self, method: str, path: str) -> Iterator[http.client.HTTPResponse]:
        """The answer to a request without a body, its own body still to be read."""
        with self.connection() as connection:
            connection.sendall(self.head_of(method, path))
            with contextlib.closing(http.client.HTTPResponse(connection, method=method)) as answer:
                answer.begin()
                yield answer

    def send(self, raw: bytes, method: str) -> Answer:
        """Bytes as they are, and the whole answer."""
        with self.connection() as connection:
            connection.sendall(raw)
            return read_answer(connection, method)

    def signed_chunks(self, method: str, path: str, body: bytes, *, with_trailer: bool = False, chunk: int = 65536) -> tuple[bytes, bytes]:
        """Head and body of a request in signed chunks (STREAMING-AWS4-HMAC-SHA256-PAYLOAD), with a signed crc32 behind it if asked for."""
        kind = "STREAMING-AWS4-HMAC-SHA256-PAYLOAD" + ("-TRAILER" if with_trailer else "")
        sizes = [min(chunk, len(body) - start) for start in range(0, len(body), chunk)] + [0]
        trailer = b"x-amz-checksum-crc32:" + b64encode(crc32(body).to_bytes(4, "big")) if with_trailer else b""
        length = sum(len(f"{size:x}") + len(";chunk-signature=") + 64 + 2 + size + 2 for size in sizes)
        if with_trailer:
            length += len(trailer) + len("\r\nx-amz-trailer-signature:") + 64 + 2
        headers = {"content-encoding": "aws-chunked", "x-amz-decoded-content-length": str(len(body)), "content-length": str(length)}
        if with_trailer:
            headers["x-amz-trailer"] = "x-amz-checksum-crc32"
        head = self.head_of(method, path, headers, payload_hash=kind)
        chain = _Chain(self._credentials.secret_key, head.decode())
        framed = []
        for number, size in enumerate(sizes):
            data = body[number * chunk : number * chunk + size]
            framed.append(b"%x;chunk-signature=%b\r\n%b" % (size, chain.chunk(data), data + b"\r\n" if size or not with_trailer else b""))
        if with_trailer:
            framed.append(b"%b\r\nx-amz-trailer-signature:%b\r\n\r\n" % (trailer, chain.trailer(trailer + b"\n")))
        return head, b"".join(framed)

    def signed_stream(self, method: str, path: str, blocks: Iterable[bytes], size: int) -> Iterator[bytes]:
        """Head and body of a request in signed chunks of 1 MiB, a piece at a time; `size` is that of all blocks, each of whole MiB."""
        line = len("100000;chunk-signature=") + 64 + 2
        length = size // CHUNK * (line + CHUNK + 2) + len("0;chunk-signature=") + 64 + 4
        headers = {"content-encoding": "aws-chunked", "x-amz-decoded-content-length": str(size), "content-length": str(length)}
        head = self.head_of(method, path, headers, payload_hash="STREAMING-AWS4-HMAC-SHA256-PAYLOAD")
        chain = _Chain(self._credentials.secret_key, head.decode())
        yield head
        for block in blocks:
            for start in range(0, len(block), CHUNK):
                data = block[start : start + CHUNK]
                yield b"%x;chunk-signature=%b\r\n%b\r\n" % (len(data), chain.chunk(data), data)
        yield b"0;chunk-signature=%b\r\n\r\n" % chain.chunk(b"")

    @contextlib.contextmanager
    def connection(self) -> Iterator[socket.socket]:
        """A connection to the endpoint."""
        host, _, port = self.host.partition(":")
        with socket.create_connection((host, int(port)), timeout=TIMEOUT_SECONDS) as connection:
            yield connection


class _Chain:
    """Signatures of the chunks of one body, each over the one before."""

    def __init__(self, secret: str, head: str) -> None:
        found = re.search(r"Credential=[^/]+/((\d+)/([^/]+)/s3/aws4_request).*Signature=([0-9a-f]{64})", head)
        stamp = re.search(r"x-amz-date: (\w+)", head, re.IGNORECASE)
        assert found
        assert stamp
        self._scope, self._stamp, self._previous = found[1], stamp[1], found[4]
        self._key = ("AWS4" + secret).encode()
        for word in (found[2], found[3], "s3", "aws4_request"):
            self._key = hmac.digest(self._key, word.encode(), "sha256")

    def chunk(self, data: bytes) -> bytes:
        empty, hashed = hashlib.sha256(b"").hexdigest(), hashlib.sha256(data).hexdigest()
        return self._sign("AWS4-HMAC-SHA256-PAYLOAD", empty, hashed)

    def trailer(self, lines: bytes) -> bytes:
        return self._sign("AWS4-HMAC-SHA256-TRAILER", hashlib.sha256(lines).hexdigest())

    def _sign(self, algorithm: str, *hashes: str) -> bytes:
        text = "\n".join((algorithm, self._stamp, self._scope, self._previous, *hashes))
        self._previous = hmac.new(self._key, text.encode(), "sha256").hexdigest()
        return self._previous.encode()


def read_answer(connection: socket.socket, method: str = "GET") -> Answer:
    """The whole answer to the request that was sent; http.client.IncompleteRead where it breaks off."""
    answer = http.client.HTTPResponse(connection, method=method)
    with contextlib.closing(answer):
        answer.begin()
        return Answer(answer.status, {name.lower(): _decoded(value) for name, value in answer.getheaders()}, answer.read())


def path_of(bucket: str, key: str = "", query: str = "") -> str:
    """The path of a request, nothing normalised."""
    path = f"/{bucket}/{quote(key.encode(), safe='/~')}" if key else f"/{bucket}"
    return f"{path}?{query}" if query else path


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)


def _decoded(value: str) -> str:
    raw = value.encode("latin-1")
    try:
        return raw.decode()
    except UnicodeDecodeError:
        return value
