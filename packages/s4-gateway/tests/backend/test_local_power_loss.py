"""A power cut at any moment: the store opens on whatever the disk kept, and has all that was acknowledged, byte for byte."""

import asyncio
import errno
import os
import random
import shutil
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from s4_gateway.backend.abc import BackendError
from s4_gateway.backend.local import LocalBackend, schema, transaction, writer
from s4_gateway.backend.local.blobs import BlobFiles
from s4_gateway.backend.local.bodies import file_name, group_directory
from s4_gateway.testing.crash import disagreement

from . import sqlite_recorder
from .disk_history import Change, DiskHistory, Keep, Naming, everything, nothing
from .recorded_store import Ledger, Recording, RecordingLayer, digest, record

FAILURE_RATE = 0.1
CUTS_AFTER_FAILURES = 150
UNRECORDED = {"lock", "peers", "store.sqlite3-shm"}
"""Made anew by each start."""
SETTLE_SECONDS = 5.0


@pytest.fixture
def recording(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Recording]:
    """An empty one; databases opened meanwhile are recorded. The log is copied and begun anew every few transactions."""
    found = sqlite_recorder.library()
    if found is None:
        pytest.skip("the functions of SQLite cannot be reached in this build of Python")
    monkeypatch.setattr(writer, "CHECKPOINT_PAGES", 60)
    (tmp_path / "disk").mkdir()
    history = DiskHistory(tmp_path / "disk")
    tampering = sqlite_recorder.Tampering()
    with sqlite_recorder.recording(found, history, tampering):
        yield Recording(history, Ledger(history), tmp_path / "disk" / "store", RecordingLayer(history), tampering)


@pytest.fixture
def scratch(tmp_path: Path) -> Iterator[Path]:
    """Where states of the disk are put: in memory where that is possible, because nothing here needs to last."""
    memory = Path("/dev/shm")
    made = Path(tempfile.mkdtemp(prefix="s4-power-loss-", dir=memory if os.access(memory, os.W_OK) else tmp_path))
    yield made
    shutil.rmtree(made)


def _restored(scratch: Path, contents: dict[str, bytes | None]) -> Path:
    disk = Path(tempfile.mkdtemp(dir=scratch))
    for path, content in contents.items():
        if content is None:
            (disk / path).mkdir()
        else:
            (disk / path).write_bytes(content)
    return disk


async def examine(recording: Recording, scratch: Path, moment: int, keep: Keep, *, tidy: bool = True) -> list[str]:
    """What is wrong with the store that a power cut leaves; nothing if all is well. `tidy`: no file may be left over for good."""
    disk = _restored(scratch, recording.history.content(moment, keep))
    backend = LocalBackend(disk / recording.directory.name)
    try:
        await backend.start()
    except BackendError as error:
        return [f"cut at {moment}: {error}"]
    try:
        faults = await _differences(backend, recording.ledger, moment)
        deadline = time.monotonic() + SETTLE_SECONDS
        while tidy and not faults and (fault := disagreement(disk / recording.directory.name)):
            if time.monotonic() > deadline:
                faults.append(fault)
            await asyncio.sleep(0.01)
    finally:
        await backend.close()
    shutil.rmtree(disk)
    return [f"cut at {moment}: {fault}" for fault in faults]


async def _differences(backend: LocalBackend, ledger: Ledger, moment: int) -> list[str]:
    """Where the store is not as it may be."""
    allowed = ledger.allowed(moment)
    found: dict[str, str | None] = dict.fromkeys(allowed)
    if "bucket" in {bucket.name for bucket in await backend.list_buckets()}:
        found["bucket"] = digest(b"")
        for entry in (await backend.list_objects("bucket")).entries:
            found[entry.key] = await _digest_of(backend, entry.key)
    faults = [f"{name} holds {found[name]}, not {allowed.get(name)}" for name in found if found[name] not in allowed.get(name, {None})]
    for opened in ledger.uploads:
        if opened.acknowledged < moment:
            try:
                await backend.complete_multipart("bucket", opened.key, opened.upload_id, opened.parts)
            except BackendError as error:
                faults.append(f"the upload of {opened.key} cannot be completed: {error}")
                continue
            if await _digest_of(backend, opened.key) != digest(opened.body):
                faults.append(f"the upload of {opened.key} is completed with other bytes")
    return faults


