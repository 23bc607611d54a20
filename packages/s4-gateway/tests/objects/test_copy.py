"""CopyObject: bodies that stay inside the backend, metadata that are always written anew, and sources that move."""

import hashlib
from collections.abc import Mapping

import pytest
from s4_codecs import codec_for
from s4_format import CodecId, FrameHeader, FrameTable, Manifest, Sidecar, crc32c

from s4_gateway.backend.abc import BackendError, Outcome, Pieces
from s4_gateway.backend.memory import MemoryBackend
from s4_gateway.backend.memory_store import Versioning
from s4_gateway.testing.client import Answer

from .helpers import BUCKET, MIB, Rig, noise, rig, text
from .test_multipart import LARGE, SMALL, composite

LOST = BackendError("RequestTimeout", 503, "no answer", outcome=Outcome.UNKNOWN)
SOURCES = {"framed": text(1000), "frames": text(3 * MIB), "raw": noise(MIB), "streamed": noise(12 * MIB), "empty": b""}


async def copy(gateway: Rig, target: str, source: str, *, bucket: str = BUCKET, **headers: str) -> Answer:
    """CopyObject; underscores of header names are dashes."""
    sent = {name.replace("_", "-"): value for name, value in headers.items()}
    return await gateway.client.request("PUT", bucket, target, headers={"x-amz-copy-source": source, **sent})


def meta(answer: Answer) -> Mapping[str, str]:
    """Client metadata of an answer."""
    return {name.removeprefix("x-amz-meta-"): value for name, value in answer.headers.items() if name.startswith("x-amz-meta-")}


@pytest.mark.parametrize("kind", [*SOURCES, "multipart", "foreign"])
@pytest.mark.parametrize("replaced", [False, True], ids=["COPY", "REPLACE"])
async def test_every_stored_form(kind: str, replaced: bool) -> None:
    """A copy has the source's bytes, ETag and checksums, whatever its form; headers and metadata as the directive says; a new token."""
    async with rig() as gateway:
        headers = {"content_type": "a/b", "cache_control": "no-store", "x_amz_meta_own": "1"}
        if kind == "multipart":
            upload = await gateway.create("source", **headers)
            parts = [(1, await gateway.part("source", upload, 1, LARGE)), (2, await gateway.part("source", upload, 2, SMALL))]
            await gateway.complete("source", upload, parts)
            body, etag = LARGE + SMALL, composite([LARGE, SMALL])
        elif kind == "foreign":
            body = b"S4F2" + noise(1000)
            etag = hashlib.md5(body).hexdigest()
            stored_headers = {"content-type": "a/b", "cache-control": "no-store"}
            await gateway.backend.put_object(BUCKET, "source", Pieces.of(body), headers=stored_headers, metadata={"own": "1"})
        else:
            body = SOURCES[kind]
            etag = (await gateway.put("source", body, **headers)).etag or ""
        asked = {"x_amz_metadata_directive": "REPLACE", "content_type": "c/d", "x_amz_meta_other": "2"} if replaced else {}
        done = await copy(gateway, "target", f"/{BUCKET}/source", **asked)
        assert done.status == 200, done.body
        before, _ = await gateway.stored("source")
        after, _ = await gateway.stored("target")

        whole = await gateway.get("target", x_amz_checksum_mode="ENABLED")
        assert whole.body == body
        assert whole.etag == (done.text("ETag") or "").strip('"') == etag
        assert meta(whole) == ({"other": "2"} if replaced else {"own": "1"})
        assert whole.headers["content-type"] == ("c/d" if replaced else "a/b")
        assert ("cache-control" in whole.headers) is not replaced
        if body and kind != "foreign":
            assert whole.headers["x-amz-checksum-crc64nvme"] == done.text("ChecksumCRC64NVME")
            middle = len(body) // 2
            assert (await gateway.get("target", range=f"bytes={middle}-{middle + 9}")).body == body[middle : middle + 10]
        assert before.metadata.get("s4-write") != after.metadata["s4-write"]


