"""`python -m benchmarks codecs`."""

import argparse
import os
import platform
from collections.abc import Sequence

from rich.box import SIMPLE
from rich.console import Console
from rich.table import Table
from s4_codecs.testing.workloads import WORKLOADS

from benchmarks.codecs import page
from benchmarks.codecs.device import device_figures
from benchmarks.codecs.figures import CPU, Figure, Figures, published
from benchmarks.codecs.measure import OPTIONS, available, measure

MIB = 1 << 20


def main(arguments: Sequence[str]) -> int:
    """Measure, print, and keep what `--publish` asks for."""
    console = Console(width=160)
    options = _options(arguments)
    figures = Figures.load()
    if not options.render:
        figures.add(_measured(console, options), CPU, _facts(options))
    _show(console, [*figures.measured, *device_figures(), *published()])
    if options.publish or options.render:
        figures.save()
        page.publish(figures)
        console.print(f"the page is {page.PAGE}")
    return 0


def _options(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="benchmarks codecs", description=__doc__)
    parser.add_argument("--mib", type=int, default=64, help="size of each workload; aims are for 64")
    parser.add_argument("--rounds", type=int, default=3, help="the least CPU time of so many rounds is taken")
    parser.add_argument("--workloads", type=lambda given: given.split(","), default=list(WORKLOADS))
    parser.add_argument("--codecs", type=lambda given: given.split(","), default=list(OPTIONS))
    parser.add_argument("--publish", action="store_true", help="keep the figures and write the page of the documentation")
    parser.add_argument("--render", action="store_true", help="measure nothing: write the page again from what is kept")
    options = parser.parse_args(arguments)
    for given, known in ((options.workloads, WORKLOADS), (options.codecs, OPTIONS)):
        if unknown := [name for name in given if name not in known]:
            parser.error(f"unknown {', '.join(unknown)}; choose from {', '.join(known)}")
    return options


def _measured(console: Console, options: argparse.Namespace) -> list[Figure]:
    codecs, missing = available(options.codecs)
    for one in missing:
        console.print(f"not measured: {one.codec}: {one.why}")
    taken = []
    for figure in measure(options.workloads, codecs, size=options.mib * MIB, rounds=options.rounds):
        console.print(f"{figure.workload:13} {figure.codec:13} {figure.ratio:10,.3f} {figure.encode:7.3f} {figure.decode:7.3f} GB/s")
        taken.append(figure)
    return taken


def _facts(options: argparse.Namespace) -> dict[str, object]:
    return {"machine": f"{platform.machine()}, {os.cpu_count()} cores", "python": platform.python_version(), "mib": options.mib}


def _show(console: Console, figures: Sequence[Figure]) -> None:
    shown = Table(title="original/stored bytes, and GB/s of original bytes", title_justify="left", box=SIMPLE)
    for heading in ("workload", "codec", "on"):
        shown.add_column(heading)
    for heading in ("ratio", "encode", "decode", "frame"):
        shown.add_column(heading, justify="right")
    order = list(WORKLOADS)
    for one in sorted(figures, key=lambda one: (order.index(one.workload), one.source, -one.ratio)):
        numbers = f"{one.ratio:,.3f}", f"{one.encode:.3g}", f"{one.decode:.3g}", str(one.frame_size or "")
        shown.add_row(one.workload, one.codec, one.source, *numbers)
    console.print(shown)
