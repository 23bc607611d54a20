"""Trailers: what is written reads back, from as much of the end as one has, and nothing else is believed."""

import copy
import pickle
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from s4_format import (
    FOOTER_BYTES,
    LEAF_FRAMES,
    SINGLE_LEVEL_FRAMES,
    SUFFIX_BYTES,
    TAIL_BYTES,
    Attributes,
    FrameTable,
    Padding,
    Part,
    Reason,
    Span,
    Tail,
    Trailer,
    TrailerError,
    encode_trailer,
    iter_items,
    lookup_range,
    read_tail,
    read_trailer,
    trailer_size,
)
from s4_format.testing import trailers

from . import golden_files, slow_trailer, trailer_cases
from .trailer_cases import in_body

GOLDEN = trailer_cases.golden()


def by_name(case: dict[str, Any]) -> str:
    """Test ids are case names."""
    return str(case["name"])


def cut(encoded: bytes, tail: Tail, span: Span) -> bytes:
    """The bytes of a span of the body out of the whole trailer."""
    return encoded[span.start - tail.offset : span.stop - tail.offset]


def plain(trailer: Trailer) -> dict[str, Any]:
    """A trailer in the notation of the slow reader."""
    attributes = trailer.attributes
    singles = {name: getattr(attributes, name) for name in ("logical_etag", "checksum_type", "part_algorithm")}
    return {
        "original_size": attributes.original_size,
        "checksums": dict(attributes.checksums),
        "extra": dict(attributes.extra),
        **{name: value for name, value in singles.items() if value is not None},
        "parts": [(part.number, part.original_size, part.checksum) for part in trailer.parts],
        "frames": [tuple(entry) for entry in trailer.frames],
        "directory": len(trailer.frames) > SINGLE_LEVEL_FRAMES,
    }


@pytest.mark.parametrize("case", GOLDEN, ids=by_name)
def test_golden_bytes(case: dict[str, Any]) -> None:
    """Golden trailers are written byte for byte and read to the values they describe."""
    data = golden_files.read(case["file"])
    trailer = trailer_cases.build(case)
    body_size = case["offset"] + len(data)

    assert encode_trailer(trailer, offset=case["offset"]) == data
    assert read_trailer(in_body(data, case["offset"]), body_size=body_size) == trailer


@pytest.mark.parametrize("case", GOLDEN, ids=by_name)
def test_golden_bytes_by_the_documented_layout(case: dict[str, Any]) -> None:
    """A reader that knows nothing but the documentation reads the same values."""
    assert slow_trailer.read(golden_files.read(case["file"]), case["offset"]) == plain(trailer_cases.build(case))


@given(drawn=trailers())
def test_round_trip(drawn: tuple[Trailer, int]) -> None:
    """Any trailer reads back equal, in this package and by the documented layout; its size was known beforehand."""
    trailer, offset = drawn
    data = encode_trailer(trailer, offset=offset)

    assert len(data) == trailer_size(trailer, offset=offset)
    assert read_trailer(in_body(data, offset), body_size=offset + len(data)) == trailer
    assert slow_trailer.read(data, offset) == plain(trailer)


@given(drawn=trailers())
def test_deterministic(drawn: tuple[Trailer, int]) -> None:
    """Equal values give equal bytes, in whatever order the mappings were filled."""
    trailer, offset = drawn
    attributes = trailer.attributes
    reordered = Attributes(
        attributes.original_size,
        attributes.logical_etag,
        dict(reversed(list(attributes.checksums.items()))),
        attributes.checksum_type,
        attributes.part_algorithm,
        dict(reversed(list(attributes.extra.items()))),
    )
    again = Trailer(reordered, trailer.parts, FrameTable.from_entries(trailer.frames))

    assert again == trailer
    assert encode_trailer(again, offset=offset) == encode_trailer(trailer, offset=offset)


@given(drawn=trailers())
def test_is_one_padding_item(drawn: tuple[Trailer, int]) -> None:
    """To readers that know no trailers it is padding."""
    trailer, offset = drawn
    data = encode_trailer(trailer, offset=offset)
    (item,) = iter_items(data)

    assert isinstance(item, Padding)
    assert item.stored_size == len(data)


