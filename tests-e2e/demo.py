"""Real data through a gateway on its embedded store: sent with boto3 at its defaults, read back, compared, and counted.

Run by `nox -s demo`. `--keep` leaves the server up and prints how to reach it; `--mib` sizes the log and the noise.
"""

import argparse
import hashlib
import json
import os
import shutil
import signal
import sys
import sysconfig
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3
import pyarrow.parquet
from botocore.config import Config
from datasets import flights
from rich.console import Console
from rich.table import Table
from s4_codecs.testing.workloads import log, noise
from s4_gateway.testing.server import GatewayProcess, running_gateway

BUCKET = "demo"
MIB = 2**20
TREE_PACKAGES = ("asyncio", "email", "http", "json", "logging", "unittest", "xml")
"""Standard library packages whose sources are the demo's tree of small files."""
RANGES = ((0, 1), (0, 65_536), (1_000_003, 1_065_539), (-100, None))
"""Half-open ranges that are read of every file; a negative start counts from the end."""

console = Console()


@dataclass(frozen=True, slots=True)
class Sample:
    """One file, or tree of files, to send."""

    name: str
    files: dict[str, Path]
    """Key -> file."""
    multipart: bool
    """By upload_file, which cuts into 8 MiB parts; else one PUT each."""

    @property
    def logical(self) -> int:
        return sum(path.stat().st_size for path in self.files.values())


@dataclass(frozen=True, slots=True)
class Row:
    """What became of a sample."""

    sample: Sample
    stored: int
    put_seconds: float
    get_seconds: float


def flight_files(folder: Path) -> tuple[Path, Path]:
    """The flights as CSV and as Parquet."""
    csv, table = flights(folder)
    parquet = folder / "flights.parquet"
    pyarrow.parquet.write_table(table, parquet)
    return csv, parquet


def tree() -> dict[str, Path]:
    """Python's own sources: hundreds of small text files."""
    root = Path(sysconfig.get_path("stdlib"))
    return {
        f"tree/{path.relative_to(root)}": path
        for name in TREE_PACKAGES
        for path in sorted((root / name).rglob("*.py"))
        if path.stat().st_size
    }


