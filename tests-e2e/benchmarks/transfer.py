"""Single large transfers over one connection, with as little client work as possible: the machine is shared with the servers."""

import http.client
import time
from collections.abc import Iterator
from urllib.parse import urlsplit

from benchmarks.target import Target

BLOCK = 1 << 20


def _connection(target: Target) -> http.client.HTTPConnection:
    address = urlsplit(target.endpoint)
    return http.client.HTTPConnection(address.hostname or "", address.port, timeout=600, blocksize=BLOCK)


def put(target: Target, bucket: str, key: str, body: bytes) -> float:
    """PUT with UNSIGNED-PAYLOAD; seconds."""
    connection = _connection(target)
    started = time.perf_counter()
    connection.request("PUT", target.presigned("PUT", bucket, key), body=_blocks(body), headers={"Content-Length": str(len(body))})
    answer = connection.getresponse()
    answer.read()
    seconds = time.perf_counter() - started
    connection.close()
    if answer.status != 200:
        raise RuntimeError(f"PUT {key} answered {answer.status}")
    return seconds


def get(target: Target, bucket: str, key: str, size: int) -> float:
    """GET, thrown away; seconds."""
    connection = _connection(target)
    buffer = memoryview(bytearray(BLOCK))
    started = time.perf_counter()
    connection.request("GET", target.presigned("GET", bucket, key))
    answer = connection.getresponse()
    left = size
    while got := answer.readinto(buffer):
        left -= got
    seconds = time.perf_counter() - started
    connection.close()
    if answer.status != 200 or left:
        raise RuntimeError(f"GET {key} answered {answer.status}, {left} bytes missing")
    return seconds


def _blocks(body: bytes) -> Iterator[memoryview]:
    view = memoryview(body)
    for start in range(0, len(body), BLOCK):
        yield view[start : start + BLOCK]
