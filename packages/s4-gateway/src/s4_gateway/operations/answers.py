"""Response headers that several operations share."""

from collections.abc import Mapping

from s4_format import Layout, quote_etag

from s4_gateway.objects.face import Face
from s4_gateway.wire.digests import checksum_headers
from s4_gateway.wire.headers import http_date, object_response_headers

OWNER = "s4-gateway"
"""The one owner that listings show: there are no accounts."""

KEPT_IN_304 = ("etag", "last-modified", "cache-control", "expires", "x-amz-version-id")
"""What a 304 repeats (RFC 9110, section 15.4.5)."""


def face_headers(face: Face, *, checksums: bool) -> dict[str, str]:
    """What GET and HEAD say of an object, all values logical; `checksums` as asked for by x-amz-checksum-mode."""
    stored, attributes = face.stored, face.attributes
    headers = object_response_headers(stored.headers, stored.metadata)
    headers["last-modified"] = http_date(stored.modified)
    if attributes.etag is not None:
        headers["etag"] = quote_etag(attributes.etag)
    if stored.version_id is not None:
        headers["x-amz-version-id"] = stored.version_id
    if stored.storage_class not in (None, "STANDARD"):
        headers["x-amz-storage-class"] = stored.storage_class
    if attributes.layout is Layout.FOREIGN:
        headers.update(stored.extra)
    if checksums:
        headers.update(checksum_headers(attributes.shown_checksums, attributes.checksum_type))
    return headers


def written_headers(etag: str, version_id: str | None, checksums: Mapping[str, str], checksum_type: str | None) -> dict[str, str]:
    """What PutObject and its kin answer."""
    headers = {"etag": quote_etag(etag), **checksum_headers(checksums, checksum_type)}
    if version_id is not None:
        headers["x-amz-version-id"] = version_id
    return headers
