"""Which S3 operation a request is: one table of all of them, by method, level and the query parameters that name a sub-resource."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from s4_gateway.errors import S3Error


class Level(StrEnum):
    """What a request addresses."""

    SERVICE = "SERVICE"
    BUCKET = "BUCKET"
    OBJECT = "OBJECT"


@dataclass(frozen=True, slots=True)
class Route:
    """One row: the request is this operation if exactly these of the known parameters are in its query."""

    operation: str
    method: str
    level: Level
    parameters: frozenset[str] = frozenset()


_S, _B, _O = Level.SERVICE, Level.BUCKET, Level.OBJECT
_ROWS: tuple[tuple[str, str, Level, str], ...] = (
    ("ListBuckets", "GET", _S, ""),
    ("HeadBucket", "HEAD", _B, ""),
    ("CreateBucket", "PUT", _B, ""),
    ("DeleteBucket", "DELETE", _B, ""),
    ("ListObjects", "GET", _B, ""),
    ("ListObjectsV2", "GET", _B, "list-type"),
    ("ListObjectVersions", "GET", _B, "versions"),
    ("ListMultipartUploads", "GET", _B, "uploads"),
    ("DeleteObjects", "POST", _B, "delete"),
    ("CreateSession", "GET", _B, "session"),
    ("GetBucketLocation", "GET", _B, "location"),
    ("GetBucketPolicyStatus", "GET", _B, "policyStatus"),
    ("GetBucketAbac", "GET", _B, "abac"),
    ("PutBucketAbac", "PUT", _B, "abac"),
    ("GetBucketAccelerateConfiguration", "GET", _B, "accelerate"),
    ("PutBucketAccelerateConfiguration", "PUT", _B, "accelerate"),
    ("GetBucketAcl", "GET", _B, "acl"),
    ("PutBucketAcl", "PUT", _B, "acl"),
    ("GetBucketAnalyticsConfiguration", "GET", _B, "analytics id"),
    ("ListBucketAnalyticsConfigurations", "GET", _B, "analytics"),
    ("PutBucketAnalyticsConfiguration", "PUT", _B, "analytics id"),
    ("DeleteBucketAnalyticsConfiguration", "DELETE", _B, "analytics id"),
    ("GetBucketCors", "GET", _B, "cors"),
    ("PutBucketCors", "PUT", _B, "cors"),
    ("DeleteBucketCors", "DELETE", _B, "cors"),
    ("GetBucketEncryption", "GET", _B, "encryption"),
    ("PutBucketEncryption", "PUT", _B, "encryption"),
    ("DeleteBucketEncryption", "DELETE", _B, "encryption"),
    ("GetBucketIntelligentTieringConfiguration", "GET", _B, "intelligent-tiering id"),
    ("ListBucketIntelligentTieringConfigurations", "GET", _B, "intelligent-tiering"),
    ("PutBucketIntelligentTieringConfiguration", "PUT", _B, "intelligent-tiering id"),
    ("DeleteBucketIntelligentTieringConfiguration", "DELETE", _B, "intelligent-tiering id"),
    ("GetBucketInventoryConfiguration", "GET", _B, "inventory id"),
    ("ListBucketInventoryConfigurations", "GET", _B, "inventory"),
    ("PutBucketInventoryConfiguration", "PUT", _B, "inventory id"),
    ("DeleteBucketInventoryConfiguration", "DELETE", _B, "inventory id"),
    ("GetBucketLifecycleConfiguration", "GET", _B, "lifecycle"),
    ("PutBucketLifecycleConfiguration", "PUT", _B, "lifecycle"),
    ("DeleteBucketLifecycle", "DELETE", _B, "lifecycle"),
    ("GetBucketLogging", "GET", _B, "logging"),
    ("PutBucketLogging", "PUT", _B, "logging"),
    ("GetBucketMetadataConfiguration", "GET", _B, "metadataConfiguration"),
    ("CreateBucketMetadataConfiguration", "POST", _B, "metadataConfiguration"),
    ("DeleteBucketMetadataConfiguration", "DELETE", _B, "metadataConfiguration"),
    ("GetBucketMetadataTableConfiguration", "GET", _B, "metadataTable"),
    ("CreateBucketMetadataTableConfiguration", "POST", _B, "metadataTable"),
    ("DeleteBucketMetadataTableConfiguration", "DELETE", _B, "metadataTable"),
    ("UpdateBucketMetadataAnnotationTableConfiguration", "PUT", _B, "metadataAnnotationTable"),
    ("UpdateBucketMetadataInventoryTableConfiguration", "PUT", _B, "metadataInventoryTable"),
    ("UpdateBucketMetadataJournalTableConfiguration", "PUT", _B, "metadataJournalTable"),
    ("GetBucketMetricsConfiguration", "GET", _B, "metrics id"),
    ("ListBucketMetricsConfigurations", "GET", _B, "metrics"),
    ("PutBucketMetricsConfiguration", "PUT", _B, "metrics id"),
    ("DeleteBucketMetricsConfiguration", "DELETE", _B, "metrics id"),
    ("GetBucketNotificationConfiguration", "GET", _B, "notification"),
    ("PutBucketNotificationConfiguration", "PUT", _B, "notification"),
    ("GetBucketOwnershipControls", "GET", _B, "ownershipControls"),
    ("PutBucketOwnershipControls", "PUT", _B, "ownershipControls"),
    ("DeleteBucketOwnershipControls", "DELETE", _B, "ownershipControls"),
    ("GetBucketPolicy", "GET", _B, "policy"),
    ("PutBucketPolicy", "PUT", _B, "policy"),
    ("DeleteBucketPolicy", "DELETE", _B, "policy"),
    ("GetBucketReplication", "GET", _B, "replication"),
    ("PutBucketReplication", "PUT", _B, "replication"),
    ("DeleteBucketReplication", "DELETE", _B, "replication"),
    ("GetBucketRequestPayment", "GET", _B, "requestPayment"),
    ("PutBucketRequestPayment", "PUT", _B, "requestPayment"),
    ("GetBucketTagging", "GET", _B, "tagging"),
    ("PutBucketTagging", "PUT", _B, "tagging"),
    ("DeleteBucketTagging", "DELETE", _B, "tagging"),
    ("GetBucketVersioning", "GET", _B, "versioning"),
    ("PutBucketVersioning", "PUT", _B, "versioning"),
    ("GetBucketWebsite", "GET", _B, "website"),
    ("PutBucketWebsite", "PUT", _B, "website"),
    ("DeleteBucketWebsite", "DELETE", _B, "website"),
    ("GetObjectLockConfiguration", "GET", _B, "object-lock"),
    ("PutObjectLockConfiguration", "PUT", _B, "object-lock"),
    ("GetPublicAccessBlock", "GET", _B, "publicAccessBlock"),
    ("PutPublicAccessBlock", "PUT", _B, "publicAccessBlock"),
    ("DeletePublicAccessBlock", "DELETE", _B, "publicAccessBlock"),
    ("HeadObject", "HEAD", _O, ""),
    ("GetObject", "GET", _O, ""),
    ("PutObject", "PUT", _O, ""),
    ("DeleteObject", "DELETE", _O, ""),
    ("CreateMultipartUpload", "POST", _O, "uploads"),
    ("UploadPart", "PUT", _O, "partNumber uploadId"),
    ("ListParts", "GET", _O, "uploadId"),
    ("CompleteMultipartUpload", "POST", _O, "uploadId"),
    ("AbortMultipartUpload", "DELETE", _O, "uploadId"),
    ("GetObjectAcl", "GET", _O, "acl"),
    ("PutObjectAcl", "PUT", _O, "acl"),
    ("ListObjectAnnotations", "GET", _O, "annotation"),
    ("GetObjectAnnotation", "GET", _O, "annotation annotationName"),
    ("PutObjectAnnotation", "PUT", _O, "annotation annotationName"),
    ("DeleteObjectAnnotation", "DELETE", _O, "annotation annotationName"),
    ("GetObjectAttributes", "GET", _O, "attributes"),
    ("UpdateObjectEncryption", "PUT", _O, "encryption"),
    ("GetObjectLegalHold", "GET", _O, "legal-hold"),
    ("PutObjectLegalHold", "PUT", _O, "legal-hold"),
    ("RenameObject", "PUT", _O, "renameObject"),
    ("RestoreObject", "POST", _O, "restore"),
    ("GetObjectRetention", "GET", _O, "retention"),
    ("PutObjectRetention", "PUT", _O, "retention"),
    ("SelectObjectContent", "POST", _O, "select select-type"),
    ("GetObjectTagging", "GET", _O, "tagging"),
    ("PutObjectTagging", "PUT", _O, "tagging"),
    ("DeleteObjectTagging", "DELETE", _O, "tagging"),
    ("GetObjectTorrent", "GET", _O, "torrent"),
)

ROUTES = tuple(Route(operation, method, level, frozenset(parameters.split())) for operation, method, level, parameters in _ROWS)
COPIES: Mapping[str, str] = {"PutObject": "CopyObject", "UploadPart": "UploadPartCopy"}
"""What an upload becomes when the header `x-amz-copy-source` is there."""
OPERATIONS = frozenset({route.operation for route in ROUTES} | set(COPIES.values()))
"""Every operation that `route` can answer."""

QUALIFIERS = frozenset({"annotationName", "id", "partNumber", "select-type"})
"""They select among operations only beside a sub-resource; alone, readers may use them for something else (GetObject of a part)."""
_READS = frozenset({"GET", "HEAD"})
_ALL_PARAMETERS = frozenset().union(*(route.parameters for route in ROUTES))


class _Choices:
    """The routes of one method on one level."""

    __slots__ = ("by_parameters", "known", "plain")

    def __init__(self, method: str, level: Level) -> None:
        mine = [route for route in ROUTES if (route.method, route.level) == (method, level)]
        self.by_parameters = {route.parameters: route.operation for route in mine}
        self.plain = self.by_parameters.get(frozenset())
        if method in _READS:
            # A reader's foreign parameter does no harm: it may belong to the application behind a presigned URL.
            at_level = frozenset().union(*(route.parameters for route in ROUTES if route.level is level))
            self.known = at_level - QUALIFIERS
        else:
            # `DELETE /bucket/key?lifecycle` must never delete the object.
            self.known = _ALL_PARAMETERS

    def choose(self, query: Mapping[str, str]) -> str | None:
        named = frozenset(self.known & query.keys())
        qualified = named | (QUALIFIERS & query.keys())
        return self.by_parameters.get(qualified) or self.by_parameters.get(named)


_CHOICES = {(method, level): _Choices(method, level) for method, level in {(route.method, route.level) for route in ROUTES}}


def route(method: str, level: Level, query: Mapping[str, str], headers: Mapping[str, str]) -> str:
    """The operation that a request asks for; a member of `OPERATIONS`.

    Parameters that S3 does not know, `x-id` of the SDKs and those of presigned URLs never change the answer.

    Raises:
        S3Error: MethodNotAllowed; NotImplemented for form uploads; InvalidArgument for an unknown list-type and for several
            sub-resources at once.
    """
    choices = _CHOICES.get((method, level))
    if choices is None:
        raise _refusal(method, level, query)
    operation = choices.plain if choices.known.isdisjoint(query) else choices.choose(query)
    if operation is None:
        raise _refusal(method, level, query)
    if operation in COPIES and "x-amz-copy-source" in headers:
        return COPIES[operation]
    if operation == "ListObjectsV2" and query["list-type"] != "2":
        raise S3Error("InvalidArgument", fields={"ArgumentName": "list-type", "ArgumentValue": query["list-type"]})
    return operation


def _refusal(method: str, level: Level, query: Mapping[str, str]) -> S3Error:
    named = sorted((_ALL_PARAMETERS - QUALIFIERS) & query.keys())
    if len(named) > 1:
        return S3Error(
            "InvalidArgument", f"Conflicting query string parameters: {', '.join(named)}", fields={"ArgumentName": "ResourceType"}
        )
    if method == "POST" and level is Level.BUCKET and not named:
        return S3Error("NotImplemented", "Uploads by HTML form (POST Object) are not implemented.")
    if method == "PUT" and level is Level.OBJECT and {"uploadId", "partNumber"} & query.keys():
        return S3Error("InvalidArgument", "An upload of a part needs both uploadId and partNumber.", fields={"ArgumentName": "partNumber"})
    allowed = sorted({route.method for route in ROUTES if route.level is level and route.parameters - QUALIFIERS == frozenset(named)})
    fields = {"Method": method, "ResourceType": named[0].upper() if named else level}
    return S3Error("MethodNotAllowed", fields=fields, headers={"allow": ", ".join(allowed)})
