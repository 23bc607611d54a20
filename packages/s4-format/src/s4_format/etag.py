"""ETag arithmetic: MD5 of the object, the composite of a multipart upload, and quotes (RFC 9110, section 8.8.3)."""

from collections.abc import Iterable
from hashlib import md5

_MD5_BYTES = 16


def md5_etag(digest: bytes) -> str:
    """The ETag of an object of one PUT, unquoted: its MD5 in lower-case hex.

    Raises:
        ValueError: `digest` is not 16 bytes.
    """
    if len(digest) != _MD5_BYTES:
        raise ValueError(f"an MD5 has {_MD5_BYTES} bytes, not {len(digest)}")
    return digest.hex()


def composite_etag(digests: Iterable[bytes]) -> str:
    """The ETag of a multipart upload, unquoted: MD5 over the parts' raw MD5s in part order, "-", and the count of parts.

    Raises:
        ValueError: a digest is not 16 bytes, or there is none.
    """
    combined = md5(usedforsecurity=False)
    count = 0
    for digest in digests:
        if len(digest) != _MD5_BYTES:
            raise ValueError(f"an MD5 has {_MD5_BYTES} bytes, not {len(digest)}")
        combined.update(digest)
        count += 1
    if count == 0:
        raise ValueError("an upload without parts has no ETag")
    return f"{combined.hexdigest()}-{count}"


def unquote_etag(value: str) -> str:
    """The bare tag of a header value: white space, a weak mark `W/` and one pair of double quotes taken off."""
    tag = value.strip().removeprefix("W/")
    return tag[1:-1] if len(tag) >= 2 and tag[0] == tag[-1] == '"' else tag


def quote_etag(tag: str) -> str:
    """The header value of a bare tag: a strong ETag."""
    return f'"{tag}"'
