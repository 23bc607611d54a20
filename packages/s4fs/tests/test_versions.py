"""What is remembered, and of which version: by threads, by open files on their way, and by listings."""

import base64
import io
import pickle
import sys
import threading
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from fsspec.implementations.local import LocalFileSystem
from fsspec.implementations.memory import MemoryFileSystem
from s4_codecs import EncodeOptions, FramePolicy, encode_object
from s4_codecs.testing.workloads import WORKLOADS

from s4fs import FileChangedError, S4FileSystem
from s4fs.testing import FakeS3
from s4fs.testing.fake_s3 import refusal

from .conftest import BUCKET

MIB = 1 << 20
NOISE = WORKLOADS["noise"](18 * MIB)
PATH = f"{BUCKET}/object"


@pytest.fixture
def eager_threads() -> Iterator[None]:
    """Threads that take turns as often as they can."""
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(interval)


def test_threads_forget_while_others_read(fs: S4FileSystem, eager_threads: None) -> None:
    """What one thread forgets, as every write does, disturbs no read of another."""
    paths = [f"{BUCKET}/{number}" for number in range(200)]
    fs.pipe(dict.fromkeys(paths, b"content"))
    failures: list[Exception] = []
    done = threading.Event()

    def read() -> None:
        try:
            while not done.is_set():
                for path in paths[:20]:
                    assert fs.cat_file(path, start=0, end=3) == b"con"
        except Exception as error:  # noqa: BLE001  # whatever it is
            failures.append(error)

    readers = [threading.Thread(target=read) for _ in range(2)]
    for reader in readers:
        reader.start()
    try:
        for number in range(2000):
            fs.invalidate_cache(paths[number % len(paths)])
    finally:
        done.set()
        for reader in readers:
            reader.join()

    assert failures == []


def test_file_that_travels_is_of_its_version(local_root: str) -> None:
    """A pickled file does not go on in another version of its object, unless it may."""
    fs = S4FileSystem(fs=LocalFileSystem(), write_enabled=True)
    path = f"{local_root}/object"
    fs.pipe_file(path, b"one version")
    with fs.open(path) as strict, fs.open(path, on_change="reopen") as lenient:
        states = pickle.dumps(strict), pickle.dumps(lenient)
    assert pickle.loads(states[0]).read() == b"one version"
    fs.pipe_file(path, b"another version")

    with pytest.raises(FileChangedError):
        pickle.loads(states[0])
    assert pickle.loads(states[1]).read() == b"another version"


def test_open_destination_never_gets_two_versions(fs: S4FileSystem, store: FakeS3) -> None:
    """A download into an open file that breaks off, and whose object is replaced, is an OSError."""
    fs.pipe_file(PATH, NOISE[:MIB])
    store.cut = lambda body: body[: len(body) // 2]
    store.before = lambda method, options: refusal("PreconditionFailed", method) if "IfMatch" in options else None
    with pytest.raises(FileChangedError):
        fs.get_file(PATH, None, outfile=io.BytesIO())


def test_open_file_without_index_is_walked_once(fs: S4FileSystem, store: FakeS3) -> None:
    """The frames of an object without an index are looked for once, however often its open file is read."""
    encoded = encode_object(base64.b64encode(NOISE), EncodeOptions(frame_policy=FramePolicy.REFERENCE))
    store.put(
        PATH, encoded.body[: encoded.frames[len(encoded.frames) - 1].stored_end], replace(encoded.manifest, trailer=False).to_metadata()
    )
    with fs.open(PATH) as file:
        costs = []
        for place in (0, 5, 10, 15, 20):
            before = len(store.requests)
            file.seek(place * MIB)
            assert file.read(1000) == base64.b64encode(NOISE)[place * MIB :][:1000]
            costs.append(len(store.requests) - before)

    assert costs[0] > 2
    assert max(costs[1:]) <= 2


def test_listings_below_are_forgotten_too(fs: S4FileSystem, store: FakeS3) -> None:
    """Forgetting a directory forgets the listings below it, and `refresh` asks about an object anew."""
    fs.pipe_file(f"{BUCKET}/a/b/one", b"one")
    assert len(fs.ls(f"{BUCKET}/a/b")) == 1
    store.put(f"{BUCKET}/a/b/two", b"two")
    store.put(f"{BUCKET}/a/b/one", b"longer")

    assert fs.info(f"{BUCKET}/a/b/one", refresh=True)["size"] == 6
    fs.invalidate_cache(f"{BUCKET}/a")
    assert {row["name"]: row["size"] for row in fs.ls(f"{BUCKET}/a/b")} == {f"{BUCKET}/a/b/one": 6, f"{BUCKET}/a/b/two": 3}


def test_keys_of_content_do_not_depend_on_listings(fs: S4FileSystem) -> None:
    """`ukey` and `checksum` are the same with and without a listing, and change with the content."""
    path = f"{BUCKET}/a/one"
    fs.pipe_file(path, b"one")
    alone = fs.ukey(path), fs.checksum(path)
    fs.ls(f"{BUCKET}/a")
    assert (fs.ukey(path), fs.checksum(path)) == alone
    fs.pipe_file(path, b"two")
    assert fs.ukey(path) != alone[0]
    assert fs.checksum(path) != alone[1]


def test_directories_have_no_time(fs: S4FileSystem) -> None:
    """Asking when a directory was written is IsADirectoryError."""
    fs.pipe_file(f"{BUCKET}/a/one", b"one")
    for ask in (fs.modified, fs.created):
        with pytest.raises(IsADirectoryError):
            ask(f"{BUCKET}/a")


def test_answer_with_other_bytes_is_refused(fs: S4FileSystem, store: FakeS3, monkeypatch: pytest.MonkeyPatch) -> None:
    """A store, or a cache before it, that answers with another range of a foreign object gets an error raised, not its bytes used."""
    store.put(PATH, bytes(range(256)) * 1024)
    answer = store.call

    async def shifted(method: str, options: dict[str, Any]) -> dict[str, Any]:
        if str(options.get("Range", "")) == "bytes=1000-1999":
            options = {**options, "Range": "bytes=2001-3000"}
        return await answer(method, options)

    with fs.open(PATH) as file:
        monkeypatch.setattr(FakeS3, "call", lambda _, method, options: shifted(method, options))
        file.seek(1000)
        with pytest.raises(OSError, match="other bytes"):
            file.read(1000)


class Sizeless(MemoryFileSystem):
    """Tells no sizes, as web servers do."""

    cachable = False

    def info(self, path: str, **kwargs: Any) -> dict[str, Any]:
        return {**super().info(path, **kwargs), "size": None}


def test_target_without_sizes_is_refused(memory: None) -> None:
    """A file whose size its file system does not tell is an OSError."""
    target = Sizeless()
    target.pipe_file("/object", b"content")
    fs = S4FileSystem(fs=target, skip_instance_cache=True)
    for ask in (fs.info, fs.cat_file, fs.open):
        with pytest.raises(OSError, match="size"):
            ask("/object")
