"""Deletes: objects with their sidecars, batches, versions, and buckets that are empty for their clients."""

import asyncio
import base64
import hashlib
from collections.abc import Sequence
from xml.sax.saxutils import escape

import pytest

from s4_gateway.backend.abc import BackendError, Deleted, Outcome, Pieces
from s4_gateway.backend.memory import MemoryBackend
from s4_gateway.backend.memory_store import Versioning
from s4_gateway.testing.client import Answer

from .helpers import BUCKET, MIB, Rig, noise, rig, text
from .test_multipart import LARGE, SMALL

LOST = BackendError("RequestTimeout", 503, "no answer", outcome=Outcome.UNKNOWN)


async def delete_many(gateway: Rig, targets: Sequence[tuple[str, str | None]], **options: object) -> Answer:
    """DeleteObjects."""
    rows = "".join(
        f"<Object><Key>{escape(key)}</Key>{f'<VersionId>{version}</VersionId>' if version else ''}</Object>" for key, version in targets
    )
    return await gateway.client.request(
        "POST",
        BUCKET,
        query={"delete": ""},
        body=f"<Delete>{rows}</Delete>".encode(),
        **options,  # type: ignore[arg-type]
    )


async def test_sidecar_goes_with_its_object() -> None:
    """One request deletes both, and deleting what is not there succeeds."""
    async with rig() as gateway:
        await gateway.put("key", text(6 * MIB))
        assert await gateway.names() == ["key", "key.s4index"]
        for budget in ({"head_bucket": 1, "delete_objects": 1}, {"delete_objects": 1}):
            async with gateway.counting() as spent:
                answer = await gateway.client.request("DELETE", BUCKET, "key")
            assert (answer.status, spent) == (204, budget)
        assert await gateway.names() == []
        assert (await gateway.get("key")).code == "NoSuchKey"


@pytest.mark.parametrize(("count", "requests"), [(1, 1), (500, 1), (501, 2), (1000, 2)])
async def test_batches(count: int, requests: int) -> None:
    """Up to 1,000 keys cost at most two requests; the objects are deleted before any sidecar."""
    async with rig() as gateway:
        await gateway.client.request("DELETE", BUCKET, "other")
        keys = [f"key{number:04d}" for number in range(count)]
        for key in keys:
            for name in (key, key + ".s4index"):
                await gateway.backend.put_object(BUCKET, name, Pieces.of(b"x"), headers={}, metadata={})
        async with gateway.counting() as spent:
            answer = await delete_many(gateway, [(key, None) for key in keys])

        assert spent == {"delete_objects": requests}
        assert answer.texts("Deleted/Key") == keys
        assert await gateway.names() == []


async def test_batch_whose_sidecars_cannot_be_deleted() -> None:
    """The objects are gone and the client is told so."""
    async with rig() as gateway:
        keys = [f"key{number:04d}" for number in range(600)]
        for key in keys:
            await gateway.backend.put_object(BUCKET, key, Pieces.of(b"x"), headers={}, metadata={})

        async def refuse_the_second() -> None:
            gateway.backend.fail_next("delete_objects", LOST)

        gateway.backend.on_next("delete_objects", refuse_the_second, after_commit=True)
        answer = await delete_many(gateway, [(key, None) for key in keys])

        assert (answer.status, answer.texts("Deleted/Key")) == (200, keys)
        assert await gateway.names() == []


