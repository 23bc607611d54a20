"""Signed requests over bare sockets: paths as they are, bodies that end early or never, answers that break off."""

import contextlib
import hashlib
import http.client
import socket
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote
from xml.etree.ElementTree import Element, fromstring

from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

TIMEOUT_SECONDS = 60.0
UNSIGNED = "UNSIGNED-PAYLOAD"


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
    def connection(self) -> Iterator[socket.socket]:
        """A connection to the endpoint."""
        host, _, port = self.host.partition(":")
        with socket.create_connection((host, int(port)), timeout=TIMEOUT_SECONDS) as connection:
            yield connection


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
