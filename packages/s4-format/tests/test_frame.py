"""Frames and padding in a buffer that is there as a whole."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from s4_format import (
    CodecId,
    Frame,
    FrameError,
    FrameHeader,
    Padding,
    Reason,
    iter_frames,
    iter_items,
    pad_to_minimum,
    padding_for,
    padding_header,
    parse_frame_header,
    parse_padding_header,
    read_frame,
)
from s4_format.testing import BodyItem, bodies, frame_headers

from . import golden_files

REASONS = {
    "TooShort": Reason.HEADER_TRUNCATED,
    "BadMagic": Reason.BAD_MAGIC,
    "UnknownCodec": Reason.UNKNOWN_CODEC,
    "PayloadTruncated": Reason.PAYLOAD_TRUNCATED,
}
HEADER = FrameHeader(CodecId.CPU_GZIP, 0x0102030405060708, 5, 0xA1B2C3D4)
PACKED = bytes.fromhex("53344632 07000000 0807060504030201 0500000000000000 d4c3b2a1")


def as_golden(outcome: str) -> str:
    """A golden outcome with the reference's error name replaced by our reason."""
    return outcome if outcome[0].isdigit() else REASONS[outcome.split(":", maxsplit=1)[0]]


def numbers(header: FrameHeader, *more: int) -> str:
    """The golden notation of a frame."""
    return "/".join(map(str, (int(header.codec), header.original_size, header.payload_size, header.crc32c, *more)))


def read_one(data: bytes) -> str:
    """Outcome of `read_frame` in golden notation."""
    try:
        header, payload, rest = read_frame(data)
    except FrameError as error:
        return error.reason
    return numbers(header, len(payload), len(rest))


def read_all(data: bytes) -> list[str]:
    """Outcome of `iter_frames` in golden notation."""
    outcome = []
    try:
        for frame in iter_frames(data):
            outcome.append(numbers(frame.header, len(frame.payload)))  # noqa: PERF401 (what came before an error counts)
    except FrameError as error:
        outcome.append(error.reason)
    return outcome


def matches(item: Frame | Padding, drawn: BodyItem) -> bool:
    """Whether an item that was read is the one that was written."""
    if isinstance(item, Frame):
        return (item.header, bytes(item.payload), item.offset) == (drawn.header, drawn.content, drawn.offset)
    return drawn.header is None and (bytes(item.payload), item.offset, item.size) == (drawn.content, drawn.offset, len(drawn.content))


def test_golden_cases() -> None:
    """Every input of the reference's table has its outcome, one frame and whole body."""
    for row in golden_files.rows("cases/frame_cases.jsonl"):
        data = bytes.fromhex(row["hex"])

        assert read_one(data) == as_golden(row["read_frame"]), row
        assert read_all(data) == [as_golden(outcome) for outcome in row["frame_iter"].split(",") if outcome], row


def test_header_bytes() -> None:
    """A header packs to the documented layout and parses back."""
    assert HEADER.pack() == PACKED
    assert parse_frame_header(PACKED) == HEADER
    assert HEADER.stored_size == 33


@given(header=frame_headers(), before=st.binary(max_size=9), behind=st.binary(max_size=9))
def test_header_round_trip(header: FrameHeader, before: bytes, behind: bytes) -> None:
    """Any header parses back from any place in any surroundings."""
    assert parse_frame_header(before + header.pack() + behind, len(before)) == header


@pytest.mark.parametrize("length", range(28))
def test_header_cut_at_every_length(length: int) -> None:
    """A header that is not there as a whole is HEADER_TRUNCATED, at its own offset."""
    with pytest.raises(FrameError) as caught:
        parse_frame_header(b"xyz" + PACKED[:length], 3)

    assert (caught.value.reason, caught.value.offset) == (Reason.HEADER_TRUNCATED, 3)


@pytest.mark.parametrize("codec", [9, 63, 67, 2**32 - 1])
def test_unlisted_codec_ids_are_refused(codec: int) -> None:
    """An id that is neither 0 to 8 nor a listed extension is UNKNOWN_CODEC, and its place is named."""
    with pytest.raises(FrameError) as caught:
        parse_frame_header(PACKED[:4] + codec.to_bytes(4, "little") + PACKED[8:])

    assert (caught.value.reason, caught.value.offset) == (Reason.UNKNOWN_CODEC, 4)


@pytest.mark.parametrize("codec", CodecId)
def test_every_listed_codec_id_is_read(codec: CodecId) -> None:
    """Listed ids parse, the extension too."""
    assert parse_frame_header(FrameHeader(codec, 1, 2, 3).pack()).codec is codec


