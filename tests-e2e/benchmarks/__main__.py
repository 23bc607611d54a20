"""`python -m benchmarks`: run by `nox -s bench`."""

import argparse
import json
import os
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path

from rich.console import Console
from rich.table import Table
from servers.gateways import running_gateway_over
from servers.stores import EMBEDDED, running_store

from benchmarks import load
from benchmarks.rows import Figures, all_rows
from benchmarks.target import Target

console = Console(width=200)


def measure(name: str, seconds: int) -> list[Figures]:
    """All rows on one store: direct where it is a server, then through a gateway."""
    done: list[Figures] = []
    with ExitStack() as stack:
        for direct in (True, False):
            if direct and name == EMBEDDED:
                continue
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="s4-bench-")))
            with ExitStack() as one:
                store = one.enter_context(running_store(name, folder))
                target = (
                    Target.direct(store) if direct else Target.gateway(one.enter_context(running_gateway_over(store, folder / "state")))
                )
                console.print(f"{target.name} ...")
                for figures in all_rows(target, seconds=seconds):
                    console.print(f"  {figures.row}: {_speed(figures)}")
                    done.append(figures)
    return done


def _speed(figures: Figures) -> str:
    if figures.rate is not None:
        return f"{figures.rate:,.0f} requests/s" + (f", {figures.failures} FAILED" if figures.failures else "")
    return f"{figures.mb_per_second:,.0f} MB/s"


def _cell(value: float | None, form: str = ",.0f") -> str:
    return "" if value is None else format(value, form)


def table(done: list[Figures]) -> Table:
    """The table that is published."""
    shown = Table(title="s4-gateway and the backends it stands on, one run", title_justify="left")
    for heading in ("work", "target"):
        shown.add_column(heading)
    for heading in ("requests/s", "MB/s", "p50 ms", "p99 ms", "CPU us/request", "CPU s/GB", "peak MiB", "stored bytes", "failed"):
        shown.add_column(heading, justify="right")
    shown.add_column("backend requests per operation")
    for row in dict.fromkeys(figures.row for figures in done):
        for figures in (one for one in done if one.row == row):
            shown.add_row(
                row,
                figures.target,
                _cell(figures.rate),
                _cell(figures.mb_per_second),
                _cell(figures.p50_ms, ".1f"),
                _cell(figures.p99_ms, ".1f"),
                _cell(figures.cpu_us),
                _cell(figures.cpu_s_per_gb, ".2f"),
                _cell(figures.peak_mib),
                _cell(figures.stored_bytes),
                str(figures.failures or ""),
                ", ".join(f"{name} {count:g}" for name, count in figures.backend.items()),
            )
        shown.add_section()
    return shown


def main() -> int:
    """Measure, print, write JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--servers", default="all", help="all, or names of embedded, versitygw, minio with commas between")
    parser.add_argument("--seconds", type=int, default=5, help="length of each load row")
    parser.add_argument("--json", type=Path, default=Path("bench.json"), help="where the figures are written")
    options = parser.parse_args()
    if not load.available():
        console.print("wrk is not installed (Debian package wrk); the load rows need it")
        return 2
    names = [EMBEDDED, "versitygw", "minio"] if options.servers == "all" else options.servers.split(",")
    os.environ.update({"AWS_CONFIG_FILE": os.devnull, "AWS_SHARED_CREDENTIALS_FILE": os.devnull, "AWS_EC2_METADATA_DISABLED": "true"})
    done = [figures for name in names for figures in measure(name, options.seconds)]
    console.print(table(done))
    options.json.write_text(json.dumps([figures.plain() for figures in done], indent=1) + "\n")
    console.print(f"figures are in {options.json}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
