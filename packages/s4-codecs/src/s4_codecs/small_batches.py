"""Frames of small objects, of several requests together: a device does many in the time that it takes for one (gateway.md 6.4)."""

import asyncio
import logging
from collections import deque
from collections.abc import Callable
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import Literal, TypeAlias

from s4_codecs.abc import BatchCodec
from s4_codecs.frame_task import EncodedFrame, FrameTask, run_together

LEAST_QUEUE = 64
QUEUED_BATCHES = 4
"""Frames that wait at most: so many batches, or `LEAST_QUEUE` frames. One that finds the queue full is made by the CPU at once."""

SmallBatchResult: TypeAlias = Literal["batched", "fallback"]
Tell: TypeAlias = Callable[[SmallBatchResult, int], None]

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, eq=False)
class _Waiting:
    """One frame in the queue."""

    codec: BatchCodec
    task: FrameTask
    since: float
    done: asyncio.Future[EncodedFrame]


class SmallBatches:
    """Collects frame tasks until a batch is full or the oldest has waited long enough. For one event loop.

    Args:
        pool: where batches run, one at a time.
        max_items: frames of a batch at most.
        window: longest wait of a frame for others, in seconds; while a batch runs, the next one collects in any case.
        tell: called with the number of frames whenever some are done, and whether the device or the CPU compressed them.
    """

    def __init__(self, pool: Executor, *, max_items: int, window: float, tell: Tell) -> None:
        self._pool = pool
        self._max_items = max_items
        self._window = window
        self._tell = tell
        self._depth = max(QUEUED_BATCHES * max_items, LEAST_QUEUE)
        self._queue: deque[_Waiting] = deque()
        self._full = asyncio.Event()
        self._worker: asyncio.Task[None] | None = None

    async def run(self, task: FrameTask) -> EncodedFrame:
        """What `task.run()` gives, of a task that has a `batch_codec`; made by the CPU where the device cannot.

        Raises:
            DeviceMemoryError: no CPU codec stands in.
        """
        codec = task.batch_codec
        if codec is None:
            raise ValueError("the task's codec does no batches")
        loop = asyncio.get_running_loop()
        if len(self._queue) >= self._depth:
            frame = await loop.run_in_executor(self._pool, task.run_without_device)
            self._tell("fallback", 1)
            return frame
        waiting = _Waiting(codec, task, loop.time(), loop.create_future())
        self._queue.append(waiting)
        if len(self._queue) >= self._max_items:
            self._full.set()
        if self._worker is None:
            self._worker = loop.create_task(self._work())
        return await waiting.done

    async def _work(self) -> None:
        """Batch after batch, until nobody waits."""
        try:
            while self._queue:
                await self._collect()
                batch = self._take()
                if batch:
                    await self._run(batch)
        finally:
            self._worker = None

    async def _collect(self) -> None:
        """Wait until a batch is full or its first frame's time is over."""
        if len(self._queue) >= self._max_items:
            return
        self._full.clear()
        try:
            async with asyncio.timeout_at(self._queue[0].since + self._window):
                await self._full.wait()
        except TimeoutError:
            pass

    def _take(self) -> list[_Waiting]:
        """The next frames that have one codec, without those that nobody waits for any more."""
        codec, batch = self._queue[0].codec, list[_Waiting]()
        while self._queue and self._queue[0].codec is codec and len(batch) < self._max_items:
            waiting = self._queue.popleft()
            if not waiting.done.done():
                batch.append(waiting)
        return batch

    async def _run(self, batch: list[_Waiting]) -> None:
        tasks = [waiting.task for waiting in batch]
        try:
            frames = await asyncio.get_running_loop().run_in_executor(self._pool, _together, batch[0].codec, tasks)
        except Exception as error:  # noqa: BLE001 -- it is the waiters' error
            for waiting in batch:
                if not waiting.done.done():
                    waiting.done.set_exception(error)
            return
        self._tell("fallback" if frames[0].fallback else "batched", len(frames))
        for waiting, frame in zip(batch, frames, strict=True):
            if not waiting.done.done():
                waiting.done.set_result(frame)


def _together(codec: BatchCodec, tasks: list[FrameTask]) -> list[EncodedFrame]:
    """All of `tasks` by the device, or by the CPU if that fails: what is wrong with one request's frame must not fail the others."""
    try:
        return run_together(codec, tasks)
    except Exception:  # noqa: BLE001 -- whatever the device's library says, its payloads are not needed
        _log.exception("a batch of %d frames failed on the device; the CPU compresses them", len(tasks))
        return [task.run_without_device() for task in tasks]
