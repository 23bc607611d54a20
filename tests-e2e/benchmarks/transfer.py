"""Single large transfers over one connection, with as little client work as possible: the machine is shared with the servers."""

import http.client
import time
from pathlib import Path
from urllib.parse import urlsplit

from benchmarks.targets import Target

BLOCK = 1 << 20


def put(target: Target, bucket: str, key: str, body: Path) -> float:
    """PUT with UNSIGNED-PAYLOAD, the file sent by the kernel; seconds.

    Raises:
        RuntimeError: it was refused.
    """
    path = target.presigned("PUT", bucket, key)
    connection = _connection(target)
    with body.open("rb") as file:
        started = time.perf_counter()
        connection.putrequest("PUT", path)
        connection.putheader("Content-Length", str(body.stat().st_size))
        connection.endheaders()
        connection.sock.sendfile(file)
        answer = connection.getresponse()
        answer.read()
        seconds = time.perf_counter() - started
    connection.close()
    if answer.status != 200:
        raise RuntimeError(f"{target.name}: PUT {key} answered {answer.status}")
    return seconds


def get(target: Target, bucket: str, key: str, size: int) -> float:
    """GET, thrown away; seconds.

    Raises:
        RuntimeError: it was refused, or is not `size` bytes.
    """
    path = target.presigned("GET", bucket, key)
    connection = _connection(target)
    buffer = memoryview(bytearray(BLOCK))
    started = time.perf_counter()
    connection.request("GET", path)
    answer = connection.getresponse()
    left = size
    while got := answer.readinto(buffer):
        left -= got
    seconds = time.perf_counter() - started
    connection.close()
    if answer.status != 200 or left:
        raise RuntimeError(f"{target.name}: GET {key} answered {answer.status}, {left} bytes missing")
    return seconds


def _connection(target: Target) -> http.client.HTTPConnection:
    address = urlsplit(target.endpoint)
    return http.client.HTTPConnection(address.hostname or "", address.port, timeout=600, blocksize=BLOCK)
