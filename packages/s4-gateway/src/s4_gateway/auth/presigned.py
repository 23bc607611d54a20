"""Presigned URLs: the signature and its parameters in the query.

Source: Amazon S3 API Reference, "Authenticating Requests: Using Query Parameters".
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from s4_gateway import sigv4
from s4_gateway.auth.authorization import sigv4a_refusal
from s4_gateway.auth.claim import Claim, Refusal, parse_credential, parse_signed_names, parse_timestamp
from s4_gateway.errors import S3Error

_ALGORITHM, _CREDENTIAL, _DATE, _EXPIRES = b"X-Amz-Algorithm", b"X-Amz-Credential", b"X-Amz-Date", b"X-Amz-Expires"
_SIGNED_HEADERS, _SIGNATURE = b"X-Amz-SignedHeaders", b"X-Amz-Signature"
_REQUIRED = (_ALGORITHM, _CREDENTIAL, _DATE, _EXPIRES, _SIGNED_HEADERS, _SIGNATURE)
_REGION_SET = b"X-Amz-Region-Set"

_MARKS = frozenset({_ALGORITHM, _CREDENTIAL, _SIGNATURE, _REGION_SET})
"""Any of these makes a request a presigned one: a damaged URL is refused as such and never taken for an unsigned request."""

_PREFIX = b"x-amz-"
OF_SIGNATURE = frozenset({name.lower() for name in (*_REQUIRED, _REGION_SET)})
"""Lower-case names of what is the signature's own and no header."""

_COPY_SOURCE = b"x-amz-copy-source"
"""Never taken from the query: it decides which operation a request is, and that is known before its signature is read."""

# RFC 9110 5.1 and 5.5: what percent-decoding gives may end up in header fields of other requests.
_header_name = re.compile(rb"[!#$%&'*+.^_`|~0-9a-z-]+").fullmatch
_header_value = re.compile(rb"[\t\x20-\x7e\x80-\xff]*").fullmatch
_digits = re.compile(rb"-?[0-9]{1,20}").fullmatch

Pairs = Sequence[tuple[bytes, bytes]]
"""Decoded query parameters in wire order."""


@dataclass(frozen=True, slots=True)
class Presigned:
    """A presigned URL's claim."""

    claim: Claim
    expires: int
    """Seconds of life after `claim.time`, inclusive."""
    signed_pairs: Pairs
    """The parameters that the signature covers: all but the signature."""
    hoisted: dict[str, str]
    """Headers that the signer moved into the query (`x-amz-acl=private`): lower-case names, latin-1 values; they count as signed."""


def is_presigned(pairs: Pairs) -> bool:
    """Whether the query has parameters of Signature Version 4 or 4A."""
    return any(name in _MARKS for name, _ in pairs)


def parse_presigned(pairs: Pairs) -> Presigned:
    """The claim of a presigned URL.

    Raises:
        S3Error: AuthorizationQueryParametersError; NotImplemented for Signature Version 4A.
    """
    values = dict(pairs)
    if values.get(_ALGORITHM, b"").startswith(b"AWS4-ECDSA") or _REGION_SET in values:
        raise sigv4a_refusal()
    if not all(map(values.get, _REQUIRED)):
        raise _refused(
            "Query-string authentication version 4 requires the X-Amz-Algorithm, X-Amz-Credential, X-Amz-Signature, X-Amz-Date, "
            "X-Amz-SignedHeaders, and X-Amz-Expires parameters."
        )
    amz_pairs = [(name, value) for name, value in ((name.lower(), value) for name, value in pairs) if name.startswith(_PREFIX)]
    if len(dict(amz_pairs)) != len(amz_pairs):
        raise _refused("An X-Amz parameter occurs more than once.")
    if values[_ALGORITHM] != sigv4.ALGORITHM.encode():
        raise _refused(f'X-Amz-Algorithm only supports "{sigv4.ALGORITHM}"')
    return Presigned(
        _parse_claim(values),
        _parse_expires(values[_EXPIRES]),
        [pair for pair in pairs if pair[0] != _SIGNATURE],
        hoisted_headers([pair for pair in amz_pairs if pair[0] not in OF_SIGNATURE], _refused),
    )


def _parse_claim(values: dict[bytes, bytes]) -> Claim:
    credential = parse_credential(values[_CREDENTIAL].decode("latin-1"), _bad_credential)
    timestamp = values[_DATE].decode("latin-1")
    time = parse_timestamp(timestamp)
    if time is None:
        raise _refused("X-Amz-Date must be in the ISO8601 Long Format \"yyyyMMdd'T'HHmmss'Z'\"")
    if timestamp[:8] != credential.date:
        raise _refused("Invalid credential date. This date is not the same as X-Amz-Date.")
    signed_names = parse_signed_names(values[_SIGNED_HEADERS].decode("latin-1"), _refused)
    return Claim(credential, timestamp, time, signed_names, values[_SIGNATURE].decode("latin-1"))


def hoisted_headers(pairs: Pairs, refusal: Refusal) -> dict[str, str]:
    """Headers out of parameters with lower-case names, each once; values become latin-1.

    Raises:
        S3Error: what `refusal` makes for a parameter that is no header; NotImplemented for a copy source.
    """
    headers = {}
    for name, value in pairs:
        if not _header_name(name) or not _header_value(value):
            raise refusal("A query parameter that stands for a header is no valid header.")
        if name.startswith(_COPY_SOURCE):
            raise S3Error("NotImplemented", "x-amz-copy-source must be sent as a header.")
        headers[name.decode("ascii")] = value.decode("latin-1")
    return headers


def _parse_expires(value: bytes) -> int:
    if not _digits(value):
        raise _refused("X-Amz-Expires should be a number")
    expires = int(value)
    if expires < 0:
        raise _refused("X-Amz-Expires must be non-negative")
    if expires > sigv4.MAX_PRESIGNED_SECONDS:
        raise _refused(
            "X-Amz-Expires must be less than a week (in seconds); that is, the given X-Amz-Expires must be less than "
            f"{sigv4.MAX_PRESIGNED_SECONDS} seconds"
        )
    return expires


def _refused(why: str) -> S3Error:
    return S3Error("AuthorizationQueryParametersError", why)


def _bad_credential(why: str) -> S3Error:
    return _refused(f"Error parsing the X-Amz-Credential parameter; {why}")
