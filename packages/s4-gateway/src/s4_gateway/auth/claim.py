"""What a signature claims: key, scope, time and signed headers, as Authorization header and presigned query give them."""

import re
from collections.abc import Callable
from datetime import UTC, datetime
from functools import lru_cache
from typing import NamedTuple

from s4_gateway import sigv4
from s4_gateway.errors import S3Error

TIMESTAMP_LENGTH = len("yyyymmddThhmmssZ")

Refusal = Callable[[str], S3Error]
"""Makes the error of one mechanism from a reason."""

_access_key = re.compile(r"[!-.0-~]{1,128}").fullmatch
_region = re.compile(r"[A-Za-z0-9_.-]{1,64}").fullmatch
_date = re.compile(r"[0-9]{8}").fullmatch
_timestamp = re.compile(r"([0-9]{4})([0-9]{2})([0-9]{2})T([0-9]{2})([0-9]{2})([0-9]{2})Z").fullmatch
_token = re.compile(r"[!#$%&'*+.^_`|~0-9a-z-]+").fullmatch


class Credential(NamedTuple):
    """The Credential field: `access_key/date/region/s3/aws4_request`."""

    access_key: str
    date: str
    """`yyyymmdd`."""
    region: str
    """Any: clients of one gateway are configured for many regions."""

    @property
    def scope(self) -> str:
        return sigv4.scope(self.date, self.region)


class Claim(NamedTuple):
    """A signature and what it says that it covers."""

    credential: Credential
    timestamp: str
    """`yyyymmddThhmmssZ`; its day is the scope's."""
    time: int
    """The same in seconds since the epoch."""
    signed_names: tuple[str, ...]
    """Header names, lower case, sorted, each once."""
    signature: str
    """As sent; nothing is known of its form."""


def parse_credential(text: str, refusal: Refusal) -> Credential:
    """Split a Credential. The access key may hold anything printable but `/`."""
    parts = text.split("/")
    if len(parts) != 5 or not _access_key(parts[0]):
        raise refusal('the Credential is mal-formed; expecting "<YOUR-AKID>/YYYYMMDD/REGION/SERVICE/aws4_request".')
    access_key, date, region, service, terminator = parts
    if not _date(date):
        raise refusal('incorrect date format. The date in the credential must be in the format "yyyyMMdd".')
    if not _region(region):
        raise refusal("the region is mal-formed.")
    if service != sigv4.SERVICE:
        raise refusal(f'incorrect service. This endpoint belongs to "{sigv4.SERVICE}".')
    if terminator != sigv4.TERMINATOR:
        raise refusal(f'incorrect terminal. This endpoint uses "{sigv4.TERMINATOR}".')
    return Credential(access_key, date, region)


def parse_signed_names(text: str, refusal: Refusal) -> tuple[str, ...]:
    """Names of SignedHeaders, sorted as the canonical request has them."""
    names = sorted(text.lower().split(";"))
    if not all(map(_token, names)):
        raise refusal("SignedHeaders is mal-formed.")
    if len(set(names)) != len(names):
        raise refusal("SignedHeaders names a header twice.")
    return tuple(names)


def parse_timestamp(text: str) -> int | None:
    """Seconds since the epoch of `yyyymmddThhmmssZ`; None for anything else."""
    return _seconds(text) if len(text) == TIMESTAMP_LENGTH else None


@lru_cache(maxsize=64)
def _seconds(text: str) -> int | None:
    match = _timestamp(text)
    if match is None:
        return None
    year, month, day, hour, minute, second = map(int, match.groups())
    try:
        return int(datetime(year, month, day, hour, minute, second, tzinfo=UTC).timestamp())
    except ValueError:
        return None
