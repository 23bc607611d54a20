"""The store, its links, and the objects that are read: each stored plain, by s4fs, by the gateway and by the reference."""

import json
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet
from datasets import flights
from s4_codecs.testing.workloads import WORKLOADS
from servers.gateways import running_gateway_over
from servers.stores import ACCESS_KEY, SECRET_KEY, Store, running_store

from benchmarks.link import Far, Link, linked

MIB = 1 << 20
BUCKET = "bench"
COPIES = 20
"""Of the flights in the Parquet file."""
ROW_GROUP = 500_000
WANTED_COLUMNS = ("carrier", "dep_delay", "distance")
SMALL_OBJECTS = 1000
WORK = Path(__file__).with_name("work.py")

NEAR = Link("near", round_trip_ms=0.0)
LINKS = {"0 ms": NEAR, "20 ms": Link("20 ms away", round_trip_ms=20.0), "50 ms": Link("50 ms away", round_trip_ms=50.0)}
SLOW = "20 ms, 100 MB/s"


@dataclass(frozen=True, slots=True)
class Cost:
    """What one piece of work took."""

    seconds: float
    bytes: int
    """Logical bytes that it gave or took."""
    requests: int
    received: int
    """Bytes that came from the store, heads included; 0 over links that do not count."""
    peak_rss: int


@dataclass(frozen=True, slots=True)
class Ground:
    """Everything that the rows need."""

    store: Store
    far: dict[str, Far]
    pythons: dict[str, Path]
    """Interpreter of each kind: plain, ours and, where it is there, reference."""
    columns: Sequence[tuple[int, int]]
    """(start, size) of the wanted columns in the Parquet file."""
    files: dict[str, Path]

    def run(self, kind: str, link: str, job: str, path: str, **asked: Any) -> Cost:
        """Do a job in a process of its own.

        Raises:
            RuntimeError: it failed.
        """
        far = self.far[link]
        options = {
            "endpoint_url": far.store.endpoint,
            "key": ACCESS_KEY,
            "secret": SECRET_KEY,
            "client_kwargs": {"region_name": "us-east-1"},
        }
        order = {"kind": "plain" if kind == "plain" else "s4", "options": options, "job": job, "path": f"{BUCKET}/{path}", **asked}
        before, came = far.requests(), far.received()
        done = subprocess.run([self.pythons[kind], WORK], input=json.dumps(order).encode(), capture_output=True, check=False, timeout=600)
        if done.returncode:
            raise RuntimeError(f"{kind} {job} {path}: {done.stderr.decode()[-2000:]}")
        told = json.loads(done.stdout)
        spent, received = far.requests() - before, far.received() - came
        return Cost(told["seconds"], told["bytes"], spent.total(), received, told["peak_rss"])


@contextmanager
def prepared(folder: Path, *, log_mib: int, reference: Path | None) -> Iterator[Ground]:
    """The ground, filled: keys are `<who stored it>/<file>`.

    Args:
        folder: for everything.
        log_mib: size of the log.
        reference: Python with the reference's packages, if it is there.
    """
    pythons = {"plain": Path(sys.executable), "ours": Path(sys.executable)} | ({"reference": reference} if reference else {})
    (folder / "store").mkdir()
    with ExitStack() as stack:
        store = stack.enter_context(running_store("versitygw", folder / "store"))
        store.behind.client.create_bucket(Bucket=BUCKET)  # type: ignore[attr-defined]
        far = {name: stack.enter_context(linked(store, link)) for name, link in LINKS.items()}
        paced = stack.enter_context(linked(store, Link("100 MB/s", mb_per_second=100.0)))
        far[SLOW] = stack.enter_context(linked(paced.store, LINKS["20 ms"]))
        files, columns = _files(folder, log_mib)
        ground = Ground(store, far, pythons, columns, files)
        _fill(ground, folder)
        yield ground


def _files(folder: Path, log_mib: int) -> tuple[dict[str, Path], list[tuple[int, int]]]:
    csv, table = flights(folder)
    parquet, log = folder / "flights.parquet", folder / "log"
    pyarrow.parquet.write_table(pyarrow.concat_tables([table] * COPIES), parquet, row_group_size=ROW_GROUP)
    metadata = pyarrow.parquet.read_metadata(parquet)
    columns = []
    for group in range(metadata.num_row_groups):
        for number in range(metadata.num_columns):
            column = metadata.row_group(group).column(number)
            if column.path_in_schema in WANTED_COLUMNS:
                columns.append((column.dictionary_page_offset or column.data_page_offset, column.total_compressed_size))
    log.write_bytes(WORKLOADS["log"](log_mib * MIB))
    return {"flights.csv": csv, "flights.parquet": parquet, "log": log}, columns


def _fill(ground: Ground, folder: Path) -> None:
    for kind in ground.pythons:
        for name, file in ground.files.items():
            ground.run(kind, "0 ms", "pipe", f"{kind}/{name}", file=str(file))
        ground.run(kind, "0 ms", "many", f"{kind}/many", count=SMALL_OBJECTS)
    with running_gateway_over(ground.store, folder / "gateway") as gateway:
        for name, file in ground.files.items():
            gateway.client().upload_file(str(file), BUCKET, f"gateway/{name}")
