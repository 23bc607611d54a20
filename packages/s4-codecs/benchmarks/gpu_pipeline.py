"""Speed and ratio of the GPU codecs on one device, from ordinary memory to ordinary memory.

A stream of 2 GiB (64 MiB of a named workload, repeated in memory; chunks are compressed on their own, so repetition gains nothing) lies in
ordinary pageable memory, as frames of 4 MiB. Encoding ends when the last framed byte (S4F2 header, FCG1 container, CRC32C) lies in ordinary
memory, decoding when the last plain byte does and every CRC32C was compared. Windows of the stream are handed over from a few threads, as a
server's requests would, and results are let go of once they were counted. Every stream is also decoded and compared in full, zstd chunks
with libzstd on the CPU too.

    python gpu_pipeline.py [--json FILE] [--gib N] [--rounds N] [--workloads a,b] [--codecs a,b]

Needs a CUDA device and the extra `gpu` or `gpu-cu13`.
"""

import argparse
import json
import os
import statistics
import sys
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import zstandard
from s4_format import Algorithm, CodecId, ElementType, FrameHeader, parse_container, parse_frame_header

from s4_codecs.gpu import probe
from s4_codecs.gpu.library import Chunks, Library, Scratch
from s4_codecs.testing.workloads import WORKLOADS

MIB = 1 << 20
FRAME_BYTES = 4 * MIB
WINDOW_FRAMES = 128
WINDOWS_AT_WORK = 3
SEED_BYTES = 64 * MIB
NAMES = ("nginx", "log", "gaps", "parquet_like", "postings", "timestamps", "doc_values", "noise")
CODECS = {
    CodecId.NVCOMP_ZSTD: Algorithm.ZSTD,
    CodecId.NVCOMP_BITCOMP: Algorithm.BITCOMP,
    CodecId.NVCOMP_GDEFLATE: Algorithm.GDEFLATE,
    CodecId.NVCOMP_ANS: Algorithm.ANS,
    CodecId.NVCOMP_CASCADED: Algorithm.CASCADED,
}
SMALL_OBJECTS, SMALL_BYTES = 1000, 8192


@dataclass(frozen=True, slots=True)
class Stored:
    """A framed stream, piece by piece."""

    headers: list[bytes]
    payloads: list[memoryview]

    @property
    def size(self) -> int:
        """Bytes of all frames."""
        return sum(map(len, self.headers)) + sum(map(len, self.payloads))


def seed(name: str) -> tuple[str, bytes]:
    """The bytes that a stream repeats."""
    return name, WORKLOADS[name](SEED_BYTES)


def encode_windows(pipeline: Any, codec: CodecId, frames: Sequence[memoryview]) -> Iterator[Stored]:
    """The framed stream, window by window, in order."""

    def encode(window: Sequence[memoryview]) -> Stored:
        encoded = pipeline.encode(CODECS[codec], window)
        facts = zip(window, encoded.payloads, encoded.checksums, strict=True)
        headers = [FrameHeader(codec, len(plain), len(payload), checksum).pack() for plain, payload, checksum in facts]
        return Stored(headers, encoded.payloads)

    yield from in_order(encode, [frames[at : at + WINDOW_FRAMES] for at in range(0, len(frames), WINDOW_FRAMES)])


def decode_windows(pipeline: Any, stored: Stored) -> Iterator[list[memoryview]]:
    """The plaintext of a framed stream, window by window, in order, every checksum compared."""

    def decode(at: int) -> list[memoryview]:
        headers = [parse_frame_header(header) for header in stored.headers[at : at + WINDOW_FRAMES]]
        payloads = stored.payloads[at : at + WINDOW_FRAMES]
        decoded = pipeline.decode([parse_container(payload) for payload in payloads], payloads)
        if decoded.checksums != [header.crc32c for header in headers]:
            raise SystemExit("a checksum differs")
        return decoded.plain

    yield from in_order(decode, list(range(0, len(stored.headers), WINDOW_FRAMES)))


def in_order(work: Callable[[Any], Any], jobs: Sequence[Any]) -> Iterator[Any]:
    """Results of jobs, a few of which run at once."""
    with ThreadPoolExecutor(WINDOWS_AT_WORK) as threads:
        running: deque[Any] = deque()
        for job in jobs:
            running.append(threads.submit(work, job))
            if len(running) >= WINDOWS_AT_WORK:
                yield running.popleft().result()
        while running:
            yield running.popleft().result()


