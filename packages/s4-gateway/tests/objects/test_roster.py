"""ListParts, ListMultipartUploads, Abort, and the sweep of what is left behind."""

from collections.abc import Sequence

import pytest

from s4_gateway.backend.abc import BackendError, OpenUpload, Pieces
from s4_gateway.backend.memory import MemoryBackend
from s4_gateway.backend.memory_store import Versioning

from .helpers import BUCKET, Rig, noise, rig, text
from .test_multipart import LARGE, SMALL

OLD = 1_700_000_000.0
STAGING = "staging"


class ByKey(MemoryBackend):
    """Lists uploads of exactly one key only, as MinIO does."""

    async def list_multipart(self, bucket: str, *, prefix: str = "") -> Sequence[OpenUpload]:
        return [upload for upload in await super().list_multipart(bucket, prefix=prefix) if upload.key == prefix]


async def sweep(gateway: Rig, bucket: str = BUCKET) -> int:
    """One sweep of a bucket."""
    return await gateway.client.services.store.uploads.roster.sweep(bucket)


async def started(gateway: Rig, key: str, body: bytes) -> str:
    """An upload with one part."""
    upload = await gateway.create(key)
    await gateway.part(key, upload, 1, body)
    return upload


async def all_open(backend: MemoryBackend, bucket: str = BUCKET) -> list[str]:
    """Keys of the backend's open uploads."""
    return [upload.key for upload in await MemoryBackend(store=backend.store).list_multipart(bucket)]


async def test_sweep_of_uploads_whose_backend_upload_is_gone() -> None:
    """Records go when the backend says that the upload is not open any more, and only then."""
    backend = ByKey(clock=lambda: OLD)
    async with rig(backend) as gateway:
        gone, open_, staged, sealed = [
            await started(gateway, key, body) for key, body in (("gone", LARGE), ("open", LARGE), ("staged", SMALL), ("sealed", SMALL))
        ]
        (lost,) = await backend.list_multipart(BUCKET, prefix="gone")
        await backend.abort_multipart(BUCKET, "gone", lost.upload_id)
        # An Abort that broke off behind its seal.
        backend.fail_next("delete_objects", BackendError("SlowDown", 503, "less"))
        refused = await gateway.client.request("DELETE", BUCKET, "sealed", query={"uploadId": sealed})
        assert refused.status == 503
        swept = await sweep(gateway)
        names = await gateway.names()

        assert swept == 2
        assert not [name for name in names if gone in name or sealed in name]
        assert len([name for name in names if open_ in name]) == 3
        assert len([name for name in names if staged in name]) == 2
        assert await all_open(backend) == ["open"]


async def test_sweep_aborts_what_only_a_record_names() -> None:
    """The backend upload goes before its record, also where the store lists uploads by exact key only."""
    backend = ByKey(clock=lambda: OLD)
    async with rig(backend) as gateway:
        upload = await started(gateway, "some/key", LARGE)
        await backend.delete_object(BUCKET, f".s4mpu/{upload}/upload")
        backend.fail_next("abort_multipart", BackendError("SlowDown", 503, "less"))
        assert await sweep(gateway) == 0
        assert len(await gateway.names()) == 2
        assert await sweep(gateway) == 1

        assert await gateway.names() == []
        assert await all_open(backend) == []


async def test_sweep_goes_on_behind_what_it_cannot_judge() -> None:
    """Names of others, damaged records and failing requests stop neither the other uploads nor the other buckets."""
    backend = ByKey(clock=lambda: OLD)
    await backend.create_bucket("another")
    async with rig(backend) as gateway:
        await backend.create_bucket(BUCKET)
        foreign = [".s4mpu/" + "0" * 44 + "/12", ".s4mpu/abc/12", ".s4mpu/" + "1" * 44 + "/a/b"]
        for name in foreign:
            await backend.put_object(BUCKET, name, Pieces.of(b"{}"), headers={}, metadata={})
        damaged, ended = await started(gateway, "damaged", LARGE), await started(gateway, "ended", LARGE)
        await backend.put_object(BUCKET, f".s4mpu/{damaged}/backend", Pieces.of(b"{}"), headers={}, metadata={})
        for upload in (damaged, ended):
            await backend.delete_object(BUCKET, f".s4mpu/{upload}/upload")
        backend.fail_next("list_objects", BackendError("AccessDenied", 403, "another"))
        await gateway.client.services.store.sweep()

        names = await gateway.names()
        assert not [name for name in names if ended in name]
        assert len([name for name in names if damaged in name]) == 2
        assert set(foreign) <= set(names)


