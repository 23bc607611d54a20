"""Signed S3 requests to a gateway in this process: no socket, no HTTP library that rewrites paths.

    async with make_gateway(MemoryBackend()) as client:
        await client.request("PUT", "bucket")
        answer = await client.request("PUT", "bucket", "a//b/../c", body=b"...")
        assert answer.status == 200

Requests are signed by botocore, so that the gateway's verification is not tested by its own signer.
"""

import asyncio
import hashlib
import re
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import Literal
from urllib.parse import quote
from xml.etree.ElementTree import Element, fromstring

from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from s4_gateway.app import build_app
from s4_gateway.auth.credentials import KeyStore
from s4_gateway.backend.abc import Backend
from s4_gateway.client_keys import ClientKeys
from s4_gateway.objects.options import StoreOptions
from s4_gateway.observe import Metrics
from s4_gateway.services import Services, assemble
from s4_gateway.settings import BackendSettings, CompressionSettings, ListenSettings, Settings
from s4_gateway.testing.asgi import ASGIApp, Message, Scope

ACCESS_KEY = "testclient"
SECRET_KEY = "known-to-tests-only"  # noqa: S105
HOST = "s3.gateway.test"
CHUNK = 64 * 1024

Query = Mapping[str, str] | Iterable[tuple[str, str]]
PayloadHash = Literal["literal", "unsigned"]


class BrokenOff(Exception):
    """The gateway ended before its answer did: over a socket the connection would have been broken."""

    def __init__(self, answer: "Answer | None") -> None:
        super().__init__("the answer was broken off")
        self.answer = answer
        """What had come; None = not even a head."""


@dataclass(frozen=True, slots=True)
class Answer:
    """One response."""

    status: int
    raw_headers: tuple[tuple[str, str], ...]
    """Lower-case names, latin-1 values, repeated ones kept."""
    body: bytes
    headers: Mapping[str, str] = field(init=False)
    """Repeated ones joined by a comma."""

    def __post_init__(self) -> None:
        joined: dict[str, str] = {}
        for name, value in self.raw_headers:
            joined[name] = f"{joined[name]}, {value}" if name in joined else value
        object.__setattr__(self, "headers", joined)

    @property
    def etag(self) -> str | None:
        """The ETag header without quotes."""
        value = self.headers.get("etag")
        return value.strip('"') if value is not None else None

    @property
    def xml(self) -> Element:
        """The body's root element, namespaces taken off all names."""
        root = fromstring(self.body.strip())  # noqa: S314 - our own answer
        for element in root.iter():
            element.tag = re.sub(r"^\{[^}]*\}", "", element.tag)
        return root

    def text(self, path: str) -> str | None:
        """Text of the first element at `path` (`Contents/Key`) below the root; None where there is none."""
        return self.xml.findtext(path)

    def texts(self, path: str) -> list[str]:
        """Texts of all elements at `path`."""
        return [element.text or "" for element in self.xml.findall(path)]

    @property
    def code(self) -> str | None:
        """Code of an error document, also of one inside a 200; None for any other body."""
        if b"<Error>" not in self.body:
            return None
        return self.text("Code")


class _Signer(S3SigV4Auth):  # type: ignore[misc] # botocore has no types
    """botocore's signer with a payload hash of our choice."""

    def __init__(self, credentials: Credentials, region: str, payload_hash: str) -> None:
        super().__init__(credentials, "s3", region)
        self._payload_hash = payload_hash

    def payload(self, _request: AWSRequest) -> str:
        return self._payload_hash