@pytest.mark.parametrize(("warm", "budget"), [(True, {"head_object": 1, "copy_object": 1, "put_object": 1}), (False, None)])
async def test_budget(warm: bool, budget: dict[str, int] | None) -> None:
    """A copy costs two requests and a sidecar, and a third one for a cold source that only its trailer describes."""
    async with rig() as gateway:
        await gateway.put("source", noise(12 * MIB))
        if not warm:
            gateway.client.services.store.core.cache.drop(BUCKET, "source")
            budget = {"head_object": 1, "get_object": 1, "copy_object": 1, "put_object": 1}
        async with gateway.counting() as spent:
            await copy(gateway, "target", f"/{BUCKET}/source")
        assert spent == budget


async def test_buffered_objects_have_their_sidecar_copied_too() -> None:
    """Where metadata tells all that clients see, the frames that other readers need are known from the write."""
    async with rig() as gateway:
        await gateway.put("source", text(6 * MIB))
        async with gateway.counting() as spent:
            await copy(gateway, "target", f"/{BUCKET}/source")

        assert spent == {"head_object": 1, "copy_object": 1, "put_object": 1}
        assert "target.s4index" in await gateway.names()


async def test_markers_of_others_are_kept() -> None:
    """`s4-*` keys that this version does not know stay with the body that they describe, under both directives; clients' never come in."""
    async with rig() as gateway:
        await gateway.put("source", text(1000))
        stored, raw = await gateway.stored("source")
        metadata = {**stored.metadata, "s4-future": "kept", "S4-Zstd-Level": "7"}
        await gateway.backend.put_object(BUCKET, "source", Pieces.of(raw), headers={}, metadata=metadata)
        for directive in ("COPY", "REPLACE"):
            await copy(gateway, directive, f"/{BUCKET}/source", x_amz_metadata_directive=directive, x_amz_meta_s4_framed="false")
            copied, _ = await gateway.stored(directive)
            assert (copied.metadata["s4-future"], copied.metadata["s4-zstd-level"]) == ("kept", "7")
            assert copied.metadata["s4-framed"] == "true"
            assert (await gateway.get(directive)).body == text(1000)


async def test_onto_itself() -> None:
    """A self-copy must change something; with REPLACE also an object that only its trailer describes changes its metadata in place."""
    async with rig() as gateway:
        for key, body in (("small", text(1000)), ("streamed", noise(12 * MIB))):
            etag = (await gateway.put(key, body, x_amz_meta_a="1")).etag
            nothing = await copy(gateway, key, f"/{BUCKET}/{key}")
            assert (nothing.status, nothing.code) == (400, "InvalidRequest")
            assert (await copy(gateway, key, f"{BUCKET}/{key}", x_amz_metadata_directive="REPLACE", x_amz_meta_a="2")).status == 200
            answer = await gateway.get(key)
            assert (answer.body, answer.etag, meta(answer)) == (body, etag, {"a": "2"})


LARGE_META = {"x_amz_metadata_directive": "REPLACE", "x_amz_meta_m": "v" * 1900}


@pytest.mark.parametrize("kind", [*SOURCES, "multipart"])
async def test_metadata_that_leave_no_room_for_ours(kind: str) -> None:
    """Ours go to the trailer, or, where there is none, the body is written anew with one; nothing about the object changes."""
    async with rig() as gateway:
        if kind == "multipart":
            await gateway.upload("source", [SMALL, b"tail"])
            body, etag = SMALL + b"tail", composite([SMALL, b"tail"])
        else:
            body = SOURCES[kind]
            etag = (await gateway.put("source", body)).etag or ""
        done = await copy(gateway, "target", f"/{BUCKET}/source", **LARGE_META)
        assert done.status == 200, done.body
        stored, _ = await gateway.stored("target")
        assert sum(len(name) + len(value) for name, value in stored.metadata.items()) <= 2048

        async with rig(MemoryBackend(store=gateway.backend.store)) as cold:
            answer = await cold.get("target")
            assert (answer.body, answer.etag, meta(answer)) == (body, etag, {"m": "v" * 1900})
        too_much = await copy(gateway, "more", f"/{BUCKET}/source", **{**LARGE_META, "x_amz_meta_m": "v" * 1920})
        assert (too_much.status, too_much.code) == (400, "MetadataTooLarge")


