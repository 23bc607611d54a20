"""FCG1 containers: header and size table of the payloads of GPU codecs."""

from array import array
from collections.abc import Sequence
from itertools import pairwise
from struct import pack

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from s4_format import (
    Algorithm,
    ContainerError,
    ElementType,
    GpuContainer,
    Reason,
    container_head_size,
    parse_container,
    parse_container_head,
)
from s4_format.testing import containers

from . import golden_files

GOLDEN = golden_files.rows("containers.json")
MIB = 2**20


def container(
    *, tag: int = 3, kind: int = 0, original: int = 5, chunk: int = 4, sizes: Sequence[int] = (3, 1), count: int | None = None
) -> bytes:
    """A container whose chunks are zeros, with whatever numbers."""
    number = len(sizes) if count is None else count
    return pack(f"<4sBBHQII{len(sizes)}I", b"FCG1", tag, kind, 0, original, chunk, number, *sizes) + bytes(sum(sizes))


def reason_of(payload: bytes) -> Reason:
    """Why it is refused."""
    with pytest.raises(ContainerError) as caught:
        parse_container(payload)
    assert caught.value.offset is not None
    return caught.value.reason


def test_numbers_are_wire_format() -> None:
    """Algorithms and element types have their numbers and widths, and there are no others."""
    assert {algorithm.name: int(algorithm) for algorithm in Algorithm} == {
        "SNAPPY": 1, "LZ4": 2, "ZSTD": 3, "BITCOMP": 4, "GDEFLATE": 5, "ANS": 64, "CASCADED": 65,
    }  # fmt: skip
    assert [(kind.name, int(kind), kind.width) for kind in ElementType] == [
        ("CHAR", 0, 1), ("U8", 1, 1), ("U16", 2, 2), ("U32", 3, 4), ("U64", 4, 8),
        ("I8", 5, 1), ("I16", 6, 2), ("I32", 7, 4), ("I64", 8, 8), ("F32", 9, 4), ("F64", 10, 8), ("BF16", 11, 2),
    ]  # fmt: skip


@pytest.mark.parametrize("entry", GOLDEN, ids=lambda entry: entry["id"])
def test_golden_heads(entry: dict) -> None:
    """The head of every container that nvCOMP filled reads as it must, and is written back byte for byte."""
    head = bytes.fromhex(entry["head"])
    found = parse_container(head + bytes(entry["stored_size"] - len(head)))

    assert (int(found.algorithm), int(found.element_type)) == (entry["algorithm"], entry["element_type"])
    assert (found.original_size, found.chunk_size) == (entry["original_size"], entry["chunk_size"])
    assert list(found.chunk_sizes) == entry["chunk_sizes"]
    assert (found.table_end, found.stored_size) == (len(head), entry["stored_size"])
    assert found.pack() == head


@given(containers(), st.binary(max_size=9))
def test_what_is_packed_is_parsed(drawn: tuple[GpuContainer, bytes], junk: bytes) -> None:
    """Every container comes back with its chunks, which tile payload and object; bytes behind them are ignored."""
    made, chunks = drawn
    payload = made.pack() + chunks + junk
    found = parse_container(payload)

    assert found == made
    assert found.stored_size == len(payload) - len(junk)
    parts = list(found.chunks(bytearray(payload)))
    assert b"".join(part for part, _ in parts) == chunks
    assert [len(part) for part, _ in parts] == list(made.chunk_sizes)
    sizes = [size for _, size in parts]
    assert sum(sizes) == made.original_size
    assert all(size == made.chunk_size for size in sizes[:-1])
    offsets = found.chunk_offsets()
    assert [payload[start:stop] for start, stop in pairwise(offsets)] == [bytes(part) for part, _ in parts]


@given(containers())
def test_heads_are_parsed_without_chunks(drawn: tuple[GpuContainer, bytes]) -> None:
    """Header and size table are enough for a reader to whom the chunks have still to come; the header tells how much that is."""
    made, _ = drawn
    head = made.pack()
    assert container_head_size(head[:24]) == len(head) == made.table_end
    assert parse_container_head(head) == made
    for end in range(24, len(head)):
        with pytest.raises(ContainerError) as caught:
            parse_container_head(head[:end])
        assert caught.value.reason is Reason.PAYLOAD_TRUNCATED


@given(containers())
def test_truncated_at_every_offset(drawn: tuple[GpuContainer, bytes]) -> None:
    """No proper prefix of a container is one."""
    made, chunks = drawn
    payload = made.pack() + chunks
    for end in range(len(payload)):
        assert reason_of(payload[:end]) == (Reason.HEADER_TRUNCATED if end < 24 else Reason.PAYLOAD_TRUNCATED)


