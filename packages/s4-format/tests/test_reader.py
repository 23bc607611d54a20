"""The incremental reader: same items and errors as a whole body, whatever the pieces."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from s4_format import (
    END,
    NEED_DATA,
    CodecId,
    Frame,
    FrameError,
    FrameHeader,
    FrameReader,
    Padding,
    Reason,
    iter_items,
    padding_header,
)
from s4_format.testing import BodyItem, bodies, cut_anywhere, pieces, read_items

from . import golden_files
from .test_frame import matches

ANY_SIZE = 2**64
FRAME = FrameHeader(CodecId.CPU_ZSTD, 50, 5, 9).pack() + b"hello"


def outcome(data: bytes, size: int) -> tuple[list[tuple[object, ...]], Reason | None]:
    """What the reader makes of `data` fed in pieces of this size."""
    reader = FrameReader(max_original_size=ANY_SIZE, max_payload_size=ANY_SIZE)
    found: list[tuple[object, ...]] = []
    try:
        for item in read_items(reader, pieces(data, size)):
            found.append(_facts(item))  # noqa: PERF401 (what came before an error counts)
    except FrameError as error:
        return found, error.reason
    return found, None


def whole(data: bytes) -> tuple[list[tuple[object, ...]], Reason | None]:
    """What the reader of whole buffers makes of `data`."""
    found: list[tuple[object, ...]] = []
    try:
        for item in iter_items(data):
            found.append(_facts(item))  # noqa: PERF401 (what came before an error counts)
    except FrameError as error:
        return found, error.reason
    return found, None


def _facts(item: Frame | Padding) -> tuple[object, ...]:
    header = item.header if isinstance(item, Frame) else item.size
    return item.offset, header, bytes(item.payload)


@pytest.mark.parametrize("size", [1, 7, 13, 10**6])
def test_golden_cases_in_pieces(size: int) -> None:
    """Every golden input gives the same items and the same error in pieces as in one."""
    for row in golden_files.rows("cases/frame_cases.jsonl"):
        data = bytes.fromhex(row["hex"])

        assert outcome(data, size) == whole(data), row


@given(drawn=bodies(), pick=st.data())
def test_any_cuts(drawn: tuple[bytes, list[BodyItem]], pick: st.DataObject) -> None:
    """A body cut at any places, empty pieces among them, gives its items with offsets from the body's start."""
    data, items = drawn
    reader = FrameReader(offset=1000)
    found = list(read_items(reader, pick.draw(cut_anywhere(data))))

    assert [item.offset - 1000 for item in found] == [item.offset for item in items]
    assert [bytes(item.payload) for item in found] == [item.content for item in items]
    assert reader.offset == 1000 + len(data)


@given(drawn=bodies(max_items=3, max_content=20))
def test_cut_short_at_every_offset(drawn: tuple[bytes, list[BodyItem]]) -> None:
    """A body that ends early, fed byte by byte, gives its whole items and then an error, unless it ends between two."""
    data, items = drawn
    borders = {item.offset for item in items} | {len(data)}
    for length in range(len(data) + 1):
        found, reason = outcome(data[:length], 1)

        assert len(found) == sum(item.offset + len(item.stored) <= length for item in items)
        assert (reason is None) == (length in borders)


@given(drawn=bodies(max_items=3))
def test_unread_items_survive_close(drawn: tuple[bytes, list[BodyItem]]) -> None:
    """Everything fed before close is still handed out after it, then END for ever."""
    data, items = drawn
    reader = FrameReader()
    reader.feed(data)
    reader.close()
    for item in items:
        found = reader.next_item()
        assert isinstance(found, Frame | Padding)
        assert matches(found, item)

    assert reader.next_item() is END
    assert reader.next_item() is END


def test_close_reports_a_cut_item_when_all_is_read() -> None:
    """After the pieces are used up, close itself says that the body is cut short, and so does every later call."""
    reader = FrameReader()
    reader.feed(FRAME[:-1])
    assert reader.next_item() is NEED_DATA

    with pytest.raises(FrameError) as caught:
        reader.close()
    assert (caught.value.reason, caught.value.offset) == (Reason.PAYLOAD_TRUNCATED, 0)
    with pytest.raises(FrameError):
        reader.next_item()


