"""Records: finding the length of a row, and where its fields begin and how wide they are."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from s4_format.columnar import NUMBER_WIDTHS, Predictor, Transform

from s4_codecs.columnar.fields import FieldPlan
from s4_codecs.columnar.filters import UNSIGNED, Bytes, Words, predict, to_decimals
from s4_codecs.columnar.screen import decimal_exponents, plane_bits, residual_bits

MAX_STRIDE = 256
"""Longer rows are not looked for."""
_STRIDE_SAMPLE = 2048
STRIDE_WINDOW_BYTES = _STRIDE_SAMPLE + MAX_STRIDE
"""What `likely_strides` looks at."""
_MAX_BYTES = 12 * 1024
_FEW_ROWS = 192
_MIN_ROWS = 64
_ALIKE = 1.01
"""Of places to begin a row that differ by less, the first is taken."""
_WIDEST = max(NUMBER_WIDTHS)
_FIELD_BITS = 0.3
"""What one more field of a row costs: of two ways to cut that are alike, the one with fewer fields is taken."""
_PEAK = 0.03
"""By how much the part of equal bytes must stand out at a distance."""
_LEVELS = (0.92, 0.7)
"""How near to the highest peak the first ones are looked for."""
_DECIMAL_ROWS = 64
_DECIMAL_PREDICTORS = (Predictor.NONE, Predictor.DELTA)
_DICTIONARY_BITS = 2.0
"""A field that takes no more needs no dictionary."""
_DICTIONARY_ROWS = 64
_DICTIONARY_REPEATS = 8


@dataclass(frozen=True, slots=True)
class Cut:
    """Rows that begin at `lead`, in fields to be written by these plans; `bits` is what a row should take."""

    lead: int
    plans: tuple[FieldPlan, ...]
    bits: float


class _Costs:
    """The best plan, and the bits that it takes for a row, of a field of one width that begins at each byte of a row."""

    def __init__(self, width: int, bits: npt.NDArray[np.float64]) -> None:
        self.bits = bits
        self.plans = [FieldPlan(width)] * len(bits)

    def offer(self, place: int, plan: FieldPlan, bits: float) -> None:
        """Take this plan at `place` if it is cheaper."""
        if bits < self.bits[place]:
            self.bits[place], self.plans[place] = bits, plan

    def offer_everywhere(self, plan: FieldPlan, bits: npt.NDArray[np.float64]) -> None:
        """Take this plan wherever it is cheaper."""
        for place in np.flatnonzero(bits < self.bits).tolist():
            self.offer(place, plan, float(bits[place]))


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
    octets = _numbers(window, stride, rows, 1)
    plain = plane_bits(octets)
    costs = [_Costs(1, plain.copy())]
    _offer_delta(costs[0], octets)
    if float(costs[0].bits.sum()) > limit:
        return None
    costs += [_costs(_numbers(window, stride, rows, width), plain) for width in NUMBER_WIDTHS[1:] if width <= stride]
    cuts = [_cheapest(costs, stride, lead) for lead in range(min(stride, _WIDEST))]
    least = min(cut.bits for cut in cuts)
    return next(cut for cut in cuts if cut.bits <= least * _ALIKE)


def window_bytes(stride: int) -> int:
    """What `cut_rows` looks at."""
    return (_rows(stride) + 1) * stride + _WIDEST


def _rows(stride: int) -> int:
    return max(_MAX_BYTES // stride, _FEW_ROWS)


def _numbers(window: Bytes, stride: int, rows: int, width: int) -> Words:
    """The numbers of `width` bytes that begin at each byte of a row: (stride, rows)."""
    return np.ascontiguousarray(np.ndarray((stride, rows), UNSIGNED[width], np.ascontiguousarray(window).data, 0, (1, stride)))


def _costs(numbers: Words, plain: npt.NDArray[np.float64]) -> _Costs:
    """What the fields of one width cost, where single bytes cost `plain`."""
    width = numbers.dtype.itemsize
    costs = _Costs(width, np.convolve(np.concatenate([plain, plain[: width - 1]]), np.ones(width), "valid"))
    _offer_delta(costs, numbers)
    for place in np.flatnonzero(costs.bits > _DICTIONARY_BITS).tolist():
        costs.offer(place, FieldPlan(width, Transform.DICTIONARY), _few_values_bits(numbers[place]))
    for place, exponent in _decimals(numbers):
        integers = to_decimals(numbers[place], exponent)[0]
        bits = residual_bits(np.stack([predict(integers, predictor) for predictor in _DECIMAL_PREDICTORS]))
        for predictor, taken in zip(_DECIMAL_PREDICTORS, bits.tolist(), strict=True):
            costs.offer(place, FieldPlan(width, Transform.DECIMAL, exponent, predictor), taken)
    return costs


def _offer_delta(costs: _Costs, numbers: Words) -> None:
    plan = FieldPlan(numbers.dtype.itemsize, predictor=Predictor.DELTA)
    costs.offer_everywhere(plan, residual_bits(numbers[:, 1:] - numbers[:, :-1]))


def _few_values_bits(numbers: Words) -> float:
    """Bits of a number where a dictionary suits the numbers, else infinity."""
    some = numbers[:_DICTIONARY_ROWS]
    if len(set(some.tolist())) * _DICTIONARY_REPEATS > some.size:
        return np.inf
    counts = np.unique(numbers, return_counts=True)[1]
    if counts.size * _DICTIONARY_REPEATS > numbers.size:
        return np.inf
    return float(np.log2(numbers.size) - (counts * np.log2(counts)).sum() / numbers.size)


def _decimals(numbers: Words) -> Iterator[tuple[int, int]]:
    if numbers.dtype.itemsize in (4, 8):
        exponents = decimal_exponents(numbers[:, :_DECIMAL_ROWS])
        for place in np.flatnonzero(exponents >= 0).tolist():
            yield place, int(exponents[place])


def _cheapest(costs: list[_Costs], stride: int, lead: int) -> Cut:
    """The cheapest fields that fill a row from `lead` on: the best way to each place is one field more than the best to an earlier one."""
    table = [(each.plans[0].width, np.roll(each.bits, -lead).tolist()) for each in costs]
    best, last = [0.0], [0]
    for stop in range(1, stride + 1):
        least, chosen = np.inf, 0
        for at, (width, bits) in enumerate(table):
            if width <= stop and best[stop - width] + bits[stop - width] < least:
                least, chosen = best[stop - width] + bits[stop - width], at
        best.append(least + _FIELD_BITS)
        last.append(chosen)
    plans, place = list[FieldPlan](), stride
    while place:
        taken = costs[last[place]]
        place -= table[last[place]][0]
        plans.append(taken.plans[(place + lead) % stride])
    return Cut(lead, tuple(reversed(plans)), best[stride])
