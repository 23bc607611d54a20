"""FCG1, the payload of every GPU codec: a header, a size table, and chunks compressed each on its own (docs/format/gpu-container.md)."""

from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import IntEnum
from itertools import accumulate
from struct import Struct
from sys import byteorder

from s4_format._buffer import Buffer, as_view
from s4_format.errors import ContainerError, Reason

CONTAINER_MAGIC = b"FCG1"
DEFAULT_CHUNK_BYTES = 65_536
"""The chunk size that every existing writer uses."""
MAX_CHUNK_BYTES = 16 << 20
"""Readers refuse a larger chunk size."""

_HEADER = Struct("<4sBB2xQII")
CONTAINER_HEADER_BYTES = _HEADER.size
_SIZE_BYTES = 4


class Algorithm(IntEnum):
    """What the chunks are. Numbers are wire format; those below 64 are the reference's, extensions start there."""

    SNAPPY = 1
    LZ4 = 2
    ZSTD = 3
    BITCOMP = 4
    GDEFLATE = 5
    ANS = 64
    CASCADED = 65


class ElementType(IntEnum):
    """What one value of a typed algorithm is. Numbers are wire format."""

    CHAR = 0
    U8 = 1
    U16 = 2
    U32 = 3
    U64 = 4
    I8 = 5
    I16 = 6
    I32 = 7
    I64 = 8
    F32 = 9
    F64 = 10
    BF16 = 11

    @property
    def width(self) -> int:
        """Bytes of one value."""
        return _WIDTHS[self]


_WIDTHS = dict(zip(ElementType, (1, 1, 2, 4, 8, 1, 2, 4, 8, 4, 8, 2), strict=True))
_INTEGERS = frozenset(ElementType) - {ElementType.F32, ElementType.F64, ElementType.BF16}

ELEMENT_TYPES = {
    Algorithm.BITCOMP: frozenset(ElementType),
    Algorithm.ANS: frozenset({ElementType.CHAR, ElementType.U8, ElementType.BF16, ElementType.F32}),
    Algorithm.CASCADED: _INTEGERS,
}
"""The element types that an algorithm may name. One that is not listed is untyped: CHAR is written, and readers ignore the byte."""
_UNTYPED = frozenset({ElementType.CHAR})


@dataclass(frozen=True, slots=True)
class GpuContainer:
    """Header and size table of a container; the chunks lie behind them, back to back.

    Attributes:
        algorithm: what each chunk is.
        element_type: CHAR for algorithms without types.
        original_size: bytes that all chunks decode to.
        chunk_size: bytes that each chunk but the last decodes to, 1 to 16 MiB.
        chunk_sizes: stored bytes of each chunk, at least 1; as many as `original_size / chunk_size`, rounded up.

    Raises:
        ContainerError: SIZE_LIMIT (chunk size), INVALID_VALUE (element type, a number that does not fit), ENTRY_COUNT_MISMATCH, MALFORMED
            (an empty chunk).
    """

    algorithm: Algorithm
    element_type: ElementType
    original_size: int
    chunk_size: int
    chunk_sizes: Sequence[int]

    def __post_init__(self) -> None:
        if self.element_type not in ELEMENT_TYPES.get(self.algorithm, _UNTYPED):
            raise ContainerError(f"{self.algorithm.name} has no values of type {self.element_type.name}", Reason.INVALID_VALUE, offset=5)
        if not 0 <= self.original_size < 2**64:
            raise ContainerError(f"{self.original_size} original bytes do not fit in 64 bits", Reason.INVALID_VALUE, offset=8)
        _check_count(self.original_size, self.chunk_size, len(self.chunk_sizes))
        if min(self.chunk_sizes, default=1) < 1:
            raise ContainerError("a chunk has no bytes", Reason.MALFORMED, offset=_HEADER.size)
        if max(self.chunk_sizes, default=1) >= 2**32:
            raise ContainerError("the size of a chunk does not fit in 32 bits", Reason.INVALID_VALUE, offset=_HEADER.size)

    @property
    def table_end(self) -> int:
        """Bytes of header and size table, which is the offset of the first chunk."""
        return _HEADER.size + _SIZE_BYTES * len(self.chunk_sizes)

    @property
    def stored_size(self) -> int:
        """Bytes of the whole container."""
        return self.table_end + sum(self.chunk_sizes)

    def chunk_offsets(self) -> Sequence[int]:
        """Where each chunk begins in the container, and behind the last one where that ends: one number more than there are chunks."""
        return array("Q", accumulate(self.chunk_sizes, initial=self.table_end))

    def chunk_original_size(self, number: int) -> int:
        """Bytes that the chunk of this number decodes to; only the last one can be shorter than `chunk_size`."""
        return min(self.chunk_size, self.original_size - number * self.chunk_size)

    def chunks(self, payload: Buffer) -> Iterator[tuple[memoryview, int]]:
        """Each chunk of the payload that this was parsed from, as a view, and the bytes that it decodes to."""
        view = as_view(payload)
        start = self.table_end
        for number, size in enumerate(self.chunk_sizes):
            yield view[start : start + size], self.chunk_original_size(number)
            start += size

    def pack(self) -> bytes:
        """Header and size table; the chunks are to follow."""
        sizes = array("I", self.chunk_sizes)
        if byteorder == "big":
            sizes.byteswap()
        return container_head(self.algorithm, self.element_type, self.original_size, self.chunk_size) + sizes.tobytes()