async def test_refusals_are_rows_of_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """A key that the backend refuses, and a reserved one, do not fail the others; a refused sidecar is nobody's concern."""
    backend = MemoryBackend()
    plain = backend._deleted

    def refuse(bucket: str, key: str, version: str | None) -> Deleted:
        if key.startswith("locked") or key.endswith(".s4index"):
            return Deleted(key, version, error=BackendError("AccessDenied", 403, "locked"))
        return plain(bucket, key, version)

    monkeypatch.setattr(backend, "_deleted", refuse)
    async with rig(backend) as gateway:
        for key in ("a", "locked", "z"):
            await gateway.put(key, b"x")
        answer = await delete_many(gateway, [("a", None), ("locked", None), (".s4mpu/x", None), ("a.s4index", None), ("z", None)])

        assert answer.texts("Deleted/Key") == ["a", "z"]
        rows = dict(zip(answer.texts("Error/Key"), answer.texts("Error/Code"), strict=True))
        assert rows == {"locked": "AccessDenied", ".s4mpu/x": "InvalidObjectName", "a.s4index": "InvalidObjectName"}
        single = await gateway.client.request("DELETE", BUCKET, "locked")
        assert (single.status, single.code) == (403, "AccessDenied")


async def test_keys_of_every_length() -> None:
    """A key so long that no sidecar fits beside it is deleted like any other, alone and in a batch."""
    async with rig() as gateway:
        long = "k" * 1024
        for key in (long, "short"):
            await gateway.put(key, b"x")
        assert (await delete_many(gateway, [(long, None), ("short", None)])).texts("Error/Key") == []
        await gateway.put(long, b"x")
        assert (await gateway.client.request("DELETE", BUCKET, long)).status == 204
        assert await gateway.names() == []


async def test_versions() -> None:
    """Without a version id a marker is added, with one that version goes; sidecars are left alone."""
    backend = MemoryBackend()
    await backend.create_bucket(BUCKET)
    backend.store.set_versioning(BUCKET, Versioning.ENABLED)
    async with rig(backend) as gateway:
        first = (await gateway.put("key", text(6 * MIB))).headers["x-amz-version-id"]
        gone = await gateway.client.request("DELETE", BUCKET, "key")
        assert (gone.status, gone.headers["x-amz-delete-marker"]) == (204, "true")
        assert (await gateway.get("key")).code == "NoSuchKey"
        marker = gone.headers["x-amz-version-id"]
        back = await delete_many(gateway, [("key", marker)])
        assert (back.text("Deleted/VersionId"), back.text("Deleted/DeleteMarkerVersionId")) == (marker, marker)
        assert (await gateway.get("key")).body == text(6 * MIB)
        last = await gateway.client.request("DELETE", BUCKET, "key", query={"versionId": first})
        assert (last.status, last.headers["x-amz-version-id"]) == (204, first)
        assert "x-amz-delete-marker" not in last.headers
        assert [version.body is None for version in backend.store._buckets[BUCKET].objects["key.s4index"]] == [False]


DIGESTS = {
    "content-md5": lambda body: base64.b64encode(hashlib.md5(body).digest()).decode(),
    "x-amz-checksum-sha256": lambda body: base64.b64encode(hashlib.sha256(body).digest()).decode(),
}


async def test_document_needs_a_digest() -> None:
    """Content-MD5, a checksum or a signed payload hash must vouch for what is to be deleted; one that does not hold deletes nothing."""
    async with rig() as gateway:
        await gateway.put("key", b"x")
        body = b"<Delete><Object><Key>key</Key></Object></Delete>"
        bare = await gateway.client.request("POST", BUCKET, query={"delete": ""}, body=body, payload="unsigned")
        assert (bare.status, bare.code) == (400, "InvalidRequest")
        for name, digest in DIGESTS.items():
            wrong = await gateway.client.request(
                "POST", BUCKET, query={"delete": ""}, body=body, payload="unsigned", headers={name: digest(b"other")}
            )
            assert (wrong.status, wrong.code) == (400, "BadDigest")
            assert await gateway.names() == ["key"]
        for name, digest in DIGESTS.items():
            right = await gateway.client.request(
                "POST", BUCKET, query={"delete": ""}, body=body, payload="unsigned", headers={name: digest(body)}
            )
            assert right.status == 200
        assert await gateway.names() == []


