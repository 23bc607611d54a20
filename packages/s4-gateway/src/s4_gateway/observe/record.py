"""What is known about one request when it ends."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple

CLIENT_CLOSED = 499
"""Status of the log for a request nobody waits for any more (nginx's word; never sent)."""

NOTES = ("codec", "logical_bytes", "stored_bytes", "fallback", "backend_requests")
"""What handlers may leave in `Call.notes` for the access log; `codec` with both sizes, and `fallback`, are counted in the metrics too."""


class Record(NamedTuple):
    """One request as metrics and access log see it. Texts come from the client and are not escaped yet."""

    request_id: str
    operation: str
    """S3 operation; `Unknown` where the request could not be addressed."""
    method: str
    bucket: str
    key: str
    principal: str | None
    """Access key."""
    status: int
    """What was sent, or CLIENT_CLOSED."""
    code: str | None
    """S3 error code; None = success."""
    received: int
    """Body bytes from the client, aws-chunked framing included."""
    sent: int
    """Body bytes to the client."""
    seconds: float
    """From the parsed head to the last byte handed to the socket."""
    source_ip: str | None
    user_agent: str | None
    notes: Mapping[str, object] = MappingProxyType({})
