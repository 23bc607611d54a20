"""rclone at its default settings, over its generic S3 provider."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from clients.command import CommandError, run
from clients.multipart import MIB
from programs import program
from s4_codecs.testing.workloads import WORKLOADS
from servers.behind import Behind
from servers.gateways import Gateway
from test_awscli import make_tree, read_tree

Rclone = Callable[..., str]


@pytest.fixture
def rclone(gateway: Gateway, tmp_path: Path) -> Rclone:
    """Runs `rclone ...` in the test's folder; the remote is called `s4`."""
    path = str(program("rclone"))
    environ = {
        "RCLONE_CONFIG_S4_TYPE": "s3",
        "RCLONE_CONFIG_S4_PROVIDER": "Other",
        "RCLONE_CONFIG_S4_ACCESS_KEY_ID": gateway.access_key,
        "RCLONE_CONFIG_S4_SECRET_ACCESS_KEY": gateway.secret_key,
        "RCLONE_CONFIG_S4_ENDPOINT": gateway.endpoint,
        "RCLONE_CONFIG_S4_REGION": "us-east-1",
        "RCLONE_RETRIES": "1",
    }
    return lambda *arguments, encoding="utf-8": run([path, *arguments], environ=environ, folder=tmp_path, encoding=encoding)


def test_copy_check_and_sync(rclone: Rclone, bucket: str, tmp_path: Path) -> None:
    """A tree copied up is found equal by `check`, by hash and by download; a second copy transfers nothing; `sync` follows changes."""
    make_tree(tmp_path / "tree")
    rclone("copy", "tree", f"s4:{bucket}/tree")
    rclone("check", "tree", f"s4:{bucket}/tree")
    rclone("check", "--download", "tree", f"s4:{bucket}/tree")
    again = json.loads(rclone("copy", "tree", f"s4:{bucket}/tree", "--use-json-log", "--stats-log-level", "NOTICE", "-q") or "{}")
    assert again == {}
    (tmp_path / "tree" / "small.txt").write_bytes(b"changed")
    (tmp_path / "tree" / "noise.bin").unlink()
    with pytest.raises(CommandError, match="differences found"):
        rclone("check", "tree", f"s4:{bucket}/tree")
    rclone("sync", "tree", f"s4:{bucket}/tree")
    rclone("check", "tree", f"s4:{bucket}/tree")
    rclone("copy", f"s4:{bucket}/tree", "back")
    assert read_tree(tmp_path / "back") == read_tree(tmp_path / "tree")


def test_listing(rclone: Rclone, bucket: str, tmp_path: Path) -> None:
    """`lsl` and `lsjson` show logical sizes, hashes of the original and modification times as they were, and none of our names."""
    files = make_tree(tmp_path / "tree")
    rclone("copy", "tree", f"s4:{bucket}/tree")
    listed = {line.split(None, 3)[3]: int(line.split()[0]) for line in rclone("lsl", f"s4:{bucket}/tree").splitlines()}
    assert listed == {name: len(content) for name, content in files.items()}
    entries = json.loads(rclone("lsjson", "-R", "--files-only", "--hash", f"s4:{bucket}"))
    assert sorted(entry["Path"] for entry in entries) == sorted(f"tree/{name}" for name in files)
    assert rclone("md5sum", f"s4:{bucket}/tree/small.txt").split()[0] == "9dd4e461268c8034f5c8564e155c67a6"
    assert json.loads(rclone("size", "--json", f"s4:{bucket}"))["bytes"] == sum(map(len, files.values()))


def test_ranges(rclone: Rclone, bucket: str, tmp_path: Path) -> None:
    """`cat` with offset and count reads just that."""
    data = WORKLOADS["records"](20 * MIB)
    (tmp_path / "file").write_bytes(data)
    rclone("copy", "file", f"s4:{bucket}")
    for offset, count in ((0, 10), (MIB - 5, 10), (13 * MIB + 7, 100), (len(data) - 3, 3)):
        read = rclone("cat", f"s4:{bucket}/file", "--offset", str(offset), "--count", str(count), encoding="latin-1")
        assert read.encode("latin-1") == data[offset : offset + count]


def test_multipart_with_many_streams(rclone: Rclone, behind: Behind, bucket: str, tmp_path: Path) -> None:
    """A file above the cutoff goes up by parts in parallel, and the log in it is stored compressed."""
    data = WORKLOADS["log"](64 * MIB)
    (tmp_path / "log").write_bytes(data)
    rclone("copy", "log", f"s4:{bucket}", "--s3-upload-cutoff", "8M", "--s3-chunk-size", "8M")
    rclone("check", "--download", "log", f"s4:{bucket}")
    assert behind.size(bucket, "log") < len(data) / 4.5


def test_move_and_purge(rclone: Rclone, behind: Behind, bucket: str, tmp_path: Path) -> None:
    """Server-side moves keep content and time; `purge` of a folder leaves none of it."""
    make_tree(tmp_path / "tree")
    rclone("copy", "tree", f"s4:{bucket}/tree")
    rclone("moveto", f"s4:{bucket}/tree/dir", f"s4:{bucket}/moved")
    rclone("check", "tree/dir", f"s4:{bucket}/moved")
    rclone("purge", f"s4:{bucket}/moved")
    assert [key for key in behind.keys(bucket) if key.startswith("moved")] == []
