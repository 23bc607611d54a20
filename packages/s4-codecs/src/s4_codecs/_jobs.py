"""What drivers hand to threads: tasks one by one, or batches of frames that their codec does in one go."""

import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

from s4_codecs.abc import BatchCodec
from s4_codecs.frame_task import EncodedFrame, FrameTask, run_together
from s4_codecs.payload import DecodeStream

BATCH_BYTES = 8 << 20
BATCH_FRAMES = 64
"""Frames that a codec does in one go: until either is reached, the input ends, or a frame of another codec comes."""
BATCHES_IN_FLIGHT = 2
"""One is worked on while the next one waits, and a third one fills."""

_R = TypeVar("_R")
_R_co = TypeVar("_R_co", covariant=True)


class Task(Protocol[_R_co]):
    """Work with one result."""

    @property
    def weight(self) -> int:
        """About how many bytes zstd at its default level would compress in the same time."""
        ...

    def run(self) -> _R_co:
        """Do it, on any thread."""
        ...


class Job(Protocol[_R_co]):
    """Work for one thread, with any number of results."""

    @property
    def weight(self) -> int: ...

    @property
    def in_flight(self) -> int | None:
        """How many of its kind may be on their way; None: as many as the caller said."""
        ...

    def run(self) -> Sequence[_R_co]: ...


@dataclass(frozen=True, slots=True)
class One(Generic[_R]):
    """A task by itself."""

    task: Task[_R]
    in_flight: None = None

    @property
    def weight(self) -> int:
        return self.task.weight

    def run(self) -> Sequence[_R]:
        return (self.task.run(),)


@dataclass(frozen=True, slots=True)
class Batch:
    """Frames that their codec does in one go. Never on the event loop's thread: a device answers when it answers."""

    codec: BatchCodec
    tasks: Sequence[FrameTask]
    in_flight: int = BATCHES_IN_FLIGHT
    weight: int = sys.maxsize

    def run(self) -> Sequence[EncodedFrame]:
        return run_together(self.codec, self.tasks)


class Gatherer:
    """Makes batches of frames that follow each other and have the same batch codec."""

    def __init__(self) -> None:
        self._codec: BatchCodec | None = None
        self._tasks: list[FrameTask] = []
        self._size = 0

    def gather(self, tasks: "Iterable[Task[EncodedFrame] | DecodeStream]") -> "Iterator[Job[EncodedFrame] | DecodeStream]":
        for task in tasks:
            if not isinstance(task, FrameTask) or task.batch_codec is None:
                yield from self.flush()
                yield task if isinstance(task, DecodeStream) else One(task)
                continue
            if task.batch_codec is not self._codec:
                yield from self.flush()
            self._codec = task.batch_codec
            self._tasks.append(task)
            self._size += task.size
            if self._size >= BATCH_BYTES or len(self._tasks) >= BATCH_FRAMES:
                yield from self.flush()

    def flush(self) -> Iterator[Job[EncodedFrame]]:
        if self._codec is not None and self._tasks:
            yield Batch(self._codec, self._tasks)
        self._codec, self._tasks, self._size = None, [], 0


def one_by_one(tasks: "Iterable[Task[_R] | DecodeStream]") -> "Iterator[Job[_R] | DecodeStream]":
    for task in tasks:
        yield task if isinstance(task, DecodeStream) else One(task)


def nothing_behind() -> Iterator[Job[_R]]:
    return iter(())
