"""Where frames and their chunks lie: plain arithmetic on arrays, so that no Python runs per chunk.

A batch is what one lane of the pipeline takes at once. A frame larger than a batch is cut into spans at chunk boundaries; a small frame is
one span of one chunk. Offsets and sizes are in bytes, arrays have one entry a chunk or one a span, in order.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from s4_format.gpu_container import DEFAULT_CHUNK_BYTES, GpuContainer

Sizes = NDArray[np.uint64]

ALIGNMENT = 16
"""Of every chunk that the device reads or writes: the most that any algorithm asks for."""


def aligned(size: int) -> int:
    """`size` rounded up to the next multiple of `ALIGNMENT`."""
    return -(-size // ALIGNMENT) * ALIGNMENT


@dataclass(slots=True)
class Batch:
    """The spans of one batch, as parallel lists: there can be thousands of them."""

    frames: list[int] = field(default_factory=list)
    """Position of each span's frame among those that were handed over."""
    starts: list[int] = field(default_factory=list)
    """Offset of each span's first plaintext byte in its frame."""
    sizes: list[int] = field(default_factory=list)
    """Plaintext bytes of each span, 1 or more."""

    def add(self, frame: int, start: int, size: int) -> None:
        """Append a span."""
        self.frames.append(frame)
        self.starts.append(start)
        self.sizes.append(size)


@dataclass(frozen=True, slots=True)
class BatchLimits:
    """How much one batch may hold."""

    plain_bytes: int
    """Plaintext of all spans, each rounded up to `ALIGNMENT`."""
    chunks: int


