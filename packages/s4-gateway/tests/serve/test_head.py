"""Request heads: what is read, and everything that two servers could read differently."""

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from s4_gateway.errors import S3Error
from s4_gateway.serve.head import parse_head

HOST = b"Host: s3.test\r\n"


def head(*lines: bytes, request: bytes = b"PUT /bucket/key HTTP/1.1") -> bytes:
    """A head with a Host header and these further lines."""
    return b"\r\n".join((request, b"Host: s3.test", *lines)) + b"\r\n\r\n"


def refusal(data: bytes) -> str:
    """Code of the error that parsing gives; the connection must be given up with it."""
    with pytest.raises(S3Error) as caught:
        parse_head(data)
    assert caught.value.close
    return caught.value.code


def test_a_head_is_taken_as_sent() -> None:
    """Path and query stay percent-encoded and unnormalised, header names become lower case, values keep their bytes."""
    read = parse_head(head(b"X-Amz-Meta-A:  caf\xc3\xa9 \xff \t", b"x-amz-meta-a: 2", request=b"GET /b/a//../%2F%41?x=1&y=/?z HTTP/1.1"))

    assert (read.method, read.path, read.query) == ("GET", b"/b/a//../%2F%41", b"x=1&y=/?z")
    assert read.headers == [(b"host", b"s3.test"), (b"x-amz-meta-a", b"caf\xc3\xa9 \xff"), (b"x-amz-meta-a", b"2")]
    assert (read.length, read.keep_alive, read.expects_continue) == (0, True, False)


@pytest.mark.parametrize(
    ("lines", "length", "keep_alive", "expects"),
    [
        ((b"Content-Length: 7",), 7, True, False),
        ((b"Content-Length: 007",), 7, True, False),
        ((b"Transfer-Encoding: Chunked",), None, True, False),
        ((b"Connection: close",), 0, False, False),
        ((b"Expect: 100-Continue", b"Content-Length: 1"), 1, True, True),
        ((b"Connection: upgrade", b"Upgrade: h2c"), 0, True, False),
    ],
    ids=["length", "zeros", "chunked", "close", "expect", "upgrade"],
)
def test_framing_headers(lines: tuple[bytes, ...], length: int | None, keep_alive: bool, expects: bool) -> None:
    """Body length, end of the connection and Expect are understood; a change of protocol is not made."""
    read = parse_head(head(*lines))

    assert (read.length, read.keep_alive, read.expects_continue) == (length, keep_alive, expects)


def test_http_1_0_ends_with_its_answer() -> None:
    """HTTP/1.0 needs no Host, never keeps the connection and never gets 100 Continue."""
    read = parse_head(b"GET / HTTP/1.0\r\nConnection: keep-alive\r\nExpect: 100-continue\r\n\r\n")

    assert (read.http_version, read.keep_alive, read.expects_continue) == ("1.0", False, False)


def test_absolute_targets() -> None:
    """A target with scheme and authority is its path, as long as its authority is the Host."""
    assert parse_head(head(request=b"GET http://s3.test/b/k?x HTTP/1.1")).path == b"/b/k"
    assert parse_head(head(request=b"GET http://s3.test HTTP/1.1")).path == b"/"
    assert refusal(head(request=b"GET http://other.test/b/k HTTP/1.1")) == "InvalidURI"
    assert refusal(head(request=b"GET ftp://s3.test/b/k HTTP/1.1")) == "InvalidURI"


@pytest.mark.parametrize(
    "data",
    [
        head(b"Content-Length: 1", b"Content-Length: 1"),
        head(b"Content-Length: 1", b"Content-Length: 2"),
        head(b"Content-Length: 1, 1"),
        head(b"Content-Length: +1"),
        head(b"Content-Length: 0x1"),
        head(b"Content-Length: "),
        head(b"Content-Length: 1234567890123456789"),
        head(b"Content-Length: 99999999999999999999999999"),
        head(b"Content-Length: 1", b"Transfer-Encoding: chunked"),
        head(b"Transfer-Encoding: chunked", b"Content-Length: 1"),
        head(b"Transfer-Encoding : chunked"),
        head(b"Transfer-Encoding: chunked", request=b"PUT / HTTP/1.0"),
        head(b"X: a\n b"),
        head(b"X: a\r\n b"),
        head(b"X: a\r\n\tb"),
        head(b"X: a\nTransfer-Encoding: chunked"),
        head(b"X: a\rTransfer-Encoding: chunked"),
        head(b"X: a\0b"),
        head(b"X: a\x07b"),
        head(b"X: a\x7fb"),
        head(b"X y: 1"),
        head(b": 1"),
        head(b"X"),
        head(b"Host: other.test"),
        b"GET / HTTP/1.1\r\n\r\n",
        b"GET /\r\n\r\n",
        b"GET / HTTP/0.9\r\nHost: a\r\n\r\n",
        b"GET / HTTP/2.0\r\nHost: a\r\n\r\n",
        b"GET / HTTP/1.1\nHost: a\n\n\r\n\r\n",
        b"GET  / HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET /a b HTTP/1.1\r\nHost: a\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\n",
    ],
)
def test_what_two_servers_could_read_differently_is_refused(data: bytes) -> None:
    """Doubled or odd lengths, two kinds of framing, folded lines, line ends that are not CRLF and missing or doubled Host give 400."""
    assert refusal(data) in ("InvalidRequest", "MethodNotAllowed")


@pytest.mark.parametrize("coding", [b"gzip, chunked", b"chunked, gzip", b"identity", b"gzip", b"xchunked"])
def test_other_transfer_codings_are_not_implemented(coding: bytes) -> None:
    """A coding that the gateway cannot take off is refused instead of stored."""
    assert refusal(head(b"Transfer-Encoding: " + coding)) in ("NotImplemented", "InvalidRequest")


@pytest.mark.parametrize(
    ("request_line", "code"),
    [
        (b"BREW / HTTP/1.1", "MethodNotAllowed"),
        (b"GET * HTTP/1.1", "InvalidURI"),
        (b"CONNECT s3.test:80 HTTP/1.1", "InvalidURI"),
        (b"GET /\xc3\xa9 HTTP/1.1", "InvalidURI"),
        (b"GET /a\x01 HTTP/1.1", "InvalidURI"),
        (b"GET /a#b HTTP/1.1", "InvalidURI"),
    ],
)
def test_odd_request_lines(request_line: bytes, code: str) -> None:
    """Unknown methods and targets that are no S3 address have their own codes."""
    assert refusal(head(request=request_line)) == code


@given(st.binary(max_size=300))
def test_any_bytes_are_a_head_or_a_refusal(data: bytes) -> None:
    """No input raises anything but an S3 error."""
    with contextlib.suppress(S3Error):
        parse_head(data + b"\r\n\r\n")


@given(st.data())
def test_one_changed_byte_never_changes_the_framing_silently(data: st.DataObject) -> None:
    """A head with one byte changed is refused, or its body length is what its one Content-Length says."""
    whole = bytearray(head(b"Content-Length: 12", b"X-Amz-Date: 20260101T000000Z"))
    whole[data.draw(st.integers(0, len(whole) - 5))] = data.draw(st.integers(0, 255))
    try:
        read = parse_head(bytes(whole))
    except S3Error:
        return

    lengths = [value for name, value in read.headers if name == b"content-length"]
    assert read.length == (int(lengths[0]) if lengths else 0)
