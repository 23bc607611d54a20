"""Errors: one tree, readable by programs, and able to travel."""

import pickle

import pytest

from s4_format import ContainerError, FormatError, FrameError, KeyNameError, ManifestError, Reason, SidecarError, TrailerError


@pytest.mark.parametrize("kind", [ContainerError, FrameError, KeyNameError, ManifestError, SidecarError, TrailerError])
def test_children_are_format_and_value_errors(kind: type[FormatError]) -> None:
    """Every error of the package can be caught as FormatError and as ValueError."""
    assert issubclass(kind, FormatError)
    assert issubclass(kind, ValueError)


@pytest.mark.parametrize("offset", [None, 7])
def test_survives_pickling(offset: int | None) -> None:
    """Type, text, reason and offset come through a process boundary."""
    error = FrameError("broken", Reason.BAD_MAGIC, offset=offset)

    copy = pickle.loads(pickle.dumps(error))

    assert (type(copy), str(copy), copy.reason, copy.offset) == (FrameError, str(error), Reason.BAD_MAGIC, offset)


def test_text_names_the_place() -> None:
    """The message says where the fault lies when that is known, and only then."""
    assert str(FrameError("broken", Reason.BAD_MAGIC, offset=7)) == "broken (at byte 7)"
    assert str(FrameError("broken", Reason.BAD_MAGIC)) == "broken"


def test_within_moves_the_offset() -> None:
    """An error of a part is told in the coordinates of the whole, keeping its type."""
    error = FrameError("broken", Reason.BAD_MAGIC, offset=7).within(100)

    assert (type(error), error.offset) == (FrameError, 107)
    assert FrameError("broken", Reason.BAD_MAGIC).within(100).offset is None
