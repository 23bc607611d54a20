"""Records: finding the length of a row, and where its fields begin and how wide they are."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from s4_format.columnar import NUMBER_WIDTHS, Predictor

from s4_codecs.columnar.filters import UNSIGNED, Words, predict, to_decimals
from s4_codecs.columnar.screen import decimal_exponents, residual_bits
from s4_codecs.columnar.streams import Bytes

MAX_STRIDE = 256
_STRIDE_SAMPLE = 2048
STRIDE_WINDOW_BYTES = _STRIDE_SAMPLE + MAX_STRIDE
_MAX_BYTES = 12 * 1024
_FEW_ROWS = 192
_MIN_ROWS = 64
_ALIKE = 1.01
_WIDEST = max(NUMBER_WIDTHS)
_FIELD_BITS = 0.3
"""What one more field of a row costs: of two ways to cut that are alike, the one with fewer fields is taken."""
_PEAK = 0.03
_LEVELS = (0.92, 0.7)
_DECIMAL_ROWS = 64


@dataclass(frozen=True, slots=True)
class Cut:
    """Rows of `sum(widths)` bytes that begin at `lead`, in fields of these widths; `bits` is what a row should take."""

    lead: int
    widths: tuple[int, ...]
    bits: float

    @property
    def stride(self) -> int:
        """Bytes of a row."""
        return sum(self.widths)


def likely_strides(window: Bytes, width: int) -> list[int]:
    """Lengths of rows worth trying: distances at which bytes are equal more often than at most others.

    Args:
        window: a part of the body, of at least `STRIDE_WINDOW_BYTES`.
        width: of the numbers that the body might be an array of; its multiples must stand out from it.
    """
    lags = np.arange(1, min(MAX_STRIDE, window.size - _STRIDE_SAMPLE) + 1)
    shifted = np.lib.stride_tricks.sliding_window_view(window, _STRIDE_SAMPLE)[1 : lags.size + 1]
    equal = np.add.reduce((shifted == window[:_STRIDE_SAMPLE]).view(np.uint8), axis=1, dtype=np.uint16) / _STRIDE_SAMPLE
    usual = float(np.median(equal))
    equal[:1] = usual
    of_width = float(equal[width - 1])
    equal[width - 1 :: width] = np.where(equal[width - 1 :: width] < of_width + _PEAK, usual, equal[width - 1 :: width])
    peak = float(equal.max())
    if peak < usual + _PEAK:
        return []
    # The shortest distance near the top is the row, its multiples are as good; a shorter one further down may be all there is to it.
    near = [lags[equal >= usual + (peak - usual) * level][0] for level in _LEVELS]
    return list(dict.fromkeys(int(lag) for lag in near))


def cut_rows(window: Bytes, stride: int, *, limit: float) -> Cut | None:
    """The best way to cut rows of `stride` bytes into fields.

    Args:
        window: a part of the body, of `window_bytes(stride)`, that begins where the bytes before it are whole rows.
        stride: bytes of a row.
        limit: bits that a row may take, roughly: rows whose single bytes take more are not looked at any closer.

    Returns:
        None: rows of this length are not worth it, or there are too few to tell.
    """
    rows = min((window.size - _WIDEST - stride) // stride, _rows(stride))
    if rows < _MIN_ROWS:
        return None
    costs = {1: _costs(window, stride, rows, 1)}
    if float(costs[1].sum()) > limit:
        return None
    costs |= {width: _costs(window, stride, rows, width) for width in NUMBER_WIDTHS if 1 < width <= stride}
    cuts = [_cheapest(costs, stride, lead) for lead in range(min(stride, _WIDEST))]
    least = min(cut.bits for cut in cuts)
    return next(cut for cut in cuts if cut.bits <= least * _ALIKE)


def window_bytes(stride: int) -> int:
    """What `cut_rows` looks at."""
    return (_rows(stride) + 1) * stride + _WIDEST


def _rows(stride: int) -> int:
    return max(_MAX_BYTES // stride, _FEW_ROWS)


def _costs(window: Bytes, stride: int, rows: int, width: int) -> npt.NDArray[np.float64]:
    """Bits a row of a field of `width` that begins at each byte of a row."""
    numbers = np.ascontiguousarray(np.ndarray((stride, rows), UNSIGNED[width], np.ascontiguousarray(window).data, 0, (1, stride)))
    costs = np.minimum(residual_bits(numbers), residual_bits(numbers[:, 1:] - numbers[:, :-1]))
    for place, exponent in _decimals(numbers):
        integers = to_decimals(numbers[place], exponent)[0]
        for predictor in (Predictor.NONE, Predictor.DELTA):
            residuals = predict(integers, predictor)
            costs[place] = min(costs[place], float(residual_bits(residuals[None, 1:])[0]))
    return costs


def _decimals(numbers: Words) -> Iterator[tuple[int, int]]:
    if numbers.dtype.itemsize in (4, 8):
        exponents = decimal_exponents(numbers[:, :_DECIMAL_ROWS])
        for place in np.flatnonzero(exponents >= 0).tolist():
            yield place, int(exponents[place])


def _cheapest(costs: dict[int, npt.NDArray[np.float64]], stride: int, lead: int) -> Cut:
    """The cheapest fields that fill a row from `lead` on: the best way to each place is one field more than the best to an earlier one."""
    table = [(width, np.roll(cost, -lead).tolist()) for width, cost in costs.items()]
    best, last = [0.0], [0]
    for stop in range(1, stride + 1):
        least, chosen = np.inf, 0
        for width, cost in table:
            if width <= stop and best[stop - width] + cost[stop - width] < least:
                least, chosen = best[stop - width] + cost[stop - width], width
        best.append(least + _FIELD_BITS)
        last.append(chosen)
    widths, place = list[int](), stride
    while place:
        widths.append(last[place])
        place -= widths[-1]
    return Cut(lead, tuple(reversed(widths)), best[stride])
