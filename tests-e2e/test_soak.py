"""The soak, for half a minute; and that it would see what grows. `nox -s soak` is the long one."""

import itertools
import random
from pathlib import Path

import pytest
from conftest import StartGateway
from servers.stores import Store
from soak.run import soak, table
from soak.trend import slope, trends
from soak.vitals import MIB, Vitals

SECONDS = 30.0
RATE = 40.0


@pytest.mark.servers("embedded")
def test_soak(fresh_store: Store, start_gateway: StartGateway, tmp_path: Path) -> None:
    """Under mixed load nothing grows, every answer is right, and nothing is left when it ends."""
    seed = random.randrange(2**32)
    state = tmp_path / "state"
    gateway = start_gateway(fresh_store, state=state)
    report = soak(gateway, state, tmp_path / "store" / "data", seconds=SECONDS, rate=RATE, seed=seed)
    print("\n".join([f"seed {seed}", *table(report)]))
    assert report.faults == []
    assert report.done.total() > SECONDS
    assert report.objects > 0


def looks(**growing: float) -> list[Vitals]:
    """Half an hour, looked at every ten seconds; what is named grows by so much an hour, and everything is a little noisy."""
    noise = random.Random(7)
    base = {"rss": 90 * MIB, "descriptors": 40, "threads": 17, "temp_files": 0, "objects": 60 * MIB, "sqlite": MIB, "wal": 4 * MIB}
    return [
        Vitals(
            seconds=float(second),
            **{name: int(value * noise.uniform(0.99, 1.01) + growing.get(name, 0.0) * second / 3600) for name, value in base.items()},
        )
        for second in range(0, 1800, 10)
    ]


def test_flat_figures() -> None:
    """Noise is no growth, and neither is one peak."""
    flat = looks()
    peak = [*flat[:100], Vitals(**{name: 3 * getattr(flat[100], name) for name in ("seconds", *Vitals.names())}), *flat[101:]]
    assert all(row.flat for row in trends(flat))
    assert all(row.flat for row in trends(sorted(peak, key=lambda look: look.seconds)))


@pytest.mark.parametrize(
    ("name", "an_hour"),
    [
        ("rss", 100 * MIB),
        ("descriptors", 60),
        ("threads", 20),
        ("temp_files", 20),
        ("objects", 100 * MIB),
        ("sqlite", 6 * MIB),
        ("wal", 100 * MIB),
    ],
)
def test_growing_figures(name: str, an_hour: float) -> None:
    """Each figure that grows is seen, and no other is blamed."""
    assert [row.name for row in trends(looks(**{name: an_hour})) if not row.flat] == [name]


def test_slope() -> None:
    """The slope of a line is its own, whatever a few points of it say."""
    points = [(float(x), 2.0 * x + 1) for x in range(20)]
    points[3] = (3.0, 1000.0)
    assert slope(points) == pytest.approx(2.0)
    assert slope(list(itertools.islice(points, 1))) == 0.0
