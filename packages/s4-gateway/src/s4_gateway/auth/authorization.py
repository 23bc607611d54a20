"""The Authorization header: `AWS4-HMAC-SHA256 Credential=..., SignedHeaders=..., Signature=...`.

Source: Amazon S3 API Reference, "Signature Calculations for the Authorization Header: Transferring Payload in a Single Chunk".
"""

from collections.abc import Mapping
from datetime import UTC
from email.utils import parsedate_to_datetime
from functools import lru_cache

from s4_gateway import sigv4
from s4_gateway.auth.claim import Claim, Credential, parse_credential, parse_signed_names, parse_timestamp
from s4_gateway.errors import S3Error

MAX_REMEMBERED = 1024
"""Longest text that is kept parsed: whoever sends it need not have a key."""

_FIELDS = frozenset({"Credential", "SignedHeaders", "Signature"})

USE_SIGV4 = "The authorization mechanism you have provided is not supported. Please use AWS4-HMAC-SHA256."
_NO_SIGV4A = "Signature Version 4A is not implemented. Please use AWS4-HMAC-SHA256."


def sigv4a_refusal() -> S3Error:
    """Asymmetric signatures, in whatever form; never taken for an unsigned request."""
    return S3Error("NotImplemented", _NO_SIGV4A)


def parse_authorization(headers: Mapping[str, str]) -> Claim:
    """The claim of a request that has an Authorization header.

    Raises:
        S3Error: AuthorizationHeaderMalformed; InvalidRequest for Signature Version 2, NotImplemented for 4A, InvalidArgument for other
            schemes; AccessDenied without a usable date.
    """
    credential, names, signature = _split(headers["authorization"])
    if "x-amz-region-set" in headers:
        raise sigv4a_refusal()
    timestamp, time = _request_time(headers)
    if timestamp[:8] != credential.date:
        raise _malformed("Invalid credential date. This date is not the same as X-Amz-Date.")
    return Claim(credential, timestamp, time, names, signature)


def _split(value: str) -> tuple[Credential, tuple[str, ...], str]:
    """Credential, signed names and signature of a header."""
    before, field, signature = value.rpartition(",Signature=" if ", " not in value else ", Signature=")
    if field and len(before) <= MAX_REMEMBERED and "," not in signature:
        return *_claimed(before), signature
    fields = _parse_fields(value)
    return *_credential_and_names(fields), fields["Signature"]


@lru_cache(maxsize=1024)
def _claimed(before: str) -> tuple[Credential, tuple[str, ...]]:
    """What stands before the signature: it is the same in all requests of one kind that a client makes on one day."""
    return _credential_and_names(_parse_fields(f"{before},Signature="))


def _credential_and_names(fields: Mapping[str, str]) -> tuple[Credential, tuple[str, ...]]:
    return parse_credential(fields["Credential"], _malformed), parse_signed_names(fields["SignedHeaders"], _malformed)


def _parse_fields(value: str) -> dict[str, str]:
    scheme, _, rest = value.partition(" ")
    if scheme != sigv4.ALGORITHM:
        raise _unsupported(scheme)
    fields: dict[str, str] = {}
    for part in rest.split(","):
        name, equals, content = part.strip(" \t").partition("=")
        if not equals or name not in _FIELDS:
            raise _malformed("an authorization component is malformed.")
        if name in fields:
            raise _malformed(f"there is more than one {name}.")
        fields[name] = content
    if len(fields) != len(_FIELDS):
        raise _malformed("the authorization header requires three components: Credential, SignedHeaders, and Signature.")
    return fields


def _request_time(headers: Mapping[str, str]) -> tuple[str, int]:
    """Timestamp and seconds of x-amz-date, or of Date (ISO 8601 basic or RFC 9110 5.6.7) where that is the only one."""
    timestamp = headers.get("x-amz-date", "")
    time = parse_timestamp(timestamp)
    if time is None and "x-amz-date" not in headers:
        timestamp = headers.get("date", "")
        time = parse_timestamp(timestamp)
        if time is None:
            time = _http_date(timestamp)
            timestamp = sigv4.timestamp(time) if time is not None else ""
    if time is None:
        raise S3Error("AccessDenied", "AWS authentication requires a valid Date or x-amz-date header")
    return timestamp, time


def _http_date(text: str) -> int | None:
    try:
        moment = parsedate_to_datetime(text)
        return int((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp())
    except (ValueError, OverflowError):
        return None


def _malformed(why: str) -> S3Error:
    return S3Error("AuthorizationHeaderMalformed", f"The authorization header is malformed; {why}")


def _unsupported(scheme: str) -> S3Error:
    if scheme.startswith("AWS4-ECDSA"):
        return sigv4a_refusal()
    if scheme == "AWS":
        return S3Error("InvalidRequest", USE_SIGV4)
    return S3Error("InvalidArgument", "Unsupported Authorization Type", fields={"ArgumentName": "Authorization"})
