"""Where the embedded store keeps bodies, how they are shared, and when they go."""

import asyncio
import gc
import threading
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest

from s4_gateway.backend.abc import BackendError, Buffer, Pieces, Span
from s4_gateway.backend.local import LocalBackend
from s4_gateway.backend.local.body_reader import CHUNK
from s4_gateway.backend.local.store import INLINE_LIMIT

from .local_helpers import LARGE, NOTHING, blobs, copy, fetch, names, opened, query, store, upload


async def gone(directory: Path, left: int = 0) -> None:
    """Wait until that many files of bodies are left; they go after the answer."""
    for _ in range(200):
        if len(blobs(directory)) == left:
            return
        await asyncio.sleep(0.02)
    raise AssertionError(f"{len(blobs(directory))} files are left, not {left}")


@pytest.mark.parametrize(("size", "files"), [(0, 0), (INLINE_LIMIT, 0), (INLINE_LIMIT + 1, 1)])
async def test_small_bodies_are_rows(tmp_path: Path, size: int, files: int) -> None:
    """Bodies up to the limit need no file of their own."""
    async with opened(tmp_path) as backend:
        await store(backend, "key", bytes(size))
        assert len(blobs(tmp_path)) == files
        assert await fetch(backend, "key") == bytes(size)


async def test_keys_are_never_paths(tmp_path: Path) -> None:
    """No key shows in the directory."""
    async with opened(tmp_path / "store") as backend:
        for key in ("../../escape", "/etc/passwd", "a/../b"):
            await store(backend, key, bytes(LARGE))
    assert names(tmp_path) == {"store"}
    assert names(tmp_path / "store") == {"lock", "peers", "store.sqlite3", "blobs"}


async def test_files_are_private(tmp_path: Path) -> None:
    """Other users of the machine read nothing."""
    async with opened(tmp_path / "store") as backend:
        await store(backend, "key", bytes(LARGE))
        (blob,) = blobs(tmp_path / "store")
        assert (tmp_path / "store").stat().st_mode & 0o077 == 0
        assert blob.stat().st_mode & 0o077 == 0


async def test_everything_is_there_after_a_restart(tmp_path: Path) -> None:
    """A stopped store comes back as it was."""
    bodies = {"small": b"x" * 10, "large": bytes(LARGE)}
    async with opened(tmp_path) as backend:
        for key, body in bodies.items():
            await store(backend, key, body)
        etag = await upload(backend, "parts", [bytes(LARGE), b"tail"])
        open_id = await backend.create_multipart("bucket", "open", headers={"content-type": "x/y"}, metadata=NOTHING)
        part = await backend.upload_part("bucket", "open", open_id, 1, Pieces.of(b"part"))
    async with opened(tmp_path) as backend:
        for key, body in bodies.items():
            assert await fetch(backend, key) == body
        assert (await backend.head_object("bucket", "parts")).etag == etag
        assert await fetch(backend, "parts") == bytes(LARGE) + b"tail"
        await backend.complete_multipart("bucket", "open", open_id, [(1, part)])
        assert (await backend.head_object("bucket", "open")).headers == {"content-type": "x/y"}


async def test_overwritten_and_deleted_files_go(tmp_path: Path) -> None:
    """A file goes with the last reference to it, and its directory with it."""
    async with opened(tmp_path) as backend:
        await store(backend, "a", bytes(LARGE))
        await store(backend, "a", bytes(LARGE + 1))
        await store(backend, "b", bytes(LARGE))
        await gone(tmp_path, left=2)
        await backend.delete_objects("bucket", [("a", None), ("b", None)])
        await gone(tmp_path)
    assert query(tmp_path, "SELECT * FROM bodies") == []


async def test_copies_share_their_file(tmp_path: Path) -> None:
    """A copy costs a row; the file stays until the last of the objects goes."""
    async with opened(tmp_path) as backend:
        etag = await store(backend, "source", bytes(LARGE))
        for number in range(10):
            await copy(backend, "source", etag, f"copy-{number}")
        assert len(blobs(tmp_path)) == 1
        assert (await backend.head_object("bucket", "copy-9")).etag == etag
        await store(backend, "source", b"")
        await backend.delete_objects("bucket", [(f"copy-{number}", None) for number in range(9)])
        assert await fetch(backend, "copy-9") == bytes(LARGE)
        await backend.delete_object("bucket", "copy-9")
        await gone(tmp_path)


