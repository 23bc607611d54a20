"""Samples of a block: how much of it is looked at, and where."""

import numpy as np

from s4_codecs.columnar.filters import Bytes

_FULL_SHARE_BYTES = 4 << 20
_SMALLEST_SHARE = 4


def share(data: Bytes, most: int) -> int:
    """Bytes of a sample of `data`: fewer than `most`, down to a quarter, for blocks below 4 MiB, whose encoding takes less time too."""
    return min(most, max(most // _SMALLEST_SHARE, data.size * most // _FULL_SHARE_BYTES))


def scattered(data: Bytes, size: int, stride: int, *, pieces: int) -> Bytes:
    """About `size` bytes of `data` in evenly spaced pieces of whole rows of `stride` bytes; its first rows if there are few."""
    rows, wanted = data.size // stride, size // pieces // stride
    if rows <= 2 * pieces * wanted or not wanted:
        return data[: min(rows, pieces * wanted + 1) * stride]
    starts = [(2 * at + 1) * rows // (2 * pieces) for at in range(pieces)]
    return np.concatenate([data[start * stride : (start + wanted) * stride] for start in starts])


def middle(data: Bytes, size: int, stride: int) -> Bytes:
    """About `size` bytes in the middle of `data`, of whole rows of `stride` bytes and from the beginning of a row on."""
    rows = min(max(size // stride, 1), data.size // stride)
    start = (data.size // stride - rows) // 2 * stride
    return data[start : start + rows * stride]


def spread(data: Bytes, size: int, pieces: int) -> Bytes:
    """About `size` bytes of `data` in evenly spaced pieces; all of it if it has no more."""
    if data.size <= size:
        return data
    each = size // pieces
    gap = (data.size - each) // (pieces - 1)
    return np.concatenate([data[at : at + each] for at in range(0, gap * pieces, gap)])
