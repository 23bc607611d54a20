"""One lane of the pipeline: a stream, its buffers, and a batch at a time through them.

What a lane does with a batch is a generator, which the conductor runs: it yields copies that are to be made before it goes on, or None to
wait for the device. While one lane waits, the others go on. Memory that the device works on is not used again, grown or freed before such a
wait.

Python code runs per batch and per frame, never per chunk.
"""

from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final, TypeAlias

import cupy
import numpy as np
from numpy.typing import NDArray
from s4_format import crc32c
from s4_format.gpu_container import CONTAINER_HEADER_BYTES, DEFAULT_CHUNK_BYTES, Algorithm, ElementType, GpuContainer, container_head

from s4_codecs.errors import CodecUnavailableError, CorruptPayloadError
from s4_codecs.gpu.elements import Trial, by_element
from s4_codecs.gpu.kernels import copy_chunks
from s4_codecs.gpu.layout import ALIGNMENT, Batch, ChunkLayout, PackedBatch, Sizes, aligned, aligned_starts, chunk_layout, packed_starts
from s4_codecs.gpu.library import BatchedApi, Chunks, Library, Scratch
from s4_codecs.gpu.memory import Budget, Bytes, DeviceBuffer, PinnedBuffer, ResultPool, address_of, as_array

_TO_DEVICE: Final = 1
_TO_HOST: Final = 2
_SMALL_BYTES: Final = 64 << 10
"""Below this, copying takes less time than letting go of the GIL for it."""
_NUMBER_BYTES: Final = 4
"""Of a size in a container's table."""


Copies: TypeAlias = list[tuple[int, int, int]]
"""Copies in host memory: target address, source address, bytes."""


@dataclass(frozen=True, slots=True)
class EncodedBatch:
    """What became of the spans of a batch, one entry a span."""

    payloads: list[memoryview]
    """Whole containers; where the frames were not whole, chunks back to back."""
    tables: list[bytes]
    """Where the frames were not whole: the size tables."""
    elements: list[ElementType]
    checksums: list[int]
    """CRC32C of the plaintext."""


@dataclass(frozen=True, slots=True)
class DecodedBatch:
    """What became of the spans of a batch, one entry a span."""

    plain: list[memoryview]
    checksums: list[int]
    """CRC32C of the plaintext."""


@dataclass(slots=True)
class _Table:
    """Rows of 64-bit numbers, one column a chunk, on the host and on the device."""

    host: PinnedBuffer
    device: DeviceBuffer
    count: int = 0
    rows: NDArray[np.uint64] = field(default_factory=lambda: np.empty((0, 0), np.uint64))

    def resize(self, rows: int, count: int) -> None:
        """Make room for so many rows and columns; the stream must be synchronised."""
        size = rows * count * 8
        self.rows = self.host.reserve(size)[:size].view(np.uint64).reshape(rows, count)
        self.device.reserve(size)
        self.count = count

    def address(self, row: int, column: int = 0) -> int:
        """Where the device has this number."""
        return self.device.address + (row * self.count + column) * 8

    def narrow(self, row: int, count: int) -> NDArray[np.uint32]:
        """The first `count` 32-bit numbers of a row."""
        numbers: NDArray[np.uint32] = self.rows[row].view(np.uint32)
        return numbers[:count]

    def upload(self, first: int, stop: int, stream: int) -> None:
        """Queue the copy of rows to the device."""
        self._copy(self.address(first), self.host.address + first * self.count * 8, stop - first, _TO_DEVICE, stream)

    def download(self, first: int, stop: int, stream: int) -> None:
        """Queue the copy of rows from the device."""
        self._copy(self.host.address + first * self.count * 8, self.address(first), stop - first, _TO_HOST, stream)

    def _copy(self, target: int, source: int, rows: int, kind: int, stream: int) -> None:
        cupy.cuda.runtime.memcpyAsync(target, source, rows * self.count * 8, kind, stream)

    def close(self) -> None:
        self.rows = np.empty((0, 0), np.uint64)
        self.device.close()
        self.host.close()


