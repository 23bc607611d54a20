"""One HTTP exchange with a store of tests: the request as it came, the answer or what comes instead, and the store's look at signatures."""

import hashlib
import re
from base64 import b64encode
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from urllib.parse import unquote, unquote_plus

from s4_gateway import sigv4
from s4_gateway.backend.s3.credentials import KeyPair

KEYS = KeyPair("AKIDEXAMPLE", "secret/EXAMPLE")
"""The only pair that `check` accepts."""

_AUTHORIZATION = re.compile(r"AWS4-HMAC-SHA256 Credential=([^/]+)/([^,]+), SignedHeaders=([^,]+), Signature=([0-9a-f]{64})")


@dataclass(frozen=True, slots=True)
class Received:
    """One request as it came."""

    method: str
    target: str
    """Raw path and query."""
    raw_headers: tuple[tuple[bytes, bytes], ...]
    body: bytes

    @property
    def path(self) -> str:
        return self.target.partition("?")[0]

    @property
    def raw_query(self) -> str:
        return self.target.partition("?")[2]

    @property
    def query(self) -> dict[str, str]:
        pairs = [part.partition("=") for part in self.raw_query.split("&") if part]
        return {name: unquote_plus(value) for name, _, value in pairs}

    @property
    def headers(self) -> dict[str, str]:
        """Lower-case names, latin-1 values."""
        return {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in self.raw_headers}

    @property
    def address(self) -> tuple[str, str]:
        """(bucket, key), decoded."""
        bucket, _, key = self.path[1:].partition("/")
        return unquote(bucket), unquote(key)


@dataclass(frozen=True, slots=True)
class Reply:
    """One answer, or what comes instead of one."""

    status: int = 200
    body: bytes = b""
    headers: Mapping[str, str | bytes] = field(default_factory=dict)
    drop: bool = False
    """Close the connection without an answer."""
    cut: int | None = None
    """Close the connection after so many bytes of the body."""
    delay: float = 0.0
    """Seconds before the answer."""
    silent: bool = False
    """Never answer."""
    raw: bytes | None = None
    """Send this and close, instead of all else."""
    behind: bytes = b""
    """Sent a moment after the answer, although nobody asked."""
    bare: bool = False
    """Add no header by itself."""


Handler = Callable[[Received], Awaitable[Reply]]


def error_reply(code: str, status: int, message: str = "it says why") -> Reply:
    """An S3 error document."""
    document = f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>{message}</Message></Error>"
    return Reply(status, document.encode(), {"content-type": "application/xml"})


def check(request: Received) -> Reply | None:
    """Refuse a request whose signature or digests do not fit the bytes that came."""
    headers = request.headers
    match = _AUTHORIZATION.fullmatch(headers.get("authorization", ""))
    if match is None:
        return error_reply("AccessDenied", 403, "not signed")
    access_key, scope, signed, signature = match.groups()
    names = signed.split(";")
    payload_hash = headers["x-amz-content-sha256"]
    canonical = sigv4.canonical_request(
        request.method,
        sigv4.canonical_path(request.path.encode()),
        sigv4.canonical_query(sigv4.query_pairs(request.raw_query.encode())),
        headers=headers,
        names=names,
        payload_hash=payload_hash,
    )
    text = sigv4.string_to_sign(headers["x-amz-date"], scope, canonical)
    date, region, *_ = scope.split("/")
    key = sigv4.signing_key(KEYS.secret_key, date, region)
    if access_key != KEYS.access_key or sigv4.sign(key, text) != signature:
        return error_reply("SignatureDoesNotMatch", 403)
    if payload_hash != sigv4.UNSIGNED_PAYLOAD and hashlib.sha256(request.body).hexdigest() != payload_hash:
        return error_reply("XAmzContentSHA256Mismatch", 400)
    md5 = headers.get("content-md5")
    if md5 is not None and b64encode(hashlib.md5(request.body, usedforsecurity=False).digest()).decode() != md5:
        return error_reply("BadDigest", 400)
    return None
