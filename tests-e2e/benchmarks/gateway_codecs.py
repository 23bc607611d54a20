"""boto3 end to end over the embedded store with each codec: ratio, speed and CPU time of writing and reading.

    python tests-e2e/benchmarks/gateway_codecs.py [--json FILE] [--mib N] [--objects N] [--workloads a,b] [--codecs a,b] [--seconds N]

Needs s4-gateway, boto3 and, for the rows of the GPU, `s4-codecs[gpu]` or `s4-codecs[gpu-cu13]` and a CUDA device; without one those rows
are left out, with the reason. Each row is a gateway of its own, warmed up by one object. Objects go and come over several connections at a
time; everything read is compared with what was written. Seconds of CPU are the gateway's, from /proc, for each GB of the client's bytes.
"""

import argparse
import hashlib
import io
import json
import os
import platform
import random
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import boto3
from boto3.s3.transfer import TransferConfig
from botocore.config import Config
from s4_codecs.registry import GPU_CODECS
from s4_codecs.testing.workloads import WORKLOADS
from s4_gateway.testing.server import GatewayProcess, running_gateway

KIB, MIB = 1 << 10, 1 << 20
BUCKET = "measured"
THREADS = 4
PART_BYTES = 16 * MIB
RANGE_BYTES = 256 * KIB
RANGES = 200
READ_BYTES = MIB
GPU = frozenset(codec.label for codec in GPU_CODECS)
ROWS: Mapping[str, tuple[str, ...]] = {
    "cpu-zstd": ("--codec", "cpu-zstd", "--dispatcher", "always"),
    "cpu-columnar": ("--codec", "cpu-columnar", "--dispatcher", "always"),
    "trial": ("--dispatcher", "trial"),
    **{label: ("--codec", label, "--dispatcher", "always") for label in sorted(GPU)},
}
KINDS = ("PUT", "multipart", "GET", "ranges")
DEFAULT_ROWS = ("cpu-zstd", "cpu-columnar", "trial", "nvcomp-zstd", "nvcomp-bitcomp", "nvcomp-cascaded")
DEFAULT_WORKLOADS = ("log", "gaps", "walk_f64", "records")


@dataclass(frozen=True, slots=True)
class Load:
    """What one kind of request did."""

    mb_per_second: float
    """Of the client's bytes."""
    cpu_seconds_per_gb: float
    """Of the gateway."""


@dataclass(frozen=True, slots=True)
class Row:
    """One codec on one workload."""

    workload: str
    stored_with: str
    ratio: float
    """Client's bytes by stored ones, of the objects written by single PUTs."""
    put: Load
    multipart: Load
    get: Load
    ranges: Load


