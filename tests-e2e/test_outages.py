"""Stores that go away, come back, or answer into the void."""

import http.client
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError
from clients.multipart import MIB, Upload, left_behind
from clients.wire import Wire, path_of, read_answer
from conftest import StartGateway
from s4_codecs.testing.workloads import WORKLOADS
from servers.faults import Faults, lossy
from servers.gateways import Gateway
from servers.process import HOST
from servers.stores import Store

pytestmark = pytest.mark.servers("versitygw", "minio")
LOG, NOISE = WORKLOADS["log"](16 * MIB), WORKLOADS["noise"](40 * MIB)


def code_of(step: Any) -> str:
    """The error code of a request, or `done`."""
    try:
        step()
    except ClientError as error:
        return str(error.response["Error"]["Code"])
    return "done"


def test_a_store_that_goes_away(fresh_store: Store, start_gateway: StartGateway) -> None:
    """Without its store the gateway lives, says that it is not ready, and answers 503, never 500 and never 404."""
    gateway = start_gateway(fresh_store)
    s3 = gateway.client(retries={"total_max_attempts": 1})
    wire = Wire(gateway.endpoint, gateway.access_key, gateway.secret_key)
    s3.create_bucket(Bucket="bucket")
    s3.put_object(Bucket="bucket", Key="key", Body=LOG[:1000])
    assert wire.request("GET", "/ready", signed=False).status == 200
    assert fresh_store.process is not None
    fresh_store.process.process.kill()
    fresh_store.process.process.wait()
    started = time.monotonic()
    for method, path, body in (
        ("GET", "/", b""),
        ("GET", path_of("bucket"), b""),
        ("GET", path_of("bucket", "key"), b""),
        ("HEAD", path_of("bucket", "key"), b""),
        ("PUT", path_of("bucket", "key"), LOG[:1000]),
        ("PUT", path_of("bucket", "key"), LOG),
        ("POST", path_of("bucket", "key", "uploads="), b""),
        ("DELETE", path_of("bucket", "key"), b""),
    ):
        answer = wire.request(method, path, body)
        assert (method, path, answer.status) == (method, path, 503)
        assert method == "HEAD" or answer.code == "ServiceUnavailable"
    assert time.monotonic() - started < 30
    assert wire.request("GET", "/health", signed=False).status == 200
    deadline = time.monotonic() + 10
    while wire.request("GET", "/ready", signed=False).status == 200 and time.monotonic() < deadline:
        time.sleep(0.2)
    assert wire.request("GET", "/ready", signed=False).status == 503


def test_a_store_that_goes_away_in_mid_get(fresh_store: Store, start_gateway: StartGateway) -> None:
    """A download whose rest the store cannot give any more is broken off; what came of it is right."""
    gateway = start_gateway(fresh_store)
    gateway.client().create_bucket(Bucket="bucket")
    wire = Wire(gateway.endpoint, gateway.access_key, gateway.secret_key)
    assert wire.request("PUT", path_of("bucket", "key"), NOISE).status == 200
    came = b""
    with wire.connection() as connection:
        connection.sendall(wire.head_of("GET", path_of("bucket", "key")))
        connection.recv(1)
        assert fresh_store.process is not None
        fresh_store.process.process.kill()
        time.sleep(0.3)
        try:
            while piece := connection.recv(MIB):
                came += piece
        except ConnectionError:
            pass
    body = came[came.index(b"\r\n\r\n") + 4 :]
    assert len(body) < len(NOISE)
    assert NOISE.startswith(body)


@pytest.fixture
def faulty(store: Store, start_gateway: StartGateway) -> Iterator[tuple[Gateway, Faults]]:
    """A gateway that reaches the store through a network which loses answers."""
    assert store.process is not None
    with ExitStack() as stack:
        faults = stack.enter_context(lossy(store.process.port))
        endpoint = f"http://{HOST}:{faults.port}"
        yield start_gateway(replace(store, arguments=("--endpoint-url", endpoint))), faults


def test_lost_answers_to_puts(faulty: tuple[Gateway, Faults], bucket: str) -> None:
    """A PUT whose answer is lost succeeds if it took effect, buffered, streamed, and where it may not overwrite."""
    gateway, faults = faulty
    s3 = gateway.client(retries={"total_max_attempts": 1})
    for key, body, extra, request in (
        ("buffered", LOG[:1000], {}, "PUT"),
        ("only once", LOG[:1000], {"IfNoneMatch": "*"}, "PUT"),
        ("streamed", NOISE, {}, "POST"),
        ("streamed once", NOISE, {"IfNoneMatch": "*"}, "POST"),
    ):
        encoded = key.replace(" ", "%20")
        # The second POST of a streamed PUT is its Complete; the first one opened the upload.
        faults.lose(f"{request} /{bucket}/{encoded}?uploadId=" if request == "POST" else f"{request} /{bucket}/{encoded} ")
        assert code_of(lambda: s3.put_object(Bucket=bucket, Key=key, Body=body, **extra)) in ("done", "ServiceUnavailable")  # noqa: B023
        assert faults.left == 0, faults.lost
        assert s3.get_object(Bucket=bucket, Key=key)["Body"].read() == body


def test_a_lost_answer_is_no_success_of_another_write(faulty: tuple[Gateway, Faults], bucket: str) -> None:
    """Where a condition forbids the write, a lost answer does not make a success of what somebody else wrote."""
    gateway, faults = faulty
    s3 = gateway.client(retries={"total_max_attempts": 1})
    s3.put_object(Bucket=bucket, Key="key", Body=b"mine")
    faults.lose(f"PUT /{bucket}/key ")
    assert code_of(lambda: s3.put_object(Bucket=bucket, Key="key", Body=b"other", IfNoneMatch="*")) in (
        "PreconditionFailed",
        "ServiceUnavailable",
    )
    assert s3.get_object(Bucket=bucket, Key="key")["Body"].read() == b"mine"


