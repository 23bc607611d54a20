"""Buckets: list, create, delete, head, location."""

import re

from s4_gateway.call import Call
from s4_gateway.errors import S3Error
from s4_gateway.objects.store import ObjectStore
from s4_gateway.operations.answers import OWNER
from s4_gateway.operations.results import BucketList, BucketRow, Empty, Location
from s4_gateway.operations.write import MAX_XML_BYTES
from s4_gateway.wire.body import read_limited
from s4_gateway.wire.headers import int_param
from s4_gateway.wire.xml_read import parse_create_bucket

DEFAULT_REGION = "us-east-1"
MAX_BUCKETS = 10_000
_NAME = re.compile(r"(?!xn--)[a-z0-9](?:[a-z0-9.-]{1,61})[a-z0-9]")
_IP = re.compile(r"\d+\.\d+\.\d+\.\d+")


async def list_buckets(store: ObjectStore, call: Call) -> BucketList:
    """ListBuckets, with prefix and pages."""
    prefix = call.query.get("prefix")
    limit = int_param(call.query, "max-buckets", default=MAX_BUCKETS, low=1, high=MAX_BUCKETS)
    after = call.query.get("continuation-token", "")
    found = sorted(await store.core.backend.list_buckets(), key=lambda bucket: bucket.name)
    visible = [bucket for bucket in found if bucket.name > after and bucket.name.startswith(prefix or "")]
    page = visible[:limit]
    token = page[-1].name if len(visible) > len(page) else None
    return BucketList([BucketRow(bucket.name, bucket.created) for bucket in page], OWNER, prefix, token)


async def create_bucket(store: ObjectStore, call: Call) -> Empty:
    """CreateBucket; the location constraint is the backend's to judge."""
    if not _NAME.fullmatch(call.bucket) or ".." in call.bucket or _IP.fullmatch(call.bucket):
        raise S3Error("InvalidBucketName", fields={"BucketName": call.bucket})
    xml = await read_limited(call.body, MAX_XML_BYTES, call.headers)
    location = parse_create_bucket(xml) if xml else None
    await store.core.backend.create_bucket(call.bucket, location=location)
    return Empty(200, {"location": f"/{call.bucket}"})


async def delete_bucket(store: ObjectStore, call: Call) -> Empty:
    """DeleteBucket: a bucket that holds nothing but the storage layer's own objects is empty."""
    await store.deleter.delete_bucket(call.bucket)
    return Empty(204)


async def head_bucket(store: ObjectStore, call: Call) -> Empty:
    """HeadBucket."""
    state = await store.core.backend.head_bucket(call.bucket)
    return Empty(200, {"x-amz-bucket-region": state.region or DEFAULT_REGION})


async def get_bucket_location(store: ObjectStore, call: Call) -> Location:
    """GetBucketLocation."""
    state = await store.core.backend.head_bucket(call.bucket)
    return Location(state.region or DEFAULT_REGION)
