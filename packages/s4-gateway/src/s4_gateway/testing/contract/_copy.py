"""Cases: CopyObject."""

import pytest

from s4_gateway.backend.abc import Backend, Condition, Written
from s4_gateway.testing.contract._base import ContractBase, fetch, put, random_body, refused


async def copy(
    backend: Backend,
    source: tuple[str, str, str],
    target: tuple[str, str],
    *,
    metadata: dict[str, str] | None = None,
    condition: Condition | None = None,
) -> Written:
    """Copy (bucket, key, ETag) to (bucket, key)."""
    return await backend.copy_object(
        *target,
        source_bucket=source[0],
        source_key=source[1],
        source_version_id=None,
        source_etag=source[2],
        headers={"content-type": "text/copy"},
        metadata=metadata or {},
        condition=condition,
    )


class CopyCases(ContractBase):
    """CopyObject replaces headers and metadata and never reads through the client."""

    @pytest.mark.parametrize("size", [0, 100, 300_000])
    async def test_copy(self, backend: Backend, bucket: str, size: int) -> None:
        """The body is the source's, headers and metadata are the copy's own; the source stays as it was."""
        body = random_body(size)
        source = await put(backend, bucket, "source", body, headers={"content-type": "text/source"}, metadata={"from": "source"})
        written = await copy(backend, (bucket, "source", source.etag), (bucket, "target"), metadata={"from": "copy"})
        stored = await backend.head_object(bucket, "target")
        assert (stored.size, stored.etag, stored.headers["content-type"]) == (size, written.etag, "text/copy")
        assert written.earliest <= stored.modified <= written.latest
        assert stored.metadata == {"from": "copy"}
        assert await fetch(backend, bucket, "target") == body
        assert (await backend.head_object(bucket, "source")).metadata == {"from": "source"}

    async def test_copy_onto_itself(self, backend: Backend, bucket: str) -> None:
        """Metadata is changed by a copy onto the same key; the body stays."""
        body = random_body(300_000)
        source = await put(backend, bucket, "key", body, metadata={"old": "1"})
        await copy(backend, (bucket, "key", source.etag), (bucket, "key"), metadata={"new": "2"})
        assert (await backend.head_object(bucket, "key")).metadata == {"new": "2"}
        assert await fetch(backend, bucket, "key") == body

    async def test_copy_to_another_bucket(self, backend: Backend, bucket: str, other_bucket: str) -> None:
        """Source and target may be in different buckets."""
        source = await put(backend, bucket, "key", b"body")
        await copy(backend, (bucket, "key", source.etag), (other_bucket, "key"))
        assert await fetch(backend, other_bucket, "key") == b"body"

    async def test_copy_of_an_odd_key(self, backend: Backend, bucket: str, odd_key: str) -> None:
        """The source's name reaches the store unharmed."""
        source = await put(backend, bucket, odd_key, b"body")
        await copy(backend, (bucket, odd_key, source.etag), (bucket, "target"))
        assert await fetch(backend, bucket, "target") == b"body"

    async def test_source_has_changed(self, backend: Backend, bucket: str) -> None:
        """A copy is made only of the object that was meant."""
        source = await put(backend, bucket, "source", b"old")
        await put(backend, bucket, "source", b"new")
        with refused("PreconditionFailed"):
            await copy(backend, (bucket, "source", source.etag), (bucket, "target"))
        with refused("NoSuchKey"):
            await backend.head_object(bucket, "target")

    async def test_source_is_absent(self, backend: Backend, bucket: str) -> None:
        """Nothing cannot be copied."""
        with refused("NoSuchKey"):
            await copy(backend, (bucket, "nothing", "0" * 32), (bucket, "target"))

    async def test_bucket_is_absent(self, backend: Backend, bucket: str) -> None:
        """Nor from or to nowhere."""
        source = await put(backend, bucket, "key", b"body")
        with refused("NoSuchBucket"):
            await copy(backend, ("contract-no-such-bucket", "key", source.etag), (bucket, "target"))
        with refused("NoSuchBucket"):
            await copy(backend, (bucket, "key", source.etag), ("contract-no-such-bucket", "target"))

    @pytest.mark.parametrize("size", [100, 300_000])
    async def test_copy_outlives_its_source(self, backend: Backend, bucket: str, size: int) -> None:
        """A copy is an object of its own: it stays when the source is overwritten or deleted, and the other way round."""
        body = random_body(size)
        source = await put(backend, bucket, "source", body)
        await copy(backend, (bucket, "source", source.etag), (bucket, "first"))
        await copy(backend, (bucket, "source", source.etag), (bucket, "second"))
        await put(backend, bucket, "source", b"overwritten")
        await backend.delete_object(bucket, "first")
        assert await fetch(backend, bucket, "second") == body
        await backend.delete_object(bucket, "source")
        assert await fetch(backend, bucket, "second") == body

    async def test_copy_with_a_condition(self, backend: Backend, bucket: str) -> None:
        """Conditions hold for the target."""
        if not (backend.capabilities.conditional_put and self.conditional_copy):
            pytest.skip("the store has no conditional CopyObject")
        source = (bucket, "source", (await put(backend, bucket, "source", b"body")).etag)
        written = await copy(backend, source, (bucket, "target"), condition=Condition(if_absent=True))
        with refused("PreconditionFailed"):
            await copy(backend, source, (bucket, "target"), condition=Condition(if_absent=True))
        await copy(backend, source, (bucket, "target"), metadata={"n": "2"}, condition=Condition(if_match=written.etag))
        with refused("PreconditionFailed"):
            await copy(backend, source, (bucket, "target"), condition=Condition(if_match="0" * 32))
        assert (await backend.head_object(bucket, "target")).metadata == {"n": "2"}
