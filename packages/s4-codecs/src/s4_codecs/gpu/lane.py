"""One lane of the pipeline: a stream, its buffers, and a batch at a time through them.

What a lane does with a batch is a generator, which the conductor runs: it yields transfers that are to be made before it goes on, or None
to wait for the device. While one lane waits, the others go on. Memory that the device works on is not used again, grown or freed before
such a wait.

Python code runs per batch and per frame, never per chunk.
"""

from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias, TypeVar

import cupy
import numpy as np
from numpy.typing import NDArray
from s4_format import crc32c
from s4_format.gpu_container import CONTAINER_HEADER_BYTES, DEFAULT_CHUNK_BYTES, Algorithm, ElementType, GpuContainer, container_head

from s4_codecs.errors import CodecUnavailableError, CorruptPayloadError
from s4_codecs.gpu.elements import Trial, by_element
from s4_codecs.gpu.kernels import copy_chunks
from s4_codecs.gpu.layout import ALIGNMENT, Batch, ChunkLayout, PackedBatch, Sizes, aligned, chunk_layout, packed_starts
from s4_codecs.gpu.library import BatchedApi, Chunks, Library, Scratch
from s4_codecs.gpu.memory import Budget, Bytes, DeviceBuffer, PinnedBuffer, ResultPool, address_of, as_array
from s4_codecs.gpu.staging import GAP_BYTES, SMALL_BYTES, Run, SmallSpans, packed_runs
from s4_codecs.gpu.stream import new_event, new_stream, record, wait
from s4_codecs.gpu.table import Table
from s4_codecs.gpu.transfers import ToDevicePieces, Transfer, to_host

_TO_DEVICE: Final = 1
_NUMBER_BYTES: Final = 4
"""Of a size in a container's table."""


_R = TypeVar("_R")
Work: TypeAlias = Generator[Sequence[Transfer] | None, None, _R]


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


# Rows of the table while compressing: what is sent at first, what is sent later, what comes back.
(
    _SOURCES,
    _SIZES,
    _TARGETS,
    _CHECKED,
    _SPANS,
    _SPAN_SIZES,
    _CHECKED_SPANS,
    _PACKED,
    _TARGET_SIZES,
    _STATUSES,
    _CHECKSUMS,
    _CHECKED_SIZES,
    _CHECKED_STATUSES,
    _CHECKED_CHECKSUMS,
    _ENCODE_ROWS,
) = range(15)
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


@dataclass(frozen=True, slots=True)
class _Rows:
    """Which rows of the table a decompression uses."""

    sources: int
    source_sizes: int
    targets: int
    room: int
    sizes: int
    statuses: int


