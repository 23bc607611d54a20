"""ASGI scopes, receivers and senders for tests, and botocore's own view of our answers."""

import contextlib
import json
from collections.abc import AsyncIterator, Iterable, Mapping
from pathlib import Path
from typing import Any

import botocore.session
from botocore.awsrequest import AWSResponse
from botocore.config import Config
from botocore.exceptions import ClientError

from s4_gateway.call import Call
from s4_gateway.wire.request import RequestParser

ENDPOINT = "http://s3.invalid"
MODEL = botocore.session.get_session().get_service_model("s3")
"""The installed one, for what botocore sends and reads."""
SNAPSHOT = json.loads((Path(__file__).parent / "golden" / "s3_model.json").read_text())
"""All of S3 at one fixed moment (golden/PROVENANCE.md): what is known must not depend on the botocore that is installed."""
OPERATIONS_OF_S3: dict[str, dict[str, Any]] = SNAPSHOT["operations"]


class Receiver:
    """An ASGI receive that hands out these messages; behind them it is an error to ask."""

    def __init__(self, messages: Iterable[Mapping[str, Any]] = ()) -> None:
        self.messages = list(messages)

    async def __call__(self) -> dict[str, Any]:
        return dict(self.messages.pop(0))


class Sender:
    """An ASGI send that keeps what it gets."""

    def __init__(self) -> None:
        self.messages: list[dict[str, Any]] = []

    async def __call__(self, message: Any) -> None:
        self.messages.append({**message, "body": bytes(message["body"])} if "body" in message else message)

    @property
    def status(self) -> int:
        return int(self.messages[0]["status"])

    @property
    def headers(self) -> dict[str, str]:
        pairs = [(name.decode(), value.decode("latin-1")) for name, value in self.messages[0]["headers"]]
        assert len(dict(pairs)) == len(pairs), "a header was sent twice"
        return dict(pairs)

    @property
    def bodies(self) -> list[bytes]:
        return [message["body"] for message in self.messages[1:]]

    @property
    def body(self) -> bytes:
        return b"".join(self.bodies)

    @property
    def complete(self) -> bool:
        return bool(self.messages) and self.messages[-1].get("more_body") is False


def body_messages(*chunks: bytes, disconnect: bool = False) -> list[dict[str, Any]]:
    """The messages of a request body; with `disconnect` the client leaves after the chunks."""
    more = [{"type": "http.request", "body": chunk, "more_body": True} for chunk in chunks]
    return [*more, {"type": "http.disconnect"}] if disconnect else [*more, {"type": "http.request", "body": b"", "more_body": False}]


def scope(
    method: str = "GET",
    target: bytes | str = b"/",
    headers: Mapping[str, str] | Iterable[tuple[bytes, bytes]] = (),
) -> dict[str, Any]:
    """An ASGI scope as uvicorn makes it."""
    raw = target.encode() if isinstance(target, str) else target
    path, _, query = raw.partition(b"?")
    if isinstance(headers, Mapping):
        headers = [(name.encode(), value.encode("latin-1")) for name, value in headers.items()]
    return {
        "type": "http",
        "method": method,
        "raw_path": path,
        "path": path.decode("latin-1"),
        "query_string": query,
        "headers": list(headers),
        "client": ("192.0.2.7", 5000),
    }


def parse(
    method: str = "GET",
    target: bytes | str = b"/",
    headers: Mapping[str, str] | Iterable[tuple[bytes, bytes]] = (),
    *,
    domain: str | None = None,
    receive: Receiver | None = None,
    **options: Any,
) -> Call:
    """The call of a request."""
    return RequestParser(domain=domain, **options).parse(scope(method, target, headers), receive or Receiver())


async def iterate(*items: bytes | Exception) -> AsyncIterator[bytes]:
    """Yield the bytes, raise the exceptions."""
    for item in items:
        if isinstance(item, Exception):
            raise item
        yield item


class BotoClient:
    """A botocore S3 client whose requests are answered by whatever was put here; nothing is sent anywhere."""

    def __init__(self) -> None:
        session = botocore.session.Session()
        session.set_credentials("AKIAEXAMPLE", "secret")
        self.client = session.create_client(
            "s3",
            region_name="us-east-1",
            endpoint_url=ENDPOINT,
            config=Config(s3={"addressing_style": "path"}, retries={"mode": "standard", "total_max_attempts": 1}),
        )
        self._request: Any = None
        self._answer: tuple[int, dict[str, str], bytes] = (200, {}, b"")
        self.client.meta.events.register("before-send.s3", self._send)

    def _send(self, request: Any, **_: Any) -> Any:
        self._request = request
        status, headers, body = self._answer
        return AWSResponse(request.url, status, headers, _Raw(body))

    def read(self, operation: str, sender: Sender, **arguments: Any) -> dict[str, Any]:
        """What botocore makes of our answer to the operation; raises ClientError for errors."""
        self._answer = (sender.status, sender.headers, sender.body)
        result: dict[str, Any] = getattr(self.client, operation)(**arguments)
        metadata = result.pop("ResponseMetadata")
        assert metadata["HTTPStatusCode"] == sender.status
        return result

    def request(self, operation: str, **arguments: Any) -> tuple[str, bytes]:
        """Method and target of the request that botocore sends."""
        self._answer = (404, {}, b"<Error><Code>Unasked</Code></Error>")
        with contextlib.suppress(ClientError):
            getattr(self.client, operation)(**arguments)
        return self._request.method, self._request.url.removeprefix(ENDPOINT).encode()


class _Raw:
    def __init__(self, body: bytes) -> None:
        self._body = body

    def stream(self, **_: Any) -> Iterable[bytes]:
        yield self._body

    def read(self, *_: Any, **__: Any) -> bytes:
        body, self._body = self._body, b""
        return body