@pytest.mark.parametrize("compressible", [True, False], ids=["staged", "direct"])
def test_lost_answers_in_an_upload(faulty: tuple[Gateway, Faults], behind: Any, bucket: str, compressible: bool) -> None:
    """Each step of an upload survives the loss of its first answer: the object is right, and nothing is left."""
    gateway, faults = faulty
    s3 = gateway.client(retries={"total_max_attempts": 1}, read_timeout=120)
    pieces = [(LOG if compressible else NOISE)[number : number + 6 * MIB] for number in range(3)]
    for step in ("record", "open", "part", "complete"):
        key = f"key-{step}"
        if step == "record":
            faults.lose(f"PUT /{bucket}/.s4mpu/")
        upload = Upload(s3, bucket, key)
        if step == "open":
            faults.lose(f"POST /{bucket}/{key}?uploads=")
        if step == "part":
            faults.lose(f"PUT /{bucket}/")
        for number, piece in enumerate(pieces, 1):
            upload.part(number, piece)
        if step == "complete":
            faults.lose(f"POST /{bucket}/{key}?uploadId=")
        assert code_of(upload.complete) in ("done", "ServiceUnavailable")
        if code_of(lambda: s3.head_object(Bucket=bucket, Key=key)) != "done":  # noqa: B023
            upload.complete()
        assert s3.get_object(Bucket=bucket, Key=key)["Body"].read() == b"".join(pieces)
    assert len(faults.lost) == 4, faults.lost
    assert left_behind(behind.keys(bucket)) == []


def test_lost_answers_to_deletes_and_copies(faulty: tuple[Gateway, Faults], bucket: str) -> None:
    """They can be repeated, and are."""
    gateway, faults = faulty
    s3 = gateway.client(retries={"total_max_attempts": 1})
    s3.put_object(Bucket=bucket, Key="key", Body=LOG[:1000])
    faults.lose(f"PUT /{bucket}/copy ")
    s3.copy_object(Bucket=bucket, Key="copy", CopySource={"Bucket": bucket, "Key": "key"})
    assert s3.get_object(Bucket=bucket, Key="copy")["Body"].read() == LOG[:1000]
    faults.lose(f"POST /{bucket}?delete=")
    s3.delete_object(Bucket=bucket, Key="key")
    assert [entry["Key"] for entry in s3.list_objects_v2(Bucket=bucket)["Contents"]] == ["copy"]
    assert len(faults.lost) == 2, faults.lost


def test_lost_answers_to_reads(faulty: tuple[Gateway, Faults], bucket: str) -> None:
    """Reads are tried again."""
    gateway, faults = faulty
    s3 = gateway.client(retries={"total_max_attempts": 1})
    s3.put_object(Bucket=bucket, Key="key", Body=LOG)
    for step in (f"GET /{bucket}/key", f"HEAD /{bucket}/key", f"GET /{bucket}?"):
        faults.lose(step)
        assert s3.head_object(Bucket=bucket, Key="key")["ContentLength"] == len(LOG)
        assert s3.get_object(Bucket=bucket, Key="key")["Body"].read() == LOG
        assert s3.list_objects_v2(Bucket=bucket)["KeyCount"] == 1
    assert len(faults.lost) == 3, faults.lost


def test_drain(store: Store, start_gateway: StartGateway, bucket: str, tmp_path: Path) -> None:
    """SIGTERM lets a PUT and a GET that are under way end well, takes no new connection, and ends with status 0."""
    gateway = start_gateway(store)
    wire = Wire(gateway.endpoint, gateway.access_key, gateway.secret_key)
    assert wire.request("PUT", path_of(bucket, "read"), NOISE).status == 200
    with wire.connection() as reading, wire.connection() as writing:
        reading.sendall(wire.head_of("GET", path_of(bucket, "read")))
        writing.sendall(wire.head_of("PUT", path_of(bucket, "written"), {"content-length": str(len(NOISE))}))
        writing.sendall(NOISE[: 20 * MIB])
        first = reading.recv(1)
        gateway.process.process.terminate()
        time.sleep(0.5)
        assert not _takes_connections(wire)
        sender = threading.Thread(target=writing.sendall, args=(NOISE[20 * MIB :],))
        sender.start()
        whole = first + _rest(reading)
        sender.join()
        answer = read_answer(writing, "PUT")
    assert answer.status == 200
    assert whole.endswith(NOISE[-100:])
    assert gateway.process.process.wait(20) == 0
    assert store.behind.uploads(bucket) == []


def _takes_connections(wire: Wire) -> bool:
    try:
        with wire.connection() as late:
            late.sendall(wire.head_of("GET", "/"))
            return bool(late.recv(1))
    except ConnectionError:
        return False


def _rest(connection: Any) -> bytes:
    pieces = []
    while piece := connection.recv(MIB):
        pieces.append(piece)
    return b"".join(pieces)


def test_every_error_is_http(faulty: tuple[Gateway, Faults], bucket: str) -> None:
    """A store that loses every answer gives 503 after a few attempts, within a bounded time."""
    gateway, faults = faulty
    wire = Wire(gateway.endpoint, gateway.access_key, gateway.secret_key)
    faults.lose("", 1000)
    started = time.monotonic()
    try:
        answer = wire.request("PUT", path_of(bucket, "key"), b"body")
    except http.client.HTTPException as error:
        pytest.fail(f"no answer: {error!r}")
    assert (answer.status, answer.code) == (503, "ServiceUnavailable")
    assert time.monotonic() - started < 30
