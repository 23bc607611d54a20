"""The suites that fsspec itself has for file systems, over every kind of target."""

from typing import Any

import pytest
from fsspec.implementations.local import LocalFileSystem, make_path_posix
from fsspec.tests import abstract

from s4fs import S4FileSystem

from .conftest import BUCKET


class Fixtures(abstract.AbstractFixtures):
    """What the suites have in common."""

    @pytest.fixture
    def local_fs(self) -> LocalFileSystem:
        # Releases of fsspec before 2026 make it in a way that pytest warns of.
        return LocalFileSystem(auto_mkdir=True)


class S3Fixtures(Fixtures):
    """Over S3, which knows no empty directories."""

    @pytest.fixture
    def fs(self, make: Any) -> S4FileSystem:
        return make()  # type: ignore[no-any-return]

    @pytest.fixture
    def fs_path(self) -> str:
        return BUCKET

    @pytest.fixture
    def supports_empty_directories(self) -> bool:
        return False


class MemoryFixtures(Fixtures):
    """Over the memory file system."""

    @pytest.fixture
    def fs(self, memory: None) -> S4FileSystem:
        return S4FileSystem(target_protocol="memory", write_enabled=True, skip_instance_cache=True)

    @pytest.fixture
    def fs_join(self) -> Any:
        return lambda *parts: "/".join(parts)

    @pytest.fixture
    def fs_path(self) -> str:
        return ""


class LocalFixtures(Fixtures):
    """Over local files."""

    @pytest.fixture
    def fs(self) -> S4FileSystem:
        return S4FileSystem(fs=LocalFileSystem(auto_mkdir=True), write_enabled=True, skip_instance_cache=True)

    @pytest.fixture
    def fs_path(self, tmpdir: Any) -> str:
        return str(tmpdir)

    @pytest.fixture
    def fs_sanitize_path(self) -> Any:
        return make_path_posix


class TestS3Copy(abstract.AbstractCopyTests, S3Fixtures):
    """Copies within S3."""


class TestS3Get(abstract.AbstractGetTests, S3Fixtures):
    """Downloads from S3."""


class TestS3Put(abstract.AbstractPutTests, S3Fixtures):
    """Uploads to S3."""


class TestS3Open(abstract.AbstractOpenTests, S3Fixtures):
    """Open files of S3."""


class TestS3Pipe(abstract.AbstractPipeTests, S3Fixtures):
    """Whole objects of S3."""


class TestMemoryCopy(abstract.AbstractCopyTests, MemoryFixtures):
    """Copies within memory."""


class TestMemoryGet(abstract.AbstractGetTests, MemoryFixtures):
    """Downloads from memory."""


class TestMemoryPut(abstract.AbstractPutTests, MemoryFixtures):
    """Uploads to memory."""


class TestMemoryOpen(abstract.AbstractOpenTests, MemoryFixtures):
    """Open files in memory."""


class TestMemoryPipe(abstract.AbstractPipeTests, MemoryFixtures):
    """Whole files in memory."""


class TestLocalCopy(abstract.AbstractCopyTests, LocalFixtures):
    """Copies of local files."""


class TestLocalGet(abstract.AbstractGetTests, LocalFixtures):
    """Downloads from local files."""


class TestLocalPut(abstract.AbstractPutTests, LocalFixtures):
    """Uploads to local files."""


class TestLocalOpen(abstract.AbstractOpenTests, LocalFixtures):
    """Open local files."""


class TestLocalPipe(abstract.AbstractPipeTests, LocalFixtures):
    """Whole local files."""
