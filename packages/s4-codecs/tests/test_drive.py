"""The drivers: order, bounds, errors, cancellation."""

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from contextlib import aclosing

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from s4_format import Algorithm, Buffer, CodecId, FrameHeader, PayloadManifest, crc32c, iter_frames

from s4_codecs import (
    CodecUnavailableError,
    CrcMismatchError,
    EncodedFrame,
    EncodeOptions,
    EncodeSizeError,
    FrameTask,
    GpuPreference,
    ObjectDecoder,
    ObjectEncoder,
    PayloadDecoder,
    decode_async,
    decode_threaded,
    encode_async,
    encode_object,
    encode_threaded,
    open_decoder,
)
from s4_codecs.testing.batch import HostBatchCodec, provided
from s4_codecs.testing.workloads import log, noise

from .container_writers import container, zstd_frame

MIB = 1 << 20
FRAME = 64 * 1024
DATA = log(20 * FRAME + 5)
OPTIONS = EncodeOptions(zstd_level=1)


def encoder(size: int | None = len(DATA)) -> ObjectEncoder:
    """A fresh encoder of 64 KiB frames."""
    return ObjectEncoder(OPTIONS, size=size, frame_size=FRAME)


BODY = b"".join(encode_threaded(encoder(), (DATA,), workers=0))


def sliced(data: bytes, step: int) -> list[bytes]:
    """`data` in pieces of `step` bytes."""
    return [data[at : at + step] for at in range(0, len(data), step)]


async def arriving(chunks: list[bytes], *, fail: Exception | None = None) -> AsyncIterator[Buffer]:
    """The chunks, one turn of the event loop apart, then the failure."""
    for chunk in chunks:
        await asyncio.sleep(0)
        yield chunk
    if fail is not None:
        raise fail


def run_clean(make: Callable[[], Coroutine[object, object, object]]) -> object:
    """Run to the end; nothing may be left behind: no task, no complaint of the event loop."""
    complaints: list[str] = []

    async def main() -> object:
        asyncio.get_running_loop().set_exception_handler(lambda _, context: complaints.append(str(context)))
        result = await make()
        await asyncio.sleep(0.05)
        assert asyncio.all_tasks() == {asyncio.current_task()}
        return result

    result = asyncio.run(main())
    assert complaints == []
    return result


class CountingPool(Executor):
    """A pool that remembers its futures, counts what ran, and can hold tasks back."""

    def __init__(self, workers: int = 2) -> None:
        self._pool = ThreadPoolExecutor(workers)
        self.permits = threading.Semaphore(1000)
        self.submitted: list[Future[object]] = []
        self.ran = 0

    def submit(self, work, /, *args):  # type: ignore[no-untyped-def]
        def gated() -> object:
            assert self.permits.acquire(timeout=10)
            self.ran += 1
            return work(*args)

        future = self._pool.submit(gated)
        self.submitted.append(future)
        return future

    def hold(self, *, after: int) -> None:
        """Let `after` tasks run, then none until `release`."""
        self.permits = threading.Semaphore(after)

    def release(self) -> None:
        self.permits.release(1000)

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:  # noqa: FBT002 -- as in Executor
        self._pool.shutdown(wait, cancel_futures=cancel_futures)


@pytest.fixture
def pool() -> Iterator[CountingPool]:
    """A pool of two threads."""
    made = CountingPool()
    yield made
    made.release()
    made.shutdown()


@pytest.mark.parametrize("workers", [0, 1, 3])
@pytest.mark.parametrize("step", [1000, FRAME, len(DATA)])
@pytest.mark.parametrize("in_flight", [1, 2, 50])
def test_threads_keep_the_order(workers: int, step: int, in_flight: int) -> None:
    """Body and plaintext are the same for any number of threads, frames in flight and input pieces."""
    body = b"".join(encode_threaded(encoder(), sliced(DATA, step), workers=workers, in_flight=in_flight))
    assert body == BODY
    decoder = ObjectDecoder(expected_size=len(DATA))
    assert b"".join(decode_threaded(decoder, sliced(body, step), workers=workers, in_flight=in_flight)) == DATA


