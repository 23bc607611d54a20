"""Options of the schedules."""

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    """Known when this folder is named on the command line."""
    parser.addoption(
        "--schedules", type=int, default=300, help="seeded schedules of faults to play; each takes some hundredths of a second"
    )
    parser.addoption("--first-seed", type=int, default=0, help="where their seeds begin")
    parser.addoption("--schedule", default=None, help="play this one alone: SEED, or what a failure printed")
