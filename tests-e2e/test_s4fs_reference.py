"""s4fs and the reference's s4fs 1.5.1 over one bucket: each reads what the other writes."""

import hashlib
import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from clients.filesystems import filesystem
from clients.multipart import MIB
from programs import program
from s4_codecs.testing.workloads import WORKLOADS
from servers.stores import ACCESS_KEY, SECRET_KEY, Store
from test_reference import RANGES, read_by_the_reference

pytestmark = pytest.mark.servers("versitygw")

WRITER = Path(__file__).parent / "clients" / "reference_writer.py"
LOG, NOISE = WORKLOADS["log"](20 * MIB), WORKLOADS["noise"](12 * MIB)
BODIES = {
    "empty": b"",
    "one frame": LOG[:200_000],
    "frames": LOG[: 7 * MIB],
    "large": LOG,
    "noise": NOISE[:100_000],
    "long noise": NOISE,
    "half and half": LOG[: 6 * MIB] + NOISE[: 6 * MIB],
}


@pytest.fixture
def root(store: Store, bucket_name: str) -> Iterator[str]:
    """A bucket of the store's own."""
    store.behind.client.create_bucket(Bucket=bucket_name)
    yield bucket_name
    store.behind.remove_bucket(bucket_name)


def test_the_reference_reads_what_s4fs_writes(store: Store, root: str) -> None:
    """Objects piped, streamed and copied have the right size, every byte and every range for the reference's readers."""
    python = program("reference")
    fs = filesystem(store)
    bodies: dict[str, bytes] = {}
    for key, body in BODIES.items():
        fs.pipe_file(f"{root}/{key}", body)
        with fs.open(f"{root}/streamed {key}", "wb") as file:
            for start in range(0, len(body), MIB):
                file.write(body[start : start + MIB])
        fs.cp_file(f"{root}/{key}", f"{root}/copy of {key}")
        bodies |= {key: body, f"streamed {key}": body, f"copy of {key}": body}
    told = read_by_the_reference(python, store, [f"{root}/{key}" for key in bodies])
    assert told["versions"] == ["1.5.1", "1.5.1"]
    for key, body in bodies.items():
        found: dict[str, Any] = told["objects"][f"{root}/{key}"]
        assert (key, found["size"]) == (key, len(body))
        assert (key, found["sha256"]) == (key, hashlib.sha256(body).hexdigest())
        assert found["ranges"] == [hashlib.sha256(body[start:stop]).hexdigest() for start, stop in RANGES if start < len(body)]


def test_s4fs_reads_what_the_reference_writes(store: Store, root: str, tmp_path: Path) -> None:
    """Objects of the reference's s4fs have the right size, every byte and every range, with their sidecars and without."""
    python = program("reference")
    for key, body in BODIES.items():
        (tmp_path / key).write_bytes(body)
    asked = {"endpoint": store.endpoint, "access_key": ACCESS_KEY, "secret_key": SECRET_KEY, "bucket": root, "folder": str(tmp_path)}
    ended = subprocess.run([python, WRITER], input=json.dumps(asked).encode(), capture_output=True, timeout=240, check=False)
    assert ended.returncode == 0, ended.stderr.decode()
    for _ in ("with sidecars", "without"):
        fs = filesystem(store)
        assert {row["name"]: row["size"] for row in fs.ls(root)} == {f"{root}/{key}": len(body) for key, body in BODIES.items()}
        for key, body in BODIES.items():
            assert fs.cat_file(f"{root}/{key}") == body
            for start, stop in RANGES:
                assert fs.cat_file(f"{root}/{key}", start, stop) == body[start:stop]
        for key in store.behind.keys(root):
            if key.endswith(".s4index"):
                store.behind.client.delete_object(Bucket=root, Key=key)
