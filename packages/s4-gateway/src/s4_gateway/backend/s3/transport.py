"""One attempt: a signed request out, the head of its answer in."""

import ssl
from collections.abc import Iterator, Mapping
from importlib.metadata import version

from s4_gateway.backend._rules import exact_pieces
from s4_gateway.backend.abc import Buffer
from s4_gateway.backend.s3.http import Answer, Pool, render_request_head
from s4_gateway.backend.s3.http.pool import Endpoint
from s4_gateway.backend.s3.options import S3Options, split_endpoint
from s4_gateway.backend.s3.request import Request

JOIN_LIMIT = 64 * 1024
"""Bodies up to here go out in one write together with the head: copying costs less than a second system call and packet."""

_WITH_CONTENT = frozenset({"PUT", "POST"})
_PORTS = {"http": 80, "https": 443}


class Transport:
    """A pool of connections to one endpoint. Make it inside the running event loop."""

    def __init__(self, options: S3Options) -> None:
        self._patience = options.read_timeout
        self._commit_patience = options.commit_timeout
        # Outside the signature, because proxies may change them. `identity`: compressed on the way is not what was stored.
        self._common = {"accept": "*/*", "accept-encoding": "identity", "user-agent": f"s4-gateway/{version('s4-gateway')}"}
        self._pool = Pool(_endpoint(options))

    async def close(self) -> None:
        """Drop all connections; repeatable."""
        await self._pool.close()

    async def send(self, request: Request, headers: Mapping[str, str]) -> Answer:
        """Send a request and read the head of its answer. The caller reads or closes the rest.

        Args:
            request: its path and query go out byte for byte.
            headers: all that were signed, instead of `request.headers`; lower-case names with latin-1 values, `host` among them.

        Raises:
            AttemptError: no usable answer.
            Exception: what the payload raised; BackendError where it is not as long as it says.
        """
        payload = request.payload
        size = 0 if payload is None else payload.size
        wire = {**headers, **self._common}
        if payload is not None or request.method in _WITH_CONTENT:
            wire["content-length"] = str(size)
        head = render_request_head(request.method, f"{request.path}?{request.query}" if request.query else request.path, wire)
        pieces: Iterator[Buffer] | None = None
        if payload is not None:
            pieces = exact_pieces(payload)
            if size <= JOIN_LIMIT:
                head, pieces = b"".join((head, *pieces)), None
        connection = await self._pool.borrow()
        return await connection.exchange(
            head,
            pieces,
            size=size,
            bodiless=request.method == "HEAD",
            patience=self._commit_patience if request.commits else self._patience,
        )


def _endpoint(options: S3Options) -> Endpoint:
    scheme, host = split_endpoint(options.endpoint_url)
    name, colon, port = host.rpartition(":")
    if not colon or host.endswith("]"):
        name, port = host, str(_PORTS[scheme])
    return Endpoint(
        host=name.strip("[]"),
        port=int(port),
        tls=ssl.create_default_context(cafile=options.ca_file) if options.secure else None,
        connections=options.connections,
        connect_timeout=options.connect_timeout,
        pool_timeout=options.pool_timeout,
        shortest_patience=min(options.read_timeout, options.commit_timeout),
    )
