"""What the frame size costs and saves; prints the tables of docs/adr/0003-frame-size.md.

    python packages/s4-codecs/benchmarks/frame_size.py [MIB [ROUNDS]]

Times are CPU seconds of the whole process, the least of all rounds, because other work on the machine disturbs wall clocks.
"""

import asyncio
import random
import sys
import time
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from s4_format import Attributes, FrameTable, Trailer, lookup_range, trailer_size

from s4_codecs import EncodeOptions, ObjectDecoder, ObjectEncoder, decode_threaded, encode_async, encode_threaded
from s4_codecs.testing.workloads import WORKLOADS

KIB, MIB = 1 << 10, 1 << 20
FRAME_SIZES = tuple(KIB << shift for shift in range(6, 15))
RANGE_BYTES = 64 * KIB
RANGES = 100
CHUNK = 64 * KIB


@dataclass(frozen=True)
class Stored:
    """One body and where its frames are."""

    body: bytes
    frames: FrameTable

    @property
    def size(self) -> int:
        """Bytes of body and trailer."""
        trailer = Trailer(Attributes(self.frames.original_size), (), self.frames)
        return len(self.body) + trailer_size(trailer, offset=len(self.body))


def encode(data: bytes, frame_size: int) -> Stored:
    """`data` in frames of `frame_size`, on this thread."""
    encoder = ObjectEncoder(EncodeOptions(), size=len(data), frame_size=frame_size, raw_passthrough_limit=0)
    body = b"".join(encode_threaded(encoder, (data,), workers=0))
    return Stored(body, encoder.frames)


def encode_beside_a_loop(data: bytes, frame_size: int, pool: ThreadPoolExecutor) -> None:
    """As a server does it: 64 KiB pieces in, frames encoded in a pool."""

    async def pieces() -> AsyncIterator[bytes]:
        for at in range(0, len(data), CHUNK):
            yield data[at : at + CHUNK]

    async def main() -> None:
        encoder = ObjectEncoder(EncodeOptions(), size=len(data), frame_size=frame_size, raw_passthrough_limit=0)
        async for _ in encode_async(encoder, pieces(), pool=pool):
            pass

    asyncio.run(main())


def read_range(stored: Stored, start: int) -> int:
    """Decode one range as a server does it with the index at hand; returns the stored bytes that it needs."""
    plan = lookup_range(stored.frames, start, start + RANGE_BYTES)
    if plan is None:
        raise ValueError("the range lies outside the object")
    first = stored.frames[plan.first]
    decoder = ObjectDecoder(
        start=start,
        stop=start + RANGE_BYTES,
        original_offset=first.original_offset,
        stored_offset=plan.stored_start,
        expect=stored.frames,
        first_frame=plan.first,
    )
    window = memoryview(stored.body)[plan.stored_start : plan.stored_end]
    got = sum(map(len, decode_threaded(decoder, (window,), workers=0)))
    if got != RANGE_BYTES:
        raise ValueError(f"{got} bytes decoded")
    return len(window)


def cpu(work: Callable[[], object], rounds: int) -> float:
    """Least CPU seconds of the process over all rounds."""
    least = float("inf")
    for _ in range(rounds):
        started = time.process_time()
        work()
        least = min(least, time.process_time() - started)
    return least


def measure(name: str, size: int, rounds: int) -> None:
    """Print one workload's table."""
    data = WORKLOADS[name](size)
    starts = [random.Random(1).randrange(len(data) - RANGE_BYTES) for _ in range(RANGES)]
    whole = len(encode(data, 64 * MIB).body)
    lines = [f"\n{name}, {len(data) // MIB} MiB: ratio as one stream {len(data) / whole:.3f}\n"]
    lines.append("frame KiB | ratio | loss % | encode s/GB | in a pool s/GB | decode s/GB | range: stored KiB | range: CPU us")
    with ThreadPoolExecutor(2) as pool:
        for frame_size in FRAME_SIZES:
            stored = encode(data, frame_size)
            work = (
                lambda: encode(data, frame_size),  # noqa: B023 -- run at once
                lambda: encode_beside_a_loop(data, frame_size, pool),  # noqa: B023
                lambda: list(map(len, decode_threaded(ObjectDecoder(), (stored.body,), workers=0))),  # noqa: B023
            )
            seconds = [cpu(one, rounds) * 1e9 / len(data) for one in work]
            fetched = sum(read_range(stored, start) for start in starts) / RANGES / KIB
            range_us = cpu(lambda: [read_range(stored, start) for start in starts], rounds) * 1e6 / RANGES  # noqa: B023
            loss = 100 * (stored.size / whole - 1)
            times = " | ".join(f"{value:11.2f}" for value in seconds)
            lines.append(
                f"{frame_size // KIB:9d} | {len(data) / stored.size:5.3f} | {loss:6.2f} | {times} | {fetched:7.1f} | {range_us:7.0f}"
            )
    sys.stdout.write("\n".join(lines) + "\n")


def main() -> None:
    """Measure the workloads that decide."""
    size = int(sys.argv[1]) * MIB if len(sys.argv) > 1 else 64 * MIB
    rounds = int(sys.argv[2]) if len(sys.argv) > 2 else 5
    for name in ("log", "records", "nginx", "noise"):
        measure(name, size, rounds)


if __name__ == "__main__":
    main()
