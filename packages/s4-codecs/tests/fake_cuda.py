"""A CUDA device made of host memory: enough of cupy and of nvCOMP's batched API for the pipeline to run where there is no device.

Streams do everything at once. The compressor is zlib's, with the element type in front, so that a wrong address, size, type or order shows.
"""

import ctypes
import sys
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any

import numpy as np
from s4_format import crc32c
from s4_format.gpu_container import Algorithm, ElementType

from s4_codecs.gpu.library import METHODS, Chunks, Scratch

STREAM, EVENT = 7, 9


class CUDARuntimeError(RuntimeError):
    """As cupy's: `status` is the cudaError_t."""

    def __init__(self, status: int) -> None:
        super().__init__(f"cudaError {status}")
        self.status = status


class Runtime:
    """What the pipeline uses of cupy.cuda.runtime, over `limit` bytes of memory."""

    CUDARuntimeError = CUDARuntimeError

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.held: dict[int, Any] = {}
        self.pinned: dict[int, Any] = {}
        self.broken = 0

    @property
    def used(self) -> int:
        """Bytes allocated."""
        return sum(map(ctypes.sizeof, self.held.values()))

    def malloc(self, size: int) -> int:
        """Memory full of junk."""
        if self.used + size > self.limit:
            raise CUDARuntimeError(2)
        memory = ctypes.create_string_buffer(size)
        ctypes.memset(memory, 0xA5, size)
        address = ctypes.addressof(memory)
        self.held[address] = memory
        return address

    def free(self, address: int) -> None:
        """Fails for what was not allocated."""
        del self.held[address]

    def hostAlloc(self, size: int, flags: int) -> int:  # noqa: N802 -- cupy's name
        """Pinned memory, of which there is enough."""
        assert flags == 0
        memory = ctypes.create_string_buffer(size)
        self.pinned[ctypes.addressof(memory)] = memory
        return ctypes.addressof(memory)

    def freeHost(self, address: int) -> None:  # noqa: N802
        """Fails for what was not allocated."""
        del self.pinned[address]

    def eventCreateWithFlags(self, flags: int) -> int:  # noqa: N802
        """Always the same."""
        assert flags == 3
        return EVENT

    def eventRecord(self, event: int, stream: int) -> None:  # noqa: N802
        """Nothing to remember."""
        assert (event, stream) == (EVENT, STREAM)

    def eventSynchronize(self, event: int) -> None:  # noqa: N802
        """Nothing to wait for."""
        assert event == EVENT

    def memcpyAsync(self, target: int, source: int, size: int, kind: int, stream: int) -> None:  # noqa: N802 -- cupy's name
        """At once."""
        assert kind in {1, 2}
        assert stream == STREAM
        if self.broken:
            raise CUDARuntimeError(self.broken)
        ctypes.memmove(target, source, size)


class Stream:
    """A stream that has always done everything."""

    ptr = STREAM

    def __init__(self, *, non_blocking: bool) -> None:
        assert non_blocking

    def __enter__(self) -> None:
        """Nothing to do."""

    def __exit__(self, *_: object) -> None:
        """Nothing to do."""


class RawKernel:
    """The kernel that moves chunks."""

    def __init__(self, _source: str, name: str) -> None:
        assert name == "copy_chunks"

    def __call__(self, grid: tuple[int, int], _block: tuple[int], arguments: tuple[int, int, int]) -> None:
        sources, targets, sizes = (_words(address, grid[0]) for address in arguments)
        for source, target, size in zip(sources, targets, sizes, strict=True):
            ctypes.memmove(int(target), int(source), int(size))


def fake_driver(runtime: Runtime) -> ModuleType:
    """`s4_codecs.gpu.driver`, doing everything at once."""

    def move(target: int, source: int, size: int, stream: int) -> None:
        runtime.memcpyAsync(target, source, size, 1, stream)

    def check(event: int, stream: int = STREAM) -> bool:
        assert (event, stream) == (EVENT, STREAM)
        return True

    module = ModuleType("s4_codecs.gpu.driver")
    module.__dict__.update(copy_to_device=move, copy_to_host=move, record=check, happened=check)
    return module


@contextmanager
def fake_cupy(limit: int = 1 << 40) -> Iterator[Runtime]:
    """cupy as above; the modules of the pipeline are imported anew inside, and forgotten afterwards."""
    runtime = Runtime(limit)
    cupy, cuda = ModuleType("cupy"), ModuleType("cupy.cuda")
    errors = ModuleType("cupy.cuda.driver")
    errors.__dict__.update(CUDADriverError=CUDARuntimeError)
    cuda.__dict__.update(
        runtime=runtime,
        driver=errors,
        Stream=Stream,
    )
    cupy.__dict__.update(cuda=cuda, RawKernel=RawKernel)
    real = {name: module for name, module in sys.modules.items() if name.partition(".")[0] == "cupy"}
    _forget_pipeline()
    sys.modules["cupy"] = cupy
    sys.modules["s4_codecs.gpu.driver"] = driver = fake_driver(runtime)
    import s4_codecs.gpu

    s4_codecs.gpu.driver = driver
    try:
        yield runtime
    finally:
        del sys.modules["cupy"]
        sys.modules.update(real)
        _forget_pipeline()