def test_cut_item_behind_unread_ones() -> None:
    """A cut item behind unread ones is reported by next_item when its turn comes."""
    reader = FrameReader()
    reader.feed(FRAME + FRAME[:3])
    reader.close()

    assert isinstance(reader.next_item(), Frame)
    with pytest.raises(FrameError) as caught:
        reader.next_item()
    assert (caught.value.reason, caught.value.offset) == (Reason.HEADER_TRUNCATED, len(FRAME))


def test_stays_broken() -> None:
    """After an error every call raises the same again, whatever is fed."""
    reader = FrameReader()
    reader.feed(b"x" * 28)
    for _ in range(2):
        with pytest.raises(FrameError) as caught:
            reader.next_item()
        assert caught.value.reason is Reason.BAD_MAGIC
        reader.feed(FRAME)


def test_feed_after_close_is_refused() -> None:
    """Bytes behind the declared end are a mistake of the caller."""
    reader = FrameReader()
    reader.close()

    with pytest.raises(ValueError, match="close"):
        reader.feed(b"x")


@pytest.mark.parametrize(
    ("header", "limits"),
    [
        (FrameHeader(CodecId.CPU_ZSTD, 101, 10, 0), {"max_original_size": 100}),
        (FrameHeader(CodecId.CPU_ZSTD, 10, 101, 0), {"max_payload_size": 100}),
    ],
    ids=["original", "payload"],
)
def test_limits_are_checked_before_the_payload(header: FrameHeader, limits: dict[str, int]) -> None:
    """A frame above a bound is refused when its header is there; one at the bound is read."""
    reader = FrameReader(**limits)
    reader.feed(header.pack())

    with pytest.raises(FrameError) as caught:
        reader.next_item()
    assert caught.value.reason is Reason.SIZE_LIMIT

    at_limit = FrameReader(**limits)
    at_limit.feed(FrameHeader(CodecId.CPU_ZSTD, min(header.original_size, 100), min(header.payload_size, 100), 0).pack() + bytes(100))
    assert isinstance(at_limit.next_item(), Frame)


def test_default_limits() -> None:
    """A frame above 5 GiB is refused unless the caller allows it."""
    reader = FrameReader()
    reader.feed(FrameHeader(CodecId.CPU_ZSTD, 5 * 2**30 + 1, 0, 0).pack())

    with pytest.raises(FrameError) as caught:
        reader.next_item()
    assert caught.value.reason is Reason.SIZE_LIMIT


@pytest.mark.parametrize("size", [1, 5, 1000])
def test_large_padding_is_skipped(size: int) -> None:
    """Padding above the bound comes without content, at the bound with it; what follows is read."""
    for kept in (20, 19):
        reader = FrameReader(max_kept_padding=kept)
        padding, frame = read_items(reader, pieces(padding_header(20) + b"p" * 20 + FRAME, size))

        assert isinstance(padding, Padding)
        assert (padding.offset, padding.size, padding.stored_size) == (0, 20, 32)
        assert bytes(padding.payload) == (b"p" * 20 if kept == 20 else b"")
        assert (frame.offset, bytes(frame.payload)) == (32, b"hello")


def test_cut_in_skipped_padding() -> None:
    """A body that ends inside padding that is being skipped is an error."""
    reader = FrameReader(max_kept_padding=0)
    reader.feed(padding_header(20) + bytes(19))
    reader.close()

    with pytest.raises(FrameError) as caught:
        reader.next_item()
    assert caught.value.reason is Reason.PAYLOAD_TRUNCATED


def test_payload_in_one_piece_is_not_copied() -> None:
    """A payload that lies in one piece is a view of it; one that spans pieces is one buffer."""
    piece = bytearray(FRAME)
    reader = FrameReader()
    reader.feed(piece)
    frame = reader.next_item()
    assert isinstance(frame, Frame)
    piece[-1] = ord("!")
    assert bytes(frame.payload) == b"hell!"

    reader.feed(FRAME[:30])
    assert reader.next_item() is NEED_DATA
    reader.feed(FRAME[30:])
    frame = reader.next_item()
    assert isinstance(frame, Frame)
    assert frame.payload.contiguous
    assert bytes(frame.payload) == b"hello"


def test_empty_body_ends_well() -> None:
    """No bytes are a whole body."""
    reader = FrameReader()
    assert reader.next_item() is NEED_DATA
    reader.close()

    assert reader.next_item() is END
