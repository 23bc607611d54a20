"""What one S3 request is before it is signed."""

from collections.abc import Mapping
from enum import Enum
from types import MappingProxyType
from typing import NamedTuple

from s4_gateway.backend.abc import Payload


class Guard(Enum):
    """What protects a body on its way, so that the store refuses bytes that changed.

    Over plain HTTP every body's SHA-256 is in the signature; that costs less than half of an MD5.
    """

    TRANSPORT = "transport"
    """Over TLS: TLS itself."""
    END_TO_END = "end-to-end"
    """Over TLS: Content-MD5 too, which also holds where TLS ends in front of the store."""
    DEMANDED = "demanded"
    """Content-MD5 always, because S3 demands it for this operation."""


class Request(NamedTuple):
    """One S3 request.

    Attributes:
        operation: the method of `Backend` it serves, for counters.
        method: HTTP method.
        path: raw path.
        query: raw query, without `?`.
        headers: lower-case names, latin-1 values.
        payload: the body; None = none.
        guard: how the body is protected.
        commits: the store may answer slowly, and an error may hide in a 200 answer.
        has_key: the path names an object.
    """

    operation: str
    method: str
    path: str
    query: str = ""
    headers: Mapping[str, str] = MappingProxyType({})
    payload: Payload | None = None
    guard: Guard = Guard.TRANSPORT
    commits: bool = False
    has_key: bool = False
