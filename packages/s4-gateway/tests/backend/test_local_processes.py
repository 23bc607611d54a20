"""Several processes of one server on one store: they see each other's writes, and none takes away what another needs."""

import asyncio
import hashlib
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest

from s4_gateway.backend.abc import BackendError
from s4_gateway.backend.local import DirectoryLock, LocalBackend, peers

from .local_helpers import blobs, fetch, opened, query, store
from .local_server import Process, StoreServer, body_of

MIB = 2**20


@pytest.fixture
def server(tmp_path: Path) -> Iterator[StoreServer]:
    """Holds the lock of `tmp_path / "store"`."""
    with StoreServer(tmp_path / "store") as server:
        yield server


@pytest.fixture
def pair(server: StoreServer) -> tuple[Process, Process]:
    """Two of its processes; the bucket is there."""
    one, two = server.fork(), server.fork()
    one.call("create_bucket", bucket="bucket")
    return one, two


def digest(seed: int, size: int) -> str:
    """MD5 of a body, in hexadecimal."""
    return hashlib.md5(body_of(seed, size)).hexdigest()


def become(directory: Path, left: int) -> None:
    """Wait until that many files of bodies are there."""
    deadline = time.monotonic() + 10
    while len(blobs(directory)) != left:
        assert time.monotonic() < deadline, f"{len(blobs(directory))} files, not {left}"
        time.sleep(0.02)


@pytest.mark.parametrize("size", [0, 4096, 100_000, 3 * MIB])
def test_each_sees_what_the_other_wrote(pair: tuple[Process, Process], size: int) -> None:
    """A write is seen by all processes when it is acknowledged: new, replaced, deleted and listed."""
    one, two = pair
    for seed, (writer, reader) in enumerate([(one, two), (two, one), (one, two)]):
        assert writer.call("put", key="key", seed=seed, size=size) == digest(seed, size)
        assert reader.call("get", key="key") == digest(seed, size)
        assert reader.call("keys") == ["key"]
    two.call("delete", key="key")
    assert one.call("get", key="key")["code"] == "NoSuchKey"
    assert one.call("keys") == []


def test_buckets_are_common(pair: tuple[Process, Process]) -> None:
    """A bucket is made once, kept by objects of any process, and gone for all."""
    one, two = pair
    assert two.call("create_bucket", bucket="bucket")["code"] == "BucketAlreadyOwnedByYou"
    two.call("put", key="key", seed=1, size=10)
    assert one.call("delete_bucket", bucket="bucket")["code"] == "BucketNotEmpty"
    two.call("delete", key="key")
    one.call("delete_bucket", bucket="bucket")
    assert two.call("buckets") == []
    assert two.call("put", key="key", seed=1, size=10)["code"] == "NoSuchBucket"


def test_conditions_hold_between_processes(pair: tuple[Process, Process]) -> None:
    """Of writers that want a key to be new, one wins."""
    for number in range(20):
        for seed, process in enumerate(pair):
            for _ in range(3):
                process.send("put", key=f"key-{number}", seed=seed, size=40_000 * (number % 2), absent=True)
        answers = [process.receive() for process in pair for _ in range(3)]
        assert sum(isinstance(answer, str) for answer in answers) == 1
        refusals = [answer["code"] for answer in answers if isinstance(answer, dict)]
        assert refusals == ["PreconditionFailed"] * 5


def test_reader_keeps_its_body(pair: tuple[Process, Process], tmp_path: Path) -> None:
    """What one process reads stays, whole, when another deletes it, and goes when the reader has left."""
    one, two = pair
    parts = [(seed, 2 * MIB) for seed in range(3)]
    one.call("upload", key="parts", parts=parts)
    one.call("put", key="whole", seed=9, size=3 * MIB)
    for key in ("parts", "whole"):
        two.call("open", key=key)
        one.call("delete", key=key)
    one.call("put", key="other", seed=1, size=1)
    become(tmp_path / "store", left=3)  # The file of `whole` is unlinked, but open.
    assert two.call("rest", key="whole") == digest(9, 3 * MIB)
    assert two.call("rest", key="parts") == hashlib.md5(b"".join(body_of(*part) for part in parts)).hexdigest()
    become(tmp_path / "store", left=0)