# Rows of the table while compressing: what is sent, what is sent later, what comes back.
_SOURCES, _SIZES, _TARGETS, _SPANS, _SPAN_SIZES, _PACKED, _TARGET_SIZES, _STATUSES, _CHECKSUMS, _ENCODE_ROWS = range(10)
# And while decompressing.
(
    _STORED,
    _STORED_SIZES,
    _ALIGNED,
    _PLAIN,
    _ROOM,
    _PLAIN_SPANS,
    _PLAIN_SPAN_SIZES,
    _PLAIN_SIZES,
    _PLAIN_STATUSES,
    _PLAIN_CHECKSUMS,
    _DECODE_ROWS,
) = range(11)


class Lane:
    """A stream and its buffers.

    Args:
        library: nvCOMP.
        device: the budget of device memory.
        pinned: the budget of pinned memory.
        results: where results go.
        is_pinned: whether bytes at an address (and so many) are pinned already, so that the device can read them where they are.
    """

    def __init__(
        self, library: Library, *, device: Budget, pinned: Budget, results: ResultPool, is_pinned: Callable[[int, int], bool]
    ) -> None:
        self._library = library
        self._results = results
        self._is_pinned = is_pinned
        self._input, self._chunks, self._output, self._scratch = (DeviceBuffer(device) for _ in range(4))
        self._host_input, self._host_output = PinnedBuffer(pinned), PinnedBuffer(pinned)
        self._table = _Table(PinnedBuffer(pinned), DeviceBuffer(device))
        self._trial_table = _Table(PinnedBuffer(pinned), DeviceBuffer(device))
        self._stream = cupy.cuda.Stream(non_blocking=True)
        # Waiting on an event of this kind lets the core go; waiting on the stream would spin on one that copies for another lane.
        self._event = cupy.cuda.Event(block=True, disable_timing=True)

    def wait(self) -> None:
        """Wait until the device has done what was queued before the generator yielded None. May be called in another thread."""
        self._event.synchronize()

    def settle(self) -> None:
        """Wait until the device uses no memory of this lane, nor of the frames that were handed over."""
        self._event.record(self._stream)
        self._event.synchronize()

    def close(self) -> None:
        """Wait for the device, then free the buffers. The lane can be used again: they grow on demand."""
        self.settle()
        for buffer in (
            self._input,
            self._chunks,
            self._output,
            self._scratch,
            self._host_input,
            self._host_output,
            self._table,
            self._trial_table,
        ):
            buffer.close()

    # ------------------------------------------------------------------------------------------------------------ compressing

    def encode(
        self, api: BatchedApi, frames: Sequence[bytes | memoryview], batch: Batch, *, tried: tuple[ElementType, ...], whole: bool
    ) -> Generator[Copies | None, None, EncodedBatch]:
        """Compress the spans of a batch.

        Args:
            api: of the algorithm.
            frames: the plaintexts that the spans are of.
            batch: one span or more.
            tried: element types that are tried on a sample; one type is used as it is.
            whole: whether each span is a whole frame, which becomes a container.

        Raises:
            DeviceMemoryError: no memory for the batch.
            CodecUnavailableError: nvCOMP could not compress a chunk.
            cupy's CUDARuntimeError: the device failed.
        """
        layout = chunk_layout(tuple(batch.sizes))
        stride = aligned(api.max_output(layout.largest_chunk))
        trial = Trial.plan(tried[0] if len(tried) == 1 else api.method.element_types[0], tried, layout)
        self._reserve_for_encode(api, layout, stride, trial)
        copies, sends = self._stage(frames, batch, layout)
        yield copies
        for start, source, size in sends:
            self._copy_in(start, source, size)
        if trial.chunks:
            self._try_elements(api, layout, stride, trial)
            self._mark()
            yield None
        elements = trial.decide(_compressed_sizes(self._trial_table) if trial.chunks else np.zeros(0, np.uint64))
        order, segments = by_element(elements, layout)
        self._compress_all(api, layout, stride, order, segments)
        self._mark()
        yield None
        sizes = np.empty(layout.count, np.uint64)
        sizes[order] = _compressed_sizes(self._table)
        starts, total = self._gather(layout, order, sizes, whole=whole)
        narrow = sizes.astype("<u4")
        self._mark()
        yield None
        if whole:
            _write_heads(self._host_output.array, starts, api.method.algorithm, batch, layout, elements, narrow)
        address, result = self._results.take(total)
        yield [(address, self._host_output.address, total)]
        begins, firsts = starts.tolist(), layout.span_first_chunk.tolist()
        payloads = [result[begin:end] for begin, end in zip(begins, [*begins[1:], total], strict=True)]
        tables = [] if whole else [narrow[a:b].tobytes() for a, b in zip(firsts, [*firsts[1:], layout.count], strict=True)]
        return EncodedBatch(payloads, tables, elements, self._table.narrow(_CHECKSUMS, len(begins)).tolist())

    def _mark(self) -> None:
        """What is queued so far is what `wait` waits for."""
        self._event.record(self._stream)

    def _reserve_for_encode(self, api: BatchedApi, layout: ChunkLayout, stride: int, trial: Trial) -> None:
        self._host_input.reserve(layout.total)
        self._input.reserve(aligned(layout.total))
        self._table.resize(_ENCODE_ROWS, layout.count)
        chunks = layout.count
        if trial.chunks:
            self._trial_table.resize(_ENCODE_ROWS, trial.chunks)
            chunks = max(chunks, trial.chunks)
        self._chunks.reserve(chunks * stride)
        self._scratch.reserve(api.compress_scratch(chunks, layout.largest_chunk))

    def _stage(self, frames: Sequence[bytes | memoryview], batch: Batch, layout: ChunkLayout) -> tuple[Copies, Copies]:
        """How the spans get to the device: copies to pinned memory, and what is sent from there or from where it lies pinned already.

        Small spans are copied at once. Targets of what is sent are offsets in the input buffer.
        """
        view = memoryview(self._host_input.array)  # type: ignore[arg-type]
        copies, sends = Copies(), Copies()
        sent = 0
        for frame, first, start, size, address in _runs(frames, batch, layout):
            if address is None:
                whole = frames[frame]
                view[start : start + size] = whole if size == len(whole) else memoryview(whole)[first : first + size]
            elif self._is_pinned(address, size):
                sends += [(sent, self._host_input.address + sent, start - sent), (start, address, size)]
                sent = start + size
            else:
                copies.append((self._host_input.address + start, address, size))
        sends.append((sent, self._host_input.address + sent, layout.total - sent))
        return copies, sends

    def _copy_in(self, start: int, source: int, size: int) -> None:
        if size > 0:
            cupy.cuda.runtime.memcpyAsync(self._input.address + start, source, size, _TO_DEVICE, self._stream.ptr)

    def _try_elements(self, api: BatchedApi, layout: ChunkLayout, stride: int, trial: Trial) -> None:
        """Compress the trial's sample as every element type."""
        table, stream, tries = self._trial_table, self._stream.ptr, len(trial.sample)
        picked = np.tile(trial.sample, len(trial.elements))
        table.rows[_SOURCES] = layout.starts[picked] + np.uint64(self._input.address)
        table.rows[_SIZES] = np.tile(trial.sample_sizes, len(trial.elements))
        table.rows[_TARGETS] = self._strided(trial.chunks, stride)
        table.upload(_SOURCES, _SPANS, stream)
        for number, element in enumerate(trial.elements):
            self._compress(api, table, layout.largest_chunk, element, number * tries, (number + 1) * tries)
        table.download(_TARGET_SIZES, _CHECKSUMS, stream)

    def _compress_all(
        self, api: BatchedApi, layout: ChunkLayout, stride: int, order: NDArray[np.int64], segments: Sequence[tuple[ElementType, int, int]]
    ) -> None:
        """Compress every chunk, in this order, and checksum every span."""
        table, stream, spans = self._table, self._stream.ptr, len(layout.span_chunks)
        table.rows[_SOURCES] = layout.starts[order] + np.uint64(self._input.address)
        table.rows[_SIZES] = layout.sizes[order]
        table.rows[_TARGETS] = self._strided(layout.count, stride)
        table.rows[_SPANS, :spans] = layout.span_starts + self._input.address
        table.rows[_SPAN_SIZES, :spans] = layout.span_sizes
        table.upload(_SOURCES, _PACKED, stream)
        for element, first, stop in segments:
            self._compress(api, table, layout.largest_chunk, element, first, stop)
        self._checksum(table, (_SPANS, _SPAN_SIZES, _CHECKSUMS), spans)
        table.download(_TARGET_SIZES, _ENCODE_ROWS, stream)

    def _strided(self, count: int, stride: int) -> Sizes:
        return np.arange(count, dtype=np.uint64) * np.uint64(stride) + np.uint64(self._chunks.address)

    def _compress(self, api: BatchedApi, table: _Table, chunk_bytes: int, element: ElementType, first: int, stop: int) -> None:
        chunks = Chunks(
            sources=table.address(_SOURCES, first),
            source_sizes=table.address(_SIZES, first),
            targets=table.address(_TARGETS, first),
            target_sizes=table.address(_TARGET_SIZES, first),
            statuses=table.address(_STATUSES) + first * _NUMBER_BYTES,
            count=stop - first,
        )
        api.compress(chunks, chunk_bytes, element, Scratch(self._scratch.address, self._scratch.size), self._stream.ptr)

    def _checksum(self, table: _Table, rows: tuple[int, int, int], spans: int) -> None:
        sources, sizes, results = (table.address(row) for row in rows)
        largest = int(table.rows[rows[1], :spans].max())
        self._library.crc32c(sources, sizes, results, count=spans, largest=largest, stream=self._stream.ptr)

    def _gather(self, layout: ChunkLayout, order: NDArray[np.int64], sizes: Sizes, *, whole: bool) -> tuple[NDArray[np.int64], int]:
        """Bring the chunks to the host, close together, with room for what goes before them in whole containers.

        Returns:
            Where each span begins, and the bytes of all.
        """
        table, stream = self._table, self._stream.ptr
        heads = CONTAINER_HEADER_BYTES + _NUMBER_BYTES * layout.span_chunks if whole else np.zeros_like(layout.span_chunks)
        heads_before = np.cumsum(heads)
        packed = packed_starts(sizes)
        total = int(packed[-1] + sizes[-1]) + int(heads_before[-1])
        self._output.reserve(total)
        self._host_output.reserve(total)
        targets = packed + heads_before.astype(np.uint64)[layout.chunk_span]
        table.rows[_PACKED] = targets[order] + np.uint64(self._output.address)
        table.upload(_PACKED, _TARGET_SIZES, stream)
        with self._stream:
            copy_chunks(table.address(_TARGETS), table.address(_PACKED), table.address(_TARGET_SIZES), layout.count)
        cupy.cuda.runtime.memcpyAsync(self._host_output.address, self._output.address, total, _TO_HOST, stream)
        return packed[layout.span_first_chunk].astype(np.int64) + heads_before - heads, total

    # ---------------------------------------------------------------------------------------------------------- decompressing

    def decode(
        self, api: BatchedApi, containers: Sequence[GpuContainer], payloads: Sequence[bytes | memoryview], batch: PackedBatch
    ) -> Generator[Copies | None, None, DecodedBatch]:
        """Decompress the spans of a batch.

        Raises:
            DeviceMemoryError: no memory for the batch.
            CorruptPayloadError: a chunk does not decode to its size.
            cupy's CUDARuntimeError: the device failed.
        """
        chunk_bytes = tuple(containers[frame].chunk_size for frame in batch.frames)
        layout = chunk_layout(tuple(batch.sizes), chunk_bytes)
        stored = _stored_sizes(containers, batch)
        packed, room = packed_starts(stored), aligned_starts(stored)
        packed_size = int(packed[-1] + stored[-1])
        self._reserve_for_decode(api, layout, packed_size, int(room[-1] + stored[-1]))
        yield self._stage_packed(payloads, batch)
        self._copy_in(0, self._host_input.address, packed_size)
        self._decompress_all(api, layout, stored, packed, room)
        self._mark()
        yield None
        _check_decompressed(self._table)
        checksums = self._table.narrow(_PLAIN_CHECKSUMS, len(batch.sizes)).tolist()
        if any(size % ALIGNMENT for size in set(chunk_bytes)):
            plain = self._plain_of_odd_chunks(layout, batch, chunk_bytes)
            return DecodedBatch(plain, [crc32c(piece) for piece in plain])
        address, result = self._results.take(layout.total)
        yield [(address, self._host_output.address, layout.total)]
        return DecodedBatch([result[a : a + size] for a, size in zip(layout.span_starts.tolist(), batch.sizes, strict=True)], checksums)

    def _reserve_for_decode(self, api: BatchedApi, layout: ChunkLayout, packed: int, room: int) -> None:
        self._host_input.reserve(packed)
        self._input.reserve(packed)
        self._chunks.reserve(aligned(room))
        self._output.reserve(aligned(layout.total))
        self._host_output.reserve(layout.total)
        self._table.resize(_DECODE_ROWS, layout.count)
        self._scratch.reserve(api.decompress_scratch(layout.count, layout.largest_chunk))

    def _stage_packed(self, payloads: Sequence[bytes | memoryview], batch: PackedBatch) -> Copies:
        """The copies that bring the chunks to pinned memory; small spans are copied at once."""
        view = memoryview(self._host_input.array)  # type: ignore[arg-type]
        copies, at = Copies(), 0
        for frame, start, size in zip(batch.frames, batch.packed_starts, batch.packed_sizes, strict=True):
            if size <= _SMALL_BYTES:
                view[at : at + size] = memoryview(payloads[frame])[start : start + size]
            else:
                copies.append((self._host_input.address + at, address_of(as_array(payloads[frame])) + start, size))
            at += size
        return copies

    def _decompress_all(self, api: BatchedApi, layout: ChunkLayout, stored: Sizes, packed: Sizes, room: Sizes) -> None:
        """Move the chunks to where they are aligned, decompress them, checksum the spans, and bring everything to the host."""
        table, stream, spans = self._table, self._stream.ptr, len(layout.span_chunks)
        table.rows[_STORED] = packed + np.uint64(self._input.address)
        table.rows[_STORED_SIZES] = stored
        table.rows[_ALIGNED] = room + np.uint64(self._chunks.address)
        table.rows[_PLAIN] = layout.starts + np.uint64(self._output.address)
        table.rows[_ROOM] = layout.sizes
        table.rows[_PLAIN_SPANS, :spans] = layout.span_starts + self._output.address
        table.rows[_PLAIN_SPAN_SIZES, :spans] = layout.span_sizes
        table.upload(_STORED, _PLAIN_SIZES, stream)
        with self._stream:
            copy_chunks(table.address(_STORED), table.address(_ALIGNED), table.address(_STORED_SIZES), layout.count)
        chunks = Chunks(
            sources=table.address(_ALIGNED),
            source_sizes=table.address(_STORED_SIZES),
            targets=table.address(_PLAIN),
            target_sizes=table.address(_PLAIN_SIZES),
            statuses=table.address(_PLAIN_STATUSES),
            count=layout.count,
            target_room=table.address(_ROOM),
        )
        api.decompress(chunks, Scratch(self._scratch.address, self._scratch.size), stream)
        self._checksum(table, (_PLAIN_SPANS, _PLAIN_SPAN_SIZES, _PLAIN_CHECKSUMS), spans)
        table.download(_PLAIN_SIZES, _DECODE_ROWS, stream)
        cupy.cuda.runtime.memcpyAsync(self._host_output.address, self._output.address, layout.total, _TO_HOST, stream)

    def _plain_of_odd_chunks(self, layout: ChunkLayout, batch: PackedBatch, chunk_bytes: Sequence[int]) -> list[memoryview]:
        """Chunks whose size is no multiple of the alignment have gaps between them, on the device and in what came from it."""
        host = self._host_output.array
        plain: list[memoryview] = []
        for start, size, chunk in zip(layout.span_starts.tolist(), batch.sizes, chunk_bytes, strict=True):
            target = np.empty(size, np.uint8)
            for number, at in enumerate(range(0, size, chunk)):
                begin = start + number * aligned(chunk)
                target[at : at + chunk] = host[begin : begin + min(chunk, size - at)]
            plain.append(memoryview(target))  # type: ignore[arg-type]
        return plain


