"""A cheap look at a sample: how many bits a byte of it should take, by the entropy of its planes after each filter."""

from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from s4_format.columnar import NUMBER_WIDTHS, Predictor, Transform

from s4_codecs.columnar.fields import FieldPlan
from s4_codecs.columnar.filters import SIGNED, UNSIGNED, Bytes, Words, from_decimals, predict, scaled, to_decimals

_RANDOM_BITS = 7.9
_EXPONENTS = range(7)
_EXPONENT_SAMPLE = 256
_MOST = 0.9
"""The part of numbers that must be decimals, or look like floats."""
_PREDICTORS = tuple(Predictor)
_BYTE_PREDICTORS = (Predictor.NONE, Predictor.DELTA)
_EFFORT = {Predictor.NONE: 1.0, Predictor.DELTA: 1.01, Predictor.DELTA2: 1.03, Predictor.XOR: 1.01}
"""What a prediction has to gain to be worth the time that undoing it takes."""
_FLOAT_BITS = {2: (10, 5), 4: (23, 8), 8: (52, 11)}
"""Width -> bits of the fraction, bits of the exponent."""
_DECIMAL_PREDICTORS = (Predictor.NONE, Predictor.DELTA, Predictor.DELTA2)
_BYTE_LIMITS = np.array([1 << 8 * width for width in range(1, 8)], np.uint64)
_UNSIGNED_OF = {SIGNED[width]: UNSIGNED[width] for width in NUMBER_WIDTHS}
_SPREAD_SAMPLE = 256
_OUTLIERS = 0.01
"""As in `filters`, of a smaller sample."""


class Ranked(NamedTuple):
    """A plan and the bits that it should need for each number."""

    bits: float
    plan: FieldPlan


def plane_bits(planes: Bytes) -> npt.NDArray[np.float64]:
    """Entropy of each of `planes` (planes, bytes), in bits a byte, with what a sample of this size hides (Miller and Madow) added."""
    count, size = planes.shape
    places = planes.astype(np.intp)
    places += np.arange(0, 256 * count, 256)[:, None]
    seen = np.bincount(places.ravel(), minlength=256 * count).reshape(count, 256)
    entropy = np.log2(size) - _count_times_log(size).take(seen).sum(axis=1) / size
    hidden = (np.count_nonzero(seen, axis=1) - 1) / (2 * np.log(2) * size)
    return np.asarray(np.minimum(entropy + hidden, 8.0))


@lru_cache(maxsize=8)
def _count_times_log(size: int) -> npt.NDArray[np.float64]:
    counts = np.arange(size + 1, dtype=np.float64)
    counts[1:] *= np.log2(counts[1:])
    return counts


def looks_random(data: Bytes) -> bool:
    """Whether neither the bytes nor their differences at the usual widths have a distribution of their own."""
    if plane_bits(data[None, :])[0] < _RANDOM_BITS:
        return False
    return all(plane_bits((data[lag:] - data[:-lag])[None, :])[0] >= _RANDOM_BITS for lag in NUMBER_WIDTHS)


def looks_like_text(data: Bytes) -> bool:
    """Whether all bytes are printable ASCII, tabs or line ends."""
    return bool(data.max() < 0x7F) and bool(np.all((data >= 0x20) | ((data >= 0x09) & (data <= 0x0D))))


def looks_like_floats(numbers: Words) -> bool:
    """Whether most numbers, taken as IEEE 754, are zero or of ordinary magnitude."""
    return bool(_like_floats(numbers[None, :])[0])


def _like_floats(numbers: Words) -> npt.NDArray[np.bool_]:
    """As `looks_like_floats` for each row of `numbers`."""
    fraction, exponents = _FLOAT_BITS[numbers.dtype.itemsize]
    exponent = (numbers >> numbers.dtype.type(fraction)).astype(np.int64) & ((1 << exponents) - 1)
    bias, reach = (1 << (exponents - 1)) - 1, 1 << (exponents - 3)
    usual = (np.abs(exponent - bias) < reach) | (numbers == 0)
    return np.asarray(np.count_nonzero(usual, axis=1) >= _MOST * numbers.shape[1])