@dataclass(frozen=True, slots=True)
class Client:
    """boto3 and the gateway that it talks to."""

    s3: Any
    process: GatewayProcess

    def timed(self, work: Callable[[], int]) -> Load:
        """`work` returns the bytes that it moved."""
        cpu, began = self.cpu_seconds(), time.perf_counter()
        size = work()
        return Load(size / 1e6 / (time.perf_counter() - began), (self.cpu_seconds() - cpu) / size * 1e9)

    def cpu_seconds(self) -> float:
        """Of the gateway so far, its threads included."""
        fields = Path(f"/proc/{self.process.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@contextmanager
def client_of(options: tuple[str, ...]) -> Iterator[Client]:
    """A gateway on an empty embedded store, and a client."""
    with (
        tempfile.TemporaryDirectory(prefix="gateway-codecs-") as folder,
        running_gateway("--data-dir", folder, "--memory-bytes", "2GiB", "--sidecars", "off", *options) as process,
    ):
        s3 = boto3.client(
            "s3",
            endpoint_url=process.endpoint,
            region_name="us-east-1",
            aws_access_key_id=process.access_key,
            aws_secret_access_key=process.secret_key,
            # Checksums of the client's own would be measured with everything else.
            config=Config(max_pool_connections=2 * THREADS, request_checksum_calculation="when_required", retries={"max_attempts": 1}),
        )
        s3.create_bucket(Bucket=BUCKET)
        yield Client(s3, process)


def measure(workload: str, stored_with: str, *, size: int, objects: int) -> Row:
    """One row."""
    data = WORKLOADS[workload](size)
    with client_of(ROWS[stored_with]) as client, ThreadPoolExecutor(THREADS) as pool:
        s3, keys = client.s3, [f"put-{number}" for number in range(objects)]
        s3.put_object(Bucket=BUCKET, Key="warm", Body=data[: 4 * MIB])
        s3.get_object(Bucket=BUCKET, Key="warm")["Body"].read()

        def put() -> int:
            list(pool.map(lambda key: s3.put_object(Bucket=BUCKET, Key=key, Body=data), keys))
            return objects * len(data)

        def multipart() -> int:
            config = TransferConfig(multipart_threshold=PART_BYTES, multipart_chunksize=PART_BYTES, max_concurrency=2 * THREADS)
            s3.upload_fileobj(io.BytesIO(data), BUCKET, "parts", Config=config)
            return len(data)

        def get() -> int:
            expected = hashlib.sha256(data).digest()
            if set(pool.map(lambda key: digest_of(s3, key), [*keys, "parts"])) != {expected}:
                raise ValueError(f"{stored_with}: {workload} came back as something else")
            return (objects + 1) * len(data)

        def ranges() -> int:
            dice = random.Random(1)
            starts = [dice.randrange(len(data) - RANGE_BYTES) for _ in range(RANGES)]
            if not all(pool.map(lambda start: range_of(s3, keys[0], start) == data[start : start + RANGE_BYTES], starts)):
                raise ValueError(f"{stored_with}: a range of {workload} came back as something else")
            return RANGES * RANGE_BYTES

        loads = [client.timed(work) for work in (put, multipart, get, ranges)]
        return Row(workload, stored_with, stored_ratio(client), *loads)


def digest_of(s3: Any, key: str) -> bytes:
    """SHA-256 of an object's body."""
    digest = hashlib.sha256()
    for piece in s3.get_object(Bucket=BUCKET, Key=key)["Body"].iter_chunks(READ_BYTES):
        digest.update(piece)
    return digest.digest()


def range_of(s3: Any, key: str, start: int) -> bytes:
    """A range of an object."""
    answer = s3.get_object(Bucket=BUCKET, Key=key, Range=f"bytes={start}-{start + RANGE_BYTES - 1}")
    return bytes(answer["Body"].read())


def stored_ratio(client: Client) -> float:
    """Client's bytes by stored ones of all single PUTs, as the access log tells them."""
    logical = stored = 0
    for line in client.process.log().splitlines():
        if "operation=PutObject" in line:
            fields = dict(field.split("=", 1) for field in line.split() if "=" in field)
            logical, stored = logical + int(fields["logical_bytes"]), stored + int(fields["stored_bytes"])
    return logical / stored


def missing_gpu() -> str | None:
    """Why there is no GPU, None where there is one: what a gateway says that needs one."""
    try:
        with client_of(ROWS["nvcomp-zstd"]):
            return None
    except RuntimeError as error:
        return str(error).strip()


def table(rows: list[Row]) -> str:
    """In Markdown: MB/s, and CPU seconds of the gateway for a GB."""
    headings = ["workload", "stored with", "ratio", *(word for kind in KINDS for word in (f"{kind} MB/s", "CPU s/GB"))]
    lines = [f"| {' | '.join(headings)} |", f"|---|---{'|---:' * (len(headings) - 2)}|"]
    for row in rows:
        loads = [f"{load.mb_per_second:,.0f} | {load.cpu_seconds_per_gb:.2f}" for load in (row.put, row.multipart, row.get, row.ranges)]
        lines.append(f"| {row.workload} | {row.stored_with} | {row.ratio:.2f} | {' | '.join(loads)} |")
    return "\n".join(lines) + "\n"


def chosen(given: str, known: Mapping[str, object]) -> list[str]:
    """Names with commas between."""
    names = given.split(",")
    if unknown := [name for name in names if name not in known]:
        raise SystemExit(f"unknown {', '.join(unknown)}; choose from {', '.join(known)}")
    return names


def main() -> None:
    """Measure, print, keep."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, help="keep the figures in this file")
    parser.add_argument("--mib", type=int, default=256, help="size of each object")
    parser.add_argument("--objects", type=int, default=4, help="objects written by single PUTs")
    parser.add_argument("--workloads", default=",".join(DEFAULT_WORKLOADS))
    parser.add_argument("--codecs", default=",".join(DEFAULT_ROWS))
    parser.add_argument("--seconds", type=float, default=540.0, help="begin no row after so many")
    options = parser.parse_args()
    workloads, codecs = chosen(options.workloads, WORKLOADS), chosen(options.codecs, ROWS)
    began = time.monotonic()
    if GPU.intersection(codecs) and (why := missing_gpu()):
        print(f"left out: {', '.join(codec for codec in codecs if codec in GPU)}: {why}")
        codecs = [codec for codec in codecs if codec not in GPU]
    rows = list[Row]()
    for workload in workloads:
        for codec in codecs:
            if time.monotonic() - began > options.seconds:
                print(f"left out for want of time: {workload} {codec}")
                continue
            rows.append(measure(workload, codec, size=options.mib * MIB, objects=options.objects))
            print(rows[-1], file=sys.stderr, flush=True)
            if options.json is not None:
                facts = {"machine": platform.machine(), "cores": os.cpu_count(), "python": platform.python_version(), "mib": options.mib}
                options.json.write_text(json.dumps({"facts": facts, "rows": [asdict(row) for row in rows]}, indent=2), encoding="utf-8")
    print(table(rows))


if __name__ == "__main__":
    main()
