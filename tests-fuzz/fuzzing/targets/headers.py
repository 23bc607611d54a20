"""Values of single headers and query parameters: ranges, conditions, dates, checksums, copy sources, numbers, list tokens."""

from collections.abc import Callable

from s4_gateway.backend.s3.headers import http_date as backend_date
from s4_gateway.errors import NotModified, S3Error
from s4_gateway.operations.list import decode_token, encode_token
from s4_gateway.wire.conditions import ReadConditions, WriteConditions, if_range_matches
from s4_gateway.wire.dates import http_date, iso_date, parse_http_date
from s4_gateway.wire.digests import Promised
from s4_gateway.wire.headers import copy_source, int_param, part_number, response_overrides
from s4_gateway.wire.ranges import content_range, parse_copy_range, parse_range

from fuzzing.target import Target, require

SIZES = (0, 1, 4096, 5 * 2**40)
NAMES = (
    *("if-match", "if-none-match", "if-modified-since", "if-unmodified-since", "content-md5", "x-amz-trailer"),
    *("x-amz-checksum-crc32", "x-amz-checksum-algorithm", "x-amz-sdk-checksum-algorithm", "x-amz-checksum-type", "x-amz-checksum-sha256"),
)


def range_header(text: str) -> None:
    """A range lies in the object, and its text asks for the same again."""
    parsed = parse_range(text)
    if parsed is None:
        return
    require(parse_range(str(parsed)) == parsed, "a range survives being written and read")
    for size in SIZES:
        try:
            start, stop = parsed.resolve(size)
        except S3Error as error:
            require(error.code == "InvalidRange" and error.headers["content-range"] == f"bytes */{size}", "only 416 is left")
            continue
        require(0 <= start < stop <= size, "a range lies in the object")
        content_range(start, stop, size)


def copy_range(text: str) -> None:
    """The span of a copy source lies in it."""
    parsed = parse_copy_range(text)
    for size in SIZES:
        try:
            start, stop = parsed.resolve_exact(size) if parsed is not None else (0, size)
        except S3Error as error:
            require(error.code == "InvalidArgument", "a range behind the end is an argument that is wrong")
            continue
        require(0 <= start <= stop <= size, "a range lies in the source")


def conditions(text: str) -> None:
    """Reading and writing conditions are refused or can be judged."""
    headers = _headers(text)
    for prefix in ("", "x-amz-copy-source-"):
        given = ReadConditions.from_headers({prefix + name: value for name, value in headers.items()}, prefix)
        for etag in (None, "d41d8cd98f00b204e9800998ecf8427e"):
            try:
                given.check(etag, 784111777, copy=bool(prefix))
            except S3Error as error:
                require(error.code == "PreconditionFailed", "a condition fails as one")
            except NotModified:
                require(not prefix, "a copy is never told 304")
    wanted = WriteConditions.from_headers(headers)
    require(not (wanted.if_absent and wanted.if_match), "an object cannot be there and absent")
    if_range_matches(text, "etag", 784111777)


def date(text: str) -> None:
    """A date that is read is written and read as the same second; the backend's reader agrees on the form that we write."""
    seconds = parse_http_date(text)
    backend_date(text)
    if seconds is not None and seconds >= -62135596800:
        written = http_date(seconds)
        iso_date(seconds)
        require(parse_http_date(written) == seconds, "a date survives being written and read")
        require(backend_date(written) == seconds, "both readers of dates agree")


def digests(text: str) -> None:
    """Promises have values of the right length, and at most one is made."""
    for composite in (False, True):
        promised = Promised.from_headers(_headers(text), composite=composite)
        require(len(promised.checksums) + (promised.trailer is not None) <= 1, "one checksum is promised")
        require(promised.md5 is None or len(promised.md5) == 16, "an MD5 has its length")


def source(text: str) -> None:
    """A copy source has bucket and key."""
    found = copy_source({"x-amz-copy-source": text})
    require(bool(found.bucket and found.key) and "/" not in found.bucket and found.version_id != "", "a copy source is an object")