@given(st.binary(max_size=60) | st.binary(max_size=60).map(lambda rest: b"FCG1" + rest))
@example(b"")
def test_any_bytes(payload: bytes) -> None:
    """Arbitrary bytes are refused, or hold what is written back as the same head."""
    try:
        found = parse_container(payload)
    except ContainerError:
        return
    head = bytearray(payload[: found.table_end])
    head[6:8] = bytes(2)
    if found.element_type is ElementType.CHAR:
        head[5] = 0
    assert found.pack() == head


REFUSED = {
    "another magic": (b"FCG2" + container()[4:], Reason.BAD_MAGIC),
    "algorithm 0": (container(tag=0), Reason.UNKNOWN_CODEC),
    "algorithm 6": (container(tag=6), Reason.UNKNOWN_CODEC),
    "algorithm 66": (container(tag=66), Reason.UNKNOWN_CODEC),
    "no chunk size": (container(chunk=0), Reason.SIZE_LIMIT),
    "chunks above 16 MiB": (container(original=16 * MIB + 1, chunk=16 * MIB + 1, sizes=(1,)), Reason.SIZE_LIMIT),
    "too few chunks": (container(original=9), Reason.ENTRY_COUNT_MISMATCH),
    "too many chunks": (container(original=4), Reason.ENTRY_COUNT_MISMATCH),
    "chunks of nothing": (container(original=0), Reason.ENTRY_COUNT_MISMATCH),
    "no chunks": (container(sizes=()), Reason.ENTRY_COUNT_MISMATCH),
    "a table of 2^32 - 1": (container(original=2**32 - 1, chunk=1, count=2**32 - 1), Reason.PAYLOAD_TRUNCATED),
    "2^64 - 1 bytes": (container(original=2**64 - 1, chunk=16 * MIB), Reason.ENTRY_COUNT_MISMATCH),
    "chunks that are not there": (container()[:-1], Reason.PAYLOAD_TRUNCATED),
    "an empty chunk": (container(sizes=(4, 0)), Reason.MALFORMED),
    "bitcomp of type 12": (container(tag=4, kind=12), Reason.INVALID_VALUE),
    "cascaded floats": (container(tag=65, kind=9), Reason.INVALID_VALUE),
    "ANS of 64 bits": (container(tag=64, kind=4), Reason.INVALID_VALUE),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused(name: str) -> None:
    """Each broken rule has its reason."""
    payload, reason = REFUSED[name]
    assert reason_of(payload) is reason


def test_what_readers_ignore() -> None:
    """Reserved bytes, and the element type of an algorithm without types, change nothing."""
    plain = container()
    odd = plain[:5] + b"\xc8\xff\xff" + plain[8:]
    assert parse_container(odd) == parse_container(plain)


def test_empty_object() -> None:
    """No bytes are no chunks: the container is its header."""
    empty = GpuContainer(Algorithm.ZSTD, ElementType.CHAR, 0, 65_536, ())
    assert empty.pack() == pack("<4sB3xQII", b"FCG1", 3, 0, 65_536, 0)
    assert list(parse_container(empty.pack()).chunks(empty.pack())) == []


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"chunk_size": 0}, Reason.SIZE_LIMIT),
        ({"chunk_size": 17 * MIB}, Reason.SIZE_LIMIT),
        ({"original_size": 9}, Reason.ENTRY_COUNT_MISMATCH),
        ({"original_size": -1}, Reason.INVALID_VALUE),
        ({"original_size": 2**64}, Reason.INVALID_VALUE),
        ({"chunk_sizes": (3, 0)}, Reason.MALFORMED),
        ({"chunk_sizes": (3, 2**32)}, Reason.INVALID_VALUE),
        ({"element_type": ElementType.U32}, Reason.INVALID_VALUE),
    ],
)
def test_values_that_cannot_be_written(changed: dict, reason: Reason) -> None:
    """A container that no reader would accept cannot be made."""
    fields = {"algorithm": Algorithm.ZSTD, "element_type": ElementType.CHAR, "original_size": 5, "chunk_size": 4, "chunk_sizes": (3, 1)}
    with pytest.raises(ContainerError) as caught:
        GpuContainer(**(fields | changed))
    assert caught.value.reason is reason


def test_sizes_are_kept_small() -> None:
    """A table of a million chunks is kept in four bytes each."""
    found = parse_container(container(original=MIB, chunk=1, sizes=[1] * MIB))
    assert isinstance(found.chunk_sizes, array)
    assert found.chunk_sizes.itemsize * len(found.chunk_sizes) == 4 * MIB
