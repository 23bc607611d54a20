"""The objects that are read: every client's own, of the same original bytes."""

import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from datasets import flights, write_parquet
from servers.gateways import Gateway
from servers.stores import Store

from benchmarks.ground import workload
from benchmarks.s4fs.clients import BUCKET, CLIENTS, GATEWAYS, started
from benchmarks.s4fs.rows import LISTED, LISTED_BYTES, LOG_BYTES, MIB

PARQUET_COPIES = 20
CSV_COPIES = 4
_CACHE = Path(tempfile.gettempdir()) / "s4-bench-workloads"


def many_flights(name: str) -> Path:
    """The flights several times over; kept between runs."""
    path = _CACHE / f"flights-{name}"
    if not path.exists():
        _CACHE.mkdir(exist_ok=True)
        partial = path.with_name(path.name + ".partial")
        with tempfile.TemporaryDirectory() as folder:
            csv, table = flights(Path(folder))
            if name == "parquet":
                write_parquet(table, partial, copies=PARQUET_COPIES)
            else:
                partial.write_bytes(csv.read_bytes() * CSV_COPIES)
        partial.replace(path)
    return path


FILES: Mapping[str, Callable[[], Path]] = {
    "parquet": lambda: many_flights("parquet"),
    "csv": lambda: many_flights("csv"),
    "log": lambda: workload("log", LOG_BYTES),
    "written": lambda: workload("log", LOG_BYTES),
}
LISTING = "listed"


@dataclass(slots=True)
class Objects:
    """What lies in the store; made when first asked for, past any link."""

    store: Store
    gateway: Gateway
    """Over the same store."""
    _made: set[tuple[str, str]] = field(default_factory=set)

    def path(self, client: str, data: str) -> str:
        """The path of a client's object, or of its folder that is listed; a name to write to is not made."""
        folder = CLIENTS[client].folder
        if data != "written" and (client, data) not in self._made:
            self._make(client, data, f"{folder}/{data}")
            self._made.add((client, data))
        return f"{BUCKET}/{folder}/{data}"

    def _make(self, client: str, data: str, key: str) -> None:
        if data == LISTING:
            self._make_many(client, key)
        elif client == GATEWAYS:
            self.gateway.client().upload_file(str(FILES[data]()), BUCKET, key)
        else:
            self._put(client, key, FILES[data]())

    def _put(self, client: str, key: str, file: Path) -> None:
        assert self.store.endpoint is not None
        with started(CLIENTS[client], self.store.endpoint, "put", f"{BUCKET}/{key}", {"local": str(file)}) as running:
            running.work()

    def _make_many(self, client: str, folder: str) -> None:
        """One object put by its client, and the rest of the listing copies of what lies in the store then."""
        file = _CACHE / f"log-{LISTED_BYTES}"
        file.write_bytes(workload("log", MIB).read_bytes()[:LISTED_BYTES])
        first = f"{folder}/{0:04d}"
        if client == GATEWAYS:
            self.gateway.client().upload_file(str(file), BUCKET, first)
        else:
            self._put(client, first, file)
        stored = self.store.behind.get(BUCKET, first)
        for number in range(1, LISTED):
            self.store.behind.put(BUCKET, f"{folder}/{number:04d}", stored)

    def stored_bytes(self, client: str, data: str) -> int:
        """What a client's object takes in the store."""
        return self.store.behind.size(BUCKET, f"{CLIENTS[client].folder}/{data}")
