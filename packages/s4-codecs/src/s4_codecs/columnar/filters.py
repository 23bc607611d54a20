"""Filters: numbers to residuals and back (docs/format/columnar.md, "Fields"), a whole column when written, a run of rows when read.

All arithmetic is modulo the width, on unsigned integers; nothing loops over values in Python.
"""

from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
from s4_format.columnar import Predictor

Bytes: TypeAlias = npt.NDArray[np.uint8]
Words: TypeAlias = npt.NDArray[np.unsignedinteger[Any]]
"""Unsigned integers of one width, little endian."""

UNSIGNED: dict[int, np.dtype[np.unsignedinteger[Any]]] = {1: np.dtype("<u1"), 2: np.dtype("<u2"), 4: np.dtype("<u4"), 8: np.dtype("<u8")}
SIGNED: dict[int, np.dtype[np.signedinteger[Any]]] = {1: np.dtype("<i1"), 2: np.dtype("<i2"), 4: np.dtype("<i4"), 8: np.dtype("<i8")}
FLOAT: dict[int, np.dtype[np.floating[Any]]] = {2: np.dtype("<f2"), 4: np.dtype("<f4"), 8: np.dtype("<f8")}

_SPREAD_SAMPLE = 4096
_OUTLIERS = 0.005
"""The part of a sample at each end of its range that does not decide how wide it is."""
_RUN = 1 << 14
"""Numbers that are worked on at a time, so that what lies between two steps stays in the caches next to the core."""
_INTEGER_LIMIT = {4: float(1 << 31), 8: float(1 << 62)}


# -------------------------------------------------------------------------------------------------------------- prediction


def predict(numbers: Words, predictor: Predictor) -> Words:
    """What `predictor` leaves of `numbers`, of the same length; items that have nothing before them repeat the first one that has."""
    match predictor:
        case Predictor.NONE:
            return numbers
        case Predictor.DELTA:
            return _combined(np.subtract, numbers, order=1)
        case Predictor.DELTA2:
            return _combined(np.subtract, _combined(np.subtract, numbers, order=1), order=2)
        case Predictor.XOR:
            return _combined(np.bitwise_xor, numbers, order=1)


def _combined(operation: np.ufunc, numbers: Words, *, order: int) -> Words:
    result = np.empty_like(numbers)
    operation(numbers[1:], numbers[:-1], out=result[1:])
    result[:order] = result[order] if len(result) > order else 0
    return result


class Restorer:
    """Undoes prediction run by run, in order.

    Args:
        predictor, base, start, slope: of the field (s4_format.columnar.Field).
        width: bytes of a number.
    """

    def __init__(self, predictor: Predictor, width: int, *, base: int, start: int, slope: int) -> None:
        self._predictor = predictor
        self._base = base
        self._mask = (1 << 8 * width) - 1
        self._carry = start
        self._slope = slope
        self._first = True
        self._dtype = UNSIGNED[width]

    def restore(self, run: Words) -> None:
        """Turn the residuals of the next rows into numbers, in place; at least one."""
        if self._base:
            np.add(run, self._dtype.type(self._base), out=run)
        match self._predictor:
            case Predictor.NONE:
                return
            case Predictor.DELTA:
                self._accumulate(run)
            case Predictor.DELTA2:
                self._accumulate_slopes(run)
                self._accumulate(run)
            case Predictor.XOR:
                run[0] = self._carry if self._first else int(run[0]) ^ self._carry
                np.bitwise_xor.accumulate(run, out=run)
                self._carry = int(run[-1])
        self._first = False

    def _accumulate(self, run: Words) -> None:
        run[0] = self._carry if self._first else (int(run[0]) + self._carry) & self._mask
        running_sum(run)
        self._carry = int(run[-1])

    def _accumulate_slopes(self, run: Words) -> None:
        if self._first:
            run[:2] = (0, self._slope)[: len(run)]
        else:
            run[0] = (int(run[0]) + self._slope) & self._mask
        if not self._first or len(run) > 1:
            running_sum(run)
            self._slope = int(run[-1])


