"""The trial: which layout, if any, makes a block smaller than zstd does.

A cheap screen of a few KiB by entropy proposes layouts, which are written for a sample of at most 64 KiB and compared with zstd on a sample
of the same size. It depends on nothing but the block.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import product
from typing import NamedTuple

import numpy as np
from s4_format.columnar import NUMBER_WIDTHS, Arrangement, Coder, Field, NumberType, Predictor, Transform

from s4_codecs.columnar.fields import FieldPlan, encode_field
from s4_codecs.columnar.filters import Bytes, Words
from s4_codecs.columnar.proposals import Proposal, proposals
from s4_codecs.columnar.rows import Layout, gathered
from s4_codecs.columnar.samples import middle, scattered, share
from s4_codecs.columnar.screen import looks_like_floats, looks_like_text, looks_random
from s4_codecs.columnar.streams import encode_whole, repeats_far
from s4_codecs.zstd import ZstdCodec

_MIN_BYTES = 4 * 1024
"""Smaller blocks are left to zstd: the heads alone would eat what there is to win."""
_WORTH = 0.97
"""What a layout must leave of zstd's size on the sample."""

_WIDEST = max(NUMBER_WIDTHS)
_SCREEN_BYTES = 8 * 1024
_SCREEN_PIECES = 2
_GLANCES = 8
_PROOF_BYTES = 64 * 1024
_PLACES = 6
_PLACE_BYTES = 16 * 1024
_ENOUGH_BITS = 0.1
"""Where zstd takes so few bits for a byte, it is many times as fast as any trial."""
_ZSTD_HEADS = 40
"""What zstd takes for however little."""
_SLOWER = {Arrangement.PCODEC: 1.03}
"""An arrangement that takes longer to write must be so much smaller."""
_ZSTD_SLOW_BITS = 6.0
"""Where zstd takes more bits for a byte it has found little, and is several times as fast: then pcodec is not tried on what it takes long
for, which are floats, and numbers of 16 bits."""
_LITTLE_MORE = 1.25
_DICTIONARY_SAMPLE = 256
_DICTIONARY_REPEATS = 8
"""A dictionary is tried where each value of so many occurs so often, on average."""
"""A dictionary is tried where each value occurs so often."""
_PCODEC_KINDS = tuple(product((2, 4, 8), NumberType))
_PCODEC_FAST_KINDS = tuple(product((4, 8), (NumberType.INTEGER,)))


class Choice(NamedTuple):
    """A layout, and the least bits that zstd takes for a byte at any of several places: what a block that is all alike stays below."""

    layout: Layout
    zstd_bits: float


class _Proof(NamedTuple):
    """A layout, and the bits that a byte of the sample takes in it."""

    layout: Layout
    bits: float


def left_to_zstd(data: Bytes, zstd: ZstdCodec) -> bool:
    """Whether a glance tells that no layout will do: too few bytes, text, noise, or what zstd makes next to nothing of."""
    if data.size < _MIN_BYTES:
        return True
    glanced = scattered(data, share(data, _SCREEN_BYTES), _WIDEST, pieces=_GLANCES)
    if looks_like_text(glanced) or looks_random(glanced):
        return True
    return 8.0 * (len(encode_whole(glanced, zstd).data) - _ZSTD_HEADS) < _ENOUGH_BITS * glanced.size


def choose_layout(data: Bytes, zstd: ZstdCodec, *, pcodec: bool) -> Choice | None:
    """The layout to write `data` in, with or without pcodec; None: leave it to zstd."""
    if left_to_zstd(data, zstd):
        return None
    screened = scattered(data, share(data, _SCREEN_BYTES), _WIDEST, pieces=_SCREEN_PIECES)
    size = share(data, _PROOF_BYTES)
    zstd_bits = _zstd_bits(middle(data, size, _WIDEST), zstd)
    by_pcodec = _by_pcodec(zstd_bits) if pcodec else ()
    proofs = [_prove(data, size, proposal, by_pcodec, zstd) for proposal in proposals(data, screened, zstd_bits)]
    best = min(proofs, key=lambda proof: proof.bits, default=None)
    if best is None or best.bits >= zstd_bits * _WORTH:
        return None
    return Choice(best.layout, min(zstd_bits, *(_zstd_bits(place, zstd) for place in _places(data))))


