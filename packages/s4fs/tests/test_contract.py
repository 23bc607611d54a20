"""The contract over every kind of target that needs no server."""

from pathlib import Path
from typing import Any

import pytest
from fsspec.implementations.local import LocalFileSystem
from fsspec.implementations.memory import MemoryFileSystem

from s4fs import S4FileSystem
from s4fs.testing import FakeS3
from s4fs.testing.contract import Behind, FileSystemContract

from .conftest import BUCKET


class BehindS3:
    """The S3 in memory itself."""

    def __init__(self, store: FakeS3) -> None:
        self._store = store

    def names(self, root: str) -> list[str]:
        return [f"{root}/{key}" for key in sorted(self._store.buckets[root])]

    def body(self, path: str) -> bytes:
        return self._store.get(path).body

    def replace(self, path: str, body: bytes) -> None:
        bucket, _, key = path.partition("/")
        found = self._store.buckets[bucket].get(key)
        self._store.put(path, body, found.metadata if found else {})


class TestOverS3(FileSystemContract):
    """Objects with metadata."""

    @pytest.fixture
    def fs(self, make: Any) -> S4FileSystem:
        return make()  # type: ignore[no-any-return]

    @pytest.fixture
    def second(self, make: Any) -> S4FileSystem:
        return make()  # type: ignore[no-any-return]

    @pytest.fixture
    def read_only(self, make: Any) -> S4FileSystem:
        return make(write_enabled=False)  # type: ignore[no-any-return]

    @pytest.fixture
    def root(self) -> str:
        return BUCKET

    @pytest.fixture
    def behind(self, store: FakeS3) -> Behind:
        return BehindS3(store)


class TestOverS3InParts(TestOverS3):
    """The same where everything above a few frames is sent in parts, whose metadata is sent before the body is known."""

    @pytest.fixture(autouse=True)
    def small(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("s4fs.writer.BUFFERED_BYTES", 100_000)


class BehindMemory:
    """Memory past the file system."""

    def names(self, root: str) -> list[str]:
        return sorted(name for name in MemoryFileSystem.store if name.startswith(f"{root}/"))

    def body(self, path: str) -> bytes:
        return bytes(MemoryFileSystem.store[path].getvalue())

    def replace(self, path: str, body: bytes) -> None:
        MemoryFileSystem(skip_instance_cache=True).pipe_file(path, body)


class TestOverMemory(FileSystemContract):
    """Files without metadata, in memory."""

    @pytest.fixture
    def fs(self, memory: None) -> S4FileSystem:
        return S4FileSystem(target_protocol="memory", write_enabled=True, skip_instance_cache=True)

    @pytest.fixture
    def second(self, memory: None) -> S4FileSystem:
        return S4FileSystem(target_protocol="memory", write_enabled=True, skip_instance_cache=True)

    @pytest.fixture
    def read_only(self, memory: None) -> S4FileSystem:
        return S4FileSystem(target_protocol="memory", skip_instance_cache=True)

    @pytest.fixture
    def root(self) -> str:
        return "/root"

    @pytest.fixture
    def behind(self) -> Behind:
        return BehindMemory()


class BehindFiles:
    """The files themselves."""

    def names(self, root: str) -> list[str]:
        return sorted(str(path) for path in Path(root).rglob("*") if path.is_file())

    def body(self, path: str) -> bytes:
        return Path(path).read_bytes()

    def replace(self, path: str, body: bytes) -> None:
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        Path(path).write_bytes(body)


class TestOverFiles(FileSystemContract):
    """Local files."""

    @pytest.fixture
    def fs(self) -> S4FileSystem:
        return S4FileSystem(target_protocol="file", write_enabled=True, skip_instance_cache=True)

    @pytest.fixture
    def second(self) -> S4FileSystem:
        return S4FileSystem(fs=LocalFileSystem(), write_enabled=True, skip_instance_cache=True)

    @pytest.fixture
    def read_only(self) -> S4FileSystem:
        return S4FileSystem(target_protocol="file", skip_instance_cache=True)

    @pytest.fixture
    def root(self, local_root: str) -> str:
        return local_root

    @pytest.fixture
    def behind(self) -> Behind:
        return BehindFiles()
