"""The benchmark's arithmetic, and one short run of it, so that it cannot rot."""

import subprocess
import sys
from pathlib import Path

import pytest
from benchmarks import load, page
from benchmarks.aims import AIMS, Aim, verdicts, with_peaks
from benchmarks.link import Pace, kind
from benchmarks.plots import Panel, chart
from benchmarks.prices import Prices, million, terabyte_month, terabyte_moved
from benchmarks.processes import cpu_seconds, family, forget_peak, peak_bytes
from benchmarks.rows import LINKS, NEAR, ROWS
from benchmarks.samples import METRICS, Run, Sample, combined

pytestmark = pytest.mark.servers("embedded")

E2E = Path(__file__).parent
PRICES = Prices(write_requests=5.0, read_requests=0.4, storage=23.0, cpu=0.036)


def _sample(target: str, row: str = "get4k", number: int = 0, store: str = "minio", **metrics: float) -> Sample:
    return Sample(store, target, row, number, metrics)


def test_rounds_become_medians_and_failures_a_sum() -> None:
    """One outlier does not move a figure, and one failure is not hidden by two good rounds."""
    rounds = [_sample("ours", number=i, rate=rate, failures=failed) for i, (rate, failed) in enumerate([(100, 0), (900, 3), (110, 0)])]

    assert combined(rounds).metrics == {"rate": 110, "failures": 3}


def test_backend_requests_that_a_round_lacks_count_as_none() -> None:
    """An operation seen in one round of three has the median 0."""
    rounds = [Sample("minio", "ours", "get4k", i, {}, {"GET": 1.0} | ({"HEAD": 1.0} if i == 0 else {})) for i in range(3)]

    assert combined(rounds).backend == {"GET": 1.0, "HEAD": 0.0}


@pytest.mark.parametrize(
    ("aim", "value", "base", "met"),
    [
        (Aim("get4k", "rate", ">=", 5.0), 500, 100, True),
        (Aim("get4k", "rate", ">=", 5.0), 499, 100, False),
        (Aim("get4k", "cpu_us", "<=", 0.75), 75, 100, True),
        (Aim("coldget", "p50_ms", "<=", 1.0, "direct", plus=22.0), 43, 21, True),
        (Aim("coldget", "p50_ms", "<=", 1.0, "direct", plus=22.0), 44, 21, False),
    ],
)
def test_an_aim_is_a_factor_and_an_allowance(aim: Aim, value: float, base: float, *, met: bool) -> None:
    """Both senses, at the border and beyond it."""
    assert aim.met(value, base) is met


def test_verdicts_compare_within_a_store_and_need_both_sides() -> None:
    """A ratio is never taken across stores, and nothing is judged without the reference."""
    run = Run(samples=[_sample("ours", rate=600), _sample("reference", rate=100), _sample("ours", store="versitygw", rate=1)])

    found = list(verdicts(run.medians()))

    assert [(one.store, one.target, one.ratio, one.met) for one in found] == [("minio", "ours", 6.0, True)]


def test_every_aim_names_a_row_and_a_metric() -> None:
    """No aim is silently never judged."""
    assert {aim.row for aim in AIMS} <= {*ROWS, "peak"}
    assert {aim.metric for aim in AIMS} <= set(METRICS)
    assert {row.setting for row in ROWS.values()} <= {NEAR, *LINKS}


def test_peak_is_that_of_rows_which_all_targets_ran() -> None:
    """A row that one target alone ran does not count against it."""
    run = Run(
        samples=[
            _sample("ours", peak_mib=80),
            _sample("reference", peak_mib=300),
            _sample("ours", "list500", peak_mib=90),
            _sample("reference", "list500", peak_mib=200),
            _sample("ours", "getlog", peak_mib=500),
        ]
    )

    found = with_peaks(run.medians())

    assert {target: found["minio", "peak", target].metrics["peak_mib"] for target in ("ours", "reference")} == {
        "ours": 90,
        "reference": 300,
    }


def test_a_run_goes_on_where_it_stopped(tmp_path: Path) -> None:
    """What was saved is read again, and known to be measured."""
    Run({"kernel": "1"}, [_sample("ours", rate=1)]).save(tmp_path / "run.json")

    run = Run.load(tmp_path / "run.json")

    assert run.facts == {"kernel": "1"}
    assert run.has("minio", "get4k", "ours", 0)
    assert not run.has("minio", "get4k", "ours", 1)
    assert Run.load(tmp_path / "none.json").samples == []


