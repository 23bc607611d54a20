"""AWS Signature Version 4 for S3: canonical request, string to sign, keys, and a signer for requests of our own.

Pure functions over bytes as they are on the wire; used from both sides, to verify clients and to sign for a backend.
Source: Amazon S3 API Reference, "Authenticating Requests (AWS Signature Version 4)". S3 differs from other services in that the path is
encoded once and never normalised: `//`, `.` and `..` stay.
"""

import hmac
import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from hashlib import sha256
from urllib.parse import unquote_to_bytes

ALGORITHM = "AWS4-HMAC-SHA256"
SERVICE = "s3"
TERMINATOR = "aws4_request"

EMPTY_SHA256 = sha256().hexdigest()
UNSIGNED_PAYLOAD = "UNSIGNED-PAYLOAD"
STREAMING_SIGNED = "STREAMING-AWS4-HMAC-SHA256-PAYLOAD"
STREAMING_SIGNED_TRAILER = "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER"
STREAMING_UNSIGNED_TRAILER = "STREAMING-UNSIGNED-PAYLOAD-TRAILER"

MAX_PRESIGNED_SECONDS = 7 * 24 * 3600
"""Longest life of a presigned URL, inclusive."""

UNSIGNED_HEADERS = frozenset({"authorization", "connection", "expect", "transfer-encoding", "user-agent", "x-amzn-trace-id"})
"""Headers a signer leaves out, because hops on the way may change them."""

_SAFE = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.~")
# str.translate over latin-1 text is several times faster than urllib.parse.quote, which takes byte after byte.
_QUERY_TABLE = {byte: f"%{byte:02X}" for byte in range(256) if byte not in _SAFE}
_PATH_TABLE = {byte: text for byte, text in _QUERY_TABLE.items() if byte != ord("/")}
_plain_query = re.compile(rb"[A-Za-z0-9._~-]*").fullmatch
_plain_path = re.compile(rb"/[A-Za-z0-9/._~-]*").fullmatch
# Only ASCII white space: values are latin-1 text, in which 0x85 and 0xA0 are halves of UTF-8 characters.
_untidy = re.compile(r"[\t-\r]| {2}").search
# The same for several values at once, with NUL, which no header has, around each.
_untidy_values = re.compile(r"[\t-\r]| {2}| \x00|\x00 ").search
_runs = re.compile(r"[\t-\r ]+")


def encode_path(key: bytes) -> str:
    """Percent-encode object key or path bytes the one way that needs no further canonicalisation; `/` stays."""
    return key.decode("latin-1").translate(_PATH_TABLE)


def encode_query(value: bytes) -> str:
    """Percent-encode the bytes of one query name or value, `/` included."""
    text = value.decode("latin-1")
    return text if _plain_query(value) else text.translate(_QUERY_TABLE)


def canonical_path(raw_path: bytes) -> str:
    """The path as sent, percent-decoded once and encoded again byte by byte; nothing is normalised. Empty is `/`."""
    if _plain_path(raw_path):
        return raw_path.decode("ascii")
    return encode_path(unquote_to_bytes(raw_path)) or "/"


def query_pairs(raw_query: bytes) -> list[tuple[bytes, bytes]]:
    """(name, value) pairs in wire order, percent-decoded to bytes; `+` is a space; a name alone has an empty value.

    Empty parts (`a&&b`) are no parameters.
    """
    pairs = []
    for part in raw_query.split(b"&"):
        if part:
            name, _, value = part.partition(b"=")
            pairs.append((_decode_query(name), _decode_query(value)))
    return pairs


def canonical_query(pairs: Sequence[tuple[bytes, bytes]]) -> str:
    """Decoded pairs, encoded and then sorted by encoded name and value. The caller leaves `X-Amz-Signature` out."""
    if not pairs:
        return ""
    encoded = [(encode_query(name), encode_query(value)) for name, value in pairs]
    encoded.sort()
    return "&".join([f"{name}={value}" for name, value in encoded])


def canonical_value(value: str) -> str:
    """A header value without outer white space and with inner runs of white space made one space."""
    if _untidy(value):
        value = _runs.sub(" ", value)
    return value.strip(" ")


def canonical_request(method: str, path: str, query: str, *, headers: Mapping[str, str], names: Sequence[str], payload_hash: str) -> bytes:
    """The text whose hash is signed.

    Args:
        method: HTTP method, upper case.
        path: from `canonical_path`.
        query: from `canonical_query`.
        headers: lower-case names with latin-1 values; repeated headers joined by a comma.
        names: the signed ones among them, each once, sorted.
        payload_hash: value of x-amz-content-sha256, or what stands for it.
    """
    values = [headers[name] for name in names]
    if _untidy_values("\0".join(["", *values, ""])):
        values = [canonical_value(value) for value in values]
    lines = "".join([f"{name}:{value}\n" for name, value in zip(names, values, strict=True)])
    return f"{method}\n{path}\n{query}\n{lines}\n{';'.join(names)}\n{payload_hash}".encode("latin-1")


def scope(date: str, region: str) -> str:
    """Credential scope: `yyyymmdd/region/s3/aws4_request`."""
    return f"{date}/{region}/{SERVICE}/{TERMINATOR}"


def string_to_sign(timestamp: str, scope: str, canonical: bytes) -> str:
    """The signed text of a request; `timestamp` is `yyyymmddThhmmssZ`."""
    return f"{ALGORITHM}\n{timestamp}\n{scope}\n{sha256(canonical).hexdigest()}"


