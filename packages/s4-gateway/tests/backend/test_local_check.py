"""What the check of an embedded store finds, what it mends, and what it leaves alone."""

import asyncio
import hashlib
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner
from s4_codecs import encode_object

from s4_gateway.backend.abc import BackendError, Pieces
from s4_gateway.backend.local import DirectoryLock
from s4_gateway.backend.local.check import Finding, Kind, Report, Weight, examine
from s4_gateway.backend.local.files import FileLayer
from s4_gateway.cli import main

from .local_helpers import LARGE, NOTHING, blobs, copy, fetch, opened, query, store, upload

PLAIN = b"a line of text that compresses well\n" * 10_000


async def fill(directory: Path) -> None:
    """A store with bodies of all kinds."""
    async with opened(directory) as backend:
        await store(backend, "small", b"a row")
        etag = await store(backend, "large", bytes(LARGE))
        await copy(backend, "large", etag, "copy")
        await upload(backend, "parts", [bytes([1]) * LARGE, b"a row", bytes([2]) * LARGE])
        await upload(backend, "one-part", [bytes([3]) * LARGE])
        upload_id = await backend.create_multipart("bucket", "open", headers=NOTHING, metadata=NOTHING)
        await backend.upload_part("bucket", "open", upload_id, 1, Pieces.of(bytes([4]) * LARGE))
        encoded = encode_object(PLAIN)
        await backend.put_object("bucket", "encoded", Pieces.of(encoded.body), headers=NOTHING, metadata=encoded.metadata)


def found(report: Report) -> dict[Kind, list[str]]:
    """Subjects by kind."""
    kinds: dict[Kind, list[str]] = {}
    for finding in report.findings:
        kinds.setdefault(finding.kind, []).append(finding.subject)
    return kinds


def state(directory: Path) -> dict[str, str]:
    """Every file and its digest."""
    return {
        str(path.relative_to(directory)): hashlib.md5(path.read_bytes()).hexdigest()
        for path in directory.rglob("*")
        if path.is_file() and path.name not in {"lock", "store.sqlite3-shm", "store.sqlite3-wal"}
    }


def blob_of(directory: Path, key: str) -> Path:
    """The file of an object's body."""
    ((body,),) = query(directory, f"SELECT body FROM objects WHERE key = CAST('{key}' AS BLOB)")
    return next(path for path in blobs(directory) if path.name == f"{body:016x}")


async def test_sound_store(tmp_path: Path) -> None:
    """Nothing is found in a store that stopped clean, nothing is changed, and every body was read."""
    await fill(tmp_path)
    before = state(tmp_path)
    report = examine(tmp_path)
    assert (list(report.findings), report.objects, report.read) == ([], 6, True)
    assert report.stored_bytes > 5 * LARGE
    assert state(tmp_path) == before


ROOT = Path(__file__).resolve().parents[2]
KILLED = """
import asyncio, os, pathlib, sys
sys.path.insert(0, sys.argv[2])
from tests.backend.local_helpers import *
from s4_gateway.backend.abc import Pieces

async def run():
    async with opened(pathlib.Path(sys.argv[1])) as backend:
        await upload(backend, "parts", [bytes(LARGE)] * 3)
        await store(backend, "key", bytes(LARGE))
        await backend.delete_objects("bucket", [("key", None), ("parts", None)])
        await store(backend, "kept", bytes(LARGE))
        backend._running._blobs.write(Pieces.of(bytes(LARGE)), lambda: False)
        os._exit(9)

asyncio.run(run())
"""


async def test_store_of_a_killed_run(tmp_path: Path) -> None:
    """What a killed run left is told and done, and all objects are there."""
    command = [sys.executable, "-c", KILLED, str(tmp_path / "store"), str(ROOT)]
    done = await asyncio.to_thread(subprocess.run, command, check=False)
    assert done.returncode == 9
    kinds = found(examine(tmp_path / "store"))
    assert set(kinds) <= {Kind.UNFINISHED, Kind.ORPHAN_FILE}
    assert "run 1" in kinds[Kind.UNFINISHED]
    assert len(kinds[Kind.ORPHAN_FILE]) == 1
    repaired = examine(tmp_path / "store", mend=True)
    assert all(finding.repaired for finding in repaired.findings)
    assert list(examine(tmp_path / "store").findings) == []
    assert len(blobs(tmp_path / "store")) == 1
    async with opened(tmp_path / "store") as backend:
        assert await fetch(backend, "kept") == bytes(LARGE)


def lose_file(directory: Path) -> None:
    """Of a body that two objects share."""
    blob_of(directory, "large").unlink()


