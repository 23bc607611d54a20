"""From an answer, or none, to BackendError.

BackendError        what leaves this package (backend/abc.py)
AttemptError        one attempt failed; retries.py decides whether another follows
"""

import re
from collections.abc import Mapping

from s4_gateway.backend.abc import BackendError, Outcome
from s4_gateway.backend.s3.xml import error_fields
from s4_gateway.errors import ERRORS

TRANSIENT_STATUS = frozenset({500, 502, 503, 504})
"""Answers after which the same request may succeed."""

_TRANSIENT_CODES = frozenset({"BadDigest", "IncompleteBody", "RequestTimeout", "SlowDown", "XAmzContentSHA256Mismatch"})
"""Refusals of a transfer: too slow, too many, or damaged on the way."""

_CODE = re.compile(r"[A-Za-z0-9._-]{1,128}")

_CODE_OF_STATUS: Mapping[int, str] = {
    400: "InvalidRequest",
    401: "AccessDenied",
    403: "AccessDenied",
    405: "MethodNotAllowed",
    409: "OperationAborted",
    411: "MissingContentLength",
    412: "PreconditionFailed",
    413: "EntityTooLarge",
    416: "InvalidRange",
    501: "NotImplemented",
    503: "ServiceUnavailable",
}
"""For answers without an error document: HEAD, and what proxies say."""


class AttemptError(Exception):
    """One attempt failed.

    Attributes:
        code, status, message, outcome: as in BackendError, for this attempt alone.
        transient: the same request may succeed now.
    """

    def __init__(self, code: str, status: int, message: str, *, outcome: Outcome, transient: bool) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code
        self.status = status
        self.message = message
        self.outcome = outcome
        self.transient = transient

    def final(self, *, lost: bool, reads: bool) -> BackendError:
        """The error of the whole request.

        Args:
            lost: an earlier attempt had an unknown outcome.
            reads: the request changes nothing, so that a refusal stands whatever happened to earlier attempts.
        """
        outcome = Outcome.UNKNOWN if lost and not reads else self.outcome
        return BackendError(self.code, self.status, self.message, outcome=outcome, retried=lost)


def unanswered(message: str, *, sent: bool) -> AttemptError:
    """No answer, or half of one; `sent` = the store may have seen the request."""
    return AttemptError("ServiceUnavailable", 503, message, outcome=Outcome.UNKNOWN if sent else Outcome.REFUSED, transient=True)


def answered(status: int, headers: Mapping[str, str], body: bytes, *, has_key: bool) -> AttemptError:
    """The failure that an answer with this status tells.

    Args:
        status: HTTP status, not 2xx.
        headers: lower-case names.
        body: the error document; empty for HEAD.
        has_key: the request named an object, so a bare 404 is NoSuchKey, else NoSuchBucket.
    """
    code, message = error_fields(body)
    if code is None:
        # MinIO tells the code of an answer to HEAD here.
        code = headers.get("x-minio-error-code")
    if code is None and status == 404 and body.strip():
        # A proxy that has lost its way to the store, not the store: a failure is not an absence.
        return unanswered("something in front of the storage backend answered 404", sent=True)
    if code is None or not _CODE.fullmatch(code):
        code = ("NoSuchKey" if has_key else "NoSuchBucket") if status == 404 else _CODE_OF_STATUS.get(status, "InternalError")
    return failure(code, status, message or f"the storage backend answered {status}", region=headers.get("x-amz-bucket-region"))


def inside_success(body: bytes) -> AttemptError:
    """The failure in an error document that came with status 200, as CompleteMultipartUpload and CopyObject send it late."""
    code, message = error_fields(body)
    code = code or "InternalError"
    return failure(code, status_of(code), message or "the storage backend failed after it had begun to answer")


def status_of(code: str) -> int:
    """HTTP status of a code that came without one; an unknown code counts as a failure of the store."""
    known = ERRORS.get(code)
    return 500 if known is None else known[0]


def failure(code: str, status: int, message: str, *, region: str | None = None) -> AttemptError:
    """What code and status of a failed request mean for outcome and repetition."""
    if 300 <= status < 400:
        where = f", in region {region}" if region else ""
        text = f"the bucket is served elsewhere{where} ({code}): endpoint or region of the storage backend is wrong"
        return AttemptError("ServiceUnavailable", 503, text, outcome=Outcome.REFUSED, transient=False)
    if status == 429:
        return AttemptError("SlowDown", 503, message, outcome=Outcome.REFUSED, transient=True)
    if status == 503:
        # MinIO has SlowDownRead and SlowDownWrite, and names of its own for a server that is starting.
        code = "SlowDown" if code.startswith("SlowDown") else "ServiceUnavailable"
    unknown = status >= 500 and status != 501
    return AttemptError(
        code,
        status,
        message,
        outcome=Outcome.UNKNOWN if unknown else Outcome.REFUSED,
        transient=status in TRANSIENT_STATUS or code in _TRANSIENT_CODES,
    )