@given(drawn=trailers(), more=st.integers(0, 3000))
def test_every_suffix_long_enough_proves_the_attributes(drawn: tuple[Trailer, int], more: int) -> None:
    """The last 1 KiB of a body, or the whole body if it is shorter, give the attributes and where the rest lies."""
    trailer, offset = drawn
    data = encode_trailer(trailer, offset=offset)
    body_size = offset + len(data)
    tail = read_tail(in_body(data, offset, TAIL_BYTES + more), body_size=body_size)

    assert tail.attributes == trailer.attributes
    assert (tail.offset, tail.body_size) == (offset, body_size)
    assert (tail.frame_count, tail.part_count) == (len(trailer.frames), len(trailer.parts))
    assert tail.frames(cut(data, tail, tail.index_span)) == trailer.frames
    assert tail.parts(cut(data, tail, tail.part_span)) == trailer.parts
    assert not tail.two_level
    with pytest.raises(ValueError, match="one level"):
        tail.directory(b"")


@given(drawn=trailers(), missing=st.integers(1, 1000))
def test_suffix_of_wrong_length_is_refused(drawn: tuple[Trailer, int], missing: int) -> None:
    """Fewer bytes than the last 1 KiB, or more than the body has, are a mistake of the caller."""
    trailer, offset = drawn
    data = encode_trailer(trailer, offset=offset)
    body_size = offset + len(data)
    suffix = in_body(data, offset, TAIL_BYTES)

    for wrong in (suffix[missing:], bytes(missing) + data[-body_size:] if body_size <= len(data) else b""):
        with pytest.raises(ValueError, match="suffix"):
            read_tail(wrong, body_size=body_size)


def test_spans_are_cut_out_of_a_suffix() -> None:
    """A span that the suffix holds comes as a view; one that begins before it is None, and reading the whole trailer refused."""
    frames = trailer_cases.uneven(1500)
    data = encode_trailer(trailer_cases.of(frames), offset=frames.stored_end)
    body_size = frames.stored_end + len(data)
    short, long = (in_body(data, frames.stored_end, size) for size in (TAIL_BYTES, SUFFIX_BYTES))
    tail = read_tail(short, body_size=body_size)

    assert tail.cut(short, tail.index_span) is None
    assert bytes(tail.cut(long, tail.index_span) or b"") == cut(data, tail, tail.index_span)
    assert bytes(tail.cut(short, tail.part_span) or b"none") == b"none"
    with pytest.raises(ValueError, match="reach back"):
        read_trailer(short, body_size=body_size)


@pytest.mark.parametrize(
    "count", [0, 1, LEAF_FRAMES - 1, LEAF_FRAMES, LEAF_FRAMES + 1, SINGLE_LEVEL_FRAMES, SINGLE_LEVEL_FRAMES + 1, 20_000]
)
def test_counts_around_the_borders(count: int) -> None:
    """Indexes of any number of leaves read back; there is a directory exactly above 16,384 frames."""
    frames = trailer_cases.uneven(count, padded_every=700)
    trailer = trailer_cases.of(frames)
    offset = frames.stored_end + 12
    data = encode_trailer(trailer, offset=offset)
    tail = read_tail(in_body(data, offset), body_size=offset + len(data))

    assert read_trailer(in_body(data, offset, 2**20), body_size=offset + len(data)) == trailer
    assert tail.two_level == (count > SINGLE_LEVEL_FRAMES)


@pytest.mark.parametrize("parts", [0, 10_000])
def test_64_kib_hold_what_a_range_needs(parts: int) -> None:
    """Whatever the object, the last 64 KiB hold attributes and directory; up to 16,384 plain frames, the index too."""
    sizes = [2**20] * 20_000
    frames = FrameTable.from_sizes((size, 200_000 + number % 9999) for number, size in enumerate(sizes))
    table = tuple(Part(number + 1, 2 * 2**20, bytes(32)) for number in range(parts))
    trailer = Trailer(Attributes(frames.original_size, part_algorithm="sha256"), table, frames)
    data = encode_trailer(trailer, offset=frames.stored_end)
    suffix = in_body(data, frames.stored_end, SUFFIX_BYTES)
    tail = read_tail(suffix, body_size=frames.stored_end + len(data))
    assert tail.cut(suffix, tail.directory_span) is not None

    small = FrameTable.from_sizes((size, 200_000 + number % 9999) for number, size in enumerate(sizes[:SINGLE_LEVEL_FRAMES]))
    data = encode_trailer(trailer_cases.of(small), offset=small.stored_end)
    suffix = in_body(data, small.stored_end, SUFFIX_BYTES)
    tail = read_tail(suffix, body_size=small.stored_end + len(data))
    assert tail.cut(suffix, tail.index_span) is not None


@pytest.fixture(scope="module")
def two_levels() -> tuple[FrameTable, bytes, Tail]:
    """A table of 20 leaves with padding, its trailer, and the tail of it."""
    frames = trailer_cases.uneven(20_000, padded_every=333)
    data = encode_trailer(trailer_cases.of(frames), offset=frames.stored_end)
    return frames, data, read_tail(in_body(data, frames.stored_end), body_size=frames.stored_end + len(data))


