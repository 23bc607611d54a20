"""kill -9 during a write load: what was acknowledged is there, what was not is whole or absent."""

import random
from pathlib import Path

import pytest

from s4_gateway.testing.crash import CrashDriver, run_rounds


@pytest.mark.timeout(900)
@pytest.mark.parametrize(("processes", "kills"), [(1, 0), (3, 2)])
def test_killed_writers(tmp_path: Path, processes: int, kills: int, pytestconfig: pytest.Config) -> None:
    """Every acknowledged object is intact, none is torn or read torn, and no file is left over: servers of one process and of several."""
    rounds = pytestconfig.getoption("--kill-rounds", default=2)
    seed = random.randrange(2**32)
    report = run_rounds(tmp_path / "store", rounds=rounds, seed=seed, processes=processes, kills=kills, longest_seconds=0.7)
    assert report.faults == [], f"seed {seed}"
    assert (report.rounds, report.kills) == (rounds, rounds * (kills + 1))
    assert report.acknowledged > rounds
    assert report.in_flight > 0


async def test_the_driver_notices_damage(tmp_path: Path) -> None:
    """A blob that is lost behind the store's back is a fault of the next round."""
    driver = CrashDriver(tmp_path / "store", seed=1, sweep_seconds=0.5)
    await driver.round(longest_seconds=0.5)
    assert driver.report.faults == []
    for blob in (tmp_path / "store" / "blobs").rglob("*"):
        if blob.is_file():
            blob.unlink()
    await driver.round(longest_seconds=0.06)
    assert any("cannot be read" in fault for fault in driver.report.faults)


async def test_the_driver_notices_loss(tmp_path: Path) -> None:
    """So is a store that forgot its objects."""
    driver = CrashDriver(tmp_path / "store", seed=2, sweep_seconds=0.5)
    await driver.round(longest_seconds=0.5)
    (tmp_path / "store").rename(tmp_path / "elsewhere")
    await driver.round(longest_seconds=0.06)
    assert any("is lost" in fault for fault in driver.report.faults)
