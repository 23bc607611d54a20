"""kill -9 during a write load: what was acknowledged is there, what was not is whole or absent."""

from pathlib import Path

import pytest

from s4_gateway.testing.crash import CrashDriver, run_rounds


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """How many rounds: few by default, more on request."""
    if "kill_rounds" in metafunc.fixturenames:
        metafunc.parametrize("kill_rounds", [metafunc.config.getoption("--kill-rounds", default=5)])


@pytest.mark.timeout(900)
def test_killed_writers(tmp_path: Path, kill_rounds: int) -> None:
    """Every acknowledged object is intact, none is torn, and no file is left over."""
    report = run_rounds(tmp_path / "store", rounds=kill_rounds, seed=20_240)
    assert report.faults == []
    assert report.rounds == kill_rounds
    assert report.acknowledged > kill_rounds
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
