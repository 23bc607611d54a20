"""The contract of s4fs over real stores, reading and writing behind its back."""

from collections.abc import Iterator

import pytest
from clients.filesystems import filesystem
from s4fs import S4FileSystem
from s4fs.testing.contract import FileSystemContract
from servers.behind import Behind, Stored
from servers.stores import Store

pytestmark = pytest.mark.servers("versitygw", "minio")


class BehindStore:
    """The store, reached by boto3."""

    def __init__(self, behind: Behind) -> None:
        self._behind = behind

    def names(self, root: str) -> list[str]:
        return [f"{root}/{key}" for key in self._behind.keys(root)]

    def body(self, path: str) -> bytes:
        return self._behind.get(*path.split("/", 1)).body

    def replace(self, path: str, body: bytes) -> None:
        bucket, key = path.split("/", 1)
        metadata = self._behind.get(bucket, key).metadata if key in self._behind.keys(bucket) else {}
        self._behind.put(bucket, key, Stored(body, metadata))


class TestContract(FileSystemContract):
    """Every promise, over a server."""

    @pytest.fixture
    def root(self, store: Store, bucket_name: str) -> Iterator[str]:
        store.behind.client.create_bucket(Bucket=bucket_name)
        yield bucket_name
        store.behind.remove_bucket(bucket_name)

    @pytest.fixture
    def fs(self, store: Store) -> S4FileSystem:
        return filesystem(store)

    @pytest.fixture
    def second(self, store: Store) -> S4FileSystem:
        return filesystem(store)

    @pytest.fixture
    def read_only(self, store: Store) -> S4FileSystem:
        return filesystem(store, write_enabled=False)

    @pytest.fixture
    def behind(self, store: Store) -> BehindStore:
        return BehindStore(store.behind)
