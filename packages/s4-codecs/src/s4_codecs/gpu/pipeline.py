"""Many frames through the device at once: batches in several lanes, so that copies to it, its work and copies from it overlap."""

import threading
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import Future, wait
from dataclasses import dataclass
from typing import Final, TypeVar

from s4_format import Buffer
from s4_format.gpu_container import DEFAULT_CHUNK_BYTES, Algorithm, ElementType, GpuContainer, container_head

from s4_codecs._buffer import as_bytes_view
from s4_codecs.checksums import combine_crc
from s4_codecs.errors import CodecUnavailableError, CorruptPayloadError
from s4_codecs.gpu.conductor import Conductor
from s4_codecs.gpu.lane import DecodedBatch, EncodedBatch, Lane
from s4_codecs.gpu.layout import Batch, BatchLimits, PackedBatch, aligned, packed_batches, plain_batches
from s4_codecs.gpu.library import BatchedApi, Library
from s4_codecs.gpu.memory import Budget, ResultPool, StagingPool

_R = TypeVar("_R")
_MIB: Final = 1 << 20
_SMALLEST_BATCH: Final = 4 * _MIB
"""Calls with little work are cut into smaller batches, so that all lanes take part, but not into smaller ones than this."""
_SMALL_FRAMES: Final = 2048
"""Frames of less than a chunk that a batch may hold in any case: one batch of a thousand takes less time than several."""
_MAX_GROWTH: Final = 2
_MAX_OVERHEAD: Final = 64 << 10
"""No algorithm makes a chunk larger than this many times its size and so many bytes: a container that says so is not decoded."""
_LARGEST_CHUNK: Final = 16 * _MIB