class TestBuckets:
    """DeleteBucket."""

    async def test_own_objects_do_not_count(self) -> None:
        """A bucket with sidecars, dictionaries and records only is empty; open uploads go, in the backend too."""
        async with rig() as gateway:
            for name in ("a.s4index", ".s4dict/" + "0" * 16):
                await gateway.backend.put_object(BUCKET, name, Pieces.of(b"x"), headers={}, metadata={})
            for key, body in (("direct", LARGE), ("staged", SMALL)):
                await gateway.part(key, await gateway.create(key), 1, body)
            aborts = gateway.backend.requests["abort_multipart"]
            answer = await gateway.client.request("DELETE", BUCKET)

            assert answer.status == 204
            assert gateway.backend.requests["abort_multipart"] == aborts + 1
            assert [bucket.name for bucket in await gateway.backend.list_buckets()] == []

    async def test_client_objects_count(self) -> None:
        """A bucket with one client object keeps everything else, too."""
        async with rig() as gateway:
            await gateway.part("key", await gateway.create("key"), 1, LARGE)
            await gateway.put("z", noise(10))
            before = await gateway.names()
            answer = await gateway.client.request("DELETE", BUCKET)

            assert (answer.status, answer.code) == (409, "BucketNotEmpty")
            assert await gateway.names() == before
            assert len(await gateway.backend.list_multipart(BUCKET)) == 1

    @pytest.mark.parametrize("leaves", [False, True])
    async def test_object_that_comes_meanwhile(self, leaves: bool) -> None:
        """If the backend says that the bucket is not empty after all, dictionaries are put back, also when the client has left."""
        dictionary = ".s4dict/" + "0" * 16
        async with rig() as gateway:
            metadata = {"s4-dict-sha256": "0" * 64}
            headers = {"content-type": "application/x-zstd-dictionary"}
            await gateway.backend.put_object(BUCKET, dictionary, Pieces.of(b"dictionary"), headers=headers, metadata=metadata)

            async def overtake() -> None:
                await gateway.backend.put_object(BUCKET, "new", Pieces.of(b"x"), headers={}, metadata={})

            gateway.backend.on_next("delete_objects", overtake, after_commit=True)
            hold = gateway.backend.hold_next("delete_bucket")
            request = asyncio.create_task(gateway.client.request("DELETE", BUCKET))
            await hold.reached()
            if leaves:
                request.cancel()
            hold.release()
            if leaves:
                with pytest.raises(asyncio.CancelledError):
                    await request
            else:
                assert (await request).code == "BucketNotEmpty"

            stored, body = await gateway.stored(dictionary)
            assert (body, stored.headers, stored.metadata) == (b"dictionary", headers, metadata)
            assert await gateway.names() == [dictionary, "new"]

    @pytest.mark.parametrize("versioning", [Versioning.ENABLED, Versioning.SUSPENDED])
    async def test_buckets_that_keep_versions(self, versioning: Versioning) -> None:
        """Where a listing does not show everything only the backend can judge: nothing of ours is touched."""
        backend = MemoryBackend()
        async with rig(backend) as gateway:
            await gateway.put("key", b"x")
            backend.store.set_versioning(BUCKET, Versioning.ENABLED)
            await gateway.client.request("DELETE", BUCKET, "key")
            backend.store.set_versioning(BUCKET, versioning)
            name = ".s4dict/" + "0" * 16
            await backend.put_object(BUCKET, name, Pieces.of(b"x"), headers={}, metadata={})
            async with gateway.counting() as spent:
                answer = await gateway.client.request("DELETE", BUCKET)

            assert (answer.status, answer.code) == (409, "BucketNotEmpty")
            assert "delete_objects" not in spent
            assert len(backend.store._buckets[BUCKET].objects[name]) == 1

    async def test_foreign_object_in_our_folder(self) -> None:
        """Something large that no gateway put under a reserved name is not read into memory, and not deleted."""
        async with rig() as gateway:
            await gateway.backend.put_object(BUCKET, ".s4dict/film", Pieces.of(bytes(2 * MIB)), headers={}, metadata={})
            answer = await gateway.client.request("DELETE", BUCKET)
            assert (answer.status, answer.code) == (409, "BucketNotEmpty")
            assert await gateway.names() == [".s4dict/film"]
