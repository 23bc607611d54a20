"""CRC32C, in machine code and without."""

import importlib.util
import sys
from collections.abc import Callable
from types import ModuleType

import pytest
from hypothesis import given
from hypothesis import strategies as st

import s4_format
from s4_format import crc32c

from .slow_trailer import bitwise_crc32c

Crc = Callable[..., int]


def _module_without_accelerator() -> ModuleType:
    """A second copy of the module, made while the third-party package cannot be imported."""
    spec = importlib.util.find_spec("s4_format.crc32c")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    hidden = sys.modules.get("crc32c")
    sys.modules["crc32c"] = None  # type: ignore[assignment]
    try:
        spec.loader.exec_module(module)
    finally:
        if hidden is None:
            del sys.modules["crc32c"]
        else:
            sys.modules["crc32c"] = hidden
    return module


PORTABLE = _module_without_accelerator()
IMPLEMENTATIONS = [pytest.param(crc32c, id="installed"), pytest.param(PORTABLE.crc32c, id="portable")]

VECTORS = [  # RFC 3720, appendix B.4, and the usual check value
    (b"", 0),
    (b"123456789", 0xE3069283),
    (bytes(32), 0x8A9136AA),
    (b"\xff" * 32, 0x62A8AB43),
    (bytes(range(32)), 0x46DD794E),
    (bytes(range(31, -1, -1)), 0x113FDB5C),
]


def test_accelerated_says_which_is_used() -> None:
    """ACCELERATED is true exactly when the third-party package is importable."""
    assert (importlib.util.find_spec("crc32c") is not None) == s4_format.ACCELERATED
    assert PORTABLE.ACCELERATED is False


@pytest.mark.parametrize("function", IMPLEMENTATIONS)
@pytest.mark.parametrize(("data", "expected"), VECTORS)
def test_published_vectors(function: Crc, data: bytes, expected: int) -> None:
    """The published values come out."""
    assert function(data) == expected


@pytest.mark.parametrize("function", IMPLEMENTATIONS)
@given(data=st.binary(max_size=200), cut=st.integers(0, 200))
def test_goes_on_from_a_value(function: Crc, data: bytes, cut: int) -> None:
    """The checksum of pieces, each going on from the one before, is that of the whole, by definition."""
    expected = bitwise_crc32c(data)

    assert function(data) == expected
    assert function(data[cut:], function(data[:cut])) == expected


@pytest.mark.parametrize("function", IMPLEMENTATIONS)
@pytest.mark.parametrize("size", [1031, 1032, 1033, 2056, 65_543, 65_544, 65_545, 131_088, 200_003])
def test_long_input_takes_the_fast_path_rightly(function: Crc, size: int) -> None:
    """Long inputs, which are worked on in blocks, give the value that short pieces of them give."""
    data = bytes((index * index >> 5) & 0xFF for index in range(size))
    crc = 0
    for start in range(0, size, 500):
        crc = function(data[start : start + 500], crc)

    assert function(data) == crc


@pytest.mark.parametrize("function", IMPLEMENTATIONS)
@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
def test_takes_any_buffer(function: Crc, kind: type) -> None:
    """bytes, bytearray and memoryview give the same value."""
    assert function(kind(b"123456789")) == 0xE3069283
