"""The chunked transfer coding."""

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from s4_gateway.errors import S3Error
from s4_gateway.serve.framing import MAX_LINE_BYTES, MAX_TRAILER_BYTES, ChunkedReader

BODY = b'5\r\nhello\r\n1;name="a;b"\r\n \r\n00A \r\n0123456789\r\n0\r\nX-Trailer: 1\r\n\r\n'
DECODED = b"hello 0123456789"


def decode(pieces: list[bytes]) -> tuple[bytes, ChunkedReader]:
    """What a reader gives for these pieces, and the reader."""
    reader = ChunkedReader()
    return b"".join(b"".join(reader.feed(piece)) for piece in pieces), reader


def test_chunks_extensions_and_trailers() -> None:
    """Data comes out, extensions and trailers are dropped, and what follows is handed back."""
    data, reader = decode([BODY + b"GET / HTTP/1.1\r\n"])

    assert (data, reader.done, reader.rest) == (DECODED, True, b"GET / HTTP/1.1\r\n")


def test_byte_by_byte() -> None:
    """Where the input is cut makes no difference."""
    data, reader = decode([BODY[i : i + 1] for i in range(len(BODY))])

    assert (data, reader.done, reader.rest) == (DECODED, True, b"")


@pytest.mark.parametrize("end", range(len(BODY)))
def test_truncated_at_every_offset(end: int) -> None:
    """An unfinished body is never done, and what it gives is the beginning of the data."""
    data, reader = decode([BODY[:end]])

    assert not reader.done
    assert DECODED.startswith(data)


@pytest.mark.parametrize(
    "data",
    [
        b"\r\n",
        b"g\r\n",
        b"-1\r\n",
        b"+1\r\n",
        b"0x1\r\n",
        b" 1\r\n",
        b"1_0\r\n",
        b"1\n",
        b"1\r\r\n",
        b"1 a\r\n",
        b"1;\0\r\n",
        b"1000000000000000\r\n",
        b"1\r\nab\r\n",
        b"1\r\na\n",
        b"1\r\na0\r\n\r\n",
        b"0\r\nX: 1\n\r\n",
        b"1" * (MAX_LINE_BYTES + 1),
        b"1;" + b"x" * MAX_LINE_BYTES + b"\r\n",
        b"0\r\n" + b"X: 0123456789\r\n" * (MAX_TRAILER_BYTES // 15 + 1),
    ],
)
def test_broken_framing_is_refused(data: bytes) -> None:
    """Sizes that are not plain hex, line ends that are not CRLF, chunks of another length and endless lines give up the connection."""
    with pytest.raises(S3Error, match="chunked") as caught:
        decode([data])
    assert (caught.value.code, caught.value.close) == ("InvalidRequest", True)


@given(st.lists(st.binary(min_size=1, max_size=40)), st.binary(max_size=10), st.integers(1, 50))
def test_round_trip(chunks: list[bytes], rest: bytes, step: int) -> None:
    """Any data in any chunks comes back, however the bytes arrive; the rest is untouched."""
    encoded = b"".join(b"%X\r\n%b\r\n" % (len(chunk), chunk) for chunk in chunks) + b"0\r\n\r\n" + rest
    data, reader = decode([encoded[i : i + step] for i in range(0, len(encoded), step)])

    assert (data, reader.done, reader.rest) == (b"".join(chunks), True, rest)


@given(st.binary(max_size=200))
def test_any_bytes_give_data_or_a_refusal(data: bytes) -> None:
    """No input raises anything but the S3 error."""
    with contextlib.suppress(S3Error):
        decode([data])
