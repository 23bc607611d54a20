"""Every S3 operation, one row each: who runs it, which IAM actions it needs, what it changes.

A test compares the names with the list of all S3 operations, so an operation without a row, and so without its checks, cannot exist.
"""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass

from s4_gateway.call import Call
from s4_gateway.objects.store import ObjectStore
from s4_gateway.operations import bucket, multipart, read, write
from s4_gateway.operations import list as listing
from s4_gateway.operations.results import Result

Run = Callable[[ObjectStore, Call], Awaitable[Result]]


@dataclass(frozen=True, slots=True)
class Entry:
    """One operation.

    Attributes:
        run: its handler; None = not built, answered NotImplemented (501).
        actions: IAM actions that a caller needs.
        writes: it changes the object or upload that its key names.
    """

    run: Run | None
    actions: tuple[str, ...]
    writes: bool = False


_BUILT: Mapping[str, Entry] = {
    "ListBuckets": Entry(bucket.list_buckets, ("s3:ListAllMyBuckets",)),
    "CreateBucket": Entry(bucket.create_bucket, ("s3:CreateBucket",)),
    "DeleteBucket": Entry(bucket.delete_bucket, ("s3:DeleteBucket",)),
    "HeadBucket": Entry(bucket.head_bucket, ("s3:ListBucket",)),
    "GetBucketLocation": Entry(bucket.get_bucket_location, ("s3:GetBucketLocation",)),
    "ListObjects": Entry(listing.list_objects, ("s3:ListBucket",)),
    "ListObjectsV2": Entry(listing.list_objects_v2, ("s3:ListBucket",)),
    "ListMultipartUploads": Entry(multipart.list_multipart_uploads, ("s3:ListBucketMultipartUploads",)),
    "DeleteObjects": Entry(write.delete_objects, ("s3:DeleteObject",)),
    "GetObject": Entry(read.get_object, ("s3:GetObject",)),
    "HeadObject": Entry(read.head_object, ("s3:GetObject",)),
    "GetObjectAttributes": Entry(read.get_object_attributes, ("s3:GetObject", "s3:GetObjectAttributes")),
    "PutObject": Entry(write.put_object, ("s3:PutObject",), writes=True),
    "CopyObject": Entry(write.copy_object, ("s3:PutObject",), writes=True),
    "DeleteObject": Entry(write.delete_object, ("s3:DeleteObject",), writes=True),
    "CreateMultipartUpload": Entry(multipart.create_multipart_upload, ("s3:PutObject",), writes=True),
    "UploadPart": Entry(multipart.upload_part, ("s3:PutObject",), writes=True),
    "UploadPartCopy": Entry(multipart.upload_part_copy, ("s3:PutObject",), writes=True),
    "CompleteMultipartUpload": Entry(multipart.complete_multipart_upload, ("s3:PutObject",), writes=True),
    "AbortMultipartUpload": Entry(multipart.abort_multipart_upload, ("s3:AbortMultipartUpload",), writes=True),
    "ListParts": Entry(multipart.list_parts, ("s3:ListMultipartUploadParts",)),
}

# fmt: off
_UNBUILT = (
    "CreateBucketMetadataConfiguration", "CreateBucketMetadataTableConfiguration", "CreateSession",
    "DeleteBucketAnalyticsConfiguration", "DeleteBucketCors", "DeleteBucketEncryption", "DeleteBucketIntelligentTieringConfiguration",
    "DeleteBucketInventoryConfiguration", "DeleteBucketLifecycle", "DeleteBucketMetadataConfiguration",
    "DeleteBucketMetadataTableConfiguration", "DeleteBucketMetricsConfiguration", "DeleteBucketOwnershipControls",
    "DeleteBucketPolicy", "DeleteBucketReplication", "DeleteBucketTagging", "DeleteBucketWebsite", "DeleteObjectAnnotation",
    "DeleteObjectTagging", "DeletePublicAccessBlock", "GetBucketAbac", "GetBucketAccelerateConfiguration", "GetBucketAcl",
    "GetBucketAnalyticsConfiguration", "GetBucketCors", "GetBucketEncryption", "GetBucketIntelligentTieringConfiguration",
    "GetBucketInventoryConfiguration", "GetBucketLifecycle", "GetBucketLifecycleConfiguration", "GetBucketLogging",
    "GetBucketMetadataConfiguration", "GetBucketMetadataTableConfiguration", "GetBucketMetricsConfiguration", "GetBucketNotification",
    "GetBucketNotificationConfiguration", "GetBucketOwnershipControls", "GetBucketPolicy", "GetBucketPolicyStatus",
    "GetBucketReplication", "GetBucketRequestPayment", "GetBucketTagging", "GetBucketVersioning", "GetBucketWebsite", "GetObjectAcl",
    "GetObjectAnnotation", "GetObjectLegalHold", "GetObjectLockConfiguration", "GetObjectRetention", "GetObjectTagging",
    "GetObjectTorrent", "GetPublicAccessBlock", "ListBucketAnalyticsConfigurations", "ListBucketIntelligentTieringConfigurations",
    "ListBucketInventoryConfigurations", "ListBucketMetricsConfigurations", "ListDirectoryBuckets", "ListObjectAnnotations",
    "ListObjectVersions", "PostObject", "PutBucketAbac", "PutBucketAccelerateConfiguration", "PutBucketAcl",
    "PutBucketAnalyticsConfiguration", "PutBucketCors", "PutBucketEncryption", "PutBucketIntelligentTieringConfiguration",
    "PutBucketInventoryConfiguration", "PutBucketLifecycle", "PutBucketLifecycleConfiguration", "PutBucketLogging",
    "PutBucketMetricsConfiguration", "PutBucketNotification", "PutBucketNotificationConfiguration", "PutBucketOwnershipControls",
    "PutBucketPolicy", "PutBucketReplication", "PutBucketRequestPayment", "PutBucketTagging", "PutBucketVersioning",
    "PutBucketWebsite", "PutObjectAcl", "PutObjectAnnotation", "PutObjectLegalHold", "PutObjectLockConfiguration",
    "PutObjectRetention", "PutObjectTagging", "PutPublicAccessBlock", "RenameObject", "RestoreObject", "SelectObjectContent",
    "UpdateBucketMetadataAnnotationTableConfiguration", "UpdateBucketMetadataInventoryTableConfiguration",
    "UpdateBucketMetadataJournalTableConfiguration", "UpdateObjectEncryption", "WriteGetObjectResponse",
)
# fmt: on

TABLE: Mapping[str, Entry] = {**_BUILT, **{name: Entry(None, (f"s3:{name}",), writes=name.startswith("Put")) for name in _UNBUILT}}
"""Operation name -> row."""
