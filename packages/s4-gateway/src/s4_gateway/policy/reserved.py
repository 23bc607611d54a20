"""Names that belong to the storage layer (s4_format.keys says which): clients neither see nor touch them."""

from collections.abc import Mapping

from s4_format.keys import is_reserved

from s4_gateway.errors import S3Error
from s4_gateway.wire.headers import copy_source


def key_is_free(key: str, *, writes: bool) -> None:
    """Refuse a reserved key: as absent to readers, as illegal to writers. The empty key (bucket operations) is free.

    Raises:
        S3Error: NoSuchKey, or InvalidObjectName where `writes`.
    """
    if key and is_reserved(key):
        raise S3Error("InvalidObjectName" if writes else "NoSuchKey")


def source_is_free(headers: Mapping[str, str]) -> None:
    """Refuse a reserved x-amz-copy-source, whatever the operation.

    Raises:
        S3Error: NoSuchKey, as for a source that does not exist; InvalidArgument for one that does not parse.
    """
    if "x-amz-copy-source" in headers:
        key_is_free(copy_source(headers).key, writes=False)