@given(pick=st.data())
def test_range_through_the_directory(two_levels: tuple[FrameTable, bytes, Tail], pick: st.DataObject) -> None:
    """The leaves of a range give the same plan as the whole index, up to the numbering of frames."""
    frames, data, tail = two_levels
    directory = tail.directory(cut(data, tail, tail.directory_span))
    start = pick.draw(st.integers(0, frames.original_size - 1))
    stop = pick.draw(st.integers(start + 1, min(frames.original_size, start + 5 * 2**30)))
    span = directory.leaf_span(start, stop)
    some = directory.frames(cut(data, tail, span), start, stop)
    plan, whole = lookup_range(some, start, stop), lookup_range(frames, start, stop)

    assert plan is not None
    assert whole is not None
    assert [some[number] for number in (plan.first, plan.last)] == [frames[number] for number in (whole.first, whole.last)]
    assert plan.last - plan.first == whole.last - whole.first
    assert (plan.stored_start, plan.stored_end, plan.slice_start, plan.slice_end) == (
        whole.stored_start,
        whole.stored_end,
        whole.slice_start,
        whole.slice_end,
    )
    assert directory.leaf_span(start) == directory.leaf_span(start, start + 1)
    assert len(directory.frames(cut(data, tail, directory.leaf_span(start)), start)) <= LEAF_FRAMES