async def test_source_replaced_while_it_is_written_anew() -> None:
    """Headers and metadata are those of the body that is read, never an earlier one's."""
    async with rig() as gateway:
        await gateway.backend.put_object(BUCKET, "source", Pieces.of(b"x"), headers={}, metadata={"v": "0"})
        for point in ("head_object", "get_object"):
            await gateway.put("source", noise(1000), x_amz_meta_v="1", content_type="a/1")

            async def replace() -> None:
                async with rig(MemoryBackend(store=gateway.backend.store)) as other:
                    await other.put("source", noise(2000), x_amz_meta_v="2", content_type="a/2")

            from s4_gateway.objects import copy as module

            plain, module.MAX_COPIED_BYTES = module.MAX_COPIED_BYTES, 100
            try:
                gateway.backend.on_next(point, replace, after_commit=point == "head_object")
                assert (await copy(gateway, "target", f"/{BUCKET}/source")).status == 200
            finally:
                module.MAX_COPIED_BYTES = plain
            answer = await gateway.get("target")
            version = meta(answer)["v"]
            assert (answer.body, answer.headers["content-type"]) == ({"1": noise(1000), "2": noise(2000)}[version], f"a/{version}")


async def test_self_copy_never_hides_a_newer_object(monkeypatch: pytest.MonkeyPatch) -> None:
    """A body that is written back onto itself gives way to what somebody else wrote meanwhile."""
    monkeypatch.setattr("s4_gateway.objects.copy.MAX_COPIED_BYTES", 100)
    async with rig() as gateway:
        await gateway.put("key", noise(1000))

        async def replace() -> None:
            await gateway.backend.put_object(BUCKET, "key", Pieces.of(b"newer"), headers={}, metadata={})

        gateway.backend.on_next("put_object", replace)
        answer = await copy(gateway, "key", f"/{BUCKET}/key", x_amz_metadata_directive="REPLACE")
        assert (answer.status, answer.code) == (409, "OperationAborted")
        assert (await gateway.get("key")).body == b"newer"


async def test_source_too_large_for_a_backend_copy(monkeypatch: pytest.MonkeyPatch) -> None:
    """An object of 5 GiB whose stored form is longer is copied through the gateway; a logical size above 5 GiB is refused."""
    monkeypatch.setattr("s4_gateway.objects.copy.MAX_COPIED_BYTES", 12 * MIB)
    body = noise(12 * MIB)
    async with rig() as gateway:
        await gateway.put("source", body)
        async with gateway.counting() as spent:
            assert (await copy(gateway, "target", f"/{BUCKET}/source")).status == 200
        assert "copy_object" not in spent
        assert (await gateway.get("target")).body == body
        monkeypatch.setattr("s4_gateway.objects.copy.MAX_PUT_BYTES", 12 * MIB - 1)
        refused = await copy(gateway, "target", f"/{BUCKET}/source")
        assert (refused.status, refused.code) == (400, "InvalidRequest")


@pytest.mark.parametrize(
    ("conditions", "status"),
    [
        ({"if_match": "ETAG"}, 200),
        ({"if_match": '"other"'}, 412),
        ({"if_none_match": '"other"'}, 200),
        ({"if_none_match": "ETAG"}, 412),
        ({"if_modified_since": "Wed, 01 Jan 2020 00:00:00 GMT"}, 200),
        ({"if_modified_since": "Fri, 01 Jan 2100 00:00:00 GMT"}, 412),
        ({"if_unmodified_since": "Fri, 01 Jan 2100 00:00:00 GMT"}, 200),
        ({"if_unmodified_since": "Wed, 01 Jan 2020 00:00:00 GMT"}, 412),
        ({"if_match": "ETAG", "if_unmodified_since": "Wed, 01 Jan 2020 00:00:00 GMT"}, 200),
        ({"if_none_match": "ETAG", "if_modified_since": "Wed, 01 Jan 2020 00:00:00 GMT"}, 412),
    ],
)
async def test_source_conditions(conditions: dict[str, str], status: int) -> None:
    """Conditions judge the logical source with S3's precedence: an ETag condition puts the date beside it out of force; never 304."""
    async with rig() as gateway:
        etag = (await gateway.put("source", text(3 * MIB))).etag
        headers = {f"x_amz_copy_source_{name}": value.replace("ETAG", f'"{etag}"') for name, value in conditions.items()}
        answer = await copy(gateway, "target", f"/{BUCKET}/source", **headers)

        assert answer.status == status
        assert ("target" in await gateway.names()) is (status == 200)


