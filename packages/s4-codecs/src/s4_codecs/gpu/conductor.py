"""One thread that speaks to the device for all lanes.

A batch is a generator (`lane.py`). It yields what it waits for: transfers between host and device, which other threads make, or the device
(None). All else that Python does is done by one thread, because handing the interpreter's lock from thread to thread hundreds of times a
batch takes several times longer than the work itself.
"""

import threading
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from queue import SimpleQueue
from typing import Generic, TypeVar

import cupy

from s4_codecs.errors import CodecUnavailableError, DeviceMemoryError
from s4_codecs.gpu.lane import Lane, Work
from s4_codecs.gpu.library import NvcompError
from s4_codecs.gpu.memory import Budget
from s4_codecs.gpu.transfers import Copiers, Transfer

_R = TypeVar("_R")


@dataclass(slots=True, eq=False)
class Job(Generic[_R]):
    """A batch that waits for a lane, or has one."""

    kind: object
    """Jobs of one kind share a limit."""
    begin: Callable[[Lane], Work[_R]]
    future: "Future[_R]" = field(default_factory=Future)
    lane: Lane | None = None
    steps: Work[_R] | None = None
    transfers_left: int = 0
    retried: bool = False
    error: BaseException | None = None
    """Of the transfers or the device, to be raised in the generator's place."""


class Conductor:
    """Runs jobs in lanes. Thread-safe.

    Args:
        lanes: as many as jobs at work at once.
        copiers: threads that make transfers.
        pinned: the budget of their buffers.
        limit: how many jobs of a kind may be at work at once.
        ran_out: called with the kind of a job that found no memory.
    """

    def __init__(
        self, lanes: list[Lane], *, copiers: int, pinned: Budget, limit: Callable[[object], int], ran_out: Callable[[object], None]
    ) -> None:
        self.failure: str | None = None
        self._lanes = lanes
        self._free = list(lanes)
        self._limit = limit
        self._ran_out = ran_out
        self._lost = False
        self._waiting: deque[Job[object]] = deque()
        self._at_work: dict[object, int] = {}
        self._ready: SimpleQueue[Job[object] | None] = SimpleQueue()
        self._device: SimpleQueue[Job[object] | None] = SimpleQueue()
        self._count = threading.Lock()
        self._copiers: Copiers[Job[object]] = Copiers(copiers, pinned=pinned, done=self._transferred)
        self._threads = [threading.Thread(target=target, name="s4-gpu", daemon=True) for target in (self._conduct, self._wait_for_device)]
        for thread in self._threads:
            thread.start()

    def submit(self, kind: object, begin: Callable[[Lane], Work[_R]]) -> "Future[_R]":
        """Run the generator that `begin` makes; the future has what it returns, or raises.

        Raises (from the future):
            DeviceMemoryError: there is no memory for it.
            CodecUnavailableError: nvCOMP or the device failed, or everything is closed.
        """
        job: Job[_R] = Job(kind, begin)
        self._ready.put(job)  # type: ignore[arg-type]
        return job.future

    def close(self, reason: str) -> None:
        """Let the jobs at work end, refuse those that wait, stop the threads and free the lanes' memory."""
        self.failure = self.failure or reason
        if not self._threads:
            return
        self._ready.put(None)
        self._threads[0].join()
        self._device.put(None)
        self._threads[1].join()
        self._threads.clear()
        self._copiers.close()
        if not self._lost:
            for lane in self._lanes:
                lane.close()

    # ------------------------------------------------------------------------------------------------- the thread that conducts

    def _conduct(self) -> None:
        closing = False
        while True:
            if closing and len(self._free) == len(self._lanes) and not self._waiting:
                return
            job = self._ready.get()
            if job is None:
                closing = True
            elif job.lane is None:
                self._waiting.append(job)
            else:
                self._advance(job)
            self._start_waiting()

    def _start_waiting(self) -> None:
        """Give lanes to the jobs that may begin, in order as far as the limits of their kinds allow."""
        for job in list(self._waiting) if self._free or self.failure else ():
            if self.failure:
                self._waiting.remove(job)
                job.future.set_exception(CodecUnavailableError(f"the GPU cannot be used: {self.failure}"))
            elif self._free:
                try:
                    may_begin = self._at_work.get(job.kind, 0) < self._limit(job.kind)
                except Exception as error:  # noqa: BLE001 -- nobody waits for ever because of what nvCOMP said about one algorithm
                    self._waiting.remove(job)
                    job.future.set_exception(_shown(error))
                    continue
                if may_begin:
                    self._waiting.remove(job)
                    self._at_work[job.kind] = self._at_work.get(job.kind, 0) + 1
                    job.lane = self._free.pop()
                    job.steps = job.begin(job.lane)
                    self._advance(job)

    def _advance(self, job: Job[object]) -> None:
        """Run the job up to the next thing that it waits for."""
        assert job.lane is not None
        assert job.steps is not None
        try:
            if job.error is not None:
                raise job.error
            wanted = next(job.steps)
            while wanted is not None and not wanted:
                wanted = next(job.steps)
        except StopIteration as end:
            self._end(job)
            job.future.set_result(end.value)
        except BaseException as error:  # noqa: BLE001 -- whatever it is, it belongs to the caller
            self._failed(job, error)
        else:
            self._order(job, wanted)

    def _order(self, job: Job[object], wanted: Sequence[Transfer] | None) -> None:
        assert job.lane is not None
        if wanted is None:
            self._device.put(job)
            return
        job.transfers_left = len(wanted)
        for transfer in wanted:
            self._copiers.order(job, job.lane.stream, transfer)

    def _end(self, job: Job[object]) -> None:
        assert job.lane is not None
        self._free.append(job.lane)
        self._at_work[job.kind] -= 1
        job.lane = job.steps = None

    def _failed(self, job: Job[object], error: BaseException) -> None:
        lane = job.lane
        assert lane is not None
        if isinstance(error, _device_errors()):
            # Such errors stay: every later call of CUDA in this process fails as well.
            self._lost, self.failure = True, str(error)
            shown: BaseException = CodecUnavailableError(f"the GPU failed: {error}")
            shown.__cause__ = error
        elif isinstance(error, DeviceMemoryError):
            lane.close()
            if not job.retried:
                # Lanes at rest keep what their last batch needed, perhaps for another algorithm.
                for resting in self._free:
                    resting.close()
                job.retried, job.error, job.steps = True, None, job.begin(lane)
                self._advance(job)
                return
            self._ran_out(job.kind)
            shown = error
        else:
            lane.settle()
            shown = _shown(error)
        self._end(job)
        job.future.set_exception(shown)

    # ------------------------------------------------------------------------------------------------------- the other threads

    def _transferred(self, job: Job[object], error: Exception | None) -> None:
        with self._count:
            job.error = job.error or error
            job.transfers_left -= 1
            done = job.transfers_left == 0
        if done:
            self._ready.put(job)

    def _wait_for_device(self) -> None:
        """In the order in which the jobs began to wait, which is about the order in which the device gets done with them."""
        while (job := self._device.get()) is not None:
            assert job.lane is not None
            try:
                job.lane.wait()
            except cupy.cuda.runtime.CUDARuntimeError as error:
                job.error = error
            self._ready.put(job)


def _shown(error: BaseException) -> BaseException:
    return CodecUnavailableError(str(error)) if isinstance(error, NvcompError) else error


def _device_errors() -> tuple[type[Exception], ...]:
    return (cupy.cuda.runtime.CUDARuntimeError, cupy.cuda.driver.CUDADriverError)