def _runs(frames: Sequence[bytes | memoryview], batch: Batch, layout: ChunkLayout) -> Iterator[tuple[int, int, int, int, int | None]]:
    """What is to be copied: frame, offset in it, offset in the layout, size, and address (None for what is too small to need it).

    Spans that lie behind each other in the caller's memory as they do in the layout are one run.
    """
    run: tuple[int, int, int, int, int] | None = None
    for frame, first, size, start in zip(batch.frames, batch.starts, batch.sizes, layout.span_starts.tolist(), strict=True):
        if size <= _SMALL_BYTES:
            yield frame, first, start, size, None
            continue
        address = address_of(as_array(frames[frame])) + first
        if run is not None and run[4] + run[3] == address and run[2] + run[3] == start:
            run = (*run[:3], run[3] + size, run[4])
            continue
        if run is not None:
            yield run
        run = (frame, first, start, size, address)
    if run is not None:
        yield run


def _write_heads(
    host: Bytes,
    starts: NDArray[np.int64],
    algorithm: Algorithm,
    batch: Batch,
    layout: ChunkLayout,
    elements: list[ElementType],
    sizes: NDArray[np.uint32],
) -> None:
    """Put header and size table in front of each span's chunks, where there is room for them."""
    heads = b"".join(
        [container_head(algorithm, element, size, DEFAULT_CHUNK_BYTES) for element, size in zip(elements, batch.sizes, strict=True)]
    )
    host[starts[:, None] + np.arange(CONTAINER_HEADER_BYTES)] = np.frombuffer(heads, np.uint8).reshape(-1, CONTAINER_HEADER_BYTES)
    entries = starts[layout.chunk_span] + CONTAINER_HEADER_BYTES + _NUMBER_BYTES * layout.chunk_position
    host[entries[:, None] + np.arange(_NUMBER_BYTES)] = sizes.view(np.uint8).reshape(-1, _NUMBER_BYTES)


def _stored_sizes(containers: Sequence[GpuContainer], batch: PackedBatch) -> Sizes:
    spans = zip(batch.frames, batch.first_chunks, batch.chunks, strict=True)
    return np.concatenate([np.asarray(containers[frame].chunk_sizes, np.uint64)[first : first + count] for frame, first, count in spans])


def _compressed_sizes(table: _Table) -> Sizes:
    statuses = table.narrow(_STATUSES, table.count)
    if statuses.any():
        raise CodecUnavailableError(f"nvCOMP could not compress a chunk: status {int(statuses[statuses != 0][0])}")
    sizes: Sizes = table.rows[_TARGET_SIZES]
    return sizes


def _check_decompressed(table: _Table) -> None:
    statuses = table.narrow(_PLAIN_STATUSES, table.count)
    if statuses.any():
        raise CorruptPayloadError(f"nvCOMP could not decompress a chunk: status {int(statuses[statuses != 0][0])}")
    if not np.array_equal(table.rows[_PLAIN_SIZES], table.rows[_ROOM]):
        raise CorruptPayloadError("a chunk decodes to another size than its container says")