async def test_destination_conditions() -> None:
    """If-None-Match and If-Match judge the object at the destination."""
    async with rig() as gateway:
        await gateway.put("source", b"new")
        etag = (await gateway.put("target", b"old")).etag
        source = f"/{BUCKET}/source"
        assert (await copy(gateway, "target", source, if_none_match="*")).code == "PreconditionFailed"
        assert (await copy(gateway, "target", source, if_match='"other"')).code == "PreconditionFailed"
        assert (await gateway.get("target")).body == b"old"
        assert (await copy(gateway, "target", source, if_match=f'"{etag}"')).status == 200
        assert (await copy(gateway, "fresh", source, if_none_match="*")).status == 200


async def test_source_replaced_under_the_copy() -> None:
    """The copy starts again with the new source, a bounded number of times; a condition of the client's is not confused with that."""
    async with rig() as gateway:
        await gateway.put("source", text(1000))

        async def replace() -> None:
            async with rig(MemoryBackend(store=gateway.backend.store)) as other:
                await other.put("source", text(2000))

        gateway.backend.on_next("copy_object", replace)
        assert (await copy(gateway, "target", f"/{BUCKET}/source", if_none_match="*")).status == 200
        assert (await gateway.get("target")).body == text(2000)

        async def occupy() -> None:
            await gateway.backend.put_object(BUCKET, "other", Pieces.of(b"x"), headers={}, metadata={})

        gateway.backend.on_next("copy_object", occupy)
        lost = await copy(gateway, "other", f"/{BUCKET}/source", if_none_match="*")
        assert (lost.status, lost.code) == (412, "PreconditionFailed")


@pytest.mark.parametrize("after_commit", [True, False])
async def test_lost_answer(after_commit: bool) -> None:
    """The new token tells whether the copy was made."""
    async with rig() as gateway:
        await gateway.put("source", text(1000))
        gateway.backend.fail_next("copy_object", LOST, after_commit=after_commit)
        answer = await copy(gateway, "target", f"/{BUCKET}/source")
        assert answer.status == (200 if after_commit else 503)


async def test_source_versions() -> None:
    """A named version is copied, with its own markers, also onto the same key."""
    backend = MemoryBackend()
    await backend.create_bucket(BUCKET)
    backend.store.set_versioning(BUCKET, Versioning.ENABLED)
    async with rig(backend) as gateway:
        first = (await gateway.put("key", noise(12 * MIB), x_amz_meta_v="1")).headers["x-amz-version-id"]
        await gateway.put("key", text(1000), x_amz_meta_v="2")
        answer = await copy(gateway, "key", f"/{BUCKET}/key?versionId={first}")
        assert (answer.status, answer.headers["x-amz-copy-source-version-id"]) == (200, first)
        now = await gateway.get("key")
        assert (now.body, meta(now), now.headers["x-amz-version-id"]) == (noise(12 * MIB), {"v": "1"}, answer.headers["x-amz-version-id"])
        gone = await copy(gateway, "other", f"/{BUCKET}/key?versionId={'0' * 32}")
        assert (gone.status, gone.code) == (404, "NoSuchVersion")


async def dictionary_object(gateway: Rig, key: str, body: bytes) -> str:
    """An object of cpu-zstd-dict as the reference stores it, and its dictionary; the dictionary's name."""
    dictionary = text(4000)
    digest = hashlib.sha256(dictionary).hexdigest()
    packed = bytes(codec_for(CodecId.CPU_ZSTD_DICT, dictionary=dictionary).compress(body))
    from s4_format import FrameHeader, crc32c

    frame = FrameHeader(CodecId.CPU_ZSTD_DICT, len(body), len(packed), crc32c(body)).pack() + packed
    said = Manifest(
        codec=CodecId.CPU_ZSTD_DICT,
        original_size=len(body),
        compressed_size=len(frame),
        crc32c=crc32c(body),
        framed=True,
        logical_etag=hashlib.md5(body).hexdigest(),
        dict_id=digest[:16],
    )
    name = f".s4dict/{digest[:16]}"
    await gateway.backend.put_object(BUCKET, name, Pieces.of(dictionary), headers={}, metadata={"s4-dict-sha256": digest})
    await gateway.backend.put_object(BUCKET, key, Pieces.of(frame), headers={}, metadata=said.to_metadata())
    return name