def test_one_leaf_of_a_huge_object_is_small(two_levels: tuple[FrameTable, bytes, Tail]) -> None:
    """A range in the middle needs one leaf of a few KiB."""
    frames, data, tail = two_levels
    directory = tail.directory(cut(data, tail, tail.directory_span))

    assert directory.leaf_span(frames.original_size // 2).size < 8192


@pytest.mark.parametrize(("start", "stop"), [(-1, 1), (5, 5), (6, 5), (0, 2**63)])
def test_directory_refuses_ranges_outside_the_object(two_levels: tuple[FrameTable, bytes, Tail], start: int, stop: int) -> None:
    """Empty ranges and ranges outside the object are a mistake of the caller."""
    _, data, tail = two_levels
    directory = tail.directory(cut(data, tail, tail.directory_span))

    with pytest.raises(ValueError, match="range"):
        directory.leaf_span(start, stop)


def test_leaves_of_another_range_are_refused(two_levels: tuple[FrameTable, bytes, Tail]) -> None:
    """Bytes of other leaves are noticed, be it by length or by what the leaf says of its place."""
    _, data, tail = two_levels
    directory = tail.directory(cut(data, tail, tail.directory_span))
    first, second = (directory.leaf_span(at) for at in (3 * 2**30, 5 * 2**30))
    wrong = cut(data, tail, Span(second.start, second.start + first.size))

    with pytest.raises(TrailerError) as caught:
        directory.frames(cut(data, tail, first) + b"\0", 3 * 2**30)
    assert caught.value.reason is Reason.SPAN_MISMATCH
    with pytest.raises(TrailerError) as caught:
        directory.frames(wrong, 3 * 2**30)
    assert caught.value.reason in (Reason.WRONG_PLACE, Reason.CHECKSUM_MISMATCH, Reason.MALFORMED)


def test_whole_leaf_in_another_s_place_is_refused() -> None:
    """A leaf with a right checksum in the place of another is WRONG_PLACE."""
    frames = trailer_cases.table({"count": 20 * LEAF_FRAMES, "original_size": 100, "stored_size": 50})
    data = encode_trailer(trailer_cases.of(frames), offset=frames.stored_end)
    tail = read_tail(in_body(data, frames.stored_end), body_size=frames.stored_end + len(data))
    directory = tail.directory(cut(data, tail, tail.directory_span))
    third = directory.leaf_span(3 * LEAF_FRAMES * 100)
    index = cut(data, tail, tail.index_span)

    with pytest.raises(TrailerError) as caught:
        directory.frames(cut(data, tail, third), 4 * LEAF_FRAMES * 100)
    assert caught.value.reason is Reason.WRONG_PLACE
    with pytest.raises(TrailerError) as caught:
        tail.frames(index[third.size : 2 * third.size] + index[: third.size] + index[2 * third.size :])
    assert caught.value.reason is Reason.WRONG_PLACE


@pytest.mark.parametrize("case", GOLDEN, ids=by_name)
def test_every_changed_byte_is_noticed(case: dict[str, Any]) -> None:
    """No byte of a trailer can change without an error (of the largest one every seventh), be cut off its end or put behind it."""
    data = golden_files.read(case["file"])
    offset = case["offset"]
    for place in range(0, len(data), 7 if len(data) > 1000 else 1):
        changed = bytearray(data)
        changed[place] ^= 0x01
        with pytest.raises(TrailerError):
            read_trailer(in_body(bytes(changed), offset), body_size=offset + len(data))
    for shorter in range(min(len(data), 200)):
        with pytest.raises(TrailerError):
            read_trailer(in_body(data[:shorter], offset), body_size=offset + shorter)
    for junk in (b"\0", b"x" * 12, data):
        with pytest.raises(TrailerError):
            read_trailer(in_body(data + junk, offset), body_size=offset + len(data) + len(junk))


@pytest.mark.parametrize("shift", [-1, 1, 4096])
def test_trailer_of_another_body_is_refused(shift: int) -> None:
    """A whole trailer at another offset, or at the end of a body of another length, is WRONG_PLACE."""
    data = encode_trailer(trailer_cases.of(trailer_cases.uneven(3)), offset=trailer_cases.uneven(3).stored_end)
    offset = trailer_cases.uneven(3).stored_end + shift

    with pytest.raises(TrailerError) as caught:
        read_tail(in_body(data, offset), body_size=offset + len(data))
    assert caught.value.reason is Reason.WRONG_PLACE


@pytest.mark.parametrize("size", [0, 1, 59, 60, 71])
def test_body_too_short_for_a_trailer(size: int) -> None:
    """A body that could not hold a footer is HEADER_TRUNCATED."""
    with pytest.raises(TrailerError) as caught:
        read_tail(bytes(size), body_size=size)

    assert caught.value.reason is Reason.HEADER_TRUNCATED


def test_body_without_trailer() -> None:
    """Other bytes at the end are BAD_MAGIC, at the place of the footer."""
    with pytest.raises(TrailerError) as caught:
        read_tail(bytes(2000), body_size=10_000)

    assert (caught.value.reason, caught.value.offset) == (Reason.BAD_MAGIC, 10_000 - FOOTER_BYTES)


def test_sections_of_wrong_length_are_refused() -> None:
    """Every section must come as exactly the bytes of its span."""
    frames = trailer_cases.uneven(3)
    trailer = Trailer(Attributes(frames.original_size), (Part(1, frames.original_size),), frames)
    data = encode_trailer(trailer, offset=frames.stored_end)
    tail = read_tail(in_body(data, frames.stored_end), body_size=frames.stored_end + len(data))
    for read, span in ((tail.frames, tail.index_span), (tail.parts, tail.part_span)):
        for wrong in (b"", cut(data, tail, span)[:-1], cut(data, tail, span) + b"\0"):
            with pytest.raises(TrailerError) as caught:
                read(wrong)
            assert caught.value.reason is Reason.SPAN_MISMATCH


@pytest.mark.parametrize(
    ("frames", "original", "offset", "reason"),
    [
        ([(5, 33, 0)], 5, 34, Reason.NOT_TILED),
        ([(5, 33, 0)], 5, 44, Reason.NOT_TILED),
        ([(5, 33, 0)], 5, 32, Reason.NOT_TILED),
        ([], 0, 11, Reason.NOT_TILED),
        ([(5, 33, 0)], 6, 33, Reason.SIZE_MISMATCH),
        ([], 1, 0, Reason.SIZE_MISMATCH),
    ],
)
def test_frames_that_do_not_fill_the_body_cannot_be_written(frames: Any, original: int, offset: int, reason: Reason) -> None:
    """Gaps that padding cannot fill and sizes that do not add up are refused by the writer."""
    trailer = Trailer(Attributes(original), (), trailer_cases.table(frames))
    for write in (encode_trailer, trailer_size):
        with pytest.raises(TrailerError) as caught:
            write(trailer, offset=offset)
        assert caught.value.reason is reason


@pytest.mark.parametrize(
    "rows",
    [
        [(0, 5, 0, 33), (6, 5, 33, 33)],
        [(1, 5, 0, 33)],
        [(0, 5, 1, 33)],
        [(0, 5, 0, 33), (5, 6, 44, 33)],
        [(0, 5, 0, 27), (5, 6, 27, 33)],
    ],
    ids=["hole", "late", "early", "between", "short"],
)
def test_tables_of_sidecars_cannot_be_written(rows: list[tuple[int, int, int, int]]) -> None:
    """Holes in the object, and rows that are no frames with padding between them, are NOT_TILED."""
    frames = FrameTable.from_entries(rows)

    with pytest.raises(TrailerError) as caught:
        encode_trailer(trailer_cases.of(frames), offset=frames.stored_end)
    assert caught.value.reason is Reason.NOT_TILED


@pytest.mark.parametrize(
    ("parts", "reason"),
    [
        ([Part(1, 5)], Reason.SIZE_MISMATCH),
        ([Part(2, 5), Part(1, 5)], Reason.INVALID_VALUE),
        ([Part(1, 5), Part(1, 5)], Reason.INVALID_VALUE),
        ([Part(1, 5, b"1234"), Part(2, 5, b"12345678")], Reason.INVALID_VALUE),
    ],
)
def test_parts_that_do_not_make_the_object_are_refused(parts: list[Part], reason: Reason) -> None:
    """Parts out of order, twice, of another total, or with checksums of two lengths cannot make a trailer."""
    with pytest.raises(TrailerError) as caught:
        Trailer(Attributes(10), tuple(parts), FrameTable.from_sizes([(10, 38)]))

    assert caught.value.reason is reason


def test_parts_are_bounded() -> None:
    """More parts than S3 has are refused."""
    with pytest.raises(TrailerError) as caught:
        Trailer(Attributes(0), (Part(1, 0),) * 10_001, FrameTable.from_sizes([]))

    assert caught.value.reason is Reason.SIZE_LIMIT


@pytest.mark.parametrize(
    "fields",
    [{"number": 0}, {"number": 10_001}, {"original_size": -1}, {"original_size": 2**64}, {"checksum": b""}, {"checksum": bytes(65)}],
)
def test_impossible_parts_are_refused(fields: dict[str, Any]) -> None:
    """A part that could not be written cannot be made."""
    with pytest.raises(TrailerError) as caught:
        Part(**({"number": 1, "original_size": 0} | fields))

    assert caught.value.reason is Reason.INVALID_VALUE


@pytest.mark.parametrize(
    "fields",
    [
        {"original_size": -1},
        {"original_size": 2**64},
        {"logical_etag": ""},
        {"checksums": {"": "AAAA"}},
        {"checksums": {"sha256": ""}},
        {"extra": {"mine": "x"}},
        {"extra": {"S4-Upper": "x"}},
        {"extra": {"s4-surrogate": "\ud800"}},
        {"extra": {"s4-" + "k" * 253: "x"}},
    ],
)
def test_impossible_attributes_are_refused(fields: dict[str, Any]) -> None:
    """Empty texts, foreign keys and what is not Unicode cannot be written."""
    with pytest.raises(TrailerError) as caught:
        Attributes(**({"original_size": 0} | fields))

    assert caught.value.reason is Reason.INVALID_VALUE


def test_attributes_fit_into_the_last_kib() -> None:
    """Attributes of 964 bytes can be written and read from 1 KiB; one byte more is SIZE_LIMIT when they are made."""
    largest = Attributes(0, extra={"s4-long": "x" * (964 - 8 - 4 - 7)})
    data = encode_trailer(Trailer(largest, (), FrameTable.from_sizes([])), offset=5000)

    assert read_tail(in_body(data, 5000, TAIL_BYTES), body_size=5000 + len(data)).attributes == largest
    for value in ("x" * (964 - 8 - 4 - 7 + 1), "x" * 70_000):
        with pytest.raises(TrailerError) as caught:
            Attributes(0, extra={"s4-long": value})
        assert caught.value.reason in (Reason.SIZE_LIMIT, Reason.INVALID_VALUE)


def test_attributes_travel_and_are_frozen() -> None:
    """Attributes can be pickled and copied, and their mappings cannot be changed."""
    attributes = Attributes(5, "abc", {"crc32": "AAAA"}, "COMPOSITE", "sha1", {"s4-x": "y"})

    assert pickle.loads(pickle.dumps(attributes)) == copy.deepcopy(attributes) == attributes
    with pytest.raises(TypeError):
        attributes.checksums["sha1"] = "x"  # type: ignore[index]


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
def test_any_buffer(kind: type) -> None:
    """bytes, bytearray and memoryview are read alike."""
    case = GOLDEN[3]
    data = kind(in_body(golden_files.read(case["file"]), case["offset"]))

    assert read_trailer(data, body_size=case["offset"] + len(golden_files.read(case["file"]))) == trailer_cases.build(case)


def test_body_length_is_bounded() -> None:
    """A body that 64 bits cannot describe is refused."""
    with pytest.raises(TrailerError) as caught:
        encode_trailer(Trailer(Attributes(0), (), FrameTable.from_sizes([])), offset=2**64 - 20)

    assert caught.value.reason is Reason.INVALID_VALUE
