"""The fuzzer finds what was planted, and says so."""

from concurrent.futures import ThreadPoolExecutor

import canaries
import pytest
from fuzzing.session import Outcome, probe
from fuzzing.target import Finding

pytest.importorskip("atheris", reason="atheris has no wheel for this platform")
SECONDS = 30
"""Each of them is found in one or two; a busy machine gets more."""
SAYS = {
    "depth": "nobody guesses this",
    "split": "a cut text has the lines of a whole one",
    "slowness": "s of CPU time",
    "greed": "MiB of memory",
    "leak": "IndexError",
}


@pytest.fixture(name="outcomes", scope="module")
def fixture_outcomes() -> dict[str, Outcome]:
    """What the fuzzer found of each, two at a time."""
    with ThreadPoolExecutor(2) as pool:
        found = pool.map(lambda target: probe(target, seconds=SECONDS, module="canaries", seed=4), canaries.TARGETS.values())
        return {outcome.name: outcome for outcome in found}


@pytest.mark.parametrize("name", sorted(canaries.TARGETS))
def test_planted_bug(outcomes: dict[str, Outcome], name: str) -> None:
    """A bug of each kind is found within the time, from seeds that do not show it, and the input found shows it again."""
    target, outcome = canaries.TARGETS[name], outcomes[name]
    for seed in target.seeds:
        target.run(seed)

    assert outcome.finding is not None
    assert SAYS[name] in outcome.trace
    if name != "slowness":  # Without coverage counted it is only slow.
        with pytest.raises((Finding, IndexError)):
            target.run(outcome.finding)
