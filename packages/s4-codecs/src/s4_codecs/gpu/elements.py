"""Which element type each frame is compressed as: tried on a sample of its chunks, on the device."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from s4_format.gpu_container import ElementType

from s4_codecs.gpu.layout import ChunkLayout, Sizes

_CHUNKS_PER_SPAN = 2
_NEVER = np.iinfo(np.uint64).max


@dataclass(frozen=True, slots=True, eq=False)
class Trial:
    """What is compressed to learn the best type of each span.

    A type is allowed for a span whose size is a multiple of its width: what does not fill a value does not come back otherwise
    (wire-format.md 10).
    """

    fallback: ElementType
    """For spans that no other type fits."""
    elements: tuple[ElementType, ...]
    """The types tried."""
    sample: NDArray[np.int64]
    """Numbers of the chunks that are compressed as each type; empty when there is nothing to choose."""
    sample_sizes: Sizes
    """How many bytes of each are compressed: a multiple of every width."""
    _owners: NDArray[np.int64]
    """Which span each of them belongs to."""
    _fits: NDArray[np.bool_]
    """For each span and type, whether the type is allowed."""

    @classmethod
    @lru_cache(maxsize=64)  # most batches of a stream are alike
    def plan(cls, fallback: ElementType, elements: tuple[ElementType, ...], layout: ChunkLayout) -> "Trial":
        """A sample of two chunks of each span; of fewer spans when they are so small that trying would take longer than compressing."""
        widths = np.array([element.width for element in elements], np.uint64)
        fits = layout.span_sizes[:, None] % widths.astype(np.int64) == 0
        spans, tries = len(fits), len(elements) * _CHUNKS_PER_SPAN
        if tries == 0 or elements == (fallback,):
            nothing = np.zeros(0, np.int64)
            return cls(fallback, elements, nothing, nothing.astype(np.uint64), nothing, fits)
        step = max(1, -(-spans * tries // layout.count))
        asked = np.arange(0, spans, step)
        first, chunks = layout.span_first_chunk[asked], layout.span_chunks[asked]
        sample = np.concatenate([first + chunks // 2, first + chunks // 5])
        sizes = layout.sizes[sample] // widths.max() * widths.max()
        some = sizes > 0
        return cls(fallback, elements, sample[some], sizes[some], np.tile(asked, _CHUNKS_PER_SPAN)[some], fits)

    @property
    def chunks(self) -> int:
        """How many chunks the trial compresses."""
        return len(self.sample) * len(self.elements)

    def decide(self, sizes: Sizes) -> list[ElementType]:
        """The type of each span; spans without a sample go by the one before them.

        Args:
            sizes: compressed bytes of the sample as the first type, then as the second, and so on.
        """
        spans = len(self._fits)
        if not self.chunks:
            return [self.fallback] * spans
        asked, places = np.unique(self._owners, return_inverse=True)
        totals = np.zeros((len(asked), len(self.elements)), np.uint64)
        np.add.at(totals, places, sizes.reshape(len(self.elements), -1).T)
        nearest = np.maximum(np.searchsorted(asked, np.arange(spans), "right") - 1, 0)
        costs = np.where(self._fits, totals[nearest], _NEVER)
        best = np.where(costs.min(axis=1) == _NEVER, -1, costs.argmin(axis=1))
        return [self.elements[number] if number >= 0 else self.fallback for number in best.tolist()]


def by_element(
    elements: Sequence[ElementType], layout: ChunkLayout
) -> tuple[NDArray[np.int64] | slice, list[tuple[ElementType, int, int]]]:
    """The chunks sorted by the type they are compressed as (a slice where they are already), and for each type the range in that order.

    Args:
        elements: the type of each span.
        layout: of the spans.
    """
    if len(set(elements)) == 1:
        return slice(None), [(elements[0], 0, layout.count)]
    numbers = np.array(elements, np.int64)[layout.chunk_span]
    order = np.argsort(numbers, kind="stable")
    kinds, begins = np.unique(numbers[order], return_index=True)
    ends = [*begins.tolist()[1:], len(order)]
    return order, [(ElementType(kind), a, b) for kind, a, b in zip(kinds.tolist(), begins.tolist(), ends, strict=True)]
