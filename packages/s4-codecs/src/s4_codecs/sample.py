"""What some bytes of a body say about it: the reference's tests of the first ones (wire-format.md 7), and a profile of any."""

from functools import cache
from math import log2

import numpy as np
import numpy.typing as npt
from s4_format import Buffer

SAMPLE_BYTES = 4096
"""Bytes from the start of a body that are looked at."""

HIGH_ENTROPY = 7.5
"""Bits per byte from which data counts as incompressible."""

_MAGIC_AT_START = (
    b"\x1f\x8b",  # gzip
    b"\x28\xb5\x2f\xfd",  # zstd
    b"\x89PNG\r\n\x1a\n",
    b"\xff\xd8\xff",  # JPEG
    b"%PDF-",
    b"PK\x03\x04",  # ZIP and what is built on it
    b"7z\xbc\xaf\x27\x1c",
    b"\xfd7zXZ\x00",
    b"BZh",
    b"\x1a\x45\xdf\xa3",  # Matroska, WebM
)
_COLUMNAR_MIN_BYTES = 512
_COLUMNAR_STRIDES = (4, 8)
_COLUMNAR_ROWS = 64
_COLUMNAR_SPREAD = 4.0


def has_compressed_magic(sample: bytes) -> bool:
    """Whether `sample` begins like a format that is compressed already."""
    return (
        sample.startswith(_MAGIC_AT_START)
        or sample[4:8] == b"ftyp"  # ISO media
        or (sample[:4] == b"RIFF" and sample[8:12] == b"WEBP")
    )


def entropy(data: Buffer) -> float:
    """Shannon entropy of the byte histogram, in bits per byte; 0.0 for no bytes."""
    return _entropy(np.frombuffer(data, dtype=np.uint8))


def looks_columnar(sample: Buffer) -> bool:
    """Whether byte positions modulo 4 or 8 differ so much in entropy that this is probably an array of numbers."""
    data = np.frombuffer(sample, dtype=np.uint8)
    if data.size < _COLUMNAR_MIN_BYTES:
        return False
    for stride in _COLUMNAR_STRIDES:
        if data.size < _COLUMNAR_ROWS * stride:
            continue
        lanes = [_entropy(data[position::stride]) for position in range(stride)]
        if max(lanes) - min(lanes) >= _COLUMNAR_SPREAD:
            return True
    return False


PROFILE_BYTES = 3 << 10
"""Bytes that a profile looks at."""
_LANES = 8
_LANE_BYTES = PROFILE_BYTES // _LANES
_INCOMPRESSIBLE_LANE = 7.2
"""Bits per byte of the least random lane, which has 384 bytes: random ones show 7.3 to 7.6."""

_NUMERIC_SPREAD = 2.0
"""Bits per byte between the most and the least random lane: text has 0.1 to 0.3, numbers and records have 2.7 and more."""


def profile(data: bytes) -> npt.NDArray[np.float64]:
    """The entropies of the byte positions modulo 8, in bits per byte, from the least to the greatest.

    Text has equal ones, numbers have low ones where their high bytes are. Sorted, so that it does not matter where a record begins.

    Args:
        data: `PROFILE_BYTES` of them, from places whose distances are multiples of 8.
    """
    counts = np.bincount(np.frombuffer(data, dtype=np.uint8) + _lane_offsets(), minlength=_LANES << 8)
    lanes = log2(_LANE_BYTES) - np.add.reduce(_count_times_log().take(counts).reshape(_LANES, 256), axis=1) / _LANE_BYTES
    lanes.sort()
    return np.asarray(lanes, dtype=np.float64)


def profile_is_random(lanes: npt.NDArray[np.float64]) -> bool:
    """Whether no byte position is more predictable than those of random bytes."""
    return bool(lanes[0] >= _INCOMPRESSIBLE_LANE)


GLANCE_BYTES = 512
_RANDOM_DISTINCT = 200
"""Of 512 random bytes, 221 values differ on average, and fewer than 203 once in 10,000 times."""


def looks_random(data: bytes) -> bool:
    """Whether `GLANCE_BYTES` of data have nearly all byte values: a test that takes some microseconds."""
    return len(set(data)) >= _RANDOM_DISTINCT


def profile_is_numeric(lanes: npt.NDArray[np.float64]) -> bool:
    """Whether byte positions differ so much that these are probably numbers or records."""
    return bool(lanes[-1] - lanes[0] >= _NUMERIC_SPREAD)


@cache
def _lane_offsets() -> npt.NDArray[np.int64]:
    """256 times the position modulo 8: one histogram of all lanes side by side."""
    return np.tile(np.arange(_LANES, dtype=np.int64) << 8, _LANE_BYTES)


@cache
def _count_times_log() -> npt.NDArray[np.float64]:
    """n * log2(n) for every count a sample can have: a look-up is three times as fast as the logarithms."""
    counts = np.arange(SAMPLE_BYTES + 1, dtype=np.float64)
    counts[1:] *= np.log2(counts[1:])
    return counts


def _entropy(data: npt.NDArray[np.uint8]) -> float:
    size = data.size
    if not size:
        return 0.0
    counts = np.bincount(data)
    if size <= SAMPLE_BYTES:
        weighted = _count_times_log().take(counts)
    else:
        present = counts[counts > 0].astype(np.float64)
        weighted = present * np.log2(present)
    return max(0.0, log2(size) - float(np.add.reduce(weighted)) / size)