def rank_plans(numbers: Words) -> list[Ranked]:
    """The plans for one column, of which `numbers` is a part, the most promising first."""
    width = numbers.dtype.itemsize
    plans = [FieldPlan(width, predictor=predictor) for predictor in (_PREDICTORS if width > 1 else _BYTE_PREDICTORS)]
    sources = [numbers] * len(plans)
    exponent = find_exponent(numbers) if width in (4, 8) else None
    if exponent is not None:
        decimals = [FieldPlan(width, Transform.DECIMAL, exponent, predictor) for predictor in _DECIMAL_PREDICTORS]
        plans += decimals
        sources += [to_decimals(numbers, exponent)[0]] * len(decimals)
    residuals = np.stack([predict(source, plan.predictor) for source, plan in zip(sources, plans, strict=True)])
    bits = residual_bits(residuals)
    bits *= [_EFFORT[plan.predictor] for plan in plans]
    return sorted(map(Ranked, bits.tolist(), plans), key=lambda entry: entry.bits)


def residual_bits(residuals: Words) -> npt.NDArray[np.float64]:
    """Bits a number of each row of `residuals` (rows, numbers), above a base that suits most of the row."""
    count, size = residuals.shape
    width = residuals.dtype.itemsize
    centred = (residuals - residuals[:, size // 2, None]).view(SIGNED[width])
    above = (centred - _bases(centred)[:, None]).view(np.uint8)
    planes = above.reshape(count, size, width).transpose(0, 2, 1).reshape(count * width, size)
    return np.asarray(plane_bits(planes).reshape(count, width).sum(axis=1))


def _bases(centred: "npt.NDArray[np.signedinteger[Any]]") -> "npt.NDArray[np.signedinteger[Any]]":
    """A base for each row, as `filters.choose_base` has it, roughly."""
    spread = np.sort(centred[:, :: -(-centred.shape[1] // _SPREAD_SAMPLE)], axis=1)
    cut = int(spread.shape[1] * _OUTLIERS)
    least = centred.min(axis=1)
    span, usual = (centred.max(axis=1) - least).view(_UNSIGNED_OF[spread.dtype]), (spread[:, -1 - cut] - spread[:, cut])
    alike = _bytes_needed(span) == _bytes_needed(usual.view(_UNSIGNED_OF[spread.dtype]))
    return np.where(alike, least, spread[:, cut])


def _bytes_needed(spans: Words) -> npt.NDArray[np.intp]:
    return np.searchsorted(_BYTE_LIMITS, spans.astype(np.uint64), side="right")


def find_exponent(numbers: Words) -> int | None:
    """The least power of ten that makes almost all numbers integers when they are taken as IEEE 754; None if they are no decimals."""
    found = int(decimal_exponents(numbers[None, :_EXPONENT_SAMPLE])[0])
    return None if found < 0 else found


def decimal_exponents(numbers: Words) -> npt.NDArray[np.int64]:
    """As `find_exponent` for each row of `numbers`; -1 for none."""
    found = np.full(len(numbers), -1)
    # Zeros of either sign are decimals of any exponent: too many of them say nothing.
    telling = np.count_nonzero(numbers << numbers.dtype.type(1), axis=1) * 4 > numbers.shape[1]
    left = np.flatnonzero(telling & _like_floats(numbers))
    for exponent in _EXPONENTS:
        if not left.size:
            break
        rows = numbers[left]
        same = from_decimals(scaled(rows, exponent), exponent) == rows
        fits = np.count_nonzero(same, axis=1) >= _MOST * rows.shape[1]
        found[left[fits]] = exponent
        left = left[~fits]
    return found
