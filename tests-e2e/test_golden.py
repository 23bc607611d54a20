"""Objects that the reference wrote, put into the store as they were found there and read through the gateway."""

import hashlib
import random
from dataclasses import replace
from typing import Any

import pytest
from clients.wire import Wire, path_of
from golden import Golden, of, sidecar_of, with_outcome, without_decoder
from s4_format import parse_container
from servers.behind import Behind, Stored
from servers.gateways import Gateway


def put(behind: Behind, bucket: str, golden: Golden, *, sidecar: bool = False) -> None:
    """The object, what it needs, and its sidecar if it is wanted."""
    behind.put(bucket, "golden", golden.stored)
    for key, stored in golden.needs.items():
        behind.put(bucket, key, stored)
    index = sidecar_of(golden) if sidecar else None
    if index is not None:
        behind.put(bucket, "golden.s4index", Stored(index, {}, "application/x-s4-index"))


@pytest.mark.parametrize("sidecar", [False, True], ids=["bare", "with sidecar"])
@pytest.mark.parametrize("golden", with_outcome("plain"), ids=lambda golden: golden.id)
def test_plain(wire: Wire, s3: Any, behind: Behind, bucket: str, golden: Golden, sidecar: bool) -> None:
    """HEAD, GET, List and 20 ranges show the original, its ETag as far as one is known, and the client's own metadata only."""
    put(behind, bucket, golden, sidecar=sidecar)
    path = path_of(bucket, "golden")
    head = wire.request("HEAD", path)
    assert (head.status, head.headers["content-length"], head.headers["content-type"]) == (200, str(golden.size), "text/x-golden")
    assert head.etag == golden.etag
    shown = {name.removeprefix("x-amz-meta-"): value for name, value in head.headers.items() if name.startswith("x-amz-meta-")}
    assert shown == {name: value for name, value in golden.stored.metadata.items() if not name.startswith("s4-")}
    answer = wire.request("GET", path)
    body = answer.body
    assert (answer.status, len(body), hashlib.sha256(body).hexdigest()) == (200, golden.size, golden.sha256)
    assert answer.etag == golden.etag
    listed = s3.list_objects_v2(Bucket=bucket)["Contents"]
    assert [(entry["Key"], entry["Size"], entry.get("ETag") or None) for entry in listed] == [("golden", golden.size, golden.etag)]
    generator = random.Random(golden.id)
    for _ in range(20 if body else 0):
        start = generator.randrange(len(body))
        stop = min(len(body), start + generator.choice((1, 50, 5000, 2_000_000)))
        ranged = wire.request("GET", path, headers={"range": f"bytes={start}-{stop - 1}"})
        assert (ranged.status, ranged.body) == (206, body[start:stop])
        assert ranged.headers["content-range"] == f"bytes {start}-{stop - 1}/{len(body)}"


@pytest.mark.parametrize("golden", [*with_outcome("encrypted"), *without_decoder()], ids=lambda golden: golden.id)
def test_what_cannot_be_decoded(wire: Wire, behind: Behind, bucket: str, golden: Golden) -> None:
    """An encrypted object, or one of a codec that is not there, gives an error that says so; never bytes of what is stored."""
    put(behind, bucket, golden)
    word = "encrypted" if golden.outcome == "encrypted" else "nvcomp"
    for headers in ({}, {"range": "bytes=-9"}, {"range": "bytes=0-9"}):
        answer = wire.request("GET", path_of(bucket, "golden"), headers=headers)
        if answer.status == 206:
            # One of mixed codecs: this range lies in a frame that can be decoded.
            assert (golden.id, answer.body) == ("ans/behind others", b"000000 [info] checkout"[: len(answer.body)])
            continue
        assert answer.status >= 400
        message = answer.xml.findtext("Message") or ""
        assert word in message.lower(), (answer.code, message)


@pytest.mark.parametrize("name", ["refcode/unframed_nvcomp-bitcomp", "refcode/unframed_nvcomp-gdeflate"])
def test_damage_in_what_a_gpu_wrote(wire: Wire, behind: Behind, bucket: str, name: str) -> None:
    """Bytes that would end the process which decodes them are an error of one request; the gateway goes on, and reads the next object."""
    sound = of(name)
    container = parse_container(sound.stored.body)
    damaged = sound.stored.body[: container.table_end] + bytes([0xFF]) * (container.stored_size - container.table_end)
    behind.put(bucket, "sound", sound.stored)
    behind.put(bucket, "damaged", replace(sound.stored, body=damaged))
    for _ in range(3):
        answer = wire.request("GET", path_of(bucket, "damaged"))
        assert (answer.status, answer.code) == (500, "InternalError")
        answer = wire.request("GET", path_of(bucket, "sound"))
        assert (answer.status, hashlib.sha256(answer.body).hexdigest()) == (200, sound.sha256)


def test_copies_of_reference_objects(s3: Any, behind: Behind, bucket: str) -> None:
    """A copy through the gateway reads like its source, and so does what is copied by parts."""
    for golden in with_outcome("plain"):
        put(behind, bucket, golden)
        s3.copy_object(Bucket=bucket, Key="copy", CopySource={"Bucket": bucket, "Key": "golden"})
        body = s3.get_object(Bucket=bucket, Key="copy")["Body"].read()
        assert (golden.id, hashlib.sha256(body).hexdigest()) == (golden.id, golden.sha256)


@pytest.mark.servers("versitygw", "minio")
def test_a_sidecar_of_something_else_is_not_used(wire: Wire, behind: Behind, bucket: str, gateway: Gateway) -> None:
    """An index that is bound to another body is ignored."""
    multi = of("server/plain_multi")
    other = of("server/plain_mpu3")
    behind.put(bucket, "golden", multi.stored)
    index = sidecar_of(other)
    assert index is not None
    behind.put(bucket, "golden.s4index", Stored(index))
    whole = wire.request("GET", path_of(bucket, "golden")).body
    assert hashlib.sha256(whole).hexdigest() == multi.sha256
    assert wire.request("GET", path_of(bucket, "golden"), headers={"range": "bytes=4194204-4194403"}).body == whole[4194204:4194404]
