"""Joining staged parts at Complete: their records are asked for ahead, in bounds, and none stays open."""

import asyncio
from collections.abc import AsyncGenerator

import pytest

from s4_gateway.backend.abc import BackendError, Capabilities, Download, Pieces, Span, Suffix
from s4_gateway.backend.memory import MemoryBackend
from s4_gateway.objects.uploads.join import OPENED_AHEAD

from .helpers import BUCKET, MIB, Rig, rig, text

PARTS = 7


class Watching(MemoryBackend):
    """Counts the records that are open at a time; each takes a moment to open."""

    def __init__(self, *, capabilities: Capabilities | None = None) -> None:
        super().__init__(capabilities=capabilities or Capabilities())
        self.open = self.most = self.opened = 0
        self.failing = 0
        """The download that cannot be opened, counted from 1; 0 = none."""

    async def get_object(
        self, bucket: str, key: str, *, span: Span | Suffix | None = None, if_match: str | None = None, version_id: str | None = None
    ) -> Download:
        download = await super().get_object(bucket, key, span=span, if_match=if_match, version_id=version_id)
        if not key.startswith(".s4mpu/") or key.endswith(("/upload", "/backend")):
            return download
        self.opened += 1
        number = self.opened
        await asyncio.sleep(0.01)
        if number == self.failing:
            raise BackendError("ServiceUnavailable", 503, "no")
        self.open += 1
        self.most = max(self.most, self.open)
        released = False

        async def release() -> None:
            nonlocal released
            self.open -= not released
            released = True

        async def chunks() -> AsyncGenerator[bytes, None]:
            async for chunk in download:
                await asyncio.sleep(0.002)
                yield chunk

        return Download(download.object, start=download.start, stop=download.stop, chunks=chunks(), release=release)


async def uploaded(gateway: Rig) -> tuple[str, list[tuple[int, str]], bytes]:
    """An upload of small parts that waits for its Complete."""
    # S3 wants 5 MiB of each but the last.
    bodies = [*(text(5 * MIB, number) for number in range(PARTS - 1)), b"end"]
    upload = await gateway.create("key")
    parts = [(number, await gateway.part("key", upload, number, body)) for number, body in enumerate(bodies, 1)]
    return upload, parts, b"".join(bodies)


@pytest.mark.parametrize("strict", [False, True])
async def test_records_are_asked_for_ahead(strict: bool) -> None:
    """While one record is read the next are on their way, but not all of them at once."""
    backend = Watching(capabilities=Capabilities(strict_parts=strict))
    async with rig(backend) as gateway:
        upload, parts, whole = await uploaded(gateway)
        answer = await gateway.complete("key", upload, parts)

        assert answer.status == 200
        assert (await gateway.get("key")).body == whole
    assert 1 < backend.most <= 1 + OPENED_AHEAD
    assert (backend.opened, backend.open) == (PARTS, 0)


async def test_what_was_asked_for_in_vain_is_closed() -> None:
    """A damaged record fails the Complete; the ones behind it are closed unread."""
    backend = Watching()
    async with rig(backend) as gateway:
        upload, parts, _ = await uploaded(gateway)
        record = next(name for name in await gateway.names() if "/00002." in name)
        stored, raw = await gateway.stored(record)
        bad = bytearray(raw)
        bad[len(bad) // 2] ^= 1
        backend.open = backend.opened = 0
        await backend.put_object(BUCKET, record, Pieces.of(bytes(bad)), headers=stored.headers, metadata=stored.metadata)
        answer = await gateway.complete("key", upload, parts)

        assert answer.code == "InternalError"
        assert "key" not in await gateway.names()
    assert backend.open == 0
    assert backend.opened < PARTS


@pytest.mark.parametrize("failing", [1, 2, PARTS])
async def test_a_record_that_cannot_be_opened(failing: int) -> None:
    """An error while a record is asked for fails the Complete when its turn comes, and nothing stays open."""
    backend = Watching()
    backend.failing = failing
    async with rig(backend) as gateway:
        upload, parts, whole = await uploaded(gateway)
        assert (await gateway.complete("key", upload, parts)).status == 503
        assert backend.open == 0
        backend.failing = 0
        assert (await gateway.complete("key", upload, parts)).status == 200
        assert (await gateway.get("key")).body == whole
    assert backend.open == 0
