"""Bytes made to hurt: every parser refuses them, or reads them, within 64 MiB and one second."""

import gc
import time
import tracemalloc
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from struct import pack, pack_into

import pytest
from hypothesis import given
from hypothesis import strategies as st

from s4_format import (
    MAX_SIDECAR_BYTES,
    Attributes,
    CodecId,
    FormatError,
    FrameHeader,
    FrameReader,
    FrameTable,
    Part,
    Reason,
    Tail,
    Trailer,
    TrailerError,
    crc32c,
    decode_sidecar,
    encode_trailer,
    iter_items,
    padding_header,
    read_tail,
    read_trailer,
    scan_frames,
)
from s4_format.testing import pieces, read_items

from . import trailer_cases
from .trailer_cases import in_body

MEMORY = 64 * 2**20
SECONDS = 1.0
HUGE = 2**64 - 1
SMALLER = 8
"""Memory grows with the rows; it is measured on tables so many times smaller than the largest, because tracing allocations is slow."""


def seconds(action: Callable[[], object]) -> float:
    """CPU seconds of the best of three runs, since others may share the processor; errors of the format are an answer."""
    best = float("inf")
    for _ in range(3):
        start = time.process_time()
        with suppress(FormatError):
            action()
        best = min(best, time.process_time() - start)
        if best < SECONDS / 2:
            break
    return best


def memory(action: Callable[[], object]) -> int:
    """The most bytes in use during a run, beyond those before it; errors of the format are an answer."""
    gc.collect()
    tracemalloc.start()
    try:
        with suppress(FormatError):
            action()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def drain(reader: FrameReader, data: bytes, size: int) -> None:
    """Read a body in pieces, keeping nothing."""
    for _ in read_items(reader, pieces(data, size)):
        pass


def sidecar(count: int, entries: bytes, *, version: int = 2, etag_bytes: int = 0) -> bytes:
    """A sidecar with this declared count."""
    return pack("<4sIQQQ", b"S4IX", version, count, HUGE, HUGE) + pack("<QI", HUGE, etag_bytes) + entries


