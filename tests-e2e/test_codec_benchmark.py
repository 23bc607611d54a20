"""The benchmark of codecs: its arithmetic, its page and one short run of it, so that it cannot rot."""

import subprocess
import sys
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest
from benchmarks.codecs import page
from benchmarks.codecs.aims import RATIOS, verdicts
from benchmarks.codecs.figures import CPU, KEPT, REFERENCE, Figure, Figures, published
from benchmarks.codecs.measure import OPTIONS
from benchmarks.codecs.scatter import Dot, scatter
from s4_codecs.testing.workloads import WORKLOADS

pytestmark = pytest.mark.servers("embedded")

E2E = Path(__file__).parent


def _figure(codec: str, *, workload: str = "gaps", ratio: float = 16.0, encode: float = 0.5, decode: float = 2.0) -> Figure:
    return Figure(workload, codec, CPU, ratio, encode, decode)


@pytest.mark.parametrize(
    ("found", "met"),
    [
        (_figure("cpu-columnar"), True),
        (_figure("cpu-columnar", ratio=15.4), False),
        (_figure("cpu-columnar", encode=0.49), False),
        (_figure("cpu-columnar", decode=0.99), False),
    ],
)
def test_an_aim_is_a_ratio_and_two_speeds(found: Figure, *, met: bool) -> None:
    """Each of the three alone can miss it; encoding is judged beside zstd on the same data."""
    assert [one.met for one in verdicts([found, _figure("cpu-zstd-3", ratio=1.5, encode=1.0)])] == [met]


def test_nothing_is_judged_that_was_not_measured() -> None:
    """Published figures, and speeds without zstd's beside them, meet nothing."""
    assert not list(verdicts(published()))
    assert not any(one.met for one in verdicts([_figure("cpu-columnar")]))


def test_every_name_is_a_workload() -> None:
    """Aims and published figures are of workloads that are measured."""
    assert {*RATIOS, *(one.workload for one in published())} <= {*WORKLOADS}
    assert {one.source for one in published()} == {REFERENCE}


def test_a_later_figure_replaces_an_earlier_one() -> None:
    """Measuring one codec again keeps the others."""
    figures = Figures()
    figures.add([_figure("cpu-gzip"), _figure("cpu-zstd-3")], CPU, {"mib": 64})
    figures.add([_figure("cpu-gzip", ratio=2.0)], CPU, {"mib": 64})

    assert {one.codec: one.ratio for one in figures.measured} == {"cpu-zstd-3": 16.0, "cpu-gzip": 2.0}


def test_the_plot_is_well_formed_and_shows_every_figure() -> None:
    """Names are escaped, and a panel with one dot has axes too."""
    drawn = scatter("a < b", [("one & only", [Dot("x<y", "cpu", 0.5, 3.0)])], legend=[("cpu", "one core")], labels=("GB/s", "ratio"))

    texts = [element.text for element in ET.fromstring(drawn).iter() if element.text and element.text.strip()]
    assert {"a < b", "one & only", "x<y"} <= set(texts)


def test_the_page_is_made_of_the_kept_figures() -> None:
    """The documentation shows what was measured, and nothing else."""
    figures = Figures.load(KEPT)
    assert page.PAGE.read_text(encoding="utf-8") == page.text(figures)
    assert page.PLOT.read_text(encoding="utf-8") == page.plot(page.everything(figures))


def test_a_short_run_measures_every_codec() -> None:
    """The command of the documentation ends well and prints a line for each codec that is installed."""
    command = [sys.executable, "-m", "benchmarks", "codecs", "--mib", "1", "--rounds", "1", "--workloads", "gaps"]
    done = subprocess.run(command, cwd=E2E, capture_output=True, text=True, timeout=300, check=False)

    assert done.returncode == 0, done.stderr
    assert all(f"gaps          {codec}" in done.stdout or f"not measured: {codec}" in done.stdout for codec in OPTIONS)
