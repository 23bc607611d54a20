"""What x-amz-content-sha256 says of the body, and the body that holds the client to it."""

import re
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass

from s4_gateway import sigv4
from s4_gateway.auth.chunked import ChunkedBody, ChunkedDecoder, SignatureChain
from s4_gateway.backend.abc import Buffer
from s4_gateway.call import RequestBody
from s4_gateway.errors import S3Error

_TRAILER_PREFIX = "x-amz-checksum-"
_MAX_ANNOUNCED = 16
"""S3 knows five checksums, and a request has at most one of them."""

_sha256 = re.compile(r"[0-9a-fA-F]{64}").fullmatch
_length = re.compile(r"[0-9]{1,18}").fullmatch


@dataclass(frozen=True, slots=True)
class Framing:
    """One aws-chunked form."""

    signed: bool
    trailer: bool


FRAMINGS: Mapping[str, Framing] = {
    sigv4.STREAMING_SIGNED: Framing(signed=True, trailer=False),
    sigv4.STREAMING_SIGNED_TRAILER: Framing(signed=True, trailer=True),
    sigv4.STREAMING_UNSIGNED_TRAILER: Framing(signed=False, trailer=True),
}
"""Values of x-amz-content-sha256 that announce aws-chunked framing."""


def check_payload_hash(value: str) -> None:
    """Raises S3Error (InvalidArgument; NotImplemented for 4A) unless `value` is a form of x-amz-content-sha256 that the gateway reads."""
    if value == sigv4.UNSIGNED_PAYLOAD or value in FRAMINGS or _sha256(value):
        return
    if value.startswith("STREAMING-AWS4-ECDSA"):
        raise S3Error("NotImplemented", "Signature Version 4A is not implemented.")
    raise S3Error(
        "InvalidArgument",
        f"x-amz-content-sha256 must be {sigv4.UNSIGNED_PAYLOAD}, {', '.join(FRAMINGS)} or a valid sha256 value.",
        fields={"ArgumentName": "x-amz-content-sha256"},
    )


def held_body(body: RequestBody, payload_hash: str, *, headers: Mapping[str, str], chain: SignatureChain | None) -> RequestBody:
    """The body as the rest of the gateway reads it; reads nothing yet.

    Args:
        body: with transfer framing taken off, as it came.
        payload_hash: passed `check_payload_hash`.
        headers: lower-case names.
        chain: starts at the verified signature of the request; None where that has none for chunks to go on from.

    Raises:
        S3Error: MissingContentLength or InvalidRequest for aws-chunked without usable announcements or chain,
            XAmzContentSHA256Mismatch for a body that is absent although its hash is another one.
    """
    framing = FRAMINGS.get(payload_hash)
    if framing is None:
        if "x-amz-trailer" in headers:
            raise S3Error("InvalidRequest", "x-amz-trailer needs a chunked payload with trailer.")
        # Framing that nobody takes off would be stored as data, and the declared length is what bounds the body.
        if headers.get("x-amz-decoded-content-length", str(body.size)) != str(body.size):
            raise S3Error("InvalidRequest", "x-amz-decoded-content-length needs a chunked payload.")
        return body if payload_hash == sigv4.UNSIGNED_PAYLOAD else _promised(body, payload_hash.lower())
    announced = _announced(headers, framing)
    size = _decoded_length(headers)
    if framing.signed and chain is None:
        raise S3Error("InvalidRequest", "Chunks can be signed in requests of Signature Version 4 only.")
    signed_chain = chain if framing.signed else None
    return ChunkedBody(
        body, ChunkedDecoder(size, announced=announced, signed_trailer=framing.signed and framing.trailer, chain=signed_chain)
    )


@dataclass(frozen=True, slots=True)
class PromisedBody:
    """A body whose SHA-256 was signed; the reader, who hashes anyway or is the first to see the end, compares."""

    _body: RequestBody
    sha256: str

    @property
    def size(self) -> int | None:
        return self._body.size

    @property
    def announced_trailers(self) -> frozenset[str]:
        return self._body.announced_trailers

    @property
    def trailers(self) -> Mapping[str, str]:
        return self._body.trailers

    def __aiter__(self) -> AsyncIterator[Buffer]:
        return self._body.__aiter__()


def _promised(body: RequestBody, sha256: str) -> RequestBody:
    if body.size == 0 and sha256 == sigv4.EMPTY_SHA256:
        return body
    # Operations without a body never read it, so nobody else would compare.
    if body.size == 0:
        fields = {"ClientComputedContentSHA256": sha256, "S3ComputedContentSHA256": sigv4.EMPTY_SHA256}
        raise S3Error("XAmzContentSHA256Mismatch", fields=fields)
    return PromisedBody(body, sha256)


def _announced(headers: Mapping[str, str], framing: Framing) -> frozenset[str]:
    value = headers.get("x-amz-trailer")
    if value is None:
        return frozenset()
    names = [name.strip(" \t").lower() for name in value.split(",")]
    if not framing.trailer or len(names) > _MAX_ANNOUNCED or not all(name.startswith(_TRAILER_PREFIX) for name in names):
        raise S3Error("InvalidRequest", "The value specified in the x-amz-trailer header is not supported")
    return frozenset(names)


def _decoded_length(headers: Mapping[str, str]) -> int:
    value = headers.get("x-amz-decoded-content-length")
    if value is None:
        raise S3Error("MissingContentLength", "You must provide the x-amz-decoded-content-length HTTP header.")
    if not _length(value):
        raise S3Error(
            "InvalidArgument", "x-amz-decoded-content-length is not a length.", fields={"ArgumentName": "x-amz-decoded-content-length"}
        )
    return int(value)