_CHECKING = _Rows(_TARGETS, _TARGET_SIZES, _CHECKED, _SIZES, _CHECKED_SIZES, _CHECKED_STATUSES)
_DECODING = _Rows(_ALIGNED, _STORED_SIZES, _PLAIN, _ROOM, _PLAIN_SIZES, _PLAIN_STATUSES)


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
        self._small = PinnedBuffer(pinned)
        """Where small spans are put together."""
        self._table = Table(PinnedBuffer(pinned), DeviceBuffer(device))
        self._trial_table = Table(PinnedBuffer(pinned), DeviceBuffer(device))
        self.stream = new_stream()
        """Its address."""
        self._event = new_event()

    def wait(self) -> None:
        """Wait until the device has done what was queued before the generator yielded None. May be called in another thread."""
        wait(self._event)

    def settle(self) -> None:
        """Wait until the device uses no memory of this lane, nor of the frames that were handed over."""
        record(self._event, self.stream)
        wait(self._event)

    def close(self) -> None:
        """Wait for the device, then free the buffers. The lane can be used again: they grow on demand."""
        self.settle()
        for buffer in (
            self._input,
            self._chunks,
            self._output,
            self._scratch,
            self._small,
            self._table,
            self._trial_table,
        ):
            buffer.close()

    # ------------------------------------------------------------------------------------------------------------ compressing

    def encode(
        self, api: BatchedApi, frames: Sequence[bytes | memoryview], batch: Batch, *, tried: tuple[ElementType, ...], whole: bool
    ) -> Work[EncodedBatch]:
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
        yield self._stage(frames, batch, layout)
        if trial.chunks:
            self._try_elements(api, layout, stride, trial)
            self._mark()
            yield None
        elements = trial.decide(_compressed_sizes(self._trial_table) if trial.chunks else np.zeros(0, np.uint64))
        order, segments = by_element(elements, layout)
        self._compress_all(api, layout, stride, elements, order, segments)
        self._mark()
        yield None
        sizes = np.empty(layout.count, np.uint64)
        sizes[order] = _compressed_sizes(self._table)
        if api.method.checked:
            self._compare(api, len(elements))
        starts, total = self._gather(layout, order, sizes, whole=whole)
        address, result = self._results.take(total)
        yield to_host(self._output.address, address, total)
        narrow = sizes.astype("<u4")
        if whole:
            _write_heads(as_array(result), starts, api.method.algorithm, batch, layout, elements, narrow)
        begins, firsts = starts.tolist(), layout.span_first_chunk.tolist()
        payloads = [result[begin:end] for begin, end in zip(begins, [*begins[1:], total], strict=True)]
        tables = [] if whole else [narrow[a:b].tobytes() for a, b in zip(firsts, [*firsts[1:], layout.count], strict=True)]
        return EncodedBatch(payloads, tables, elements, self._table.narrow(_CHECKSUMS, len(begins)).tolist())

    def _mark(self) -> None:
        """What is queued so far is what `wait` waits for."""
        record(self._event, self.stream)

    def _reserve_for_encode(self, api: BatchedApi, layout: ChunkLayout, stride: int, trial: Trial) -> None:
        self._input.reserve(aligned(layout.total))
        self._table.resize(_ENCODE_ROWS, layout.count)
        chunks = layout.count
        if trial.chunks:
            self._trial_table.resize(_ENCODE_ROWS, trial.chunks)
            chunks = max(chunks, trial.chunks)
        self._chunks.reserve(chunks * stride)
        scratch = api.compress_scratch(chunks, layout.largest_chunk)
        if api.method.checked:
            scratch = max(scratch, api.decompress_scratch(chunks, layout.largest_chunk))
            self._output.reserve(aligned(layout.total))
        self._scratch.reserve(scratch)

    def _stage(self, frames: Sequence[bytes | memoryview], batch: Batch, layout: ChunkLayout) -> list[Transfer]:
        """Send small spans and those that lie in pinned memory; returns the transfers of the others."""
        pieces = ToDevicePieces(self._input.address)
        small = SmallSpans(self._small, batch.sizes)
        for frame, first, size, start in zip(batch.frames, batch.starts, batch.sizes, layout.span_starts.tolist(), strict=True):
            data = frames[frame]
            if size <= SMALL_BYTES:
                small.add(start, data if size == len(data) else memoryview(data)[first : first + size])
                continue
            address = address_of(as_array(data)) + first
            if self._is_pinned(address, size):
                self._copy_in(start, address, size)
            else:
                pieces.add(start, address, size, gap=ALIGNMENT)
        self._send_small(small)
        pieces.flush()
        return pieces.transfers

    def _send_small(self, small: SmallSpans) -> None:
        for start, place, size in small.ranges:
            self._copy_in(start, self._small.address + place, size)

    def _copy_in(self, start: int, source: int, size: int) -> None:
        cupy.cuda.runtime.memcpyAsync(self._input.address + start, source, size, _TO_DEVICE, self.stream)

    def _try_elements(self, api: BatchedApi, layout: ChunkLayout, stride: int, trial: Trial) -> None:
        """Compress the trial's sample as every element type."""
        table, stream, tries = self._trial_table, self.stream, len(trial.sample)
        made_of = (trial, stride, self._input.address, self._chunks.address, table.device.address)
        if table.holds != made_of:
            picked = np.tile(trial.sample, len(trial.elements))
            table.rows[_SOURCES] = layout.starts[picked] + np.uint64(self._input.address)
            table.rows[_SIZES] = np.tile(trial.sample_sizes, len(trial.elements))
            table.rows[_TARGETS] = self._strided(trial.chunks, stride)
            table.upload(_SOURCES, _CHECKED, stream)
            table.holds = made_of
        for number, element in enumerate(trial.elements):
            self._compress(api, table, layout.largest_chunk, element, number * tries, (number + 1) * tries)
        table.download(_TARGET_SIZES, _CHECKSUMS, stream)

    def _compress_all(
        self,
        api: BatchedApi,
        layout: ChunkLayout,
        stride: int,
        elements: Sequence[ElementType],
        order: NDArray[np.int64] | slice,
        segments: Sequence[tuple[ElementType, int, int]],
    ) -> None:
        """Compress every chunk, in this order, checksum every span, and the same of what decompressing gives if that is to be checked."""
        table, stream, spans = self._table, self.stream, len(layout.span_chunks)
        made_of = (layout, stride, tuple(elements), self._input.address, self._chunks.address, self._output.address, table.device.address)
        if table.holds != made_of:
            starts = layout.starts[order]
            table.rows[_SOURCES] = starts + np.uint64(self._input.address)
            table.rows[_SIZES] = layout.sizes[order]
            table.rows[_TARGETS] = self._strided(layout.count, stride)
            table.rows[_CHECKED] = starts + np.uint64(self._output.address)
            table.rows[_SPANS, :spans] = layout.span_starts + self._input.address
            table.rows[_SPAN_SIZES, :spans] = layout.span_sizes
            table.rows[_CHECKED_SPANS, :spans] = layout.span_starts + self._output.address
            table.upload(_SOURCES, _PACKED, stream)
            table.holds = made_of
        for element, first, stop in segments:
            self._compress(api, table, layout.largest_chunk, element, first, stop)
        self._checksum(table, (_SPANS, _SPAN_SIZES, _CHECKSUMS), spans)
        if api.method.checked:
            for _, first, stop in segments:
                self._decompress(api, _CHECKING, first, stop)
            self._checksum(table, (_CHECKED_SPANS, _SPAN_SIZES, _CHECKED_CHECKSUMS), spans)
        table.download(_TARGET_SIZES, _ENCODE_ROWS, stream)

    def _compare(self, api: BatchedApi, spans: int) -> None:
        """Refuse to hand out what does not come back."""
        table = self._table
        sound = not table.narrow(_CHECKED_STATUSES, table.count).any() and np.array_equal(table.rows[_CHECKED_SIZES], table.rows[_SIZES])
        if not sound or not np.array_equal(table.narrow(_CHECKSUMS, spans), table.narrow(_CHECKED_CHECKSUMS, spans)):
            raise CodecUnavailableError(f"nvCOMP's {api.method.algorithm.name} does not bring back what it was given")

    def _strided(self, count: int, stride: int) -> Sizes:
        return np.arange(count, dtype=np.uint64) * np.uint64(stride) + np.uint64(self._chunks.address)

    def _compress(self, api: BatchedApi, table: Table, chunk_bytes: int, element: ElementType, first: int, stop: int) -> None:
        chunks = Chunks(
            sources=table.address(_SOURCES, first),
            source_sizes=table.address(_SIZES, first),
            targets=table.address(_TARGETS, first),
            target_sizes=table.address(_TARGET_SIZES, first),
            statuses=table.address(_STATUSES) + first * _NUMBER_BYTES,
            count=stop - first,
        )
        api.compress(chunks, chunk_bytes, element, Scratch(self._scratch.address, self._scratch.size), self.stream)

    def _decompress(self, api: BatchedApi, rows: _Rows, first: int, stop: int) -> None:
        table = self._table
        chunks = Chunks(
            sources=table.address(rows.sources, first),
            source_sizes=table.address(rows.source_sizes, first),
            targets=table.address(rows.targets, first),
            target_sizes=table.address(rows.sizes, first),
            statuses=table.address(rows.statuses) + first * _NUMBER_BYTES,
            count=stop - first,
            target_room=table.address(rows.room, first),
        )
        api.decompress(chunks, Scratch(self._scratch.address, self._scratch.size), self.stream)

    def _checksum(self, table: Table, rows: tuple[int, int, int], spans: int) -> None:
        sources, sizes, results = (table.address(row) for row in rows)
        largest = int(table.rows[rows[1], :spans].max())
        self._library.crc32c(sources, sizes, results, count=spans, largest=largest, stream=self.stream)

    def _gather(self, layout: ChunkLayout, order: NDArray[np.int64] | slice, sizes: Sizes, *, whole: bool) -> tuple[NDArray[np.int64], int]:
        """Move the chunks close together, with room for what goes before them in whole containers.

        Returns:
            Where each span begins, and the bytes of all.
        """
        table, stream = self._table, self.stream
        heads = CONTAINER_HEADER_BYTES + _NUMBER_BYTES * layout.span_chunks if whole else np.zeros_like(layout.span_chunks)
        heads_before = np.cumsum(heads)
        packed = packed_starts(sizes)
        total = int(packed[-1] + sizes[-1]) + int(heads_before[-1])
        self._output.reserve(total)
        targets = packed + heads_before.astype(np.uint64)[layout.chunk_span]
        table.rows[_PACKED] = targets[order] + np.uint64(self._output.address)
        table.upload(_PACKED, _TARGET_SIZES, stream)
        copy_chunks(table.address(_TARGETS), table.address(_PACKED), table.address(_TARGET_SIZES), count=layout.count, stream=stream)
        return packed[layout.span_first_chunk].astype(np.int64) + heads_before - heads, total

    # ---------------------------------------------------------------------------------------------------------- decompressing

    def decode(
        self, api: BatchedApi, containers: Sequence[GpuContainer], payloads: Sequence[bytes | memoryview], batch: PackedBatch
    ) -> Work[DecodedBatch]:
        """Decompress the spans of a batch.

        Raises:
            DeviceMemoryError: no memory for the batch.
            CorruptPayloadError: a chunk does not decode to its size.
            cupy's CUDARuntimeError: the device failed.
        """
        chunk_bytes = tuple(containers[frame].chunk_size for frame in batch.frames)
        layout = chunk_layout(tuple(batch.sizes), chunk_bytes)
        stored = _stored_sizes(containers, batch)
        runs = packed_runs(payloads, batch)
        room = _room(stored, layout)
        self._reserve_for_decode(api, layout, runs, room)
        yield self._stage_packed(runs)
        # One call of nvCOMP takes chunks of one element type only.
        elements = tuple(containers[frame].element_type for frame in batch.frames)
        self._decompress_all(api, layout, stored, runs, room, elements)
        self._mark()
        yield None
        _check_decompressed(self._table)
        checksums = self._table.narrow(_PLAIN_CHECKSUMS, len(batch.sizes)).tolist()
        address, result = self._results.take(layout.total)
        yield to_host(self._output.address, address, layout.total)
        if any(size % ALIGNMENT for size in set(chunk_bytes)):
            plain = _without_gaps(as_array(result), layout, batch, chunk_bytes)
            return DecodedBatch(plain, [crc32c(piece) for piece in plain])
        return DecodedBatch([result[a : a + size] for a, size in zip(layout.span_starts.tolist(), batch.sizes, strict=True)], checksums)

    def _reserve_for_decode(self, api: BatchedApi, layout: ChunkLayout, runs: Sequence[Run], room: int) -> None:
        self._input.reserve(runs[-1].place + runs[-1].size)
        self._chunks.reserve(layout.count * room)
        self._output.reserve(aligned(layout.total))
        self._table.resize(_DECODE_ROWS, layout.count)
        self._scratch.reserve(api.decompress_scratch(layout.count, layout.largest_chunk))

    def _stage_packed(self, runs: Sequence[Run]) -> list[Transfer]:
        """As `_stage`."""
        pieces = ToDevicePieces(self._input.address)
        small = SmallSpans(self._small, [run.size for run in runs])
        for run in runs:
            if run.size <= SMALL_BYTES:
                small.add(run.place, run.data)
            else:
                pieces.add(run.place, run.address, run.size, gap=GAP_BYTES)
        self._send_small(small)
        pieces.flush()
        return pieces.transfers

    def _decompress_all(
        self, api: BatchedApi, layout: ChunkLayout, stored: Sizes, runs: Sequence[Run], room: int, elements: tuple[ElementType, ...]
    ) -> None:
        """Move the chunks to where they are aligned, decompress them, and checksum the spans."""
        table, stream, spans = self._table, self.stream, len(layout.span_chunks)
        order, segments = by_element(elements, layout)
        before = packed_starts(stored)
        shifts = np.array([run.place for run in runs], np.uint64) - before[layout.span_first_chunk] + np.uint64(self._input.address)
        table.rows[_STORED] = (before + shifts[layout.chunk_span])[order]
        table.rows[_STORED_SIZES] = stored[order]
        made_of = (layout, room, elements, self._chunks.address, self._output.address, table.device.address)
        fresh = table.holds != made_of
        if fresh:
            table.rows[_ALIGNED] = self._strided(layout.count, room)
            table.rows[_PLAIN] = layout.starts[order] + np.uint64(self._output.address)
            table.rows[_ROOM] = layout.sizes[order]
            table.rows[_PLAIN_SPANS, :spans] = layout.span_starts + self._output.address
            table.rows[_PLAIN_SPAN_SIZES, :spans] = layout.span_sizes
            table.holds = made_of
        table.upload(_STORED, _PLAIN_SIZES if fresh else _ALIGNED, stream)
        copy_chunks(table.address(_STORED), table.address(_ALIGNED), table.address(_STORED_SIZES), count=layout.count, stream=stream)
        for _, first, stop in segments:
            self._decompress(api, _DECODING, first, stop)
        self._checksum(table, (_PLAIN_SPANS, _PLAIN_SPAN_SIZES, _PLAIN_CHECKSUMS), spans)
        table.download(_PLAIN_SIZES, _DECODE_ROWS, stream)


