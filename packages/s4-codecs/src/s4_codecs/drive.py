"""Running an encoder or a decoder: in threads, or beside an asyncio event loop, order kept and memory bounded.

At most `in_flight` frames are being worked on or wait to be handed on; input is taken only as fast as output is. Frames whose codec does
many in one go are worked on in batches, of which two are on their way at most.
"""

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterable, Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import chain
from typing import Generic, TypeAlias, TypeVar

from s4_format import Buffer

from s4_codecs._jobs import BATCH_BYTES, BATCHES_IN_FLIGHT, Gatherer, Job, Task, nothing_behind, one_by_one
from s4_codecs.decode import Decoded, ObjectDecoder
from s4_codecs.encode import ObjectEncoder
from s4_codecs.frame_task import EncodedFrame
from s4_codecs.payload import DecodeStream, PayloadDecoder

__all__ = [
    "BATCHES_IN_FLIGHT",
    "BATCH_BYTES",
    "DEFAULT_IN_FLIGHT",
    "INLINE_BELOW_BYTES",
    "decode_async",
    "decode_threaded",
    "encode_async",
    "encode_threaded",
]

DEFAULT_IN_FLIGHT = 4
INLINE_BELOW_BYTES = 32 * 1024
"""Smaller frames are done on the calling thread: handing them to another costs more than the work. Slower codecs have a smaller bound."""

_R = TypeVar("_R")


@dataclass(frozen=True, slots=True)
class _Machine(Generic[_R]):
    """What encoders and decoders have in common."""

    feed: Callable[[Buffer], "Sequence[Task[_R] | DecodeStream]"]
    end: Callable[[], "Sequence[Task[_R] | DecodeStream]"]
    emit: Callable[[_R], Iterable[Buffer]]
    gather: Callable[["Iterable[Task[_R] | DecodeStream]"], "Iterator[Job[_R] | DecodeStream]"]
    """Makes jobs of tasks; what is to be done together stays behind until `flush`."""
    flush: Callable[[], "Iterator[Job[_R]]"]
    deliberates: Callable[[int | None], bool]
    """Whether `feed` of so many bytes, or `end` (None), takes so long that an event loop should not wait for it."""


def encode_threaded(
    encoder: ObjectEncoder, chunks: Iterable[Buffer], *, workers: int, in_flight: int = DEFAULT_IN_FLIGHT
) -> Generator[Buffer, None, None]:
    """The stored body of the plaintext in `chunks`, piece by piece.

    Args:
        encoder: fresh; its properties describe the body once the iterator is exhausted.
        chunks: the plaintext.
        workers: threads; 0 does everything on the calling one.
        in_flight: frames held at most.

    Raises:
        EncodeSizeError, CodecUnavailableError, and whatever `chunks` raises. Nothing handed out so far may become visible then.
    """
    return _run_threaded(_encoding(encoder), chunks, workers=workers, in_flight=in_flight)


def decode_threaded(
    decoder: ObjectDecoder | PayloadDecoder, chunks: Iterable[Buffer], *, workers: int, in_flight: int = DEFAULT_IN_FLIGHT
) -> Generator[Buffer, None, None]:
    """The plaintext of the stored bytes in `chunks`, piece by piece; arguments as for `encode_threaded`.

    Raises:
        CodecError, FormatError, and whatever `chunks` raises. What was handed out before was right; the rest does not exist.
    """
    return _run_threaded(_decoding(decoder), chunks, workers=workers, in_flight=in_flight)


def encode_async(
    encoder: ObjectEncoder,
    chunks: AsyncIterable[Buffer],
    *,
    pool: Executor,
    in_flight: int = DEFAULT_IN_FLIGHT,
    inline_below: int = INLINE_BELOW_BYTES,
) -> AsyncGenerator[Buffer, None]:
    """As `encode_threaded`, with the frames' work in `pool`.

    Close the iterator when it is not exhausted (`contextlib.aclosing`): that, an error or a cancellation cancels the outstanding work.

    Args:
        pool: a thread pool, which several encoders may share; it is not shut down.
        inline_below: frames with less plaintext are encoded on the event loop's thread (less still at slow levels, in proportion).
    """
    return _run_async(_encoding(encoder), chunks, pool=pool, in_flight=in_flight, inline_below=inline_below)


def decode_async(
    decoder: ObjectDecoder | PayloadDecoder,
    chunks: AsyncIterable[Buffer],
    *,
    pool: Executor,
    in_flight: int = DEFAULT_IN_FLIGHT,
    inline_below: int = INLINE_BELOW_BYTES,
) -> AsyncGenerator[Buffer, None]:
    """As `decode_threaded`, with the frames' work in `pool`; see `encode_async`."""
    return _run_async(_decoding(decoder), chunks, pool=pool, in_flight=in_flight, inline_below=inline_below)


def _never(_: int | None) -> bool:
    return False


def _encoding(encoder: ObjectEncoder) -> _Machine[EncodedFrame]:
    gatherer = Gatherer()
    return _Machine(encoder.feed, encoder.finish, encoder.accept, gatherer.gather, gatherer.flush, encoder.deliberates)


