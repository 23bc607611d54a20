"""Settings of the S3 client."""

from collections.abc import Callable
from dataclasses import dataclass
from urllib.parse import urlsplit

from s4_gateway.errors import SettingsError

Observer = Callable[[str, int, int, int, float], None]
"""Told of each attempt: method of `Backend`, HTTP status (0 = no answer), body bytes sent, body bytes received, seconds."""


@dataclass(frozen=True, slots=True)
class S3Options:
    """Where the store is and how patient its client is. Times in seconds.

    Raises:
        SettingsError: the endpoint is not `http(s)://host[:port]`, or a limit is not positive.
    """

    endpoint_url: str
    region: str = "us-east-1"
    """Signed into every request; also the LocationConstraint of new buckets unless it is us-east-1."""
    connections: int = 512
    """Most open connections. Downloads hold one for as long as their client reads, so not fewer than client connections."""
    connect_timeout: float = 10.0
    """For the TCP and TLS handshake."""
    pool_timeout: float = 60.0
    """For a free connection and its handshake together."""
    read_timeout: float = 60.0
    """Longest silence while an answer is awaited or read, and longest stall while a body is sent."""
    commit_timeout: float = 600.0
    """Instead of `read_timeout` for CompleteMultipartUpload and CopyObject, which some stores answer only when all bytes are in place."""
    attempts: int = 3
    """Tries of one request, the first included."""
    backoff: float = 0.1
    """Upper bound of the random pause before the second attempt; doubles with each further one."""
    backoff_limit: float = 2.0
    probe_bucket: str | None = None
    """Where `start` tries out what the store can do; None = the first writable bucket without versions."""
    strict_parts: bool | None = None
    """Overrides `Capabilities.strict_parts`; None = known by the endpoint's name."""
    ca_file: str | None = None
    """PEM file with the certificate authorities to trust instead of the system's."""

    def __post_init__(self) -> None:
        split_endpoint(self.endpoint_url)
        for name in ("connections", "connect_timeout", "pool_timeout", "read_timeout", "commit_timeout", "attempts"):
            if getattr(self, name) <= 0:
                raise SettingsError(f"{name} must be greater than 0")

    @property
    def secure(self) -> bool:
        """The endpoint is reached over TLS."""
        return split_endpoint(self.endpoint_url)[0] == "https"


def split_endpoint(url: str) -> tuple[str, str]:
    """(scheme, Host header) of an endpoint URL.

    Raises:
        SettingsError: it has no host, another scheme than http or https, a path, a query or credentials.
    """
    parts = urlsplit(url)
    try:
        port = parts.port
    except ValueError as error:
        raise SettingsError(f"endpoint-url {url!r}: {error}") from error
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.path.strip("/") or parts.query or parts.fragment:
        raise SettingsError(f"endpoint-url {url!r}: expected http://HOST[:PORT] or https://HOST[:PORT]")
    if parts.username is not None:
        raise SettingsError("endpoint-url holds credentials: give them by the usual AWS settings")
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    if port is not None and port != {"http": 80, "https": 443}[parts.scheme]:
        host = f"{host}:{port}"
    return parts.scheme, host
