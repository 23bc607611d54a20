"""Nothing becomes visible that is not what the client promised, and nothing is left of it."""

import hashlib
import http.client
import socket
import struct
import time
from base64 import b64encode
from collections.abc import Callable
from typing import Any
from zlib import crc32

import awscrt.checksums
import pytest
from clients.multipart import MIB, Upload
from clients.wire import Wire, path_of, read_answer
from s4_codecs.testing.workloads import WORKLOADS
from servers.behind import Behind, EmbeddedBehind, Stored

LOG = WORKLOADS["log"](40 * MIB)
NOISE = WORKLOADS["noise"](40 * MIB)
SIZES = pytest.mark.parametrize("size", [1000, 20 * MIB], ids=["buffered", "streamed"])

DIGESTS: dict[str, Callable[[bytes], bytes]] = {
    "content-md5": lambda data: hashlib.md5(data).digest(),
    "x-amz-checksum-crc32": lambda data: crc32(data).to_bytes(4, "big"),
    "x-amz-checksum-crc32c": lambda data: awscrt.checksums.crc32c(data).to_bytes(4, "big"),
    "x-amz-checksum-crc64nvme": lambda data: awscrt.checksums.crc64nvme(data).to_bytes(8, "big"),
    "x-amz-checksum-sha1": lambda data: hashlib.sha1(data).digest(),
    "x-amz-checksum-sha256": lambda data: hashlib.sha256(data).digest(),
}
FORMS = pytest.mark.parametrize("name", DIGESTS)


def digest(name: str, data: bytes) -> str:
    """The value of the header `name` for a body."""
    return b64encode(DIGESTS[name](data)).decode()


def nothing_within_a_second(behind: Behind, bucket: str, kept: tuple[str, ...] = ()) -> None:
    """Within 1 s the store holds the objects in `kept` and neither another one nor an open upload."""
    deadline = time.monotonic() + 1
    while (behind.keys(bucket), behind.uploads(bucket)) != (list(kept), []) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert (behind.keys(bucket), behind.uploads(bucket)) == (list(kept), [])


@FORMS
@SIZES
def test_wrong_checksums(wire: Wire, behind: Behind, bucket: str, name: str, size: int) -> None:
    """A PUT whose body is not what its digest says is BadDigest, leaves the old object alone, and nothing else anywhere."""
    path = path_of(bucket, "key")
    body = LOG[:size]
    answer = wire.request("PUT", path, body, {name: digest(name, body[1:])}, payload_hash="UNSIGNED-PAYLOAD")
    assert (answer.status, answer.code) == (400, "BadDigest")
    nothing_within_a_second(behind, bucket)
    answer = wire.request("PUT", path, body, {name: digest(name, body)}, payload_hash="UNSIGNED-PAYLOAD")
    assert answer.status == 200
    assert answer.headers.get(name, digest(name, body)) == digest(name, body)
    wire.request("PUT", path, body[::-1], {name: digest(name, body)}, payload_hash="UNSIGNED-PAYLOAD")
    assert wire.request("GET", path).body == body
    if name != "content-md5":
        head = wire.request("HEAD", path, headers={"x-amz-checksum-mode": "ENABLED"})
        assert (head.headers[name], head.headers["x-amz-checksum-type"]) == (digest(name, body), "FULL_OBJECT")


@FORMS
def test_wrong_checksums_of_parts(s3: Any, wire: Wire, bucket: str, name: str) -> None:
    """The same for a part: the part that was there before stays."""
    upload = Upload(s3, bucket)
    upload.part(1, b"good")
    path = path_of(bucket, "key", f"partNumber=1&uploadId={upload.id}")
    answer = wire.request("PUT", path, LOG[: 6 * MIB], {name: digest(name, b"other")}, payload_hash="UNSIGNED-PAYLOAD")
    assert (answer.status, answer.code) == (400, "BadDigest")
    assert [part["Size"] for part in upload.listed()] == [4]
    upload.complete()
    assert wire.request("GET", path_of(bucket, "key")).body == b"good"


@pytest.mark.parametrize("value", ["", "x", "AAAA", "AAAAAAAAAAAAAAAAAAAAAA=", "not base64!!!!!!!!!!!!"])
@FORMS
def test_malformed_digests(wire: Wire, behind: Behind, bucket: str, name: str, value: str) -> None:
    """A digest that cannot be one is refused before anything is stored."""
    answer = wire.request("PUT", path_of(bucket, "key"), b"body", {name: value})
    assert answer.status == 400
    assert answer.code in ("InvalidDigest", "InvalidRequest")
    assert behind.keys(bucket) == []


