"""Hypothesis settings of the suite, and an environment without nvCOMP."""

import pytest
from hypothesis import settings

settings.register_profile("unit", max_examples=60, deadline=None)
settings.load_profile("unit")


@pytest.fixture
def no_nvcomp(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if the extra nvcomp-cpu were not installed, and no device there."""
    monkeypatch.setattr("s4_codecs.nvcomp.chunks.find_library", lambda: None)
    monkeypatch.setattr("s4_codecs.nvcomp.codec.engine.pipeline", lambda: None)
    monkeypatch.setattr("s4_codecs.nvcomp.codec.probe.device", lambda: None)
