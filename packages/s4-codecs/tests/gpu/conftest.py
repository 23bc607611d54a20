"""Tests that need a CUDA device: skipped, with what is missing, where there is none."""

from pathlib import Path

import pytest

from s4_codecs.gpu import probe

HERE = Path(__file__).parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark every test of this folder."""
    here = [item for item in items if HERE in item.path.parents]
    if not here:
        return
    missing = probe.missing()
    for item in here:
        item.add_marker(pytest.mark.gpu)
        if missing is not None:
            item.add_marker(pytest.mark.skip(reason=f"no CUDA device can be used: {missing}"))
