"""Cases: buckets, and the store as a whole."""

import pytest

from s4_gateway.backend.abc import Backend
from s4_gateway.testing.contract._base import ContractBase, fetch, new_bucket_name, put, refused, remove_bucket


class BucketCases(ContractBase):
    """Create, Delete, Head and List of buckets."""

    async def test_ping(self, backend: Backend) -> None:
        """A started store answers."""
        await backend.ping()

    async def test_new_bucket(self, backend: Backend) -> None:
        """A new bucket is listed, known and plain, until it is deleted."""
        name = new_bucket_name()
        await backend.create_bucket(name)
        (found,) = [bucket for bucket in await backend.list_buckets() if bucket.name == name]
        assert found.created > 0
        state = await backend.head_bucket(name)
        assert (state.versioned, state.locked) == (False, False)
        await backend.delete_bucket(name)
        assert name not in [bucket.name for bucket in await backend.list_buckets()]
        with refused("NoSuchBucket"):
            await backend.head_bucket(name)

    async def test_buckets_in_order(self, backend: Backend, bucket: str, other_bucket: str) -> None:
        """Buckets are listed by name."""
        names = [found.name for found in await backend.list_buckets()]
        assert {bucket, other_bucket} <= set(names)
        assert names == sorted(names)

    async def test_create_twice(self, backend: Backend, bucket: str) -> None:
        """A bucket can be made once, and a second try harms nothing in it."""
        await put(backend, bucket, "key", b"body")
        with refused("BucketAlreadyOwnedByYou", "BucketAlreadyExists"):
            await backend.create_bucket(bucket)
        assert await fetch(backend, bucket, "key") == b"body"

    @pytest.mark.parametrize("name", ["ab", "Upper-Case", "under_score", "a..b", "-begins", "a" * 64, "192.168.5.4"])
    async def test_bad_name(self, backend: Backend, name: str) -> None:
        """Names that S3 does not know are refused."""
        with refused("InvalidBucketName"):
            await backend.create_bucket(name)

    async def test_delete_needs_an_empty_bucket(self, backend: Backend, bucket: str) -> None:
        """A bucket with an object stays."""
        await put(backend, bucket, "key", b"body")
        with refused("BucketNotEmpty"):
            await backend.delete_bucket(bucket)
        assert await fetch(backend, bucket, "key") == b"body"

    async def test_delete_of_an_unknown_bucket(self, backend: Backend) -> None:
        """There is nothing to delete."""
        with refused("NoSuchBucket"):
            await backend.delete_bucket("contract-no-such-bucket")

    async def test_made_again(self, backend: Backend) -> None:
        """A bucket of an old name starts empty."""
        name = new_bucket_name()
        await backend.create_bucket(name)
        await put(backend, name, "key", b"body")
        await remove_bucket(backend, name)
        await backend.create_bucket(name)
        assert list((await backend.list_objects(name)).entries) == []
        await backend.delete_bucket(name)

    async def test_one_key_in_two_buckets(self, backend: Backend, bucket: str, other_bucket: str) -> None:
        """Buckets do not share keys."""
        await put(backend, bucket, "key", b"one")
        await put(backend, other_bucket, "key", b"two")
        await backend.delete_object(bucket, "key")
        assert await fetch(backend, other_bucket, "key") == b"two"
