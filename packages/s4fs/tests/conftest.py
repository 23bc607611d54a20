"""File systems over every kind of target that needs no server."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from fsspec.implementations.memory import MemoryFileSystem

from s4fs import S4FileSystem
from s4fs.testing import FakeS3, FakeS3FileSystem

BUCKET = "bucket"

MakeFileSystem = Callable[..., S4FileSystem]


@pytest.fixture
def store() -> FakeS3:
    """An S3 in memory with one bucket."""
    return FakeS3(buckets={BUCKET: {}})


@pytest.fixture
def make(store: FakeS3) -> MakeFileSystem:
    """Makes file systems over the S3 in memory, writable unless told otherwise."""

    def made(**options: Any) -> S4FileSystem:
        return S4FileSystem(**{"fs": FakeS3FileSystem(store), "write_enabled": True, "skip_instance_cache": True, **options})

    return made


@pytest.fixture
def fs(make: MakeFileSystem) -> S4FileSystem:
    """A writable file system over the S3 in memory."""
    return make()


@pytest.fixture
def memory() -> Iterator[None]:
    """The memory file system of fsspec, which all its instances share, empty before and after."""
    MemoryFileSystem.store.clear()
    MemoryFileSystem.pseudo_dirs[:] = [""]
    yield
    MemoryFileSystem.store.clear()
    MemoryFileSystem.pseudo_dirs[:] = [""]


@pytest.fixture
def local_root(tmp_path: Path) -> str:
    """A folder for files."""
    folder = tmp_path / "root"
    folder.mkdir()
    return str(folder)