class GatewayClient:
    """Sends requests to an ASGI application.

    Args:
        app: the gateway.
        services: what stands behind it, for tests that look there.
    """

    def __init__(
        self,
        app: ASGIApp,
        services: Services,
        *,
        access_key: str = ACCESS_KEY,
        secret_key: str = SECRET_KEY,
        region: str = "us-east-1",
    ) -> None:
        self.app = app
        self.services = services
        self._credentials = Credentials(access_key, secret_key)
        self._region = region

    async def request(
        self,
        method: str,
        bucket: str = "",
        key: str = "",
        *,
        query: Query = (),
        headers: Mapping[str, str] | None = None,
        body: bytes = b"",
        payload: PayloadHash = "literal",
        signed: bool = True,
        host: str = HOST,
        path: str | None = None,
        length: int | None = None,
        disconnect_after: int | None = None,
    ) -> Answer:
        """One request and its whole answer.

        Args:
            method: upper case.
            bucket, key: percent-encoded into the path, nothing normalised.
            query: parameters, encoded here.
            headers: values are latin-1 text.
            body: sent in pieces of 64 KiB.
            payload: what x-amz-content-sha256 says.
            signed: False = anonymous.
            host: value of Host.
            path: raw path instead of bucket and key.
            length: Content-Length instead of the true one.
            disconnect_after: body bytes after which the client goes away.

        Raises:
            BrokenOff: the answer did not end.
        """
        raw_path = path if path is not None else _path(bucket, key)
        sent = {"host": host, **{name.lower(): value for name, value in (headers or {}).items()}}
        if body or method in ("PUT", "POST") or length is not None:
            sent.setdefault("content-length", str(len(body) if length is None else length))
        raw_query = _query(query)
        if signed:
            sent = self._sign(
                method, raw_path, raw_query, sent, hashlib.sha256(body).hexdigest() if payload == "literal" else "UNSIGNED-PAYLOAD"
            )
        scope: Scope = {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.3"},
            "http_version": "1.1",
            "method": method,
            "scheme": "http",
            "path": raw_path,
            "raw_path": raw_path.encode("ascii"),
            "query_string": raw_query.encode("ascii"),
            "root_path": "",
            "headers": [(name.encode("latin-1"), value.encode("latin-1")) for name, value in sent.items()],
            "client": ("127.0.0.1", 50000),
            "server": ("127.0.0.1", 80),
            "state": {},
        }
        return await _exchange(self.app, scope, body, disconnect_after)

    def _sign(self, method: str, path: str, query: str, headers: Mapping[str, str], payload_hash: str) -> dict[str, str]:
        url = f"http://{headers['host']}{path}" + (f"?{query}" if query else "")
        request = AWSRequest(method=method, url=url, headers={name: _signed_text(value) for name, value in headers.items()})
        _Signer(self._credentials, self._region, payload_hash).add_auth(request)
        signed = {name.lower(): value if isinstance(value, str) else value.decode("latin-1") for name, value in request.headers.items()}
        return {**signed, **headers}


def _signed_text(value: str) -> str:
    """botocore signs the UTF-8 of a header's text: what it must be given so that it signs these bytes."""
    return value if value.isascii() else value.encode("latin-1").decode()


def _path(bucket: str, key: str) -> str:
    encoded = quote(key.encode(), safe="/~") if key else ""
    return f"/{bucket}/{encoded}" if key else f"/{bucket}"


def _query(query: Query) -> str:
    pairs = query.items() if isinstance(query, Mapping) else query
    return "&".join(f"{quote(name, safe='~')}={quote(value, safe='~')}" if value else quote(name, safe="~") for name, value in pairs)


async def _exchange(app: ASGIApp, scope: Scope, body: bytes, disconnect_after: int | None) -> Answer:
    messages = _body_messages(body, disconnect_after)
    head: Message | None = None
    collected = BytesIO()
    complete = False

    async def receive() -> Message:
        message = next(messages, None)
        if message is None:
            # A client that waits for its answer sends nothing more.
            await asyncio.get_running_loop().create_future()
        assert message is not None
        return message

    async def send(message: Message) -> None:
        nonlocal head, complete
        if message["type"] == "http.response.start":
            assert head is None
            head = message
        else:
            assert head is not None
            assert not complete
            if scope["method"] != "HEAD":
                collected.write(message.get("body", b""))
            complete = not message.get("more_body", False)

    await app(scope, receive, send)
    answer = None
    if head is not None:
        headers = tuple((name.decode("latin-1").lower(), value.decode("latin-1")) for name, value in head["headers"])
        answer = Answer(head["status"], headers, collected.getvalue())
    if answer is None or not complete:
        raise BrokenOff(answer)
    return answer


def _body_messages(body: bytes, disconnect_after: int | None) -> Iterator[Message]:
    if disconnect_after is not None:
        for start in range(0, disconnect_after, CHUNK):
            yield {"type": "http.request", "body": body[start : min(start + CHUNK, disconnect_after)], "more_body": True}
        while True:
            yield {"type": "http.disconnect"}
    for start in range(0, max(1, len(body)), CHUNK):
        yield {"type": "http.request", "body": body[start : start + CHUNK], "more_body": start + CHUNK < len(body)}


@asynccontextmanager
async def make_gateway(
    backend: Backend,
    *,
    options: StoreOptions | None = None,
    state_dir: Path | None = None,
    domain: str | None = None,
    max_body_bytes: int | None = None,
    log: BytesIO | None = None,
) -> AsyncIterator[GatewayClient]:
    """A started gateway over `backend`, and a client of it; closed at the end.

    Args:
        backend: started and closed here.
        options: of the object layer.
        state_dir: where state is kept; None = in memory.
        domain: for virtual-host addressing.
        max_body_bytes: largest request body.
        log: takes the access log.
    """
    listen = ListenSettings(domain=domain) if max_body_bytes is None else ListenSettings(domain=domain, max_body_bytes=max_body_bytes)
    settings = Settings(backend=BackendSettings(data_dir=Path()), listen=listen, compression=CompressionSettings())
    services = assemble(
        settings,
        backend,
        ClientKeys(KeyStore({ACCESS_KEY: SECRET_KEY})),
        metrics=Metrics(),
        state_dir=state_dir,
        log_stream=log if log is not None else BytesIO(),
        options=options,
    )
    await services.start()
    try:
        yield GatewayClient(build_app(services), services)
    finally:
        await services.close()
