"""`python -m benchmarks.workers`: what a second worker brings, with nothing behind the gateway that could be the limit.

Each worker has a store in its own memory, so that only the gateway's own work is measured; load generator and workers share the machine.
Rounds alternate between one worker and several.
"""

import argparse
import asyncio
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from urllib.parse import urlsplit

from rich.console import Console
from rich.table import Table
from s4_codecs.testing.workloads import WORKLOADS
from s4_gateway.auth.credentials import KeyStore
from s4_gateway.backend.memory import MemoryBackend
from s4_gateway.client_keys import ClientKeys
from s4_gateway.observe import Metrics, logs
from s4_gateway.observe.shared_stream import SharedStream
from s4_gateway.serve import Station, Supervisor, bind, serve
from s4_gateway.services import assemble
from s4_gateway.settings import Settings
from s4_gateway.sigv4 import Signer
from s4_gateway.testing.client import make_gateway

from benchmarks import load, processes

BUCKET = "bench"
KEYS = 512
PAIR = ("bench-access-key", "bench-secret-key")
SIZES = {"4 KiB": 4096, "64 KiB": 65536}
ROWS = [(method, size) for size in SIZES for method in ("GET", "PUT")]


@dataclass(slots=True)
class Figures:
    """Of one row and number of workers, one entry a round."""

    rates: list[float] = field(default_factory=list)
    """Requests a second."""
    per_cpu_second: list[float] = field(default_factory=list)
    """Requests per second of CPU time of all the gateway's processes."""
    failures: int = 0


async def _filled() -> MemoryBackend:
    """A store with the objects of all rows, as a gateway stores them."""
    backend = MemoryBackend()
    await backend.create_bucket(BUCKET)
    text = WORKLOADS["log"](2**20)
    async with make_gateway(backend) as gateway:
        for name, size in SIZES.items():
            for number in range(KEYS):
                start = number * 977 % (len(text) - size)
                await gateway.request("PUT", BUCKET, _key(name, number), body=text[start : start + size])
    return backend


def _key(name: str, number: int) -> str:
    return f"{name.replace(' ', '')}/{number:04d}"


def serve_from_memory(workers: int, folder: Path) -> None:
    """A gateway whose workers each have a copy of the same store; writes the endpoint to standard output."""
    settings = Settings.load({"data_dir": str(folder), "port": "0", "workers": str(workers)}, {})
    listening = bind(settings.listen.host, 0)
    host, port = listening.getsockname()[:2]
    backend = asyncio.run(_filled())
    stream = SharedStream(sys.stderr.fileno())
    logs.configure("pretty")

    def job(station: Station | None) -> None:
        services = assemble(
            settings.of_one_worker(),
            backend,
            ClientKeys(KeyStore({PAIR[0]: PAIR[1]})),
            metrics=Metrics(),
            state_dir=settings.state_dir,
            log_stream=stream,
            place=station.place if station is not None else None,
        )
        serve(services, listening, ready=station.ready if station is not None else ready, station=station)

    def ready() -> None:
        print(f"http://{host}:{port}", flush=True)

    if workers == 1:
        job(None)
    else:
        Supervisor(job, (listening,), count=workers, drain_seconds=1.0, ready=ready).run()


@contextmanager
def _running(workers: int) -> Iterator[tuple[str, int]]:
    """Endpoint and process id of such a gateway."""
    with tempfile.TemporaryDirectory(prefix="s4-bench-") as folder, tempfile.TemporaryFile() as log:
        command = [sys.executable, "-m", "benchmarks.workers", "--serve", str(workers), "--folder", folder]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True) as process:
            try:
                assert process.stdout is not None
                endpoint = process.stdout.readline().strip()
                if not endpoint:
                    log.seek(0)
                    raise RuntimeError(log.read().decode())
                yield endpoint, process.pid
            finally:
                process.terminate()


def _paths(endpoint: str, method: str, size: str) -> list[str]:
    host = urlsplit(endpoint).netloc
    signer = Signer(*PAIR)
    paths = [f"/{BUCKET}/{_key(size, number)}" for number in range(KEYS)]
    return [f"{path}?{signer.presign(method, path, '', headers={'host': host}, expires=86_400, when=time.time())}" for path in paths]


def measure(counts: list[int], *, rounds: int, seconds: int, connections: int) -> dict[tuple[str, str, int], Figures]:
    """All rows with each number of workers. All gateways run all the time; rounds take them by turns: noise meets all alike."""
    found = {(method, size, workers): Figures() for method, size in ROWS for workers in counts}
    with ExitStack() as stack:
        running = {workers: stack.enter_context(_running(workers)) for workers in counts}
        for method, size in ROWS:
            body = WORKLOADS["log"](2**20)[: SIZES[size]] if method == "PUT" else b""
            paths = {workers: _paths(endpoint, method, size) for workers, (endpoint, _) in running.items()}
            for number in range(rounds + 1):
                for workers, (endpoint, pid) in running.items():
                    before = processes.cpu_seconds(pid)
                    done = load.run(endpoint, method, paths[workers], seconds=seconds, connections=connections, body=body)
                    figures = found[method, size, workers]
                    # The first round warms caches.
                    if number:
                        figures.rates.append(done.rate)
                        figures.per_cpu_second.append(done.requests / (processes.cpu_seconds(pid) - before))
                    figures.failures += done.failures
    return found


def table(found: dict[tuple[str, str, int], Figures]) -> Table:
    """Medians and best rounds, and their ratio to one worker's: where others use the machine too, the best are the least disturbed."""
    shown = Table(title="requests with a store in memory, by number of workers", title_justify="left")
    for heading in ("work", "workers", "requests/s", "to one", "best", "to one", "requests/CPU s", "to one", "failed"):
        shown.add_column(heading, justify="right" if heading != "work" else "left")
    for (method, size, workers), figures in found.items():
        alone = found[method, size, 1]
        cells = [
            cell
            for ours, theirs in (
                (median(figures.rates), median(alone.rates)),
                (max(figures.rates), max(alone.rates)),
                (median(figures.per_cpu_second), median(alone.per_cpu_second)),
            )
            for cell in (f"{ours:,.0f}", f"{ours / theirs:.2f}")
        ]
        shown.add_row(f"{method} {size}", str(workers), *cells, str(figures.failures or ""))
    return shown


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="benchmarks.workers", description=__doc__)
    parser.add_argument("--workers", type=int, nargs="+", default=[2], help="numbers of workers beside one")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--seconds", type=int, default=2, help="length of each load")
    parser.add_argument("--connections", type=int, default=32)
    parser.add_argument("--serve", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        serve_from_memory(options.serve, options.folder)
        return 0
    console = Console(width=160)
    if not load.available():
        console.print(load.MISSING)
        return 2
    console.print(table(measure([1, *options.workers], rounds=options.rounds, seconds=options.seconds, connections=options.connections)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
