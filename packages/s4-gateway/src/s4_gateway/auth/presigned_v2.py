"""URLs presigned with Signature Version 2 (`AWSAccessKeyId`, `Expires`, `Signature`), the default of boto3 and aws-cli v1.

Source: Amazon S3 Developer Guide, "Signing and Authenticating REST Requests", with "Query String Request Authentication Alternative".

The version signs less than version 4: of the query only the parameters in `SIGNED_PARAMETERS`, of the headers Content-Type, Content-MD5
and x-amz-*. What chooses the operation must be among them, so other parameters that do are refused. A `prefix` of a listing is not
covered, here as in S3.
"""

import base64
import hmac
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from urllib.parse import unquote_to_bytes

from s4_gateway import sigv4
from s4_gateway.auth.presigned import OF_SIGNATURE, Pairs, hoisted_headers
from s4_gateway.auth.refusals import signature_mismatch
from s4_gateway.call import Call
from s4_gateway.errors import S3Error
from s4_gateway.wire.routes import QUALIFIERS, ROUTES

_KEY, _EXPIRES, _SIGNATURE = "AWSAccessKeyId", "Expires", "Signature"

OVERRIDES = frozenset(
    f"response-{name}"
    for name in ("cache-control", "content-disposition", "content-encoding", "content-language", "content-type", "expires")
)
"""Parameters of GetObject that the client gives free text."""

SIGNED_PARAMETERS = OVERRIDES | frozenset(
    [
        "accelerate",
        "acl",
        "analytics",
        "cors",
        "defaultObjectAcl",
        "delete",
        "inventory",
        "lifecycle",
        "location",
        "logging",
        "metrics",
        "notification",
        "object-lock",
        "partNumber",
        "policy",
        "replication",
        "requestPayment",
        "restore",
        "select",
        "select-type",
        "storageClass",
        "tagging",
        "torrent",
        "uploadId",
        "uploads",
        "versionId",
        "versioning",
        "versions",
        "website",
    ]
)
"""Those of the guide and those that the AWS SDK for Python adds."""

_ROUTING = frozenset[str]().union(*(route.parameters for route in ROUTES))
_UNCOVERED = _ROUTING - SIGNED_PARAMETERS
_SUBRESOURCES = _ROUTING - QUALIFIERS

_MOVED = frozenset({b"content-type", b"content-md5"})
"""Beside x-amz-*, headers that a signer moves into the query."""
SIGNED_HEADERS = frozenset({"content-type", "content-md5"})
"""Beside x-amz-*, headers that the signature covers."""

_access_key = re.compile(r"[!-.0-~]{1,128}").fullmatch
_digits = re.compile(r"[0-9]{1,18}").fullmatch
_MISSING = "Query-string authentication requires the Signature, Expires and AWSAccessKeyId parameters"


@dataclass(frozen=True, slots=True)
class PresignedV2:
    """A URL's claim; nothing of it has been verified."""

    access_key: str
    expires: int
    """Seconds since the epoch, inclusive."""
    expires_text: str
    """The same as signed."""
    signature: str
    resources: tuple[str, ...]
    """The guide's CanonicalizedResource, in each form that signers give it; latin-1 of the wire's bytes."""
    hoisted: dict[str, str]
    """Headers that the signer moved into the query: lower-case names, latin-1 values."""

    def merged(self, headers: Mapping[str, str]) -> dict[str, str]:
        """The request's headers and those of the query.

        A client may repeat a moved header as a header, because other servers read it there only.

        Raises:
            S3Error: AccessDenied where the two differ.
        """
        if any(headers.get(name, value).strip() != value.strip() for name, value in self.hoisted.items()):
            raise _refused("A header and the query parameter of its name differ.")
        return {**headers, **self.hoisted}

    def verify(self, method: str, headers: Mapping[str, str], secret: str) -> None:
        """Compare the signature in constant time.

        Raises:
            S3Error: SignatureDoesNotMatch.
        """
        amz = "".join([f"{name}:{headers[name].strip()}\n" for name in sorted(headers) if name.startswith("x-amz-")])
        md5, kind = headers.get("content-md5", "").strip(), headers.get("content-type", "").strip()
        given = self.signature.encode("latin-1")
        texts = [f"{method}\n{md5}\n{kind}\n{self.expires_text}\n{amz}{resource}" for resource in self.resources]
        rights = [base64.b64encode(hmac.digest(secret.encode(), text.encode("latin-1"), "sha1")) for text in texts]
        if not any(hmac.compare_digest(right, given) for right in rights):
            raise signature_mismatch(self.access_key, provided=self.signature, string_to_sign=texts[0])


