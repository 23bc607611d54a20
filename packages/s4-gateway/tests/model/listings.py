"""ListObjects, ListObjectsV2 and the buckets of the perfect S3."""

from collections.abc import Mapping

from .uploads import optional
from .values import ANY, Bucket, Node, Object, Refusal, Reply, Request, State, is_reserved

MAX_KEYS = 1000


def names(bucket: Bucket, *, prefix: str, delimiter: str, after: str) -> list[str]:
    """Names behind `after` in UTF-8 order: keys, and common prefixes in the place of the keys below them."""
    found: dict[str, None] = {}
    for key in sorted(bucket.objects, key=str.encode):
        if key.startswith(prefix) and not is_reserved(key):
            cut = key.find(delimiter, len(prefix)) if delimiter else -1
            name = key if cut < 0 else key[: cut + len(delimiter)]
            if name.encode() > after.encode():
                found[name] = None
    return list(found)


def list_objects(state: State, request: Request) -> Reply:
    """Both versions. A continuation token is the last name of the page before; here it is that name itself."""
    query = request.query
    second = query.get("list-type") == "2"
    bucket = state.bucket(request.bucket)
    prefix, delimiter = query.get("prefix", ""), query.get("delimiter", "")
    limit = min(int(query.get("max-keys", MAX_KEYS)), MAX_KEYS)
    start = query.get("start-after" if second else "marker", "")
    after = query.get("continuation-token", start) if second else start
    found = names(bucket, prefix=prefix, delimiter=delimiter, after=after)
    page = found[:limit]
    truncated = 0 < limit < len(found)
    nodes: list[Node] = [
        ("Name", request.bucket),
        ("Prefix", prefix),
        ("MaxKeys", str(limit)),
        ("IsTruncated", "true" if truncated else "false"),
        *optional(Delimiter=delimiter, EncodingType=query.get("encoding-type", "")),
        *(_second(query, len(page), truncated=truncated) if second else _first(start, page, delimiter, truncated=truncated)),
    ]
    for name in page:
        if name in bucket.objects and (not delimiter or delimiter not in name[len(prefix) :]):
            nodes.append(("Contents", _row(name, bucket.objects[name])))
        else:
            nodes.append(("CommonPrefixes", [("Prefix", name)]))
    return Reply(200, {}, ("ListBucketResult", nodes))


def _first(marker: str, page: list[str], delimiter: str, *, truncated: bool) -> list[Node]:
    nodes: list[Node] = [("Marker", marker)]
    return [*nodes, ("NextMarker", page[-1])] if truncated and delimiter else nodes


def _second(query: Mapping[str, str], count: int, *, truncated: bool) -> list[Node]:
    nodes: list[Node] = [("KeyCount", str(count))]
    if "start-after" in query:
        nodes.append(("StartAfter", query["start-after"]))
    if "continuation-token" in query:
        nodes.append(("ContinuationToken", ANY))
    return [*nodes, ("NextContinuationToken", ANY)] if truncated else nodes


def _row(key: str, found: Object) -> list[Node]:
    nodes: list[Node] = [("Key", key), ("LastModified", str(found.modified)), ("Size", str(len(found.body))), ("StorageClass", "STANDARD")]
    if found.etag is not None:
        nodes.append(("ETag", f'"{found.etag}"'))
    nodes += [("ChecksumAlgorithm", name.upper()) for name in found.checksums]
    return [*nodes, ("ChecksumType", found.checksum_type)] if found.checksums and found.checksum_type else nodes


def create_bucket(state: State, request: Request) -> Reply:
    """CreateBucket."""
    if request.bucket in state.buckets:
        raise Refusal("BucketAlreadyOwnedByYou")
    state.buckets[request.bucket] = Bucket()
    return Reply(200, {"location": f"/{request.bucket}"})


def delete_bucket(state: State, request: Request) -> Reply:
    """DeleteBucket: only if it holds no object; open uploads go with it."""
    if state.bucket(request.bucket).objects:
        raise Refusal("BucketNotEmpty")
    del state.buckets[request.bucket]
    return Reply(204)


def head_bucket(state: State, request: Request) -> Reply:
    """HeadBucket."""
    state.bucket(request.bucket)
    return Reply(200, {"x-amz-bucket-region": "us-east-1"})
