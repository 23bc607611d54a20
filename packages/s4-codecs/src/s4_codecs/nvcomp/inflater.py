"""A container that arrives in pieces, decoded some chunks at a time."""

from collections.abc import Callable, Iterator
from itertools import accumulate

from s4_format import CONTAINER_HEADER_BYTES, Algorithm, Buffer, ContainerError, GpuContainer, container_head_size, parse_container_head

from s4_codecs._buffer import as_bytes_view
from s4_codecs.errors import CodecMismatchError, CorruptPayloadError
from s4_codecs.nvcomp.host import largest_chunk

_STEP_BYTES = 1 << 20
"""Plaintext of the chunks that are decoded together, unless one alone has more."""
_STEP_CHUNKS = 4096
_STEP_STORED_BYTES = 4 << 20
"""And so many stored ones, which are kept until they are all there."""
_MAX_HEAD_BYTES = 16 << 20
"""Header and size table, which are kept as long as chunks come: of 256 GiB in chunks of 64 KiB."""


class ContainerInflater:
    """Cuts a container into smaller ones, which are decoded as soon as their chunks are there. See `s4_codecs.abc.Inflater`.

    Args:
        algorithm: what the container has to hold.
        decompress: gives the plaintext of a whole container, of the size in its header.
    """

    def __init__(self, algorithm: Algorithm, decompress: Callable[[Buffer, int], bytes]) -> None:
        self._algorithm = algorithm
        self._decompress = decompress
        self._held = bytearray()
        self._whole: GpuContainer | None = None
        self._next = 0
        """Number of the first chunk that is not decoded yet."""
        self._part: GpuContainer | None = None
        self._part_bytes = 0

    def feed(self, data: Buffer) -> Iterator[Buffer]:
        """See `s4_codecs.abc.Inflater`; bytes behind the last chunk are ignored."""
        view = memoryview(as_bytes_view(data))
        for at in range(0, len(view), _STEP_BYTES):
            if self._done:
                return
            self._held += view[at : at + _STEP_BYTES]
            yield from self._decode_what_is_there()

    def close(self) -> None:
        """See `s4_codecs.abc.Inflater`."""
        if not self._done:
            raise CorruptPayloadError(f"{self._algorithm.name}: the container ends before its last chunk")

    @property
    def _done(self) -> bool:
        return self._whole is not None and self._part is None

    def _decode_what_is_there(self) -> Iterator[Buffer]:
        try:
            if self._whole is None and not self._read_head():
                return
        except ContainerError as error:
            raise CorruptPayloadError(f"{self._algorithm.name}: {error}") from error
        while self._part is not None and len(self._held) >= self._part_bytes:
            part = self._part
            payload = part.pack() + self._held[: self._part_bytes]
            del self._held[: self._part_bytes]
            self._next += len(part.chunk_sizes)
            self._plan_part()
            plain = memoryview(self._decompress(payload, part.original_size))
            yield from (plain[at : at + _STEP_BYTES] for at in range(0, len(plain), _STEP_BYTES))

    def _read_head(self) -> bool:
        """Read header and size table; False while they are not there."""
        if len(self._held) < CONTAINER_HEADER_BYTES:
            return False
        head_size = container_head_size(self._held)
        if head_size > _MAX_HEAD_BYTES:
            raise CorruptPayloadError(f"{self._algorithm.name}: a size table of {head_size} bytes, at most {_MAX_HEAD_BYTES} are kept")
        if len(self._held) < head_size:
            return False
        self._whole = parse_container_head(self._held)
        if self._whole.algorithm is not self._algorithm:
            raise CodecMismatchError(f"{self._algorithm.name} was promised, the container holds {self._whole.algorithm.name}")
        largest = max(self._whole.chunk_sizes, default=0)
        if largest > largest_chunk(self._whole.chunk_size):
            raise CorruptPayloadError(f"{self._algorithm.name}: a chunk of {self._whole.chunk_size} bytes is stored in {largest}")
        del self._held[:head_size]
        self._plan_part()
        return True

    def _plan_part(self) -> None:
        """The next chunks as a container of their own, and how many bytes they take; no part where all are done."""
        whole = self._whole
        assert whole is not None
        stop = min(self._next + max(1, _STEP_BYTES // whole.chunk_size), self._next + _STEP_CHUNKS, len(whole.chunk_sizes))
        stored = accumulate(whole.chunk_sizes[self._next : stop])
        stop = min(stop, self._next + max(1, sum(end <= _STEP_STORED_BYTES for end in stored)))
        sizes = whole.chunk_sizes[self._next : stop]
        plain = min(stop * whole.chunk_size, whole.original_size) - self._next * whole.chunk_size
        self._part_bytes = sum(sizes)
        self._part = GpuContainer(whole.algorithm, whole.element_type, plain, whole.chunk_size, sizes) if sizes else None
