"""A disk that is really full: a small file system in memory, where this user may mount one."""

import asyncio
import os
import subprocess
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from s4_gateway.backend.abc import BackendError, Outcome
from s4_gateway.backend.local import LocalBackend
from s4_gateway.backend.local.check import examine
from s4_gateway.backend.local.files import FileLayer
from s4_gateway.backend.local.headroom import HEADROOM

from .local_helpers import LARGE, fetch, opened, store

MIB = 1 << 20
DISK, BALLAST = 100 * MIB, 65 * MIB
"""A quarter of the disk is headroom: some 10 MiB are left to be filled."""


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of its own, most of which something else takes."""
    place = tmp_path / "disk"
    place.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={DISK}", "none", str(place)]
    if subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("this user may not mount a file system")
    try:
        with (place / "ballast").open("wb") as file:
            os.posix_fallocate(file.fileno(), 0, BALLAST)
        yield place
    finally:
        subprocess.run(["umount", "-l", str(place)], check=True)


async def filled(backend: LocalBackend, size: int) -> tuple[dict[str, bytes], BackendError]:
    """Store bodies until the disk is full: what was acknowledged, and the first refusal."""
    bodies: dict[str, bytes] = {}
    for turn in range(1000):
        batch = {f"{size}-{turn}-{number}": os.urandom(size) for number in range(40)}
        outcomes = await asyncio.gather(*(store(backend, key, body) for key, body in batch.items()), return_exceptions=True)
        refusals = [outcome for outcome in outcomes if isinstance(outcome, BackendError)]
        bodies |= {key: body for (key, body), outcome in zip(batch.items(), outcomes, strict=True) if isinstance(outcome, str)}
        if refusals:
            return bodies, refusals[0]
    raise AssertionError("the disk is never full")


@pytest.mark.parametrize("size", [20_000, LARGE])
async def test_disk_that_the_store_filled(disk: Path, size: int) -> None:
    """Writes are refused in good time: reads, deletes and a restart go on, and what deletes free is used again."""
    async with opened(disk / "store") as backend:
        bodies, refusal = await filled(backend, size)
        assert (refusal.status, refusal.outcome) == (503, Outcome.REFUSED)
        assert "the disk is full" in str(refusal)
    async with opened(disk / "store") as backend:
        keys = list(bodies)
        assert [await fetch(backend, key) for key in keys[:10]] == [bodies[key] for key in keys[:10]]
        await backend.delete_objects("bucket", [(key, None) for key in keys[: len(keys) // 2]])
        (disk / "ballast").unlink()
        await store(backend, "new", bytes(size))
        assert await fetch(backend, keys[-1]) == bodies[keys[-1]]
    assert list(examine(disk / "store").findings) == []


@pytest.mark.parametrize("size", [20_000, LARGE])
async def test_disk_that_others_fill(disk: Path, size: int) -> None:
    """When the last byte is taken by somebody else, writes are refused, nothing acknowledged is lost, and room that comes back is used."""
    async with opened(disk / "store") as backend:
        bodies = {f"before-{number}": os.urandom(size) for number in range(20)}
        for key, body in bodies.items():
            await store(backend, key, body)
        fill(disk / "filler")
        for key in ("before-0", "new"):
            with pytest.raises(BackendError, match="the disk is full"):
                await store(backend, key, bytes(size))
        assert {key: await fetch(backend, key) for key in bodies} == bodies
        (disk / "filler").unlink()
        await store(backend, "new", bytes(size))
    fill(disk / "filler")
    with pytest.raises(BackendError, match="the disk is full"):
        await LocalBackend(disk / "store").start()
    (disk / "filler").unlink()
    async with opened(disk / "store") as backend:
        assert {key: await fetch(backend, key) for key in bodies} == bodies


async def test_read_only_file_system(disk: Path) -> None:
    """A start on it is refused with the reason, and works when it can be written again."""
    async with opened(disk / "store") as backend:
        await store(backend, "key", bytes(LARGE))
    for mode, words in (("ro", "file system is read-only"), ("rw", "")):
        await asyncio.to_thread(subprocess.run, ["mount", "-o", f"remount,{mode}", str(disk)], check=True)
        if words:
            with pytest.raises(BackendError, match=words):
                await LocalBackend(disk / "store").start()
    async with opened(disk / "store") as backend:
        assert await fetch(backend, "key") == bytes(LARGE)


def fill(path: Path) -> None:
    """Take all room that is left."""
    with path.open("wb", buffering=0) as file:
        try:
            while True:
                file.write(bytes(4096))
        except OSError:
            pass


@pytest.fixture
async def writes_at_the_limit(tmp_path: Path) -> AsyncIterator[LocalBackend]:
    """A store, filled a little, on a disk that says that it is nearly full from the time when the log has a full turn behind it."""

    class NearlyFull(FileLayer):
        """Lies about the room."""

        def space(self, path: str) -> tuple[int, int]:
            return HEADROOM - 1, 1 << 40

    async with opened(tmp_path) as backend:
        for number in range(20):
            await store(backend, f"key-{number}", bytes(1000))
    backend = LocalBackend(tmp_path, layer=NearlyFull())
    await backend.start()
    yield backend
    await backend.close()


async def test_what_grows_is_refused(writes_at_the_limit: LocalBackend) -> None:
    """At the headroom everything that grows is refused and everything that shrinks is done."""
    backend = writes_at_the_limit
    nothing: dict[str, str] = {}
    growing = [
        store(backend, "key", b"x"),
        backend.create_bucket("another"),
        backend.create_multipart("bucket", "key", headers=nothing, metadata=nothing),
    ]
    for write in growing:
        with pytest.raises(BackendError, match="the disk is full: 63 MiB are free, of which 64 MiB are kept for deletes"):
            await write
    await backend.delete_objects("bucket", [(f"key-{number}", None) for number in range(20)])
    await backend.delete_bucket("bucket")