async def test_dictionaries_come_along() -> None:
    """A dictionary object copied into another bucket is readable there; without its dictionary it is not copied."""
    async with rig() as gateway:
        await gateway.backend.create_bucket("elsewhere")
        name = await dictionary_object(gateway, "source", text(3000))
        assert (await gateway.get("source")).body == text(3000)
        for _ in range(2):
            assert (await copy(gateway, "target", f"/{BUCKET}/source", bucket="elsewhere")).status == 200
        async with rig(MemoryBackend(store=gateway.backend.store)) as other:
            answer = await other.client.request("GET", "elsewhere", "target")
            assert answer.body == text(3000)
        assert (await copy(gateway, "large", f"/{BUCKET}/source", **LARGE_META)).status == 200
        assert (await gateway.get("large")).body == text(3000)

        await gateway.backend.delete_object(BUCKET, name)
        refused = await copy(gateway, "more", f"/{BUCKET}/source", bucket="elsewhere")
        assert refused.status == 500
        listed = await gateway.client.request("GET", "elsewhere")
        assert listed.texts("Contents/Key") == ["target"]


async def test_stray_dictionary_ids_mean_nothing() -> None:
    """A dictionary id on an object of another codec is only metadata."""
    async with rig() as gateway:
        await gateway.backend.create_bucket("elsewhere")
        await gateway.put("source", text(1000))
        stored, raw = await gateway.stored("source")
        metadata = {**stored.metadata, "s4-dict-id": "0" * 16}
        await gateway.backend.put_object(BUCKET, "source", Pieces.of(raw), headers={}, metadata=metadata)

        assert (await copy(gateway, "target", f"/{BUCKET}/source", bucket="elsewhere")).status == 200
        assert (await gateway.client.request("GET", "elsewhere", "target")).body == text(1000)


async def test_copy_of_an_object_without_a_validator() -> None:
    """An object of the reference that was never stamped has no ETag, and neither has its copy: an empty one would match nothing."""
    async with rig() as gateway:
        await gateway.put("donor", text(1000))
        stored, raw = await gateway.stored("donor")
        said = {name: value for name, value in stored.metadata.items() if name in ("s4-codec", "s4-framed", "s4-original-size")}
        await gateway.backend.put_object(BUCKET, "source", Pieces.of(raw), headers={}, metadata=said)
        answer = await copy(gateway, "copy", f"/{BUCKET}/source")

        assert (answer.status, answer.text("ETag")) == (200, None)
        head = await gateway.client.request("HEAD", BUCKET, "copy")
        assert (head.status, head.etag) == (200, None)


async def test_copy_of_an_upload_of_the_reference_keeps_its_parts() -> None:
    """Only the sidecar of such an object knows its parts and where its frames lie: the copy has one of its own, for one request more."""
    bodies = [noise(5 * MIB), noise(1000, 1)]
    frames = [FrameHeader(CodecId.PASSTHROUGH, len(body), len(body), crc32c(body)).pack() + body for body in bodies]
    said = Manifest(codec=CodecId.CPU_ZSTD, multipart=True, original_size=sum(map(len, bodies)), logical_etag=composite(bodies))
    raw = b"".join(frames)
    async with rig() as gateway:
        put = gateway.backend.put_object
        written = await put(BUCKET, "source", Pieces.of(raw), headers={}, metadata=said.to_metadata())
        table = FrameTable.from_sizes([(len(body), len(frame)) for body, frame in zip(bodies, frames, strict=True)])
        index = Sidecar(table, len(raw), len(raw), written.etag).encode()
        await put(BUCKET, "source.s4index", Pieces.of(index), headers={}, metadata={})
        async with gateway.counting() as spent:
            answer = await copy(gateway, "copy", f"/{BUCKET}/source")
        async with rig(gateway.backend) as other:
            second = await other.client.request("GET", BUCKET, "copy", query={"partNumber": "2"})

        assert (answer.text("ETag") or "").strip('"') == composite(bodies)
        assert (second.status, second.body, second.headers["x-amz-mp-parts-count"]) == (206, bodies[1], "2")
        assert spent == {"head_object": 1, "get_object": 1, "copy_object": 1, "put_object": 1}
