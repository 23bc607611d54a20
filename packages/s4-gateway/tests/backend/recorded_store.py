"""A store whose every write, name and sync is recorded while clients load it, and the ledger of what it acknowledged."""

import asyncio
import os
import random
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, nullcontext
from dataclasses import dataclass, field
from hashlib import md5
from pathlib import Path

from s4_gateway.backend.abc import BackendError, Buffer, Pieces
from s4_gateway.backend.local import LocalBackend
from s4_gateway.backend.local.files import FileLayer

from . import sqlite_recorder
from .disk_history import NEVER, DiskHistory, Node
from .local_helpers import NOTHING, copy, store, upload

SIZES = (0, 2_000, 40_000, 150_000)
TASKS, STEPS = 6, 10


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

    def open(self, path: str) -> int:
        descriptor = super().open(path)
        if self._history.exists(path):
            self._files[descriptor] = self._history.node(path), 0
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
        made = Claim(digest(body), self.history.tick())
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


def digest(body: bytes | None) -> str | None:
    """As the ledger keeps it; None = nothing is there."""
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
