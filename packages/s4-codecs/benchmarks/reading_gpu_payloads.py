"""How fast payloads of GPU codecs are read without a GPU, on one core: MB of plaintext per second of CPU time, helper processes included.

    python benchmarks/reading_gpu_payloads.py

The containers are those of tests/golden, their first chunk repeated until a frame is full.
"""

import os
import sys
from array import array
from collections.abc import Callable
from pathlib import Path
from time import process_time

from s4_format import Buffer, CodecId, GpuContainer, parse_container

from s4_codecs.nvcomp import chunks
from s4_codecs.nvcomp.codec import NvcompCodec

GOLDEN = Path(__file__).parents[1] / "tests" / "golden" / "nvcomp"
CASES = (
    ("nvcomp-zstd", "zstd.text150k", "libzstd"),
    ("nvcomp-zstd", "zstd.u32mono160k", "libzstd"),
    ("nvcomp-gdeflate", "gdeflate.text150k", "helper"),
    ("nvcomp-gdeflate", "gdeflate-a1.text150k", "helper"),
    ("nvcomp-gdeflate", "gdeflate.text150k", "own"),
    ("nvcomp-gdeflate", "gdeflate-a1.text150k", "own"),
    ("nvcomp-bitcomp", "bitcomp-char.text150k", "helper"),
    ("nvcomp-bitcomp", "bitcomp-uint32.u32mono160k", "helper"),
)
"""Codec, container, and what decodes it."""
FRAME_BYTES = (65_536, 1 << 20, 4 << 20)
ROUNDS = 5
SECONDS = 0.3
CLOCK_TICKS = os.sysconf("SC_CLK_TCK")


def frame(name: str, size: int) -> tuple[bytes, int]:
    """A container of about `size` bytes and what it holds."""
    payload = (GOLDEN / f"{name}.fcg1").read_bytes()
    source = parse_container(payload)
    chunk, plain = next(source.chunks(payload))
    count = max(1, size // plain)
    head = GpuContainer(source.algorithm, source.element_type, count * plain, plain, array("I", [len(chunk)]) * count)
    return head.pack() + bytes(chunk) * count, count * plain


def cpu_seconds() -> float:
    """Of this process and of those it started."""
    total = process_time()
    for task in Path("/proc/self/task").iterdir():
        for child in (task / "children").read_text().split():
            user, system = Path(f"/proc/{child}/stat").read_text().rpartition(")")[2].split()[11:13]
            total += (int(user) + int(system)) / CLOCK_TICKS
    return total


def speed(decode: Callable[[Buffer, int], bytes], payload: bytes, size: int) -> float:
    """MB/s, the best of some rounds."""
    began = cpu_seconds()
    decode(payload, size)
    # Asking for the time of processes takes time itself; it is asked for after some 20 ms of work.
    calls = 1 if cpu_seconds() - began > 0.02 else max(1, (16 << 20) // size)
    best = 0.0
    for _ in range(ROUNDS):
        began, done = cpu_seconds(), 0
        while cpu_seconds() - began < SECONDS:
            for _ in range(calls):
                decode(payload, size)
            done += calls * size
        best = max(best, done / (cpu_seconds() - began) / 1e6)
    return best


def main() -> None:
    """Print the table."""
    sys.stdout.write("| codec | container | decoded by | " + " | ".join(f"{size >> 10} KiB" for size in FRAME_BYTES) + " |\n")
    installed = chunks.find_library
    for label, name, path in CASES:
        chunks.find_library = (lambda: None) if path == "own" else installed  # type: ignore[assignment]
        codec = NvcompCodec(next(found for found in CodecId if found.label == label))
        figures = [f"{speed(codec.decompress, *frame(name, size)):,.0f}" for size in FRAME_BYTES]
        sys.stdout.write(f"| {label} | {name} | {path} | " + " | ".join(figures) + " |\n")


if __name__ == "__main__":
    main()