def timed(work: Callable[[], object], rounds: int) -> list[float]:
    """Seconds of each round, after one that warms up."""
    seconds = []
    for _ in range(rounds + 1):
        started = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - started)
    return seconds[1:]


def drain(windows: Iterator[Any]) -> None:
    """Take everything and keep nothing."""
    for _ in windows:
        pass


def same(left: memoryview, right: memoryview) -> bool:
    """Whether two buffers hold the same bytes; faster than comparing memoryviews."""
    return np.array_equal(np.frombuffer(left, np.uint8), np.frombuffer(right, np.uint8))


def check(pipeline: Any, codec: CodecId, stored: Stored, frames: Sequence[memoryview]) -> None:
    """Decode everything, on the device and where libzstd can on the CPU, and compare it in full."""

    repeats = SEED_BYTES // FRAME_BYTES

    def libzstd(number: int) -> bool:
        payload, frame = stored.payloads[number], frames[number]
        if number >= repeats and same(payload, stored.payloads[number % repeats]) and same(frame, frames[number % repeats]):
            return True  # decoded already
        decompressor, at = zstandard.ZstdDecompressor(), 0
        for chunk, size in parse_container(payload).chunks(payload):
            if decompressor.decompress(chunk, max_output_size=size) != frame[at : at + size]:
                return False
            at += size
        return at == len(frame)

    with ThreadPoolExecutor(os.cpu_count()) as threads:
        at = 0
        for window in decode_windows(pipeline, stored):
            if not all(threads.map(same, window, frames[at : at + len(window)])):
                raise SystemExit(f"{codec.label}: decoded bytes differ")
            at += len(window)
        if codec is CodecId.NVCOMP_ZSTD and not all(threads.map(libzstd, range(len(frames)))):
            raise SystemExit(f"{codec.label}: libzstd decodes other bytes")


