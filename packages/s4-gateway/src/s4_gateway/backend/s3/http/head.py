"""Heads of both directions: text to bytes, and bytes to an `AnswerHead` that says how the body behind it ends.

Header text is `str` holding wire bytes as latin-1, so that every byte survives both ways.
"""

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import NamedTuple

from s4_gateway.backend.s3.errors import AttemptError, unanswered

MAX_HEAD_BYTES = 256 * 1024
"""Longest head of an answer. 2,048 bytes of metadata can be as many as 1,500 headers, and some stores allow more than S3's 2 KiB."""

_STATUS_LINE = re.compile(r"HTTP/1\.([01]) ([1-9][0-9]{2})(?: [^\x00-\x08\x0a-\x1f\x7f]*)?\r\n")
# Other controls than NUL and line ends are passed on as they are: what a store keeps is not ours to judge.
_FIELD = re.compile(r"^([!#$%&'*+.^_`|~0-9A-Za-z-]+):[ \t]*([^\r\n\0]*)\r\n", re.MULTILINE)
_LENGTH = re.compile(r"[0-9]{1,19}")
_BODILESS = frozenset({204, 304})


class AnswerHead(NamedTuple):
    """The head of one answer."""

    status: int
    """100 to 999."""
    headers: dict[str, str]
    """Lower-case names; repeated headers are joined by a comma (RFC 9110 5.3)."""
    length: int | None
    """Bytes of the body; None = chunked, or up to the end of the connection."""
    chunked: bool
    keep: bool
    """The store lets the connection go on behind this answer."""


def render_request_head(method: str, target: str, headers: Mapping[str, str]) -> bytes:
    """The head of a request, byte for byte.

    Args:
        method: upper case.
        target: raw path and query, percent-encoded.
        headers: in the order in which they go out, `host` among them.

    Raises:
        ValueError: a line end where none may be.
    """
    lines = [f"{method} {target} HTTP/1.1\r\n"]
    lines += [f"{name}: {value}\r\n" for name, value in headers.items()]
    text = "".join(lines)
    if text.count("\n") != len(lines) or text.count("\r") != len(lines):
        raise ValueError("a request header contains a line end")
    return (text + "\r\n").encode("latin-1")


def parse_answer_head(data: bytes, *, bodiless: bool) -> AnswerHead:
    """Parse what stands before the empty line (RFC 9112 sections 4 to 6).

    Args:
        data: status line and headers, without the CRLF of the last line and without the empty line.
        bodiless: it answers a HEAD.

    Raises:
        AttemptError: this is no HTTP answer, or it does not say clearly how its body ends.
    """
    text = data.decode("latin-1") + "\r\n"
    status_line = _STATUS_LINE.match(text)
    if status_line is None:
        raise _malformed("no HTTP status line")
    fields = _FIELD.findall(text, status_line.end())
    lines = len(fields) + 1
    if text.count("\n") != lines or text.count("\r") != lines:
        raise _malformed("a line is no header field, or does not end with CRLF")
    headers: dict[str, str] = {}
    for raw_name, raw_value in fields:
        name, value = _lower(raw_name), raw_value.rstrip(" \t")
        headers[name] = f"{headers[name]},{value}" if name in headers else value
    return _framed(int(status_line[2]), headers, newer=status_line[1] == "1", bodiless=bodiless)


def _framed(status: int, headers: dict[str, str], *, newer: bool, bodiless: bool) -> AnswerHead:
    connection = headers.get("connection")
    if connection is None:
        keep = newer
    else:
        options = {option.strip().lower() for option in connection.split(",")}
        keep = "close" not in options and (newer or "keep-alive" in options)
    length, chunked = _body(headers)
    if bodiless or status < 200 or status in _BODILESS:
        return AnswerHead(status, headers, 0, chunked=False, keep=keep)
    return AnswerHead(status, headers, length, chunked=chunked, keep=keep and (chunked or length is not None))


def _body(headers: Mapping[str, str]) -> tuple[int | None, bool]:
    """(length, chunked) as the headers say."""
    coding, length = headers.get("transfer-encoding"), headers.get("content-length")
    if coding is not None:
        if coding.lower() != "chunked" or length is not None:
            raise _malformed("a transfer coding that was not asked for")
        return None, True
    if length is None:
        return None, False
    if _LENGTH.fullmatch(length) is None:
        raise _malformed("Content-Length is no number")
    return int(length), False


@lru_cache(maxsize=4096)
def _lower(name: str) -> str:
    """A header name in lower case: a store uses the same few."""
    return name.lower()


def _malformed(why: str) -> AttemptError:
    return unanswered(f"the storage backend's answer is not HTTP: {why}", sent=True)
