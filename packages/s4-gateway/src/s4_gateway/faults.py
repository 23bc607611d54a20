"""What a client is told when something else than its own request is wrong: the one place where errors of the backend become S3 errors."""

import re

from s4_gateway.backend.abc import BackendError, Outcome, StoreError
from s4_gateway.errors import S3Error

OWN_FAULTS = frozenset(
    {
        "AuthorizationHeaderMalformed",
        "BadDigest",
        "ExpiredToken",
        "IncompleteBody",
        "InvalidAccessKeyId",
        "InvalidDigest",
        "InvalidSecurity",
        "InvalidToken",
        "MissingContentLength",
        "NotSignedUp",
        "RequestTimeTooSkewed",
        "RequestTimeout",
        "SignatureDoesNotMatch",
        "XAmzContentSHA256Mismatch",
    }
)
"""Refusals that speak of the gateway's own keys or of its own transfer. Passed on, they would blame the client's signature or body."""

THROTTLED = frozenset({"SlowDown", "RequestLimitExceeded", "Throttling", "ThrottlingException", "TooManyRequests"})

_CODE = re.compile(r"[A-Za-z0-9.]{1,64}")


def backend_fault(error: BackendError) -> S3Error:
    """The client's view of a backend error.

    A refusal keeps code and status. Whatever is worth repeating is 503: SlowDown where the backend asked for less, ServiceUnavailable for
    no answer, 5xx, redirects, and refusals of the gateway itself. Never 500: clients repeat a 503, and nothing here is known to be broken.
    Only a store of our own knows that, and why: what it says is passed on.
    """
    if isinstance(error, StoreError):
        return S3Error(error.code, error.message, status=error.status)
    if error.code in THROTTLED:
        return S3Error("SlowDown")
    if error.code == "NotImplemented" and error.outcome is Outcome.REFUSED:
        return S3Error("NotImplemented", error.message)
    if error.outcome is Outcome.UNKNOWN or not 400 <= error.status < 500 or error.code in OWN_FAULTS or not _CODE.fullmatch(error.code):
        return S3Error("ServiceUnavailable")
    return S3Error(error.code, error.message, status=error.status)
