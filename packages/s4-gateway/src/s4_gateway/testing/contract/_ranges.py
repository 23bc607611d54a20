"""Cases: parts of a body, and downloads that something happens to."""

import asyncio
import random
from collections.abc import Awaitable

import pytest

from s4_gateway.backend.abc import Backend, BackendError, Download, Span, Suffix
from s4_gateway.testing.contract._base import ContractBase, put, random_body, refused


class RangeCases(ContractBase):
    """GetObject with a span, with a condition, and beside writers."""

    @pytest.mark.parametrize(
        ("span", "expected"),
        [
            (None, (0, 10)),
            (Span(0), (0, 10)),
            (Span(0, 10), (0, 10)),
            (Span(0, 1), (0, 1)),
            (Span(9), (9, 10)),
            (Span(3, 7), (3, 7)),
            (Span(4, 99), (4, 10)),
            (Suffix(1), (9, 10)),
            (Suffix(10), (0, 10)),
            (Suffix(11), (0, 10)),
            (Suffix(2**40), (0, 10)),
        ],
        ids=str,
    )
    async def test_span(self, backend: Backend, bucket: str, span: Span | Suffix | None, expected: tuple[int, int]) -> None:
        """A span gives its bytes and says which they are; an end behind the body is cut."""
        await put(backend, bucket, "key", b"0123456789")
        download = await backend.get_object(bucket, "key", span=span)
        assert (download.start, download.stop) == expected
        assert download.object.size == 10
        assert await download.read() == b"0123456789"[slice(*expected)]

    @pytest.mark.parametrize("span", [Span(10), Span(10, 11), Span(99)], ids=str)
    async def test_span_behind_the_end(self, backend: Backend, bucket: str, span: Span) -> None:
        """A span that starts at or behind the end is InvalidRange."""
        await put(backend, bucket, "key", b"0123456789")
        with refused("InvalidRange"):
            await backend.get_object(bucket, "key", span=span)

    async def test_span_of_an_empty_object(self, backend: Backend, bucket: str) -> None:
        """No byte of an empty object can be asked for, but its suffix is empty."""
        await put(backend, bucket, "key", b"")
        with refused("InvalidRange"):
            await backend.get_object(bucket, "key", span=Span(0, 1))
        download = await backend.get_object(bucket, "key", span=Suffix(5))
        assert (download.object.size, download.start, download.stop) == (0, 0, 0)
        assert await download.read() == b""

    async def test_random_spans_of_a_large_object(self, backend: Backend, bucket: str) -> None:
        """Any span of a body of many chunks is exact."""
        body = random_body(3 * 2**20 + 17)
        await put(backend, bucket, "key", body)
        choice = random.Random(7)
        for _ in range(12):
            start = choice.randrange(len(body))
            stop = choice.randrange(start, len(body)) + 1
            assert await (await backend.get_object(bucket, "key", span=Span(start, stop))).read() == body[start:stop]

    async def test_if_match(self, backend: Backend, bucket: str) -> None:
        """The bytes come only from the object that was meant."""
        written = await put(backend, bucket, "key", b"0123456789")
        assert await (await backend.get_object(bucket, "key", if_match=written.etag)).read() == b"0123456789"
        assert await (await backend.get_object(bucket, "key", span=Span(2, 4), if_match=written.etag)).read() == b"23"
        await put(backend, bucket, "key", b"abcdefghij")
        for span in (None, Span(2, 4), Suffix(1)):
            with refused("PreconditionFailed"):
                await backend.get_object(bucket, "key", span=span, if_match=written.etag)

    async def test_if_match_of_an_absent_object(self, backend: Backend, bucket: str) -> None:
        """A condition on nothing is still NoSuchKey."""
        with refused("NoSuchKey"):
            await backend.get_object(bucket, "key", if_match="0" * 32)

    @pytest.mark.parametrize("size", [50_000, 8 * 2**20])
    async def test_overwrite_in_mid_download(self, backend: Backend, bucket: str, size: int) -> None:
        """A download gives the object it was opened on, or an error: never bytes of two."""
        await self._disturbed(backend, bucket, size, put(backend, bucket, "key", random_body(size, 1)))

    @pytest.mark.parametrize("size", [50_000, 8 * 2**20])
    async def test_delete_in_mid_download(self, backend: Backend, bucket: str, size: int) -> None:
        """Deleting an object does not damage a download that goes on."""
        await self._disturbed(backend, bucket, size, backend.delete_object(bucket, "key"))

    async def _disturbed(self, backend: Backend, bucket: str, size: int, disturb: Awaitable[object]) -> None:
        body = random_body(size)
        await put(backend, bucket, "key", body)
        async with await backend.get_object(bucket, "key") as download:
            got = bytearray()
            try:
                async for chunk in download:
                    if not got:
                        await disturb
                    got += chunk
            except BackendError:
                assert body.startswith(got)
            else:
                assert got == body

    async def test_download_closed_early(self, backend: Backend, bucket: str) -> None:
        """A download may be left at any moment, more than once, and the store goes on."""
        body = random_body(4 * 2**20)
        await put(backend, bucket, "key", body)
        for _ in range(20):
            unread = await backend.get_object(bucket, "key")
            await unread.aclose()
            begun = await backend.get_object(bucket, "key")
            assert body.startswith(await anext(begun.__aiter__()))
            await begun.aclose()
            await begun.aclose()
        assert await (await backend.get_object(bucket, "key")).read() == body

    async def test_cancelled_download(self, backend: Backend, bucket: str) -> None:
        """A reader that is cancelled leaves the store usable."""
        body = random_body(4 * 2**20)
        await put(backend, bucket, "key", body)
        begun = asyncio.Event()

        async def read_slowly() -> None:
            async with await backend.get_object(bucket, "key") as download:
                async for _ in download:
                    begun.set()
                    await asyncio.sleep(60)

        reader = asyncio.create_task(read_slowly())
        await begun.wait()
        reader.cancel()
        with pytest.raises(asyncio.CancelledError):
            await reader
        assert await (await backend.get_object(bucket, "key")).read() == body

    async def test_concurrent_downloads(self, backend: Backend, bucket: str) -> None:
        """Readers of one object do not disturb each other."""
        body = random_body(2 * 2**20)
        await put(backend, bucket, "key", body)

        async def read(start: int) -> bool:
            download: Download = await backend.get_object(bucket, "key", span=Span(start))
            return await download.read() == body[start:]

        assert all(await asyncio.gather(*(read(start * 100_003) for start in range(8))))
