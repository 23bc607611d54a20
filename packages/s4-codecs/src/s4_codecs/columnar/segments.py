"""Segments: where the content of a frame changes its kind, so that each kind gets a block of its own.

The kind is a profile: the entropies of the bytes at each position modulo 8, sorted. Text, numbers of each width and noise are bits apart.
"""

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from s4_codecs.columnar.filters import Bytes
from s4_codecs.columnar.screen import plane_bits

_STEPS = 8
_STEP_BYTES = 64 * 1024, 512 * 1024
"""Least and most bytes between two looks: a kind of content that is shorter may be overlooked."""
_WINDOW_BYTES = 8 * 1024
"""What a profile is made of, and how exactly the place of a change is found."""
_LANES = 8
_CHANGE_BITS = 8.0
"""Bits, over all positions, by which profiles of different kinds differ."""

_Profile = npt.NDArray[np.float64]


def segments(data: Bytes) -> Iterator[Bytes]:
    """`data` in parts of one kind each, nearly always one."""
    least, most = _STEP_BYTES
    places = range(0, data.size - _WINDOW_BYTES + 1, min(max(data.size // _STEPS, least), most))
    if len(places) < 2:
        yield data
        return
    profiles = _profiles([data[place : place + _WINDOW_BYTES] for place in places])
    start = 0
    for at in np.flatnonzero(_differ(profiles[1:], profiles[:-1])).tolist():
        change = _find(data, places[at], places[at + 1], profiles[at])
        yield data[start:change]
        start = change
    yield data[start:]


def _find(data: Bytes, low: int, high: int, before: _Profile) -> int:
    """Where the kind changes that has the profile `before` at `low`, and another one at `high`."""
    while high - low > _WINDOW_BYTES:
        middle = (low + high) // 2 // _LANES * _LANES
        (profile,) = _profiles([data[middle : middle + _WINDOW_BYTES]])
        if _differ(profile, before):
            high = middle
        else:
            low = middle
    return high


def _profiles(windows: list[Bytes]) -> _Profile:
    """A profile for each window: (windows, 8)."""
    lanes = np.stack(windows).reshape(len(windows), -1, _LANES).transpose(0, 2, 1).reshape(len(windows) * _LANES, -1)
    return np.sort(plane_bits(lanes).reshape(len(windows), _LANES), axis=1)


def _differ(profiles: _Profile, others: _Profile) -> npt.NDArray[np.bool_]:
    return np.asarray(np.abs(profiles - others).sum(axis=-1) > _CHANGE_BITS)
