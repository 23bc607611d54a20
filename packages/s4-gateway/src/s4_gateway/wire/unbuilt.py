"""Request headers that ask for what this gateway does not have: refused before a byte of the body is read, never ignored."""

from collections.abc import Mapping

from s4_gateway.call import Call
from s4_gateway.errors import S3Error

_NEVER: frozenset[str] = frozenset()

REFUSED: Mapping[str, frozenset[str]] = {
    # Access control lists: everything belongs to the one owner.
    "x-amz-acl": frozenset({"private"}),
    "x-amz-grant-full-control": _NEVER,
    "x-amz-grant-read": _NEVER,
    "x-amz-grant-read-acp": _NEVER,
    "x-amz-grant-write": _NEVER,
    "x-amz-grant-write-acp": _NEVER,
    "x-amz-object-ownership": frozenset({"bucketownerenforced"}),
    # Server-side encryption of any kind.
    "x-amz-server-side-encryption": _NEVER,
    "x-amz-server-side-encryption-aws-kms-key-id": _NEVER,
    "x-amz-server-side-encryption-bucket-key-enabled": frozenset({"false"}),
    "x-amz-server-side-encryption-context": _NEVER,
    "x-amz-server-side-encryption-customer-algorithm": _NEVER,
    "x-amz-server-side-encryption-customer-key": _NEVER,
    "x-amz-server-side-encryption-customer-key-md5": _NEVER,
    "x-amz-copy-source-server-side-encryption-customer-algorithm": _NEVER,
    "x-amz-copy-source-server-side-encryption-customer-key": _NEVER,
    "x-amz-copy-source-server-side-encryption-customer-key-md5": _NEVER,
    # Object lock.
    "x-amz-bucket-object-lock-enabled": frozenset({"false"}),
    "x-amz-bypass-governance-retention": frozenset({"false"}),
    "x-amz-object-lock-event-hold": frozenset({"off"}),
    "x-amz-object-lock-event-hold-duration-days": _NEVER,
    "x-amz-object-lock-event-hold-duration-years": _NEVER,
    "x-amz-object-lock-legal-hold": frozenset({"off"}),
    "x-amz-object-lock-mode": _NEVER,
    "x-amz-object-lock-retain-until-date": _NEVER,
    # Tags, storage classes, websites, appends, account namespaces.
    "x-amz-bucket-namespace": frozenset({"global"}),
    "x-amz-storage-class": frozenset({"standard"}),
    "x-amz-tagging": _NEVER,
    # REPLACE alone asks for no tags; tags themselves come in x-amz-tagging.
    "x-amz-tagging-directive": frozenset({"copy", "replace"}),
    "x-amz-website-redirect-location": _NEVER,
    "x-amz-write-offset-bytes": _NEVER,
    # Conditions of DeleteObject and AbortMultipartUpload: without them something would go that the client wants kept.
    "x-amz-if-match-initiated-time": _NEVER,
    "x-amz-if-match-last-modified-time": _NEVER,
    "x-amz-if-match-size": _NEVER,
    # "Only if this account owns the bucket" is a safety catch. There are no accounts here to compare with, and a catch that never holds is
    # worse than none: the client would rely on it.
    "x-amz-expected-bucket-owner": _NEVER,
    "x-amz-source-expected-bucket-owner": _NEVER,
    # Checksums that only S3 computes.
    "x-amz-checksum-md5": _NEVER,
    "x-amz-checksum-sha512": _NEVER,
    "x-amz-checksum-xxhash3": _NEVER,
    "x-amz-checksum-xxhash64": _NEVER,
    "x-amz-checksum-xxhash128": _NEVER,
}
"""Header -> its values, lower-case, that ask for nothing. An empty value never does."""

HARMLESS: frozenset[str] = frozenset(
    {
        "x-amz-mfa",  # counts only in buckets that demand it, and those are the backend's to guard
        "x-amz-object-annotation-directive",  # objects have no annotations here: copying them and leaving them out are the same
        "x-amz-optional-object-attributes",  # what a listing may show beside the usual
        "x-amz-request-payer",  # an offer to pay
    }
)
"""Headers that are ignored: what they ask for changes nothing here."""


def refuse_unbuilt(call: Call) -> None:
    """Refuse a call whose headers ask for something that would not happen.

    Raises:
        S3Error: NotImplemented, naming the header.
    """
    if REFUSED.keys().isdisjoint(call.headers):
        return
    for name in REFUSED.keys() & call.headers.keys():
        value = call.headers[name].strip().lower()
        if value and value not in REFUSED[name]:
            message = f"A header you provided implies functionality that is not implemented: {name}"
            raise S3Error("NotImplemented", message, fields={"Header": name}, close=call.body.size != 0)
