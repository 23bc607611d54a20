"""Verification of requests: which mechanism, whose key, what time, and whether the signature holds.

Sources: Amazon S3 API Reference, "Authenticating Requests (AWS Signature Version 4)"; error codes as S3 answers them.
"""

import hmac
import time
from collections import Counter
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import NamedTuple

from s4_gateway import sigv4
from s4_gateway.auth.authorization import parse_authorization
from s4_gateway.auth.chunked import SignatureChain
from s4_gateway.auth.claim import Claim
from s4_gateway.auth.credentials import KeyStore
from s4_gateway.auth.payload import check_payload_hash, held_body
from s4_gateway.auth.presigned import Pairs, Presigned, is_presigned, parse_presigned
from s4_gateway.auth.presigned_v2 import SIGNED_HEADERS, PresignedV2, is_presigned_v2, parse_presigned_v2
from s4_gateway.auth.refusals import headers_not_signed, signature_mismatch
from s4_gateway.call import Call, Principal
from s4_gateway.errors import S3Error

MAX_SKEW_SECONDS = 15 * 60
"""How far a client's clock may be off, either way, inclusive."""

_JOINABLE = "x-amz-meta-"
"""Repeated headers with this prefix are one value for S3 and for us; any other signed header must come once, because readers of different
occurrences would disagree on what was signed."""


class Authenticator:
    """Verifies requests against a key store. No IO, no waiting: a request is refused before its body is touched.

    Args:
        keys: who may sign.
        clock: seconds since the epoch.
    """

    def __init__(self, keys: KeyStore, *, clock: Callable[[], float] = time.time) -> None:
        self._keys = keys
        self._clock = clock

    def authenticate(self, call: Call) -> Call:
        """The same call, given its `principal`, and a `body` that checks what was signed of it while it is read.

        Headers that the signer of a presigned URL moved into the query come back as headers.

        Raises:
            S3Error: with S3's code for whatever does not hold; `close` is set where a body was left unread.
        """
        try:
            self._authenticate(call)
            return call
        except S3Error as error:
            error.close = call.body.size != 0
            raise

    def _authenticate(self, call: Call) -> None:
        pairs = sigv4.query_pairs(call.raw_query) if call.raw_query else []
        if pairs and is_presigned_v2(pairs):
            self._authenticate_v2(call, parse_presigned_v2(call, pairs))
            return
        presigned = _presigned(call, pairs)
        claim = presigned.claim if presigned is not None else parse_authorization(call.headers)
        signed = _SignedRequest.of(call, claim, presigned, pairs)
        check_payload_hash(signed.payload_hash)
        secret = self._secret(claim.credential.access_key, signed.headers)
        self._check_time(claim, presigned)
        chain = _verify(signed, claim, secret)
        call.body = held_body(call.body, signed.payload_hash, headers=signed.headers, chain=chain)
        call.principal = Principal(claim.credential.access_key)
        if presigned is not None:
            _add_hoisted(call, presigned.hoisted)

    def _authenticate_v2(self, call: Call, presigned: PresignedV2) -> None:
        names = tuple(name for name in call.headers if name.startswith("x-amz-") or name in SIGNED_HEADERS)
        headers = presigned.merged(_single_headers(call, names))
        payload_hash = headers.get("x-amz-content-sha256", sigv4.UNSIGNED_PAYLOAD)
        check_payload_hash(payload_hash)
        secret = self._secret(presigned.access_key, headers)
        self._check_time_v2(presigned.expires)
        presigned.verify(call.method, headers, secret)
        call.body = held_body(call.body, payload_hash, headers=headers, chain=None)
        call.principal = Principal(presigned.access_key)
        _add_hoisted(call, presigned.hoisted)

    def _check_time_v2(self, expires: int) -> None:
        """Version 2 knows no cap. The one of version 4 holds here too, so that asking for the older version makes no URL live longer;
        when it was signed is not known, so the cap is counted from now, with the skew that version 4 allows a signer.
        """
        now = self._clock()
        if now > expires:
            raise S3Error("AccessDenied", "Request has expired", fields={"Expires": _iso(expires), "ServerTime": _iso(now)})
        if expires - now > sigv4.MAX_PRESIGNED_SECONDS + MAX_SKEW_SECONDS:
            message = f"Expires must be less than a week ahead; that is, at most {sigv4.MAX_PRESIGNED_SECONDS} seconds"
            raise S3Error("AuthorizationQueryParametersError", message)

    def _secret(self, access_key: str, headers: Mapping[str, str]) -> str:
        secret = self._keys.secret(access_key)
        if secret is None:
            raise S3Error("InvalidAccessKeyId", fields={"AWSAccessKeyId": access_key})
        if "x-amz-security-token" in headers:
            # Keys here are long-lived; a session token can belong to none of them.
            raise S3Error("InvalidToken", "The provided token is malformed or otherwise invalid.", status=400)
        return secret

    def _check_time(self, claim: Claim, presigned: Presigned | None) -> None:
        now = self._clock()
        if presigned is None:
            if abs(now - claim.time) > MAX_SKEW_SECONDS:
                raise _skewed(claim, now)
        elif claim.time - now > MAX_SKEW_SECONDS:
            raise S3Error("AccessDenied", "Request is not yet valid", fields={"ServerTime": _iso(now)})
        elif now > claim.time + presigned.expires:
            expiry = {"X-Amz-Expires": str(presigned.expires), "Expires": _iso(claim.time + presigned.expires), "ServerTime": _iso(now)}
            raise S3Error("AccessDenied", "Request has expired", fields=expiry)