def _places(data: Bytes) -> Iterator[Bytes]:
    size = min(_PLACE_BYTES, data.size // _PLACES)
    for at in range(_PLACES):
        start = (data.size - size) * at // (_PLACES - 1)
        yield data[start : start + size]


def _zstd_bits(data: Bytes, zstd: ZstdCodec) -> float:
    return 8.0 * len(encode_whole(data, zstd).data) / data.size


def _prove(data: Bytes, size: int, proposal: Proposal, by_pcodec: Sequence[FieldPlan], zstd: ZstdCodec) -> _Proof:
    """The best layout that a proposal allows, by writing a sample of `size` bytes."""
    stride = proposal.stride
    sample = middle(data[proposal.lead :], size, stride)
    rows = sample.size // stride
    chosen, place, stored = list[FieldPlan](), 0, 0
    for plans in proposal.fields:
        numbers = gathered(sample, place, stride, rows, plans[0].width)
        costs = {plan: _stored(encode_field(numbers, plan, zstd)) for plan in _variants(plans, numbers, by_pcodec)}
        plan = min(costs, key=lambda plan: costs[plan] * _SLOWER.get(plan.arrangement, 1.0))
        cost = costs[plan]
        if len(proposal.fields) == 1 and plan.predictor is not Predictor.NONE and plan.transform is Transform.NONE:
            unpredicted = _unpredicted(data, numbers, cost, zstd)
            if unpredicted < cost:
                plan, cost = FieldPlan(plan.width), unpredicted
        chosen.append(plan)
        stored += cost
        place += plan.width
    return _Proof(Layout(proposal.lead, tuple(chosen)), 8.0 * stored / sample.size)


def _unpredicted(data: Bytes, numbers: Words, limit: int, zstd: ZstdCodec) -> int:
    """What an array takes without prediction where planes that repeat themselves beyond the sample's reach take nothing.

    Prediction mixes such planes with their neighbours. They are looked for where the sample alone takes little more than `limit`.
    """
    width = numbers.dtype.itemsize
    field = encode_field(numbers, FieldPlan(width), zstd)
    stored = _stored(field)
    if stored > limit * _LITTLE_MORE:
        return stored
    repeating = [stream for at, stream in enumerate(field.streams) if stream.coder is Coder.RAW and repeats_far(data[at::width])]
    return stored - sum(len(stream.data) for stream in repeating)


def _variants(plans: Sequence[FieldPlan], numbers: Words, by_pcodec: Sequence[FieldPlan]) -> Iterator[FieldPlan]:
    """Each plan; the first interleaved; a dictionary where a column has few values, else what pcodec can do."""
    width = numbers.dtype.itemsize
    yield from plans
    if width == 1 or plans[0].transform is Transform.DICTIONARY:
        return
    yield replace(plans[0], arrangement=Arrangement.INTERLEAVED)
    if _few_values(numbers):
        yield FieldPlan(width, Transform.DICTIONARY)
        return
    for plan in by_pcodec:
        if plan.width == width and (plan.parameter == NumberType.INTEGER or looks_like_floats(numbers)):
            yield plan


def _by_pcodec(zstd_bits: float) -> tuple[FieldPlan, ...]:
    """What pcodec may be tried on where zstd takes so many bits for a byte."""
    kinds = _PCODEC_KINDS if zstd_bits < _ZSTD_SLOW_BITS else _PCODEC_FAST_KINDS
    return tuple(FieldPlan(width, parameter=number_type, arrangement=Arrangement.PCODEC) for width, number_type in kinds)


def _few_values(numbers: Words) -> bool:
    some = numbers[:: -(-numbers.size // _DICTIONARY_SAMPLE)]
    return np.unique(some).size * _DICTIONARY_REPEATS <= some.size


def _stored(field: Field) -> int:
    return sum(len(stream.data) for stream in field.streams)
