"""What a terminal shows of a run."""

from collections.abc import Mapping

from rich.box import SIMPLE
from rich.console import Console
from rich.table import Table

from benchmarks.aims import Medians, verdicts
from benchmarks.rows import ROWS
from benchmarks.samples import METRICS, Sample

PEAK = "peak memory of any row"


def title(row: str) -> str:
    """A row's name for readers."""
    return ROWS[row].title if row in ROWS else PEAK


def line(sample: Sample) -> str:
    """One sample, when it was taken."""
    shown = ", ".join(f"{name} {value:{METRICS[name].form}}" for name, value in sample.metrics.items() if value or name != "failures")
    return f"{sample.store:10} {sample.row:10} {sample.target:10} #{sample.round}  {shown}"


def cell(metrics: Mapping[str, float], name: str) -> str:
    """A metric as a table shows it; empty where it does not apply."""
    value = metrics.get(name)
    return "" if value is None or (name == "failures" and not value) else format(value, METRICS[name].form)


def ratio(medians: Medians, sample: Sample, against: str) -> str:
    """Speed beside another target's in the same row; empty where there is nothing to compare."""
    base = medians.get((sample.store, sample.row, against))
    speed = next((name for name in ("rate", "mb_per_second") if name in sample.metrics), None)
    if base is None or speed is None or against == sample.target or not base.metrics.get(speed):
        return ""
    return f"{sample.metrics[speed] / base.metrics[speed]:.2f}"


def show(console: Console, medians: Medians) -> None:
    """The table of figures, and that of aims."""
    figures = Table(title="medians over rounds; CPU of the gateway, and of gateway and backend (all)", title_justify="left", box=SIMPLE)
    shown = [name for name in METRICS if any(name in one.metrics for one in medians.values())]
    for heading in ("store", "row", "target"):
        figures.add_column(heading)
    for heading in [*(METRICS[name].short for name in shown), "/reference", "/direct"]:
        figures.add_column(heading, justify="right")
    figures.add_column("backend requests")
    for (store, row, target), sample in medians.items():
        ratios = (ratio(medians, sample, against) for against in ("reference", "direct"))
        backend = " ".join(f"{name}={count:g}" for name, count in sample.backend.items())
        figures.add_row(store, row, target, *(cell(sample.metrics, name) for name in shown), *ratios, backend)
    console.print(figures)
    judged = Table(title="aims", title_justify="left", box=SIMPLE)
    for heading in ("store", "row", "target", "aim", "found", "beside", "ratio", "met"):
        judged.add_column(heading)
    for one in verdicts(medians):
        form = METRICS[one.aim.metric].form
        found = (f"{one.value:{form}}", f"{one.base:{form}}", f"{one.ratio:.2f}", "yes" if one.met else "NO")
        judged.add_row(one.store, one.aim.row, one.target, one.aim.words(), *found)
    if judged.row_count:
        console.print(judged)
