"""`python -m benchmarks`: run by `nox -s bench`; see the package for how to use it by hand. `codecs` and `s4fs` in front have their own."""

import argparse
import os
import signal
import sys
import tempfile
from pathlib import Path

from rich.console import Console
from servers.stores import EMBEDDED

from benchmarks import load, page, screen
from benchmarks.aims import with_peaks
from benchmarks.codecs import command as codecs
from benchmarks.rounds import Clock, OutOfTimeError, Plan, measure, note
from benchmarks.rows import ROWS
from benchmarks.s4fs import command as s4fs
from benchmarks.samples import Run
from benchmarks.targets import starters

STORES = (EMBEDDED, "versitygw", "minio")
UNFINISHED = 3
OTHERS = {"codecs": codecs.main, "s4fs": s4fs.main}
"""Benchmarks that are chosen by the first argument."""
console = Console(width=220)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="benchmarks", description=__doc__)
    parser.add_argument("--reference", type=Path, help="the reference's server (s4-server, the program s4): measured in the same run")
    parser.add_argument("--stores", "--servers", default="all", help=f"all, or of {', '.join(STORES)} with commas between")
    parser.add_argument("--rows", default="all", help=f"all, or of {', '.join(ROWS)}")
    parser.add_argument("--targets", default="all", help="all, or of direct, reference, ours, ours-2 (two workers)")
    parser.add_argument("--rounds", type=int, help="of each row, medians are shown; 3, or 1 with --quick")
    parser.add_argument("--seconds", type=int, help="length of each load; 5, or 2 with --quick")
    parser.add_argument("--quick", action="store_true", help="short, for tuning")
    parser.add_argument("--run", type=Path, help="file that keeps every sample; what it has is not measured again")
    parser.add_argument("--publish", action="store_true", help="write the page of the documentation when all is measured")
    parser.add_argument("--render", action="store_true", help="measure nothing: write the page again from the samples that were kept")
    parser.add_argument("--budget", type=float, help=f"end after so many seconds, with status {UNFINISHED} if work is left")
    return parser.parse_args()


def _chosen(given: str, known: tuple[str, ...], option: str) -> list[str]:
    names = list(known) if given == "all" else given.split(",")
    if unknown := [name for name in names if name not in known]:
        raise SystemExit(f"{option}: unknown {', '.join(unknown)}; choose from {', '.join(known)}")
    return names


def main() -> int:
    """Measure, print, keep."""
    options = _options()
    if options.render:
        page.publish(Run.load(page.KEPT))
        return 0
    if not load.available():
        console.print(load.MISSING)
        return 2
    os.environ.update({"AWS_CONFIG_FILE": os.devnull, "AWS_SHARED_CREDENTIALS_FILE": os.devnull, "AWS_EC2_METADATA_DISABLED": "true"})
    known = starters(options.reference.resolve() if options.reference else None)
    targets = {name: known[name] for name in _chosen(options.targets, tuple(known), "--targets")}
    file = options.run or Path(tempfile.mkdtemp(prefix="s4-bench-run-")) / "run.json"
    plan = Plan(
        _chosen(options.stores, STORES, "--stores"),
        _chosen(options.rows, tuple(ROWS), "--rows"),
        targets,
        options.rounds or (1 if options.quick else 3),
        options.seconds or (2 if options.quick else 5),
        file,
    )
    run = Run.load(file)
    note(run, plan, options.reference)
    done = True
    try:
        for sample in measure(plan, run, Clock(options.budget)):
            console.print(screen.line(sample))
    except OutOfTimeError:
        done = False
    screen.show(console, with_peaks(run.medians()))
    console.print(f"every sample is in {file}" + ("" if done else "; the time is used up and work is left: run the same command again"))
    if done and options.publish:
        page.publish(run)
        console.print(f"the page is {page.PAGE}")
    return 0 if done else UNFINISHED


if __name__ == "__main__":
    # Whoever ends it by a signal must not be left with servers that run.
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    other = OTHERS.get(sys.argv[1]) if len(sys.argv) > 1 else None
    sys.exit(other(sys.argv[2:]) if other else main())
