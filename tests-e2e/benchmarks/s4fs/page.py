"""docs/explanation/s4fs.md: `guide.md` beside this module and the tables of the kept figures."""

from collections.abc import Iterable, Iterator
from pathlib import Path

from benchmarks.markdown import table
from benchmarks.s4fs.aims import Verdict, verdicts
from benchmarks.s4fs.clients import CLIENTS
from benchmarks.s4fs.figures import Figure, Figures
from benchmarks.s4fs.rows import LINKS, ROWS, Row

GUIDE = Path(__file__).with_name("guide.md")
PAGE = Path(__file__).parents[3] / "docs" / "explanation" / "s4fs.md"
NAMES = {"requests": "requests", "received": "bytes from the store", "peak_mib": "peak MiB"}


def publish(figures: Figures) -> None:
    """Write the page."""
    PAGE.write_text(text(figures), encoding="utf-8")


def text(figures: Figures) -> str:
    """The page."""
    parts = [
        GUIDE.read_text(encoding="utf-8"),
        "## What s4fs is held to\n\n" + _aims(verdicts(figures)),
        "## Every figure\n\n" + _facts(figures) + "\n",
        *(f"### {row.title}{_where(row)}\n\n{_rows(figures, name)}" for name, row in ROWS.items() if any(_measured(figures, name))),
    ]
    return "\n".join(parts)


def _where(row: Row) -> str:
    return f", {LINKS[row.links[0]].words}" if len(row.links) == 1 else ""


def _facts(figures: Figures) -> str:
    facts = figures.facts
    rounds = sorted({one.rounds for one in figures.known.values()})
    taken = f"the best of {' or '.join(map(str, rounds))} rounds" if rounds[-1] > 1 else "one round"
    libraries = ", ".join(f"{name} {number}" for name, number in facts["libraries"].items())
    return (
        f"Over {facts['store']} on the same machine ({facts['machine']}), {taken}, "
        f"Python {facts['python']}, {libraries}.\n"
        "Requests and bytes are counted between the client and the store, heads included; MB are 10^6 original bytes; CPU is that of the\n"
        "client, and memory that of the client's whole process, interpreter and libraries included.\n"
    )


def _aims(found: Iterable[Verdict]) -> str:
    lines = []
    for one in found:
        row = ROWS[one.aim.row]
        name = NAMES.get(one.aim.metric, unit(row))
        bound = f"{one.aim.sense} {one.aim.bound:g}" + (f" x {one.aim.base}" if one.aim.base else "")
        base = "" if one.base is None else _number(one.base)
        ratio = "" if one.base is None else f"{one.ratio:.2f}"
        lines.append([row.title, one.link, name, _number(one.value), base, ratio, bound, "met" if one.met else "**missed**"])
    return table(["row", "distance", "figure", "s4fs", "compared", "ratio", "aim", ""], lines)


def unit(row: Row) -> str:
    """What `per_second` counts."""
    return "reads/s" if row.reads else ("listings/s" if row.work == "listing" else "MB/s")


def _rows(figures: Figures, name: str) -> str:
    row = ROWS[name]
    headings = ["distance", "client", "s", unit(row), "CPU s", "requests", "bytes from the store", "peak MiB"]
    return table(headings, [_cells(link, one) for link, one in _measured(figures, name)])


def _measured(figures: Figures, name: str) -> Iterator[tuple[str, Figure]]:
    for link in ROWS[name].links:
        for client in CLIENTS:
            if found := figures.known.get((name, link, client)):
                yield link, found


def _cells(link: str, one: Figure) -> list[str]:
    numbers = one.metrics
    kinds = ", ".join(f"{count:,.0f} {kind}" for kind, count in sorted(one.requests.items()))
    return [
        link,
        one.client,
        f"{numbers['seconds']:,.2f}",
        _number(numbers["per_second"]),
        f"{numbers['cpu_seconds']:,.2f}",
        kinds,
        f"{numbers['received']:,.0f}",
        f"{numbers['peak_mib']:,.0f}",
    ]


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 10 else f"{value:,.2f}"
