"""What a request promises about its content: Content-MD5 and the `x-amz-checksum-*` family. Values are judged for form only."""

import base64
import binascii
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Self

from s4_gateway.errors import S3Error

ALGORITHMS: Mapping[str, int] = {"crc32": 4, "crc32c": 4, "crc64nvme": 8, "sha1": 20, "sha256": 32}
"""Checksum algorithm, lower-case -> bytes of its value."""
TYPES: Mapping[str, frozenset[str]] = {
    "FULL_OBJECT": frozenset({"crc32", "crc32c", "crc64nvme"}),
    "COMPOSITE": frozenset({"crc32", "crc32c", "sha1", "sha256"}),
}
"""Checksum type of a multipart object -> the algorithms that have it."""
UNBUILT_ALGORITHMS = frozenset({"md5", "sha512", "xxhash3", "xxhash64", "xxhash128"})
"""Known to S3, not to this gateway."""
PREFIX = "x-amz-checksum-"
_NO_VALUES = frozenset({"x-amz-checksum-algorithm", "x-amz-checksum-type", "x-amz-checksum-mode"})
"""Headers with that prefix that carry no checksum."""
_MD5_BYTES = 16
_MOST_PARTS = 10_000


@dataclass(frozen=True, slots=True)
class Promised:
    """The client's promises, none of them checked against content yet."""

    md5: bytes | None = None
    """Raw 16 bytes of Content-MD5."""
    checksums: Mapping[str, str] = field(default_factory=dict)
    """Algorithm -> base64 as sent in a header; at most one entry."""
    trailer: str | None = None
    """The algorithm whose value follows the body as trailer `x-amz-checksum-<algorithm>`."""
    algorithm: str | None = None
    """The algorithm that the request names or implies."""
    type: str | None = None
    """FULL_OBJECT or COMPOSITE, where the request says."""

    @classmethod
    def from_headers(cls, headers: Mapping[str, str], *, composite: bool = False) -> Self:
        """From lower-case headers.

        Args:
            headers: the request's.
            composite: values may be those of a composite checksum, `<base64>-<parts>` (CompleteMultipartUpload).

        Raises:
            S3Error: InvalidDigest for a malformed Content-MD5; InvalidRequest for malformed, several or contradicting checksums and for
                names that S3 does not know; NotImplemented for algorithms that only S3 knows.
        """
        checksums = {
            name.removeprefix(PREFIX): value for name, value in headers.items() if name.startswith(PREFIX) and name not in _NO_VALUES
        }
        trailer = _trailer(headers.get("x-amz-trailer"))
        if len(checksums) + (trailer is not None) > 1:
            raise S3Error("InvalidRequest", "Expecting a single x-amz-checksum- header. Multiple checksum Types are not allowed.")
        for sent, value in checksums.items():
            check_value(_known(sent), value, composite=composite)
        algorithm = _algorithm(headers, next(iter(checksums), trailer))
        return cls(
            md5=_content_md5(headers.get("content-md5")),
            checksums=checksums,
            trailer=trailer,
            algorithm=algorithm,
            type=_checksum_type(headers.get("x-amz-checksum-type"), algorithm),
        )


def check_value(algorithm: str, value: str, *, composite: bool = False) -> bytes:
    """The raw bytes of a checksum value of a known algorithm.

    Raises:
        S3Error: InvalidRequest if it is no base64 of the algorithm's length.
    """
    if composite:
        value, dash, parts = value.partition("-")
        if dash and not (parts.isascii() and parts.isdigit() and len(parts) <= 5 and 1 <= int(parts) <= _MOST_PARTS):
            raise S3Error("InvalidRequest", f"Value for {PREFIX}{algorithm} header is invalid.")
    raw = _decode(value)
    if raw is None or len(raw) != ALGORITHMS[algorithm]:
        raise S3Error("InvalidRequest", f"Value for {PREFIX}{algorithm} header is invalid.")
    return raw


def checksum_headers(checksums: Mapping[str, str], type: str | None) -> dict[str, str]:
    """Response headers for checksums (algorithm -> base64); the type only where there is a checksum."""
    headers = {PREFIX + algorithm: value for algorithm, value in checksums.items()}
    if headers and type is not None:
        headers["x-amz-checksum-type"] = type
    return headers


def _decode(value: str) -> bytes | None:
    try:
        return base64.b64decode(value.strip(), validate=True)
    except (binascii.Error, ValueError):  # ValueError: characters outside ASCII
        return None


def _content_md5(value: str | None) -> bytes | None:
    if value is None:
        return None
    raw = _decode(value)
    if raw is None or len(raw) != _MD5_BYTES:
        raise S3Error("InvalidDigest", "The Content-MD5 you specified was invalid.", fields={"Content-MD5": value})
    return raw


def _known(algorithm: str) -> str:
    if algorithm in ALGORITHMS:
        return algorithm
    if algorithm in UNBUILT_ALGORITHMS:
        raise S3Error("NotImplemented", f"The checksum algorithm {algorithm.upper()} is not implemented.")
    names = ", ".join(name.upper() for name in ALGORITHMS)
    raise S3Error("InvalidRequest", f"Checksum algorithm provided is unsupported. Please try again with any of the valid types: [{names}]")


def _trailer(value: str | None) -> str | None:
    """The one checksum algorithm announced in x-amz-trailer."""
    if value is None:
        return None
    names = [name.strip().lower() for name in value.split(",") if name.strip()]
    if len(names) != 1 or not names[0].startswith(PREFIX) or names[0] in _NO_VALUES:
        raise S3Error("InvalidRequest", "The value specified in the x-amz-trailer header is not supported")
    return _known(names[0].removeprefix(PREFIX))


def _algorithm(headers: Mapping[str, str], sent: str | None) -> str | None:
    """What the request names; it must agree with the value it sends."""
    named = headers.get("x-amz-checksum-algorithm")
    sdk = headers.get("x-amz-sdk-checksum-algorithm")
    if sdk is not None:
        if sent is None:
            raise S3Error(
                "InvalidRequest",
                "x-amz-sdk-checksum-algorithm specified, but no corresponding x-amz-checksum-* or x-amz-trailer headers were found.",
            )
        if _known(sdk.strip().lower()) != sent:
            raise S3Error("InvalidRequest", "Value for x-amz-sdk-checksum-algorithm header is invalid.")
    if named is None:
        return sent
    algorithm = _known(named.strip().lower())
    if sent is not None and sent != algorithm:
        raise S3Error("InvalidRequest", "Value for x-amz-checksum-algorithm header is invalid.")
    return algorithm


def _checksum_type(value: str | None, algorithm: str | None) -> str | None:
    if value is None:
        return None
    type_ = value.strip().upper()
    if type_ not in TYPES:
        raise S3Error("InvalidRequest", "Value for x-amz-checksum-type header is invalid.")
    if algorithm is not None and algorithm not in TYPES[type_]:
        raise S3Error("InvalidRequest", f"The {type_} checksum type cannot be used with the {algorithm} checksum algorithm.")
    return type_