@SIZES
def test_wrong_payload_hash(wire: Wire, behind: Behind, bucket: str, size: int) -> None:
    """A signed hash of the body is a promise too."""
    answer = wire.request("PUT", path_of(bucket, "key"), LOG[:size], payload_hash=hashlib.sha256(b"other").hexdigest())
    assert (answer.status, answer.code) == (400, "XAmzContentSHA256Mismatch")
    nothing_within_a_second(behind, bucket)


@SIZES
@pytest.mark.parametrize("trailer", ["wrong", "missing"])
def test_trailers(wire: Wire, behind: Behind, bucket: str, size: int, trailer: str) -> None:
    """A checksum that comes behind the body is verified as one in front, and has to come if it was announced."""
    body = LOG[:size]
    headers = {"x-amz-decoded-content-length": str(size), "x-amz-trailer": "x-amz-checksum-crc32", "content-encoding": "aws-chunked"}
    end = {"wrong": b"x-amz-checksum-crc32:AAAAAA==\r\n", "missing": b""}[trailer]
    framed = b"%x\r\n%b\r\n0\r\n%b\r\n" % (size, body, end)
    answer = wire.request("PUT", path_of(bucket, "key"), framed, headers, payload_hash="STREAMING-UNSIGNED-PAYLOAD-TRAILER")
    assert answer.status == 400
    assert answer.code in {"wrong": ("BadDigest",), "missing": ("InvalidRequest", "MalformedTrailerError", "IncompleteBody")}[trailer]
    nothing_within_a_second(behind, bucket)


@SIZES
def test_short_body(wire: Wire, behind: Behind, bucket: str, size: int) -> None:
    """A body that ends before its Content-Length is never stored, nor is what was there before replaced."""
    path = path_of(bucket, "key")
    wire.request("PUT", path, b"before")
    with wire.connection() as connection:
        connection.sendall(wire.head_of("PUT", path, {"content-length": str(size)}) + LOG[: size - 1])
        connection.shutdown(socket.SHUT_WR)
        try:
            answer = read_answer(connection, "PUT")
        except (http.client.HTTPException, ConnectionError):
            pass  # The connection may be closed without an answer, since the client half is gone.
        else:
            assert (answer.status, answer.code) == (400, "IncompleteBody")
    nothing_within_a_second(behind, bucket, ("key",))
    assert wire.request("GET", path).body == b"before"


@SIZES
def test_short_chunked_body(wire: Wire, behind: Behind, bucket: str, size: int) -> None:
    """A framed body with fewer bytes than its decoded length is IncompleteBody."""
    headers = {"x-amz-decoded-content-length": str(size), "content-encoding": "aws-chunked"}
    framed = b"%x\r\n%b\r\n0\r\n\r\n" % (size - 1, LOG[: size - 1])
    answer = wire.request("PUT", path_of(bucket, "key"), framed, headers, payload_hash="STREAMING-UNSIGNED-PAYLOAD-TRAILER")
    assert answer.status == 400
    assert answer.code in ("IncompleteBody", "InvalidRequest")
    nothing_within_a_second(behind, bucket)


@pytest.mark.parametrize("data", [LOG, NOISE], ids=["compressible", "incompressible"])
@pytest.mark.parametrize("sent", [100, 30 * MIB], ids=["early", "late"])
def test_disconnect_in_mid_put(wire: Wire, behind: Behind, bucket: str, data: bytes, sent: int) -> None:
    """A client that goes away in mid-PUT leaves nothing in the store within a second."""
    with wire.connection() as connection:
        connection.sendall(wire.head_of("PUT", path_of(bucket, "key"), {"content-length": str(len(data))}))
        connection.sendall(data[:sent])
        # Reset, as a killed client's kernel does.
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    nothing_within_a_second(behind, bucket)
    assert wire.request("PUT", path_of(bucket, "key"), b"after").status == 200


@pytest.mark.parametrize("data", [LOG, NOISE], ids=["compressible", "incompressible"])
def test_disconnect_in_mid_part(s3: Any, wire: Wire, behind: Behind, bucket: str, data: bytes) -> None:
    """The same for a part: there is no such part, and no record of it."""
    upload = Upload(s3, bucket)
    before = behind.keys(bucket)
    with wire.connection() as connection:
        path = path_of(bucket, "key", f"partNumber=1&uploadId={upload.id}")
        connection.sendall(wire.head_of("PUT", path, {"content-length": str(len(data))}))
        connection.sendall(data[: 20 * MIB])
    time.sleep(0.5)
    assert upload.listed() == []
    assert behind.keys(bucket) == before
    upload.abort()


