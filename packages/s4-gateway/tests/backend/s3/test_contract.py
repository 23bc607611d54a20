"""S3Backend passes the contract over a small S3 of our own."""

from collections.abc import AsyncIterator, Sequence

import pytest
import pytest_asyncio

from s4_gateway.backend.abc import BackendError
from s4_gateway.backend.s3 import S3Backend, StaticCredentials
from s4_gateway.testing.contract import BackendContract, Seen
from s4_gateway.testing.mini_s3 import MiniS3

from .server import KEYS, Server, options, serving


class StoreBehind:
    """The state below the server."""

    def __init__(self, mini: MiniS3) -> None:
        self._store = mini.store

    async def put(self, bucket: str, key: str, seen: Seen) -> None:
        self._store.put(bucket, key, seen.body, headers=seen.headers, metadata=seen.metadata)

    async def get(self, bucket: str, key: str) -> Seen | None:
        try:
            stored, body = self._store.head(bucket, key)
        except BackendError:
            return None
        return Seen(body, stored.headers, stored.metadata)

    async def keys(self, bucket: str) -> Sequence[str]:
        page = self._store.page(bucket, prefix="", delimiter="", start_after="", token=None, limit=10_000)
        return [entry.key for entry in page.entries]

    async def delete(self, bucket: str, key: str) -> None:
        self._store.delete(bucket, key)


class TestS3(BackendContract):
    """Over HTTP, every signature and digest checked."""

    @pytest.fixture
    def mini(self) -> MiniS3:
        return MiniS3()

    @pytest_asyncio.fixture
    async def server(self, mini: MiniS3) -> AsyncIterator[Server]:
        async with serving(mini) as server:
            yield server

    @pytest_asyncio.fixture
    async def backend(self, server: Server) -> AsyncIterator[S3Backend]:
        backend = S3Backend(options(server.url), StaticCredentials(KEYS))
        await backend.start()
        yield backend
        await backend.close()

    @pytest.fixture
    def behind(self, mini: MiniS3) -> StoreBehind:
        return StoreBehind(mini)
