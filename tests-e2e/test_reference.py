"""The reference's own Python readers, s4fs and s4-codec, read what we write, without any gateway."""

import hashlib
from pathlib import Path
from typing import Any

import pytest
from clients.multipart import MIB, put_parts
from clients.reference import read_by_the_reference
from conftest import StartGateway
from s4_codecs.testing.workloads import WORKLOADS
from servers.stores import Store

LOG, NOISE = WORKLOADS["log"](24 * MIB), WORKLOADS["noise"](12 * MIB)
RANGES = [[0, 10], [1000, 70_000], [MIB - 5, MIB + 5], [5 * MIB - 100, 5 * MIB + 100]]
LARGE = {
    "one frame": LOG[:200_000],
    "framed": LOG[: 7 * MIB],
    "framed above 8 MiB": LOG,
    "noise": NOISE[:100_000],
    "long noise": NOISE,
    "half and half": LOG[: 6 * MIB] + NOISE[: 6 * MIB],
    "empty": b"",
}
PARTS = {
    "staged parts": [LOG[: 5 * MIB], LOG[5 * MIB : 10 * MIB], b"tail"],
    "mixed parts": [NOISE[: 6 * MIB], LOG[: 5 * MIB], NOISE[6 * MIB :], LOG[: 3 * MIB]],
    "direct last": [LOG[: 5 * MIB], NOISE],
    "one part": [LOG[:1000]],
}


@pytest.mark.servers("versitygw", "minio")
def test_everything_we_write(s3: Any, store: Store, bucket: str) -> None:
    """Bodies with and without trailer, of PUTs, parts and copies: size, every byte and ranges are right, and sidecars index them."""
    bodies = dict(LARGE)
    for key, body in LARGE.items():
        s3.put_object(Bucket=bucket, Key=key, Body=body)
    for key, pieces in PARTS.items():
        put_parts(s3, bucket, key, pieces)
        bodies[key] = b"".join(pieces)
    for key in ("framed above 8 MiB", "mixed parts"):
        s3.copy_object(Bucket=bucket, Key=f"copy of {key}", CopySource={"Bucket": bucket, "Key": key})
        bodies[f"copy of {key}"] = bodies[key]
    told = read_by_the_reference(store, [f"{bucket}/{key}" for key in bodies], RANGES)
    assert told["versions"] == ["1.5.1", "1.5.1"]
    for key, body in bodies.items():
        found = told["objects"][f"{bucket}/{key}"]
        assert (key, found["size"]) == (key, len(body))
        assert (key, found["sha256"]) == (key, hashlib.sha256(body).hexdigest())
        expected = [hashlib.sha256(body[start:stop]).hexdigest() for start, stop in RANGES if start < len(body)]
        assert (key, found["ranges"]) == (key, expected)
        index = found["index"]
        if len(body) > 4 * MIB:
            assert index["total_original_size"] == len(body)
            assert index["source_compressed_size"] == found["stored"]
            assert len(index["entries"]) == found["frames"]


@pytest.mark.servers("versitygw")
def test_what_a_trial_chose(store: Store, start_gateway: StartGateway, bucket: str, tmp_path: Path) -> None:
    """Objects whose frames a trial gave codecs as their content changed, cpu-columnar excluded, are read by the reference too."""
    rules = tmp_path / "rules.toml"
    rules.write_text(f'[rules."{bucket}/"]\npolicy = "trial"\nexclude = ["cpu-columnar"]\n')
    gateway = start_gateway(store, "--dispatch-rules", str(rules))
    body = NOISE[: 9 * MIB] + LOG + WORKLOADS["walk_i64"](4 * MIB) + NOISE[: 5 * MIB]
    gateway.client().put_object(Bucket=bucket, Key="mixed", Body=body)
    put_parts(gateway.client(), bucket, "parts", [body[: 12 * MIB], body[12 * MIB :]])
    told = read_by_the_reference(store, [f"{bucket}/mixed", f"{bucket}/parts"], RANGES)
    for key in ("mixed", "parts"):
        assert gateway.behind.get(bucket, key).metadata["s4-codec"] in ("passthrough", "cpu-zstd")
        found = told["objects"][f"{bucket}/{key}"]
        assert (found["size"], found["sha256"]) == (len(body), hashlib.sha256(body).hexdigest())
        assert found["ranges"] == [hashlib.sha256(body[start:stop]).hexdigest() for start, stop in RANGES]
        assert found["stored"] < len(body) * 0.7
