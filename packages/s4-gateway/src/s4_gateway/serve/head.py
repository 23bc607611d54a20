"""Request heads: bytes up to the empty line become a `Head`, or a refusal.

httptools parses. What two servers could read differently is refused before and after it (RFC 9112 sections 2.2, 5, 6, 11.2), so that
nothing can be smuggled past a proxy in front of the gateway.
"""

from dataclasses import dataclass

import httptools

from s4_gateway.errors import S3Error

END = b"\r\n\r\n"
MAX_LENGTH_DIGITS = 18
"""Keeps Content-Length within 63 bits; the largest legal body is 5 GiB."""

FRAMING = frozenset({b"connection", b"content-length", b"expect", b"host", b"transfer-encoding"})
"""The headers that this module acts on."""
NO_VALUES: list[bytes] = []


@dataclass(frozen=True, slots=True)
class Head:
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
    _check_lines(data)
    parsed = _Parsed()
    parser = httptools.HttpRequestParser(parsed)
    try:
        parser.feed_data(data)
    except httptools.HttpParserUpgrade:
        # A request to change the protocol may be ignored (RFC 9110 7.8).
        pass
    except httptools.HttpParserInvalidMethodError:
        raise S3Error("MethodNotAllowed", close=True) from None
    except httptools.HttpParserInvalidURLError:
        raise S3Error("InvalidURI", close=True) from None
    except httptools.HttpParserError as error:
        raise _malformed(str(error)) from None
    if not parsed.complete:
        raise _malformed("the head does not end where its lines do")
    version = parser.get_http_version()
    if version not in ("1.1", "1.0"):
        raise _malformed("the HTTP version must be 1.1 or 1.0")
    path, query = _target(parsed)
    _check_host(parsed.values(b"host"), version)
    return Head(
        method=parser.get_method().decode("ascii"),
        path=path,
        query=query,
        headers=parsed.headers,
        http_version=version,
        length=_body_length(parsed, version),
        # HTTP/1.0's optional keep-alive is not worth its special cases.
        keep_alive=version == "1.1" and not any(b"close" in value.lower() for value in parsed.values(b"connection")),
        expects_continue=version == "1.1" and any(value.lower() == b"100-continue" for value in parsed.values(b"expect")),
    )


class _Parsed:
    """Takes httptools' callbacks."""

    __slots__ = ("_framing", "complete", "headers", "target")

    def __init__(self) -> None:
        self.target = b""
        self.headers: list[tuple[bytes, bytes]] = []
        self._framing: dict[bytes, list[bytes]] = {}
        self.complete = False

    def on_url(self, url: bytes) -> None:
        self.target += url

    def on_header(self, name: bytes, value: bytes) -> None:
        name, value = name.lower(), value.rstrip(b" \t")
        self.headers.append((name, value))
        if name in FRAMING:
            self._framing.setdefault(name, []).append(value)

    def on_headers_complete(self) -> None:
        self.complete = True

    def values(self, name: bytes) -> list[bytes]:
        """All values of one of the FRAMING headers."""
        return self._framing.get(name, NO_VALUES)


def _malformed(why: str) -> S3Error:
    return S3Error("InvalidRequest", f"The HTTP request is malformed: {why}.", close=True)


def _check_lines(data: bytes) -> None:
    """Only CRLF ends a line, no line continues another, there is no NUL, and single spaces divide the first line."""
    lines = data.count(b"\r\n")
    if data.count(b"\n") != lines or data.count(b"\r") != lines:
        raise _malformed("lines must end with CRLF")
    if b"\r\n " in data or b"\r\n\t" in data:
        raise _malformed("header lines must not be folded")
    if b"\0" in data:
        raise _malformed("it contains NUL")
    request_line = data[: data.index(b"\r\n")]
    if request_line.count(b" ") != 2 or b"\t" in request_line:
        raise _malformed("its first line is not a method, a target and a version")


def _target(parsed: _Parsed) -> tuple[bytes, bytes]:
    target = parsed.target
    if not target.startswith(b"/"):
        # absolute-form (RFC 9112 3.2.2); its authority and Host must not name different buckets.
        scheme, separator, rest = target.partition(b"://")
        authority, slash, path = rest.partition(b"/")
        if not separator or scheme.lower() not in (b"http", b"https") or b"?" in authority or parsed.values(b"host") != [authority]:
            raise S3Error("InvalidURI", close=True)
        target = slash + path or b"/"
    if b"#" in target:
        raise S3Error("InvalidURI", close=True)
    path, _, query = target.partition(b"?")
    return path, query


def _check_host(hosts: list[bytes], version: str) -> None:
    if len(hosts) > 1 or (not hosts and version == "1.1"):
        raise _malformed("it needs exactly one Host header")


def _body_length(parsed: _Parsed, version: str) -> int | None:
    codings, lengths = parsed.values(b"transfer-encoding"), parsed.values(b"content-length")
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
