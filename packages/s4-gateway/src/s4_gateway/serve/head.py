"""Request heads: bytes up to the empty line become a `Head`, or a refusal.

One expression reads a field line, and every line must fit it: what two servers could read differently is refused (RFC 9112 sections 2.2,
3, 5, 6, 11.2), so that nothing can be smuggled past a proxy in front of the gateway.
"""

import re
from typing import NamedTuple

from s4_gateway.errors import S3Error

END = b"\r\n\r\n"
MAX_LENGTH_DIGITS = 18
"""Keeps Content-Length within 63 bits; the largest legal body is 5 GiB."""

METHODS = frozenset({b"CONNECT", b"DELETE", b"GET", b"HEAD", b"OPTIONS", b"PATCH", b"POST", b"PUT", b"TRACE"})
"""Those of RFC 9110 9.3 and RFC 5789; which of them S3 has is decided later."""

_TOKEN = rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
_REQUEST_LINE = re.compile(rb"(" + _TOKEN + rb") ([^ \t\r\n]+) HTTP/([0-9]\.[0-9])\r\n")
_TARGET = re.compile(rb"[!-~]+")
# RFC 9110 5.5: a value has no control characters but tabs.
_FIELD = re.compile(rb"^(" + _TOKEN + rb"):[ \t]*([^\x00-\x08\x0a-\x1f\x7f]*)\r\n", re.MULTILINE)
NO_VALUES: list[bytes] = []


class Head(NamedTuple):
    """One request head."""

    method: str
    path: bytes
    """As sent, still percent-encoded."""
    query: bytes
    """Behind the `?`, as sent; empty where there is none."""
    headers: list[tuple[bytes, bytes]]
    """Lower-case names, values without surrounding white space, in order."""
    http_version: str
    length: int | None
    """Bytes of the body; None = chunked transfer coding."""
    keep_alive: bool
    expects_continue: bool


def parse_head(data: bytes) -> Head:
    """Parse a whole head, which ends with its empty line.

    Raises:
        S3Error: InvalidRequest, InvalidURI, MethodNotAllowed or NotImplemented, all with `close`.
    """
    method, target, version = _request_line(data)
    fields = _FIELD.findall(data, data.index(b"\n") + 1)
    # The request line and the empty one beside them.
    lines = len(fields) + 2
    if data.count(b"\n") != lines or data.count(b"\r") != lines or not data.endswith(END):
        raise _malformed("a line is no header field, or does not end with CRLF")
    headers = [(name.lower(), value.rstrip(b" \t")) for name, value in fields]
    present = _Fields(headers)
    path, query = _target(target, present)
    _check_host(present.values(b"host"), version)
    return Head(
        method=method,
        path=path,
        query=query,
        headers=headers,
        http_version=version,
        length=_body_length(present, version),
        # HTTP/1.0's optional keep-alive is not worth its special cases.
        keep_alive=version == "1.1" and b"close" not in b",".join(present.values(b"connection")).lower(),
        expects_continue=version == "1.1" and b"100-continue" in map(bytes.lower, present.values(b"expect")),
    )


class _Fields:
    """Finds headers that may be repeated."""

    __slots__ = ("_headers", "_last")

    def __init__(self, headers: list[tuple[bytes, bytes]]) -> None:
        self._headers = headers
        self._last = dict(headers)

    def values(self, name: bytes) -> list[bytes]:
        """All values of a header, in order."""
        if name not in self._last:
            return NO_VALUES
        if len(self._last) == len(self._headers):
            return [self._last[name]]
        return [value for other, value in self._headers if other == name]


def _request_line(data: bytes) -> tuple[str, bytes, str]:
    """Method, target and version."""
    line = _REQUEST_LINE.match(data)
    if line is None:
        raise _malformed("its first line is not a method, a target and a version")
    method, target, version = line.groups()
    if method not in METHODS:
        raise S3Error("MethodNotAllowed", close=True)
    if version not in (b"1.1", b"1.0"):
        raise _malformed("the HTTP version must be 1.1 or 1.0")
    if _TARGET.fullmatch(target) is None:
        raise S3Error("InvalidURI", close=True)
    return method.decode("ascii"), target, version.decode("ascii")


def _malformed(why: str) -> S3Error:
    return S3Error("InvalidRequest", f"The HTTP request is malformed: {why}.", close=True)


def _target(target: bytes, fields: _Fields) -> tuple[bytes, bytes]:
    if not target.startswith(b"/"):
        # absolute-form (RFC 9112 3.2.2); its authority and Host must not name different buckets.
        scheme, separator, rest = target.partition(b"://")
        authority, slash, path = rest.partition(b"/")
        if not separator or scheme.lower() not in (b"http", b"https") or b"?" in authority or fields.values(b"host") != [authority]:
            raise S3Error("InvalidURI", close=True)
        target = slash + path or b"/"
    if b"#" in target:
        raise S3Error("InvalidURI", close=True)
    path, _, query = target.partition(b"?")
    return path, query


def _check_host(hosts: list[bytes], version: str) -> None:
    if len(hosts) > 1 or (not hosts and version == "1.1"):
        raise _malformed("it needs exactly one Host header")


def _body_length(fields: _Fields, version: str) -> int | None:
    codings, lengths = fields.values(b"transfer-encoding"), fields.values(b"content-length")
    if codings:
        if lengths or version == "1.0":
            raise _malformed("Transfer-Encoding with Content-Length or HTTP/1.0")
        if [coding.lower() for coding in codings] != [b"chunked"]:
            raise S3Error("NotImplemented", "The only transfer coding that is implemented is chunked.", close=True)
        return None
    if not lengths:
        return 0
    if len(lengths) > 1 or not lengths[0].isdigit() or len(lengths[0]) > MAX_LENGTH_DIGITS:
        raise _malformed("Content-Length must be one number")
    return int(lengths[0])
