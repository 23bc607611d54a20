"""The page of the documentation, its plots, and the samples kept beside this module: made again from each other by `--render`."""

import tomllib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.aims import GATEWAYS, Medians, verdicts, with_peaks
from benchmarks.costs import cost_tables
from benchmarks.markdown import table
from benchmarks.plots import Panel, chart
from benchmarks.rows import COUNTED, DELAYED, LINKS, NEAR, ROWS, SLOW
from benchmarks.samples import METRICS, Run
from benchmarks.screen import cell, title

HERE = Path(__file__).parent
KEPT = HERE / "results.json"
PAGE = HERE.parents[1] / "docs" / "explanation" / "performance.md"
TARGETS = {"direct": "the store itself", "reference": "reference", "ours": "S4, 1 worker", "ours-2": "S4, 2 workers"}
STORES = {"minio": "MinIO", "versitygw": "versitygw", "embedded": "the embedded store"}
SPEEDS = ("rate", "mb_per_second")
COSTS = ("cpu_us", "cpu_s_per_gb")

HEAD = """# Performance

S4 beside the stores it stands on and beside the reference's own server ({reference}), measured in one run. One command measures
everything, keeps every sample and writes this page with its plots:

```sh
nox -s bench -- --reference PATH/TO/s4 --publish
```

`nox -s bench -- --render` makes the page again from the kept samples, after a change of words (`limits.toml`), prices (`prices.toml`)
or aims in `tests-e2e/benchmarks`.

Compare figures with each other, not with other machines: load, gateway and store share {machine}, kernel {kernel}, Python {python};
S4 {commits}{stores}.

- Rounds go round-robin over the targets, figures are medians of up to {rounds} rounds, a load lasts {seconds} s, failed requests are
  summed.
- The load is wrk: one thread that sends finished requests, signed in advance, over 32 connections for small objects, 8 for listings
  and ranges. It used {share} of a core at most.
- The reference verifies no signature; S4 and the stores do. It runs with `--accurate-list-size`, without which its listings tell stored
  sizes.
- versitygw runs with `--keep-alive` for every target: without it, all would be measured connecting.
- Nothing keeps decoded data: every range is read from the store and decoded.
- CPU is user and system time of the gateway's processes, and memory is their peak, summed over workers.
- Objects are the `log` workload (a realistic access log, `s4_codecs.testing.workloads`) unless `noise` (incompressible) is named.
"""


@dataclass(frozen=True, slots=True)
class Section:
    """A table with one line for each row of some settings and a column for each target."""

    heading: str
    words: str
    setting: str
    metrics: tuple[str, ...]
    """The first of them that a row has is shown."""
    ratios: tuple[str, ...] = ()
    """Targets that ours are divided by."""


SECTIONS = (
    Section("Speed", "Requests a second, MB (10^6 bytes) a second for single large transfers.", NEAR, SPEEDS, ("reference", "direct")),
    Section(
        "CPU of the gateway", "Microseconds a request, seconds a GB (10^9 original bytes) for large transfers.", NEAR, COSTS, ("reference",)
    ),
    Section(
        "CPU of gateway and store together",
        "The same, with the store's. A store that shares the machine is paid from the same cores.",
        NEAR,
        ("all_cpu_us", "all_cpu_s_per_gb"),
        ("reference", "direct"),
    ),
    Section("Latency, median", "Milliseconds, under the load above.", NEAR, ("p50_ms",)),
    Section("Latency, 99th percentile", "Milliseconds, under the load above.", NEAR, ("p99_ms",)),
    Section(
        "Peak memory",
        "MiB of resident memory, the most while the row ran; for `direct`, that of the store.",
        NEAR,
        ("peak_mib",),
        ("reference",),
    ),
    Section("Stored bytes", "What lies in the store afterwards.", NEAR, ("stored_bytes",), ("reference", "direct")),
    Section(
        "A store 20 ms away, median",
        "Milliseconds of one request after the other over one connection; 10 ms are added in each direction, between gateway and store, "
        "or between client and store for `direct`. `first` = the gateway has no facts about the object.",
        DELAYED,
        ("p50_ms",),
    ),
    Section("A store 20 ms away, 99th percentile", "The same.", DELAYED, ("p99_ms",)),
    Section("A link of 100 MB/s to the store", "MB/s of original bytes: less crosses the link.", SLOW, SPEEDS, ("reference", "direct")),
)


def publish(run: Run) -> None:
    """Keep the samples, and make the page and its plots of them."""
    run.save(KEPT)
    PAGE.write_text(text(run), encoding="utf-8")
    for name, content in plots(with_peaks(run.medians())).items():
        PAGE.with_name(name).write_text(content, encoding="utf-8")


def text(run: Run) -> str:
    """The page."""
    medians = with_peaks(run.medians())
    stores = [store for store in STORES if any(where == store for where, _, _ in medians)]
    parts = [_head(run), _aims(medians), _limits(medians)]
    for store in stores:
        parts.append(f"## Over {STORES[store]}\n" if store != "embedded" else f"## On {STORES[store]}\n")
        parts += [f"![{what} over {STORES[store]}]({file})\n" for what, file in _pictures(store) if store != "embedded"]
        parts += [_section(medians, store, section) for section in SECTIONS]
        parts.append(_backend(medians, store))
    parts.append(cost_tables(medians, [store for store in stores if store != "embedded"], TARGETS, STORES))
    return "\n".join(part for part in parts if part)


def plots(medians: Medians) -> dict[str, str]:
    """File name -> SVG."""
    drawn = {}
    for store, name in STORES.items():
        for (what, file), metrics, form in zip(_pictures(store), (SPEEDS, COSTS), (",.0f", ",.4g"), strict=True):
            panels = list(_panels(medians, store, metrics))
            if panels and store != "embedded":
                drawn[file] = chart(f"{what} over {name}", panels, form=form)
    return drawn


