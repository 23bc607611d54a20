"""Several gateways over one store, gateways that are restarted, and clients that all do the same at once."""

import random
import signal
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from botocore.exceptions import ClientError
from clients.multipart import MIB, Upload, composite_etag, left_behind
from clients.wire import Wire, path_of
from conftest import StartGateway
from s4_codecs.testing.workloads import WORKLOADS
from servers.behind import Behind
from servers.gateways import Gateway
from servers.stores import Store

LOG = WORKLOADS["log"](16 * MIB)
NOISE = WORKLOADS["noise"](16 * MIB)
ONCE = {"retries": {"total_max_attempts": 1}, "max_pool_connections": 24}
shared = pytest.mark.servers("versitygw", "minio")


def body(number: int, *, compressible: bool, size: int = 6 * MIB) -> bytes:
    """A part that is staged, or one that is sent direct."""
    return b"%05d" % number + (LOG if compressible else NOISE)[number : number + size - 5]


def outcome(step: Any) -> str:
    """What became of a request."""
    try:
        step()
    except ClientError as error:
        return str(error.response["Error"]["Code"])
    return "done"


@shared
def test_parts_of_one_upload_through_two_gateways(gateway: Gateway, second_gateway: Gateway, behind: Behind, bucket: str) -> None:
    """Parts that alternate between two processes make one object; both see all of them."""
    clients = (gateway.client(), second_gateway.client())
    upload = Upload(clients[0], bucket)
    pieces = [body(number, compressible=number % 3 != 0) for number in range(1, 8)]
    for number, piece in enumerate(pieces, 1):
        upload.part(number, piece, clients[number % 2])
    for client in clients:
        assert [part["Size"] for part in upload.listed(client)] == [6 * MIB] * 7
    assert upload.complete(clients[1])["ETag"] == composite_etag(pieces)
    for client in clients:
        assert client.get_object(Bucket=bucket, Key="key")["Body"].read() == b"".join(pieces)
    assert (left_behind(behind.keys(bucket)), behind.uploads(bucket)) == ([], [])


@shared
@pytest.mark.parametrize("compressible", [True, False], ids=["staged", "direct"])
def test_one_part_from_two_gateways_at_once(gateway: Gateway, second_gateway: Gateway, bucket: str, compressible: bool) -> None:
    """Of concurrent uploads of one part, the one whose ETag Complete names is in the object, whichever came last."""
    clients = (gateway.client(**ONCE), second_gateway.client(**ONCE))
    upload = Upload(clients[0], bucket)
    pieces = [body(number, compressible=compressible) for number in range(8)]

    def put(number: int) -> str:
        answer = clients[number % 2].upload_part(**upload.address, PartNumber=1, Body=pieces[number])
        return str(answer["ETag"])

    with ThreadPoolExecutor(8) as pool:
        etags = list(pool.map(put, range(8)))
    (listed,) = upload.listed(clients[1])
    chosen = etags.index(listed["ETag"])
    upload.parts[1] = {"PartNumber": 1, "ETag": listed["ETag"]}
    upload.part(2, b"tail", clients[1])
    result = outcome(lambda: upload.complete(clients[0]))
    if result == "InvalidPart" and not compressible:
        # Direct parts overwrite each other in the store, in an order that the records need not have kept: the client uploads again.
        upload.part(1, pieces[chosen])
        result = outcome(lambda: upload.complete(clients[0]))
    assert result == "done"
    assert clients[1].get_object(Bucket=bucket, Key="key")["Body"].read() == pieces[chosen] + b"tail"


@shared
def test_staged_parts_keep_every_content(gateway: Gateway, second_gateway: Gateway, bucket: str) -> None:
    """A staged part uploaded again by another process does not disturb a Complete that names the first content."""
    clients = (gateway.client(), second_gateway.client())
    upload = Upload(clients[0], bucket)
    upload.part(1, b"first content")
    manifest = upload.manifest
    upload.part(1, b"second content", clients[1])
    clients[1].complete_multipart_upload(**upload.address, MultipartUpload=manifest)
    assert clients[0].get_object(Bucket=bucket, Key="key")["Body"].read() == b"first content"


