"""One request after the other over one connection: how long each takes."""

import socket
import time
from collections.abc import Iterable
from urllib.parse import urlsplit

_HEAD_END = b"\r\n\r\n"
_LENGTH = b"\r\ncontent-length:"
_MIB = 1 << 20
_SUCCESS = (b"200", b"206")
SECONDS = 60.0


def request(target_url: str, method: str, path: str, *, byte_range: tuple[int, int] | None = None, body: bytes = b"") -> bytes:
    """A finished request; the range is inclusive at both ends."""
    lines = [f"{method} {path} HTTP/1.1", f"Host: {urlsplit(target_url).netloc}"]
    if byte_range:
        lines.append(f"Range: bytes={byte_range[0]}-{byte_range[1]}")
    if method == "PUT":
        lines += [f"Content-Length: {len(body)}", "Content-Type: application/octet-stream"]
    return "\r\n".join(lines).encode() + _HEAD_END + body


def measure(endpoint: str, requests: Iterable[bytes]) -> list[float]:
    """Seconds of each, from its first byte to the last of its answer, whose length must be declared.

    Raises:
        RuntimeError: an answer was no success, or ended early.
    """
    address = urlsplit(endpoint)
    taken = []
    with socket.create_connection((address.hostname or "", address.port or 80), timeout=SECONDS) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for one in requests:
            started = time.perf_counter()
            connection.sendall(one)
            _read_answer(connection)
            taken.append(time.perf_counter() - started)
    return taken


def _read_answer(connection: socket.socket) -> None:
    received = b""
    while (end := received.find(_HEAD_END)) < 0:
        received += _some(connection)
    head = received[: end + 2].lower()
    if head.split(b" ", 2)[1] not in _SUCCESS:
        raise RuntimeError(f"answered {received!r}")
    at = head.find(_LENGTH)
    length = int(head[at + len(_LENGTH) : head.index(b"\r\n", at + 2)]) if at >= 0 else 0
    left = length - (len(received) - end - len(_HEAD_END))
    while left > 0:
        left -= len(_some(connection))


def _some(connection: socket.socket) -> bytes:
    data = connection.recv(_MIB)
    if not data:
        raise RuntimeError("the answer ended early")
    return data