@pytest.mark.parametrize("field", ["original_size", "payload_size", "crc32c"])
@pytest.mark.parametrize("value", [-1, 2**64])
def test_header_refuses_numbers_that_do_not_fit(field: str, value: int) -> None:
    """A header that could not be written cannot be made."""
    fields: dict[str, Any] = {"codec": CodecId.CPU_ZSTD, "original_size": 0, "payload_size": 0, "crc32c": 0, field: value}

    with pytest.raises(FrameError) as caught:
        FrameHeader(**fields)

    assert caught.value.reason is Reason.INVALID_VALUE


@given(drawn=bodies())
def test_items_come_back(drawn: tuple[bytes, list[BodyItem]]) -> None:
    """A written body reads back item by item, with offsets and payloads; frames alone leave the padding out."""
    data, items = drawn
    found = list(iter_items(data))

    assert len(found) == len(items)
    assert all(map(matches, found, items))
    assert list(iter_frames(data)) == [item for item in found if isinstance(item, Frame)]


@given(drawn=bodies(max_items=4, max_content=20))
def test_cut_at_every_offset(drawn: tuple[bytes, list[BodyItem]]) -> None:
    """A body cut between two items is a shorter body; cut anywhere else it is an error, after the whole items before the cut."""
    data, items = drawn
    borders = {item.offset for item in items} | {len(data)}
    for length in range(len(data) + 1):
        found: list[Frame | Padding] = []
        try:
            for item in iter_items(data[:length]):
                found.append(item)  # noqa: PERF402 (what came before an error counts)
            broken = None
        except FrameError as error:
            broken = error

        assert all(map(matches, found, items))
        assert len(found) == sum(item.offset + len(item.stored) <= length for item in items)
        if length in borders:
            assert broken is None
        else:
            assert broken is not None
            assert broken.reason in (Reason.HEADER_TRUNCATED, Reason.PAYLOAD_TRUNCATED)


@given(drawn=bodies(max_items=3), junk=st.binary(min_size=1, max_size=60))
def test_trailing_junk(drawn: tuple[bytes, list[BodyItem]], junk: bytes) -> None:
    """Junk behind the last item is an error at its own offset, never passed over; the items before it are good."""
    data, items = drawn
    if junk.startswith((b"S4F2", b"S4P1")):
        return
    found = iter_items(data + junk)

    assert all(matches(next(found), item) for item in items)
    with pytest.raises(FrameError) as caught:
        next(found)
    assert caught.value.offset == len(data)


def test_payloads_are_views() -> None:
    """Payloads share memory with the buffer they were found in."""
    buffer = bytearray(PACKED + b"hello")
    header, payload, rest = read_frame(buffer)
    buffer[28] = ord("j")

    assert (header, bytes(payload), bytes(rest)) == (HEADER, b"jello", b"")


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
def test_any_buffer(kind: type) -> None:
    """bytes, bytearray and memoryview are read alike."""
    assert [bytes(frame.payload) for frame in iter_frames(kind(PACKED + b"hello"))] == [b"hello"]


def test_wide_memoryview_is_read_as_bytes() -> None:
    """A memoryview of wider items counts as its bytes."""
    assert parse_frame_header(memoryview(PACKED).cast("I")) == HEADER


def test_golden_padding_cases() -> None:
    """Padding to a minimum has the reference's length and header for every case, and zeros as content."""
    for case in golden_files.rows("cases/pad_cases.json"):
        buffer = bytearray(b"x" * case["len"])
        pad_to_minimum(buffer, case["min"])
        added = bytes(buffer[case["len"] :])

        assert len(buffer) == case["result_len"]
        assert added[:12].hex() == case["pad_header_hex"]
        assert not added[12:].strip(b"\0")


@given(size=st.integers(0, 2**63), minimum=st.integers(0, 2**63))
def test_padding_reaches_the_minimum(size: int, minimum: int) -> None:
    """With the padding named, the minimum is reached, exactly unless fewer than 12 bytes were missing."""
    content = padding_for(size, minimum)
    if size >= minimum:
        assert content is None
    else:
        assert content is not None
        total = size + 12 + content
        assert total == max(minimum, size + 12)


def test_padding_header_bytes() -> None:
    """A padding header has the documented layout and parses back."""
    assert padding_header(0x0102) == b"S4P1\x02\x01" + bytes(6)
    assert parse_padding_header(b"ab" + padding_header(0x0102), 2) == 0x0102


@pytest.mark.parametrize("size", [-1, 2**64])
def test_padding_header_refuses_impossible_sizes(size: int) -> None:
    """A size that the field cannot hold is INVALID_VALUE."""
    with pytest.raises(FrameError) as caught:
        padding_header(size)

    assert caught.value.reason is Reason.INVALID_VALUE


@pytest.mark.parametrize(("data", "reason"), [(b"S4P1", Reason.HEADER_TRUNCATED), (PACKED, Reason.BAD_MAGIC)])
def test_padding_header_refuses_other_bytes(data: bytes, reason: Reason) -> None:
    """What is no padding header is told apart from one that is cut short."""
    with pytest.raises(FrameError) as caught:
        parse_padding_header(data)

    assert caught.value.reason is reason