@pytest.mark.parametrize("kind", ["staged", "direct", "mixed"])
def test_twelve_completes_at_once(gateway: Gateway, behind: Behind, bucket: str, kind: str) -> None:
    """Concurrent Completes of one upload all succeed or learn that it ended; the object is right and whole."""
    s3 = gateway.client(**ONCE)
    upload = Upload(s3, bucket)
    pieces = [body(number, compressible=kind == "staged" or (kind == "mixed" and number % 2 == 0)) for number in range(4)] + [b"tail"]
    for number, piece in enumerate(pieces, 1):
        upload.part(number, piece)
    with ThreadPoolExecutor(12) as pool:
        outcomes = list(pool.map(lambda _: outcome(upload.complete), range(12)))
    assert "done" in outcomes
    assert set(outcomes) <= {"done", "NoSuchUpload", "OperationAborted", "ServiceUnavailable"}, outcomes
    assert s3.get_object(Bucket=bucket, Key="key")["Body"].read() == b"".join(pieces)
    assert s3.head_object(Bucket=bucket, Key="key")["ETag"] == composite_etag(pieces)
    assert (left_behind(behind.keys(bucket)), behind.uploads(bucket)) == ([], [])


@shared
def test_completes_through_two_gateways(gateway: Gateway, second_gateway: Gateway, behind: Behind, bucket: str) -> None:
    """The same with half of the Completes through each of two processes."""
    clients = (gateway.client(**ONCE), second_gateway.client(**ONCE))
    for kind in (True, False):
        upload = Upload(clients[0], bucket, f"key {kind}")
        pieces = [body(number, compressible=kind) for number in range(3)]
        for number, piece in enumerate(pieces, 1):
            upload.part(number, piece, clients[number % 2])
        with ThreadPoolExecutor(12) as pool:
            outcomes = list(pool.map(lambda turn: outcome(lambda: upload.complete(clients[turn % 2])), range(12)))  # noqa: B023
        assert "done" in outcomes
        assert set(outcomes) <= {"done", "NoSuchUpload", "OperationAborted", "ServiceUnavailable"}, outcomes
        assert clients[1].get_object(Bucket=bucket, Key=f"key {kind}")["Body"].read() == b"".join(pieces)
    assert (left_behind(behind.keys(bucket)), behind.uploads(bucket)) == ([], [])


def test_different_completes_at_once(gateway: Gateway, behind: Behind, bucket: str) -> None:
    """Completes that name different parts of one upload: one wins, the object is one of the two, never a mixture."""
    s3 = gateway.client(**ONCE)
    upload = Upload(s3, bucket)
    pieces = {1: body(1, compressible=True), 2: body(2, compressible=True), 3: b"tail"}
    for number, piece in pieces.items():
        upload.part(number, piece)
    manifests = [[1, 2, 3], [1, 3], [2, 3], [1, 2]]

    def complete(turn: int) -> str:
        parts = {"Parts": [upload.parts[number] for number in manifests[turn % 4]]}
        return outcome(lambda: s3.complete_multipart_upload(**upload.address, MultipartUpload=parts))

    with ThreadPoolExecutor(12) as pool:
        outcomes = list(pool.map(complete, range(12)))
    winners = {turn % 4 for turn, result in enumerate(outcomes) if result == "done"}
    assert len(winners) == 1, outcomes
    expected = b"".join(pieces[number] for number in manifests[winners.pop()])
    assert s3.get_object(Bucket=bucket, Key="key")["Body"].read() == expected
    assert (left_behind(behind.keys(bucket)), behind.uploads(bucket)) == ([], [])


def test_complete_and_abort_at_once(gateway: Gateway, behind: Behind, bucket: str) -> None:
    """Either the upload is completed, or it is aborted: after a success the object is there, and nothing else is left."""
    s3 = gateway.client(**ONCE)
    for turn in range(6):
        upload = Upload(s3, bucket, f"key {turn}")
        for number in (1, 2):
            upload.part(number, body(number, compressible=turn % 2 == 0))
        steps = [upload.complete, upload.abort] if turn % 3 else [upload.abort, upload.complete]
        with ThreadPoolExecutor(2) as pool:
            outcomes = dict(zip(("first", "second"), pool.map(outcome, steps), strict=True))
        completed = outcomes["first" if turn % 3 else "second"] == "done"
        if completed:
            assert s3.head_object(Bucket=bucket, Key=f"key {turn}")["ContentLength"] == 12 * MIB
        else:
            assert outcome(lambda: s3.head_object(Bucket=bucket, Key=f"key {turn}")) == "404", outcomes  # noqa: B023
        # Whoever lost learns it, and may try again.
        assert outcome(upload.abort) in ("done", "NoSuchUpload")
    assert (left_behind(behind.keys(bucket)), behind.uploads(bucket)) == ([], [])