def test_requests_are_billed_by_class() -> None:
    """Writing and listing by one price, reading by another, deleting for nothing; both names of operations and HTTP methods."""
    by_method = {"PUT": 8, "POST": 2, "GET": 1, "HEAD": 1, "DELETE": 5, "LIST": 1}
    by_operation = {
        "upload_part": 8,
        "create_multipart": 1,
        "complete_multipart": 1,
        "get_object": 2,
        "delete_object": 5,
        "list_objects": 1,
    }

    assert PRICES.requests(by_method) == pytest.approx((11 * 5.0 + 2 * 0.4) / 1e6)
    assert PRICES.requests(by_operation) == pytest.approx(PRICES.requests(by_method))


def test_bills() -> None:
    """A million requests, a TB moved and a TB kept, by hand."""
    assert million(PRICES, cpu_us=100, backend={"GET": 1}).total == pytest.approx(0.4 + 100 / 3600 * 0.036)
    moved = terabyte_moved(PRICES, object_bytes=10**6, cpu_s_per_gb=3.6, backend={"PUT": 1})
    assert (moved.requests, moved.cpu) == (pytest.approx(5.0), pytest.approx(0.036))
    assert terabyte_month(PRICES, stored_share=0.2).total == pytest.approx(4.6)
    assert Prices.load().storage > 0


@pytest.mark.parametrize(
    ("piece", "expected"),
    [
        (b"GET /b/key HTTP/1.1\r\nHost: x", "GET"),
        (b"GET /b?list-type=2&prefix=a/b HTTP/1.1\r\n", "LIST"),
        (b"GET /b/?list-type=2 HTTP/1.1\r\n", "LIST"),
        (b"PUT /b/key?partNumber=1 HTTP/1.1\r\n", "PUT"),
        (b'10.0.0.1 - - "GET /index.html HTTP/1.1" 200', None),
        (b"", None),
    ],
)
def test_requests_are_told_from_bodies(piece: bytes, expected: str | None) -> None:
    """A piece counts where it begins with a request line."""
    assert kind(piece) == expected


def test_a_pace_is_kept() -> None:
    """What a link carries takes its time, but for the short queue that it may have."""
    import time

    pace = Pace(1e6)
    started = time.monotonic()

    for _ in range(10):
        pace.carry(10_000)

    assert time.monotonic() - started >= 0.07


def test_a_family_is_measured_with_its_children() -> None:
    """CPU and memory of a child count with its parent."""
    child = "x = bytearray(64 << 20); sum(range(10**7)); print(1, flush=True); input()"
    code = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {child!r}])"
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        parent.stdout.readline()

        assert len(family(parent.pid)) == 2
        assert peak_bytes(parent.pid) > 64 << 20
        assert cpu_seconds(parent.pid) > 0.05
        forget_peak(parent.pid)
        assert peak_bytes(parent.pid) > 64 << 20
        parent.communicate(b"\n")


def test_a_chart_shows_every_bar() -> None:
    """Well-formed, titled, and each value is legible as text."""
    import xml.etree.ElementTree as ET

    drawn = ET.fromstring(chart("Speed & more", [Panel("GET <4 KiB>", {"direct": 1234.0, "ours": 617.0}), Panel("empty", {})], form=",.0f"))

    texts = [text.text for text in drawn.iter("{http://www.w3.org/2000/svg}text")]
    assert {"Speed & more", "GET <4 KiB>", "1,234", "617"} <= set(texts)
    bars = [
        float(bar.attrib["width"]) for bar in drawn.iter("{http://www.w3.org/2000/svg}rect") if bar.attrib["class"] in ("direct", "ours")
    ]
    assert bars[0] == pytest.approx(2 * bars[1], abs=0.2)


def test_page_is_made_of_the_kept_samples() -> None:
    """Figures, words, prices and plots of the page are those that lie beside the benchmark; `--render` makes it again."""
    kept = Run.load(page.KEPT)

    assert page.PAGE.read_text(encoding="utf-8") == page.text(kept)
    for name, drawn in page.plots(with_peaks(kept.medians())).items():
        assert page.PAGE.with_name(name).read_text(encoding="utf-8") == drawn


def test_short_run(tmp_path: Path) -> None:
    """The benchmark runs on the embedded store, keeps its samples, and does nothing when all is measured."""
    if not load.available():
        pytest.skip(load.MISSING)
    file = tmp_path / "run.json"
    chosen = ["--stores", "embedded", "--targets", "ours", "--rows", "get4k,put4k", "--rounds", "1", "--seconds", "1"]
    command = [sys.executable, "-m", "benchmarks", *chosen, "--run", str(file)]

    for _ in range(2):
        done = subprocess.run(command, cwd=E2E, capture_output=True, text=True, timeout=250, check=False)
        assert done.returncode == 0, done.stdout + done.stderr

    samples = Run.load(file).samples
    assert [one.row for one in samples] == ["get4k", "put4k"]
    for one in samples:
        assert one.metrics["rate"] > 1
        assert one.metrics["failures"] == 0
        assert one.metrics["cpu_us"] > 1