def _pictures(store: str) -> tuple[tuple[str, str], tuple[str, str]]:
    return (
        ("Speed (requests/s, MB/s; longer is better)", f"performance-{store}-speed.svg"),
        ("CPU of the gateway (us/request, s/GB; shorter is better)", f"performance-{store}-cpu.svg"),
    )


def _panels(medians: Medians, store: str, metrics: Sequence[str]) -> Iterator[Panel]:
    for row in _rows(NEAR):
        bars = {
            target: medians[store, row, target].metrics[metric]
            for target in TARGETS
            for metric in metrics
            if (store, row, target) in medians and metric in medians[store, row, target].metrics
        }
        if bars:
            yield Panel(title(row), bars)


def _rows(setting: str) -> Iterable[str]:
    return [name for name, row in ROWS.items() if row.setting == setting] + (["peak"] if setting == NEAR else [])


def _head(run: Run) -> str:
    facts = run.facts
    shares = [one.metrics["load_share"] for one in run.samples if "load_share" in one.metrics]
    return HEAD.format(
        reference=facts.get("reference", "not measured here"),
        machine=facts["machine"],
        kernel=facts["kernel"],
        python=facts["python"],
        commits=" and ".join(map(str, facts["commits"])),
        stores="".join(f", {name}" for name in facts["stores"]),
        rounds=max(one.round for one in run.samples) + 1,
        seconds=facts["seconds"],
        share=format(max(shares, default=0.0), ".0%"),
    )


def _aims(medians: Medians) -> str:
    found = {(one.aim, one.store, one.target): one for one in verdicts(medians)}
    lines = []
    for aim, store in dict.fromkeys((aim, store) for aim, store, _ in found):
        shown = []
        for target in GATEWAYS:
            one = found.get((aim, store, target))
            form = METRICS[aim.metric].form
            shown.append(
                "" if one is None else f"{'met' if one.met else '**not met**'}: {one.value:{form}}, {one.ratio:.2f} x {one.base:{form}}"
            )
        lines.append([title(aim.row) + _where(aim.row), STORES[store], aim.words(), *shown])
    if not lines:
        return ""
    return "## Aims\n\n" + table(["work", "over", "aim", *(TARGETS[target] for target in GATEWAYS)], lines)


def _where(row: str) -> str:
    setting = ROWS[row].setting if row in ROWS else NEAR
    return "" if setting == NEAR else f", {LINKS[setting].words}"


def _limits(medians: Medians) -> str:
    """Words that people wrote about rows."""
    words: dict[str, str] = tomllib.loads((HERE / "limits.toml").read_text(encoding="utf-8"))["rows"]
    measured = {row for _, row, _ in medians}
    lines = [[title(row) + _where(row), words[row]] for row in [*ROWS, "peak"] if row in words and row in measured]
    return "## What limits each row\n\n" + table(["work", "what limits it"], lines) if lines else ""


def _section(medians: Medians, store: str, section: Section) -> str:
    targets = [target for target in TARGETS if any((store, row, target) in medians for row in _rows(section.setting))]
    divided = [(ours, base) for ours in targets if ours in GATEWAYS for base in section.ratios if base in targets]
    lines = []
    for row in _rows(section.setting):
        metric = next((name for name in section.metrics if any(name in _metrics(medians, store, row, one) for one in targets)), None)
        if metric is None:
            continue
        values = {target: _metrics(medians, store, row, target) for target in targets}
        ratios = [_ratio(values[ours].get(metric), values[base].get(metric)) for ours, base in divided]
        lines.append([title(row), *(_cell(values[target], metric) for target in targets), *ratios])
    if not lines:
        return ""
    headings = ["work", *(TARGETS[target] for target in targets), *(f"{TARGETS[ours]} / {base}" for ours, base in divided)]
    kept = [i for i in range(len(headings)) if i == 0 or any(line[i] for line in lines)]
    shown = table([headings[i] for i in kept], [[line[i] for i in kept] for line in lines], numbers=True)
    return f"### {section.heading}{_suffix(store)}\n\n{section.words}\n\n{shown}"


def _suffix(store: str) -> str:
    """Headings of a page differ, so that each has an anchor of its own."""
    return f" ({STORES[store]})"


def _metrics(medians: Medians, store: str, row: str, target: str) -> dict[str, float]:
    sample = medians.get((store, row, target))
    return dict(sample.metrics) if sample else {}


def _cell(metrics: dict[str, float], metric: str) -> str:
    failed = f" ({metrics['failures']:,.0f} failed)" if metrics.get("failures") and metric == "rate" else ""
    return cell(metrics, metric) + failed


def _ratio(value: float | None, base: float | None) -> str:
    return f"{value / base:.2f}" if value is not None and base else ""


def _backend(medians: Medians, store: str) -> str:
    targets = [target for target in TARGETS if any((store, row, target) in medians for row in _rows(COUNTED))]
    lines = [
        [title(row), *(_requests(medians, store, row, target) for target in targets)]
        for row in _rows(COUNTED)
        if any((store, row, target) in medians for target in targets)
    ]
    if not lines:
        return ""
    words = "Counted on the wire, for an operation that is done again."
    return f"### Requests to the store{_suffix(store)}\n\n{words}\n\n" + table(["work", *(TARGETS[one] for one in targets)], lines)


def _requests(medians: Medians, store: str, row: str, target: str) -> str:
    sample = medians.get((store, row, target))
    return ", ".join(f"{count:g} {name}" for name, count in sample.backend.items()) if sample else ""