async def test_staging_bucket() -> None:
    """Records of versioned buckets live in the staging bucket: parts, lists, Complete, Abort and sweep find them there."""
    backend = ByKey(clock=lambda: OLD)
    for bucket in (BUCKET, STAGING):
        await backend.create_bucket(bucket)
    async with rig(backend, staging_bucket=STAGING) as gateway:
        before = await started(gateway, "before", SMALL)
        backend.store.set_versioning(BUCKET, Versioning.ENABLED)
        gateway.client.services.store.deleter._states.forget(BUCKET)
        after, aborted, ended = [await started(gateway, key, LARGE) for key in ("after", "aborted", "ended")]
        listed = await gateway.client.request("GET", BUCKET, query={"uploads": ""})
        assert listed.texts("Upload/Key") == ["aborted", "after", "before", "ended"]
        assert [name for name in await gateway.names() if before not in name] == []

        small = await gateway.part("after", after, 2, b"tail")
        one = await gateway.part("after", after, 1, LARGE)
        assert (await gateway.complete("after", after, [(1, one), (2, small)])).code is None
        assert (await gateway.get("after")).body == LARGE + b"tail"
        assert (await gateway.client.request("DELETE", BUCKET, "aborted", query={"uploadId": aborted})).status == 204
        await backend.delete_object(STAGING, f".s4mpu/{ended}/upload")
        assert await sweep(gateway, STAGING) == 3
        assert (await backend.list_objects(STAGING)).entries == []
        assert await all_open(backend) == []
        # The one from before goes on where it is, now without staging bodies.
        two = await gateway.part("before", before, 1, SMALL)
        assert (await gateway.complete("before", before, [(1, two)])).code is None


async def test_records_of_versioned_buckets_leave_no_versions() -> None:
    """Where the bucket keeps versions records are deleted by version id: no bytes and no markers stay."""
    backend = MemoryBackend()
    await backend.create_bucket(BUCKET)
    backend.store.set_versioning(BUCKET, Versioning.ENABLED)
    async with rig(backend) as gateway:
        upload = await started(gateway, "key", LARGE)
        one = await gateway.part("key", upload, 1, LARGE)
        await gateway.complete("key", upload, [(1, one)])

        left = [key for key in backend.store._buckets[BUCKET].objects if key.startswith(".s4mpu/")]
        assert left == [f".s4mpu/{upload}/backend"]


async def test_abort_that_leaves_the_upload_is_an_error() -> None:
    """As long as the upload record is there the upload is, and Abort says so."""
    backend = MemoryBackend()
    async with rig(backend) as gateway:
        upload = await started(gateway, "key", LARGE)
        plain = backend.store.delete

        def refuse(bucket: str, key: str, version: str | None = None) -> object:
            raise BackendError("AccessDenied", 403, "no")

        backend.store.delete = refuse  # type: ignore[assignment,method-assign]
        refused = await gateway.client.request("DELETE", BUCKET, "key", query={"uploadId": upload})
        backend.store.delete = plain  # type: ignore[method-assign]
        assert (refused.status, refused.code) == (403, "AccessDenied")
        again = await gateway.client.request("DELETE", BUCKET, "key", query={"uploadId": upload})

        assert again.status == 204
        assert await gateway.names() == [f".s4mpu/{upload}/backend"]