def samples(folder: Path, mib: int) -> list[Sample]:
    """Everything the demo sends."""
    csv, parquet = flight_files(folder)
    access_log, incompressible = folder / "access.log", folder / "noise.bin"
    access_log.write_bytes(log(mib * MIB))
    incompressible.write_bytes(noise(mib // 2 * MIB))
    return [
        Sample("flights.csv, one PUT", {"put/flights.csv": csv}, multipart=False),
        Sample("flights.csv, 8 MiB parts", {"mpu/flights.csv": csv}, multipart=True),
        Sample("flights.parquet (snappy), one PUT", {"put/flights.parquet": parquet}, multipart=False),
        Sample("access.log, one PUT", {"put/access.log": access_log}, multipart=False),
        Sample("access.log, 8 MiB parts", {"mpu/access.log": access_log}, multipart=True),
        Sample("noise.bin, 8 MiB parts", {"mpu/noise.bin": incompressible}, multipart=True),
        Sample("tree of source files, one PUT each", tree(), multipart=False),
    ]


def digest(chunks: Iterator[bytes]) -> str:
    """SHA-256 of a stream."""
    sha = hashlib.sha256()
    for chunk in chunks:
        sha.update(chunk)
    return sha.hexdigest()


def timed(work: Callable[[], object]) -> float:
    """Seconds that something takes."""
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def send(s3: Any, sample: Sample) -> None:
    """Upload with boto3's defaults."""
    for key, path in sample.files.items():
        if sample.multipart:
            s3.upload_file(str(path), BUCKET, key)
        else:
            with path.open("rb") as body:
                s3.put_object(Bucket=BUCKET, Key=key, Body=body)


def read_back(s3: Any, sample: Sample) -> None:
    """Read every object and compare digests and sizes; stop the demo at the first difference."""
    for key, path in sample.files.items():
        answer = s3.get_object(Bucket=BUCKET, Key=key)
        with path.open("rb") as file:
            expected = digest(iter(lambda: file.read(MIB), b""))
        if digest(answer["Body"].iter_chunks(MIB)) != expected or answer["ContentLength"] != path.stat().st_size:
            raise SystemExit(f"{key} came back different")


def read_ranges(s3: Any, sample: Sample) -> int:
    """Compare some ranges of the sample's first file with the file itself; how many."""
    key, path = next(iter(sample.files.items()))
    data = path.read_bytes()
    checked = 0
    for start, stop in RANGES:
        if stop is not None and stop > len(data):
            continue
        header = f"bytes={start}" if stop is None else f"bytes={start}-{stop - 1}"
        if s3.get_object(Bucket=BUCKET, Key=key, Range=header)["Body"].read() != data[start:stop]:
            raise SystemExit(f"{key}: {header} came back different")
        checked += 1
    return checked


def stored_bytes(gateway: GatewayProcess, sample: Sample) -> int:
    """Bytes of the stored bodies, from the gateway's access log."""
    found: dict[str, int] = {}
    for _ in range(50):
        for line in gateway.log().splitlines():
            entry = json.loads(line) if line.startswith("{") else {}
            if entry.get("key") in sample.files and entry.get("stored_bytes") is not None:
                found[entry["key"]] = int(entry["stored_bytes"])
        if len(found) == len(sample.files):
            return sum(found.values())
        time.sleep(0.1)
    raise SystemExit(f"the access log tells nothing about {sample.files.keys() - found.keys()}")


def show(rows: list[Row]) -> None:
    """The table."""
    table = Table(title="What the store holds", title_justify="left")
    table.add_column("file")
    for heading in ("logical bytes", "stored bytes", "ratio", "PUT s", "GET s"):
        table.add_column(heading, justify="right")
    for row in rows:
        logical = row.sample.logical
        table.add_row(
            row.sample.name,
            f"{logical:,}",
            f"{row.stored:,}",
            f"{logical / row.stored:.2f}",
            f"{row.put_seconds:.2f}",
            f"{row.get_seconds:.2f}",
        )
    logical, stored = sum(row.sample.logical for row in rows), sum(row.stored for row in rows)
    table.add_section()
    table.add_row("all", f"{logical:,}", f"{stored:,}", f"{logical / stored:.2f}", "", "")
    console.print(table)


def check_listing(s3: Any, work: list[Sample]) -> int:
    """Compare the listing with what was sent: names, sizes, and the ETags of single PUTs; how many objects."""
    files = {key: (path, sample.multipart) for sample in work for key, path in sample.files.items()}
    pages = s3.get_paginator("list_objects_v2").paginate(Bucket=BUCKET)
    rows = {row["Key"]: row for page in pages for row in page.get("Contents", ())}
    if rows.keys() != files.keys():
        raise SystemExit(f"the listing shows {len(rows)} objects, {len(files)} were sent")
    for key, (path, multipart) in files.items():
        etag = rows[key]["ETag"].strip('"')
        right = "-" in etag if multipart else etag == hashlib.md5(path.read_bytes()).hexdigest()
        if rows[key]["Size"] != path.stat().st_size or not right:
            raise SystemExit(f"{key} is listed with another size or ETag")
    return len(rows)


def run(gateway: GatewayProcess, work: list[Sample]) -> list[Row]:
    """Send, read back, read ranges; a row each."""
    s3 = boto3.client(
        "s3",
        endpoint_url=gateway.endpoint,
        aws_access_key_id=gateway.access_key,
        aws_secret_access_key=gateway.secret_key,
        region_name="us-east-1",
        config=Config(s3={"addressing_style": "path"}),
    )
    s3.create_bucket(Bucket=BUCKET)
    rows = []
    for sample in work:
        console.print(f"  {sample.name}: {len(sample.files)} file(s), {sample.logical:,} bytes ...", end=" ")
        put_seconds = timed(lambda: send(s3, sample))  # noqa: B023 - called at once
        get_seconds = timed(lambda: read_back(s3, sample))  # noqa: B023
        ranges = read_ranges(s3, sample)
        rows.append(Row(sample, stored_bytes(gateway, sample), put_seconds, get_seconds))
        console.print(f"back byte for byte, {ranges} ranges right")
    listed = check_listing(s3, work)
    console.print(f"  listed: {listed} objects, every size and ETag is the file's own")
    return rows


def keep_up(gateway: GatewayProcess) -> None:
    """Leave the server running until Ctrl-C."""
    console.print("\nThe gateway stays up; Ctrl-C ends it and removes its data. In another terminal:\n")
    console.print(
        f"  export AWS_ACCESS_KEY_ID={gateway.access_key} AWS_SECRET_ACCESS_KEY={gateway.secret_key} AWS_DEFAULT_REGION=us-east-1",
        soft_wrap=True,
    )
    console.print(f"  aws --endpoint-url {gateway.endpoint} s3 ls --recursive s3://{BUCKET}/", soft_wrap=True)
    try:
        signal.pause()
    except KeyboardInterrupt:
        console.print("\nended")


def main() -> None:
    """The demo."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--keep", action="store_true", help="leave the server up and print endpoint and keys")
    parser.add_argument("--mib", type=int, default=64, help="size of the access log in MiB (default 64)")
    options = parser.parse_args()
    for name in [name for name in os.environ if name.startswith(("AWS_", "S4_"))]:
        del os.environ[name]
    os.environ.update({"AWS_CONFIG_FILE": os.devnull, "AWS_SHARED_CREDENTIALS_FILE": os.devnull, "AWS_EC2_METADATA_DISABLED": "true"})
    with ExitStack() as stack:
        folder = Path(tempfile.mkdtemp(prefix="s4-demo-"))
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        console.print("making the files ...")
        work = samples(folder, options.mib)
        gateway = stack.enter_context(running_gateway("--data-dir", str(folder / "store"), "--log-format", "json"))
        console.print(f"s4-gateway serves on {gateway.endpoint}, storing in {folder / 'store'}", soft_wrap=True)
        rows = run(gateway, work)
        show(rows)
        if options.keep:
            keep_up(gateway)


if __name__ == "__main__":
    sys.exit(main())