def running_sum(run: Words) -> None:
    """The running sum of `run`, in place; narrow numbers are summed as wide ones, which is more than twice as fast."""
    if run.dtype.itemsize >= 4:
        np.add.accumulate(run, out=run)
    else:
        np.copyto(run, np.add.accumulate(run, dtype=np.uint32), casting="unsafe")


# ------------------------------------------------------------------------------------------------------------------- base


def choose_base(residuals: Words) -> int:
    """The base that leaves the fewest bytes to most of `residuals`: their least value, unless outliers would make that wide."""
    width = residuals.dtype.itemsize
    mask = (1 << 8 * width) - 1
    pivot = int(residuals[len(residuals) // 2])
    spread = np.sort(_centred(residuals[:: -(-len(residuals) // _SPREAD_SAMPLE)], pivot))
    cut = int(len(spread) * _OUTLIERS)
    usual_low, usual_high = int(spread[cut]), int(spread[-1 - cut])
    wanted = _bytes_needed(usual_high - usual_low)
    low, high = 0, 0
    for at in range(0, len(residuals), _RUN):
        run = _centred(residuals[at : at + _RUN], pivot)
        low, high = min(low, int(run.min())), max(high, int(run.max()))
    if _bytes_needed(high - low) == wanted:
        # Half the range of the width, or all of it, is no range.
        return (pivot + low) & mask if high - low <= mask >> 1 else 0
    return (pivot + (usual_low + usual_high) // 2 - (1 << (8 * wanted - 1))) & mask


def _centred(residuals: Words, pivot: int) -> "npt.NDArray[np.signedinteger[Any]]":
    """How far above `pivot` they are, or below."""
    return (residuals - residuals.dtype.type(pivot)).view(SIGNED[residuals.dtype.itemsize])


def _bytes_needed(span: int) -> int:
    return max(1, -(-span.bit_length() // 8))


# --------------------------------------------------------------------------------------------------------------- decimals


def to_decimals(bits: Words, exponent: int) -> "tuple[Words, npt.NDArray[np.intp]]":
    """Numbers (IEEE 754, as bits) times ten to the `exponent` as integers, and the places where that loses something.

    An integer at such a place repeats the one before it.
    """
    integers = np.empty_like(bits)
    lossy = np.empty(len(bits), np.bool_)
    for at in range(0, len(bits), _RUN):
        run = bits[at : at + _RUN]
        integers[at : at + _RUN] = scaled(run, exponent)
        np.not_equal(from_decimals(integers[at : at + _RUN], exponent), run, out=lossy[at : at + _RUN])
    exceptions = np.flatnonzero(lossy)
    if exceptions.size:
        first_of_run = np.diff(exceptions, prepend=-2) != 1
        before = np.maximum.accumulate(np.where(first_of_run, exceptions - 1, 0))
        integers[exceptions] = integers[np.maximum(before, 0)]
    return integers, exceptions


def scaled(bits: Words, exponent: int) -> Words:
    """Numbers (IEEE 754, as bits) times ten to the `exponent`, rounded to integers; 0 where they are too large or no numbers."""
    width = bits.dtype.itemsize
    with np.errstate(invalid="ignore", over="ignore"):
        numbers = np.rint(bits.view(FLOAT[width]).astype(np.float64) * 10.0**exponent)
        unfit = ~(np.abs(numbers) < _INTEGER_LIMIT[width])
        if unfit.any():
            numbers[unfit] = 0.0
        return numbers.astype(SIGNED[width]).view(UNSIGNED[width])


def from_decimals(integers: Words, exponent: int) -> Words:
    """The bits of `integers` divided by ten to the `exponent`, as IEEE 754 rounds them (first to 64 bits, then to the width)."""
    width = integers.dtype.itemsize
    numbers = integers.view(SIGNED[width]).astype(np.float64)
    if exponent:
        np.divide(numbers, 10.0**exponent, out=numbers)
    return numbers.astype(FLOAT[width], copy=False).view(UNSIGNED[width])