def test_reader_that_is_killed_keeps_nothing(pair: tuple[Process, Process], tmp_path: Path) -> None:
    """The hold of a process on a body ends with the process."""
    one, two = pair
    one.call("upload", key="parts", parts=[(seed, 2 * MIB) for seed in range(3)])
    two.call("open", key="parts")
    one.call("delete", key="parts")
    two.kill()
    become(tmp_path / "store", left=0)


def test_new_process_sweeps_the_dead_one_alone(server: StoreServer, pair: tuple[Process, Process], tmp_path: Path) -> None:
    """What a killed process left half-written goes with the next start; what a living one is writing stays, and is acknowledged."""
    one, two = pair
    one.call("put", key="kept", seed=5, size=MIB)
    for process in pair:
        process.send("put_slowly", key="slow", seed=7, size=4 * MIB)
    become(tmp_path / "store", left=3)
    one.kill()
    three = server.fork()
    become(tmp_path / "store", left=2)
    three.call("put", key="other", seed=1, size=MIB)
    two.call("go_on")
    assert two.receive() == digest(7, 4 * MIB)
    assert three.call("get", key="slow") == digest(7, 4 * MIB)
    assert three.call("get", key="kept") == digest(5, MIB)
    become(tmp_path / "store", left=3)


def test_emptied_directory_is_made_again(pair: tuple[Process, Process], tmp_path: Path) -> None:
    """A process whose files another one removed, with their directory, writes on."""
    one, two = pair
    for seed in range(20):
        one.call("put", key="key", seed=seed, size=50_000)
        two.call("delete", key="key")
        become(tmp_path / "store", left=0)
        for above, _, files in os.walk(tmp_path / "store" / "blobs", topdown=False):
            if not files:
                with suppress(OSError):  # The process that removed the file may be at it, too.
                    Path(above).rmdir()
    one.call("put", key="key", seed=99, size=50_000)
    assert two.call("get", key="key") == digest(99, 50_000)


def test_removals_of_a_killed_process_are_done(server: StoreServer, pair: tuple[Process, Process], tmp_path: Path) -> None:
    """A file whose removal was decided and not done goes with the next start, also when a process that lives has written it."""
    one, two = pair
    one.call("put", key="key", seed=1, size=MIB)
    (blob,) = blobs(tmp_path / "store")
    kept = tmp_path / "kept"
    kept.hardlink_to(blob)
    two.call("delete", key="key")
    become(tmp_path / "store", left=0)
    two.kill()
    blob.parent.mkdir(parents=True, exist_ok=True)
    kept.rename(blob)  # As if the process had been killed before it came to this.
    assert query(tmp_path / "store", "SELECT count(*) FROM removals") == [(1,)]
    server.fork()
    become(tmp_path / "store", left=0)
    deadline = time.monotonic() + 10
    while query(tmp_path / "store", "SELECT * FROM removals"):
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_churn(pair: tuple[Process, Process], tmp_path: Path) -> None:
    """Processes that overwrite, delete and read the same keys at once read whole bodies, fail nowhere, and leave no file too many."""
    for seed, process in enumerate(pair * 2):
        process.send("churn", seed=seed, writes=60)
    answers = [process.receive() for process in pair * 2]
    assert all(writes == 60 and read > 20 for writes, read in answers)
    for number in range(4):
        pair[0].call("delete", key=f"churn-{number}")
    become(tmp_path / "store", left=0)
    with ExitStack() as closing:
        for process in pair:
            closing.callback(process.close)
    assert query(tmp_path / "store", "SELECT * FROM bodies") == query(tmp_path / "store", "SELECT * FROM trash") == []


