"""Options of the tests of backends."""

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    """Known when this folder is named on the command line."""
    parser.addoption("--kill-rounds", type=int, default=2, help="rounds of kill -9 against the embedded store")
    parser.addoption("--power-cuts", type=int, default=100, help="moments tried on each kind of disk that keeps more than it must")