async def test_complete_copies_nothing(tmp_path: Path) -> None:
    """The files of the parts are the files of the object, the very same ones."""
    async with opened(tmp_path) as backend:
        upload_id = await backend.create_multipart("bucket", "key", headers=NOTHING, metadata=NOTHING)
        parts = [
            (number, await backend.upload_part("bucket", "key", upload_id, number, Pieces.of(bytes([number]) * LARGE)))
            for number in (1, 2, 3)
        ]
        before = {(path, path.stat().st_ino) for path in blobs(tmp_path)}
        await backend.complete_multipart("bucket", "key", upload_id, parts)
        assert {(path, path.stat().st_ino) for path in blobs(tmp_path)} == before
        await backend.delete_object("bucket", "key")
        await gone(tmp_path)
    assert query(tmp_path, "SELECT * FROM trash") == []


async def test_parts_that_were_left_out_go(tmp_path: Path) -> None:
    """Complete, Abort and a newer part each drop what they do not need."""
    async with opened(tmp_path) as backend:
        upload_id = await backend.create_multipart("bucket", "key", headers=NOTHING, metadata=NOTHING)
        for number, fill in ((1, 1), (1, 2), (2, 3)):
            etag = await backend.upload_part("bucket", "key", upload_id, number, Pieces.of(bytes([fill]) * LARGE))
        await gone(tmp_path, left=2)
        await backend.complete_multipart("bucket", "key", upload_id, [(2, etag)])
        await gone(tmp_path, left=1)
        aborted = await backend.create_multipart("bucket", "other", headers=NOTHING, metadata=NOTHING)
        await backend.upload_part("bucket", "other", aborted, 1, Pieces.of(bytes(LARGE)))
        await backend.abort_multipart("bucket", "other", aborted)
        await gone(tmp_path, left=1)


async def test_bucket_takes_its_uploads_along(tmp_path: Path) -> None:
    """Uploads under way do not keep a bucket, and leave nothing."""
    async with opened(tmp_path) as backend:
        upload_id = await backend.create_multipart("bucket", "key", headers=NOTHING, metadata=NOTHING)
        await backend.upload_part("bucket", "key", upload_id, 1, Pieces.of(bytes(LARGE)))
        await backend.delete_bucket("bucket")
        await gone(tmp_path)
    assert query(tmp_path, "SELECT * FROM parts") == []


async def test_object_of_many_parts(tmp_path: Path) -> None:
    """10,000 parts are one transaction to complete, read in order, and go in several when dropped."""
    async with opened(tmp_path) as backend:
        upload_id = await backend.create_multipart("bucket", "key", headers=NOTHING, metadata=NOTHING)
        bodies = [b"%05d" % number for number in range(1, 10_001)]

        async def send(number: int) -> tuple[int, str]:
            return number, await backend.upload_part("bucket", "key", upload_id, number, Pieces.of(bodies[number - 1]))

        parts = await asyncio.gather(*(send(number) for number in range(1, 10_001)))
        await backend.complete_multipart("bucket", "key", upload_id, parts)
        assert await fetch(backend, "key") == b"".join(bodies)
        download = await backend.get_object("bucket", "key", span=Span(49_990, 50_000))
        assert await download.read() == b"0999910000"
        await backend.delete_object("bucket", "key")
    async with opened(tmp_path) as backend:
        for _ in range(100):
            if not query(tmp_path, "SELECT 1 FROM trash"):
                break
            await asyncio.sleep(0.05)
    assert query(tmp_path, "SELECT count(*) FROM bodies") == [(0,)]


async def test_list_under_a_reader_is_purged_behind_it(tmp_path: Path) -> None:
    """Parts of a deleted object stay while somebody reads them, and go when the reader leaves."""
    async with opened(tmp_path) as backend:
        bodies = [bytes([number]) * CHUNK for number in range(3)]
        await upload(backend, "key", bodies)
        async with await backend.get_object("bucket", "key") as download:
            got = [await anext(download.__aiter__())]
            await backend.delete_object("bucket", "key")
            await store(backend, "other", b"another transaction")
            assert len(blobs(tmp_path)) == 3
            got += [chunk async for chunk in download]
            assert b"".join(got) == b"".join(bodies)
        await gone(tmp_path)


async def test_list_in_the_trash_is_purged_at_start(tmp_path: Path) -> None:
    """What a stop left in the trash goes with the next start."""
    async with opened(tmp_path) as backend:
        await upload(backend, "key", [bytes(LARGE), bytes(LARGE)])
        download = await backend.get_object("bucket", "key", span=Span(0, 10))
        await backend.delete_object("bucket", "key")
    await download.aclose()
    async with opened(tmp_path):
        await gone(tmp_path)