def test_clean_stops_leave_nothing_to_sweep(server: StoreServer, pair: tuple[Process, Process], tmp_path: Path) -> None:
    """A process that stops takes its own run out of the database and no other."""
    one, two = pair
    two.call("put", key="key", seed=1, size=MIB)
    one.call("put", key="key", seed=2, size=MIB)
    assert len(query(tmp_path / "store", "SELECT * FROM epochs")) == 2
    one.close()
    assert len(query(tmp_path / "store", "SELECT * FROM epochs")) == 1
    two.close()
    assert query(tmp_path / "store", "SELECT * FROM epochs UNION ALL SELECT id FROM removals") == []


async def test_other_server_is_refused(server: StoreServer, pair: tuple[Process, Process], tmp_path: Path) -> None:
    """Another server is refused as long as one process of the first one lives, with the number of the one that took the lock."""
    backend = LocalBackend(tmp_path / "store")
    one, two = pair
    one.close()
    server.parent.kill()
    server.parent.wait()
    with pytest.raises(BackendError, match=f"in use by another server .process {server.parent.pid}"):
        await backend.start()
    assert two.call("put", key="key", seed=1, size=10) == digest(1, 10)
    two.kill()
    for attempt in range(100):  # The end of a process is seen a little before its files are closed.
        try:
            await backend.start()
            break
        except BackendError:
            assert attempt < 99
            await asyncio.sleep(0.05)
    assert (await backend.head_object("bucket", "key")).etag == digest(1, 10)
    await backend.close()


def test_busy_process_lets_others_write(pair: tuple[Process, Process]) -> None:
    """A process that writes without pause does not keep another one waiting."""
    one, two = pair
    for number in range(300):
        one.send("put", key=f"busy-{number}", seed=number, size=20_000)
    longest = 0.0
    for number in range(5):
        begun = time.monotonic()
        two.call("put", key=f"single-{number}", seed=number, size=10)
        longest = max(longest, time.monotonic() - begun)
    for _ in range(300):
        one.receive()
    assert longest < 2.0


async def test_stuck_process_is_not_waited_for_without_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where another process stops in the middle of its turn, writes are refused after a time, and go on when it does."""
    monkeypatch.setattr(peers, "_WAIT_SECONDS", 0.2)
    code = (
        "import fcntl, sys\n"
        "file = open(sys.argv[1], 'r+b')\n"
        f"fcntl.lockf(file, fcntl.LOCK_EX, 1, {peers._WRITING})\n"
        "print(flush=True)\n"
        "input()\n"
    )
    async with opened(tmp_path) as backend:
        command = [sys.executable, "-c", code, str(tmp_path / peers.FILE_NAME)]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:  # noqa: ASYNC220 - short
            assert holder.stdout is not None
            holder.stdout.readline()
            outcomes = await asyncio.gather(*(store(backend, f"key-{number}", b"body") for number in range(20)), return_exceptions=True)
            assert {str(outcome) for outcome in outcomes} == {
                "ServiceUnavailable: the database is locked by another process of this server"
            }
            holder.communicate(b"\n")
        await store(backend, "key", b"body")
        assert await fetch(backend, "key") == b"body"


async def test_one_store_a_process(tmp_path: Path) -> None:
    """A process cannot open a store twice, also with one lock for both: its locks on single bytes do not keep itself out."""
    lock = DirectoryLock(tmp_path)
    with pytest.raises(BackendError, match="without being held"):
        await LocalBackend(tmp_path, lock=lock).start()
    lock.acquire()
    one, two = LocalBackend(tmp_path, lock=lock), LocalBackend(tmp_path, lock=lock)
    await one.start()
    with pytest.raises(BackendError, match="open in this process already"):
        await two.start()
    await one.close()
    await two.start()
    await two.close()
    lock.release()
