"""How writes end that do not end well, and what wraps them: an object is all that was written, or it is not there."""

import errno
import gc
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import fsspec
import pytest
from s4_codecs.testing.workloads import WORKLOADS

from s4fs import S4FileSystem, S4FileSystemError
from s4fs.testing import FakeS3
from s4fs.testing.fake_s3 import lost, refusal
from s4fs.transfer import LocalSource

from .conftest import BUCKET

MIB = 1 << 20
LOG = WORKLOADS["log"](6 * MIB)
NOISE = WORKLOADS["noise"](20 * MIB)
PATH = f"{BUCKET}/object"

Fault = Callable[[str, Mapping[str, Any]], "Exception | None"]


def first(method: str) -> Fault:
    """Refuses the first request of a kind."""
    refusals = [refusal("AccessDenied", method)]
    return lambda asked, _: refusals.pop() if asked == method and refusals else None


def write_all(file: Any, data: bytes) -> None:
    """Write piece after piece."""
    for start in range(0, len(data), 8 * MIB):
        file.write(data[start : start + 8 * MIB])


def write_and_stop(fs: S4FileSystem, mode: str, compression: str | None) -> None:
    """Begin to write, and be interrupted."""
    with fs.open(PATH, mode, compression=compression) as file:
        file.write("half" if mode == "wt" else NOISE[: 10 * MIB])
        raise KeyboardInterrupt


def test_file_that_failed_is_not_made_of_its_end(fs: S4FileSystem, store: FakeS3) -> None:
    """After a failed write, closing the file makes no object of what was buffered last, and leaves no upload behind."""
    store.before = first("upload_part")
    file = fs.open(PATH, "wb")
    with pytest.raises(PermissionError):
        write_all(file, NOISE * 2)
    file.close()

    assert (store.buckets[BUCKET], store.uploads) == ({}, {})
    with pytest.raises(ValueError, match="write mode"):
        file.write(b"more")


@pytest.mark.parametrize("mode", ["wb", "wt"])
@pytest.mark.parametrize("compression", [None, "gzip"])
def test_exception_leaves_no_object(fs: S4FileSystem, store: FakeS3, mode: str, compression: str | None) -> None:
    """An exception that leaves the `with` block of a file, of text over it or of compression over it, leaves nothing behind."""
    with pytest.raises(KeyboardInterrupt):
        write_and_stop(fs, mode, compression)

    assert (store.buckets[BUCKET], store.uploads) == ({}, {})


@pytest.mark.parametrize("mode", ["wb", "wt"])
@pytest.mark.parametrize("compression", [None, "gzip"])
def test_forgotten_file_leaves_no_object(
    fs: S4FileSystem, store: FakeS3, caplog: pytest.LogCaptureFixture, mode: str, compression: str | None
) -> None:
    """A file that nobody closed, whatever lies over it, becomes no object, its upload is aborted, and the log says so."""
    file = fs.open(PATH, mode, compression=compression)
    file.write(NOISE if mode == "wb" else "half")
    del file
    gc.collect()
    deadline = time.monotonic() + 10
    while store.uploads and time.monotonic() < deadline:
        time.sleep(0.01)

    assert (store.buckets[BUCKET], store.uploads) == ({}, {})
    assert "not closed" in caplog.text


@pytest.mark.parametrize("compression", ["gzip", "bz2", "xz", "infer"])
def test_compressed_file_is_there_when_it_is_closed(fs: S4FileSystem, compression: str) -> None:
    """Closing a compressed file makes the object, at once and with its last byte."""
    path = f"{PATH}.gz"
    with fs.open(path, "wb", compression=compression) as file:
        file.write(LOG[:MIB])
    with fs.open(path, "rb", compression=compression) as file:
        assert file.read() == LOG[:MIB]
    file = fs.open(path, "wt", compression=compression, encoding="utf-8")
    file.write("text\n" * 1000)
    file.close()
    with fs.open(path, "rt", compression=compression) as file:
        assert file.read() == "text\n" * 1000
    with fsspec.core.OpenFile(fs, path, "wb", compression=fsspec.core.get_compression(path, compression)) as file:
        file.write(b"through fsspec")
    assert fs.open(path, compression=compression).read() == b"through fsspec"


def test_failing_compressor_leaves_no_object(fs: S4FileSystem, store: FakeS3) -> None:
    """Where the end of a compressed stream cannot be written, there is no object."""
    store.before = first("upload_part")
    file = fs.open(PATH, "wb", compression="gzip", block_size=MIB)
    file.write(NOISE[: 9 * MIB])
    with pytest.raises(PermissionError):
        file.close()
    file.close()

    assert (store.buckets[BUCKET], store.uploads) == ({}, {})


def test_listing_is_forgotten_when_the_outcome_is_unknown(fs: S4FileSystem, store: FakeS3) -> None:
    """A write that failed without an answer may have happened: what was listed before is not shown again."""
    fs.pipe_file(f"{BUCKET}/other", b"other")
    assert fs.ls(BUCKET, detail=False) == [f"{BUCKET}/other"]
    store.after = lambda method, _: lost() if method == "put_object" else None
    store.before = lambda method, _: lost() if method == "head_object" else None
    with pytest.raises(S4FileSystemError), fs.open(PATH, "wb") as file:
        file.write(b"written")
    store.after = store.before = None

    assert fs.ls(BUCKET, detail=False) == [PATH, f"{BUCKET}/other"]


def test_source_that_shrinks_is_refused(fs: S4FileSystem, store: FakeS3, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A local file that is cut off while it is sent is an OSError, and no object."""
    local = tmp_path / "local"
    local.write_bytes(LOG)
    read = LocalSource.read

    def shrinking(source: LocalSource) -> bytes:
        local.write_bytes(LOG[:1000])
        return read(source)

    monkeypatch.setattr(LocalSource, "read", shrinking)
    with pytest.raises(S4FileSystemError, match="declared"):
        fs.put_file(str(local), PATH)

    assert (store.buckets[BUCKET], store.uploads) == ({}, {})


@pytest.mark.parametrize(
    ("path", "options", "number"),
    [(BUCKET, {}, errno.EISDIR), (PATH, {"mode": "create"}, errno.EEXIST)],
)
def test_refusals_tell_their_errno(fs: S4FileSystem, path: str, options: dict[str, str], number: int) -> None:
    """What is refused has the errno of its reason, and is not called a write whose outcome is unknown."""
    fs.pipe_file(PATH, b"content")
    with pytest.raises(OSError, match=path) as caught:
        fs.pipe_file(path, b"another", **options)

    assert caught.value.errno == number
    assert fs.cat_file(PATH) == b"content"
