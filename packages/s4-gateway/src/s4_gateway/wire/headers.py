"""Typed reading of request headers and query parameters, and the object headers of answers.

Values are `str` that hold the wire bytes as latin-1, so that what a client stored comes back byte for byte, whatever its charset.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import unquote_to_bytes

from s4_gateway.backend.abc import SYSTEM_HEADERS
from s4_gateway.call import Call
from s4_gateway.errors import S3Error
from s4_gateway.wire.dates import http_date

__all__ = [
    "MAX_KEY_BYTES",
    "MAX_PART_NUMBER",
    "CopySource",
    "copy_source",
    "http_date",
    "int_param",
    "object_response_headers",
    "part_number",
    "response_overrides",
    "stored_headers",
]

MAX_KEY_BYTES = 1024
"""S3's limit for the UTF-8 form of a key."""
MAX_PART_NUMBER = 10_000
DEFAULT_CONTENT_TYPE = "binary/octet-stream"
"""What S3 answers for an object that was stored without Content-Type."""
_META = "x-amz-meta-"
_RESERVED_META = "x-amz-meta-s4-"
_MOST_DIGITS = 19
_OVERRIDES = {f"response-{name}": name for name in SYSTEM_HEADERS}


@dataclass(frozen=True, slots=True)
class CopySource:
    """Where a copy reads from."""

    bucket: str
    key: str
    version_id: str | None = None


def stored_headers(call: Call) -> tuple[dict[str, str], dict[str, str]]:
    """What the client wants kept with its object: (system headers, user metadata without the `x-amz-meta-` prefix).

    `aws-chunked` is framing and is taken off Content-Encoding. Metadata called `s4-*` is dropped: it is this gateway's own, and clients
    can never set it.

    Raises:
        S3Error: InvalidArgument for metadata without a name.
    """
    system: dict[str, str] = {}
    metadata: dict[str, str] = {}
    for name, value in call.headers.items():
        if name.startswith(_META):
            if name.startswith(_RESERVED_META):
                continue
            if name == _META:
                raise S3Error("InvalidArgument", "User metadata must have a name.", fields={"ArgumentName": _META, "ArgumentValue": value})
            metadata[name.removeprefix(_META)] = value
        elif name in SYSTEM_HEADERS:
            if name == "content-encoding":
                value = _without_framing(value)
                if not value:
                    continue
            system[name] = value
    return system, metadata


def _without_framing(content_encoding: str) -> str:
    if "aws-chunked" not in content_encoding.lower():
        return content_encoding
    codings = (coding.strip() for coding in content_encoding.split(","))
    return ",".join(coding for coding in codings if coding and coding.lower() != "aws-chunked")


def object_response_headers(headers: Mapping[str, str], metadata: Mapping[str, str]) -> dict[str, str]:
    """The headers of GET and HEAD that describe the stored object; `s4-*` metadata never shows.

    ETag, Last-Modified, length, checksums and the like are the caller's: they are logical values.
    """
    answer = {"accept-ranges": "bytes", "content-type": DEFAULT_CONTENT_TYPE}
    answer.update(headers)
    for name, value in metadata.items():
        if not name.startswith("s4-"):
            answer[_META + name] = value
    return answer


def response_overrides(query: Mapping[str, str]) -> dict[str, str]:
    """Headers of a GET or HEAD answer that the client sets by `response-*` parameters.

    Raises:
        S3Error: InvalidArgument for a value that no header can carry.
    """
    overrides: dict[str, str] = {}
    if not query:
        return overrides
    for parameter in query.keys() & _OVERRIDES.keys():
        value = query[parameter]
        if any(character < " " or character == "\x7f" for character in value):
            raise _argument(parameter, value, "Header value contains control characters.")
        try:
            value.encode("latin-1")
        except UnicodeEncodeError:
            raise _argument(parameter, value, "Header value cannot be represented using ISO-8859-1.") from None
        overrides[_OVERRIDES[parameter]] = value
    return overrides


def copy_source(headers: Mapping[str, str]) -> CopySource:
    """The `x-amz-copy-source` of a CopyObject or UploadPartCopy: `[/]bucket/key[?versionId=id]`, URL-encoded.

    As in S3 a `+` stands for a space; clients encode a plus sign as `%2B`.

    Raises:
        S3Error: InvalidArgument for what is no bucket and key, KeyTooLongError, NotImplemented for access point ARNs.
    """
    value = headers.get("x-amz-copy-source", "").strip()
    path, mark, version = value.rpartition("?versionId=")
    if not mark:
        path, version = value, ""
    if mark and not version:
        raise _argument("x-amz-copy-source", value, "Version id cannot be the empty string")
    try:
        decoded = _unquote(path)
        version_id = _unquote(version) if version else None
    except UnicodeDecodeError:
        raise _argument("x-amz-copy-source", value, "Invalid copy source encoding.") from None
    if decoded.startswith("arn:"):
        raise S3Error("NotImplemented", "Access points are not implemented.", fields={"Header": "x-amz-copy-source"})
    bucket, _, key = decoded.removeprefix("/").partition("/")
    if not bucket or not key:
        raise _argument("x-amz-copy-source", value, "Copy Source must mention the source bucket and key: sourcebucket/sourcekey")
    if len(key.encode()) > MAX_KEY_BYTES:
        raise S3Error("KeyTooLongError")
    return CopySource(bucket, key, version_id)


def _unquote(value: str) -> str:
    return unquote_to_bytes(value.replace("+", " ").encode("latin-1")).decode()


def int_param(source: Mapping[str, str], name: str, *, default: int, low: int, high: int) -> int:
    """An integer in [low, high] out of the query or the headers; `default` where it is absent or empty.

    Raises:
        S3Error: InvalidArgument for anything else. Where S3 cuts instead (max-keys), the caller cuts.
    """
    value = source.get(name, "").strip()
    if not value:
        return default
    number = int(value) if value.isascii() and value.isdigit() and len(value) <= _MOST_DIGITS else None
    if number is None or not low <= number <= high:
        raise _argument(name, value, f"Provided {name} not an integer or within integer range")
    return number


def part_number(query: Mapping[str, str]) -> int | None:
    """The `partNumber` parameter; None where it is absent.

    Raises:
        S3Error: InvalidArgument outside 1..10,000, or if it is empty.
    """
    value = query.get("partNumber")
    if value is None:
        return None
    number = int(value) if value.isascii() and value.isdigit() and len(value) <= _MOST_DIGITS else 0
    if not 1 <= number <= MAX_PART_NUMBER:
        raise _argument("partNumber", value, "Part number must be an integer between 1 and 10000, inclusive")
    return number


def _argument(name: str, value: str, message: str) -> S3Error:
    return S3Error("InvalidArgument", message, fields={"ArgumentName": name, "ArgumentValue": value})
