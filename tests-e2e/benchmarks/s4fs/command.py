"""`python -m benchmarks s4fs`."""

import argparse
import os
import platform
from collections.abc import Sequence
from importlib.metadata import version

from programs import program
from rich.box import SIMPLE
from rich.console import Console
from rich.table import Table

from benchmarks.s4fs import page
from benchmarks.s4fs.aims import verdicts
from benchmarks.s4fs.clients import CLIENTS
from benchmarks.s4fs.figures import Figure, Figures
from benchmarks.s4fs.measure import STORE, measure, world
from benchmarks.s4fs.rows import LINKS, ROWS

LIBRARIES = ("fsspec", "s3fs", "aiobotocore", "pyarrow")


def main(arguments: Sequence[str]) -> int:
    """Measure, print, and keep what `--publish` asks for."""
    console = Console(width=180)
    options = _options(arguments)
    figures = Figures.load()
    if not options.render:
        figures = _measured(console, options, figures if options.add else Figures())
    _show(console, figures)
    if options.publish or options.render:
        figures.save()
        page.publish(figures)
        console.print(f"the page is {page.PAGE}")
    return 0


def _options(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="benchmarks s4fs", description=__doc__)
    parser.add_argument("--rounds", type=int, default=3, help="of each row; the best is shown")
    for name, known in (("rows", ROWS), ("links", LINKS), ("clients", CLIENTS)):
        parser.add_argument(f"--{name}", default="all", help=f"all, or of {', '.join(known)} with semicolons between")
    parser.add_argument("--add", action="store_true", help="to the figures that are kept; those of the same place are replaced")
    parser.add_argument("--publish", action="store_true", help="keep the figures and write the page of the documentation")
    parser.add_argument("--render", action="store_true", help="measure nothing: write the page again from what is kept")
    options = parser.parse_args(arguments)
    for name, known in (("rows", ROWS), ("links", LINKS), ("clients", CLIENTS)):
        given = getattr(options, name)
        chosen = list(known) if given == "all" else given.split(";")
        if unknown := [one for one in chosen if one not in known]:
            parser.error(f"--{name}: unknown {', '.join(unknown)}; choose from {', '.join(known)}")
        setattr(options, name, chosen)
    return options


def _measured(console: Console, options: argparse.Namespace, figures: Figures) -> Figures:
    os.environ.update({"AWS_CONFIG_FILE": os.devnull, "AWS_SHARED_CREDENTIALS_FILE": os.devnull, "AWS_EC2_METADATA_DISABLED": "true"})
    figures.facts = {
        "machine": f"{platform.machine()}, {os.cpu_count()} cores",
        "python": platform.python_version(),
        "store": program(STORE).parent.name,
        "libraries": {name: version(name) for name in LIBRARIES},
    }
    with world() as objects:
        for figure in measure(objects, options.rows, options.links, options.clients, rounds=options.rounds):
            console.print(_line(figure))
            figures.add([figure])
            if options.publish:
                figures.save()
    return figures


def _line(figure: Figure) -> str:
    kinds = " ".join(f"{kind} {count:g}" for kind, count in figure.requests.items())
    numbers = " ".join(f"{name} {value:,.4g}" for name, value in figure.metrics.items())
    return f"{figure.row:10} {figure.link:16} {figure.client:24} {numbers} {kinds}"


def _show(console: Console, figures: Figures) -> None:
    table = Table(title="aims", title_justify="left", box=SIMPLE)
    for heading in ("row", "distance", "metric", "ours", "base", "ratio", "aim", "met"):
        table.add_column(heading)
    for one in verdicts(figures):
        base = "" if one.base is None else f"{one.aim.base}: {one.base:,.4g}"
        aim = f"{one.aim.sense} {one.aim.bound:g}"
        table.add_row(one.aim.row, one.link, one.aim.metric, f"{one.value:,.4g}", base, f"{one.ratio:.2f}", aim, "yes" if one.met else "NO")
    console.print(table)
