"""Proposals: layouts that a screen of a few KiB finds promising."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from s4_format.columnar import NUMBER_WIDTHS, Predictor

from s4_codecs.columnar.fields import FieldPlan
from s4_codecs.columnar.filters import UNSIGNED, Bytes
from s4_codecs.columnar.records import STRIDE_WINDOW_BYTES, cut_rows, likely_strides, window_bytes
from s4_codecs.columnar.samples import middle
from s4_codecs.columnar.screen import Ranked, rank_plans

_MOST = 2
_PLANS = 2
_NEAR_PLAN, _NEAR_LAYOUT = 1.1, 1.05
"""What is so much worse than the best, by the screen, is not proposed."""
_NO_DIFFERENCE = 0.01
"""Bits that the screen cannot tell apart."""
_WIDER = 0.97
"""What a wider number must leave of a narrower one's size: an array of pairs is as good as one of their halves."""
_RECORDS = 0.95
"""What records must leave of the best array's size."""
_RECORDS_MIN_BYTES = 16 * 1024
"""Records are not searched for in less: that takes milliseconds."""
_CLEAR_WIN = 0.75
"""Where an array leaves so little of zstd's size, records are not searched for."""
_LITTLE_BITS = 0.5
"""Where zstd takes so few bits for a byte, it is too fast to search for records."""
_HOPE = 1.15
"""What a layout may take, by entropy, in terms of zstd's size: planes may repeat themselves."""
_ROW_HOPE = 1.18
"""The same for the single bytes of a row, which wider fields may make half."""


@dataclass(frozen=True, slots=True)
class Proposal:
    """Rows that begin at `lead`, and for each field the plans worth trying; `bits` is what the screen expects of a byte."""

    lead: int
    fields: tuple[tuple[FieldPlan, ...], ...]
    bits: float

    @property
    def stride(self) -> int:
        """Bytes of a row."""
        return sum(plans[0].width for plans in self.fields)


def proposals(data: Bytes, screened: Bytes, zstd_bits: float) -> list[Proposal]:
    """At most two proposals for a block, the more promising first: arrays of one number, and records if no array is a clear win.

    Args:
        data: the block.
        screened: a sample of it, of whole numbers of any width.
        zstd_bits: what zstd takes for a byte of another sample.
    """
    arrays = [_array(screened, width) for width in NUMBER_WIDTHS]
    found = [array for at, array in enumerate(arrays) if all(array.bits <= _WIDER * narrower.bits for narrower in arrays[:at])]
    best = min(found, key=_bits)
    if data.size >= _RECORDS_MIN_BYTES and zstd_bits > _LITTLE_BITS and best.bits > _CLEAR_WIN * zstd_bits:
        found += _records(data, best, zstd_bits)
    found.sort(key=_bits)
    limit = min(_HOPE * zstd_bits, _NEAR_LAYOUT * found[0].bits + _NO_DIFFERENCE)
    return [proposal for proposal in found if proposal.bits <= limit][:_MOST]


def _bits(proposal: Proposal) -> float:
    return proposal.bits


def _array(screened: Bytes, width: int) -> Proposal:
    ranked = rank_plans(screened.view(UNSIGNED[width]))
    return Proposal(0, (_near(ranked),), ranked[0].bits / width)


def _near(ranked: Sequence[Ranked]) -> tuple[FieldPlan, ...]:
    """The plans that are nearly as good as the first."""
    return tuple(entry.plan for entry in ranked[:_PLANS] if entry.bits <= _NEAR_PLAN * ranked[0].bits + _NO_DIFFERENCE)


def _records(data: Bytes, array: Proposal, zstd_bits: float) -> Iterator[Proposal]:
    for stride in _strides(data, array):
        window = middle(data, window_bytes(stride), stride)
        cut = cut_rows(window, stride, limit=_ROW_HOPE * stride * min(array.bits, zstd_bits))
        if cut is None or cut.bits > array.bits * stride * _RECORDS:
            continue
        yield Proposal(cut.lead, tuple((plan,) for plan in cut.plans), cut.bits / stride)


def _strides(data: Bytes, array: Proposal) -> list[int]:
    """Lengths of rows that are not what the best array says already; pairs of its numbers, if each has to do with the one before it."""
    plan = array.fields[0][0]
    found = likely_strides(middle(data, STRIDE_WINDOW_BYTES, 1), plan.width)
    pair = 2 * plan.width
    return [*found, pair] if plan.predictor is not Predictor.NONE and pair not in found else found