def test_disconnect_in_mid_get(wire: Wire, bucket: str) -> None:
    """Clients that go away in mid-GET cost nothing: many of them in a row, and the gateway still answers at once."""
    path = path_of(bucket, "key")
    wire.request("PUT", path, NOISE)
    for _ in range(40):
        with wire.connection() as connection:
            connection.sendall(wire.head_of("GET", path))
            assert connection.recv(1000).startswith(b"HTTP/1.1 200 ")
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    started = time.monotonic()
    assert wire.request("GET", path, headers={"range": "bytes=0-9"}).body == NOISE[:10]
    assert time.monotonic() - started < 5


def damaged(body: bytes, at: int) -> bytes:
    """The body with one bit turned."""
    return body[:at] + bytes([body[at] ^ 1]) + body[at + 1 :]


@pytest.mark.parametrize("size", [300_000, 20 * MIB], ids=["one frame", "many frames"])
@pytest.mark.parametrize("where", [0.3, 0.9])
def test_a_damaged_frame_never_ends_clean(wire: Wire, behind: Behind, bucket: str, size: int, where: float) -> None:
    """A client of an object with a damaged frame sees an error or a connection that breaks, never a whole answer with other bytes."""
    path = path_of(bucket, "key")
    wire.request("PUT", path, LOG[:size])
    stored = behind.get(bucket, "key")
    behind.put(bucket, "key", Stored(damaged(stored.body, int(len(stored.body) * where)), stored.metadata))
    refused_or_broken(wire, path, LOG[:size])
    answer = wire.request("GET", path, headers={"range": "bytes=0-9"}) if size > MIB else None
    assert answer is None or answer.body == LOG[:10]


def test_a_body_that_was_cut(wire: Wire, behind: Behind, bucket: str) -> None:
    """The same for a stored body whose end is missing."""
    path = path_of(bucket, "key")
    wire.request("PUT", path, LOG[: 20 * MIB])
    stored = behind.get(bucket, "key")
    behind.put(bucket, "key", Stored(stored.body[: len(stored.body) // 2], stored.metadata))
    refused_or_broken(wire, path, LOG[: 20 * MIB])


def refused_or_broken(wire: Wire, path: str, body: bytes) -> None:
    """GET is refused with an error, or broken off after bytes that are right."""
    came = b""
    with wire.connection() as connection:
        connection.sendall(wire.head_of("GET", path))
        try:
            answer = read_answer(connection)
        except http.client.IncompleteRead as broken:
            came = broken.partial
        except ConnectionError:
            pass
        else:
            assert answer.status >= 500
            assert answer.code is not None
    assert body.startswith(came)


def test_crc64nvme_is_always_known(s3: Any, wire: Wire, bucket: str) -> None:
    """An object uploaded without any checksum has CRC64NVME, and so has a multipart object, combined from its parts."""
    wire.request("PUT", path_of(bucket, "single"), LOG[:1000])
    pieces = [LOG[: 5 * MIB], NOISE[: 5 * MIB], b"tail"]
    upload = Upload(s3, bucket, "parts")
    for number, piece in enumerate(pieces, 1):
        upload.part(number, piece)
    upload.complete()
    for key, body in (("single", LOG[:1000]), ("parts", b"".join(pieces))):
        attributes = s3.get_object_attributes(Bucket=bucket, Key=key, ObjectAttributes=["Checksum"])
        assert attributes["Checksum"]["ChecksumCRC64NVME"] == digest("x-amz-checksum-crc64nvme", body)


@pytest.mark.servers("embedded")
def test_no_file_is_left_of_a_broken_put(wire: Wire, behind: EmbeddedBehind, bucket: str) -> None:
    """The embedded store keeps no file of what never became an object."""
    before = len(behind.blobs())
    for _ in range(3):
        with wire.connection() as connection:
            connection.sendall(wire.head_of("PUT", path_of(bucket, "key"), {"content-length": str(len(NOISE))}))
            connection.sendall(NOISE[: 30 * MIB])
    deadline = time.monotonic() + 3
    while len(behind.blobs()) > before and time.monotonic() < deadline:
        time.sleep(0.05)
    assert len(behind.blobs()) == before
