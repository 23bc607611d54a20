"""Refusals that several authentication modules share, with the fields that S3 gives them."""

import re

from s4_gateway.errors import S3Error

_unprintable = re.compile(r"[^\t\n\x20-\x7e\xa0-\ud7ff]")


def headers_not_signed(names: list[str]) -> S3Error:
    """Headers that change what a request means are not covered by its signature."""
    fields = {"HeadersNotSigned": ", ".join(names)}
    return S3Error("AccessDenied", "There were headers present in the request which were not signed", fields=fields)


def signature_mismatch(access_key: str, *, provided: str, string_to_sign: str, canonical_request: bytes | None = None) -> S3Error:
    """The calculated signature is another one. The fields are what was calculated from, so that a client can find its mistake;
    none of them tells the secret or the right signature.
    """
    fields = {
        "AWSAccessKeyId": access_key,
        "StringToSign": _text(string_to_sign.encode("latin-1")),
        "SignatureProvided": _text(provided.encode("latin-1")),
        "StringToSignBytes": string_to_sign.encode("latin-1").hex(" "),
    }
    if canonical_request is not None:
        fields["CanonicalRequest"] = _text(canonical_request)
        fields["CanonicalRequestBytes"] = canonical_request.hex(" ")
    return S3Error("SignatureDoesNotMatch", fields=fields)


def _text(raw: bytes) -> str:
    """Wire bytes as text that XML can carry."""
    return _unprintable.sub("\ufffd", raw.decode("utf-8", "replace"))
