"""A power cut at any moment: the store opens on whatever the disk kept, and has all that was acknowledged, byte for byte."""

import asyncio
import errno
import os
import random
import shutil
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, nullcontext
from dataclasses import dataclass, field
from hashlib import md5
from pathlib import Path

import pytest

from s4_gateway.backend.abc import BackendError, Buffer, Pieces
from s4_gateway.backend.local import LocalBackend, schema, transaction, writer
from s4_gateway.backend.local.blobs import BlobFiles
from s4_gateway.backend.local.bodies import file_name, group_directory
from s4_gateway.backend.local.files import FileLayer
from s4_gateway.testing.crash import disagreement

from . import sqlite_recorder
from .disk_history import NEVER, Change, DiskHistory, Keep, Naming, Node, everything, nothing
from .local_helpers import NOTHING, copy, store, upload

SIZES = (0, 2_000, 40_000, 150_000)
TASKS, STEPS = 6, 10
FAILURE_RATE = 0.05
CUTS_AFTER_FAILURES = 150
UNRECORDED = {"lock", "peers", "store.sqlite3-shm"}
"""Made anew by each start."""
SETTLE_SECONDS = 5.0


class RecordingLayer(FileLayer):
    """The real file layer, with a history."""

    def __init__(self, history: DiskHistory) -> None:
        self._history = history
        self._files: dict[int, tuple[Node, int]] = {}
        self.forgetful: set[str] = set()
        """Methods that do nothing and claim to have done it."""
        self.failure: Callable[[str], int] = lambda _: 0
        """Name of a method to the errno that it fails with, or 0."""

    def _sync(self, node: Node, method: str, sync: Callable[[], None]) -> None:
        if method in self.forgetful:
            return
        if code := self.failure(method):
            self._history.sync_failed(node)
            raise OSError(code, os.strerror(code))
        begun = self._history.tick()
        sync()
        self._history.synced(node, begun)

    def make_directory(self, path: str) -> None:
        if self._history.covers(path) and not self._history.exists(path):
            with self._history.naming(path, Node(is_directory=True)):
                super().make_directory(path)

    def remove_directory(self, path: str) -> None:
        with self._history.naming(path, None) if self._history.exists(path) else nullcontext():
            super().remove_directory(path)

    def create(self, path: str) -> int:
        if not self._history.exists(path.rpartition("/")[0]):
            return super().create(path)
        node = Node(is_directory=False)
        with self._history.naming(path, node):
            descriptor = super().create(path)
        self._files[descriptor] = node, 0
        return descriptor

    def write(self, descriptor: int, pieces: Sequence[Buffer]) -> None:
        if code := self.failure("write"):
            raise OSError(code, os.strerror(code))
        node, offset = self._files[descriptor]
        data = b"".join(pieces)
        with self._history.writing(node, offset, data):
            super().write(descriptor, pieces)
        self._files[descriptor] = node, offset + len(data)

    def sync(self, descriptor: int) -> None:
        if descriptor in self._files:
            self._sync(self._files[descriptor][0], "sync", lambda: super(RecordingLayer, self).sync(descriptor))
        else:
            super().sync(descriptor)

    def sync_directory(self, path: str) -> None:
        if self._history.exists(path):
            self._sync(self._history.node(path), "sync_directory", lambda: super(RecordingLayer, self).sync_directory(path))
        else:
            super().sync_directory(path)

    def close(self, descriptor: int) -> None:
        self._files.pop(descriptor, None)
        super().close(descriptor)

    def unlink(self, path: str) -> None:
        if self._history.exists(path):
            with self._history.naming(path, None):
                super().unlink(path)


@dataclass(slots=True)
class Claim:
    """A change that was asked for at one moment and acknowledged at a later one."""

    value: str | None
    """Digest of the body; None = nothing is there."""
    begun: int
    acknowledged: int = NEVER


@dataclass(frozen=True, slots=True)
class Parts:
    """An open upload whose parts are acknowledged."""

    key: str
    upload_id: str
    parts: Sequence[tuple[int, str]]
    body: bytes
    acknowledged: int


@dataclass(slots=True)
class Ledger:
    """What the store was asked and what it acknowledged; each name has one client, who waits for his answers."""

    history: DiskHistory
    claims: defaultdict[str, list[Claim]] = field(default_factory=lambda: defaultdict(list))
    uploads: list[Parts] = field(default_factory=list)

    @asynccontextmanager
    async def claim(self, name: str, body: bytes | None) -> AsyncIterator[None]:
        """Around the change."""
        made = Claim(_digest(body), self.history.tick())
        self.claims[name].append(made)
        yield
        made.acknowledged = self.history.tick()

    def allowed(self, moment: int) -> dict[str, set[str | None]]:
        """What may be at each name after a cut at that moment: the last that was acknowledged, or the one that was under way."""
        found = {}
        for name, claims in self.claims.items():
            values: list[str | None] = [None]
            for claim in claims:
                if claim.acknowledged < moment:
                    values = [claim.value]
                elif claim.begun < moment:
                    values.append(claim.value)
            found[name] = set(values)
        return found


