"""The benchmark of s4fs: its arithmetic, its link, and one short run of it, so that it cannot rot."""

import os
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
from benchmarks.link import Link, linked
from benchmarks.s4fs import page
from benchmarks.s4fs.aims import AIMS, verdicts
from benchmarks.s4fs.client import WORK
from benchmarks.s4fs.clients import CLIENTS, OURS, PLAIN, REFERENCE
from benchmarks.s4fs.figures import Figure, Figures, combined
from benchmarks.s4fs.rows import LINKS, ROWS
from clients.wire import path_of
from programs import program
from servers.stores import Store

pytestmark = pytest.mark.servers("versitygw")

E2E = Path(__file__).parent
MIB = 1 << 20


def _figure(client: str, row: str = "csv", link: str = "0 ms", **metrics: float) -> Figure:
    return Figure(row, link, client, metrics, {"GET": metrics.get("requests", 0)})


def test_the_best_round_is_shown() -> None:
    """Whole, and with the number of rounds that it is the best of."""
    rounds = [_figure(OURS, seconds=3, requests=3), _figure(OURS, seconds=1, requests=4), _figure(OURS, seconds=2, requests=5)]
    assert combined(rounds) == replace(rounds[1], rounds=3)


@pytest.mark.parametrize(("ours", "met"), [(50.0, True), (51.0, False)])
def test_an_aim_is_in_terms_of_another_client(ours: float, *, met: bool) -> None:
    """At the border and beyond it; nothing is judged before both were measured."""
    figures = Figures()
    figures.add([_figure(OURS, received=ours)])
    assert list(verdicts(figures)) == []
    figures.add([_figure(PLAIN, received=100.0)])
    assert [(one.ratio, one.met) for one in verdicts(figures)] == [(ours / 100, met)]


def test_an_aim_can_stand_alone() -> None:
    """Memory is held to a number of its own."""
    figures = Figures()
    figures.add([_figure(OURS, "write", peak_mib=257.0)])
    assert [(one.ratio, one.met) for one in verdicts(figures)] == [(257.0, False)]


def test_every_aim_names_what_is_measured() -> None:
    """No aim is silently never judged, and clients can do the work of every row."""
    assert {row.work for row in ROWS.values()} <= WORK.keys()
    for aim in AIMS:
        assert set(aim.links) <= set(ROWS[aim.row].links)
        assert aim.base is None or aim.base in CLIENTS
    assert {link for row in ROWS.values() for link in row.links} == set(LINKS)


def test_figures_survive_the_file_and_make_a_page(tmp_path: Path) -> None:
    """What was measured is kept, and the page shows every figure and verdict."""
    figures = Figures({"machine": "one", "python": "3", "store": "a store", "libraries": {"fsspec": "1"}})
    numbers = {"seconds": 1.0, "cpu_seconds": 0.5, "per_second": 20.0, "requests": 7.0, "received": 1234.0, "peak_mib": 99.0}
    for client in (OURS, PLAIN, REFERENCE):
        figures.add(_figure(client, row, link, **numbers) for row in ROWS for link in ROWS[row].links)
    figures.save(tmp_path / "kept.json")
    again = Figures.load(tmp_path / "kept.json")
    assert again == figures
    text = page.text(again)
    assert text.count("| 0 ms | s4fs |") == sum("0 ms" in row.links for row in ROWS.values())
    assert text.count("**missed**") == sum(not one.met for one in verdicts(again)) > 0


def test_a_link_delays_paces_and_counts(store: Store) -> None:
    """One GET of 4 MiB over 40 ms and 20 MB/s takes at least as long as that, and is counted with its bytes."""
    bucket = "link"
    store.wire().request("PUT", path_of(bucket))
    store.wire().request("PUT", path_of(bucket, "key"), bytes(4 * MIB))
    with linked(store, Link("", round_trip_ms=40.0, mb_per_second=20.0)) as far:
        before = far.passed()
        began = time.monotonic()
        assert len(far.store.wire().request("GET", path_of(bucket, "key")).body) == 4 * MIB
        took = time.monotonic() - began
        passed = far.passed().since(before)
    store.behind.remove_bucket(bucket)
    assert took > 0.04 + 4 * MIB / 20e6 - 0.05
    assert passed.requests == {"GET": 1}
    assert 4 * MIB < passed.received < 4 * MIB + 2000
    assert 0 < passed.sent < 2000


def test_a_short_run(store: Store) -> None:
    """Two clients measure a row; what they read was compared, and the aims are judged."""
    options = ("--rows", "csv", "--links", "0 ms", "--clients", f"{PLAIN};{OURS}", "--rounds", "1")
    # The folder in which programs are kept is hidden from what a test starts.
    environ = {**os.environ, "S4_TEST_VERSITYGW": str(program("versitygw"))}
    command = [sys.executable, "-m", "benchmarks", "s4fs", *options]
    done = subprocess.run(command, cwd=E2E, env=environ, capture_output=True, text=True, timeout=200, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "csv" in done.stdout
    assert "yes" in done.stdout
