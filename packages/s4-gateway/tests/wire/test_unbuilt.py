"""What does not exist yet is refused, not ignored."""

import pytest

from s4_gateway.errors import S3Error
from s4_gateway.wire.unbuilt import HARMLESS, REFUSED, refuse_unbuilt

from .helpers import OPERATIONS_OF_S3, parse

BUILT = (
    "AbortMultipartUpload",
    "CompleteMultipartUpload",
    "CopyObject",
    "CreateBucket",
    "CreateMultipartUpload",
    "DeleteBucket",
    "DeleteObject",
    "DeleteObjects",
    "GetBucketLocation",
    "GetObject",
    "GetObjectAttributes",
    "HeadBucket",
    "HeadObject",
    "ListBuckets",
    "ListMultipartUploads",
    "ListObjects",
    "ListObjectsV2",
    "ListParts",
    "PutObject",
    "UploadPart",
    "UploadPartCopy",
)
HANDLED = frozenset(
    {
        "x-amz-checksum-algorithm",
        "x-amz-checksum-crc32",
        "x-amz-checksum-crc32c",
        "x-amz-checksum-crc64nvme",
        "x-amz-checksum-mode",
        "x-amz-checksum-sha1",
        "x-amz-checksum-sha256",
        "x-amz-checksum-type",
        "x-amz-copy-source",
        "x-amz-copy-source-if-match",
        "x-amz-copy-source-if-modified-since",
        "x-amz-copy-source-if-none-match",
        "x-amz-copy-source-if-unmodified-since",
        "x-amz-copy-source-range",
        "x-amz-max-parts",
        "x-amz-meta-",
        "x-amz-metadata-directive",
        "x-amz-mp-object-size",
        "x-amz-object-attributes",
        "x-amz-part-number-marker",
        "x-amz-sdk-checksum-algorithm",
    }
)
"""Headers that operations act on."""


def modelled(operation: str) -> set[str]:
    """The `x-amz-*` request headers of an operation."""
    return set(OPERATIONS_OF_S3[operation]["x_amz_headers"])


@pytest.mark.parametrize("operation", BUILT)
def test_every_header_of_the_model_is_decided(operation: str) -> None:
    """Each header is acted on, refused, or harmless: none is forgotten."""
    assert modelled(operation) <= REFUSED.keys() | HARMLESS | HANDLED


def test_each_header_is_decided_once() -> None:
    """The three groups do not overlap and hold nothing that S3 does not have."""
    everything = set().union(*map(modelled, BUILT))
    assert not REFUSED.keys() & HARMLESS
    assert not (REFUSED.keys() | HARMLESS) & HANDLED
    assert REFUSED.keys() | HARMLESS | HANDLED == everything


@pytest.mark.parametrize("name", sorted(REFUSED))
def test_refused_headers(name: str) -> None:
    """A value that asks for something is 501 and closes the connection, because its body stays unread."""
    call = parse("PUT", "/bkt/k", {name: "something", "content-length": "5"})
    with pytest.raises(S3Error) as caught:
        refuse_unbuilt(call)
    assert (caught.value.code, caught.value.status, caught.value.fields["Header"], caught.value.close) == (
        "NotImplemented",
        501,
        name,
        True,
    )


@pytest.mark.parametrize(("name", "value"), [(name, value) for name, values in sorted(REFUSED.items()) for value in ("", *sorted(values))])
def test_values_that_ask_for_nothing(name: str, value: str) -> None:
    """The default, spelled out in any case, is not refused."""
    for spelled in (value, value.upper(), f" {value} "):
        refuse_unbuilt(parse("PUT", "/bkt/k", {name: spelled, "content-length": "5"}))


@pytest.mark.parametrize("name", sorted(HARMLESS | HANDLED | {"x-amz-date", "x-amz-unheard-of", "content-type"}))
def test_other_headers_pass(name: str) -> None:
    """Headers that change nothing, or are acted on elsewhere, are not refused here."""
    refuse_unbuilt(parse("PUT", "/bkt/k", {name: "requester", "content-length": "5"}))


def test_one_bad_header_among_good_ones() -> None:
    """A harmless value does not excuse another header."""
    with pytest.raises(S3Error, match="x-amz-storage-class"):
        refuse_unbuilt(parse("PUT", "/bkt/k", {"x-amz-acl": "private", "x-amz-storage-class": "GLACIER", "content-length": "0"}))