def device_rates(library: Library, algorithm: Algorithm, seed: bytes, element: ElementType) -> dict[str, float]:
    """GB/s of nvCOMP alone, without copies: four batches of 64 MiB that lie on the device, on four streams; the best of four rounds."""
    import cupy  # noqa: PLC0415

    api, chunk, streams = library.api(algorithm), 65_536, 4
    count = len(seed) // chunk
    stride = -(-api.max_output(chunk) // 16) * 16
    scratch_size = max(api.compress_scratch(count, chunk), api.decompress_scratch(count, chunk), 16)
    work = []
    for _ in range(streams):
        plain = cupy.asarray(np.frombuffer(seed, np.uint8))
        packed, scratch = cupy.empty(count * stride, cupy.uint8), cupy.empty(scratch_size, cupy.uint8)
        columns = np.arange(count, dtype=np.uint64)
        table = cupy.asarray(
            np.stack(
                [
                    columns * np.uint64(chunk) + np.uint64(plain.data.ptr),
                    np.full(count, chunk, np.uint64),
                    columns * np.uint64(stride) + np.uint64(packed.data.ptr),
                    np.zeros(count, np.uint64),
                    np.zeros(count, np.uint64),
                    np.zeros(count, np.uint64),
                ]
            )
        )
        rows = [table[row].data.ptr for row in range(6)]
        work.append((plain, packed, scratch, table, rows, cupy.cuda.Stream(non_blocking=True)))

    def round_of(queue: Callable[[Any, list[int], Scratch, int], None]) -> float:
        cupy.cuda.runtime.deviceSynchronize()
        started = time.perf_counter()
        for _, _, scratch, _, rows, stream in work:
            queue(api, rows, Scratch(scratch.data.ptr, scratch_size), stream.ptr)
        cupy.cuda.runtime.deviceSynchronize()
        return streams * len(seed) / (time.perf_counter() - started) / 1e9

    def compress(api: Any, rows: list[int], scratch: Scratch, stream: int) -> None:
        api.compress(Chunks(rows[0], rows[1], rows[2], rows[3], rows[5], count), chunk, element, scratch, stream)

    def decompress(api: Any, rows: list[int], scratch: Scratch, stream: int) -> None:
        api.decompress(Chunks(rows[2], rows[3], rows[0], rows[4], rows[5], count, rows[1]), scratch, stream)

    return {
        "device_encode_gbps": max(round_of(compress) for _ in range(4)),
        "device_decode_gbps": max(round_of(decompress) for _ in range(4)),
    }


def machine_rates(pinned_bytes: int = 256 * MIB) -> dict[str, float]:
    """GB/s of what else limits: copies between host and device, and copies in ordinary memory by one thread and by ten."""
    import cupy  # noqa: PLC0415

    from s4_codecs.gpu.memory import Budget, PinnedBuffer, address_of, copy  # noqa: PLC0415

    runtime = cupy.cuda.runtime
    host, device = PinnedBuffer(Budget("pinned", pinned_bytes)), runtime.malloc(pinned_bytes)
    address, stream = address_of(host.reserve(pinned_bytes)), cupy.cuda.Stream(non_blocking=True)

    def rate(work: Callable[[], object]) -> float:
        return max(pinned_bytes / seconds / 1e9 for seconds in timed(work, 4))

    def transfer(target: int, source: int, kind: int) -> None:
        runtime.memcpyAsync(target, source, pinned_bytes, kind, stream.ptr)
        stream.synchronize()

    source, target = np.ones(pinned_bytes, np.uint8), np.ones(pinned_bytes, np.uint8)
    step = 8 * MIB

    def copies(threads: ThreadPoolExecutor) -> None:
        places = range(0, pinned_bytes, step)
        list(threads.map(lambda at: copy(address_of(target) + at, address_of(source) + at, step), places))

    with ThreadPoolExecutor(1) as one, ThreadPoolExecutor(10) as ten:
        rates = {
            "host_to_device_gbps": rate(lambda: transfer(device, address, 1)),
            "device_to_host_gbps": rate(lambda: transfer(address, device, 2)),
            "copy_one_thread_gbps": rate(lambda: copies(one)),
            "copy_ten_threads_gbps": rate(lambda: copies(ten)),
        }
    runtime.free(device)
    host.close()
    return rates


def measure(pipeline: Any, codec: CodecId, frames: Sequence[memoryview], rounds: int) -> dict[str, Any]:
    """Ratio, and GB/s of encoding and decoding (10^9 bytes of plaintext a second), each round."""
    size = sum(map(len, frames))
    windows = list(encode_windows(pipeline, codec, frames))
    stored = Stored([h for w in windows for h in w.headers], [p for w in windows for p in w.payloads])
    check(pipeline, codec, stored, frames)
    elements = Counter(parse_container(payload).element_type for payload in stored.payloads)
    del windows
    encode = timed(lambda: drain(encode_windows(pipeline, codec, frames)), rounds)
    decode = timed(lambda: drain(decode_windows(pipeline, stored)), rounds)
    return {
        "codec": codec.label,
        "ratio": size / stored.size,
        "elements": {element.name: count for element, count in elements.most_common()},
        "encode_gbps": statistics.median(size / s / 1e9 for s in encode),
        "decode_gbps": statistics.median(size / s / 1e9 for s in decode),
        "encode_rounds": [round(size / s / 1e9, 2) for s in encode],
        "decode_rounds": [round(size / s / 1e9, 2) for s in decode],
    }


def small_objects(pipeline: Any, data: bytes, rounds: int) -> dict[str, Any]:
    """Objects a second when a thousand of 8 KiB are compressed in one call, and when four callers do that at once."""
    objects = [data[at : at + SMALL_BYTES] for at in range(0, SMALL_OBJECTS * SMALL_BYTES, SMALL_BYTES)]
    encoded = pipeline.encode(Algorithm.ZSTD, objects)
    for plain, payload in zip(objects, encoded.payloads, strict=True):
        ((chunk, size),) = parse_container(payload).chunks(payload)
        if zstandard.ZstdDecompressor().decompress(chunk, max_output_size=size) != plain:
            raise SystemExit("a small object differs")
    one = timed(lambda: pipeline.encode(Algorithm.ZSTD, objects), 4 * rounds)

    def many(callers: int) -> None:
        with ThreadPoolExecutor(callers) as threads:
            list(threads.map(lambda _: pipeline.encode(Algorithm.ZSTD, objects), range(4 * callers)))

    four = timed(lambda: many(4), rounds)
    return {
        "one_caller_per_s": SMALL_OBJECTS / statistics.median(one),
        "four_callers_per_s": 16 * SMALL_OBJECTS / statistics.median(four),
        "ratio": sum(map(len, objects)) / sum(map(len, encoded.payloads)),
    }


def say(line: str) -> None:
    """Print a line at once."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def write(path: Path | None, report: dict[str, Any]) -> None:
    """The figures so far, if a file was asked for."""
    if path:
        path.write_text(json.dumps(report, indent=1) + "\n")


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description="Speed and ratio of the GPU codecs")
    parser.add_argument("--json", type=Path, help="write the figures here")
    parser.add_argument("--gib", type=float, default=2, help="bytes of each stream")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--workloads", default=",".join(NAMES))
    parser.add_argument("--codecs", default=",".join(codec.label for codec in CODECS))
    parser.add_argument("--lanes", type=int)
    parser.add_argument("--batch-mib", type=int)
    return parser.parse_args()


def main() -> None:
    """Measure, print a table, and write JSON."""
    asked = arguments()
    names = asked.workloads.split(",")
    with get_context("fork").Pool(len(names)) as processes:  # before CUDA is there: it does not survive a fork
        seeds = dict(processes.map(seed, names))
    device = probe.require()
    from s4_codecs.gpu.pipeline import Pipeline, PipelineSettings  # noqa: PLC0415 -- it imports CUDA

    overrides = {"lanes": asked.lanes, "batch_bytes": asked.batch_mib and asked.batch_mib * MIB}
    roomy = {"device_bytes": device.memory_bytes // 2, "idle_result_bytes": 4 << 30}
    settings = PipelineSettings(**roomy, **{name: value for name, value in overrides.items() if value})
    pipeline = Pipeline(device.library, settings)
    report: dict[str, Any] = {
        "device": device.name,
        "cuda_runtime": device.cuda_runtime,
        "nvcomp": device.nvcomp,
        "cpus": os.cpu_count(),
        "stream_bytes": int(asked.gib * 1024) * MIB,
        "frame_bytes": FRAME_BYTES,
        "lanes": settings.lanes,
        "batch_bytes": settings.batch_bytes,
        "rounds": asked.rounds,
        "machine": machine_rates(),
        "streams": [],
    }
    say(f"{device.name}, CUDA {device.cuda_runtime}, nvCOMP {device.nvcomp}, {os.cpu_count()} CPUs")
    say(f"GB/s of plaintext, medians of {asked.rounds}")
    say(" ".join(f"{name} {rate:.1f}" for name, rate in report["machine"].items()))
    say(f"{'workload':14}{'codec':18}{'ratio':>9}{'encode':>9}{'decode':>9}{'device enc':>12}{'device dec':>12}  elements")
    for name in names:
        stream = np.tile(np.frombuffer(seeds[name], np.uint8), -(-report["stream_bytes"] // len(seeds[name])))[: report["stream_bytes"]]
        view = memoryview(stream)  # type: ignore[arg-type]
        frames = [view[at : at + FRAME_BYTES] for at in range(0, len(view), FRAME_BYTES)]
        for label in asked.codecs.split(","):
            codec = next(codec for codec in CODECS if codec.label == label)
            row = {"workload": name} | measure(pipeline, codec, frames, asked.rounds)
            row |= device_rates(device.library, CODECS[codec], seeds[name], ElementType[next(iter(row["elements"]))])
            report["streams"].append(row)
            figures = f"{row['ratio']:9.2f}{row['encode_gbps']:9.1f}{row['decode_gbps']:9.1f}"
            figures += f"{row['device_encode_gbps']:12.1f}{row['device_decode_gbps']:12.1f}"
            say(f"{name:14}{label:18}{figures}  {','.join(row['elements'])}")
            write(asked.json, report)
    report["small_objects"] = small_objects(pipeline, seeds.get("log", seeds[names[0]]), asked.rounds)
    say("1000 objects of 8 KiB: " + ", ".join(f"{name} {value:.0f}" for name, value in report["small_objects"].items()))
    pipeline.close()
    write(asked.json, report)


if __name__ == "__main__":
    sys.exit(main())
