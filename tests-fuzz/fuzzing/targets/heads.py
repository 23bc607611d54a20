"""Request heads and the chunked transfer coding."""

import h11
from s4_gateway.errors import S3Error
from s4_gateway.serve.framing import ChunkedReader
from s4_gateway.serve.head import END, Head, parse_head

from fuzzing.target import Target, cuts, outcome, require

FRAMING = (b"content-length", b"transfer-encoding", b"host")


def head_of(data: bytes) -> bytes:
    """Bytes up to the first empty line, as the connection cuts them; one is added where there is none."""
    return data[: data.index(END) + len(END)] if END in data else data + END


def check_head(data: bytes) -> None:
    """A head that is read says the same when it is written again, and frames its body as another strict parser does."""
    text = head_of(data)
    try:
        head = parse_head(text)
    except S3Error as error:
        require(error.close, "nothing may be read behind a head that was refused")
        raise
    require(head.path.startswith(b"/") and not set(head.path + head.query) & set(b" #\r\n\0"), "a target has its characters")
    require(b"?" not in head.path, "the path ends before the query")
    require(parse_head(_written(head)) == head, "a head survives being written and read")
    _compare(text, head)


def _written(head: Head) -> bytes:
    target = head.path + (b"?" + head.query if head.query else b"")
    lines = [b"%s %s HTTP/%s" % (head.method.encode(), target, head.http_version.encode())]
    lines += [b"%s: %s" % header for header in head.headers]
    return b"\r\n".join(lines) + END


def _compare(text: bytes, head: Head) -> None:
    other = h11.Connection(h11.SERVER, max_incomplete_event_size=2**20)
    other.receive_data(text)
    try:
        event = other.next_event()
    except h11.RemoteProtocolError:
        # Stricter than we are about the characters of methods, targets and names.
        return
    if not isinstance(event, h11.Request):
        return
    mine = [(name, value) for name, value in head.headers if name in FRAMING]
    # h11 knows one name for the coding and writes it in lower case.
    theirs = [(name, value) for name, value in event.headers if name in FRAMING]
    require(event.method == head.method.encode(), "two parsers read one method")
    require([(n, v.lower()) for n, v in mine] == [(n, v.lower()) for n, v in theirs], "two parsers frame the body the same way")


def check_framing(data: bytes) -> None:
    """Cut anywhere, a body is read the same: data, end, what is behind it, or the same refusal."""
    if not data:
        return
    seed, wire = data[0], data[1:]
    whole = outcome(lambda: _read([wire]))
    require(outcome(lambda: _read(cuts(wire, seed))) == whole, "a cut body is read as a whole one")
    require(outcome(lambda: _read([wire[i : i + 1] for i in range(len(wire))])) == whole, "byte by byte it is read as a whole one")
    pieces = [piece for piece in cuts(wire, seed + 1) if piece]
    sent = b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\n\r\n" + wire
    require(_read(cuts(sent, seed)) == (wire, True, wire), "what was framed is read, and what is behind it is left")


def _read(pieces: list[bytes]) -> tuple[bytes, bool, bytes]:
    reader = ChunkedReader()
    body = b"".join(b"".join(reader.feed(piece)) for piece in pieces)
    return body, reader.done, reader.rest


TARGETS = (
    Target(
        "head",
        check_head,
        modules=("s4_gateway.serve.head",),
        seeds=(
            b"GET /bucket/key?partNumber=1 HTTP/1.1\r\nHost: localhost:8014\r\nRange: bytes=0-9\r\n\r\n",
            b"PUT /b/k HTTP/1.1\r\nHost: h\r\nContent-Length: 12\r\nExpect: 100-continue\r\nConnection: close\r\n\r\n",
            b"PUT /b/k HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\nConnection: keep-alive, x\r\n\r\n",
            b"GET http://h/b/k?x HTTP/1.1\r\nHost: h\r\nUpgrade: h2c\r\nConnection: Upgrade\r\n\r\n",
            b"HEAD /a%20b HTTP/1.0\r\n\r\n",
        ),
        words=(
            *(b"Content-Length: ", b"Transfer-Encoding: chunked", b"Host: ", b"Expect: 100-continue", b"Connection: close", b"\r\n"),
            *(b"HTTP/1.1", b"HTTP/1.0", b"HTTP/0.9", b"http://", b"GET ", b"PUT ", b"CONNECT ", b"OPTIONS *", b"\r\n\r\n", b"\t", b": "),
        ),
        codes=frozenset({"InvalidRequest", "InvalidURI", "MethodNotAllowed", "NotImplemented"}),
        max_bytes=16 * 1024,
    ),
    Target(
        "framing",
        check_framing,
        modules=("s4_gateway.serve.framing",),
        seeds=(b"\x015\r\nhello\r\n0\r\n\r\nGET /", b"\x02a;name=value\r\n0123456789\r\n0\r\nTrailer: x\r\n\r\n", b"\x030\r\n\r\n"),
        words=(b"\r\n", b"0\r\n\r\n", b";", b"ffffffffffffffff", b"1\r\n"),
        codes=frozenset({"InvalidRequest"}),
    ),
)
