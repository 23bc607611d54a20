"""From an ASGI scope to a `Call`: address, operation, headers, query. Nothing is decided here but what S3 itself refuses to parse."""

import random
import re
from urllib.parse import unquote_to_bytes

from starlette.types import Receive, Scope

from s4_gateway.call import Call
from s4_gateway.errors import S3Error
from s4_gateway.wire.body import RawBody, too_large
from s4_gateway.wire.headers import MAX_KEY_BYTES
from s4_gateway.wire.routes import Level, route

MAX_BODY_BYTES = 5 * 2**30
"""Largest object body and largest part of S3."""

_BAD_ESCAPE = re.compile(rb"%(?![0-9A-Fa-f]{2})")
_BUCKET = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{2,254}")
"""What any store may have: old buckets have upper case, underscores and up to 255 characters. New names are CreateBucket's to judge."""
_LENGTH = re.compile(r"[0-9]{1,18}")
_UPLOADS = frozenset({"PutObject", "UploadPart"})


def new_request_id() -> str:
    """16 upper-case hex digits. They name a request and are no secret; the generator is seeded anew in a forked process."""
    return f"{random.getrandbits(64):016X}"


class RequestParser:
    """Makes calls of requests.

    Args:
        domain: with it, `<bucket>.<domain>` in Host names the bucket; every other host, the domain itself and IP addresses are path style.
        max_body_bytes: longest body of PutObject and UploadPart, in decoded bytes.
    """

    def __init__(self, *, domain: str | None, max_body_bytes: int = MAX_BODY_BYTES) -> None:
        self._suffix = "." + domain.strip(".").lower() if domain else None
        self._max_body_bytes = max_body_bytes

    def parse(self, scope: Scope, receive: Receive) -> Call:
        """The call; its body is a `RawBody` of which nothing has been read.

        Raises:
            S3Error: InvalidURI, InvalidBucketName, KeyTooLongError, MethodNotAllowed, NotImplemented, InvalidArgument,
                MissingContentLength, EntityTooLarge; `close` is set where the request has a body.
        """
        raw_headers = tuple(scope["headers"])
        headers = _headers(raw_headers)
        size = None if "transfer-encoding" in headers else 0
        try:
            if size is not None and "content-length" in headers:
                size = _length(headers["content-length"])
            bucket, key, query = self._address(scope, headers)
            level = Level.OBJECT if key else Level.BUCKET if bucket else Level.SERVICE
            method: str = scope["method"]
            operation = route(method, level, query, headers)
            if operation in _UPLOADS:
                self._check_length(headers, size)
        except S3Error as error:
            error.close = error.close or size != 0
            raise
        client = scope.get("client")
        return Call(
            operation=operation,
            method=method,
            bucket=bucket,
            key=key,
            query=query,
            headers=headers,
            request_id=new_request_id(),
            raw_path=scope["raw_path"],
            raw_query=scope["query_string"],
            raw_headers=raw_headers,
            resource=f"/{bucket}/{key}" if key else f"/{bucket}",
            source_ip=client[0] if client else None,
            body=RawBody(receive, size=size, max_bytes=self._most_raw_bytes(headers)),
        )

    def _address(self, scope: Scope, headers: dict[str, str]) -> tuple[str, str, dict[str, str]]:
        path: bytes = scope["raw_path"]
        if not path.startswith(b"/"):
            raise S3Error("InvalidURI")
        bucket = self._host_bucket(headers.get("host", "")) if self._suffix is not None else None
        if bucket is not None:
            raw_key = path[1:]
        else:
            raw_bucket, _, raw_key = path[1:].partition(b"/")
            bucket = _decoded(raw_bucket)
            if not bucket and raw_key:
                raise S3Error("InvalidBucketName", fields={"BucketName": ""})
        if bucket and (_BUCKET.fullmatch(bucket) is None or ".." in bucket):
            raise S3Error("InvalidBucketName", fields={"BucketName": bucket})
        key = _decoded(raw_key)
        if len(key) * 4 > MAX_KEY_BYTES and len(key.encode()) > MAX_KEY_BYTES:
            raise S3Error("KeyTooLongError", fields={"Size": str(len(key.encode())), "MaxSizeAllowed": str(MAX_KEY_BYTES)})
        return bucket, key, _query(scope["query_string"])

    def _host_bucket(self, host: str) -> str | None:
        """The bucket that Host names; None = path style."""
        name = host.partition(":")[0].removesuffix(".").lower()
        if self._suffix is None or not name.endswith(self._suffix):
            return None
        return name.removesuffix(self._suffix) or None

    def _check_length(self, headers: dict[str, str], size: int | None) -> None:
        if "content-length" not in headers and "transfer-encoding" not in headers:
            raise S3Error("MissingContentLength")
        decoded = headers.get("x-amz-decoded-content-length")
        length = _length(decoded) if decoded is not None else size
        if length is not None and length > self._max_body_bytes:
            raise too_large(length, self._max_body_bytes)

    def _most_raw_bytes(self, headers: dict[str, str]) -> int | None:
        # The decoder of aws-chunked bounds what it reads by the decoded length, and the overhead of its framing has no useful bound.
        return None if "x-amz-decoded-content-length" in headers else self._max_body_bytes


def _headers(raw_headers: tuple[tuple[bytes, bytes], ...]) -> dict[str, str]:
    headers: dict[str, str] = {}
    for raw_name, raw_value in raw_headers:
        name, value = raw_name.decode("latin-1"), raw_value.decode("latin-1").strip(" \t")
        headers[name] = f"{headers[name]},{value}" if name in headers else value
    return headers


def _length(value: str) -> int:
    if _LENGTH.fullmatch(value) is None:
        raise S3Error("InvalidArgument", "The length of the body is not a number.", fields={"ArgumentValue": value}, close=True)
    return int(value)


def _decoded(raw: bytes) -> str:
    """Percent-decoding of a path; `+` is itself, and nothing is normalised."""
    if b"%" in raw:
        if _BAD_ESCAPE.search(raw) is not None:
            raise S3Error("InvalidURI")
        raw = unquote_to_bytes(raw)
    try:
        return raw.decode()
    except UnicodeDecodeError:
        raise S3Error("InvalidURI") from None


def _query(raw: bytes) -> dict[str, str]:
    """Decoded parameters; `+` is a space. The first of several of one name counts."""
    query: dict[str, str] = {}
    if not raw:
        return query
    try:
        for pair in raw.split(b"&"):
            if pair:
                name, _, value = pair.partition(b"=")
                query.setdefault(_parameter(name), _parameter(value))
    except UnicodeDecodeError:
        raise S3Error("InvalidURI") from None
    if query.get("versionId") == "":
        fields = {"ArgumentName": "versionId", "ArgumentValue": ""}
        raise S3Error("InvalidArgument", "Version id cannot be the empty string", fields=fields)
    return query


def _parameter(raw: bytes) -> str:
    if b"+" in raw:
        raw = raw.replace(b"+", b" ")
    return unquote_to_bytes(raw).decode() if b"%" in raw else raw.decode()
