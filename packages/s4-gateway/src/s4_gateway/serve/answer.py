"""Response heads as bytes, checked so that no header value can end a line."""

from collections.abc import Iterable
from http import HTTPStatus
from typing import NamedTuple

STATUS_LINES = {
    status: f"HTTP/1.1 {status} {HTTPStatus(status).phrase if status in set(HTTPStatus) else 'Unassigned'}\r\n".encode()
    for status in range(100, 600)
}
CONTINUE = STATUS_LINES[100] + b"\r\n"
FRAMING = {b"content-length": "length", b"connection": "connection", b"transfer-encoding": "coding"}
BODILESS = frozenset({204, 304})


class Framing(NamedTuple):
    """How the body that follows a head ends."""

    length: int | None
    """Bytes still to come; None = not known beforehand."""
    chunked: bool
    """The chunked transfer coding ends it; otherwise, without a length, the end of the connection."""
    close: bool
    """The head says that the connection ends behind this answer."""


def render_head(
    status: int, headers: Iterable[tuple[bytes, bytes]], *, method: str, http_version: str, close: bool
) -> tuple[bytes, Framing]:
    """The head of a response to `method`, with what HTTP itself needs added.

    Args:
        status: 200 to 599.
        headers: names and values; Content-Length and Connection count.
        method: of the request.
        http_version: of the request.
        close: the connection is to end, whatever the headers say.

    Raises:
        ValueError: a header cannot be sent: it has a line end or NUL, or it is Transfer-Encoding, which is not the application's.
    """
    lines = [STATUS_LINES[status]]
    length: int | None = None
    told_close = False
    for name, value in headers:
        lines.append(b"%b: %b\r\n" % (name, value))
        kind = FRAMING.get(name.lower())
        if kind is None:
            continue
        if kind == "length":
            length = int(value)
        elif kind == "connection":
            told_close = told_close or value.lower() == b"close"
        else:
            raise ValueError("the application must not choose a transfer coding")
    bodiless = method == "HEAD" or status in BODILESS
    chunked = length is None and not bodiless and http_version == "1.1"
    close = close or told_close or (length is None and not bodiless and not chunked)
    if chunked:
        lines.append(b"transfer-encoding: chunked\r\n")
    if close and not told_close:
        lines.append(b"connection: close\r\n")
    head = b"".join(lines)
    if head.count(b"\n") != len(lines) or head.count(b"\r") != len(lines) or b"\0" in head:
        raise ValueError("a response header contains a line end or NUL")
    return head + b"\r\n", Framing(length=0 if bodiless else length, chunked=chunked, close=close)