@pytest.mark.parametrize(("how", "keeps_state"), [(signal.SIGKILL, True), (signal.SIGTERM, False)], ids=["killed", "state lost"])
def test_an_upload_survives_its_gateway(
    fresh_store: Store, start_gateway: StartGateway, tmp_path: Any, how: Any, keeps_state: bool
) -> None:
    """Parts of every kind are there after a restart, with or without the gateway's own state, and the upload goes on."""
    before = start_gateway(fresh_store, state=tmp_path / "state")
    s3 = before.client()
    s3.create_bucket(Bucket="bucket")
    upload = Upload(s3, "bucket", ContentType="text/kept")
    pieces = [body(1, compressible=True), body(2, compressible=False), body(3, compressible=True), b"tail"]
    for number in (1, 2):
        upload.part(number, pieces[number - 1])
    before.process.stop(how)
    after = start_gateway(fresh_store, state=tmp_path / ("state" if keeps_state else "other"))
    s3 = upload.s3 = after.client()
    assert [part["Size"] for part in upload.listed()] == [6 * MIB, 6 * MIB]
    for number in (3, 4):
        upload.part(number, pieces[number - 1])
    upload.complete()
    answer = s3.get_object(Bucket="bucket", Key="key")
    assert (answer["Body"].read(), answer["ContentType"]) == (b"".join(pieces), "text/kept")
    behind = fresh_store.behind
    assert (left_behind(behind.keys("bucket")), behind.uploads("bucket")) == ([], [])


def test_a_gateway_that_is_killed_leaves_no_open_upload(fresh_store: Store, start_gateway: StartGateway, tmp_path: Any) -> None:
    """A PUT that was being streamed when the gateway was killed is swept away by its next start: nothing is visible, nothing open."""
    before = start_gateway(fresh_store, state=tmp_path / "state")
    before.client().create_bucket(Bucket="bucket")
    wire = Wire(before.endpoint, before.access_key, before.secret_key)
    with wire.connection() as connection:
        connection.sendall(wire.head_of("PUT", path_of("bucket", "key"), {"content-length": str(64 * MIB)}))
        connection.sendall(NOISE + NOISE)
        deadline = time.monotonic() + 10
        while not fresh_store.behind.uploads("bucket") and time.monotonic() < deadline:
            time.sleep(0.05)
        assert fresh_store.behind.uploads("bucket") == ["key"]
        before.process.stop(signal.SIGKILL)
    after = start_gateway(fresh_store, state=tmp_path / "state")
    deadline = time.monotonic() + 10
    while fresh_store.behind.uploads("bucket") and time.monotonic() < deadline:
        time.sleep(0.05)
    assert fresh_store.behind.uploads("bucket") == []
    assert after.client().list_objects_v2(Bucket="bucket")["KeyCount"] == 0


def test_writers_of_one_key(gateway: Gateway, bucket: str) -> None:
    """Concurrent PUTs of one key, small and streamed, end as one of the bodies, with the ETag, size and ranges of that body."""
    s3 = gateway.client(**ONCE)
    bodies = [body(number, compressible=number % 2 == 0, size=random.Random(number).choice((1000, 9 * MIB))) for number in range(10)]
    with ThreadPoolExecutor(10) as pool:
        etags = list(pool.map(lambda data: s3.put_object(Bucket=bucket, Key="key", Body=data)["ETag"], bodies))
    answer = s3.get_object(Bucket=bucket, Key="key")
    winner = bodies[etags.index(answer["ETag"])]
    assert answer["Body"].read() == winner
    assert s3.get_object(Bucket=bucket, Key="key", Range="bytes=500-")["Body"].read() == winner[500:]


@shared
def test_overwrites_are_seen_by_the_other_gateway(gateway: Gateway, second_gateway: Gateway, bucket: str) -> None:
    """What one process caches never makes it answer with what the other has replaced."""
    clients = (gateway.client(), second_gateway.client())
    for turn in range(6):
        data = body(turn, compressible=turn % 2 == 0, size=(1000, 9 * MIB, 5 * MIB)[turn % 3])
        clients[turn % 2].put_object(Bucket=bucket, Key="key", Body=data)
        for client in clients:
            assert client.head_object(Bucket=bucket, Key="key")["ContentLength"] == len(data)
            assert client.get_object(Bucket=bucket, Key="key", Range="bytes=10-99")["Body"].read() == data[10:100]
            assert client.get_object(Bucket=bucket, Key="key")["Body"].read() == data
            assert client.list_objects_v2(Bucket=bucket)["Contents"][0]["Size"] == len(data)
