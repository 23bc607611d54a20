"""Every target takes what is kept for it, and what it promises can be broken. Needs no fuzzer."""

import pytest
from fuzzing import corpus
from fuzzing.target import Finding, Target, cuts
from fuzzing.targets import TARGETS
from s4_gateway.errors import S3Error


@pytest.mark.parametrize("name", sorted(TARGETS))
def test_kept_inputs(name: str) -> None:
    """No input that the fuzzer kept, or began with, breaks a promise."""
    target = TARGETS[name]
    inputs = [*target.seeds, *corpus.read(name)]
    for data in inputs:
        assert len(data) <= target.max_bytes
        target.run(data)

    assert len(inputs) > len(target.seeds)


def test_no_corpus_is_left_over() -> None:
    """Each file of kept inputs belongs to a target."""
    assert {path.stem for path in corpus.FOLDER.iterdir()} == set(TARGETS)


def refuse(data: bytes) -> None:
    """Refuses everything."""
    raise S3Error("InvalidRequest")


def test_undocumented_refusal() -> None:
    """An error of the right type and of a code that is not documented is a finding."""
    Target("x", refuse, (), (), codes=frozenset({"InvalidRequest"})).run(b"")
    with pytest.raises(Finding, match="InvalidRequest"):
        Target("x", refuse, (), (), codes=frozenset({"InvalidURI"})).run(b"")


def test_other_errors_come_through() -> None:
    """What is not a refusal ends the run as it is."""
    with pytest.raises(ZeroDivisionError):
        Target("x", lambda data: 1 // 0, (), (), refusals=(ValueError,)).run(b"")


def test_cuts() -> None:
    """Pieces are never empty, and together they are the data."""
    for seed in range(256):
        pieces = cuts(bytes(range(200)), seed)
        assert b"".join(pieces) == bytes(range(200))
        assert all(0 < len(piece) <= 16 for piece in pieces)
