"""MemoryBackend passes the contract, in each of its shapes."""

from collections.abc import AsyncIterator, Sequence

import pytest
import pytest_asyncio

from s4_gateway.backend.abc import BackendError, Capabilities
from s4_gateway.backend.memory import MemoryBackend
from s4_gateway.testing.contract import ODD_KEYS, BackendContract, Seen
from s4_gateway.testing.contract._listing import ListingCases
from s4_gateway.testing.contract._multipart import MultipartCases


class MemoryBehind:
    """The state below the backend."""

    def __init__(self, backend: MemoryBackend) -> None:
        self._store = backend.store

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


class MemoryFixtures:
    """The contract over memory."""

    capabilities = Capabilities(min_part_size=1000)
    opaque_etags = False
    odd_keys = (*ODD_KEYS, "nul\x00byte")

    @pytest_asyncio.fixture
    async def backend(self) -> AsyncIterator[MemoryBackend]:
        backend = MemoryBackend(capabilities=self.capabilities, opaque_etags=self.opaque_etags)
        await backend.start()
        yield backend
        assert backend.unspent == {}
        await backend.close()

    @pytest.fixture
    def behind(self, backend: MemoryBackend) -> MemoryBehind:
        return MemoryBehind(backend)


class TestMemory(MemoryFixtures, BackendContract):
    """As S3 is."""


class TestOpaqueEtags(MemoryFixtures, BackendContract):
    """As stores with encryption are."""

    opaque_etags = True


class TestStrictParts(MemoryFixtures, MultipartCases):
    """As stores are that want parts of one size."""

    capabilities = Capabilities(min_part_size=1000, strict_parts=True)


class TestNoMinimum(MemoryFixtures, MultipartCases, ListingCases):
    """A store without a minimum of parts, whose listings carry metadata."""

    capabilities = Capabilities(min_part_size=0, lists_metadata=True)
