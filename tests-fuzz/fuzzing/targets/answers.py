"""What a backend answers: heads and transfer coding, XML pages, errors, and headers of objects."""

import h11
from s4_gateway.backend.abc import BackendError
from s4_gateway.backend.s3.errors import AttemptError
from s4_gateway.backend.s3.headers import number, stored_object
from s4_gateway.backend.s3.http.chunks import ChunkedBody
from s4_gateway.backend.s3.http.head import AnswerHead, parse_answer_head
from s4_gateway.backend.s3.listing import list_page, parsed_page
from s4_gateway.backend.s3.xml import bucket_page, error_fields, timestamp, upload_page
from s4_gateway.serve.framing import ChunkedReader

from fuzzing.target import Target, cuts, outcome, require

END = b"\r\n\r\n"


def check_list(data: bytes) -> None:
    """The quick reader of regular pages sees what the XML parser sees; a page that is cut says how to go on."""
    quick = outcome(lambda: list_page(data), BackendError)
    require(quick == outcome(lambda: parsed_page(data), BackendError), "both readers of pages agree")
    page = list_page(data)
    require(page.token != "" and all(entry.size >= 0 for entry in page.entries), "a page is whole or goes on")


def check_pages(data: bytes) -> None:
    """Buckets and uploads."""
    try:
        _, token = bucket_page(data)
        require(token != "", "a token is text or nothing")
    except BackendError:
        upload_page(data)


def check_error(data: bytes) -> None:
    """An error document never makes reading it an error, and its code is text or nothing."""
    code, message = error_fields(data)
    require(code != "" and message != "", "a field is text or nothing")


def check_time(data: bytes) -> None:
    """Times of XML documents."""
    timestamp(data.decode("utf-8", "replace"))


def check_head(data: bytes) -> None:
    """A head frames its body as another strict parser has it; its headers are an object, or of no use."""
    text = data[: data.index(END)] if END in data else data
    bodiless = bool(data[:1] == b"\0")
    head = parse_answer_head(text.removeprefix(b"\0"), bodiless=bodiless)
    _compare(text.removeprefix(b"\0"), head, bodiless=bodiless)
    for name in head.headers:
        number(head.headers, name)
    require(bool(stored_object("key", head.headers, size=1).etag), "an object has an ETag")


def _compare(text: bytes, head: AnswerHead, *, bodiless: bool) -> None:
    other = h11.Connection(h11.CLIENT, max_incomplete_event_size=2**20)
    other.send(h11.Request(method="HEAD" if bodiless else "GET", target="/", headers=[("host", "h")]))
    other.send(h11.EndOfMessage())
    other.receive_data(text + END)
    try:
        event = other.next_event()
    except h11.RemoteProtocolError:
        # Stricter than we are about the characters of header values.
        return
    if not isinstance(event, h11.Response):
        return
    theirs = {name.decode(): value.decode("latin-1") for name, value in event.headers}
    require(event.status_code == head.status, "two parsers read one status")
    if head.length is None and not head.chunked:
        require("content-length" not in theirs and "transfer-encoding" not in theirs, "a body without a length has none for anybody")
    elif head.chunked:
        require("transfer-encoding" in theirs, "chunks are chunks for anybody")
    elif head.length and "content-length" in theirs:
        require(int(theirs["content-length"]) == head.length, "two parsers read one length")


def check_chunks(data: bytes) -> None:
    """Cut anywhere, a body is read the same; where our reader of requests takes it too, both see the same bytes."""
    if not data:
        return
    seed, wire = data[0], data[1:]
    whole = outcome(lambda: _chunks([wire]), AttemptError)
    require(outcome(lambda: _chunks(cuts(wire, seed)), AttemptError) == whole, "a cut body is read as a whole one")
    strict = ChunkedReader()
    body = b"".join(strict.feed(wire))
    # Ours drops trailers unread, and so takes some that are malformed.
    if strict.done and whole[0] == "read":  # type: ignore[index]
        require(whole[1] == (body, True), "both readers of chunks agree")  # type: ignore[index]


def _chunks(pieces: list[bytes]) -> tuple[bytes, bool]:
    reader = ChunkedBody()
    return b"".join(b"".join(reader.feed(piece)) for piece in pieces), reader.done


PARSERS = (check_list, check_pages, check_error, check_time, check_head, check_chunks)


def check_answer(data: bytes) -> None:
    """The first byte chooses the kind."""
    if data:
        PARSERS[data[0] % len(PARSERS)](data[1:])


TARGETS = (
    Target(
        "answers",
        check_answer,
        modules=tuple(f"s4_gateway.backend.s3.{name}" for name in ("xml", "listing", "headers", "http.head", "http.chunks")),
        seeds=(
            (
                b'\x00<?xml version="1.0"?><ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><EncodingType>url</EncodingType>'
                b"<IsTruncated>true</IsTruncated><NextContinuationToken>t</NextContinuationToken><Contents><Key>a%20b+c</Key><Size>3</Size>"
                b'<ETag>"e"</ETag><LastModified>2013-05-24T00:00:00.000Z</LastModified></Contents>'
                b"<CommonPrefixes><Prefix>p/</Prefix></CommonPrefixes></ListBucketResult>"
            ),
            (
                b"\x01<ListAllMyBucketsResult><Buckets><Bucket><Name>b</Name><CreationDate>2013-05-24T00:00:00Z</CreationDate></Bucket></Buckets>"
                b"</ListAllMyBucketsResult>"
            ),
            (
                b"\x01<ListMultipartUploadsResult><IsTruncated>true</IsTruncated><NextKeyMarker>k</NextKeyMarker><Upload><Key>k</Key>"
                b"<UploadId>u</UploadId><Initiated>2013-05-24T00:00:00Z</Initiated></Upload></ListMultipartUploadsResult>"
            ),
            b"\x02<Error><Code>NoSuchKey</Code><Message>a &lt; b</Message></Error>",
            b"\x032013-05-24T00:00:00.000+02:00",
            b'\x04HTTP/1.1 200 OK\r\nETag:"e"\r\nLast-Modified:Fri, 24 May 2013 00:00:00 GMT\r\nx-amz-meta-a:\xc3\xa9\r\nContent-Length:5',
            b"\x04\0HTTP/1.0 206 Partial\r\nTransfer-Encoding: chunked\r\nConnection: keep-alive",
            b"\x05\x035\r\nhello\r\n0\r\n\r\n",
            (
                b"\x00<ListBucketResult><Contents><Key>a&amp;&#233;</Key><LastModified>2013-05-24T00:00:00.000Z</LastModified><ETag>&quot;e&quot;"
                b"</ETag><Size>3</Size><Owner><ID>x</ID></Owner><StorageClass>STANDARD</StorageClass></Contents></ListBucketResult>"
            ),
        ),
        words=(
            *(b"<Contents>", b"<Key>", b"<Size>", b"<ETag>", b"<LastModified>", b"<IsTruncated>true</IsTruncated>", b"<Code>", b"</Code>"),
            *(
                b"0001-01-01T00:00:00+23:59",
                b"9999-12-31T23:59:59-23:59",
                b"Last-Modified:",
                b"ETag:",
                b"x-amz-meta-",
                b"&#x1F600;",
                b"%C3",
            ),
        ),
        refusals=(BackendError, AttemptError),
        codes=frozenset({"InvalidRequest"}),
        max_bytes=16 * 1024,
    ),
)
