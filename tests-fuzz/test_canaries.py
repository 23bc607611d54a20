"""The fuzzer finds what was planted, and says so."""

import canaries
import pytest
from fuzzing.session import probe
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


@pytest.mark.parametrize("name", sorted(canaries.TARGETS))
def test_planted_bug(name: str) -> None:
    """A bug of each kind is found within the time, from seeds that do not show it, and the input found shows it again."""
    target = canaries.TARGETS[name]
    for seed in target.seeds:
        target.run(seed)

    outcome = probe(target, seconds=SECONDS, module="canaries", seed=4)

    assert outcome.finding is not None
    assert SAYS[name] in outcome.trace
    if name != "slowness":  # Without coverage counted it is only slow.
        with pytest.raises((Finding, IndexError)):
            target.run(outcome.finding)
