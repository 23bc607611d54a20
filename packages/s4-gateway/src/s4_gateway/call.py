"""One S3 request as the rest of the gateway sees it: addressed and routed, nothing decided."""

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from s4_gateway.backend.abc import Buffer


class RequestBody(Protocol):
    """The client's bytes, with transfer and aws-chunked framing taken off and every chunk signature checked.

    Iterating yields decoded bytes and raises S3Error (IncompleteBody, RequestBodyLengthMismatch, SignatureDoesNotMatch, ...) or
    ClientDisconnected; a clean end means that exactly the declared bytes came. Iterate once.
    """

    @property
    def size(self) -> int | None:
        """Decoded bytes as declared (Content-Length or x-amz-decoded-content-length); None when unknown."""
        ...

    @property
    def sha256(self) -> str | None:
        """Lower hex SHA-256 of the decoded bytes (literal x-amz-content-sha256), checked by the reader; None when not promised."""
        ...

    @property
    def announced_trailers(self) -> frozenset[str]:
        """Lower-case names in x-amz-trailer; each must be in `trailers` at the end."""
        ...

    @property
    def trailers(self) -> Mapping[str, str]:
        """Lower-case trailer headers; complete only after the iteration ended."""
        ...

    def __aiter__(self) -> AsyncIterator[Buffer]: ...


@dataclass(frozen=True, slots=True)
class Principal:
    """Who signed the request."""

    access_key: str


@dataclass(slots=True)
class Call:
    """One request. Written by the parser and once more by authentication, then only read; not frozen, because every request makes one and
    frozen fields cost four times as much to set.

    `key` and `query` are percent-decoded UTF-8; header values are latin-1 `str` with lower-case names.
    """

    operation: str
    """S3 operation name, e.g. `PutObject`; always a row of `operations.table.TABLE`."""
    method: str
    bucket: str
    """Empty for service operations."""
    key: str
    """Empty for service and bucket operations."""
    query: Mapping[str, str]
    """Decoded query parameters; a parameter without value is the empty string. Signature parameters included."""
    headers: Mapping[str, str]
    """Lower-case names; repeated headers are joined by a comma."""
    request_id: str
    """16 upper-case hex digits, in every answer and log line."""
    raw_path: bytes
    """As on the wire, before percent-decoding, without the query."""
    raw_query: bytes
    raw_headers: tuple[tuple[bytes, bytes], ...]
    """As on the wire, lower-case names, repeated ones kept."""
    resource: str
    """Path for error documents and logs, e.g. `/bucket/key`."""
    source_ip: str | None
    body: RequestBody
    principal: Principal | None = None
    """Set by authentication, together with the `body` that checks what was signed of it; None only before."""
    notes: dict[str, object] = field(default_factory=dict)
    """What handlers tell the access log (codec, stored bytes, backend requests)."""
