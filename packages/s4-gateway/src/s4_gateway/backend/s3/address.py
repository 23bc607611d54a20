"""Percent-encoding of buckets, keys and queries: once, and never normalised."""

from collections.abc import Iterable
from functools import lru_cache

from s4_gateway.backend._rules import check_key, refuse
from s4_gateway.sigv4 import encode_path, encode_query


@lru_cache(maxsize=1024)
def bucket_path(bucket: str) -> str:
    """Path-style raw path of a bucket.

    Raises:
        BackendError: InvalidBucketName for a name that would address something else. What else is legal the store decides.
    """
    if not bucket or "/" in bucket or bucket in (".", "..") or not bucket.isprintable():
        raise refuse("InvalidBucketName")
    return encode_path(f"/{bucket}".encode())


def object_path(bucket: str, key: str) -> str:
    """Path-style raw path of an object: `/`, `//`, `.` and `..` stay as they are; all else that is not unreserved is encoded.

    Raises:
        BackendError: for a bucket as `bucket_path`; for an empty key, which would address the bucket, one that is too long or not UTF-8.
    """
    return f"{bucket_path(bucket)}/{encode_path(check_key(key))}"


def raw_query(parameters: Iterable[tuple[str, str | None]]) -> str:
    """Raw query of the parameters whose value is not None; the empty string gives `name=`."""
    return "&".join([f"{name}={encode_query(value.encode())}" for name, value in parameters if value is not None])


def copy_source(bucket: str, key: str, version_id: str | None) -> str:
    """Value of `x-amz-copy-source`."""
    path = object_path(bucket, key)
    return path if version_id is None else f"{path}?{raw_query([('versionId', version_id)])}"