async def test_leftovers_are_swept_at_start(tmp_path: Path) -> None:
    """Files of a run that did not stop clean and that no body names go; named ones and strangers stay."""
    async with opened(tmp_path) as backend:
        await store(backend, "key", bytes(LARGE))
        await store(backend, "forgotten", bytes(LARGE))
        epoch = query(tmp_path, "SELECT id FROM epochs")[0][0]
    query(tmp_path, "DELETE FROM objects WHERE key = CAST('forgotten' AS BLOB)")
    query(tmp_path, "DELETE FROM bodies WHERE id NOT IN (SELECT body FROM objects)")
    stranger = next(iter(blobs(tmp_path))).parent / "note.txt"
    stranger.write_text("not a blob")
    async with opened(tmp_path):
        await asyncio.sleep(0.1)
    assert len(blobs(tmp_path)) == 3, "a clean stop is trusted"
    query(tmp_path, f"INSERT INTO epochs (id) VALUES ({epoch})")
    async with opened(tmp_path) as backend:
        await gone(tmp_path, left=2)
        assert stranger.exists()
        assert await fetch(backend, "key") == bytes(LARGE)


async def test_clean_stop_leaves_nothing_to_sweep(tmp_path: Path) -> None:
    """After a clean stop the next start has no work, also when it dropped files of older runs."""
    async with opened(tmp_path) as backend:
        await store(backend, "old", bytes(LARGE))
        assert len(query(tmp_path, "SELECT * FROM epochs")) == 1
    assert query(tmp_path, "SELECT * FROM epochs") == []
    async with opened(tmp_path) as backend:
        await backend.delete_object("bucket", "old")
        assert len(query(tmp_path, "SELECT * FROM removals")) == 1, "a crash now would leave a file of the older run"
    assert query(tmp_path, "SELECT * FROM epochs") == []
    assert query(tmp_path, "SELECT * FROM removals") == []
    assert blobs(tmp_path) == set()


class _Endless:
    """A payload that waits in the middle of its body until it is told to go on."""

    size = 3 * CHUNK

    def __init__(self) -> None:
        self.begun = threading.Event()
        self.go_on = threading.Event()

    def __iter__(self) -> Iterator[Buffer]:
        yield bytes(CHUNK)
        self.begun.set()
        assert self.go_on.wait(30)
        yield bytes(CHUNK)
        yield bytes(CHUNK)


async def test_cancelled_put_leaves_no_file(tmp_path: Path) -> None:
    """A put that is cancelled while its file is written has no file when it returns."""
    async with opened(tmp_path) as backend:
        payload = _Endless()
        task = asyncio.create_task(backend.put_object("bucket", "key", payload, headers=NOTHING, metadata=NOTHING))
        await asyncio.to_thread(payload.begun.wait)
        assert len(blobs(tmp_path)) == 1
        task.cancel()
        await asyncio.sleep(0)
        task.cancel()
        payload.go_on.set()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert blobs(tmp_path) == set()
        with pytest.raises(BackendError, match="NoSuchKey"):
            await backend.head_object("bucket", "key")


async def test_refused_put_leaves_no_file(tmp_path: Path) -> None:
    """A large body for a bucket that is not there is not kept."""
    async with opened(tmp_path) as backend:
        with pytest.raises(BackendError, match="NoSuchBucket"):
            await backend.put_object("absent", "key", Pieces.of(bytes(LARGE)), headers=NOTHING, metadata=NOTHING)
        await gone(tmp_path)


async def test_close_in_mid_put(tmp_path: Path) -> None:
    """A store that is closed while a body comes in refuses it and keeps nothing of it."""
    backend = LocalBackend(tmp_path)
    await backend.start()
    await backend.create_bucket("bucket")
    payload = _Endless()
    task = asyncio.create_task(backend.put_object("bucket", "key", payload, headers=NOTHING, metadata=NOTHING))
    await asyncio.to_thread(payload.begun.wait)
    closing = asyncio.create_task(backend.close())
    await asyncio.sleep(0.05)
    payload.go_on.set()
    with pytest.raises(BackendError, match="closed"):
        await task
    await closing
    assert blobs(tmp_path) == set()


async def test_closed_store(tmp_path: Path) -> None:
    """A store that is not open says so, to readers and writers, and can be opened again."""
    async with opened(tmp_path) as backend:
        await store(backend, "key", bytes(5 * CHUNK))
        download = await backend.get_object("bucket", "key")
    for call in (backend.list_buckets(), backend.ping(), backend.create_bucket("another")):
        with pytest.raises(BackendError, match="closed"):
            await call
    with pytest.raises(BackendError, match="closed"):
        await download.read()
    await backend.close()
    await backend.start()
    assert len(await fetch(backend, "key")) == 5 * CHUNK
    await backend.close()


async def test_forgotten_download_is_noticed(tmp_path: Path) -> None:
    """A download that is neither read nor closed gives its file back with a warning."""
    async with opened(tmp_path) as backend:
        await store(backend, "key", bytes(5 * CHUNK))
        download = await backend.get_object("bucket", "key")
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            del download
            for _ in range(100):
                gc.collect()
                if caught:
                    break
                await asyncio.sleep(0.01)  # The thread that opened it still has to let go.
        assert any(warning.category is ResourceWarning and "neither read" in str(warning.message) for warning in caught)
