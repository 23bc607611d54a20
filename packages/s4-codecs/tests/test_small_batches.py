"""Frames of several requests are compressed together."""

import asyncio
import logging
import threading
from collections.abc import Awaitable, Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import pytest
from s4_format import Buffer

from s4_codecs import EncodedFrame, EncodeOptions, FrameTask, ObjectEncoder
from s4_codecs.small_batches import LEAST_QUEUE, SmallBatches
from s4_codecs.testing.batch import HostBatchCodec, provided
from s4_codecs.testing.workloads import log

OPTIONS = EncodeOptions(codec="nvcomp-zstd", dispatcher="always")
TEXT = log(200_000)


class Gated(HostBatchCodec):
    """Batches wait until they may go on."""

    def __init__(self) -> None:
        super().__init__()
        self.gate = threading.Event()

    def encode_many(self, frames: Sequence[Buffer]) -> list[Buffer]:
        """When the gate is open."""
        assert self.gate.wait(20)
        return super().encode_many(frames)


class Broken(HostBatchCodec):
    """Batches of more than one frame fail."""

    def encode_many(self, frames: Sequence[Buffer]) -> list[Buffer]:
        """A single frame at most."""
        if len(frames) > 1:
            raise RuntimeError("the library says 700")
        return super().encode_many(frames)


def task_of(number: int) -> FrameTask:
    """The only frame of a small object."""
    data = TEXT[number * 100 : number * 100 + 5000]
    encoder = ObjectEncoder(OPTIONS, size=len(data))
    (task,) = [*encoder.feed(data), *encoder.finish()]
    return task


@pytest.fixture
def told() -> list[tuple[str, int]]:
    """What the component told."""
    return []


@pytest.fixture
def run(told: list[tuple[str, int]]) -> Iterator[Callable[..., list[EncodedFrame]]]:
    """Runs a scenario with a component of its own."""
    with ThreadPoolExecutor(2) as pool:

        def in_loop(scenario: Callable[[SmallBatches], Awaitable[list[EncodedFrame]]], **knobs: float) -> list[EncodedFrame]:
            async def main() -> list[EncodedFrame]:
                max_items, window = int(knobs.get("max_items", 8)), knobs.get("window", 0.05)
                batches = SmallBatches(pool, max_items=max_items, window=window, tell=lambda result, count: told.append((result, count)))
                found = await scenario(batches)
                await asyncio.sleep(0.01)
                assert asyncio.all_tasks() == {asyncio.current_task()}
                return found

            return asyncio.run(main())

        yield in_loop


async def all_of(batches: SmallBatches, count: int) -> list[EncodedFrame]:
    """`count` frames, asked for at once."""
    return await asyncio.gather(*(batches.run(task_of(number)) for number in range(count)))


def test_full_batches_do_not_wait(run: Callable[..., list[EncodedFrame]], told: list[tuple[str, int]]) -> None:
    """As many frames as a batch holds go at once, each to the request that asked; the rest when the window is over."""
    codec = HostBatchCodec()
    with provided(codec):
        expected = [task_of(number).run() for number in range(20)]
        codec.batches.clear()
        assert run(lambda batches: all_of(batches, 20), max_items=8, window=0.05) == expected
    assert codec.batches == [8, 8, 4]
    assert told == [("batched", 8), ("batched", 8), ("batched", 4)]


def test_the_window_of_the_oldest(run: Callable[..., list[EncodedFrame]]) -> None:
    """A frame that is alone waits for the window, and no longer."""
    codec = HostBatchCodec()

    async def scenario(batches: SmallBatches) -> list[EncodedFrame]:
        loop = asyncio.get_running_loop()
        began = loop.time()
        frame = await batches.run(task_of(0))
        assert 0.09 <= loop.time() - began < 5
        return [frame]

    with provided(codec):
        run(scenario, max_items=100, window=0.1)
    assert codec.batches == [1]


def test_a_full_queue(run: Callable[..., list[EncodedFrame]], told: list[tuple[str, int]]) -> None:
    """Frames that find the queue full are made by the CPU at once."""
    codec = Gated()

    async def scenario(batches: SmallBatches) -> list[EncodedFrame]:
        waiting = [asyncio.create_task(batches.run(task_of(number))) for number in range(4)]
        await asyncio.sleep(0.05)  # these four are on the device
        waiting += [asyncio.create_task(batches.run(task_of(number))) for number in range(LEAST_QUEUE)]
        await asyncio.sleep(0.05)
        frame = await asyncio.wait_for(batches.run(task_of(1)), 5)
        assert frame.fallback
        codec.gate.set()
        return [frame, *await asyncio.gather(*waiting)]

    with provided(codec):
        frames = run(scenario, max_items=4, window=0.001)
    assert told[0] == ("fallback", 1)
    assert [frame.fallback for frame in frames] == [True] + [False] * (4 + LEAST_QUEUE)


@pytest.mark.parametrize("codec", [HostBatchCodec(failures=1), Broken()], ids=["memory", "library"])
def test_a_batch_that_fails(
    codec: HostBatchCodec, run: Callable[..., list[EncodedFrame]], told: list[tuple[str, int]], caplog: pytest.LogCaptureFixture
) -> None:
    """Where the device fails, every frame of the batch is made by the CPU; a failure that is not memory's is logged."""
    with provided(codec), caplog.at_level(logging.ERROR):
        frames = run(lambda batches: all_of(batches, 3))
    assert [frame.fallback for frame in frames] == [True] * 3
    assert told == [("fallback", 3)]
    assert ("700" in caplog.text) is isinstance(codec, Broken)


def test_requests_that_left(run: Callable[..., list[EncodedFrame]], told: list[tuple[str, int]]) -> None:
    """Frames of requests that were cancelled while they waited are not compressed."""
    codec = HostBatchCodec()

    async def scenario(batches: SmallBatches) -> list[EncodedFrame]:
        leaving = asyncio.create_task(batches.run(task_of(0)))
        staying = asyncio.create_task(batches.run(task_of(1)))
        await asyncio.sleep(0.01)
        leaving.cancel()
        return [await staying]

    with provided(codec):
        run(scenario)
    assert told == [("batched", 1)]


def test_only_batch_codecs(run: Callable[..., list[EncodedFrame]]) -> None:
    """Frames of other codecs have nothing to gain here."""
    (task,) = ObjectEncoder(EncodeOptions(), size=None, frame_size=4096).feed(TEXT[:4096])

    async def scenario(batches: SmallBatches) -> list[EncodedFrame]:
        with pytest.raises(ValueError, match="batches"):
            await batches.run(task)
        return []

    assert run(scenario) == []
