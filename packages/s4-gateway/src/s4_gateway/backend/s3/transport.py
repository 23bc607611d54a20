"""One attempt over HTTP: aiohttp, set up so that it changes nothing and decides nothing."""

import ssl
from collections.abc import Mapping
from importlib.metadata import version

import aiohttp
from aiohttp.client_middlewares import ClientHandlerType
from yarl import URL

from s4_gateway.backend.abc import Pieces
from s4_gateway.backend.s3.errors import AttemptError, unanswered
from s4_gateway.backend.s3.headers import for_aiohttp
from s4_gateway.backend.s3.options import S3Options, split_endpoint
from s4_gateway.backend.s3.payload import BodyPayload
from s4_gateway.backend.s3.request import Request
from s4_gateway.backend.s3.xml import MAX_DOCUMENT_BYTES

READ_BUFFER = 256 * 1024
"""Received bytes held per connection before the store is told to wait; doubled by aiohttp."""

MAX_HEAD_FIELD = 64 * 1024
"""Longest header line of an answer; some stores allow more metadata than S3's 2 KiB."""

MAX_HEAD_FIELDS = 2500
"""Most headers of an answer: 2,048 bytes of metadata can be as many as 1,500 entries."""

_NOTHING = Pieces.of()
_WITH_CONTENT = frozenset({"PUT", "POST"})


class Transport:
    """A pool of connections to one endpoint. Make it inside the running event loop."""

    def __init__(self, options: S3Options) -> None:
        self._timeout = _timeout(options, options.read_timeout)
        self._commit_timeout = _timeout(options, options.commit_timeout)
        self._stall = options.read_timeout
        self._scheme, self._host = split_endpoint(options.endpoint_url)
        # Set here, for all stores alike: aiohttp would add its own. Outside the signature, because proxies may change them.
        self._common = {"accept-encoding": "identity", "user-agent": f"s4-gateway/{version('s4-gateway')}"}
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(
                limit=options.connections,
                ssl=ssl.create_default_context(cafile=options.ca_file) if options.ca_file else True,
            ),
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
            read_bufsize=READ_BUFFER,
            max_field_size=MAX_HEAD_FIELD,
            max_line_size=MAX_HEAD_FIELD,
            max_headers=MAX_HEAD_FIELDS,
            timeout=self._timeout,
            trust_env=False,
            middlewares=(_without_hidden_retries,),
        )

    async def close(self) -> None:
        """Drop all connections; repeatable."""
        await self._session.close()

    async def send(self, request: Request, headers: Mapping[str, str]) -> aiohttp.ClientResponse:
        """Send a request and read the head of its answer. The caller reads or closes the rest.

        Args:
            request: its path and query go out byte for byte.
            headers: all that were signed, instead of `request.headers`; lower-case names with latin-1 values, `host` among them.

        Raises:
            AttemptError: no usable answer.
            Exception: what the payload raised; BackendError where it is not as long as it says.
        """
        method, payload = request.method, request.payload
        wire, narrow = for_aiohttp(headers)
        if narrow and payload is None:
            payload = _NOTHING
        body = None if payload is None else BodyPayload(payload, stall=self._stall, narrow=narrow)
        try:
            return await self._session.request(
                method,
                URL.build(scheme=self._scheme, authority=self._host, path=request.path, query_string=request.query, encoded=True),
                headers={**wire, **self._common},
                # Else aiohttp invents a Content-Type, and the store would keep it with the object.
                skip_auto_headers=("content-type",) if method in _WITH_CONTENT and "content-type" not in wire else None,
                data=body,
                allow_redirects=False,
                timeout=self._commit_timeout if request.commits else self._timeout,
            )
        except (AttemptError, aiohttp.ClientError, OSError) as error:
            if body is not None and body.broken is not None:
                raise body.broken from error
            raise error if isinstance(error, AttemptError) else unanswered_by(error) from error


async def read_document(response: aiohttp.ClientResponse) -> bytes:
    """The whole body, up to MAX_DOCUMENT_BYTES; the connection is given back.

    Raises:
        AttemptError: it ended early, stalled or is longer.
    """
    chunks: list[bytes] = []
    size = 0
    try:
        async for chunk in response.content.iter_any():
            size += len(chunk)
            if size > MAX_DOCUMENT_BYTES:
                raise unanswered(f"the storage backend sends a document of more than {MAX_DOCUMENT_BYTES} bytes", sent=True)
            chunks.append(chunk)
    except (aiohttp.ClientError, OSError) as error:
        raise unanswered_by(error) from error
    finally:
        # Closes the connection where bytes are still to come.
        response.release()
    return b"".join(chunks)


def unanswered_by(error: BaseException) -> AttemptError:
    """What a failure of the connection means."""
    sent = not isinstance(error, aiohttp.ClientConnectorError | aiohttp.ConnectionTimeoutError)
    return unanswered(f"the storage backend gave no answer ({type(error).__name__}: {error})", sent=sent)


async def _without_hidden_retries(request: aiohttp.ClientRequest, handler: ClientHandlerType) -> aiohttp.ClientResponse:
    """aiohttp repeats idempotent requests by itself when a kept connection drops, PUT among them; then nobody would know that a
    412 answers the second try. It does so for its own exceptions only.
    """
    try:
        return await handler(request)
    except (aiohttp.ClientOSError, aiohttp.ServerDisconnectedError) as error:
        raise unanswered_by(error) from error


def _timeout(options: S3Options, read: float) -> aiohttp.ClientTimeout:
    return aiohttp.ClientTimeout(total=None, connect=options.pool_timeout, sock_connect=options.connect_timeout, sock_read=read)