@pytest.mark.parametrize("inline_below", [0, FRAME, 10 * FRAME])
@pytest.mark.parametrize("in_flight", [1, 3])
@pytest.mark.parametrize("step", [5000, len(DATA)])
def test_asyncio_keeps_the_order(pool: CountingPool, step: int, in_flight: int, inline_below: int) -> None:
    """The same beside an event loop; small frames never see the pool."""

    async def main() -> None:
        made = encode_async(encoder(), arriving(sliced(DATA, step)), pool=pool, in_flight=in_flight, inline_below=inline_below)
        assert b"".join([bytes(piece) async for piece in made]) == BODY
        assert len(pool.submitted) == {0: 21, FRAME: 20, 10 * FRAME: 0}[inline_below]
        source = arriving(sliced(BODY, step))
        decoder = ObjectDecoder(start=70_000, stop=900_000)
        read = decode_async(decoder, source, pool=pool, in_flight=in_flight, inline_below=inline_below)
        assert b"".join([bytes(piece) async for piece in read]) == DATA[70_000:900_000]

    run_clean(main)


@pytest.mark.parametrize(("level", "pooled"), [(1, 0), (4, 0), (9, 1), (19, 1)])
def test_slow_levels_stay_off_the_loop(pool: CountingPool, level: int, pooled: int) -> None:
    """A small frame at a slow level would hold up the event loop, and goes to the pool."""

    async def main() -> None:
        slow = ObjectEncoder(EncodeOptions(zstd_level=level), size=10_000)
        async for _ in encode_async(slow, arriving([DATA[:10_000]]), pool=pool):
            pass
        assert len(pool.submitted) == pooled

    run_clean(main)


@settings(max_examples=15)
@given(st.integers(0, 300_000), st.integers(1, 100_000), st.integers(1, 5))
def test_any_size_any_step(size: int, step: int, in_flight: int) -> None:
    """Objects of any size round-trip through both drivers."""
    data = DATA[:size]

    async def main() -> None:
        with ThreadPoolExecutor(2) as threads:
            made = encode_async(encoder(size), arriving(sliced(data, step)), pool=threads, in_flight=in_flight, inline_below=5000)
            body = b"".join([bytes(piece) async for piece in made])
            read = decode_async(ObjectDecoder(expected_size=size), arriving(sliced(body, step)), pool=threads, inline_below=5000)
            assert b"".join([bytes(piece) async for piece in read]) == data

    run_clean(main)


@pytest.mark.parametrize("codec", ["cpu-gzip", "cpu-zstd", "passthrough"])
def test_payload_decoders_are_driven_alike(pool: CountingPool, codec: str) -> None:
    """Unframed payloads and foreign bodies go through the same drivers."""
    stored = encode_object(DATA, EncodeOptions(codec=codec, dispatcher="always"))

    async def main() -> bytes:
        read = decode_async(open_decoder(stored.manifest), arriving(sliced(stored.body, 100_000)), pool=pool)
        return b"".join([bytes(piece) async for piece in read])

    assert run_clean(main) == DATA
    assert b"".join(decode_threaded(PayloadDecoder(None), sliced(DATA, 999), workers=2)) == DATA


def test_what_another_process_decodes_stays_off_the_loop(pool: CountingPool) -> None:
    """Payloads of GPU codecs are decoded by the pool however small they are, as frames and bare."""
    payload = container(Algorithm.ZSTD, zstd_frame, b"small")
    facts = PayloadManifest(CodecId.NVCOMP_ZSTD, 5, len(payload), crc32c(b"small"))
    frame = FrameHeader(CodecId.NVCOMP_ZSTD, 5, len(payload), crc32c(b"small")).pack() + payload
    for decoder, body in ((ObjectDecoder(), frame), (PayloadDecoder(facts), payload)):
        before = pool.ran

        async def main() -> bytes:
            return b"".join([bytes(piece) async for piece in decode_async(decoder, arriving([body]), pool=pool)])  # noqa: B023 (called at once)

        assert run_clean(main) == b"small"
        assert pool.ran > before


