"""Frame tables and their builder."""

import copy
import pickle
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from s4_format import MAX_TABLE_FRAMES, FrameEntry, FrameError, FrameTable, FrameTableBuilder, Reason, scan_frames
from s4_format.testing import BodyItem, bodies, frame_tables, gapped_frame_tables

HUGE = 2**64 - 1


def reason_of(entries: list[tuple[int, int, int, int]]) -> Reason:
    """Why a table of these rows is refused."""
    with pytest.raises(FrameError) as caught:
        FrameTable.from_entries(entries)
    return caught.value.reason


def test_rows_come_back() -> None:
    """Length, index from both ends, iteration and the two ends agree with the rows given."""
    rows = [(0, 5, 0, 33), (5, 0, 40, 28), (5, 7, 68, 100)]
    table = FrameTable.from_entries(rows)

    assert len(table) == 3
    assert [tuple(entry) for entry in table] == rows
    assert table[1] == FrameEntry(5, 0, 40, 28)
    assert table[-1].stored_end == table.stored_end == 168
    assert table[-1].original_end == table.original_size == 12
    with pytest.raises(IndexError):
        table[3]


def test_empty_table() -> None:
    """A table without frames has no bytes and finds nothing."""
    table = FrameTable.from_sizes([])

    assert (len(table), table.original_size, table.stored_end, table.find(0)) == (0, 0, 0, None)


def test_equal_rows_make_equal_tables() -> None:
    """Tables compare and hash by their rows."""
    one, two = FrameTable.from_sizes([(5, 30), (6, 31)]), FrameTable.from_entries([(0, 5, 0, 30), (5, 6, 30, 31)])

    assert one == two
    assert hash(one) == hash(two)
    assert one != FrameTable.from_sizes([(5, 30), (6, 32)])
    assert one != [(0, 5, 0, 30), (5, 6, 30, 31)]


def test_tables_travel() -> None:
    """A table survives pickling and copying."""
    table = FrameTable.from_sizes([(5, 30), (6, 31)])

    assert pickle.loads(pickle.dumps(table)) == copy.deepcopy(table) == table


def test_repr_is_short() -> None:
    """A table of any length shows as one line."""
    assert repr(FrameTable.from_sizes([(5, 30)] * 1000)) == "<FrameTable of 1000 frames, 5000 bytes in 30000>"


@pytest.mark.parametrize(
    "rows",
    [
        [(0, 5, 0, 30), (4, 5, 30, 30)],
        [(0, 5, 0, 30), (5, 5, 29, 30)],
        [(5, 1, 0, 30), (0, 1, 30, 30)],
        [(0, 5, 0, 30), (5, 5, 30, 30), (9, 5, 60, 30)],
    ],
)
def test_overlapping_frames_are_refused(rows: list[tuple[int, int, int, int]]) -> None:
    """Frames that overlap or go back, in object or body, are NOT_MONOTONIC."""
    assert reason_of(rows) is Reason.NOT_MONOTONIC


@pytest.mark.parametrize(
    "rows", [[(HUGE, 1, 0, 30)], [(0, 1, HUGE, 30)], [(HUGE, 1, 0, 30), (0, 1, 0, 30)], [(2**64, 0, 0, 30)], [(-1, 0, 0, 30)]]
)
def test_numbers_beyond_64_bits_are_refused(rows: list[tuple[int, int, int, int]]) -> None:
    """An end beyond 64 bits is OFFSET_OVERFLOW, also where the order is wrong too."""
    assert reason_of(rows) is Reason.OFFSET_OVERFLOW


def test_last_byte_of_64_bits_is_legal() -> None:
    """A frame may end at 2^64 - 1."""
    assert FrameTable.from_entries([(HUGE - 1, 1, HUGE - 30, 30)]).original_size == HUGE


@given(table=gapped_frame_tables(), pick=st.data())
def test_find_is_the_frame_that_holds_the_byte(table: FrameTable, pick: st.DataObject) -> None:
    """`find` names the one frame around an offset, and nothing in gaps and outside."""
    offsets = [entry.original_offset + delta for entry in table for delta in (-1, 0, entry.original_size - 1, entry.original_size)]
    offset = pick.draw(st.sampled_from([*offsets, 0]) | st.integers(-1, 2**64))
    holders = [number for number, entry in enumerate(table) if entry.original_offset <= offset < entry.original_end]

    assert table.find(offset) == (holders[0] if holders else None)


@given(table=frame_tables())
def test_builder_makes_the_table(table: FrameTable) -> None:
    """Appending frames and skipping the gaps between them rebuilds a table."""
    builder = FrameTableBuilder()
    for entry in table:
        builder.skip(entry.stored_offset - builder.stored_size)
        builder.append(entry.original_size, entry.stored_size)

    assert builder.build() == table
    assert (len(builder), builder.original_size, builder.stored_size) == (len(table), table.original_size, table.stored_end)


