"""What can go wrong between gateway and store, as one table of values.

A fault says which requests it can hit, whether the store sees them, how the answer is changed, and how much of that comes through.
A fault with a `lie` is one that no client of a store can see through; `docs/explanation/what-can-go-wrong.md` argues each of them.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from enum import Enum, StrEnum
from functools import partial

from s4_gateway.testing.exchange import Received, Reply, error_reply


class Kind(StrEnum):
    """What a request to the store asks for."""

    PUT = "put"
    COPY = "copy"
    PART = "part"
    GET = "get"
    RANGE = "range"
    HEAD = "head"
    LIST = "list"
    UPLOADS = "uploads"
    CREATE = "create"
    COMPLETE = "complete"
    ABORT = "abort"
    DELETE = "delete"
    BUCKET = "bucket"


def kind_of(request: Received) -> Kind:
    """The kind of a request."""
    _, key = request.address
    query, headers = request.query, request.headers
    match request.method:
        case "HEAD":
            return Kind.HEAD
        case "GET" if key:
            return Kind.RANGE if "range" in headers else Kind.GET
        case "GET":
            return Kind.UPLOADS if "uploads" in query else Kind.LIST if "list-type" in query else Kind.BUCKET
        case "PUT" if key:
            return Kind.PART if "uploadId" in query else Kind.COPY if "x-amz-copy-source" in headers else Kind.PUT
        case "POST":
            return Kind.CREATE if "uploads" in query else Kind.COMPLETE if "uploadId" in query else Kind.DELETE
        case "DELETE" if key:
            return Kind.ABORT if "uploadId" in query else Kind.DELETE
    return Kind.BUCKET


class Reach(Enum):
    """How often the store sees the request."""

    NEVER = 0
    ONCE = 1
    TWICE = 2
    """The second answer is the one that comes back."""
    LATE = 3
    """When other requests have passed it."""


class Ending(Enum):
    """How much of the answer comes."""

    WHOLE = "whole"
    HANG_UP = "hang up"
    """Nothing, and the connection ends."""
    SILENCE = "silence"
    """Nothing, and the connection stays."""
    CUT = "cut"
    """A part of the body, and the connection ends."""
    CUT_HEAD = "cut head"
    STALL = "stall"
    """A part of the body, and the connection stays."""
    TWICE = "twice"
    """All of it, and then once more."""
    JUNK = "junk"
    """All of it, and bytes that nobody asked for behind it."""
    CLOSE = "close"
    """All of it, and the connection ends without a word."""


Turn = Callable[[Received], Received]
Say = Callable[[Reply, int], Reply]
"""The answer that comes in place of the store's; the number is the strike's dose, 0 to 99."""


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that can go wrong."""

    name: str
    hits: frozenset[Kind]
    reach: Reach = Reach.ONCE
    turn: Turn | None = None
    """Changes the request on its way. Its signature is judged before."""
    say: Say | None = None
    ending: Ending = Ending.WHOLE
    delay: float = 0.0
    """Seconds before the request goes on."""
    rival: bool = False
    """Before the request goes on, another client writes the key."""
    lie: str | None = None
    """Why no client can see through it; None = the gateway must."""


ALL = frozenset(Kind)
READS = frozenset({Kind.GET, Kind.RANGE, Kind.HEAD, Kind.LIST, Kind.UPLOADS, Kind.BUCKET})
WRITES = ALL - READS
BODIES = frozenset({Kind.GET, Kind.RANGE})
DOCUMENTS = frozenset({Kind.LIST, Kind.UPLOADS, Kind.CREATE, Kind.COPY, Kind.COMPLETE, Kind.DELETE})
CONDITIONAL = frozenset({Kind.PUT, Kind.COPY, Kind.COMPLETE})
TAGGED = frozenset({Kind.PUT, Kind.COPY, Kind.PART, Kind.GET, Kind.RANGE, Kind.HEAD, Kind.LIST, Kind.COMPLETE})