@dataclass(frozen=True, slots=True)
class PipelineSettings:
    """How much the pipeline may use.

    Raises:
        ValueError: no lane, or batches that are too small for one chunk of any container.
    """

    lanes: int = 8
    """Batches at work at once; each has a stream and buffers of its own."""
    copiers: int = 10
    """Threads that copy between ordinary and pinned memory."""
    batch_bytes: int = 64 * _MIB
    """Plaintext of one batch."""
    device_bytes: int = 8192 * _MIB
    """Device memory of all lanes together; where an algorithm needs more, fewer lanes work at once."""
    pinned_bytes: int = 4096 * _MIB
    """Pinned host memory of all lanes and of the staging pool together."""
    staging_buffer_bytes: int = 4 * _MIB
    """Each buffer of the staging pool."""
    idle_result_bytes: int = 1024 * _MIB
    """Ordinary memory of results that nobody holds any more, kept for later ones."""

    def __post_init__(self) -> None:
        for name, value in (("lanes", self.lanes), ("copiers", self.copiers)):
            if value < 1:
                raise ValueError(f"{name} must be at least 1, not {value}")
        if self.batch_bytes < _LARGEST_CHUNK:
            raise ValueError(f"batch_bytes must be at least {_LARGEST_CHUNK}, the largest chunk of a container, not {self.batch_bytes}")

    def limits(self, total: int, at_least: int) -> BatchLimits:
        """Of the batches of a call that has `total` bytes of plaintext, one frame or chunk of which has `at_least` bytes."""
        size = min(max(-(-total // self.lanes), _SMALLEST_BATCH, at_least), self.batch_bytes)
        return BatchLimits(aligned(size), max(4 * size // DEFAULT_CHUNK_BYTES, _SMALL_FRAMES))


@dataclass(frozen=True, slots=True)
class Encoded:
    """Payloads of frames, and the CRC32C of the plaintext of each."""

    payloads: list[Buffer]
    checksums: list[int]


@dataclass(frozen=True, slots=True)
class Decoded:
    """Plaintexts of payloads, and the CRC32C of each."""

    plain: list[Buffer]
    checksums: list[int]


class Pipeline:
    """The device's work for this process. Thread-safe; close it explicitly.

    Args:
        library: nvCOMP.
        settings: lanes, sizes and budgets.
    """

    def __init__(self, library: Library, settings: PipelineSettings | None = None) -> None:
        self.settings = settings or PipelineSettings()
        self.device_budget = Budget("device", self.settings.device_bytes)
        self.pinned_budget = Budget("pinned", self.settings.pinned_bytes)
        self.staging = StagingPool(self.pinned_budget, buffer_bytes=self.settings.staging_buffer_bytes)
        self.results = ResultPool(self.settings.idle_result_bytes)
        self.out_of_memory: Counter[object] = Counter()
        """Batches that found no memory, by algorithm."""
        self._library = library
        self._apis: dict[object, BatchedApi] = {}
        self._lock = threading.Lock()
        lanes = [
            Lane(library, device=self.device_budget, pinned=self.pinned_budget, results=self.results, is_pinned=self.staging.owns)
            for _ in range(self.settings.lanes)
        ]
        self._conductor = Conductor(
            lanes, copiers=self.settings.copiers, pinned=self.pinned_budget, limit=self._lanes_that_fit, ran_out=self._ran_out
        )

    @property
    def failure(self) -> str | None:
        """Why nothing can be done any more: the pipeline is closed, or the device has failed."""
        return self._conductor.failure

    def close(self) -> None:
        """Wait for the work at hand, then free the memory; streams go last, with the process. Later calls fail."""
        with self._lock:
            self._conductor.close("the pipeline is closed")
            self.staging.close()

    def encode(self, algorithm: Algorithm, frames: Sequence[Buffer]) -> Encoded:
        """Each frame as a container, in order. Frames may be views of staging buffers; their content must not change meanwhile.

        Raises:
            DeviceMemoryError: no memory for a batch; nothing is returned.
            CodecUnavailableError: the algorithm is not in this nvCOMP, or the device failed.
        """
        api = self._api(algorithm)
        views = [as_bytes_view(frame) for frame in frames]
        sizes = [len(view) for view in views]
        largest = self.settings.batch_bytes
        whole = [size if size <= largest else 0 for size in sizes]
        payloads: list[Buffer] = [b""] * len(views)
        checksums = [0] * len(views)

        limits = self.settings.limits(sum(whole), max(whole, default=0))
        batches = list(plain_batches(whole, limits))
        jobs = [self._encode_batch(api, views, batch, api.method.tried, whole=True) for batch in batches]
        for batch, encoded in zip(batches, _results(jobs), strict=True):
            for frame, payload, checksum in zip(batch.frames, encoded.payloads, encoded.checksums, strict=True):
                payloads[frame], checksums[frame] = payload, checksum
        for frame, size in enumerate(sizes):
            if size == 0:
                payloads[frame] = container_head(algorithm, ElementType.CHAR, 0, DEFAULT_CHUNK_BYTES)
            elif not whole[frame]:
                payloads[frame], checksums[frame] = self._encode_large(api, views[frame])
        return Encoded(payloads, checksums)

    def decode(self, containers: Sequence[GpuContainer], payloads: Sequence[Buffer]) -> Decoded:
        """The plaintexts of payloads, in order, all of one algorithm. Comparing their checksums is the caller's.

        Args:
            containers: what `parse_container` said of each payload; sizes that they promise were checked by the caller.
            payloads: as they were stored.

        Raises:
            CorruptPayloadError: a chunk is damaged; nothing is said of the others.
            DeviceMemoryError: no memory for a batch.
            CodecUnavailableError: the algorithm is not in this nvCOMP, or the device failed.
        """
        if not containers:
            return Decoded([], [])
        algorithm = containers[0].algorithm
        api = self._api(algorithm)
        for container in containers:
            _check_decodable(container, algorithm)
        views = [as_bytes_view(payload) for payload in payloads]
        total = sum(container.original_size for container in containers)
        limits = self.settings.limits(total, max(container.chunk_size for container in containers))
        batches = list(packed_batches(containers, limits, packed_bytes=_MAX_GROWTH * limits.plain_bytes + _MAX_OVERHEAD))
        jobs = [self._decode_batch(api, containers, views, batch) for batch in batches]
        parts: list[list[tuple[memoryview, int]]] = [[] for _ in containers]
        for batch, decoded in zip(batches, _results(jobs), strict=True):
            for frame, plain, checksum in zip(batch.frames, decoded.plain, decoded.checksums, strict=True):
                parts[frame].append((plain, checksum))
        joined = [_joined(pieces) for pieces in parts]
        return Decoded([plain for plain, _ in joined], [checksum for _, checksum in joined])

    def _api(self, algorithm: Algorithm) -> BatchedApi:
        if self.failure:
            raise CodecUnavailableError(f"the GPU cannot be used: {self.failure}")
        with self._lock:
            api = self._apis.get(algorithm)
            if api is None:
                api = self._apis[algorithm] = self._library.api(algorithm)
            return api

    def _ran_out(self, algorithm: object) -> None:
        self.out_of_memory[algorithm] += 1

    def _lanes_that_fit(self, algorithm: object) -> int:
        """How many full batches of this algorithm the device budget has room for at once."""
        api = self._apis[algorithm]
        chunks = self.settings.batch_bytes // DEFAULT_CHUNK_BYTES
        compressed = chunks * aligned(api.max_output(DEFAULT_CHUNK_BYTES))
        scratch = max(api.compress_scratch(chunks, DEFAULT_CHUNK_BYTES), api.decompress_scratch(chunks, DEFAULT_CHUNK_BYTES))
        lane = self.settings.batch_bytes + 2 * compressed + scratch + _SMALLEST_BATCH
        return min(max(self.settings.device_bytes // lane, 1), self.settings.lanes)

    def _encode_batch(
        self, api: BatchedApi, views: Sequence[bytes | memoryview], batch: Batch, tried: tuple[ElementType, ...], *, whole: bool
    ) -> "Future[EncodedBatch]":
        return self._conductor.submit(api.method.algorithm, lambda lane: lane.encode(api, views, batch, tried=tried, whole=whole))

    def _decode_batch(
        self, api: BatchedApi, containers: Sequence[GpuContainer], views: Sequence[bytes | memoryview], batch: PackedBatch
    ) -> "Future[DecodedBatch]":
        return self._conductor.submit(api.method.algorithm, lambda lane: lane.decode(api, containers, views, batch))

    def _encode_large(self, api: BatchedApi, view: bytes | memoryview) -> tuple[Buffer, int]:
        """A frame of several batches: its first one decides the element type of all."""
        size = len(view)
        fitting = tuple(element for element in api.method.tried if size % element.width == 0)
        batches = list(plain_batches([size], self.settings.limits(size, 0)))
        first = self._encode_batch(api, [view], batches[0], fitting or api.method.element_types[:1], whole=False).result()
        (element,) = first.elements
        jobs = [self._encode_batch(api, [view], batch, (element,), whole=False) for batch in batches[1:]]
        parts = [first, *_results(jobs)]
        checksum = first.checksums[0]
        for part, batch in zip(parts[1:], batches[1:], strict=True):
            checksum = combine_crc("crc32c", checksum, part.checksums[0], batch.sizes[0])
        head = container_head(api.method.algorithm, element, size, DEFAULT_CHUNK_BYTES)
        tables = [table for part in parts for table in part.tables]
        return b"".join((head, *tables, *(payload for part in parts for payload in part.payloads))), checksum


def _results(jobs: "Sequence[Future[_R]]") -> list[_R]:
    """What all jobs return, or what the first of them that failed raises; none is at work any more then."""
    wait(jobs)
    return [job.result() for job in jobs]


def _joined(parts: list[tuple[memoryview, int]]) -> tuple[Buffer, int]:
    if not parts:
        return b"", 0
    plain, checksum = parts[0]
    if len(parts) == 1:
        return plain, checksum
    for piece, crc in parts[1:]:
        checksum = combine_crc("crc32c", checksum, crc, len(piece))
    return b"".join(piece for piece, _ in parts), checksum


def _check_decodable(container: GpuContainer, algorithm: Algorithm) -> None:
    if container.algorithm is not algorithm:
        raise CorruptPayloadError(f"a container of {container.algorithm.name} among those of {algorithm.name}")
    largest = max(container.chunk_sizes, default=0)
    if largest > _MAX_GROWTH * container.chunk_size + _MAX_OVERHEAD:
        raise CorruptPayloadError(f"a chunk of {largest} stored bytes cannot be one of {container.chunk_size}")