FRAME_BOMBS = {
    "payload of 2^64": FrameHeader(CodecId.CPU_ZSTD, 5, HUGE, 0).pack(),
    "original of 2^64": FrameHeader(CodecId.CPU_ZSTD, HUGE, 5, 0).pack() + b"hello",
    "payload of 5 GiB": FrameHeader(CodecId.CPU_ZSTD, 5, 5 * 2**30, 0).pack() + bytes(1000),
    "padding of 2^64": padding_header(HUGE) + bytes(1000),
    "empty frames": FrameHeader(CodecId.CPU_ZSTD, 0, 0, 0).pack() * (2**20 // 28),
    "empty padding": padding_header(0) * (2**20 // 12),
    "original sizes that overflow": FrameHeader(CodecId.CPU_ZSTD, HUGE, 0, 0).pack() * 3,
}


@pytest.mark.parametrize("data", FRAME_BOMBS.values(), ids=FRAME_BOMBS.keys())
def test_frames(data: bytes) -> None:
    """Declared sizes cost nothing before the bytes are there, and a MiB of tiny items is cheap, in every reader of bodies."""
    few = data[: len(data) // SMALLER] if len(data) > 2**16 else data
    readers: list[Callable[[bytes], object]] = [
        lambda body: deque(iter_items(body), 0),
        lambda body: drain(FrameReader(), body, 65_536),
        scan_frames,
    ]
    for read in readers:
        assert seconds(lambda: read(data)) < SECONDS  # noqa: B023 (called at once)
        assert memory(lambda: read(few)) < MEMORY // SMALLER  # noqa: B023 (called at once)


def test_payload_in_tiny_pieces() -> None:
    """A payload that comes in tiny pieces costs time and memory in proportion to its bytes."""
    data = FrameHeader(CodecId.CPU_ZSTD, 5, 50_000, 0).pack() + bytes(50_000)

    def read() -> None:
        drain(FrameReader(), data, 1)

    assert seconds(read) < SECONDS
    assert memory(read) < 2**19


def test_padding_is_not_collected() -> None:
    """Skipping 64 MiB of padding takes no memory for it."""
    piece = bytes(2**20)

    def read() -> None:
        reader = FrameReader()
        reader.feed(padding_header(64 * 2**20))
        for _ in range(64):
            reader.next_item()
            reader.feed(piece)
        reader.next_item()

    assert memory(read) < 2**20


def in_order(count: int) -> bytes:
    """Entries with gaps everywhere."""
    return b"".join(pack("<QQQQ", n * 3, 1, n * 40, 30) for n in range(count))


SIDECAR_BOMBS: dict[str, Callable[[int], bytes]] = {
    "2^64 entries": lambda count: sidecar(HUGE, b""),
    "2^24 entries declared, none there": lambda count: sidecar(2**24, b""),
    "ETag of 4 GiB": lambda count: sidecar(0, b"", etag_bytes=2**32 - 1),
    "longest, in order": lambda count: sidecar(count, in_order(count)),
    "longest, wrong at the end": lambda count: sidecar(count, bytes((count - 1) * 32) + b"\xff" * 32),
    "longest, wrong at the start": lambda count: sidecar(count, b"\xff" * 32 + bytes((count - 1) * 32)),
    "above the longest": lambda count: bytes(MAX_SIDECAR_BYTES + 1),
}


@pytest.mark.parametrize("make", SIDECAR_BOMBS.values(), ids=SIDECAR_BOMBS.keys())
def test_sidecars(make: Callable[[int], bytes]) -> None:
    """No sidecar, however large or wrong, costs more than the bound."""
    large, small = make(2**20), make(2**20 // SMALLER)

    assert seconds(lambda: decode_sidecar(large)) < SECONDS
    assert memory(lambda: decode_sidecar(small)) < MEMORY // SMALLER


def largest(frame_count: int, part_count: int) -> tuple[Tail, bytes, bytes, bytes]:
    """Tail, index, part table and directory of a trailer with padding before every frame."""
    frames = trailer_cases.repeated(trailer_cases.uneven(1024, padded_every=1), frame_count // 1024)
    size, rest = divmod(frames.original_size, part_count)
    parts = tuple(Part(number, size + (rest if number == 1 else 0), bytes(64)) for number in range(1, part_count + 1))
    data = encode_trailer(Trailer(Attributes(frames.original_size), parts, frames), offset=frames.stored_end)
    tail = read_tail(in_body(data, frames.stored_end), body_size=frames.stored_end + len(data))
    index, table, directory = (
        data[span.start - tail.offset : span.stop - tail.offset] for span in (tail.index_span, tail.part_span, tail.directory_span)
    )
    return tail, index, table, directory


def test_largest_trailer() -> None:
    """The most frames, gaps and parts there can be are read within the bound."""
    tail, index, parts, directory = largest(2**20, 10_000)
    assert len(tail.frames(index)) == 2**20
    for action in (lambda: tail.frames(index), lambda: tail.parts(parts), lambda: tail.directory(directory)):
        assert seconds(action) < SECONDS

    tail, index, parts, directory = largest(2**20 // SMALLER, 10_000 // SMALLER)
    for action in (lambda: tail.frames(index), lambda: tail.parts(parts), lambda: tail.directory(directory)):
        assert memory(action) < MEMORY // SMALLER


def seal(trailer: bytearray) -> bytes:
    """Give a changed trailer right checksums again, as a forger would."""
    attributes, _, _, index, parts, directory = (int.from_bytes(trailer[at : at + size], "little") for at, size in FOOTER_FIELDS)
    start = 12 + index
    spans = [(start + parts + directory, attributes), (start, parts), (start + parts, directory)]
    for place, (begin, size) in enumerate(spans):
        pack_into("<I", trailer, len(trailer) - 60 + 20 + 4 * place, crc32c(trailer[begin : begin + size]))
    pack_into("<I", trailer, len(trailer) - 8, crc32c(trailer[-60:-8]))
    return bytes(trailer)


FOOTER_FIELDS = [(-60, 2), (-58, 2), (-56, 4), (-52, 4), (-48, 4), (-44, 4)]


def forged(at: int, value: int, size: int) -> tuple[bytes, int]:
    """A small trailer with one number of its footer replaced and sealed again, and its offset."""
    frames = trailer_cases.uneven(3)
    trailer = Trailer(Attributes(frames.original_size), (Part(1, frames.original_size),), frames)
    data = bytearray(encode_trailer(trailer, offset=frames.stored_end))
    data[len(data) + at : len(data) + at + size] = value.to_bytes(size, "little")
    pack_into("<I", data, len(data) - 8, crc32c(data[-60:-8]))
    return bytes(data), frames.stored_end


@pytest.mark.parametrize(("at", "size"), FOOTER_FIELDS)
@pytest.mark.parametrize("value", [0, 1, 2, 4, 0xFFFF, 2**20, 2**32 - 1])
def test_forged_counts_and_lengths(at: int, size: int, value: int) -> None:
    """A footer with a right checksum and any other count or length is refused cheaply, before a section is looked at."""
    data, offset = forged(at, value % 2 ** (8 * size), size)
    if data == encode_trailer(read_original(), offset=offset):
        return
    with pytest.raises(TrailerError) as caught:
        read_trailer(in_body(data, offset), body_size=offset + len(data))

    assert caught.value.reason in (Reason.MALFORMED, Reason.SIZE_LIMIT, Reason.WRONG_PLACE, Reason.CHECKSUM_MISMATCH, Reason.SIZE_MISMATCH)
    assert memory(lambda: read_trailer(in_body(data, offset), body_size=offset + len(data))) < 2**20


def read_original() -> Trailer:
    """The trailer that `forged` starts from."""
    frames = trailer_cases.uneven(3)
    return Trailer(Attributes(frames.original_size), (Part(1, frames.original_size),), frames)


@given(pick=st.data())
def test_forged_sections(pick: st.DataObject) -> None:
    """Changed sections with right checksums are refused, or say what a trailer can say; nothing but TrailerError comes out."""
    frames = trailer_cases.uneven(5, padded_every=2)
    parts = (Part(3, frames.original_size - 9, b"1234"), Part(9, 9, None))
    trailer = Trailer(Attributes(frames.original_size, "etag", {"crc32": "AAAA"}, extra={"s4-x": "y"}), parts, frames)
    offset = frames.stored_end
    data = bytearray(encode_trailer(trailer, offset=offset))
    leaf = 12 + int.from_bytes(data[-52:-48], "little")
    for _ in range(pick.draw(st.integers(1, 4))):
        data[pick.draw(st.integers(12, len(data) - 61))] = pick.draw(st.sampled_from((0, 1, 2, 8, 9, 255)) | st.integers(0, 255))
    pack_into("<I", data, leaf - 4, crc32c(data[12 : leaf - 4]))
    with suppress(TrailerError):
        found = read_trailer(in_body(seal(data), offset), body_size=offset + len(data))
        assert found.frames.original_size == found.attributes.original_size
        assert (
            read_trailer(in_body(encode_trailer(found, offset=offset), offset), body_size=offset + trailer_length(found, offset)) == found
        )


def trailer_length(trailer: Trailer, offset: int) -> int:
    """Bytes of a trailer."""
    return len(encode_trailer(trailer, offset=offset))


@given(data=st.binary(min_size=72, max_size=400))
def test_arbitrary_ends(data: bytes) -> None:
    """Arbitrary bytes in front of the magic are never a trailer."""
    with pytest.raises(TrailerError):
        read_tail(data + b"S4T1", body_size=len(data) + 4)


def test_equal_frames_do_not_amplify_beyond_the_bound() -> None:
    """2^20 equal frames, which take no bytes each in the index, decode within the bound."""
    tail, index = equal(2**20)
    assert len(index) == 46 * 1024
    assert seconds(lambda: tail.frames(index)) < SECONDS

    tail, index = equal(2**20 // SMALLER)
    assert memory(lambda: tail.frames(index)) < MEMORY // SMALLER


def equal(count: int) -> tuple[Tail, bytes]:
    """Tail and index of a trailer of equal frames."""
    frames = trailer_cases.repeated(FrameTable.from_sizes([(2**20, 28)] * 1024), count // 1024)
    data = encode_trailer(trailer_cases.of(frames), offset=frames.stored_end)
    tail = read_tail(in_body(data, frames.stored_end), body_size=frames.stored_end + len(data))
    return tail, data[tail.index_span.start - tail.offset : tail.index_span.stop - tail.offset]
