"""The S3 backend over real servers passes the contract of every backend."""

import asyncio
import random
from collections.abc import AsyncIterator, Sequence
from typing import Any, ClassVar

import pytest
import pytest_asyncio
from botocore.exceptions import ClientError
from s4_gateway.backend.abc import BackendError, Condition, Outcome, Pieces
from s4_gateway.backend.s3 import S3Backend
from s4_gateway.backend.s3.credentials import KeyPair, StaticCredentials
from s4_gateway.backend.s3.options import S3Options
from s4_gateway.testing.contract import ODD_KEYS, ODD_VALUES, BackendContract, Seen
from servers.behind import S3Behind
from servers.stores import ACCESS_KEY, SECRET_KEY, Store


class Direct:
    """boto3 behind the backend's back."""

    def __init__(self, client: Any) -> None:
        self._client = client

    async def put(self, bucket: str, key: str, seen: Seen) -> None:
        names = {"content-type": "ContentType", "cache-control": "CacheControl", "content-encoding": "ContentEncoding"}
        extra = {names[name]: value for name, value in seen.headers.items()}
        await asyncio.to_thread(self._client.put_object, Bucket=bucket, Key=key, Body=seen.body, Metadata=dict(seen.metadata), **extra)

    async def get(self, bucket: str, key: str) -> Seen | None:
        try:
            answer = await asyncio.to_thread(self._client.get_object, Bucket=bucket, Key=key)
        except ClientError as error:
            if error.response["Error"]["Code"] == "NoSuchKey":
                return None
            raise
        body = await asyncio.to_thread(answer["Body"].read)
        found = answer["ResponseMetadata"]["HTTPHeaders"]
        kept = ("cache-control", "content-disposition", "content-encoding", "content-language", "content-type", "expires")
        return Seen(body, {name: found[name] for name in kept if name in found}, answer["Metadata"])

    async def keys(self, bucket: str) -> Sequence[str]:
        pages = self._client.get_paginator("list_objects_v2").paginate(Bucket=bucket)
        return await asyncio.to_thread(lambda: [entry["Key"] for page in pages for entry in page.get("Contents", ())])

    async def delete(self, bucket: str, key: str) -> None:
        await asyncio.to_thread(self._client.delete_object, Bucket=bucket, Key=key)


class S3Contract(BackendContract):
    """The contract, with what a server over a file system cannot keep left out."""

    @pytest_asyncio.fixture
    async def backend(self, store: Store) -> AsyncIterator[S3Backend]:
        assert store.endpoint is not None
        backend = S3Backend(S3Options(store.endpoint), StaticCredentials(KeyPair(ACCESS_KEY, SECRET_KEY)))
        await backend.start()
        yield backend
        await backend.close()

    @pytest.fixture
    def behind(self, store: Store) -> Direct:
        assert isinstance(store.behind, S3Behind)
        return Direct(store.behind.client)


def without(zoo: Sequence[str], *left_out: str) -> tuple[str, ...]:
    """The zoo without some of its inhabitants, which have to be in it."""
    assert set(left_out) <= set(zoo)
    return tuple(entry for entry in zoo if entry not in left_out)


@pytest.mark.servers("versitygw")
class TestVersitygw(S3Contract):
    """versitygw keeps objects as files: it merges or refuses some keys, and replaces bytes of metadata that are not UTF-8."""

    odd_keys: ClassVar = without(
        ODD_KEYS,
        "a//b",
        "a/b",
        "/leading",
        "trailing/",
        "../up",
        "dir/./same",
        "dir/../other",
        ".",
        "..",
        "bell\x07delete\x7f",
        "tab\tand\nline",
    )
    odd_values: ClassVar = without(ODD_VALUES, "\xe9\xff\xa3")
    test_headers_and_metadata_of_create = None
    # Two dots in a bucket's name are fine with it.
    test_bad_name = None
    # It ignores conditions on the target of a copy, so the backend refuses to ask for them.
    test_copy_with_a_condition = None

    async def test_if_absent_of_a_large_body(self, backend_with_conditions: S3Backend, bucket: str) -> None:
        """The condition holds. Its refusal closes the connection under a body that is still being sent, so that it may be lost."""
        backend = backend_with_conditions
        await backend.put_object(bucket, "key", Pieces.of(b"first"), headers={}, metadata={})
        body, condition = Pieces.of(random.Random(1).randbytes(2 * 2**20)), Condition(if_absent=True)
        with pytest.raises(BackendError) as caught:
            await backend.put_object(bucket, "key", body, headers={}, metadata={}, condition=condition)
        lost = caught.value.outcome is Outcome.UNKNOWN or caught.value.retried
        assert caught.value.code == "PreconditionFailed" or lost
        assert await (await backend.get_object(bucket, "key")).read() == b"first"


@pytest.mark.servers("minio")
class TestMinIO(S3Contract):
    """MinIO keeps objects as folders: it merges or refuses some keys, and answers metadata beyond ASCII in the form of RFC 2047."""

    odd_keys: ClassVar = without(ODD_KEYS, "a//b", "a/b", "/leading", "../up", "dir/./same", "dir/../other", ".", "..")
    odd_values: ClassVar = tuple(value for value in ODD_VALUES if value.isascii())
    test_headers_and_metadata_of_create = None
    test_copy_with_a_condition = None
    # It lists uploads of one key only, and no two in the order of their keys.
    test_list_uploads_by_prefix = None
    # It makes a writer wait for readers of the same key, half a minute.
    test_overwrite_while_parts_are_read = None
    test_delete_in_mid_download = None