async def test_parts_of_an_upload_that_another_gateway_ended() -> None:
    """ListParts asks the store, not its memory: an ended upload is NoSuchUpload at once."""
    backend = MemoryBackend()
    async with rig(backend) as gateway, rig(MemoryBackend(store=backend.store)) as other:
        upload = await started(gateway, "key", SMALL)
        await other.client.request("DELETE", BUCKET, "key", query={"uploadId": upload})
        listed = await gateway.client.request("GET", BUCKET, "key", query={"uploadId": upload})

        assert (listed.status, listed.code) == (404, "NoSuchUpload")


async def test_pages_of_parts() -> None:
    """Pages follow each other by marker; a page of none says that nothing follows, or clients would turn in circles."""
    async with rig() as gateway:
        upload = await gateway.create("key", x_amz_checksum_algorithm="CRC32")
        for number in (1, 2, 7, 10_000):
            await gateway.part("key", upload, number, text(1000, number))
        marker, seen = "0", []
        while True:
            query = {"uploadId": upload, "max-parts": "3", "part-number-marker": marker}
            page = await gateway.client.request("GET", BUCKET, "key", query=query)
            seen += page.texts("Part/PartNumber")
            assert len(page.texts("Part/ChecksumCRC32")) == len(page.texts("Part/PartNumber"))
            if page.text("IsTruncated") == "false":
                break
            marker = page.text("NextPartNumberMarker") or ""
        none = await gateway.client.request("GET", BUCKET, "key", query={"uploadId": upload, "max-parts": "0"})

        assert seen == ["1", "2", "7", "10000"]
        assert (none.texts("Part/PartNumber"), none.text("IsTruncated")) == ([], "false")


@pytest.mark.parametrize("delimiter", ["", "/", "--"])
async def test_pages_of_uploads(delimiter: str) -> None:
    """Every page size gives the same uploads, each once, though several have one key and one ends between two pages."""
    now = OLD
    backend = MemoryBackend(clock=lambda: now)
    async with rig(backend) as gateway:
        keys = ["a", "a", "a", "b--1", "b--2", "b/1", "b/2", "b/2", "c--", "d/", "\u00e9", "\U0001f600"]
        ids = []
        for key in keys:
            now += 1
            ids.append((key, await gateway.create(key)))

        async def pages(limit: int, *, ending: str | None = None) -> list[str]:
            query = {"uploads": "", "delimiter": delimiter, "max-uploads": str(limit)}
            seen: list[str] = []
            while True:
                page = await gateway.client.request("GET", BUCKET, query=query)
                seen += page.texts("Upload/UploadId") + page.texts("CommonPrefixes/Prefix")
                if page.text("IsTruncated") == "false":
                    return seen
                marker, upload_id = page.text("NextKeyMarker") or "", page.text("NextUploadIdMarker") or ""
                if ending is not None and upload_id == ending:
                    await gateway.client.request("DELETE", BUCKET, marker, query={"uploadId": ending})
                query |= {"key-marker": marker, "upload-id-marker": upload_id}

        whole = await pages(1000)
        assert len(whole) == len(set(whole))
        for limit in (1, 2, 3, 5):
            assert sorted(await pages(limit)) == sorted(whole)
        # The upload that the marker names is gone: those behind it must still come.
        ended = ids[1][1]
        assert set(await pages(2, ending=ended)) == set(whole)
        assert await gateway.client.request("GET", BUCKET, query={"uploads": "", "max-uploads": "0"})


async def test_one_noisy_upload_does_not_hide_the_others() -> None:
    """Uploads are found also behind thousands of part records of another one."""
    async with rig() as gateway:
        first, second = sorted([await gateway.create("key"), await gateway.create("key")])
        for number in range(1, 1500):
            name = f".s4mpu/{first}/{number:05d}.s.{'0' * 32}.1.{'0' * 16}.{'1' * 13}{'0' * 8}"
            await gateway.backend.put_object(BUCKET, name, Pieces.of(noise(1)), headers={}, metadata={})
        listed = await gateway.client.request("GET", BUCKET, query={"uploads": ""})

        assert sorted(listed.texts("Upload/UploadId")) == [first, second]