def container_head(algorithm: Algorithm, element_type: ElementType, original_size: int, chunk_size: int) -> bytes:
    """The header alone, for writers that have the size table as bytes; nothing is checked (`GpuContainer` does)."""
    return _HEADER.pack(CONTAINER_MAGIC, algorithm, element_type, original_size, chunk_size, -(-original_size // chunk_size))


def parse_container(payload: Buffer) -> GpuContainer:
    """Header and size table of the container that is `payload`; bytes behind its last chunk are ignored.

    Nothing is allocated before the table is known to be there, and no more than 4 bytes a chunk.

    Raises:
        ContainerError: as `parse_container_head`; PAYLOAD_TRUNCATED (chunks).
    """
    view = as_view(payload)
    container = parse_container_head(view)
    if container.stored_size > len(view):
        message = f"the chunks end at {container.stored_size}, the payload at {len(view)}"
        raise ContainerError(message, Reason.PAYLOAD_TRUNCATED, offset=container.table_end)
    return container


def container_head_size(payload: Buffer) -> int:
    """Bytes of header and size table, told from the header alone.

    Raises:
        ContainerError: HEADER_TRUNCATED, BAD_MAGIC, UNKNOWN_CODEC (algorithm), SIZE_LIMIT (chunk size), ENTRY_COUNT_MISMATCH (the number of
            chunks is not that of the original size); checked in this order.
    """
    view = as_view(payload)
    if len(view) < _HEADER.size:
        raise ContainerError(f"{len(view)} bytes are too few for a container", Reason.HEADER_TRUNCATED, offset=0)
    magic, tag, _, original_size, chunk_size, count = _HEADER.unpack_from(view)
    if magic != CONTAINER_MAGIC:
        raise ContainerError(f"expected a container, found {magic!r}", Reason.BAD_MAGIC, offset=0)
    _algorithm(tag)
    _check_count(original_size, chunk_size, count)
    return int(_HEADER.size + _SIZE_BYTES * count)


def parse_container_head(payload: Buffer) -> GpuContainer:
    """Header and size table at the start of `payload`; the chunks need not be there.

    Raises:
        ContainerError: as `container_head_size`; then PAYLOAD_TRUNCATED (table), INVALID_VALUE (element type), MALFORMED (an empty chunk).
    """
    view = as_view(payload)
    end = container_head_size(view)
    _, tag, kind, original_size, chunk_size, count = _HEADER.unpack_from(view)
    if end > len(view):
        message = f"the sizes of {count} chunks are declared, {len(view) - _HEADER.size} bytes are there"
        raise ContainerError(message, Reason.PAYLOAD_TRUNCATED, offset=20)
    sizes = array("I", view[_HEADER.size : end].tobytes())
    if byteorder == "big":
        sizes.byteswap()
    algorithm = _algorithm(tag)
    return GpuContainer(algorithm, _element_type(algorithm, kind), original_size, chunk_size, sizes)


def _algorithm(tag: int) -> Algorithm:
    try:
        return Algorithm(tag)
    except ValueError:
        raise ContainerError(f"algorithm {tag} is not known", Reason.UNKNOWN_CODEC, offset=4) from None


def _element_type(algorithm: Algorithm, kind: int) -> ElementType:
    if algorithm not in ELEMENT_TYPES:
        return ElementType.CHAR
    try:
        return ElementType(kind)
    except ValueError:
        raise ContainerError(f"element type {kind} is not known", Reason.INVALID_VALUE, offset=5) from None


def _check_count(original_size: int, chunk_size: int, count: int) -> None:
    if not 0 < chunk_size <= MAX_CHUNK_BYTES:
        raise ContainerError(f"chunks of {chunk_size} bytes, allowed are 1 to {MAX_CHUNK_BYTES}", Reason.SIZE_LIMIT, offset=16)
    expected = -(-original_size // chunk_size)
    if count != expected:
        message = f"{count} chunks of {chunk_size} bytes cannot hold {original_size}, {expected} do"
        raise ContainerError(message, Reason.ENTRY_COUNT_MISMATCH, offset=20)
