"""The file system as fsspec sees it: asynchronous use, transactions, options, errors that travel, and memory."""

import asyncio
import copy
import pickle
from typing import Any

import fsspec
import pytest
from fsspec.implementations.memory import MemoryFileSystem
from s4_codecs.testing.workloads import WORKLOADS

import s4fs
from s4fs import S4FileSystem, S4FileSystemError
from s4fs.testing import FakeS3, FakeS3FileSystem

from .conftest import BUCKET

MIB = 1 << 20
LOG = WORKLOADS["log"](12 * MIB)
PATH = f"{BUCKET}/object"


def test_asynchronous_use(store: FakeS3) -> None:
    """On an event loop of one's own every operation is awaited there."""

    async def use() -> None:
        fs = S4FileSystem(fs=FakeS3FileSystem(store, asynchronous=True), write_enabled=True, asynchronous=True, skip_instance_cache=True)
        await fs._pipe_file(PATH, LOG)
        assert await fs._cat_file(PATH, 10, 20) == LOG[10:20]
        assert (await fs._info(PATH))["size"] == len(LOG)
        assert await fs._cat_ranges([PATH, PATH], [0, MIB], [5, MIB + 5]) == [LOG[:5], LOG[MIB : MIB + 5]]
        await asyncio.gather(*(fs._pipe_file(f"{PATH}-{number}", LOG[:number]) for number in range(20)))
        assert sorted(await fs._find(BUCKET)) == sorted([PATH, *(f"{PATH}-{number}" for number in range(20))])
        await fs._rm(BUCKET, recursive=True)

    asyncio.run(use())

    assert store.buckets[BUCKET] == {}


def test_one_event_loop_for_both(store: FakeS3) -> None:
    """A file system of the other kind is refused at once, rather than at its first request."""
    with pytest.raises(ValueError, match="asynchronous"):
        S4FileSystem(fs=FakeS3FileSystem(store, asynchronous=True), skip_instance_cache=True)


def test_transactions(fs: S4FileSystem) -> None:
    """Files of a transaction appear together at its end, and not at all if it fails."""
    with fs.transaction:
        for name in ("one", "two"):
            with fs.open(f"{BUCKET}/{name}", "wb") as file:
                file.write(LOG)
        assert not fs.exists(f"{BUCKET}/one")
    assert fs.cat_file(f"{BUCKET}/one") == fs.cat_file(f"{BUCKET}/two") == LOG
    with pytest.raises(KeyboardInterrupt):
        _interrupted(fs)

    assert not fs.exists(f"{BUCKET}/three")


def _interrupted(fs: S4FileSystem) -> None:
    with fs.transaction:
        with fs.open(f"{BUCKET}/three", "wb") as file:
            file.write(LOG)
        raise KeyboardInterrupt


def test_forgotten_file_is_no_object(fs: S4FileSystem, store: FakeS3) -> None:
    """A file that nobody closed leaves neither an object nor an upload."""
    file = fs.open(PATH, "wb")
    file.write(LOG)
    del file
    for _ in range(100):
        fs.exists(PATH)

    assert not fs.exists(PATH)
    assert store.uploads == {}


def test_same_options_same_instance(memory: None) -> None:
    """Equal options give the same file system, which travels between processes with them."""
    options: dict[str, Any] = {"target_protocol": "memory", "write_enabled": True, "cache_bytes": MIB}
    fs = fsspec.filesystem("s4", **options)
    fs.pipe_file("/object", b"content")

    assert fsspec.filesystem("s4", **options) is fs
    again = pickle.loads(pickle.dumps(fs))
    assert again == fs
    assert again.cat_file("/object") == b"content"
    assert fsspec.get_filesystem_class("s4") is S4FileSystem


def test_names(memory: None) -> None:
    """Names with and without protocol are the same, as the target writes them."""
    fs = S4FileSystem(target_protocol="memory", write_enabled=True, skip_instance_cache=True)
    fs.pipe_file("s4://folder/object", b"x")

    assert fs.ls("s4://folder", detail=False) == fs.ls("/folder/", detail=False) == ["/folder/object"]
    assert fs.exists("folder/object")
    assert fs.unstrip_protocol("/folder/object") == "s4:///folder/object"
    assert MemoryFileSystem.store["/folder/object"].getvalue()[:4] in (b"S4F2", b"S4P1")


@pytest.mark.parametrize(
    "options",
    [{"on_change": "ignore"}, {"cache_bytes": -1}, {"readahead_bytes": -5}, {"write_zstd_level": 40}, {"write_codec": "no-codec"}],
    ids=str,
)
def test_options_are_checked(options: dict[str, Any]) -> None:
    """An option out of its range is refused when the file system is made."""
    with pytest.raises(ValueError, match=r"."):
        S4FileSystem(target_protocol="memory", skip_instance_cache=True, **options)


@pytest.mark.parametrize(
    "options",
    [{"cache_bytes": 0}, {"readahead_bytes": 0}, {"frame_size": 4096}, {"write_codec": "passthrough"}],
    ids=str,
)
def test_options_at_their_ends_work(make: Any, options: dict[str, Any]) -> None:
    """Without a cache, without reading ahead, with tiny frames and without compression everything reads as ever."""
    fs = make(**options)
    fs.pipe_file(PATH, LOG[: 3 * MIB])
    with fs.open(PATH) as file:
        assert b"".join(iter(lambda: file.read(100_000), b"")) == LOG[: 3 * MIB]
        file.seek(MIB)
        assert file.read(10) == LOG[MIB : MIB + 10]
    assert fs.cat_file(PATH, MIB, MIB + 10) == LOG[MIB : MIB + 10]


def test_foreign_files_where_trailers_are_trusted(memory: None) -> None:
    """Without metadata a file is S4's only if it begins and ends so; others come back as they are, and so do all on request."""
    plain = MemoryFileSystem()
    trusting = S4FileSystem(target_protocol="memory", write_enabled=True, skip_instance_cache=True)
    untrusting = S4FileSystem(target_protocol="memory", trust_trailer=False, skip_instance_cache=True)
    trusting.pipe_file("/ours", LOG)
    stored = plain.cat_file("/ours")
    plain.pipe_file("/foreign", b"anything at all, S4T1")
    plain.pipe_file("/cut", stored[: len(stored) // 2])
    plain.pipe_file("/sealed", b"S4E6" + bytes(100))

    assert trusting.cat_file("/ours") == LOG
    assert trusting.cat_file("/foreign") == untrusting.cat_file("/foreign") == b"anything at all, S4T1"
    assert untrusting.cat_file("/ours") == stored
    with pytest.raises(s4fs.DamagedObjectError):
        trusting.cat_file("/cut")
    with pytest.raises(s4fs.EncryptedObjectError):
        trusting.cat_file("/sealed")


def _errors() -> list[type[S4FileSystemError]]:
    return [kind for name in s4fs.__all__ if isinstance(kind := getattr(s4fs, name), type) and issubclass(kind, S4FileSystemError)]


@pytest.mark.parametrize("kind", _errors(), ids=lambda kind: kind.__name__)
def test_errors_travel(kind: type[S4FileSystemError]) -> None:
    """Each error is an OSError with an errno, names its path, and survives pickling with both."""
    error = kind("bucket/key", "why")
    again = pickle.loads(pickle.dumps(error))

    assert isinstance(error, OSError)
    assert (error.errno, str(error), error.path) == (kind.code, f"[Errno {kind.code}] why: 'bucket/key'", "bucket/key")
    assert (type(again), again.errno, str(again), again.path) == (kind, error.errno, str(error), error.path)
    assert str(copy.copy(error)) == str(error)
