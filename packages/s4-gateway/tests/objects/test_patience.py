"""Slow clients: they may take their time until somebody waits for the memory that they hold."""

import asyncio
from collections.abc import AsyncIterator, Iterator, Mapping
from dataclasses import dataclass, field

import pytest

from s4_gateway.backend.abc import Buffer
from s4_gateway.objects import patience
from s4_gateway.objects.budget import ByteBudget
from s4_gateway.objects.held import SMALL_BYTES, UNRESERVED_BYTES, held
from s4_gateway.objects.patience import Patience
from s4_gateway.peer import PEER

from .helpers import MIB, noise, rig

LIMIT = 32 * MIB
WINDOW = 0.4


@dataclass
class Fake:
    """A client whose pace the test decides."""

    moved_bytes: int = 0
    due: bool = True
    dismissed: asyncio.Event = field(default_factory=asyncio.Event)

    def dismiss(self) -> None:
        self.dismissed.set()


@dataclass
class Pieces:
    """A body whose pieces the test hands over one by one; None ends it."""

    size: int | None
    sha256: str | None = None
    trailers: Mapping[str, str] = field(default_factory=dict)
    pieces: "asyncio.Queue[bytes | None]" = field(default_factory=asyncio.Queue)

    async def __aiter__(self) -> AsyncIterator[Buffer]:
        while (piece := await self.pieces.get()) is not None:
            yield piece


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Judge within fractions of a second."""
    monkeypatch.setattr(patience, "WINDOW_SECONDS", WINDOW)
    monkeypatch.setattr(patience, "PRESSED_SECONDS", 0.05)
    monkeypatch.setattr(patience, "TICK_SECONDS", 0.02)
    peer = PEER.set(None)
    yield
    PEER.reset(peer)


class TestJudgement:
    """Who is dismissed, and when."""

    async def watched(self, peer: Fake, *, pressed: bool, seconds: float) -> bool:
        """Whether a client that holds all of a budget is dismissed within some time."""
        budget, other = ByteBudget(10), ByteBudget(10)
        watching = Patience(budget, other)
        PEER.set(peer)
        watch = watching.watch(budget)
        assert watch is not None
        first = await budget.take(10)
        waiter = asyncio.create_task((budget if pressed else other).take(10))
        blocked = asyncio.create_task(other.take(10)) if not pressed else None
        try:
            await asyncio.wait_for(peer.dismissed.wait(), seconds)
        except TimeoutError:
            return False
        finally:
            watch.end()
            first.release()
            (await waiter).release()
            if blocked is not None:
                (await blocked).release()
        return True

    async def test_slow_client_makes_room(self) -> None:
        """Somebody waits for what a client holds that does not move: it is dismissed after the window, not at once."""
        began = asyncio.get_running_loop().time()
        assert await self.watched(Fake(), pressed=True, seconds=5)
        assert asyncio.get_running_loop().time() - began >= WINDOW

    async def test_others_memory(self) -> None:
        """Whoever waits for other memory is none of its concern."""
        assert not await self.watched(Fake(), pressed=False, seconds=2 * WINDOW)

    async def test_gateway_is_slow(self) -> None:
        """A client that waits for the gateway is not slow, however long that takes."""
        assert not await self.watched(Fake(due=False), pressed=True, seconds=3 * WINDOW)

    async def test_steady_client(self) -> None:
        """A client that moves enough bytes stays."""
        peer = Fake()

        async def move() -> None:
            while True:
                await asyncio.sleep(0.02)
                peer.moved_bytes += int(0.04 * patience.SLOW_BYTES_PER_SECOND)

        moving = asyncio.create_task(move())
        assert not await self.watched(peer, pressed=True, seconds=4 * WINDOW)
        moving.cancel()

    async def test_client_that_stops(self) -> None:
        """What it moved before is no credit: a client that stands still for a window is dismissed."""
        peer = Fake()
        asyncio.get_running_loop().call_later(WINDOW / 2, setattr, peer, "moved_bytes", 2**30)
        began = asyncio.get_running_loop().time()
        assert await self.watched(peer, pressed=True, seconds=10)
        assert asyncio.get_running_loop().time() - began >= 2 * WINDOW

    async def test_quiet_clock(self) -> None:
        """The clock runs only while somebody waits."""
        budget = ByteBudget(10)
        watching = Patience(budget)
        lease = await budget.take(10)
        assert watching._timer is None
        waiter = asyncio.create_task(budget.take(1))
        await asyncio.sleep(0)
        assert watching._timer is not None
        lease.release()
        (await waiter).release()
        await asyncio.sleep(0.1)
        assert watching._timer is None

    async def test_no_connection(self) -> None:
        """Work without a client behind it is not watched."""
        assert Patience(ByteBudget(10)).watch() is None


class TestHeldBody:
    """When the memory of an upload is reserved."""

    async def test_announcement_alone(self) -> None:
        """A large body of which little came holds nothing; with the byte behind that it holds everything, until the end."""
        async with rig(memory_bytes=LIMIT) as gateway:
            core = gateway.client.services.store.core
            body = Pieces(64 * MIB)
            async with held(core, body, 8 * MIB) as source:
                chunks = source.__aiter__()
                body.pieces.put_nowait(bytes(UNRESERVED_BYTES))
                await anext(chunks)
                assert core.budget.used == 0
                body.pieces.put_nowait(b"x")
                await anext(chunks)
                assert core.budget.used == 8 * MIB
            assert core.budget.used == 0

    @pytest.mark.parametrize(("size", "small"), [(1, True), (UNRESERVED_BYTES, True), (UNRESERVED_BYTES + 1, False)])
    async def test_end_of_a_small_body(self, size: int, small: bool) -> None:
        """A small body has its memory once it is there, out of the share for small ones; an empty one needs none."""
        async with rig(memory_bytes=LIMIT) as gateway:
            core = gateway.client.services.store.core
            body = Pieces(size)
            for piece in (bytes(size), None):
                body.pieces.put_nowait(piece)
            async with held(core, body, 2 * size) as source:
                assert b"".join([bytes(piece) async for piece in source]) == bytes(size)
                assert (core.small.used, core.budget.used) == ((2 * size, 0) if small else (0, 2 * size))
            assert (core.small.used, core.budget.used) == (0, 0)

    async def test_crowd_of_small_ones(self) -> None:
        """Where the share for small ones is used up, they have theirs like everybody."""
        async with rig(memory_bytes=LIMIT) as gateway:
            core = gateway.client.services.store.core
            async with core.small.reserve(LIMIT):
                body = Pieces(9)
                for piece in (bytes(9), None):
                    body.pieces.put_nowait(piece)
                async with held(core, body, SMALL_BYTES) as source:
                    assert [bytes(piece) async for piece in source] == [bytes(9)]
                    assert core.budget.used == SMALL_BYTES

    async def test_place_in_the_queue(self) -> None:
        """A client that stands still while it waits for its turn loses it, so that a crowd of them is gone at once."""
        async with rig(memory_bytes=LIMIT) as gateway:
            core = gateway.client.services.store.core
            peers = [Fake() for _ in range(20)]

            async def upload(peer: Fake) -> None:
                PEER.set(peer)
                body = Pieces(64 * MIB)
                body.pieces.put_nowait(bytes(UNRESERVED_BYTES + 1))
                async with held(core, body, 8 * MIB) as source:
                    task = asyncio.ensure_future(anext(source.__aiter__()))
                    await peer.dismissed.wait()
                    task.cancel()
                    await asyncio.wait([task])

            async with asyncio.timeout(5):
                await asyncio.gather(*map(upload, peers))
            assert core.budget.used == 0


async def test_small_requests_beside_a_crowd() -> None:
    """With all of the memory for large bodies taken, small objects are written and read without waiting."""
    async with rig(memory_bytes=LIMIT) as gateway:
        core = gateway.client.services.store.core
        await gateway.put("large", noise(4 * MIB))
        async with core.budget.reserve(LIMIT), core.reads.reserve(LIMIT), asyncio.timeout(5):
            await gateway.put("key", noise(4000))
            assert (await gateway.get("key")).body == noise(4000)
            assert (await gateway.get("large", range="bytes=5-60000")).body == noise(4 * MIB)[5:60001]