def test_input_is_taken_as_output_is(pool: CountingPool) -> None:
    """No more than `in_flight` frames are unread at any time, whoever is slow."""
    taken = 0

    async def counting() -> AsyncIterator[Buffer]:
        nonlocal taken
        for chunk in sliced(DATA, FRAME):
            taken += 1
            yield chunk

    async def main() -> None:
        emitted = 0
        async with aclosing(encode_async(encoder(), counting(), pool=pool, in_flight=3, inline_below=0)) as pieces:
            async for _ in pieces:
                emitted += 1
                assert taken - emitted // 2 <= 4
                await asyncio.sleep(0.001)

    run_clean(main)


def test_threads_take_input_as_output_is_taken() -> None:
    """The same for the threaded driver."""
    taken = 0

    def counting() -> Iterator[bytes]:
        nonlocal taken
        for chunk in sliced(DATA, FRAME):
            taken += 1
            yield chunk

    for emitted, _ in enumerate(encode_threaded(encoder(), counting(), workers=2, in_flight=3)):
        assert taken - emitted // 2 <= 4


def test_finished_frames_are_handed_on_while_the_source_waits(pool: CountingPool) -> None:
    """A slow source does not hold back what is done already."""

    async def main() -> None:
        waiting = asyncio.Event()

        async def slow() -> AsyncIterator[Buffer]:
            yield BODY[: len(BODY) // 2]
            yield b""
            await waiting.wait()
            yield BODY[len(BODY) // 2 :]

        got = bytearray()
        async with aclosing(decode_async(ObjectDecoder(), slow(), pool=pool, inline_below=10 * FRAME)) as pieces:
            async for piece in pieces:
                got += piece
                if len(got) >= 9 * FRAME:
                    waiting.set()
        assert got == DATA

    run_clean(lambda: asyncio.wait_for(main(), 10))


def test_the_source_may_fail(pool: CountingPool) -> None:
    """An error of the source ends the iteration with that error, and the work in flight is dropped."""

    async def main() -> None:
        source = arriving(sliced(DATA, FRAME)[:3], fail=OSError("connection lost"))
        with pytest.raises(OSError, match="connection lost"):
            async for _ in encode_async(encoder(), source, pool=pool, inline_below=0):
                pass

    run_clean(main)


def test_the_codec_may_fail(pool: CountingPool) -> None:
    """The first damaged frame ends the iteration; what came out before it is right, and nothing comes after it."""
    damaged = bytearray(BODY)
    made = encoder()
    list(encode_threaded(made, (DATA,), workers=0))
    position = made.frames[5].stored_offset
    damaged[position + 24] ^= 1  # its CRC

    async def main() -> None:
        got = bytearray()

        async def read() -> None:
            async for piece in decode_async(ObjectDecoder(), arriving(sliced(bytes(damaged), 10_000)), pool=pool, inline_below=0):
                got.extend(piece)

        with pytest.raises(CrcMismatchError):
            await read()
        assert got == DATA[: 5 * FRAME]

    run_clean(main)
    with pytest.raises(CrcMismatchError):
        list(decode_threaded(ObjectDecoder(), (bytes(damaged),), workers=2))


def test_a_wrong_declared_size(pool: CountingPool) -> None:
    """A body that is shorter or longer than declared ends in the encoder's error."""

    async def main(size: int) -> None:
        with pytest.raises(EncodeSizeError):
            async for _ in encode_async(encoder(size), arriving(sliced(DATA, FRAME)), pool=pool, inline_below=0):
                pass

    run_clean(lambda: main(len(DATA) + 1))
    run_clean(lambda: main(len(DATA) - 1))
    with pytest.raises(EncodeSizeError):
        list(encode_threaded(encoder(len(DATA) + 1), (DATA,), workers=2))


def test_closing_cancels_outstanding_work(pool: CountingPool) -> None:
    """Closing the iterator cancels the frames that have not begun."""

    async def main() -> None:
        pool.hold(after=1)
        async with aclosing(encode_async(encoder(), arriving([DATA]), pool=pool, in_flight=12, inline_below=0)) as pieces:
            await anext(pieces)
        assert sum(future.cancelled() for future in pool.submitted) >= 8
        pool.release()

    run_clean(main)


def test_forgetting_the_iterator_cancels_outstanding_work(pool: CountingPool) -> None:
    """An iterator that is left in the middle without being closed leaves nothing behind either."""

    async def main() -> None:
        pool.hold(after=1)
        async for _ in encode_async(encoder(), arriving([DATA]), pool=pool, in_flight=12, inline_below=0):
            break
        await asyncio.sleep(0.05)
        assert sum(future.cancelled() for future in pool.submitted) >= 8
        pool.release()

    run_clean(main)


@pytest.mark.parametrize("direction", ["encode", "decode"])
def test_cancellation(pool: CountingPool, direction: str) -> None:
    """A cancelled reader is gone at once, although its frames hang, and those that have not begun never run."""

    async def read() -> None:
        if direction == "encode":
            pieces = encode_async(encoder(), arriving(sliced(DATA, FRAME)), pool=pool, in_flight=8, inline_below=0)
        else:
            pieces = decode_async(ObjectDecoder(), arriving([BODY]), pool=pool, in_flight=8, inline_below=0)
        async for _ in pieces:
            pass

    async def main() -> None:
        pool.hold(after=0)
        task = asyncio.create_task(read())
        while len(pool.submitted) < 8:  # noqa: ASYNC110 -- the pool is no part of the loop
            await asyncio.sleep(0.001)
        began = time.perf_counter()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert time.perf_counter() - began < 1
        assert sum(future.cancelled() for future in pool.submitted) >= 5
        pool.release()

    run_clean(main)
    assert pool.ran <= 3


def test_an_unfinished_threaded_iterator_stops_its_threads() -> None:
    """Closing the iterator ends its threads."""
    before = threading.active_count()
    pieces = encode_threaded(encoder(), sliced(DATA, FRAME), workers=3)
    next(pieces)
    assert threading.active_count() > before
    pieces.close()
    assert threading.active_count() == before


def test_several_objects_share_one_pool(pool: CountingPool) -> None:
    """Objects encoded at the same time do not disturb each other."""

    async def one(number: int) -> bool:
        data = log(300_000 + number)
        made = encode_async(encoder(len(data)), arriving(sliced(data, 7000)), pool=pool, inline_below=0)
        body = b"".join([bytes(piece) async for piece in made])
        return b"".join(decode_threaded(ObjectDecoder(expected_size=len(data)), (body,), workers=0)) == data

    async def main() -> None:
        assert all(await asyncio.gather(*(one(number) for number in range(8))))

    run_clean(main)


def test_a_pool_that_is_shut_down() -> None:
    """A dead pool is an error, not a hang."""

    async def main() -> None:
        with ThreadPoolExecutor(1) as dead:
            pass
        with pytest.raises(RuntimeError):
            async for _ in encode_async(encoder(), arriving([DATA]), pool=dead, inline_below=0):
                pass

    run_clean(main)


@pytest.mark.parametrize("in_flight", [0, -1])
def test_in_flight_must_be_positive(in_flight: int) -> None:
    """A window of no frames cannot work."""
    with pytest.raises(ValueError, match="in_flight"):
        list(encode_threaded(encoder(), (DATA,), workers=0, in_flight=in_flight))


def test_wide_frames_beside_the_loop(pool: CountingPool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Frames decoded as they arrive keep their place among those decoded whole, and large pieces go to the pool."""
    monkeypatch.setattr("s4_codecs.decode.STREAM_ABOVE_BYTES", 100_000)
    contents = [log(50_000), noise(400_000), log(90_000), noise(300_000), log(10)]
    body, data = b"", b"".join(contents)
    for item in contents:
        made = ObjectEncoder(OPTIONS, size=len(item), raw_passthrough_limit=0)
        body += b"".join(encode_threaded(made, (item,), workers=0))

    async def main() -> None:
        for step in (1000, 64_000, len(body)):
            read = decode_async(ObjectDecoder(expected_size=len(data)), arriving(sliced(body, step)), pool=pool, inline_below=20_000)
            assert b"".join([bytes(piece) async for piece in read]) == data

    run_clean(main)


def test_frames_are_made_by_tasks_alone() -> None:
    """A task's result depends on nothing but the task: running it twice gives equal frames."""
    made = encoder()
    task = made.feed(DATA)[0]
    assert isinstance(task, FrameTask)
    first, second = task.run(), task.run()
    assert isinstance(first, EncodedFrame)
    assert first == second


BATCHED = EncodeOptions(codec="nvcomp-zstd", dispatcher="always")


def batched(data: bytes, *, workers: int = 2, step: int = MIB, frame: int = FRAME) -> tuple[ObjectEncoder, bytes]:
    """The encoder and the body of `data` under a batch codec."""
    made = ObjectEncoder(BATCHED, size=len(data), frame_size=frame)
    return made, b"".join(encode_threaded(made, sliced(data, step), workers=workers))


def codecs_of(body: bytes) -> list[CodecId]:
    """The codec of each frame."""
    return [frame.header.codec for frame in iter_frames(body)]


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("step", [5000, MIB])
def test_batch_codecs_get_many_frames_at_once(workers: int, step: int) -> None:
    """Frames of a batch codec are made in batches of at most 64, and the body has them in order."""
    codec = HostBatchCodec()
    data = log(150 * FRAME + 1)
    with provided(codec):
        made, body = batched(data, workers=workers, step=step)
        assert codec.batches == [64, 64, 23]
        assert b"".join(decode_threaded(ObjectDecoder(expected_size=len(data)), (body,), workers=0)) == data
    assert set(codecs_of(body)) == {CodecId.NVCOMP_ZSTD, CodecId.PASSTHROUGH}  # the last frame is one byte
    assert (made.codec, made.fallback_frames) == (CodecId.NVCOMP_ZSTD, 0)


def test_batches_are_bounded_in_bytes() -> None:
    """A batch has at most 8 MiB of plaintext."""
    codec = HostBatchCodec()
    with provided(codec):
        batched(log(MIB) * 40, frame=4 * MIB)
    assert codec.batches == [2] * 5


def test_batches_beside_the_loop(pool: CountingPool) -> None:
    """Batches never run on the event loop's thread, however small, and no more than two are on their way."""
    codec = HostBatchCodec()

    async def main() -> bytes:
        made = ObjectEncoder(BATCHED, size=len(DATA), frame_size=4096)
        pieces = encode_async(made, arriving(sliced(DATA, 100_000)), pool=pool, in_flight=50, inline_below=1 << 30)
        return b"".join([bytes(piece) async for piece in pieces])

    with provided(codec):
        body = run_clean(main)
        assert isinstance(body, bytes)
        assert len(pool.submitted) == len(codec.batches) == 6
        assert b"".join(decode_threaded(ObjectDecoder(), (body,), workers=0)) == DATA


def test_a_device_without_memory() -> None:
    """A batch that the device has no memory for is made by zstd, and counted; the batches after it are not."""
    codec = HostBatchCodec(failures=1)
    data = log(100 * FRAME)
    with provided(codec):
        made, body = batched(data)
        assert made.fallback_frames == 64
        assert codecs_of(body) == [CodecId.CPU_ZSTD] * 64 + [CodecId.NVCOMP_ZSTD] * 36
        assert b"".join(decode_threaded(ObjectDecoder(), (body,), workers=2)) == data
        assert codec.batches == [64, 36]
    with provided(HostBatchCodec(failures=1)):
        task, *_ = ObjectEncoder(BATCHED, size=None, frame_size=FRAME).feed(data)
        assert (task.run().fallback, task.run().fallback) == (True, False)


def test_a_batch_codec_may_fail() -> None:
    """A codec that cannot work at all, or loses a payload, ends the body with an error."""

    class Absent(HostBatchCodec):
        def encode_many(self, frames: Sequence[Buffer]) -> list[Buffer]:
            raise CodecUnavailableError("no device", codec=self.codec_id, extra="gpu")

    class Forgetful(HostBatchCodec):
        def encode_many(self, frames: Sequence[Buffer]) -> list[Buffer]:
            return super().encode_many(frames)[1:]

    for codec in (Absent(), Forgetful()):
        with provided(codec), pytest.raises(ValueError, match=r"no device|shorter"):
            batched(log(10 * FRAME))


def test_a_device_that_fails_for_good(caplog: pytest.LogCaptureFixture) -> None:
    """Where the options say that there is a device, one that has failed is stood in for by zstd, which is told once and counted."""

    class Failed(HostBatchCodec):
        def encode_many(self, frames: Sequence[Buffer]) -> list[Buffer]:
            raise CodecUnavailableError(f"the GPU cannot be used: error {id(self)}", codec=self.codec_id)

    options = EncodeOptions(codec="nvcomp-zstd", dispatcher="always", gpu=GpuPreference())
    data = log(100 * FRAME)
    with provided(Failed()):
        made = ObjectEncoder(options, size=len(data), frame_size=FRAME)
        body = b"".join(encode_threaded(made, sliced(data, MIB), workers=2))
        task, *_ = ObjectEncoder(options, size=None, frame_size=FRAME).feed(data)
        assert task.run().fallback
    assert made.fallback_frames == 100
    assert codecs_of(body) == [CodecId.CPU_ZSTD] * 100
    assert caplog.text.count("cpu-zstd takes the place of nvcomp-zstd: the GPU cannot be used") == 1


def test_frames_between_batches_keep_their_place() -> None:
    """Where a trial changes to another codec and back, frames stay in order."""
    data = log(3 * MIB) + noise(3 * MIB) + log(6 * MIB)
    absent = {"nvcomp-bitcomp", "nvcomp-gdeflate", "nvcomp-ans", "nvcomp-cascaded", "cpu-zstd", "cpu-columnar"}
    options = EncodeOptions(codec="nvcomp-zstd", dispatcher="trial", exclude=frozenset(absent))
    with provided(HostBatchCodec()):
        body = b"".join(encode_threaded(ObjectEncoder(options, size=None), sliced(data, 99_000), workers=2))
        assert b"".join(decode_threaded(ObjectDecoder(), (body,), workers=2)) == data
    found = codecs_of(body)
    assert found[0] is found[-1] is CodecId.NVCOMP_ZSTD
    assert CodecId.PASSTHROUGH in found


def test_trials_stay_off_the_loop(pool: CountingPool) -> None:
    """The calls that try codecs are made in the pool; all others on the loop's thread."""
    data = log(3 * MIB)

    async def main() -> None:
        trial = ObjectEncoder(EncodeOptions(dispatcher="trial"), size=len(data))
        async for _ in encode_async(trial, arriving(sliced(data, 64 * 1024)), pool=pool, inline_below=1 << 30):
            pass
        assert len(pool.submitted) == 6  # the choice, and as many calls as frames are full after the first

    run_clean(main)
