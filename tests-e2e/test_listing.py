"""Listings: logical sizes and ETags, nothing of ours, full pages, and every way of paging."""

import hashlib
import random
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.parse import unquote

import pytest
from clients.multipart import MIB, put_parts
from clients.wire import Wire, path_of
from s4_codecs.testing.workloads import WORKLOADS
from servers.behind import Behind, Stored
from servers.gateways import Gateway

LOG = WORKLOADS["log"](12 * MIB)


def put_all(behind: Behind, bucket: str, keys: Sequence[str]) -> None:
    """Objects that no gateway wrote, each its key as body."""
    with ThreadPoolExecutor(16) as pool:
        list(pool.map(lambda key: behind.put(bucket, key, Stored(key.encode())), keys))


def test_no_request_per_key_once_warm(gateway: Gateway, s3: Any, wire: Wire, bucket: str) -> None:
    """Sizes and ETags of objects that this gateway wrote or read come without a HEAD, however they were written."""
    s3.put_object(Bucket=bucket, Key="buffered", Body=LOG[:1000])
    s3.put_object(Bucket=bucket, Key="streamed", Body=LOG)
    put_parts(s3, bucket, "parts", [LOG[: 5 * MIB], b"tail"])
    s3.copy_object(Bucket=bucket, Key="copy of streamed", CopySource={"Bucket": bucket, "Key": "streamed"})
    for number in range(20):
        wire.request("PUT", path_of(bucket, f"small {number:02d}"), LOG[: number * 1000])
    before = gateway.backend_requests()
    listed = s3.list_objects_v2(Bucket=bucket)["Contents"]
    spent = gateway.backend_requests() - before
    assert spent == {"list_objects": 1}
    sizes = {entry["Key"]: entry["Size"] for entry in listed}
    assert sizes["buffered"] == 1000
    assert sizes["streamed"] == sizes["copy of streamed"] == len(LOG)
    assert sizes["parts"] == 5 * MIB + 4
    assert [sizes[f"small {number:02d}"] for number in range(20)] == [number * 1000 for number in range(20)]
    for entry in listed:
        head = s3.head_object(Bucket=bucket, Key=entry["Key"])
        assert (entry["Size"], entry["ETag"], entry["LastModified"]) == (head["ContentLength"], head["ETag"], head["LastModified"])


@pytest.mark.servers("versitygw", "minio")
def test_a_cold_cache_warms_up(s3: Any, second_gateway: Gateway, bucket: str) -> None:
    """A gateway that never saw the objects looks at each of them once, and never again."""
    for number in range(10):
        s3.put_object(Bucket=bucket, Key=f"key {number}", Body=LOG[: 1 + number * MIB])
    other = second_gateway.client()
    for turn in range(2):
        before = second_gateway.backend_requests()
        sizes = [entry["Size"] for entry in other.list_objects_v2(Bucket=bucket)["Contents"]]
        spent = second_gateway.backend_requests() - before
        assert sizes == [1 + number * MIB for number in range(10)]
        assert spent["list_objects"] == 1
        assert spent["head_object"] == (10 if turn == 0 else 0)


def test_full_pages_with_hidden_names_between(s3: Any, behind: Behind, bucket: str) -> None:
    """A page holds 1,000 visible keys even where every other stored name is one of ours; the rest is on the next page."""
    keys = [f"key {number:04d}" for number in range(1010)]
    hidden = (
        [f"{key}.s4index" for key in keys] + [f".s4dict/{number:016x}" for number in range(10)] + [".s4mpu/ab/upload", ".s4mpu/ab/backend"]
    )
    put_all(behind, bucket, keys + hidden)
    pages = list(s3.get_paginator("list_objects_v2").paginate(Bucket=bucket))
    assert [page["KeyCount"] for page in pages] == [1000, 10]
    assert [entry["Key"] for page in pages for entry in page["Contents"]] == keys
    one = s3.list_objects_v2(Bucket=bucket, MaxKeys=7, StartAfter="key 0500")
    assert [entry["Key"] for entry in one["Contents"]] == keys[501:508]
    assert one["IsTruncated"]


def test_our_folders_are_no_common_prefixes(s3: Any, behind: Behind, bucket: str) -> None:
    """Neither `.s4mpu/` nor `.s4dict/` shows in any listing, while names that only look alike do."""
    put_all(behind, bucket, [".s4dict/0123456789abcdef", ".s4mpu/ab/upload", ".s4mpu0/x", ".s4/x", "a/1", "a/2.s4index", "b"])
    grouped = s3.list_objects_v2(Bucket=bucket, Delimiter="/")
    assert [entry["Prefix"] for entry in grouped["CommonPrefixes"]] == [".s4/", ".s4mpu0/", "a/"]
    assert [entry["Key"] for entry in grouped["Contents"]] == ["b"]
    assert [entry["Key"] for entry in s3.list_objects_v2(Bucket=bucket)["Contents"]] == [".s4/x", ".s4mpu0/x", "a/1", "b"]
    for prefix in (".s4mpu/", ".s4mpu/ab", ".s4dict/0"):
        assert s3.list_objects_v2(Bucket=bucket, Prefix=prefix)["KeyCount"] == 0
    assert [entry["Key"] for entry in s3.list_objects_v2(Bucket=bucket, Prefix=".s4mp")["Contents"]] == [".s4mpu0/x"]