def _forget_pipeline() -> None:
    for name in ("memory", "kernels", "driver", "stream", "table", "staging", "transfers", "lane", "conductor", "pipeline", "engine"):
        sys.modules.pop(f"s4_codecs.gpu.{name}", None)


class FakeLibrary:
    """nvCOMP with zlib in it."""

    version = "6.0.0"
    major = 6

    def __init__(self) -> None:
        self.calls = 0
        self.refuse: int | None = None
        self.bad_status = 0
        self.forgets = False

    def damage(self, plain: bytes) -> bytes:
        """What decompressing gives: now and then not what was compressed."""
        return plain[:-1] + bytes([plain[-1] ^ 1]) if self.forgets else plain

    def crc32c(self, sources: int, sizes: int, results: int, *, count: int, largest: int, stream: int) -> None:
        """Of host memory."""
        assert stream == STREAM
        found = np.frombuffer((ctypes.c_uint32 * count).from_address(results), np.uint32)
        for number, (source, size) in enumerate(zip(_words(sources, count), _words(sizes, count), strict=True)):
            assert size <= largest
            found[number] = crc32c(ctypes.string_at(int(source), int(size)))

    def api(self, algorithm: Algorithm) -> "FakeApi":
        """The functions of one algorithm."""
        return FakeApi(self, algorithm)


class FakeApi:
    """The batched functions over host memory."""

    def __init__(self, library: FakeLibrary, algorithm: Algorithm) -> None:
        self.library = library
        self.method = METHODS[algorithm]

    def max_output(self, chunk_bytes: int) -> int:
        """zlib's bound, about."""
        return chunk_bytes + chunk_bytes // 1000 + 32

    def compress_scratch(self, count: int, chunk_bytes: int) -> int:
        """Twice the input."""
        return 2 * count * chunk_bytes

    def decompress_scratch(self, count: int, chunk_bytes: int) -> int:
        """As much as the output."""
        return count * chunk_bytes

    def compress(self, chunks: Chunks, chunk_bytes: int, element: ElementType, scratch: Scratch, stream: int) -> None:
        """Values are taken apart into bytes of equal weight first, so that the right type wins where there is one."""
        assert stream == STREAM
        assert scratch.size >= chunks.count * chunk_bytes
        self.library.calls += 1
        sources, sizes, targets, written = (
            _words(at, chunks.count) for at in (chunks.sources, chunks.source_sizes, chunks.targets, chunks.target_sizes)
        )
        statuses = np.frombuffer((ctypes.c_uint32 * chunks.count).from_address(chunks.statuses), np.uint32)
        for number in range(chunks.count):
            assert sources[number] % 16 == 0
            assert targets[number] % 16 == 0
            assert sizes[number] <= chunk_bytes
            data = np.frombuffer(ctypes.string_at(int(sources[number]), int(sizes[number])), np.uint8)
            assert data.size % element.width == 0
            packed = bytes([element]) + zlib.compress(data.reshape(-1, element.width).T.tobytes(), 1)
            ctypes.memmove(int(targets[number]), packed, len(packed))
            written[number] = len(packed)
        statuses[:] = self.library.bad_status

    def decompress(self, chunks: Chunks, scratch: Scratch, stream: int) -> None:
        """The reverse; damage is a status, as nvCOMP has it."""
        assert stream == STREAM
        assert scratch.size >= 0
        arrays = (chunks.sources, chunks.source_sizes, chunks.targets, chunks.target_room, chunks.target_sizes)
        sources, sizes, targets, room, written = (_words(address, chunks.count) for address in arrays)
        statuses = np.frombuffer((ctypes.c_uint32 * chunks.count).from_address(chunks.statuses), np.uint32)
        kinds = {ctypes.string_at(int(source), 1) for source in sources}
        assert len(kinds) == 1, "one call takes chunks of one element type only"
        for number in range(chunks.count):
            assert sources[number] % 16 == 0
            assert targets[number] % 16 == 0
            packed = ctypes.string_at(int(sources[number]), int(sizes[number]))
            try:
                plain = (
                    np.frombuffer(self.library.damage(zlib.decompress(packed[1:])), np.uint8)
                    .reshape(ElementType(packed[0]).width, -1)
                    .T.tobytes()
                )
            except (zlib.error, ValueError):
                statuses[number], written[number] = 12, 0
                continue
            fits = len(plain) <= room[number]
            statuses[number], written[number] = (0, len(plain)) if fits else (15, 0)
            ctypes.memmove(int(targets[number]), plain, len(plain) if fits else 0)


def _words(address: int, count: int) -> Any:
    return np.frombuffer((ctypes.c_uint64 * count).from_address(address), np.uint64)