@given(drawn=bodies())
def test_builder_hops_from_header_to_header(drawn: tuple[bytes, list[BodyItem]]) -> None:
    """Appending item after item of a body makes the table that a scan of it makes."""
    body, _ = drawn
    builder = FrameTableBuilder()
    while builder.stored_size < len(body):
        builder.append_item(body, builder.stored_size)

    assert builder.build() == scan_frames(body)[0]
    assert builder.stored_size == len(body)


def test_builder_refuses_what_is_no_item() -> None:
    """A place where neither frame nor padding begins is an error, and adds nothing."""
    builder = FrameTableBuilder()
    with pytest.raises(FrameError) as caught:
        builder.append_item(b"x" * 28, 0)

    assert caught.value.reason is Reason.BAD_MAGIC
    assert builder.stored_size == 0


def test_built_table_does_not_change() -> None:
    """A table that was built stays as it is when its builder goes on."""
    builder = FrameTableBuilder()
    builder.append(5, 30)
    table = builder.build()
    builder.append(6, 31)

    assert list(table) == [(0, 5, 0, 30)]


@given(first=frame_tables(max_frames=10), second=frame_tables(max_frames=10), tail=st.sampled_from((0, 12, 999)))
def test_extend_puts_bodies_behind_each_other(first: FrameTable, second: FrameTable, tail: int) -> None:
    """Extending by a body moves its frames behind what is there, padding at the end of a body included."""
    builder = FrameTableBuilder()
    builder.extend(first, stored_size=first.stored_end + tail)
    builder.extend(second)
    joined = builder.build()
    moved = [
        FrameEntry(e.original_offset + first.original_size, e.original_size, e.stored_offset + first.stored_end + tail, e.stored_size)
        for e in second
    ]

    assert list(joined) == [*first, *moved]
    assert builder.stored_size == first.stored_end + tail + second.stored_end


@pytest.mark.parametrize("stored_size", [29, 31, 41])
def test_extend_refuses_a_length_that_padding_cannot_fill(stored_size: int) -> None:
    """A body shorter than its frames, or longer by 1 to 11 bytes, is INVALID_VALUE."""
    with pytest.raises(FrameError) as caught:
        FrameTableBuilder().extend(FrameTable.from_sizes([(5, 30)]), stored_size=stored_size)

    assert caught.value.reason is Reason.INVALID_VALUE


@pytest.mark.parametrize(("original", "stored"), [(-1, 30), (5, 27), (5, -1)])
def test_builder_refuses_impossible_frames(original: int, stored: int) -> None:
    """No frame decodes to a negative size or is shorter than its header."""
    with pytest.raises(FrameError) as caught:
        FrameTableBuilder().append(original, stored)

    assert caught.value.reason is Reason.INVALID_VALUE


@pytest.mark.parametrize("size", [-1, 1, 11])
def test_builder_refuses_impossible_padding(size: int) -> None:
    """No padding takes 1 to 11 bytes, or fewer than none."""
    with pytest.raises(FrameError) as caught:
        FrameTableBuilder().skip(size)

    assert caught.value.reason is Reason.INVALID_VALUE


def test_builder_refuses_offsets_beyond_64_bits() -> None:
    """Sizes that add up beyond 64 bits are OFFSET_OVERFLOW, and the builder keeps what it had."""
    builder = FrameTableBuilder()
    builder.append(2**63, 2**63)
    half = builder.build()
    attempts: list[Callable[[], None]] = [
        lambda: builder.append(2**63, 28),
        lambda: builder.append(0, 2**63),
        lambda: builder.skip(2**63),
        lambda: builder.extend(half),
    ]
    for attempt in attempts:
        with pytest.raises(FrameError) as caught:
            attempt()
        assert caught.value.reason is Reason.OFFSET_OVERFLOW

    assert builder.build() == half


def test_frames_of_one_table_are_bounded() -> None:
    """2^20 frames are the most, for a builder as for a table."""
    builder = FrameTableBuilder()
    builder.append(1, 28)
    for _ in range(20):
        builder.extend(builder.build())
    assert len(builder) == MAX_TABLE_FRAMES

    attempts: list[Callable[[], None]] = [lambda: builder.append(1, 28), lambda: builder.extend(FrameTable.from_sizes([(1, 28)]))]
    for attempt in attempts:
        with pytest.raises(FrameError) as caught:
            attempt()
        assert caught.value.reason is Reason.TOO_MANY_FRAMES
    full = builder.build()
    with pytest.raises(FrameError) as caught:
        FrameTable.from_entries([*full, (full.original_size, 1, full.stored_end, 28)])
    assert caught.value.reason is Reason.TOO_MANY_FRAMES
