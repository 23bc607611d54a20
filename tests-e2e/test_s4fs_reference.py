"""What s4fs writes the reference's s4fs 1.5.1 reads, and the other way round, both straight in the store; a gateway shows the same."""

import hashlib
from pathlib import Path
from typing import Any

import pytest
from clients.filesystems import filesystem
from clients.reference import read_by_the_reference, write_by_the_reference
from s4_codecs.testing.workloads import WORKLOADS
from servers.gateways import Gateway
from servers.stores import Store

pytestmark = pytest.mark.servers("versitygw", "minio")

MIB = 1 << 20
LOG, NOISE = WORKLOADS["log"](12 * MIB), WORKLOADS["noise"](9 * MIB)
RANGES = [[0, 10], [1000, 70_000], [MIB - 5, MIB + 5], [5 * MIB - 100, 5 * MIB + 100]]
BODIES = {
    "one frame": LOG[:200_000],
    "framed": LOG[: 7 * MIB],
    "framed, larger": LOG,
    "noise": NOISE[:100_000],
    "long noise": NOISE,
    "half and half": LOG[: 6 * MIB] + NOISE[: 6 * MIB],
    "empty": b"",
}


def test_the_reference_reads_what_we_write(store: Store, gateway: Gateway, bucket: str) -> None:
    """Piped at once and streamed in parts: size, every byte and ranges are right, and so they are through a gateway, ETag included."""
    fs = filesystem(store)
    bodies = {}
    for key, body in BODIES.items():
        fs.pipe_file(f"{bucket}/{key}", body)
        with fs.open(f"{bucket}/streamed {key}", "wb") as file:
            for start in range(0, len(body), MIB):
                file.write(body[start : start + MIB])
        bodies |= {key: body, f"streamed {key}": body}
    fs.cp_file(f"{bucket}/framed, larger", f"{bucket}/copy")
    bodies["copy"] = LOG
    told = read_by_the_reference(store, [f"{bucket}/{key}" for key in bodies], RANGES)
    assert told["versions"] == ["1.5.1", "1.5.1"]
    for key, body in bodies.items():
        found = told["objects"][f"{bucket}/{key}"]
        assert (key, found["size"], found["sha256"]) == (key, len(body), hashlib.sha256(body).hexdigest())
        expected = [hashlib.sha256(body[start:stop]).hexdigest() for start, stop in RANGES if start < len(body)]
        assert (key, found["ranges"]) == (key, expected)
        if found["frames"] and len(body) > 4 * MIB:
            assert (key, found["index"]["total_original_size"]) == (key, len(body))
            assert (key, len(found["index"]["entries"])) == (key, found["frames"])
        _same_through_a_gateway(gateway, fs, bucket, key, body)


def _same_through_a_gateway(gateway: Gateway, fs: Any, bucket: str, key: str, body: bytes) -> None:
    answer = gateway.client().get_object(Bucket=bucket, Key=key)
    assert (key, answer["Body"].read() == body, answer["ContentLength"]) == (key, True, len(body))
    assert (key, answer["ETag"].strip('"')) == (key, fs.info(f"{bucket}/{key}")["ETag"].strip('"'))


@pytest.mark.parametrize("codec", ["cpu-zstd", "passthrough"])
def test_we_read_what_the_reference_writes(store: Store, bucket: str, tmp_path: Path, codec: str) -> None:
    """With its sidecars and without them: sizes, every byte and ranges, in a listing and by name."""
    files = {}
    for number, (key, body) in enumerate(BODIES.items()):
        local = tmp_path / str(number)
        local.write_bytes(body)
        files[f"{bucket}/{key}"] = local
    write_by_the_reference(store, files, codec)
    for _ in ("with sidecars", "without"):
        _all_is_read(filesystem(store), bucket)
        for key in store.behind.keys(bucket):
            if key.endswith(".s4index"):
                store.behind.client.delete_object(Bucket=bucket, Key=key)


def _all_is_read(fs: Any, bucket: str) -> None:
    assert {entry["name"]: entry["size"] for entry in fs.ls(bucket)} == {f"{bucket}/{key}": len(body) for key, body in BODIES.items()}
    for key, body in BODIES.items():
        path = f"{bucket}/{key}"
        assert (key, fs.info(path)["size"]) == (key, len(body))
        assert (key, [bytes(fs.cat_file(path, start=start, end=stop)) for start, stop in RANGES]) == (
            key,
            [body[start:stop] for start, stop in RANGES],
        )
        assert (key, fs.cat_file(path) == body) == (key, True)
        with fs.open(path, "rb") as file:
            file.seek(max(0, len(body) - 100))
            assert (key, file.read()) == (key, body[-100:])


def test_what_the_reference_wrote_can_be_replaced_copied_and_removed(store: Store, bucket: str, tmp_path: Path) -> None:
    """A sidecar of the reference speaks for no other body than its own, and goes with the object."""
    local = tmp_path / "log"
    local.write_bytes(LOG)
    write_by_the_reference(store, {f"{bucket}/{name}": local for name in ("replaced", "moved", "removed")})
    fs = filesystem(store)
    fs.pipe_file(f"{bucket}/replaced", b"short")
    fs.mv(f"{bucket}/moved", f"{bucket}/there")
    fs.rm(f"{bucket}/removed")
    assert fs.ls(bucket, detail=False) == [f"{bucket}/replaced", f"{bucket}/there"]
    assert fs.cat_file(f"{bucket}/replaced") == b"short"
    assert fs.cat_file(f"{bucket}/there") == LOG
    told = read_by_the_reference(store, [f"{bucket}/replaced", f"{bucket}/there"], RANGES)["objects"]
    assert told[f"{bucket}/there"]["sha256"] == hashlib.sha256(LOG).hexdigest()
    assert told[f"{bucket}/replaced"]["sha256"] == hashlib.sha256(b"short").hexdigest()
    fs.rm([f"{bucket}/replaced", f"{bucket}/there"])
    assert store.behind.keys(bucket) == []
