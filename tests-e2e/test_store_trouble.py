"""What clients of a gateway on the embedded store are told when its disk is full or what lies on it is damaged."""

import os
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError
from s4_gateway.testing.server import GatewayProcess, running_gateway
from servers.gateways import Gateway
from servers.stores import EmbeddedBehind, Store

pytestmark = pytest.mark.servers("embedded")
MIB = 2**20
BODIES = {f"key-{number}": os.urandom(50_000) for number in range(10)}


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A small file system of its own, in memory."""
    place = tmp_path / "disk"
    place.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={100 * MIB}", "none", place], capture_output=True, check=False).returncode:
        pytest.skip("this user may not mount a file system")
    yield place
    subprocess.run(["umount", "-l", place], check=True)


@pytest.fixture
def process(disk: Path) -> Iterator[GatewayProcess]:
    """A gateway that keeps everything there, its state too."""
    with running_gateway("--data-dir", str(disk / "store"), "--workers", "2") as process:
        yield process


@pytest.fixture
def s3(process: GatewayProcess, disk: Path) -> Any:
    """A client that repeats nothing; the bodies are stored."""
    store = Store("embedded", ("--data-dir", str(disk / "store")), EmbeddedBehind(disk / "store"))
    client = Gateway(store, process).client(retries={"total_max_attempts": 1})
    client.create_bucket(Bucket="bucket")
    for key, body in BODIES.items():
        client.put_object(Bucket="bucket", Key=key, Body=body)
    return client


def refused(status: int, call: Any, **arguments: object) -> str:
    """The message of a refusal with that status."""
    with pytest.raises(ClientError) as caught:
        call(**arguments)
    assert caught.value.response["ResponseMetadata"]["HTTPStatusCode"] == status
    return str(caught.value.response["Error"]["Message"])


def fetched(s3: Any, key: str) -> bytes:
    """The body."""
    return bytes(s3.get_object(Bucket="bucket", Key=key)["Body"].read())


def test_full_disk(s3: Any, disk: Path) -> None:
    """Writes of all kinds are refused with the reason, reads and listings go on, and so does everything when there is room again."""
    with (disk / "filler").open("wb", buffering=0) as filler, suppress(OSError):
        while True:
            filler.write(bytes(4096))
    here: dict[str, Any] = {"Bucket": "bucket", "Key": "new"}
    assert "the disk is full" in refused(503, s3.put_object, **here, Body=b"small")
    assert "the disk is full" in refused(503, s3.put_object, **here, Body=os.urandom(12 * MIB))
    assert "the disk is full" in refused(503, s3.create_multipart_upload, **here)
    assert "the disk is full" in refused(503, s3.copy_object, **here, CopySource="bucket/key-0")
    assert {key: fetched(s3, key) for key in BODIES} == BODIES
    assert s3.list_objects_v2(Bucket="bucket")["KeyCount"] == len(BODIES)
    (disk / "filler").unlink()
    s3.put_object(**here, Body=bytes(12 * MIB))
    s3.delete_object(Bucket="bucket", Key="key-0")
    assert fetched(s3, "new") == bytes(12 * MIB)


def test_damaged_body(s3: Any, disk: Path) -> None:
    """An object whose file is gone or cut is an error that says so; the others are served, and the key can be written again."""
    blobs = sorted(path for path in (disk / "store" / "blobs").rglob("*") if path.is_file())
    blobs[0].unlink()
    with blobs[1].open("r+b") as file:
        file.truncate(10)
    assert "gone" in refused(500, s3.get_object, Bucket="bucket", Key="key-0")
    assert "ends early" in refused(500, s3.get_object, Bucket="bucket", Key="key-1")
    assert fetched(s3, "key-2") == BODIES["key-2"]
    s3.put_object(Bucket="bucket", Key="key-0", Body=b"again")
    assert fetched(s3, "key-0") == b"again"
