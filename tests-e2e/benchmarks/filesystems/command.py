"""`python -m benchmarks s4fs`."""

import argparse
import platform
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from programs import PROGRAMS, newest
from rich.console import Console
from rich.table import Table

from benchmarks.filesystems.ground import LINKS, SLOW, Cost, Ground, prepared

MIB = 1 << 20
PAGE = Path(__file__).resolve().parents[3] / "docs" / "explanation" / "s4fs.md"
MARK = "<!-- figures -->"
READ = 64 * 1024


@dataclass(frozen=True, slots=True)
class Line:
    """One measurement."""

    row: str
    link: str
    who: str
    cost: Cost

    def cells(self) -> tuple[str, ...]:
        cost = self.cost
        rate = f"{cost.bytes / cost.seconds / 1e6:,.0f}" if cost.bytes > MIB else ""
        received = f"{cost.received / 1e6:,.1f}" if cost.received else ""
        return (self.row, self.link, self.who, f"{cost.seconds:.2f}", rate, f"{cost.requests:,}", received, f"{cost.peak_rss / 1e6:,.0f}")


HEAD = ("work", "link", "through", "s", "MB/s", "requests", "MB from the store", "peak RSS, MB")
Measure = Callable[[Ground], Iterator[Line]]


def parquet(ground: Ground) -> Iterator[Line]:
    """Footer and three columns of a Parquet file of several row groups."""
    stored = [("plain", "plain"), ("ours", "ours"), ("ours", "gateway"), ("reference", "reference")]
    for link in LINKS:
        for kind, who in stored:
            if kind in ground.pythons:
                name = f"{kind}, stored by {who}" if who == "gateway" else kind
                cost = ground.run(kind, link, "columns", f"{who}/flights.parquet", ranges=ground.columns)
                yield Line("Parquet, footer and 3 columns, one file", link, name, cost)
    for kind, who in stored[:2]:
        cost = ground.run(kind, "0 ms", "ranges", f"{who}/flights.parquet", ranges=ground.columns)
        yield Line("Parquet, 3 columns, ranges", "0 ms", kind, cost)


def csv(ground: Ground) -> Iterator[Line]:
    """A CSV file in ranges, as Dask reads it."""
    size = ground.files["flights.csv"].stat().st_size
    pieces = [(start, min(8 * MIB, size - start)) for start in range(0, size, 8 * MIB)]
    for link in LINKS:
        for kind in ground.pythons:
            yield Line("CSV in ranges of 8 MiB", link, kind, ground.run(kind, link, "ranges", f"{kind}/flights.csv", ranges=pieces))


def listing(ground: Ground) -> Iterator[Line]:
    """1,000 objects and their sizes."""
    for link in LINKS:
        for kind in ground.pythons:
            yield Line("ls of 1,000 objects with sizes", link, kind, ground.run(kind, link, "sizes", f"{kind}/many"))


def sequential(ground: Ground) -> Iterator[Line]:
    """The log in order, and at random places."""
    size = ground.files["log"].stat().st_size
    for link in ("0 ms", "20 ms", SLOW):
        for kind in ground.pythons:
            yield Line(f"log of {size // MIB} MiB in order", link, kind, ground.run(kind, link, "sequential", f"{kind}/log", piece=MIB))
    for kind in ground.pythons:
        reads = 20 if kind == "reference" else 200
        cost = ground.run(kind, "0 ms", "anywhere", f"{kind}/log", piece=READ, reads=reads, size=size)
        yield Line(f"log, {reads} random reads of 64 KiB", "0 ms", kind, cost)


def writing(ground: Ground) -> Iterator[Line]:
    """1 GiB written in order."""
    for kind in ("plain", "ours"):
        yield Line("write of 1 GiB in order", "0 ms", kind, ground.run(kind, "0 ms", "write", f"{kind}/written", size=1024 * MIB))


ROWS: dict[str, Measure] = {"parquet": parquet, "csv": csv, "listing": listing, "sequential": sequential, "writing": writing}


def main(arguments: Sequence[str]) -> int:
    """Measure and print; keep the table where `--publish` asks for it."""
    parser = argparse.ArgumentParser(prog="benchmarks s4fs", description=__doc__)
    parser.add_argument("--rows", default=",".join(ROWS), help=f"of {', '.join(ROWS)}, with commas between")
    parser.add_argument("--log-mib", type=int, default=256, help="size of the log")
    parser.add_argument("--publish", action="store_true", help="write the table into the documentation")
    options = parser.parse_args(arguments)
    console = Console(width=160)
    found = newest(PROGRAMS["reference"][1])
    table, lines = Table(*HEAD), list[Line]()
    with (
        tempfile.TemporaryDirectory(prefix="s4-bench-") as folder,
        prepared(Path(folder), log_mib=options.log_mib, reference=Path(found) if found else None) as ground,
    ):
        for row in options.rows.split(","):
            for line in ROWS[row](ground):
                console.print("  ".join(line.cells()))
                lines.append(line)
                table.add_row(*line.cells())
    console.print(table)
    if options.publish:
        _publish(lines)
    return 0


def _publish(lines: Sequence[Line]) -> None:
    before, _, _ = PAGE.read_text(encoding="utf-8").partition(MARK)
    rows = [f"| {' | '.join(HEAD)} |", "|---|---|---|---:|---:|---:|---:|---:|", *(f"| {' | '.join(line.cells())} |" for line in lines)]
    where = f"Measured on {platform.machine()} with Python {platform.python_version()}, everything on one machine."
    PAGE.write_text(f"{before}{MARK}\n\n{where}\n\n" + "\n".join(rows) + "\n", encoding="utf-8")
