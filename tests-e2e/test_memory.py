"""Memory is bounded, whatever the object: 512 MiB in and out, and 2 GiB with `--full`, under 256 MiB of resident memory."""

import hashlib
import itertools
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from clients.multipart import MIB, Upload
from clients.wire import UNSIGNED, Wire, path_of, read_answer
from conftest import StartGateway
from s4_codecs.testing.workloads import WORKLOADS
from servers.gateways import Gateway
from servers.stores import Store

SIZE, FULL_SIZE = 512 * MIB, 2048 * MIB
PART, FULL_PART = 32 * MIB, 64 * MIB
LIMIT = 256 * MIB
BLOCK = {"log": WORKLOADS["log"](32 * MIB), "noise": WORKLOADS["noise"](32 * MIB)}


def blocks(workload: str, size: int) -> Iterator[bytes]:
    """So many bytes, 32 MiB at a time, each with a number in front."""
    for number in range(size // len(BLOCK[workload])):
        yield b"%08d" % number + BLOCK[workload][8:]


@pytest.fixture(name="size")
def fixture_size(full: bool) -> int:
    """Bytes of an object."""
    return FULL_SIZE if full else SIZE


@pytest.fixture
def own(store: Store, fresh_store: Store, start_gateway: StartGateway) -> Gateway:
    """A gateway of the test's own, so that its peak is this test's: over the shared server, or over an embedded store of its own."""
    return start_gateway(store if store.shared else fresh_store)


def require_bounded(gateway: Gateway) -> None:
    """Its peak, said aloud."""
    peak = gateway.peak_memory()
    print(f"peak {peak >> 20} MiB")
    assert peak < LIMIT


def batched(pieces: Iterator[bytes], count: int) -> Iterator[bytes]:
    """Of each `count` pieces one."""
    while taken := b"".join(itertools.islice(pieces, count)):
        yield taken


def digest_of_get(wire: Wire, path: str) -> tuple[int, bytes]:
    """Size and MD5 of the answer, read a piece at a time."""
    digest, size = hashlib.md5(), 0
    with wire.answer("GET", path) as answer:
        assert answer.status == 200
        while piece := answer.read(MIB):
            digest.update(piece)
            size += len(piece)
    return size, digest.digest()


@pytest.mark.parametrize("workload", ["log", "noise"])
def test_put_and_get(own: Gateway, bucket_name: str, workload: str, size: int) -> None:
    """One PUT, and its GET."""
    wire = Wire(own.endpoint, own.access_key, own.secret_key)
    own.client().create_bucket(Bucket=bucket_name)
    path = path_of(bucket_name, "key")
    digest = hashlib.md5()
    with wire.connection() as connection:
        connection.sendall(wire.head_of("PUT", path, {"content-length": str(size)}, payload_hash=UNSIGNED))
        for block in blocks(workload, size):
            digest.update(block)
            connection.sendall(block)
        answer = read_answer(connection, "PUT")
    assert (answer.status, answer.etag) == (200, f'"{digest.hexdigest()}"')
    assert digest_of_get(wire, path) == (size, digest.digest())
    require_bounded(own)
    own.behind.remove_bucket(bucket_name)


def test_signed_chunks(own: Gateway, bucket_name: str, full: bool) -> None:
    """The same in signed chunks of 1 MiB, whose data is handed on before their signatures can be checked."""
    size = FULL_SIZE if full else SIZE // 2
    wire = Wire(own.endpoint, own.access_key, own.secret_key)
    own.client().create_bucket(Bucket=bucket_name)
    path, digest = path_of(bucket_name, "key"), hashlib.md5()
    with wire.connection() as connection:
        for piece in wire.signed_stream("PUT", path, blocks("log", size), size):
            connection.sendall(piece)
        answer = read_answer(connection, "PUT")
    for block in blocks("log", size):
        digest.update(block)
    assert (answer.status, answer.etag) == (200, f'"{digest.hexdigest()}"')
    assert digest_of_get(wire, path) == (size, digest.digest())
    require_bounded(own)
    own.behind.remove_bucket(bucket_name)


@pytest.mark.parametrize("workload", ["log", "noise"])
def test_multipart(own: Gateway, bucket_name: str, workload: str, size: int, full: bool) -> None:
    """In parts of 32 or 64 MiB, four at a time, and their GET."""
    s3: Any = own.client(max_pool_connections=8)
    wire = Wire(own.endpoint, own.access_key, own.secret_key)
    s3.create_bucket(Bucket=bucket_name)
    upload = Upload(s3, bucket_name)
    digest = hashlib.md5()

    def put(number: int, block: bytes) -> None:
        path = path_of(bucket_name, "key", f"partNumber={number}&uploadId={upload.id}")
        answer = wire.request("PUT", path, block, payload_hash=UNSIGNED)
        assert answer.status == 200, answer.body
        upload.parts[number] = {"PartNumber": number, "ETag": str(answer.etag)}

    numbers = itertools.count(1)
    with ThreadPoolExecutor(4) as pool:
        waiting = []
        for part in batched(blocks(workload, size), (FULL_PART if full else PART) // len(BLOCK[workload])):
            digest.update(part)
            waiting.append(pool.submit(put, next(numbers), part))
            if len(waiting) > 4:
                waiting.pop(0).result()
        for future in waiting:
            future.result()
    upload.complete()
    assert digest_of_get(wire, path_of(bucket_name, "key")) == (size, digest.digest())
    require_bounded(own)
    own.behind.remove_bucket(bucket_name)


def test_many_clients_at_once(own: Gateway, bucket_name: str) -> None:
    """Sixteen uploads and sixteen downloads of 32 MiB at a time wait for each other rather than for more memory."""
    s3: Any = own.client(max_pool_connections=32)
    wire = Wire(own.endpoint, own.access_key, own.secret_key)
    s3.create_bucket(Bucket=bucket_name)
    bodies = [BLOCK["noise" if number % 2 else "log"] for number in range(16)]

    def put(number: int) -> int:
        return wire.request("PUT", path_of(bucket_name, f"key {number}"), bodies[number], payload_hash=UNSIGNED).status

    def get(number: int) -> bool:
        return digest_of_get(wire, path_of(bucket_name, f"key {number}")) == (32 * MIB, hashlib.md5(bodies[number]).digest())

    with ThreadPoolExecutor(16) as pool:
        assert list(pool.map(put, range(16))) == [200] * 16
        assert all(pool.map(get, range(16)))
    require_bounded(own)
    own.behind.remove_bucket(bucket_name)
