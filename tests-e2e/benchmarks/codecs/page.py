"""docs/explanation/codecs.md and its plot, made of the kept figures; `guide.md` beside this module has the words on when to use which."""

import json
from collections.abc import Iterable, Mapping, Sequence

from s4_codecs.testing.workloads import WORKLOADS

from benchmarks.codecs.aims import SLOWEST_DECODE, SLOWEST_ENCODE, Verdict, verdicts
from benchmarks.codecs.device import device_figures, device_words
from benchmarks.codecs.figures import CPU, DEVICE, HERE, REFERENCE, Figure, Figures, published, published_machine
from benchmarks.codecs.scatter import Dot, scatter
from benchmarks.gateway_codecs import Load, Row
from benchmarks.gateway_codecs import table as gateway_table
from benchmarks.markdown import table

GUIDE = HERE / "guide.md"
GATEWAY = HERE / "gateway_h200.json"
PAGE = HERE.parents[2] / "docs" / "explanation" / "codecs.md"
PLOT = PAGE.with_suffix(".svg")
KINDS: Mapping[str, str] = {CPU: "one CPU core", DEVICE: "one GPU, host to host", REFERENCE: "published by the reference"}


def publish(figures: Figures) -> None:
    """Write the page and its plot."""
    PAGE.write_text(text(figures), encoding="utf-8")
    PLOT.write_text(plot(everything(figures)), encoding="utf-8")


def everything(figures: Figures) -> list[Figure]:
    """What was measured here, what was on a GPU, and what the reference publishes."""
    return [*figures.measured, *device_figures(), *published()]


def text(figures: Figures) -> str:
    """The page."""
    known = everything(figures)
    parts = [
        GUIDE.read_text(encoding="utf-8"),
        f"## Ratio against speed\n\n![Ratio against encoding speed of every codec on every workload]({PLOT.name})\n",
        _sources(figures),
        "## The best ratio of each workload\n\n" + _best(known),
        "## What cpu-columnar is held to\n\n" + _aims(verdicts(known)),
        "## Through the gateway\n\n" + _gateway(),
        "## Every codec on every workload\n\nOriginal over stored bytes, headers and trailer included; GB/s of original bytes.\n",
        *(f"### {workload}\n\n{_doc(workload)}\n\n{_rows(known, workload)}" for workload in WORKLOADS if _of(known, workload)),
    ]
    return "\n".join(parts)


def plot(figures: Sequence[Figure]) -> str:
    """One panel a workload."""
    panels = [
        (
            workload,
            [
                Dot(one.codec.removeprefix("cpu-").removeprefix("nvcomp-"), one.source, one.encode, one.ratio)
                for one in _of(figures, workload)
            ],
        )
        for workload in WORKLOADS
    ]
    present = {one.source for one in figures}
    return scatter(
        "Codecs: ratio against encoding speed",
        [(name, dots) for name, dots in panels if dots],
        legend=[(kind, words) for kind, words in KINDS.items() if kind in present],
        labels=("GB/s encoding", "ratio"),
    )


def _of(figures: Iterable[Figure], workload: str) -> list[Figure]:
    return sorted(
        (one for one in figures if one.workload == workload), key=lambda one: (list(KINDS).index(one.source), -one.ratio, one.codec)
    )


def _sources(figures: Figures) -> str:
    cpu = figures.facts.get(CPU, {})
    here = (
        f"{cpu.get('mib', '?')} MiB of each workload through the object encoder and decoder on one thread of "
        f"{cpu.get('machine', 'an unknown machine')}, Python {cpu.get('python', '?')}; CPU time, the least of several rounds."
    )
    lines = [f"- **{KINDS[CPU]}**: {here}", f"- **{KINDS[DEVICE]}**: {device_words()}"]
    lines.append(f"- **{KINDS[REFERENCE]}**: on {published_machine()}, 256 MiB of nginx and parquet_like, 64 MiB of the others.")
    return "\n".join(lines) + "\n\nCompare speeds within a source; machines differ.\n"


def _best(figures: Sequence[Figure]) -> str:
    lines = []
    for workload in WORKLOADS:
        cells = [_champion(one for one in _of(figures, workload) if one.source == source) for source in KINDS]
        lines.append([workload, *cells])
    return table(["workload", *KINDS.values()], lines)


def _champion(figures: Iterable[Figure]) -> str:
    best = max(figures, key=lambda one: (round(one.ratio, 2), one.encode), default=None)
    return "" if best is None else f"{best.ratio:,.2f} ({best.codec})"


def _aims(found: Iterable[Verdict]) -> str:
    lines = [
        [
            one.workload,
            f"{one.figure.ratio:,.2f}",
            f">= {one.aim:,g}",
            "" if one.published is None else f"{one.published:,.2f}",
            "" if one.encode_share is None else f"{one.encode_share:.2f}",
            f"{one.figure.decode:.2f}",
            "yes" if one.met else "**no**",
        ]
        for one in found
    ]
    speeds = f"encoding >= {SLOWEST_ENCODE:g} of cpu-zstd-3's speed on the same data, decoding >= {SLOWEST_DECODE:g} GB/s on one core"
    headings = ["workload", "ratio", "aim", "reference's best", "encoding beside cpu-zstd-3", "decoding GB/s", "met"]
    return f"Ratio as below; {speeds}.\n\n" + table(headings, lines, numbers=True)


def _gateway() -> str:
    """What `python tests-e2e/benchmarks/gateway_codecs.py --json` wrote on a machine with a GPU."""
    kept = json.loads(GATEWAY.read_text(encoding="utf-8"))
    facts, loads = kept["facts"], ("put", "multipart", "get", "ranges")
    rows = [Row(**{**one, **{name: Load(**one[name]) for name in loads}}) for one in kept["rows"]]
    words = (
        f"boto3 over the embedded store, {facts['mib']} MiB objects, four connections, one NVIDIA H200 and {facts['cores']} CPU cores, "
        f"Python {facts['python']}: MB/s of original bytes, and CPU seconds of the gateway for a GB of them."
    )
    return f"{words}\n\n{gateway_table(rows)}"


def _doc(workload: str) -> str:
    return (WORKLOADS[workload].__doc__ or "").strip()


def _rows(figures: Sequence[Figure], workload: str) -> str:
    lines = [
        [one.codec, KINDS[one.source], f"{one.ratio:,.3f}", f"{one.encode:.3g}", f"{one.decode:.3g}", _size(one.frame_size)]
        for one in _of(figures, workload)
    ]
    return table(["codec", "on", "ratio", "encode GB/s", "decode GB/s", "frame"], lines)


def _size(size: int | None) -> str:
    if size is None:
        return ""
    return f"{size >> 20} MiB" if size >= 1 << 20 else f"{size >> 10} KiB"
