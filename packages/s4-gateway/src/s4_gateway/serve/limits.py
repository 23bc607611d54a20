"""What one client connection may take."""

from dataclasses import dataclass

from s4_gateway.settings import ListenSettings

KEEP_ALIVE_SECONDS = 60.0
"""Between two requests; longer than the pools of AWS's clients keep a connection."""
UNLIMITED_HEAD_SECONDS = 60.0
"""For a request head where idle connections are kept for ever."""


@dataclass(frozen=True, slots=True)
class Limits:
    """Sizes in bytes, times in seconds."""

    header_bytes: int = 64 * 1024
    """A request head, the empty line included."""
    head_seconds: float = 30.0
    """From the first byte of a head (of a new connection: from its start) to the last."""
    idle_seconds: float | None = 30.0
    """Without a byte in either direction while the gateway waits for the client; None = for ever."""
    keep_alive_seconds: float = KEEP_ALIVE_SECONDS
    linger_seconds: float = 2.0
    """How long an unread body is read on and dropped, so that the answer before it arrives."""
    connections: int = 1024
    read_ahead: int = 256 * 1024
    """Body bytes held for a handler that does not read; beyond it the socket is not read."""
    drain_bytes: int = 64 * 1024
    """An unread rest of a body up to this size is read and dropped to keep the connection."""
    write_high: int = 256 * 1024
    """Unsent bytes from which a handler waits, and"""
    write_low: int = 64 * 1024
    """down to which."""

    @classmethod
    def of(cls, listen: ListenSettings) -> "Limits":
        """As the settings say."""
        return cls(
            header_bytes=listen.max_header_bytes,
            head_seconds=listen.read_timeout_seconds or UNLIMITED_HEAD_SECONDS,
            idle_seconds=listen.read_timeout_seconds or None,
            connections=listen.max_concurrent_connections,
        )

    @property
    def tick(self) -> float:
        """How often connections are looked at: no limit is exceeded by more than a quarter, and no client is missed for long."""
        shortest = min(self.head_seconds, self.keep_alive_seconds, self.linger_seconds, self.idle_seconds or self.head_seconds)
        return min(max(shortest / 4, 0.01), 0.25)