def _digest(body: bytes | None) -> str | None:
    return None if body is None else md5(body).hexdigest()


class Load:
    """Writes of all kinds from several clients at once, with keys of their own; `tolerant` ones go on after refusals."""

    def __init__(self, backend: LocalBackend, ledger: Ledger, *, tolerant: bool) -> None:
        self._backend = backend
        self._ledger = ledger
        self._tolerant = tolerant
        self._bodies: dict[str, bytes] = {}

    async def run(self, seed: int) -> None:
        """All clients, each with an upload at its end that stays open."""
        async with asyncio.TaskGroup() as clients:
            for number in range(TASKS):
                clients.create_task(self._client(f"client-{number}", random.Random(f"{seed} {number}")))

    async def _client(self, name: str, choice: random.Random) -> None:
        for step in range(STEPS):
            key = f"{name}/{choice.randrange(3)}"
            body = choice.randbytes(choice.choice(SIZES))
            try:
                await self._act(choice, key, body)
                if step == STEPS // 2:
                    await self._begin_upload(f"{name}/upload", [body, b"tail"])
            except BackendError:
                if not self._tolerant:
                    raise
                self._bodies.pop(key, None)  # Nobody knows what is there now.

    async def _act(self, choice: random.Random, key: str, body: bytes) -> None:
        sources = [path for path in self._bodies if path.rpartition("/")[0] == key.rpartition("/")[0]]
        match choice.choice(("put", "put", "delete", "parts", "copy")):
            case "delete":
                async with self._ledger.claim(key, None):
                    await self._backend.delete_object("bucket", key)
                self._bodies.pop(key, None)
                return
            case "copy" if sources:
                source = choice.choice(sources)
                body = self._bodies[source]
                async with self._ledger.claim(key, body):
                    await copy(self._backend, source, (await self._backend.head_object("bucket", source)).etag, key)
            case "parts":
                parts = [body, choice.randbytes(50_000), choice.randbytes(100)]
                body = b"".join(parts)
                async with self._ledger.claim(key, body):
                    await upload(self._backend, key, parts)
            case _:
                async with self._ledger.claim(key, body):
                    await store(self._backend, key, body)
        self._bodies[key] = body

    async def _begin_upload(self, key: str, parts: Sequence[bytes]) -> None:
        """Parts that are acknowledged and not completed."""
        upload_id = await self._backend.create_multipart("bucket", key, headers=NOTHING, metadata=NOTHING)
        etags = [
            (number, await self._backend.upload_part("bucket", key, upload_id, number, Pieces.of(part)))
            for number, part in enumerate(parts, start=1)
        ]
        self._ledger.uploads.append(Parts(key, upload_id, etags, b"".join(parts), self._ledger.history.tick()))


async def record(directory: Path, layer: RecordingLayer, ledger: Ledger, *, seed: int, fail: Callable[[bool], None] | None = None) -> None:
    """Two runs of a store, the second of which finds what the first one left; `fail` turns failures on and off."""
    for run in range(2):
        backend = LocalBackend(directory, layer=layer)
        await backend.start()
        if run == 0:
            async with ledger.claim("bucket", b""):
                await backend.create_bucket("bucket")
        if fail is not None:
            fail(True)
        await Load(backend, ledger, tolerant=fail is not None).run(seed + run)
        await backend.close()
        if fail is not None:
            fail(False)


@dataclass(slots=True)
class Recording:
    """A history with its ledger."""

    history: DiskHistory
    ledger: Ledger
    directory: Path
    layer: RecordingLayer
    below_sqlite: sqlite_recorder.Tampering


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


async def examine(recording: Recording, scratch: Path, moment: int, keep: Keep) -> list[str]:
    """What is wrong with the store that a power cut leaves; nothing if all is well."""
    disk = _restored(scratch, recording.history.content(moment, keep))
    backend = LocalBackend(disk / recording.directory.name)
    try:
        await backend.start()
    except BackendError as error:
        return [f"cut at {moment}: {error}"]
    try:
        faults = await _differences(backend, recording.ledger, moment)
        deadline = time.monotonic() + SETTLE_SECONDS
        while not faults and (fault := disagreement(disk / recording.directory.name)):
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
        found["bucket"] = _digest(b"")
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
            if await _digest_of(backend, opened.key) != _digest(opened.body):
                faults.append(f"the upload of {opened.key} is completed with other bytes")
    return faults


async def _digest_of(backend: LocalBackend, key: str) -> str | None:
    try:
        return _digest(await (await backend.get_object("bucket", key)).read())
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
    assert failures["store.sqlite3-wal"] > 3
    assert failures[action] > 0
    moments = points(recording.history, recording.ledger)
    chosen = random.Random(seed).choices(moments, k=CUTS_AFTER_FAILURES)
    faults: list[str] = []
    for number, moment in enumerate([*chosen, moments[-1]]):
        faults += await examine(recording, scratch, moment, whims(seed + number) if number % 2 else nothing)
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