def is_presigned_v2(pairs: Pairs) -> bool:
    """Whether the query has parameters of Signature Version 2: a damaged URL is refused as such and never taken for an unsigned request."""
    return any(name in (b"AWSAccessKeyId", b"Signature") for name, _ in pairs)


def parse_presigned_v2(call: Call, pairs: Pairs) -> PresignedV2:
    """The claim of a URL for which `is_presigned_v2` holds.

    Raises:
        S3Error: AccessDenied for a malformed URL and for parameters that the version cannot cover; InvalidArgument for a second mechanism;
            NotImplemented for a copy source in the query.
    """
    if "authorization" in call.headers or any(name.lower() in OF_SIGNATURE for name, _ in pairs):
        message = "Only one auth mechanism allowed; the request has parameters of Signature Version 2 and another mechanism."
        raise S3Error("InvalidArgument", message, fields={"ArgumentName": _KEY})
    moved = [(name.lower(), value) for name, value in pairs if name.lower().startswith(b"x-amz-") or name in _MOVED]
    values = {name.decode("latin-1"): value.decode("latin-1") for name, value in pairs}
    if len(values) != len(pairs) or len(dict(moved)) != len(moved):
        raise _refused("A query parameter occurs more than once.")
    if not all(map(values.get, (_KEY, _EXPIRES, _SIGNATURE))):
        raise _refused(_MISSING)
    if not _access_key(values[_KEY]):
        raise _refused("The AWSAccessKeyId is malformed.")
    if not _digits(values[_EXPIRES]):
        raise _refused("Invalid date (should be seconds since epoch)")
    _check_covered(values)
    return PresignedV2(
        values[_KEY],
        int(values[_EXPIRES]),
        values[_EXPIRES],
        values[_SIGNATURE],
        _canonical_resources(call),
        hoisted_headers(moved, _refused),
    )


def _check_covered(names: Mapping[str, str]) -> None:
    uncovered = _UNCOVERED & names.keys()
    if uncovered:
        raise _refused(f"Signature Version 2 does not cover {', '.join(sorted(uncovered))}; presign with AWS4-HMAC-SHA256.")
    # Values are signed decoded: an override that was signed with the text `a&tagging=b` could be sent as an override and a sub-resource.
    if not OVERRIDES.isdisjoint(names) and not _SUBRESOURCES.isdisjoint(names):
        raise _refused("Response overrides are for GetObject only.")


def _canonical_resources(call: Call) -> tuple[str, ...]:
    path = call.raw_path.decode("latin-1")
    if call.bucket and unquote_to_bytes(call.raw_path) == b"/" + call.key.encode():
        path = f"/{call.bucket}{path}"
    signed = sorted(_sub_resources(call.raw_query.split(b"&")))
    query = f"?{'&'.join([text for _, text in signed])}" if signed else ""
    if call.key or path.endswith("/"):
        return (path + query,)
    # Some signers sign a bucket as `/bucket/` and send `/bucket`; no object has either path.
    return (path + query, f"{path}/{query}")


def _sub_resources(parts: Sequence[bytes]) -> list[tuple[str, str]]:
    """(name, `name=value` or `name` as the wire has it) of the signed parameters, decoded."""
    found = []
    for part in parts:
        for raw_name, raw_value in sigv4.query_pairs(part):
            name = raw_name.decode("latin-1")
            if name in SIGNED_PARAMETERS:
                found.append((name, f"{name}={raw_value.decode('latin-1')}" if b"=" in part else name))
    return found


def _refused(why: str) -> S3Error:
    return S3Error("AccessDenied", why)