def cut_file(directory: Path) -> None:
    """By a byte."""
    with blob_of(directory, "large").open("r+b") as file:
        file.truncate(LARGE - 1)


def spoil_file(directory: Path) -> None:
    """In one bit."""
    with blob_of(directory, "large").open("r+b") as file:
        file.seek(LARGE // 2)
        file.write(b"\x01")


def spoil_row(directory: Path) -> None:
    """Of a small body."""
    query(directory, "UPDATE bodies SET content = CAST('b row' AS BLOB) WHERE kind = 0 AND size = 5")


def lose_row(directory: Path) -> None:
    """Of a body."""
    query(directory, "DELETE FROM bodies WHERE id = (SELECT body FROM objects WHERE key = CAST('small' AS BLOB))")


def spoil_list(directory: Path) -> None:
    """By its last byte."""
    query(directory, "UPDATE bodies SET content = substr(content, 1, length(content) - 1) WHERE kind = 2")


def lie_about_the_plaintext(directory: Path) -> None:
    """In the metadata of an object whose bytes are as they were stored."""
    query(
        directory,
        'UPDATE objects SET metadata = replace(metadata, \'"s4-original-size": "\', \'"s4-original-size": "1\')'
        " WHERE key = CAST('encoded' AS BLOB)",
    )


def lose_bucket(directory: Path) -> None:
    """With objects in it."""
    query(directory, "DELETE FROM buckets")


@pytest.mark.parametrize(
    ("spoil", "kind", "subjects"),
    [
        (lose_file, Kind.FILE_MISSING, ["bucket/copy", "bucket/large"]),
        (cut_file, Kind.FILE_SIZE, ["bucket/copy", "bucket/large"]),
        (spoil_file, Kind.CONTENT, ["bucket/copy", "bucket/large"]),
        (spoil_row, Kind.CONTENT, ["bucket/parts", "bucket/small"]),
        (lose_row, Kind.BODY_MISSING, ["bucket/small"]),
        (lie_about_the_plaintext, Kind.UNDECODABLE, ["bucket/encoded"]),
    ],
)
async def test_damage_is_told_and_left(tmp_path: Path, spoil: Callable[[Path], None], kind: Kind, subjects: list[str]) -> None:
    """Damage is told by the names of the objects that it hits, and no repair touches it or anything else."""
    await fill(tmp_path)
    spoil(tmp_path)
    before = state(tmp_path)
    report = examine(tmp_path)
    assert found(report) == {kind: subjects}
    assert all(finding.meaning.weight is Weight.DAMAGE for finding in report.findings)
    assert found(examine(tmp_path, mend=True)) == {kind: subjects}
    assert state(tmp_path) == before


async def test_broken_list_stops_repairs(tmp_path: Path) -> None:
    """Where a list of parts cannot be read, nothing can be proven unreferenced: its parts stay."""
    await fill(tmp_path)
    spoil_list(tmp_path)
    files = blobs(tmp_path)
    report = examine(tmp_path, mend=True)
    assert set(found(report)) == {Kind.LIST}
    assert "bucket/parts" in found(report)[Kind.LIST]
    assert blobs(tmp_path) == files


async def test_lost_bucket(tmp_path: Path) -> None:
    """Objects of a bucket that is not there are told, and kept."""
    await fill(tmp_path)
    files = blobs(tmp_path)
    lose_bucket(tmp_path)
    assert "objects: large" in found(examine(tmp_path, mend=True))[Kind.UNREACHABLE]
    assert blobs(tmp_path) == files


async def test_disk_that_cannot_be_read(tmp_path: Path) -> None:
    """An I/O error is a finding of its own."""

    class Unreadable(FileLayer):
        """Fails to read."""

        def read(self, descriptor: int, size: int, offset: int) -> bytes:
            raise OSError(5, "Input/output error")

    await fill(tmp_path)
    report = examine(tmp_path, layer=Unreadable())
    assert sorted(found(report)[Kind.UNREADABLE])[:2] == ["bucket/copy", "bucket/large"]
    assert list(examine(tmp_path, layer=Unreadable(), read=False).findings) == []


async def test_leftovers_are_repaired(tmp_path: Path) -> None:
    """Wrong counts, bodies, files and parts that nobody has are told, put right, and no object is touched."""
    await fill(tmp_path)
    orphan = blob_of(tmp_path, "large").with_name(f"{(1 << 40) + 1000:016x}")
    orphan.write_bytes(b"cut off")
    query(tmp_path, "UPDATE bodies SET refs = 7 WHERE id = (SELECT body FROM objects WHERE key = CAST('large' AS BLOB))")
    query(tmp_path, "DELETE FROM objects WHERE key = CAST('one-part' AS BLOB)")
    query(tmp_path, "DELETE FROM uploads")
    kinds = found(examine(tmp_path))
    assert set(kinds) == {Kind.ORPHAN_FILE, Kind.REFERENCES, Kind.ORPHAN_BODY, Kind.ORPHAN_PART}
    assert kinds[Kind.ORPHAN_FILE] == [str(orphan)]
    repaired = examine(tmp_path, mend=True)
    assert all(finding.repaired for finding in repaired.findings)
    assert list(examine(tmp_path).findings) == []
    async with opened(tmp_path) as backend:
        assert await fetch(backend, "copy") == await fetch(backend, "large") == bytes(LARGE)
        await backend.delete_object("bucket", "large")
        assert await fetch(backend, "copy") == bytes(LARGE)
        assert len(await fetch(backend, "parts")) == 2 * LARGE + 5


async def test_what_is_only_told(tmp_path: Path) -> None:
    """Old uploads and files of others are notes, and stay."""
    await fill(tmp_path)
    stranger = blob_of(tmp_path, "large").parent / "cafe"
    stranger.write_text("not a blob")
    later = 1e12
    report = examine(tmp_path, mend=True, clock=lambda: later)
    assert found(report) == {Kind.STALE_UPLOAD: ["bucket/open"], Kind.STRANGER: [str(stranger)]}
    assert not report.open(Weight.DAMAGE)
    assert stranger.exists()


async def test_damaged_database(tmp_path: Path) -> None:
    """Pages that were overwritten are told by SQLite's own check; nothing is mended over them."""
    await fill(tmp_path)
    async with opened(tmp_path) as backend:
        for number in range(200):
            await store(backend, f"key-{number}", bytes(3000))
    database = tmp_path / "store.sqlite3"
    with database.open("r+b") as file:
        for page in range(20, 60):
            file.seek(page * 4096)
            file.write(b"\xaa" * 300)
    before = state(tmp_path)
    assert set(found(examine(tmp_path, mend=True))) == {Kind.DATABASE}
    assert state(tmp_path) == before


async def test_store_in_use(tmp_path: Path) -> None:
    """A store that a server uses is not examined, and a server is kept off while it is."""
    async with opened(tmp_path):
        with pytest.raises(BackendError, match="in use by another server"):
            examine(tmp_path)
    with pytest.raises(BackendError, match="no store in"):
        examine(tmp_path / "elsewhere")
    assert not (tmp_path / "elsewhere").exists()


async def test_store_of_another_version(tmp_path: Path) -> None:
    """A store whose tables are older or newer is not examined; the message says what to do."""
    await fill(tmp_path)
    query(tmp_path, "PRAGMA user_version = 1")
    with pytest.raises(BackendError, match="schema 1, not 2: start its server once"):
        examine(tmp_path)


def run(*arguments: str) -> tuple[int, str]:
    """Exit status and output of the command."""
    result = CliRunner().invoke(main, ["check", *arguments], env={"S4_DATA_DIR": ""})
    return result.exit_code, result.output


async def test_command(tmp_path: Path) -> None:
    """The command explains each finding and ends with the status that its help promises."""
    await fill(tmp_path)
    directory = str(tmp_path)
    status, output = run("--data-dir", directory)
    assert (status, output.splitlines()[-1]) == (0, "nothing is wrong")
    query(tmp_path, "UPDATE bodies SET refs = 7 WHERE kind = 2")
    status, output = run("--data-dir", directory)
    assert status == 3
    assert "leftover: body" in output
    assert "7, not 1" in output
    status, output = run("--data-dir", directory, "--repair", "--json")
    assert status == 0
    assert [finding["repaired"] for finding in json.loads(output)["findings"]] == [True]
    lose_file(tmp_path)
    status, output = run("--data-dir", directory, "--quick")
    assert status == 4
    assert "damage: bucket/large: the file of its body is gone" in output
    lock = DirectoryLock(tmp_path)
    lock.acquire()
    assert run("--data-dir", directory)[0] == 1
    lock.release()
    assert run()[0] == 2
    (tmp_path / "store.sqlite3").write_bytes(b"junk" * 5000)
    assert run("--data-dir", directory)[0] == 4


def test_every_finding_explains_itself() -> None:
    """Each kind has its meaning and an advice."""
    for kind in Kind:
        assert len(str(Finding(kind, "subject")).split()) > 5