def number(text: str) -> None:
    """Numbers are in their bounds."""
    found = part_number({"partNumber": text})
    require(found is not None and 1 <= found <= 10_000, "a part number is one")
    require(0 <= int_param({"max-keys": text}, "max-keys", default=7, low=0, high=2**31 - 1) < 2**31, "a count is in its bounds")


def overrides(text: str) -> None:
    """What a query sets in an answer fits into a header line."""
    for value in response_overrides({"response-content-type": text, "response-expires": text}).values():
        require(not set(value.encode("latin-1")) & set(b"\r\n\0"), "no header line is split")


def token(text: str) -> None:
    """A token that is taken stands for a name, which stands for a token."""
    name = decode_token(text)
    require(bool(name) and decode_token(encode_token(name)) == name, "a token survives being read and written")


def _headers(text: str) -> dict[str, str]:
    """`<letter>value` a line; the letter names the header."""
    return {NAMES[ord(line[0]) % len(NAMES)]: line[1:] for line in text.split("\n") if line}


HEADERS: tuple[Callable[[str], None], ...] = (range_header, copy_range, conditions, date, digests, source)
PARAMETERS: tuple[Callable[[str], None], ...] = (number, overrides, token)
PARSERS = HEADERS + PARAMETERS


def check_values(data: bytes) -> None:
    """The first byte chooses the parser. Header values are latin-1, parameters Unicode."""
    if not data:
        return
    parser = PARSERS[data[0] % len(PARSERS)]
    parser(data[1:].decode("latin-1") if parser in HEADERS else data[1:].decode("utf-8", "replace"))


def _seed(parser: Callable[[str], None], text: str) -> bytes:
    return bytes([PARSERS.index(parser)]) + text.encode()


def _lines(**values: str) -> str:
    return "\n".join(chr(NAMES.index(name.replace("_", "-"))) + value for name, value in values.items())


TARGETS = (
    Target(
        "values",
        check_values,
        modules=(
            *(f"s4_gateway.wire.{name}" for name in ("ranges", "conditions", "dates", "digests", "headers")),
            *("s4_gateway.operations.list", "s4_gateway.backend.s3.headers"),
        ),
        seeds=(
            *(_seed(range_header, text) for text in ("bytes=0-9", "bytes=-5", "bytes=5-", "bytes=0-0,5-9", "bytes=99999999999999999999-")),
            *(_seed(copy_range, text) for text in ("bytes=0-9", "bytes=5-")),
            _seed(conditions, _lines(if_match='"a", W/"b", c')),
            _seed(conditions, _lines(if_none_match="*", if_modified_since="Sun, 06 Nov 1994 08:49:37 GMT")),
            *(
                _seed(date, text)
                for text in ("Sun, 06 Nov 1994 08:49:37 GMT", "Sunday, 06-Nov-94 08:49:37 GMT", "Sun Nov  6 08:49:37 1994")
            ),
            _seed(digests, _lines(content_md5="1B2M2Y8AsgTpgAmY7PhCfg==")),
            _seed(
                digests, _lines(x_amz_checksum_crc32="AAAAAA==-3", x_amz_checksum_type="COMPOSITE", x_amz_sdk_checksum_algorithm="CRC32")
            ),
            _seed(digests, _lines(x_amz_trailer="x-amz-checksum-crc32c")),
            *(_seed(source, text) for text in ("/bucket/a%20b?versionId=x", "bucket/k+é", "arn:aws:s3:::x/y")),
            _seed(number, "10000"),
            _seed(overrides, "text/plain"),
            _seed(token, encode_token("prefix/é")),
        ),
        words=(b"bytes=", b"GMT", b"*", b'W/"', b"Nov", b"-0000", b"%2F", b"FULL_OBJECT", b"crc64nvme", b"\n", b"9999999999999999999"),
        codes=frozenset({"InvalidArgument", "InvalidDigest", "InvalidRequest", "KeyTooLongError", "NotImplemented"}),
        max_bytes=512,
    ),
)
