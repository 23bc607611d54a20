"""Compares what the gateway answered with what the perfect S3 did: status, code, every header, every element, every byte."""

from calendar import timegm
from collections.abc import Iterator, Mapping, Sequence
from time import strptime
from urllib.parse import unquote_plus
from xml.etree.ElementTree import Element

from s4_gateway.testing.client import Answer

from .values import ANY, Node, Reply, Request

UNIVERSAL = frozenset({"x-amz-request-id", "server", "date", "connection"})
FRAMING = frozenset({"content-length", "content-type"})
"""Of documents and of answers without a body."""
PEOPLE = frozenset({"Owner", "Initiator", "Message", "Resource", "RequestId"})
"""Elements that are for people."""
TIMES = frozenset({"LastModified", "Initiated"})
ENCODED = frozenset({"Key", "Prefix", "Delimiter", "StartAfter", "Marker", "NextMarker", "KeyMarker", "NextKeyMarker"})
"""What encoding-type=url encodes."""
COPIED = frozenset({"CopyObjectResult", "CopyPartResult"})
FOLLOWING = frozenset({"NextContinuationToken", "NextMarker"})


def differences(request: Request, answer: Answer, reply: Reply, *, grain: int = 0) -> list[str]:
    """In words; empty = the answer is right.

    Args:
        request: what was asked.
        answer: the gateway's.
        reply: the perfect S3's.
        grain: by so many seconds the result of a copy may miss its Last-Modified: not every store tells it.
    """
    return list(_differences(request, answer, reply, grain))


def _differences(request: Request, answer: Answer, reply: Reply, grain: int) -> Iterator[str]:
    seen = _document(answer)
    said = (answer.status, seen[1] if seen is not None and seen[0] == "Error" else answer.body[:200])
    if answer.status != reply.status or (reply.code is not None and answer.code != reply.code):
        yield f"answered {said}, not {(reply.status, reply.code)}"
        return
    yield from _headers(request, answer, reply)
    if reply.code is not None:
        return
    if isinstance(reply.body, bytes):
        yield from _bytes(answer.body, reply.body)
    elif seen is None:
        yield f"no document but {answer.body[:200]!r}"
    else:
        yield from _nodes(reply.body, _without_promise(seen, reply.body), "", grain)


def _headers(request: Request, answer: Answer, reply: Reply) -> Iterator[str]:
    content = request.method in ("GET", "HEAD") and isinstance(reply.body, bytes) and reply.status < 300 and bool(request.key)
    ignored = UNIVERSAL if content else UNIVERSAL | FRAMING
    seen = {name: value for name, value in answer.headers.items() if name not in ignored}
    for name in sorted(seen.keys() | reply.headers.keys()):
        if seen.get(name) != reply.headers.get(name):
            yield f"header {name} is {seen.get(name)!r}, not {reply.headers.get(name)!r}"


def _bytes(seen: bytes, said: bytes) -> Iterator[str]:
    if seen != said:
        at = next((at for at, (one, other) in enumerate(zip(seen, said, strict=False)) if one != other), min(len(seen), len(said)))
        there = f"{seen[at : at + 20]!r}, not {said[at : at + 20]!r}"
        yield f"the body has {len(seen)} bytes, not {len(said)}, and differs from byte {at}: {there}"


def _document(answer: Answer) -> Node | None:
    if not answer.headers.get("content-type", "").startswith("application/xml") or not answer.body.strip().startswith(b"<?xml"):
        return None
    root = answer.xml
    return _node(root, encoded=root.findtext("EncodingType") == "url")


def _node(element: Element, *, encoded: bool) -> Node:
    if len(element) == 0:
        text = element.text or ""
        if element.tag in TIMES:
            return element.tag, str(timegm(strptime(text, "%Y-%m-%dT%H:%M:%S.000Z")))
        return element.tag, unquote_plus(text) if encoded and element.tag in ENCODED else text
    return element.tag, [_node(child, encoded=encoded) for child in element if child.tag not in PEOPLE]


def _without_promise(seen: Node, said: Node) -> Node:
    """A full page may say that more may follow where nothing does: the names that do follow may all belong to the storage layer."""
    if seen[0] != "ListBucketResult" or ("IsTruncated", "true") not in seen[1] or ("IsTruncated", "false") not in said[1]:
        return seen
    rows = [node for node in seen[1] if node[0] in ("Contents", "CommonPrefixes")]
    if ("MaxKeys", str(len(rows))) not in seen[1]:
        return seen
    kept: list[Node] = [node for node in seen[1] if node[0] not in FOLLOWING and node[0] != "IsTruncated"]  # type: ignore[misc]
    return seen[0], [*kept, ("IsTruncated", "false")]


def _nodes(said: Node, seen: Node, path: str, grain: int) -> Iterator[str]:
    where = f"{path}/{said[0]}"
    if said[0] != seen[0]:
        yield f"{path} has {seen[0]}, not {said[0]}"
    elif isinstance(said[1], str):
        yield from _texts(said[1], seen[1], where, grain)
    else:
        children = "" if isinstance(seen[1], str) else seen[1]
        ours, theirs = _by_name(said[1]), _by_name(children or [])
        for name in sorted(ours.keys() | theirs.keys() - PEOPLE):
            if name in PEOPLE:
                continue
            mine, other = ours.get(name, []), theirs.get(name, [])
            if len(mine) != len(other):
                yield f"{where} has {len(other)} {name}, not {len(mine)}: {other[:5]}, not {mine[:5]}"
                continue
            for one, two in zip(mine, other, strict=True):
                yield from _nodes(one, two, where, grain)


def _texts(said: str, seen: object, where: str, grain: int) -> Iterator[str]:
    if said in (ANY, seen) or (seen == [] and not said):
        return
    root, name = where.split("/")[1], where.rpartition("/")[2]
    if root in COPIED and name == "LastModified" and isinstance(seen, str) and abs(int(seen) - int(said)) <= grain:
        return
    yield f"{where} is {seen!r}, not {said!r}"


def _by_name(nodes: Sequence[Node]) -> Mapping[str, list[Node]]:
    grouped: dict[str, list[Node]] = {}
    for node in nodes:
        grouped.setdefault(node[0], []).append(node)
    return grouped


def last_name(answer: Answer) -> str:
    """The last key or common prefix of a listing's page."""
    names = [*answer.texts("Contents/Key"), *answer.texts("CommonPrefixes/Prefix")]
    if answer.text("EncodingType") == "url":
        names = [unquote_plus(name) for name in names]
    return max(names, key=str.encode)