HTML = {"content-type": "text/html"}
WRONG_ETAG = "f" * 32
_TAG = re.compile(rb"&quot;[0-9a-f]{32,40}(?:-\d+)?&quot;")
_CONTENTS = re.compile(rb"<Contents>.*?</Contents>")
_TOKEN = re.compile(rb"<NextContinuationToken>[^<]*</NextContinuationToken>")


def _instead(reply: Reply, _answer: Reply, _dose: int) -> Reply:
    return reply


def _says(code: str, status: int) -> Say:
    return partial(_instead, error_reply(code, status))


def _page(status: int, text: str) -> Say:
    return partial(_instead, Reply(status, text.encode(), HTML))


def _wrong_etag(answer: Reply, _dose: int) -> Reply:
    headers = {**answer.headers, "etag": f'"{WRONG_ETAG}"'} if "etag" in answer.headers else answer.headers
    return replace(answer, headers=headers, body=_TAG.sub(b"&quot;" + WRONG_ETAG.encode() + b"&quot;", answer.body))


def _without_etag(answer: Reply, _dose: int) -> Reply:
    headers = {name: value for name, value in answer.headers.items() if name != "etag"}
    return replace(answer, headers=headers, body=_TAG.sub(b"", answer.body))


def _shorter(answer: Reply, dose: int) -> Reply:
    """A body whose end is missing, with the Content-Length of what is left."""
    return replace(answer, body=answer.body[: len(answer.body) * dose // 100]) if answer.status < 300 else answer


def _cut_page(answer: Reply, dose: int) -> bytes:
    """A page without its last entries and its token."""
    items = _CONTENTS.findall(answer.body)
    body = answer.body
    for item in items[len(items) * dose // 100 :]:
        body = body.replace(item, b"")
    return _TOKEN.sub(b"", body)


def _half_told(answer: Reply, dose: int) -> Reply:
    """A page that says that it is not the last, and not how to go on."""
    return replace(answer, body=_cut_page(answer, dose).replace(b"<IsTruncated>false<", b"<IsTruncated>true<"))


def _cut_list(answer: Reply, dose: int) -> Reply:
    """The last page of a listing that is not over."""
    return replace(answer, body=_cut_page(answer, dose).replace(b"<IsTruncated>true<", b"<IsTruncated>false<"))


def _without(request: Received, *names: bytes) -> Received:
    kept = tuple(pair for pair in request.raw_headers if pair[0].lower() not in names)
    return replace(request, raw_headers=kept)


def _unconditional(request: Received) -> Received:
    return _without(request, b"if-match", b"if-none-match")


def _unranged(request: Received) -> Received:
    return _without(request, b"range")


def _moved_range(request: Received) -> Received:
    """A range that begins one byte later than asked for."""

    def later(value: bytes) -> bytes:
        first, last = value.removeprefix(b"bytes=").split(b"-")
        return b"bytes=%d-%b" % (int(first) + 1, last) if first else b"bytes=-%d" % (int(last) + 1)

    moved = tuple((name, later(value) if name.lower() == b"range" else value) for name, value in request.raw_headers)
    return replace(request, raw_headers=moved)


def _one_a_page(request: Received) -> Received:
    return replace(request, target=re.sub(r"max-keys=\d+", "max-keys=1", request.target))


def _first_page(request: Received) -> Received:
    """The page of a listing that was given before."""
    return replace(request, target=re.sub(r"&continuation-token=[^&]*", "", request.target))


GONE = "A write that is carried out when its client has long had another answer to it is a write of that client's."
UNCONDITIONAL = "A store that grants conditions and then overlooks one has overwritten what it should not; nothing tells its client."
UNTOLD = "A listing that ends early and says that it is whole looks like that of a smaller bucket."

_FAULTS = (
    # Refusals: the store has not seen the request.
    Fault("refused-500", ALL, Reach.NEVER, say=_says("InternalError", 500)),
    Fault("refused-503", ALL, Reach.NEVER, say=_says("ServiceUnavailable", 503)),
    Fault("slow-down", ALL, Reach.NEVER, say=_says("SlowDown", 503)),
    Fault("too-many", ALL, Reach.NEVER, say=_says("TooManyRequests", 429)),
    Fault("bad-gateway", ALL, Reach.NEVER, say=_page(502, "<html>502 Bad Gateway</html>")),
    Fault("unheard", ALL, Reach.NEVER, ending=Ending.HANG_UP),
    Fault("silence", ALL, Reach.NEVER, ending=Ending.SILENCE),
    # The store has done it, and its client does not hear so.
    Fault("done-500", WRITES, say=_says("InternalError", 500)),
    Fault("done-503", WRITES, say=_says("ServiceUnavailable", 503)),
    Fault("done-slow-down", WRITES, say=_says("SlowDown", 503)),
    Fault("done-504", WRITES, say=_page(504, "<html>504 Gateway Time-out</html>")),
    Fault("lost", ALL, ending=Ending.HANG_UP),
    Fault("lost-in-silence", ALL, ending=Ending.SILENCE),
    Fault("cut-head", ALL, ending=Ending.CUT_HEAD),
    Fault("cut-body", BODIES, ending=Ending.CUT),
    Fault("cut-document", DOCUMENTS, ending=Ending.CUT),
    Fault("stalled-body", BODIES, ending=Ending.STALL),
    Fault("stalled-document", DOCUMENTS, ending=Ending.STALL),
    Fault("error-inside", frozenset({Kind.COPY, Kind.COMPLETE}), Reach.NEVER, say=_says("InternalError", 200)),
    Fault("done-error-inside", frozenset({Kind.COPY, Kind.COMPLETE}), say=_says("InternalError", 200)),
    # Time and order.
    Fault("delayed", ALL, delay=7.0),
    Fault("rival", ALL, rival=True),
    Fault("rival-and-lost", WRITES, rival=True, ending=Ending.HANG_UP),
    Fault("late", WRITES, Reach.LATE, ending=Ending.HANG_UP, lie=GONE),
    Fault("late-in-silence", WRITES, Reach.LATE, ending=Ending.SILENCE, lie=GONE),
    Fault("sent-twice", WRITES, Reach.TWICE),
    Fault("answered-twice", ALL, ending=Ending.TWICE),
    Fault("junk-behind", ALL, ending=Ending.JUNK),
    Fault("closed-behind", ALL, ending=Ending.CLOSE),
    # Somebody else answers.
    Fault("misrouted", ALL - {Kind.HEAD}, Reach.NEVER, say=_page(404, "default backend - 404")),
    Fault("portal", ALL - {Kind.ABORT}, Reach.NEVER, say=_page(200, "<html>Welcome to the Internet</html>")),
    Fault("empty-success", DOCUMENTS | BODIES, Reach.NEVER, say=partial(_instead, Reply())),
    Fault("redirected", ALL, Reach.NEVER, say=_says("TemporaryRedirect", 307)),
    # The store is wrong.
    Fault("wrong-etag", TAGGED, say=_wrong_etag),
    Fault("no-etag", TAGGED, say=_without_etag),
    Fault("short-body", BODIES, say=_shorter),
    Fault("ignored-range", frozenset({Kind.RANGE}), turn=_unranged),
    Fault("moved-range", frozenset({Kind.RANGE}), turn=_moved_range),
    Fault("ignored-read-condition", BODIES, turn=_unconditional),
    Fault("ignored-condition", CONDITIONAL, turn=_unconditional, lie=UNCONDITIONAL),
    Fault("short-page", frozenset({Kind.LIST}), turn=_one_a_page),
    Fault("forgotten-token", frozenset({Kind.LIST}), turn=_first_page),
    Fault("half-told-list", frozenset({Kind.LIST}), say=_half_told),
    Fault("cut-list", frozenset({Kind.LIST}), say=_cut_list, lie=UNTOLD),
)

TABLE: Mapping[str, Fault] = {fault.name: fault for fault in _FAULTS}
"""Every fault by its name."""
