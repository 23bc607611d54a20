"""What the embedded store does when the disk, the directory or the database is not well."""

import asyncio
import errno
import os
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from s4_gateway.backend.abc import BackendError, Buffer, Outcome, Pieces
from s4_gateway.backend.local import LocalBackend
from s4_gateway.backend.local.files import FileLayer
from s4_gateway.backend.local.schema import MIGRATIONS
from s4_gateway.backend.local.transaction import Transaction

from .local_helpers import LARGE, NOTHING, blobs, fetch, names, opened, query, store, upload


class FaultyLayer(FileLayer):
    """Fails where `faults` says so: method name to errno."""

    def __init__(self) -> None:
        self.faults: dict[str, int] = {}

    def _check(self, method: str) -> None:
        if method in self.faults:
            raise OSError(self.faults[method], os.strerror(self.faults[method]))

    def create(self, path: str) -> int:
        self._check("create")
        return super().create(path)

    def write(self, descriptor: int, pieces: Sequence[Buffer]) -> None:
        if "write" in self.faults:
            super().write(descriptor, [bytes(pieces[0])[:1000]])
        self._check("write")
        super().write(descriptor, pieces)

    def sync(self, descriptor: int) -> None:
        self._check("sync")
        super().sync(descriptor)

    def sync_directory(self, path: str) -> None:
        self._check("sync_directory")
        super().sync_directory(path)

    def read(self, descriptor: int, size: int, offset: int) -> bytes:
        self._check("read")
        return super().read(descriptor, size, offset)

    def unlink(self, path: str) -> None:
        self._check("unlink")
        super().unlink(path)


@pytest.mark.parametrize(
    ("method", "code", "words"),
    [
        ("create", errno.EMFILE, "too many files"),
        ("create", errno.EROFS, "read-only"),
        ("write", errno.ENOSPC, "disk is full"),
        ("write", errno.EIO, "I/O error"),
        ("sync", errno.EIO, "I/O error"),
        ("sync", errno.EDQUOT, "quota"),
        ("sync_directory", errno.EIO, "I/O error"),
    ],
)
async def test_body_that_cannot_be_stored(tmp_path: Path, method: str, code: int, words: str) -> None:
    """A disk that fails while a body is stored refuses the write with a clear message; the old object and small writes are not harmed."""
    layer = FaultyLayer()
    async with opened(tmp_path, layer) as backend:
        await store(backend, "key", bytes(LARGE))
        layer.faults[method] = code
        for _ in range(3):
            with pytest.raises(BackendError, match=words) as caught:
                await store(backend, "key", b"new" * LARGE)
            assert (caught.value.code, caught.value.status, caught.value.outcome) == ("ServiceUnavailable", 503, Outcome.REFUSED)
        await store(backend, "small", b"still works")
        layer.faults.clear()
        assert await fetch(backend, "key") == bytes(LARGE)
        await store(backend, "key", b"new" * LARGE)
        assert await fetch(backend, "key") == b"new" * LARGE
    assert len(blobs(tmp_path)) == 1