NAMES = ("a", "b", "b b", "c+c", "d%2F", "é", "\uff5e", "\U0001f600", "z")
TREE = sorted(
    {f"{first}/{second}/{third}" for first in NAMES for second in NAMES[:4] for third in NAMES[3:6]} | {f"f {n}" for n in NAMES},
    key=str.encode,
)


def expected(prefix: str, delimiter: str, after: str) -> list[str]:
    """What a listing returns, keys and common prefixes together, by the rules of S3."""
    found: list[str] = []
    for key in TREE:
        if not key.startswith(prefix):
            continue
        cut = key.find(delimiter, len(prefix)) if delimiter else -1
        name = key[: cut + len(delimiter)] if cut >= 0 else key
        # A common prefix is returned as long as one of its keys lies behind the marker, unless the marker is in it already.
        if name.encode() > after.encode() and name not in found and not (name != key and after.startswith(name)):
            found.append(name)
    return found


def names_of(page: dict[str, Any]) -> list[str]:
    """Keys and common prefixes of a page in their common order."""
    keys = [entry["Key"] for entry in page.get("Contents", ())] + [entry["Prefix"] for entry in page.get("CommonPrefixes", ())]
    return sorted(keys, key=str.encode)


def test_every_way_of_paging(s3: Any, behind: Behind, bucket: str) -> None:
    """Prefix, delimiter, start and page size in any combination give the listing of the model, page by page, in v1 and v2."""
    put_all(behind, bucket, TREE)
    generator = random.Random(1)
    for _ in range(40):
        prefix = generator.choice(["", "", "a", "b", "b b/", "a/b", "nothing", "é/a/"])
        delimiter = generator.choice(["", "/", "/", "a", "/b"])
        after = generator.choice(["", "", "a/", "b/b", "é", *generator.sample(TREE, 3)])
        size = generator.choice([1, 2, 3, 7, 1000])
        model = expected(prefix, delimiter, after)
        where = {"Bucket": bucket, "Prefix": prefix, "Delimiter": delimiter, "PaginationConfig": {"PageSize": size}}
        pages = list(s3.get_paginator("list_objects_v2").paginate(**where, StartAfter=after))
        assert [name for page in pages for name in names_of(page)] == model, (prefix, delimiter, after, size)
        assert all(len(names_of(page)) == size for page in pages[:-1])
        assert all(page["KeyCount"] == len(names_of(page)) for page in pages)
        pages = list(s3.get_paginator("list_objects").paginate(**where, Marker=after))
        assert [name for page in pages for name in names_of(page)] == model, (prefix, delimiter, after, size)


def test_parameters(s3: Any, wire: Wire, bucket: str) -> None:
    """No keys asked for gives none and no more; nonsense is an error; url-encoding is done where asked for and told."""
    for key in ("a b", "a+b", "ü"):
        s3.put_object(Bucket=bucket, Key=key, Body=b"")
    nothing = s3.list_objects_v2(Bucket=bucket, MaxKeys=0)
    assert (nothing["KeyCount"], nothing["IsTruncated"]) == (0, False)
    for query in ("max-keys=-1", "max-keys=x", "list-type=2&continuation-token=%21%21", "encoding-type=base64"):
        answer = wire.request("GET", path_of(bucket, "", query))
        assert (query, answer.status, answer.code) == (query, 400, "InvalidArgument")
    answer = wire.request("GET", path_of(bucket, "", "encoding-type=url&list-type=2&start-after=a%20b"))
    assert answer.xml.findtext("EncodingType") == "url"
    assert answer.xml.findtext("StartAfter") in ("a%20b", "a+b")
    assert [unquote(name.text or "") for name in answer.xml.iterfind("Contents/Key")] == ["a+b", "ü"]
    plain = wire.request("GET", path_of(bucket, "", "list-type=2&fetch-owner=true"))
    assert [name.text for name in plain.xml.iterfind("Contents/Key")] == ["a b", "a+b", "ü"]
    assert len(list(plain.xml.iterfind("Contents/Owner/ID"))) == 3


def test_sizes_follow_every_change(s3: Any, bucket: str) -> None:
    """After each overwrite, copy and delete the listing shows what is there now."""
    for size in (10, 5 * MIB, 11 * MIB, 0, 7):
        body = LOG[:size]
        s3.put_object(Bucket=bucket, Key="key", Body=body)
        s3.copy_object(Bucket=bucket, Key="copy", CopySource={"Bucket": bucket, "Key": "key"})
        listed = [(entry["Key"], entry["Size"], entry["ETag"]) for entry in s3.list_objects_v2(Bucket=bucket)["Contents"]]
        etag = f'"{hashlib.md5(body).hexdigest()}"'
        assert listed == [("copy", size, etag), ("key", size, etag)]
    s3.delete_object(Bucket=bucket, Key="copy")
    assert [entry["Key"] for entry in s3.list_objects_v2(Bucket=bucket)["Contents"]] == ["key"]
