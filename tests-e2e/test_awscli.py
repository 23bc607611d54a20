"""aws-cli at its default settings."""

import hashlib
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import pytest
from clients.command import CommandError, run
from clients.multipart import MIB, composite_etag, left_behind
from programs import program
from s4_codecs.testing.workloads import WORKLOADS
from servers.behind import Behind
from servers.gateways import Gateway

Aws = Callable[..., str]


@pytest.fixture
def aws(gateway: Gateway, tmp_path: Path) -> Aws:
    """Runs `aws ...` in the test's folder against the shared gateway."""
    path = str(program("awscli"))
    environ = {
        "AWS_ACCESS_KEY_ID": gateway.access_key,
        "AWS_SECRET_ACCESS_KEY": gateway.secret_key,
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_ENDPOINT_URL": gateway.endpoint,
    }
    return lambda *arguments: run([path, *arguments], environ=environ, folder=tmp_path)


def make_tree(folder: Path) -> dict[str, bytes]:
    """A folder of files of many sizes and kinds; relative name -> content."""
    log, noise = WORKLOADS["log"](12 * MIB), WORKLOADS["noise"](9 * MIB)
    files = {
        "empty": b"",
        "small.txt": b"x",
        "dir/log.txt": log[: 2 * MIB],
        "dir/sub dir/ü+ %.bin": noise[:100_000],
        "dir/large.log": log,
        "noise.bin": noise,
    }
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
        # Older than any object made of it: times of objects are whole seconds.
        os.utime(folder / name, (1_700_000_000, 1_700_000_000))
    return files


def read_tree(folder: Path) -> dict[str, bytes]:
    """The same, read back."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_copy_of_a_large_file(aws: Aws, s3: Any, behind: Behind, bucket: str, tmp_path: Path) -> None:
    """`aws s3 cp` up and down by 8 MiB parts gives the file back, and stores it compressed."""
    data = WORKLOADS["log"](40 * MIB + 1)
    (tmp_path / "up").write_bytes(data)
    aws("s3", "cp", "up", f"s3://{bucket}/file")
    aws("s3", "cp", f"s3://{bucket}/file", "down")
    assert hashlib.sha256((tmp_path / "down").read_bytes()).digest() == hashlib.sha256(data).digest()
    head = s3.head_object(Bucket=bucket, Key="file")
    assert head["ETag"] == composite_etag([data[start : start + 8 * MIB] for start in range(0, len(data), 8 * MIB)])
    assert behind.size(bucket, "file") < len(data) / 4.5
    assert left_behind(behind.keys(bucket)) == []


def test_sync(aws: Aws, bucket: str, tmp_path: Path) -> None:
    """`aws s3 sync` transfers a tree once, nothing a second time, then only what changed, and the tree back."""
    files = make_tree(tmp_path / "tree")
    first = aws("s3", "sync", "tree", f"s3://{bucket}/tree", "--no-progress")
    assert first.count("upload: ") == len(files)
    assert aws("s3", "sync", "tree", f"s3://{bucket}/tree", "--no-progress") == ""
    (tmp_path / "tree" / "small.txt").write_bytes(b"changed")
    (tmp_path / "tree" / "noise.bin").unlink()
    third = aws("s3", "sync", "tree", f"s3://{bucket}/tree", "--no-progress", "--delete")
    assert sorted(line.split()[0] for line in third.splitlines()) == ["delete:", "upload:"]
    aws("s3", "sync", f"s3://{bucket}/tree", "back", "--no-progress")
    assert read_tree(tmp_path / "back") == read_tree(tmp_path / "tree")
    assert aws("s3", "sync", f"s3://{bucket}/tree", "back", "--no-progress") == ""


def test_list_move_remove(aws: Aws, s3: Any, bucket: str, tmp_path: Path) -> None:
    """`ls` shows logical sizes, `mv` moves, also by parts, `rm --recursive` leaves nothing that a client sees."""
    make_tree(tmp_path / "tree")
    aws("s3", "cp", "--recursive", "tree", f"s3://{bucket}/tree/", "--no-progress")
    listed = aws("s3", "ls", f"s3://{bucket}/tree/dir/")
    assert [line.split()[-2:] for line in listed.splitlines()] == [["sub", "dir/"], [str(12 * MIB), "large.log"], [str(2 * MIB), "log.txt"]]
    summary = aws("s3", "ls", "--recursive", "--summarize", f"s3://{bucket}")
    assert f"Total Objects: {6}" in summary
    assert f"Total Size: {12 * MIB + 9 * MIB + 2 * MIB + 100_001}" in summary
    aws("s3", "mv", f"s3://{bucket}/tree/dir/large.log", f"s3://{bucket}/moved.log", "--no-progress")
    aws("s3", "mv", f"s3://{bucket}/moved.log", "moved.log", "--no-progress")
    assert (tmp_path / "moved.log").read_bytes() == (tmp_path / "tree/dir/large.log").read_bytes()
    aws("s3", "rm", "--recursive", f"s3://{bucket}/", "--only-show-errors")
    assert s3.list_objects_v2(Bucket=bucket)["KeyCount"] == 0


def test_streams(aws: Aws, gateway: Gateway, bucket: str, tmp_path: Path) -> None:
    """`aws s3 cp - s3://...` uploads what comes from a pipe, and `cp s3://... -` writes it out."""
    (tmp_path / "data").write_bytes(b"line\n" * 100_000)
    path = program("awscli")
    run(
        ["sh", "-c", f"'{path}' s3 cp - s3://{bucket}/piped < data && '{path}' s3 cp s3://{bucket}/piped - > back && cmp data back"],
        environ={
            "AWS_ACCESS_KEY_ID": gateway.access_key,
            "AWS_SECRET_ACCESS_KEY": gateway.secret_key,
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_ENDPOINT_URL": gateway.endpoint,
        },
        folder=tmp_path,
    )


def test_s3api(aws: Aws, bucket: str, tmp_path: Path) -> None:
    """The plain operations: multipart by hand, metadata, ranges, errors by their codes, a presigned URL."""
    (tmp_path / "part").write_bytes(b"p" * 5 * MIB)
    address = ("--bucket", bucket, "--key", "key")
    upload = json.loads(aws("s3api", "create-multipart-upload", *address, "--metadata", "mine=1"))["UploadId"]
    parts = [
        {
            "PartNumber": number,
            "ETag": json.loads(
                aws("s3api", "upload-part", *address, "--upload-id", upload, "--part-number", str(number), "--body", "part")
            )["ETag"],
        }
        for number in (1, 2)
    ]
    aws("s3api", "complete-multipart-upload", *address, "--upload-id", upload, "--multipart-upload", json.dumps({"Parts": parts}))
    head = json.loads(aws("s3api", "head-object", *address))
    assert (head["ContentLength"], head["Metadata"]) == (10 * MIB, {"mine": "1"})
    aws("s3api", "get-object", *address, "--range", "bytes=5242878-5242881", "out")
    assert (tmp_path / "out").read_bytes() == b"pppp"
    with pytest.raises(CommandError, match="NoSuchKey"):
        aws("s3api", "get-object", "--bucket", bucket, "--key", "absent", "out")
    with urlopen(aws("s3", "presign", f"s3://{bucket}/key").strip(), timeout=30) as answer:
        assert answer.read() == b"p" * 10 * MIB
