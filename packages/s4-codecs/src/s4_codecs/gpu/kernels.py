"""The one kernel of our own: it moves chunks between where nvCOMP wants them, aligned, and where they travel, back to back."""

from functools import cache
from typing import Any

import cupy

from s4_codecs.gpu.stream import current

_THREADS = 256
_BLOCKS_PER_CHUNK = 4

# Words are written whole and put together from two words read, since source and target are seldom aligned alike. No word is touched that
# holds no byte of the source, so nothing outside the allocation is read.
_SOURCE = r"""
extern "C" __global__ void copy_chunks(
    const unsigned long long *sources, const unsigned long long *targets, const unsigned long long *sizes
) {
    const unsigned char *from = (const unsigned char *)sources[blockIdx.x];
    unsigned char *to = (unsigned char *)targets[blockIdx.x];
    const unsigned long long size = sizes[blockIdx.x];
    const unsigned long long first = blockIdx.y * blockDim.x + threadIdx.x, step = gridDim.y * blockDim.x;
    unsigned long long head = (4 - ((unsigned long long)to & 3)) & 3;
    if (head > size) head = size;
    if (first < head) to[first] = from[first];
    const unsigned long long words = (size - head) / 4, tail = head + words * 4;
    const unsigned int shift = ((unsigned long long)(from + head) & 3) * 8;
    const unsigned int *low = (const unsigned int *)((unsigned long long)(from + head) & ~3ULL);
    unsigned int *target = (unsigned int *)(to + head);
    for (unsigned long long i = first; i < words; i += step)
        target[i] = shift ? __funnelshift_r(low[i], low[i + 1], shift) : low[i];
    if (tail + first < size) to[tail + first] = from[tail + first];
}
"""


@cache
def _copy_kernel() -> Any:
    return cupy.RawKernel(_SOURCE, "copy_chunks")


def copy_chunks(sources: int, targets: int, sizes: int, *, count: int, stream: int) -> None:
    """Queue the copy of `count` chunks; the first arguments are addresses of device arrays, one entry a chunk."""
    with current(stream):
        _copy_kernel()((count, _BLOCKS_PER_CHUNK), (_THREADS,), (sources, targets, sizes))
