"""Byte ranges."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from s4_gateway.errors import S3Error
from s4_gateway.wire.ranges import ByteRange, content_range, parse_copy_range, parse_range

SIZES = st.integers(0, 2**43)


@pytest.mark.parametrize(
    ("value", "span"),
    [
        ("bytes=0-", (0, 10)),
        ("bytes=0-0", (0, 1)),
        ("bytes=3-5", (3, 6)),
        ("bytes=9-", (9, 10)),
        ("bytes=5-99999999999999999999999999", (5, 10)),
        ("bytes=-3", (7, 10)),
        ("bytes=-10", (0, 10)),
        ("bytes=-99999999999999999999999999", (0, 10)),
        ("Bytes=3-5", (3, 6)),
        (" bytes = 3-5 ", (3, 6)),
    ],
)
def test_ranges_of_ten_bytes(value: str, span: tuple[int, int]) -> None:
    """Every form of one range gives its half-open span, cut at the end of the object."""
    parsed = parse_range(value)
    assert parsed is not None
    assert parsed.resolve(10) == span


@pytest.mark.parametrize("value", ["bytes=10-", "bytes=10-20", "bytes=-0", "bytes=99999999999999999999999999-"])
def test_ranges_without_a_byte_are_refused(value: str) -> None:
    """A well-formed range that holds no byte is 416 with the real size."""
    parsed = parse_range(value)
    assert parsed is not None
    with pytest.raises(S3Error) as caught:
        parsed.resolve(10)
    assert (caught.value.code, caught.value.status) == ("InvalidRange", 416)
    assert caught.value.headers == {"content-range": "bytes */10"}
    assert caught.value.fields["ActualObjectSize"] == "10"


@pytest.mark.parametrize("value", ["bytes=0-", "bytes=0-0", "bytes=-5"])
def test_no_range_fits_an_empty_object(value: str) -> None:
    """S3 answers 416 for every range of an empty object, suffixes included."""
    parsed = parse_range(value)
    assert parsed is not None
    with pytest.raises(S3Error, match="InvalidRange"):
        parsed.resolve(0)


@pytest.mark.parametrize(
    "value",
    [
        None,
        "",
        "bytes",
        "bytes=",
        "bytes=-",
        "bytes=5-2",
        "bytes=a-b",
        "bytes=0-1,3-4",
        "bytes=0-1,",
        "items=0-1",
        "bytes=+1-2",
        "bytes=1-2-3",
        "bytes=\u0661-2",
        "0-1",
    ],
)
def test_other_values_are_ignored(value: str | None) -> None:
    """What S3 does not understand, several ranges included, gives the whole object."""
    assert parse_range(value) is None


@given(SIZES, st.integers(0, 2**43), st.integers(0, 2**43))
def test_spans_lie_inside(size: int, first: int, length: int) -> None:
    """A span is never empty, never leaves the object, and begins where asked."""
    parsed = parse_range(f"bytes={first}-{first + length}")
    assert parsed is not None
    try:
        start, stop = parsed.resolve(size)
    except S3Error:
        assert first >= size
    else:
        assert start == first < stop == min(size, first + length + 1)


@given(SIZES, st.integers(0, 2**43))
def test_suffixes_are_the_end(size: int, length: int) -> None:
    """A suffix has as many of the last bytes as there are."""
    parsed = parse_range(f"bytes=-{length}")
    assert parsed is not None
    try:
        start, stop = parsed.resolve(size)
    except S3Error:
        assert not size or not length
    else:
        assert (stop, stop - start) == (size, min(size, length))


@given(st.text() | st.from_regex(r"bytes=[0-9,\- ]*", fullmatch=True))
def test_any_value_is_read_or_ignored(value: str) -> None:
    """No value breaks the parser, and what it reads it writes back with the same meaning."""
    parsed = parse_range(value)
    assert parsed is None or parse_range(str(parsed)) == parsed


def test_copy_ranges_must_be_complete() -> None:
    """A part copy takes `bytes=first-last` and nothing else."""
    assert parse_copy_range(None) is None
    parsed = parse_copy_range("bytes=0-9")
    assert parsed == ByteRange(0, 10)
    assert parsed.resolve_exact(10) == (0, 10)
    for value in ("bytes=0-", "bytes=-5", "0-9", "bytes=5-2", "bytes=0-1,2-3"):
        with pytest.raises(S3Error, match="InvalidArgument"):
            parse_copy_range(value)


def test_copy_ranges_are_not_cut() -> None:
    """A part copy that reaches behind its source is refused, not shortened."""
    parsed = parse_copy_range("bytes=0-10")
    assert parsed is not None
    with pytest.raises(S3Error, match="not valid for source object of size: 10"):
        parsed.resolve_exact(10)


def test_content_range() -> None:
    """Content-Range shows the last byte, not the one behind it."""
    assert content_range(3, 6, 10) == "bytes 3-5/10"