def _room(stored: Sizes, layout: ChunkLayout) -> int:
    """How far apart chunks are put to be decompressed; the same for most batches of a stream, so that the table need not be filled anew."""
    usual = layout.largest_chunk + layout.largest_chunk // 64 + 256
    return aligned(max(usual, int(stored.max())))


def _without_gaps(host: Bytes, layout: ChunkLayout, batch: PackedBatch, chunk_bytes: Sequence[int]) -> list[memoryview]:
    """Spans whose chunk size is no multiple of the alignment have gaps between their chunks."""
    plain: list[memoryview] = []
    for start, size, chunk in zip(layout.span_starts.tolist(), batch.sizes, chunk_bytes, strict=True):
        target = np.empty(size, np.uint8)
        for number, at in enumerate(range(0, size, chunk)):
            begin = start + number * aligned(chunk)
            target[at : at + chunk] = host[begin : begin + min(chunk, size - at)]
        plain.append(memoryview(target))  # type: ignore[arg-type]
    return plain


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


def _compressed_sizes(table: Table) -> Sizes:
    statuses = table.narrow(_STATUSES, table.count)
    if statuses.any():
        raise CodecUnavailableError(f"nvCOMP could not compress a chunk: status {int(statuses[statuses != 0][0])}")
    sizes: Sizes = table.rows[_TARGET_SIZES]
    return sizes


def _check_decompressed(table: Table) -> None:
    statuses = table.narrow(_PLAIN_STATUSES, table.count)
    if statuses.any():
        raise CorruptPayloadError(f"nvCOMP could not decompress a chunk: status {int(statuses[statuses != 0][0])}")
    if not np.array_equal(table.rows[_PLAIN_SIZES], table.rows[_ROOM]):
        raise CorruptPayloadError("a chunk decodes to another size than its container says")