async def _digest_of(backend: LocalBackend, key: str) -> str | None:
    try:
        return digest(await (await backend.get_object("bucket", key)).read())
    except BackendError as error:
        return str(error)


def points(history: DiskHistory, ledger: Ledger) -> list[int]:
    """Moments, one of each kind: between two of them what is on the disk for sure and what was acknowledged are the same."""
    turns = {claim.acknowledged for claims in ledger.claims.values() for claim in claims}
    turns |= {opened.acknowledged for opened in ledger.uploads} | history.syncs
    return [moment for moment in range(1, history.moment + 2) if moment in turns or moment == history.moment + 1]


def whims(seed: int) -> Keep:
    """A disk that keeps some of what was not synced, with a leaning of its own."""
    choice = random.Random(seed)
    leaning = choice.random()

    def keep(change: Change) -> float:
        if choice.random() < leaning:
            return 1.0
        return choice.random() if choice.random() < 0.3 else 0.0

    return keep


def names(change: Change) -> float:
    """A disk that keeps every name and of bytes only what was synced."""
    return float(isinstance(change, Naming))


def bytes_(change: Change) -> float:
    """A disk that keeps all bytes and of names only what was synced."""
    return 1.0 - names(change)


DISKS: dict[str, Keep] = {"nothing": nothing, "names": names, "bytes": bytes_}


async def test_the_record_is_complete(recording: Recording, tmp_path: Path) -> None:
    """What the history says the program sees is what is in the directory, byte for byte: nothing went past the recorder."""
    await record(recording.directory, recording.layer, recording.ledger, seed=1)
    seen = {
        str(path.relative_to(tmp_path / "disk")): None if path.is_dir() else path.read_bytes()
        for path in (tmp_path / "disk").rglob("*")
        if path.name not in UNRECORDED
    }
    assert recording.history.content(recording.history.moment + 1, everything) == seen
    assert len(seen) > 10


@pytest.mark.timeout(900)
@pytest.mark.parametrize("keep", ["nothing", "names", "bytes", "whims"])
async def test_power_cut_at_any_moment(recording: Recording, scratch: Path, keep: str, pytestconfig: pytest.Config) -> None:
    """At every moment the store opens and has all that was acknowledged, and the next start clears the rest away.

    So it is on a disk that keeps only what was synced, on one that keeps all names and no bytes that were not, on one that keeps all bytes
    and no names, and on disks that keep what they like.
    """
    seed = random.randrange(2**32)
    await record(recording.directory, recording.layer, recording.ledger, seed=seed)
    moments = points(recording.history, recording.ledger)
    assert len(moments) > 100
    chosen = moments
    if keep != "nothing":
        chosen = random.Random(seed).choices(moments, k=pytestconfig.getoption("--power-cuts", default=100))
    faults: list[str] = []
    for number, moment in enumerate(chosen):
        faults += await examine(recording, scratch, moment, DISKS.get(keep) or whims(seed + number))
    assert faults == [], f"seed {seed}"


@pytest.mark.timeout(900)
@pytest.mark.parametrize("action", ["sync", "write"])
async def test_power_cut_after_failures(recording: Recording, scratch: Path, action: str) -> None:
    """Syncs, or writes, that fail now and then, of files, directories, log and database, are refused to the clients that depend on them.

    No later sync makes good what a failed one lost: after a power cut at any moment everything acknowledged is there all the same.
    A file whose removal was lost with a sync may be left over; `check` finds it.
    """
    seed = random.randrange(2**32)
    choice = random.Random(seed)
    failures: Counter[str] = Counter()

    def fails(what: str, code: int) -> int:
        if choice.random() >= FAILURE_RATE:
            return 0
        failures[what] += 1
        return code

    def turn(on: bool) -> None:
        layer, below = recording.layer, recording.below_sqlite
        layer.failure = (lambda method: fails(method, errno.EIO) if method.startswith(action) else 0) if on else (lambda _: 0)
        code = sqlite_recorder.IOERR_FSYNC if action == "sync" else sqlite_recorder.FULL
        below.failure = (lambda name, what: fails(name, code) if what == action else 0) if on else (lambda _name, _what: 0)

    await record(recording.directory, recording.layer, recording.ledger, seed=seed, fail=turn)
    assert failures["store.sqlite3-wal"] > 0
    assert failures[action] > 0
    moments = points(recording.history, recording.ledger)
    chosen = random.Random(seed).choices(moments, k=CUTS_AFTER_FAILURES)
    faults: list[str] = []
    for number, moment in enumerate([*chosen, moments[-1]]):
        faults += await examine(recording, scratch, moment, whims(seed + number) if number % 2 else nothing, tidy=False)
    assert faults == [], f"seed {seed}"