class _SignedRequest(NamedTuple):
    """The parts of a request that its signature covers."""

    method: str
    raw_path: bytes
    pairs: Pairs
    headers: Mapping[str, str]
    payload_hash: str

    @classmethod
    def of(cls, call: Call, claim: Claim, presigned: Presigned | None, pairs: Pairs) -> "_SignedRequest":
        """Refuses headers that are there and must be signed, signed and not there, or signed and there twice."""
        headers = _single_headers(call, claim.signed_names)
        names = claim.signed_names
        unsigned = [name for name in headers if name.startswith("x-amz-") and name not in names]
        if "host" not in names:
            unsigned.insert(0, "host")
        if unsigned:
            raise headers_not_signed(unsigned)
        if not headers.keys() >= set(names):
            raise S3Error("SignatureDoesNotMatch", "SignedHeaders names a header that the request does not have.")
        if presigned is None:
            payload_hash = headers.get("x-amz-content-sha256")
            if payload_hash is None:
                raise S3Error("InvalidRequest", "Missing required header for this request: x-amz-content-sha256")
            return cls(call.method, call.raw_path, pairs, headers, payload_hash)
        if not headers.keys().isdisjoint(presigned.hoisted):
            raise S3Error("AuthorizationQueryParametersError", "An X-Amz parameter is given as a header too.")
        headers = {**headers, **presigned.hoisted}
        payload_hash = headers.get("x-amz-content-sha256", sigv4.UNSIGNED_PAYLOAD)
        return cls(call.method, call.raw_path, presigned.signed_pairs, headers, payload_hash)


def _add_hoisted(call: Call, hoisted: Mapping[str, str]) -> None:
    """Add the headers that the query had and the request does not repeat."""
    added = {name: value for name, value in hoisted.items() if name not in call.headers}
    if added:
        call.headers = {**call.headers, **added}
        call.raw_headers += tuple((name.encode("latin-1"), value.encode("latin-1")) for name, value in added.items())


def _presigned(call: Call, pairs: Pairs) -> Presigned | None:
    """The query's claim, or None where the Authorization header has one."""
    in_query = bool(pairs) and is_presigned(pairs)
    if "authorization" in call.headers:
        if in_query:
            message = (
                "Only one auth mechanism allowed; only the X-Amz-Algorithm query parameter or the Authorization header should be specified"
            )
            raise S3Error("InvalidArgument", message, fields={"ArgumentName": "Authorization"})
        return None
    if not in_query:
        raise S3Error("AccessDenied")
    return parse_presigned(pairs)


def _single_headers(call: Call, signed_names: tuple[str, ...]) -> Mapping[str, str]:
    if len(call.raw_headers) == len(call.headers):
        return call.headers
    counts = Counter(name.decode("latin-1") for name, _ in call.raw_headers)
    joined = {}
    for name in [name for name, count in counts.items() if count > 1]:
        if name == "authorization":
            raise S3Error("AuthorizationHeaderMalformed", "The authorization header is malformed; there is more than one.")
        if name in signed_names and not name.startswith(_JOINABLE):
            raise S3Error("SignatureDoesNotMatch", "A signed header occurs more than once.")
        joined[name] = ",".join([value.decode("latin-1") for other, value in call.raw_headers if other.decode("latin-1") == name])
    return {**call.headers, **joined}


def _verify(signed: _SignedRequest, claim: Claim, secret: str) -> SignatureChain:
    """Compare the signature in constant time; where chunk signatures go on from."""
    credential = claim.credential
    canonical = sigv4.canonical_request(
        signed.method,
        sigv4.canonical_path(signed.raw_path),
        sigv4.canonical_query(signed.pairs),
        headers=signed.headers,
        names=claim.signed_names,
        payload_hash=signed.payload_hash,
    )
    string_to_sign = sigv4.string_to_sign(claim.timestamp, credential.scope, canonical)
    key = sigv4.signing_key(secret, credential.date, credential.region)
    signature = sigv4.sign(key, string_to_sign)
    if not hmac.compare_digest(signature.encode(), claim.signature.encode("latin-1")):
        raise signature_mismatch(
            credential.access_key, provided=claim.signature, string_to_sign=string_to_sign, canonical_request=canonical
        )
    return SignatureChain(key, credential.access_key, claim.timestamp, credential.scope, signature)


def _skewed(claim: Claim, now: float) -> S3Error:
    fields = {"RequestTime": claim.timestamp, "ServerTime": _iso(now), "MaxAllowedSkewMilliseconds": str(MAX_SKEW_SECONDS * 1000)}
    return S3Error("RequestTimeTooSkewed", fields=fields)


def _iso(when: float) -> str:
    return datetime.fromtimestamp(when, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