def chunk_string_to_sign(timestamp: str, scope: str, previous: str, data_hash: str) -> str:
    """The signed text of one aws-chunked chunk; `previous` is the signature before it, the request's own for the first."""
    return f"{ALGORITHM}-PAYLOAD\n{timestamp}\n{scope}\n{previous}\n{EMPTY_SHA256}\n{data_hash}"


def trailer_string_to_sign(timestamp: str, scope: str, previous: str, trailer_hash: str) -> str:
    """The signed text of an aws-chunked trailer; `previous` is the signature of the last (empty) chunk."""
    return f"{ALGORITHM}-TRAILER\n{timestamp}\n{scope}\n{previous}\n{trailer_hash}"


@lru_cache(maxsize=256)
def signing_key(secret_key: str, date: str, region: str) -> bytes:
    """Key for one secret, day and region. Kept, because it costs four HMACs; bounded, because clients choose the region."""
    key = b"AWS4" + secret_key.encode()
    for part in (date, region, SERVICE, TERMINATOR):
        key = hmac.digest(key, part.encode("latin-1"), "sha256")
    return key


def sign(key: bytes, text: str) -> str:
    """Lower-hex signature of a string to sign."""
    return hmac.digest(key, text.encode("latin-1"), "sha256").hex()


@lru_cache(maxsize=8)
def timestamp(when: int) -> str:
    """`yyyymmddThhmmssZ` of whole seconds since the epoch."""
    return time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(when))


@dataclass(frozen=True, slots=True)
class Signer:
    """Signs requests with one key pair. The secret never shows in `repr`."""

    access_key: str
    secret_key: str = field(repr=False)
    session_token: str | None = field(default=None, repr=False)
    region: str = "us-east-1"

    def sign(
        self, method: str, raw_path: str, raw_query: str, *, headers: Mapping[str, str], payload_hash: str, when: float
    ) -> dict[str, str]:
        """The headers to send: those given, and date, payload hash, session token and authorization.

        Args:
            method: HTTP method, upper case.
            raw_path: percent-encoded path, exactly as it goes on the wire.
            raw_query: percent-encoded query without `?`, exactly as it goes on the wire.
            headers: lower-case names with latin-1 values, `host` among them. All are signed but `UNSIGNED_HEADERS`.
            payload_hash: lower-hex SHA-256 of the body, or UNSIGNED_PAYLOAD.
            when: seconds since the epoch.
        """
        stamp = timestamp(int(when))
        signed = {**headers, "x-amz-content-sha256": payload_hash, "x-amz-date": stamp}
        if self.session_token is not None:
            signed["x-amz-security-token"] = self.session_token
        names = _signed_names(tuple(signed))
        query = canonical_query(query_pairs(raw_query.encode("ascii"))) if raw_query else ""
        path = canonical_path(raw_path.encode("ascii"))
        canonical = canonical_request(method, path, query, headers=signed, names=names, payload_hash=payload_hash)
        date_scope, signature = self._signature(stamp, canonical)
        signed["authorization"] = (
            f"{ALGORITHM} Credential={self.access_key}/{date_scope}, SignedHeaders={';'.join(names)}, Signature={signature}"
        )
        return signed

    def presign(self, method: str, raw_path: str, raw_query: str, *, headers: Mapping[str, str], expires: int, when: float) -> str:
        """The query to send instead of `raw_query`; the payload stays unsigned.

        Args:
            method, raw_path, raw_query, when: as for `sign`.
            headers: those that whoever uses the URL must send exactly so, `host` among them; all are signed.
            expires: life in seconds, 1 to `MAX_PRESIGNED_SECONDS` inclusive.

        Raises:
            ValueError: `expires` is out of bounds.
        """
        if not 1 <= expires <= MAX_PRESIGNED_SECONDS:
            raise ValueError(f"expires must be 1 to {MAX_PRESIGNED_SECONDS} seconds, not {expires}")
        stamp = timestamp(int(when))
        names = _signed_names(tuple(headers))
        pairs = query_pairs(raw_query.encode("ascii"))
        pairs += [
            (b"X-Amz-Algorithm", ALGORITHM.encode()),
            (b"X-Amz-Credential", f"{self.access_key}/{scope(stamp[:8], self.region)}".encode()),
            (b"X-Amz-Date", stamp.encode()),
            (b"X-Amz-Expires", b"%d" % expires),
            (b"X-Amz-SignedHeaders", ";".join(names).encode("latin-1")),
        ]
        if self.session_token is not None:
            pairs.append((b"X-Amz-Security-Token", self.session_token.encode()))
        query = canonical_query(pairs)
        path = canonical_path(raw_path.encode("ascii"))
        canonical = canonical_request(method, path, query, headers=headers, names=names, payload_hash=UNSIGNED_PAYLOAD)
        _, signature = self._signature(stamp, canonical)
        return f"{query}&X-Amz-Signature={signature}"

    def _signature(self, stamp: str, canonical: bytes) -> tuple[str, str]:
        """Scope and signature."""
        date_scope = scope(stamp[:8], self.region)
        return date_scope, sign(signing_key(self.secret_key, stamp[:8], self.region), string_to_sign(stamp, date_scope, canonical))


@lru_cache(maxsize=256)
def _signed_names(names: tuple[str, ...]) -> tuple[str, ...]:
    """The names to sign, sorted. Kept, because most requests have the names of one before."""
    return tuple(sorted(set(names) - UNSIGNED_HEADERS))


def _decode_query(part: bytes) -> bytes:
    return unquote_to_bytes(part.replace(b"+", b" ")) if b"%" in part or b"+" in part else part