async def test_short_writes_are_continued(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A system call that takes only a part of the bytes is followed by another."""
    real = os.writev
    monkeypatch.setattr(os, "writev", lambda descriptor, pieces: real(descriptor, [bytes(pieces[0])[:7]]))
    async with opened(tmp_path) as backend:
        pieces = [b"0123456789", b"", b"abc" * 20_000, b"end"]
        await backend.put_object("bucket", "key", Pieces.of(*pieces), headers=NOTHING, metadata=NOTHING)
        assert await fetch(backend, "key") == b"".join(pieces)


async def test_read_error(tmp_path: Path) -> None:
    """A disk that cannot be read gives an error, not a shorter body."""
    layer = FaultyLayer()
    async with opened(tmp_path, layer) as backend:
        await store(backend, "key", bytes(3 * 2**20))
        download = await backend.get_object("bucket", "key")
        layer.faults["read"] = errno.EIO
        with pytest.raises(BackendError, match="I/O error"):
            await download.read()
        with pytest.raises(BackendError, match="I/O error"):
            await backend.get_object("bucket", "key")


async def test_file_that_cannot_be_removed(tmp_path: Path) -> None:
    """What cannot be removed now is removed by the next start."""
    layer = FaultyLayer()
    async with opened(tmp_path, layer) as backend:
        await store(backend, "key", bytes(LARGE))
        layer.faults["unlink"] = errno.EIO
        await backend.delete_object("bucket", "key")
    assert len(blobs(tmp_path)) == 1
    async with opened(tmp_path):
        for _ in range(100):
            if not blobs(tmp_path):
                break
            await asyncio.sleep(0.02)
    assert blobs(tmp_path) == set()


async def test_full_database(tmp_path: Path) -> None:
    """When the database cannot grow, writes are refused, reads and deletes go on, and space that is freed is used again."""
    async with opened(tmp_path) as backend:
        for number in range(20):
            await store(backend, f"key-{number}", bytes([number]) * 20_000)
        assert backend._running is not None
        connection = backend._running.writer._connection
        pages = connection.execute("PRAGMA page_count").fetchone()[0]
        connection.execute(f"PRAGMA max_page_count = {pages}").fetchall()
        with pytest.raises(BackendError, match="disk is full") as caught:
            await asyncio.gather(*(store(backend, f"more-{number}", bytes(30_000)) for number in range(10)))
        assert caught.value.status == 503
        assert await fetch(backend, "key-7") == bytes([7]) * 20_000
        await backend.delete_objects("bucket", [(f"key-{number}", None) for number in range(10)])
        await store(backend, "fits", bytes(30_000))
        assert await fetch(backend, "fits") == bytes(30_000)


class FailingConnection:
    """A connection on which one statement fails."""

    def __init__(self, connection: sqlite3.Connection, statement: str) -> None:
        self._connection = connection
        self._statement = statement

    def execute(self, statement: str, *values: object) -> sqlite3.Cursor:
        if self._statement in statement:
            raise sqlite3.OperationalError("disk I/O error")
        return self._connection.execute(statement, *values)  # type: ignore[arg-type]

    def __getattr__(self, name: str) -> object:
        return getattr(self._connection, name)


async def test_failed_checkpoint(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A log that cannot be copied into the database is told to the operator; writes go on, and all is there after a restart."""
    async with opened(tmp_path) as backend:
        assert backend._running is not None
        writer = backend._running.writer

        def arm(_: Transaction) -> None:
            writer._connection = FailingConnection(writer._connection, "wal_checkpoint")  # type: ignore[assignment]
            writer._weight = 10**6

        await writer.run(arm)
        await store(backend, "key", b"acknowledged")
        assert "could not be copied" in caplog.text
        assert await fetch(backend, "key") == b"acknowledged"
    async with opened(tmp_path) as backend:
        assert await fetch(backend, "key") == b"acknowledged"


async def test_lost_commit_is_an_unknown_outcome(tmp_path: Path) -> None:
    """A COMMIT that fails may still come back from the log, so the caller learns that nobody knows, and the body's file stays."""
    async with opened(tmp_path) as backend:
        assert backend._running is not None
        writer = backend._running.writer
        real = writer._connection
        writer._connection = FailingConnection(real, "COMMIT")  # type: ignore[assignment]
        with pytest.raises(BackendError) as caught:
            await store(backend, "key", bytes(LARGE))
        assert caught.value.outcome is Outcome.UNKNOWN
        writer._connection = real
        assert len(blobs(tmp_path)) == 1
    assert query(tmp_path, "SELECT count(*) FROM epochs") == [(1,)], "the next start sweeps"


@pytest.mark.parametrize("parts", [1, 3])
async def test_missing_file(tmp_path: Path, parts: int) -> None:
    """A body whose file is gone is an error, not an absent key, and the key can be written again."""
    async with opened(tmp_path) as backend:
        await upload(backend, "key", [bytes(LARGE)] * parts)
        for blob in blobs(tmp_path):
            blob.unlink()
        with pytest.raises(BackendError, match=r"InternalError.* gone"):
            await backend.get_object("bucket", "key")
        await store(backend, "key", b"new")
        assert await fetch(backend, "key") == b"new"


async def test_truncated_file(tmp_path: Path) -> None:
    """A file that lost its end is an error, not a shorter body."""
    async with opened(tmp_path) as backend:
        await store(backend, "key", bytes(LARGE))
        (blob,) = blobs(tmp_path)
        with blob.open("r+b") as file:
            file.truncate(LARGE - 1)
        with pytest.raises(BackendError, match="ends early"):
            await fetch(backend, "key")


async def test_missing_row(tmp_path: Path) -> None:
    """An object whose body is gone from the database is an error, not an absent key."""
    async with opened(tmp_path) as backend:
        await store(backend, "key", b"body")
        await upload(backend, "parts", [b"one", b"two"])
        query(tmp_path, "DELETE FROM bodies WHERE kind = 0")
        for key in ("key", "parts"):
            with pytest.raises(BackendError, match="InternalError"):
                await fetch(backend, key)
            await store(backend, key, b"new")
            assert await fetch(backend, key) == b"new"


# Start


async def refused_start(directory: Path, words: str) -> None:
    """The store does not open, says why, and lets go of the directory."""
    backend = LocalBackend(directory)
    with pytest.raises(BackendError, match=words):
        await backend.start()


async def test_second_server_on_the_directory(tmp_path: Path) -> None:
    """A directory has one server; the message says which process it is."""
    async with opened(tmp_path):
        await refused_start(tmp_path, f"in use by another server .process {os.getpid()}")
    async with opened(tmp_path):
        pass


async def test_second_process_on_the_directory(tmp_path: Path) -> None:
    """So it is between processes, until the first one ends, however it ends."""
    code = (
        "import asyncio, sys, pathlib\n"
        "from s4_gateway.backend.local import LocalBackend\n"
        "async def main():\n"
        "    await LocalBackend(pathlib.Path(sys.argv[1])).start()\n"
        "    print('open', flush=True)\n"
        "    await asyncio.sleep(60)\n"
        "asyncio.run(main())\n"
    )
    command = [sys.executable, "-c", code, str(tmp_path)]
    with await asyncio.to_thread(subprocess.Popen, command, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert await asyncio.to_thread(process.stdout.readline) == b"open\n"
        await refused_start(tmp_path, f"in use by another server .process {process.pid}")
        process.kill()
        await asyncio.to_thread(process.wait)
    async with opened(tmp_path):
        pass


async def test_newer_schema(tmp_path: Path) -> None:
    """A directory of a newer version is refused and left as it is."""
    async with opened(tmp_path) as backend:
        await store(backend, "key", b"body")
    query(tmp_path, f"PRAGMA user_version = {len(MIGRATIONS) + 1}")
    await refused_start(tmp_path, "newer S4")
    query(tmp_path, f"PRAGMA user_version = {len(MIGRATIONS)}")
    async with opened(tmp_path) as backend:
        assert await fetch(backend, "key") == b"body"


async def test_older_schema(tmp_path: Path) -> None:
    """A directory of an older version is brought up to date, with what its last run left."""
    async with opened(tmp_path) as backend:
        await store(backend, "key", bytes(LARGE))
    query(tmp_path, "DROP TABLE removals")
    query(tmp_path, "INSERT INTO epochs (id) VALUES (1)")
    query(tmp_path, "PRAGMA user_version = 1")
    async with opened(tmp_path) as backend:
        assert await fetch(backend, "key") == bytes(LARGE)
        await backend.delete_object("bucket", "key")
    assert query(tmp_path, "SELECT id FROM removals UNION ALL SELECT id FROM epochs") == []
    assert blobs(tmp_path) == set()


async def test_database_of_another_program(tmp_path: Path) -> None:
    """Somebody else's database is not touched."""
    query(tmp_path, "CREATE TABLE theirs (x)")
    await refused_start(tmp_path, "not a store of S4")
    assert query(tmp_path, "SELECT name FROM sqlite_master") == [("theirs",)]


async def test_file_that_is_no_database(tmp_path: Path) -> None:
    """Junk is called damaged."""
    (tmp_path / "store.sqlite3").write_bytes(b"junk" * 5000)
    await refused_start(tmp_path, "damaged")


async def test_damaged_database(tmp_path: Path) -> None:
    """Pages that were overwritten give errors, never other bytes or absent keys."""
    bodies = {f"key-{number:03d}": bytes([number]) * 3000 for number in range(100)}
    async with opened(tmp_path) as backend:
        for key, body in bodies.items():
            await store(backend, key, body)
    database = tmp_path / "store.sqlite3"
    pages = database.stat().st_size // 4096
    with database.open("r+b") as file:
        for page in range(pages // 2, pages):
            file.seek(page * 4096)
            file.write(b"\xaa" * 200)
    backend = LocalBackend(tmp_path)
    await backend.start()
    outcomes = await asyncio.gather(*(fetch(backend, key) for key in bodies), return_exceptions=True)
    errors = {outcome.code for outcome in outcomes if isinstance(outcome, BackendError)}
    assert errors == {"InternalError"}
    assert all(outcome == body or isinstance(outcome, BackendError) for body, outcome in zip(bodies.values(), outcomes, strict=True))
    await backend.close()


@pytest.mark.parametrize("place", ["a-file", "a-file/below"])
async def test_directory_that_cannot_be(tmp_path: Path, place: str) -> None:
    """A directory that cannot be made is named."""
    (tmp_path / "a-file").write_text("in the way")
    await refused_start(tmp_path / place, "making .*a-file")


async def test_read_only_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A directory that cannot be written is refused at start."""
    real = os.open

    def read_only(path: str | Path, flags: int, *rest: int) -> int:
        if flags & os.O_CREAT and str(path).startswith(str(tmp_path)):
            raise OSError(errno.EROFS, os.strerror(errno.EROFS))
        return real(path, flags, *rest)

    monkeypatch.setattr(os, "open", read_only)
    await refused_start(tmp_path, "read-only")


async def test_new_directories_are_durable(tmp_path: Path) -> None:
    """The names of all new directories are synced, up to the first one that was there."""

    class Recording(FileLayer):
        """Notes which directories are synced."""

        def __init__(self) -> None:
            self.synced: list[str] = []

        def sync_directory(self, path: str) -> None:
            self.synced.append(path)
            super().sync_directory(path)

    layer = Recording()
    async with opened(tmp_path / "deep" / "store", layer) as backend:
        await store(backend, "key", bytes(LARGE))
        (blob,) = blobs(tmp_path / "deep" / "store")
        above = [parent for parent in blob.parents if tmp_path in (parent, *parent.parents)]
        assert {str(parent) for parent in above} <= set(layer.synced)
        assert layer.synced[-1] == str(blob.parent)
    shutil.rmtree(tmp_path / "deep")
    assert names(tmp_path) == set()