def plain_batches(frame_sizes: Sequence[int], limits: BatchLimits, *, chunk_bytes: int = DEFAULT_CHUNK_BYTES) -> Iterator[Batch]:
    """Frames to be compressed, in order, cut into batches. Empty frames have no span.

    Args:
        frame_sizes: plaintext bytes of each frame.
        limits: of one batch; room for at least one chunk.
        chunk_bytes: of every chunk but a frame's last one.
    """
    batch = Batch()
    room, chunks = limits.plain_bytes, limits.chunks
    for frame, frame_size in enumerate(frame_sizes):
        start = 0
        while start < frame_size:
            size = frame_size - start
            count = -(-size // chunk_bytes)
            if size > room or count > chunks:
                if batch.sizes:
                    yield batch
                    batch, room, chunks = Batch(), limits.plain_bytes, limits.chunks
                    continue
                count = min(room // chunk_bytes, chunks)
                size = count * chunk_bytes
            batch.frames.append(frame)
            batch.starts.append(start)
            batch.sizes.append(size)
            start += size
            room -= -(-size // ALIGNMENT) * ALIGNMENT
            chunks -= count
    if batch.sizes:
        yield batch


@dataclass(frozen=True, slots=True, eq=False)
class ChunkLayout:
    """The plaintext of a batch: spans one behind the other, each begun at a multiple of `ALIGNMENT`, and the chunks in them."""

    span_starts: NDArray[np.int64]
    """Offset of each span."""
    span_sizes: NDArray[np.int64]
    """Plaintext bytes of each span."""
    span_chunks: NDArray[np.int64]
    """Chunks of each span."""
    span_first_chunk: NDArray[np.int64]
    """Number of each span's first chunk."""
    chunk_span: NDArray[np.int64]
    """Which span each chunk belongs to."""
    chunk_position: NDArray[np.int64]
    """Number of each chunk within its span."""
    starts: Sizes
    """Offset of each chunk."""
    sizes: Sizes
    """Plaintext bytes of each chunk."""
    total: int
    """Bytes from the start of the first span to the end of the last."""
    largest_chunk: int
    """Plaintext bytes of the largest chunk."""

    @property
    def count(self) -> int:
        """Number of chunks."""
        return len(self.starts)


@lru_cache(maxsize=64)  # most batches of a stream are alike
def chunk_layout(sizes: tuple[int, ...], chunk_bytes: tuple[int, ...] | int = DEFAULT_CHUNK_BYTES) -> ChunkLayout:
    """The layout of spans of these sizes.

    Args:
        sizes: plaintext bytes of each span, all 1 or more.
        chunk_bytes: of every chunk but a span's last one; one number or one a span.
    """
    span_sizes = np.array(sizes, np.int64)
    per_span = np.broadcast_to(np.array(chunk_bytes, np.int64), span_sizes.shape)
    strides = -(-per_span // ALIGNMENT) * ALIGNMENT
    counts = -(-span_sizes // per_span)
    room = -(-((counts - 1) * strides + span_sizes - (counts - 1) * per_span) // ALIGNMENT) * ALIGNMENT
    span_starts = np.cumsum(room) - room
    first = np.cumsum(counts) - counts
    owner = np.repeat(np.arange(len(span_sizes)), counts)
    position = np.arange(len(owner)) - first[owner]
    starts = span_starts[owner] + position * strides[owner]
    chunk_sizes = np.minimum(per_span[owner], span_sizes[owner] - position * per_span[owner])
    return ChunkLayout(
        span_starts,
        span_sizes,
        counts,
        first,
        owner,
        position,
        starts.astype(np.uint64),
        chunk_sizes.astype(np.uint64),
        total=int(starts[-1] + chunk_sizes[-1]),
        largest_chunk=int(chunk_sizes.max()),
    )


def packed_starts(sizes: Sizes) -> Sizes:
    """Offsets of pieces of these sizes that lie back to back."""
    return np.cumsum(sizes, dtype=np.uint64) - sizes


@dataclass(slots=True)
class PackedBatch(Batch):
    """Spans of containers that are to be decompressed."""

    first_chunks: list[int] = field(default_factory=list)
    """Number of each span's first chunk in its container."""
    chunks: list[int] = field(default_factory=list)
    """Chunks of each span."""
    packed_starts: list[int] = field(default_factory=list)
    """Offset of each span's first chunk in its payload."""
    packed_sizes: list[int] = field(default_factory=list)
    """Stored bytes of all chunks of each span."""


def packed_batches(containers: Sequence[GpuContainer], limits: BatchLimits, *, packed_bytes: int) -> Iterator[PackedBatch]:
    """Containers to be decompressed, in order, cut into batches. Empty containers have no span.

    Args:
        containers: their headers and size tables.
        limits: of one batch; room for at least one chunk of any container.
        packed_bytes: how many stored bytes one batch may hold, every chunk rounded up to `ALIGNMENT`; likewise.
    """
    batch = PackedBatch()
    plain, packed, chunks = limits.plain_bytes, packed_bytes, limits.chunks
    for frame, container in enumerate(containers):
        ends, room_ends = _chunk_ends(container)
        stride = aligned(container.chunk_size)
        first, count = 0, len(ends)
        while first < count:
            done = int(room_ends[first - 1]) if first else 0
            fit = min(int(np.searchsorted(room_ends[first:], done + packed, "right")), plain // stride, chunks, count - first)
            if fit < count - first and batch.sizes:
                yield batch
                batch = PackedBatch()
                plain, packed, chunks = limits.plain_bytes, packed_bytes, limits.chunks
                continue
            last = first + fit - 1
            start = first * container.chunk_size
            before = int(ends[first - 1]) if first else 0
            batch.add(frame, start, min((last + 1) * container.chunk_size, container.original_size) - start)
            batch.first_chunks.append(first)
            batch.chunks.append(fit)
            batch.packed_starts.append(container.table_end + before)
            batch.packed_sizes.append(int(ends[last]) - before)
            plain -= fit * stride
            packed -= int(room_ends[last]) - done
            chunks -= fit
            first += fit
    if batch.sizes:
        yield batch


def _chunk_ends(container: GpuContainer) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Where each chunk ends, counted from the first one: stored back to back, and each begun at a multiple of `ALIGNMENT`."""
    sizes = np.asarray(container.chunk_sizes, np.int64)
    return np.cumsum(sizes), np.cumsum(-(-sizes // ALIGNMENT) * ALIGNMENT)