def _forget_sync(recording: Recording, _: pytest.MonkeyPatch) -> None:
    recording.layer.forgetful.add("sync")


def _forget_directories(recording: Recording, _: pytest.MonkeyPatch) -> None:
    recording.layer.forgetful.add("sync_directory")


def _commit_without_sync(_: Recording, monkeypatch: pytest.MonkeyPatch) -> None:
    changed = tuple(pragma.replace("synchronous = FULL", "synchronous = NORMAL") for pragma in schema._WRITER_PRAGMAS)
    assert changed != schema._WRITER_PRAGMAS
    monkeypatch.setattr(schema, "_WRITER_PRAGMAS", changed)


def _forget_log(recording: Recording, _: pytest.MonkeyPatch) -> None:
    recording.below_sqlite.spared.add("store.sqlite3-wal")


def _forget_database(recording: Recording, _: pytest.MonkeyPatch) -> None:
    recording.below_sqlite.spared.add("store.sqlite3")


def _unlink_before_the_commit(recording: Recording, monkeypatch: pytest.MonkeyPatch) -> None:
    release = transaction.Transaction._release

    def release_and_unlink(self: transaction.Transaction, body: int) -> None:
        release(self, body)
        for dropped in self.dropped_files:
            recording.layer.unlink(str(recording.directory / "blobs" / group_directory(dropped) / file_name(dropped)))

    monkeypatch.setattr(transaction.Transaction, "_release", release_and_unlink)


@pytest.mark.parametrize(
    "spoil", [_forget_sync, _forget_directories, _forget_log, _forget_database, _commit_without_sync, _unlink_before_the_commit]
)
async def test_a_store_that_spares_a_step_is_caught(
    recording: Recording, scratch: Path, monkeypatch: pytest.MonkeyPatch, spoil: Callable[[Recording, pytest.MonkeyPatch], None]
) -> None:
    """Each sync that is left out, and a file that goes too early, shows as a loss at some moment on one of the disks."""
    spoil(recording, monkeypatch)
    await record(recording.directory, recording.layer, recording.ledger, seed=7)
    moments = points(recording.history, recording.ledger)
    monkeypatch.undo()
    for moment in random.Random(7).sample(moments, len(moments)):
        for keep in DISKS.values():
            if await examine(recording, scratch, moment, keep):
                return
    pytest.fail("no power cut lost anything")


async def test_a_store_that_repeats_a_failed_sync_is_caught(recording: Recording, scratch: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A second sync of a directory that succeeds, and is believed, loses names that the first one has lost."""

    def sync_twice(self: BlobFiles, directory: str) -> None:
        try:
            self._layer.sync_directory(directory)
        except OSError:
            self._layer.sync_directory(directory)

    choice = random.Random(3)

    def turn(on: bool) -> None:
        recording.layer.failure = lambda method: errno.EIO if on and method == "sync_directory" and choice.random() < 0.2 else 0

    monkeypatch.setattr(BlobFiles, "sync_names", sync_twice)
    await record(recording.directory, recording.layer, recording.ledger, seed=3, fail=turn)
    monkeypatch.undo()
    moments = points(recording.history, recording.ledger)
    for moment in random.Random(3).sample(moments, len(moments)):
        if await examine(recording, scratch, moment, nothing):
            return
    pytest.fail("no power cut lost anything")