def _decoding(decoder: ObjectDecoder | PayloadDecoder) -> _Machine[Decoded]:
    if isinstance(decoder, PayloadDecoder):
        return _Machine(decoder.feed, decoder.close, lambda _: (), one_by_one, nothing_behind, _never)
    accept = decoder.accept

    def emit(decoded: Decoded) -> tuple[Buffer, ...]:
        data = accept(decoded)
        return (data,) if len(data) else ()

    return _Machine(decoder.feed, decoder.close, emit, one_by_one, nothing_behind, _never)


def _run_threaded(machine: _Machine[_R], chunks: Iterable[Buffer], *, workers: int, in_flight: int) -> Generator[Buffer, None, None]:
    _check_in_flight(in_flight)
    pool = ThreadPoolExecutor(workers, thread_name_prefix="s4-codec") if workers else None
    inline_below = INLINE_BELOW_BYTES if workers else None
    window: deque[_Outstanding[_R]] = deque()
    try:
        for work in _all_work(machine, chunks):
            while len(window) >= _allowed(work, in_flight):
                yield from _emitted(machine, window.popleft().result())
            if isinstance(work, DecodeStream):
                yield from work
            else:
                window.append(_start(work, pool, inline_below))
        while window:
            yield from _emitted(machine, window.popleft().result())
    finally:
        if pool is not None:
            pool.shutdown(wait=True, cancel_futures=True)


def _all_work(machine: _Machine[_R], chunks: Iterable[Buffer]) -> "Iterator[Job[_R] | DecodeStream]":
    for chunk in chunks:
        yield from machine.gather(machine.feed(chunk))
    yield from machine.gather(machine.end())
    yield from machine.flush()


def _allowed(work: "Job[_R] | DecodeStream", in_flight: int) -> int:
    """How many jobs may be outstanding, this one included."""
    if isinstance(work, DecodeStream):
        return 1
    return in_flight if work.in_flight is None else min(in_flight, work.in_flight)


def _emitted(machine: _Machine[_R], results: Sequence[_R]) -> Iterator[Buffer]:
    for result in results:
        yield from machine.emit(result)


async def _run_async(
    machine: _Machine[_R], chunks: AsyncIterable[Buffer], *, pool: Executor, in_flight: int, inline_below: int
) -> AsyncGenerator[Buffer, None]:
    _check_in_flight(in_flight)
    source = aiter(chunks)
    window: deque[_Outstanding[_R]] = deque()
    try:
        chunk: Buffer | None = b""
        while chunk is not None:
            chunk = await anext(source, None)
            for work in await _work_of(machine, chunk, pool):
                while len(window) >= _allowed(work, in_flight):
                    for buffer in _emitted(machine, await _result(window.popleft())):
                        yield buffer
                if not isinstance(work, DecodeStream):
                    window.append(_start(work, pool, inline_below))
                    continue
                steps = iter(work)
                executor = pool if work.weight >= inline_below else None
                while (piece := await _step(steps, executor)) is not None:
                    yield piece
            while window and (chunk is None or window[0].done()):
                for buffer in _emitted(machine, await _result(window.popleft())):
                    yield buffer
    finally:
        for outstanding in window:
            outstanding.cancel()


async def _work_of(machine: _Machine[_R], chunk: Buffer | None, pool: Executor) -> "Iterable[Job[_R] | DecodeStream]":
    """The jobs that `chunk` makes, or the end of the input (None)."""
    if machine.deliberates(None if chunk is None else len(memoryview(chunk))):
        loop = asyncio.get_running_loop()
        tasks = await (loop.run_in_executor(pool, machine.end) if chunk is None else loop.run_in_executor(pool, machine.feed, chunk))
    else:
        tasks = machine.end() if chunk is None else machine.feed(chunk)
    jobs = machine.gather(tasks)
    return chain(jobs, machine.flush()) if chunk is None else jobs


class _Done(Generic[_R]):
    """Results that are there already, with the face of a future."""

    __slots__ = ("_value",)

    def __init__(self, value: Sequence[_R]) -> None:
        self._value = value

    def done(self) -> bool:
        return True

    def result(self) -> Sequence[_R]:
        return self._value

    def cancel(self) -> bool:
        return False


_Outstanding: TypeAlias = Future[Sequence[_R]] | _Done[_R]


def _start(job: Job[_R], pool: Executor | None, inline_below: int | None) -> _Outstanding[_R]:
    if pool is None or (inline_below is not None and job.weight < inline_below):
        return _Done(job.run())
    return pool.submit(job.run)


async def _result(outstanding: _Outstanding[_R]) -> Sequence[_R]:
    if isinstance(outstanding, _Done) or outstanding.done():
        return outstanding.result()
    return await asyncio.wrap_future(outstanding)


async def _step(steps: Iterator[Buffer], pool: Executor | None) -> Buffer | None:
    if pool is None:
        return next(steps, None)
    return await asyncio.get_running_loop().run_in_executor(pool, next, steps, None)


def _check_in_flight(in_flight: int) -> None:
    if in_flight < 1:
        raise ValueError(f"in_flight must be at least 1, not {in_flight}")
