"""Reads at the edges: objects that change meanwhile, bodies that contradict what is said of them, empty things, and who wins."""

import hashlib
import zlib

import pytest
from s4_format import Attributes as TrailerAttributes
from s4_format import FrameTable, Manifest, Sidecar, Trailer, encode_trailer, iter_items

from s4_gateway.backend.abc import BackendError, Pieces
from s4_gateway.backend.memory import MemoryBackend
from s4_gateway.backend.memory_store import Versioning

from .helpers import BUCKET, MIB, Rig, noise, rig, text

STREAMED = noise(12 * MIB)


async def behind(gateway: Rig, key: str, body: bytes, **metadata: str) -> None:
    """Put an object behind the gateway's back."""
    named = {name.replace("_", "-"): value for name, value in metadata.items()}
    await gateway.backend.put_object(BUCKET, key, Pieces.of(body), headers={}, metadata=named)


async def forget(gateway: Rig, key: str) -> None:
    """Make the next read cold."""
    gateway.client.services.store.core.cache.drop(BUCKET, key)


def replacing(gateway: Rig, key: str, body: bytes):  # type: ignore[no-untyped-def]
    """An action that replaces an object through another gateway."""

    async def replace() -> None:
        async with rig(MemoryBackend(store=gateway.backend.store)) as other:
            await other.put(key, body)

    return replace


@pytest.mark.parametrize("warm", [False, True], ids=["cold", "warm"])
@pytest.mark.parametrize("point", ["head_object", "get_object"])
async def test_if_range_never_mixes_two_objects(point: str, warm: bool) -> None:
    """A download that is taken up again gets the rest of the same object, or the whole new one, never a part of the new one."""
    new = noise(12 * MIB, 1)
    for moment in (False, True):
        async with rig() as gateway:
            etag = (await gateway.put("key", STREAMED)).etag
            if not warm:
                await forget(gateway, "key")
            gateway.backend.on_next(point, replacing(gateway, "key", new), after_commit=moment)
            answer = await gateway.get("key", range="bytes=1000-1999", if_range=f'"{etag}"')
            expected = {206: (STREAMED[1000:2000], etag), 200: (new, hashlib.md5(new).hexdigest())}

            assert (answer.body, answer.etag) == expected[answer.status]


async def test_if_range_costs_nothing() -> None:
    """The check of If-Range is made on the answer itself."""
    async with rig() as gateway:
        etag = (await gateway.put("key", STREAMED)).etag
        async with gateway.counting() as spent:
            assert (await gateway.get("key", range="bytes=0-9", if_range=f'"{etag}"')).status == 206
        assert spent == {"get_object": 1}
        beyond = await gateway.get("key", range=f"bytes={len(STREAMED)}-", if_range='"other"')
        assert (beyond.status, len(beyond.body)) == (200, len(STREAMED))
        none = await gateway.get("key", range=f"bytes={len(STREAMED)}-", if_range=f'"{etag}"')
        assert (none.status, none.code) == (416, "InvalidRange")


@pytest.mark.parametrize("body", [text(3 * MIB), noise(2 * MIB), STREAMED], ids=["frames", "raw", "streamed"])
async def test_backend_that_judges_the_range_before_the_condition(body: bytes) -> None:
    """A 416 for bytes that were known to be there means that the object is another one now: it is looked at again."""
    async with rig() as gateway:
        await gateway.put("key", body)
        gateway.backend.fail_next("get_object", BackendError("InvalidRange", 416, "too short"))
        warm = await gateway.get("key", range="bytes=100-199")
        await forget(gateway, "key")

        async def refuse_the_second() -> None:
            gateway.backend.fail_next("get_object", BackendError("InvalidRange", 416, "too short"))

        gateway.backend.on_next("get_object", refuse_the_second, after_commit=True)
        cold = await gateway.get("key", range="bytes=100-199")

        assert (warm.status, warm.body) == (206, body[100:200])
        assert (cold.status, cold.body) == (206, body[100:200])


async def test_object_that_is_replaced_all_the_time() -> None:
    """After a bounded number of attempts the client is told to try again."""
    async with rig() as gateway:
        await gateway.put("key", STREAMED)
        gateway.backend.fail_next("get_object", BackendError("PreconditionFailed", 412, "no"), times=3)
        answer = await gateway.get("key", range="bytes=100-199")

        assert (answer.status, answer.code) == (409, "OperationAborted")


@pytest.mark.parametrize("kind", ["framed", "trailer", "multipart", "foreign", "raw"])
async def test_empty_objects(kind: str) -> None:
    """Nothing is stored in many ways, and read back as nothing: 200, length 0, and no range of it."""
    md5 = hashlib.md5(b"").hexdigest()
    async with rig() as gateway:
        if kind == "framed":
            await gateway.put("key", b"")
        elif kind == "trailer":
            await gateway.put("key", b"", x_amz_meta_m="v" * 1900)
        elif kind == "multipart":
            await gateway.upload("key", [b""])
            md5 = hashlib.md5(hashlib.md5(b"").digest()).hexdigest() + "-1"
        elif kind == "foreign":
            await behind(gateway, "key", b"")
        else:
            await behind(gateway, "key", b"", s4_codec="passthrough", s4_original_size="0", s4_compressed_size="0", s4_crc32c="0")
        for _ in range(2):
            whole = await gateway.get("key")
            assert (whole.status, whole.body, whole.headers["content-length"], whole.etag) == (200, b"", "0", md5)
            for value in ("bytes=0-", "bytes=0-0", "bytes=-1"):
                ranged = await gateway.get("key", range=value)
                assert (ranged.status, ranged.code, ranged.headers["content-range"]) == (416, "InvalidRange", "bytes */0")
            head = await gateway.client.request("HEAD", BUCKET, "key")
            assert (head.status, head.headers["content-length"], head.etag) == (200, "0", md5)
            part = await gateway.client.request("GET", BUCKET, "key", query={"partNumber": "1"})
            assert (part.status, part.body) == (206, b"")
            assert "content-range" not in part.headers
        listed = await gateway.client.request("GET", BUCKET)
        assert (listed.text("Contents/Size"), (listed.text("Contents/ETag") or "").strip('"')) == ("0", md5)


@pytest.mark.parametrize("warm", [False, True], ids=["cold", "warm"])
async def test_conditions_are_judged_before_ranges(warm: bool) -> None:
    """412 and 304 come before 416 (RFC 9110, section 13.2.2)."""
    async with rig() as gateway:
        etag = (await gateway.put("key", text(3 * MIB))).etag
        beyond = f"bytes={3 * MIB}-"
        for headers, status in (
            ({"if_match": '"other"'}, 412),
            ({"if_none_match": f'"{etag}"'}, 304),
            ({"if_match": f'"{etag}"'}, 416),
        ):
            if not warm:
                await forget(gateway, "key")
            assert (await gateway.get("key", range=beyond, **headers)).status == status
            head = await gateway.client.request(
                "HEAD", BUCKET, "key", headers={"range": beyond, **{name.replace("_", "-"): value for name, value in headers.items()}}
            )
            assert head.status == status


async def test_head_of_ranges_and_parts() -> None:
    """HEAD says what GET would: status, length, range, parts; overrides and checksums with it."""
    async with rig() as gateway:
        bodies = [text(5 * MIB), noise(6 * MIB), b"tail"]
        await gateway.upload("key", bodies)
        for query, headers in (
            ({}, {}),
            ({}, {"range": "bytes=5-9"}),
            ({}, {"range": "bytes=-9"}),
            ({"partNumber": "2"}, {}),
            ({"partNumber": "3", "response-content-type": "a/b", "response-cache-control": "no-store"}, {}),
        ):
            get = await gateway.client.request("GET", BUCKET, "key", query=query, headers=headers)
            head = await gateway.client.request("HEAD", BUCKET, "key", query=query, headers=headers)
            varying = {"date", "x-amz-request-id"}
            assert (head.status, head.body) == (get.status, b"")
            assert {k: v for k, v in head.headers.items() if k not in varying} == {k: v for k, v in get.headers.items() if k not in varying}
            assert head.headers["content-length"] == str(len(get.body))
        for number in ("4", "10000"):
            out = await gateway.client.request("HEAD", BUCKET, "key", query={"partNumber": number})
            assert out.status == 416
        both = await gateway.client.request("GET", BUCKET, "key", query={"partNumber": "1"}, headers={"range": "bytes=0-1"})
        assert (both.status, both.code) == (400, "InvalidRequest")


@pytest.mark.parametrize("name", ["no trailer", "flipped bit", "other size", "unknown marker"])
async def test_trailer_that_does_not_fit(name: str) -> None:
    """Where metadata promise a trailer, one that is missing, damaged or about another size is an error, never a guess."""
    async with rig() as gateway:
        await gateway.put("key", STREAMED)
        stored, raw = await gateway.stored("key")
        metadata = dict(stored.metadata)
        if name == "no trailer":
            raw = raw[:-10_000]
        elif name == "flipped bit":
            raw = raw[:-100] + bytes([raw[-100] ^ 1]) + raw[-99:]
        elif name == "other size":
            metadata["s4-original-size"] = str(len(STREAMED) + 1)
        else:
            metadata["s4-trailer"] = "2"
        await behind(gateway, "key", raw, **metadata)
        for method, headers in (("GET", {}), ("GET", {"range": "bytes=5-9"}), ("HEAD", {})):
            answer = await gateway.client.request(method, BUCKET, "key", headers=headers)
            assert answer.status == 500
        listed = await gateway.client.request("GET", BUCKET)
        assert (listed.status, listed.code) == (500, "InternalError")
        assert "key" in (listed.text("Message") or "")


async def test_sealed_bodies_of_unknown_size_are_named() -> None:
    """An envelope that tells no size is 501, not a search for frames in ciphertext."""
    async with rig() as gateway:
        await behind(gateway, "key", b"S4E6" + noise(200_000), s4_encrypted="aes-256-gcm", s4_multipart="true", s4_codec="cpu-zstd")
        await behind(gateway, "newer", noise(200_000), s4_encrypted="aes-256-gcm", s4_multipart="true", s4_trailer="1")
        for key in ("key", "newer"):
            for method, headers in (("GET", {}), ("GET", {"range": "bytes=5-9"}), ("HEAD", {})):
                answer = await gateway.client.request(method, BUCKET, key, headers=headers)
                assert answer.status == 501


async def reference_object(gateway: Rig, key: str, body: bytes, *, etag: str | None = None, size: int | None = None, lie: int = 0) -> None:
    """A framed object without trailer, and a sidecar beside it."""
    await gateway.put("donor", body)
    _, raw = await gateway.stored("donor")
    frames = [item for item in iter_items(raw) if type(item).__name__ == "Frame"]
    sizes = [(frame.header.original_size, frame.header.stored_size) for frame in frames]
    raw = raw[: sum(stored for _, stored in sizes)]
    await behind(
        gateway,
        key,
        raw,
        s4_codec="cpu-zstd",
        s4_framed="true",
        s4_original_size=str(len(body)),
        s4_compressed_size=str(len(raw)),
        s4_crc32c="1",
    )
    stored = await gateway.backend.head_object(BUCKET, key)
    sizes[-1] = (sizes[-1][0] + lie, sizes[-1][1])
    index = Sidecar(FrameTable.from_sizes(sizes), len(raw), size or len(raw), etag or stored.etag)
    if len(key) < 1000:
        await behind(gateway, key + ".s4index", index.encode())


@pytest.mark.parametrize(
    ("wrong", "requests"),
    [
        pytest.param({}, 3, id="right"),
        pytest.param({"etag": "0" * 32}, 3, id="of another body"),
        pytest.param({"size": 7}, 3, id="of another length"),
        pytest.param({"lie": 5}, 3, id="of another logical length"),
        pytest.param({"lie": -5}, 3, id="of a shorter object"),
    ],
)
async def test_sidecars_are_trusted_only_for_their_body(wrong: dict[str, object], requests: int) -> None:
    """A range of a body without trailer is right whatever lies beside it."""
    body = text(MIB) + noise(3 * MIB)
    async with rig() as gateway:
        await reference_object(gateway, "key", body, **wrong)  # type: ignore[arg-type]
        for start in (0, MIB, len(body) - 50):
            await forget(gateway, "key")
            async with gateway.counting() as spent:
                answer = await gateway.get("key", range=f"bytes={start}-{start + 99}")
            assert (answer.status, answer.body) == (206, body[start : start + 100])
            assert spent["get_object"] <= requests
        if wrong:
            return
        async with gateway.counting() as spent:
            await gateway.get("key", range="bytes=7-9")
        assert spent == {"get_object": 1}


async def test_sidecar_of_a_key_that_is_too_long_to_have_one() -> None:
    """A key of 1,020 bytes has no sidecar; its ranges are read all the same, and it can be deleted."""
    body, key = text(MIB) + noise(3 * MIB), "k" * 1020
    async with rig() as gateway:
        await reference_object(gateway, key, body)
        assert (await gateway.get(key, range="bytes=2000000-2000009")).body == body[2000000:2000010]
        await gateway.put(key, text(6 * MIB))
        await gateway.client.request("DELETE", BUCKET, "other")
        async with gateway.counting() as spent:
            assert (await gateway.client.request("DELETE", BUCKET, key)).status == 204
        assert spent == {"delete_objects": 1}
        assert key not in await gateway.names()


async def test_versions_are_read_by_their_id() -> None:
    """Every request of a versioned read names the version, and what is known of the newest one says nothing of it."""
    backend = MemoryBackend()
    await backend.create_bucket(BUCKET)
    backend.store.set_versioning(BUCKET, Versioning.ENABLED)
    async with rig(backend) as gateway:
        bodies = [STREAMED, noise(12 * MIB, 1), text(3 * MIB), noise(1000)]
        ids = [(await gateway.put("key", body)).headers["x-amz-version-id"] for body in bodies]
        for body, version in zip(bodies, ids, strict=True):
            query = {"versionId": version}
            whole = await gateway.client.request("GET", BUCKET, "key", query=query)
            part = await gateway.client.request("GET", BUCKET, "key", query=query, headers={"range": "bytes=10-99"})
            head = await gateway.client.request("HEAD", BUCKET, "key", query=query)
            assert (whole.body, whole.headers["x-amz-version-id"]) == (body, version)
            assert (part.body, part.headers["x-amz-version-id"]) == (body[10:100], version)
            assert (head.headers["content-length"], head.etag) == (str(len(body)), hashlib.md5(body).hexdigest())
        assert (await gateway.get("key")).body == bodies[-1]
        missing = await gateway.client.request("GET", BUCKET, "key", query={"versionId": "0" * 32})
        assert (missing.status, missing.code) == (404, "NoSuchVersion")


async def test_warm_read_of_an_object_that_is_not_ours_any_more() -> None:
    """The same bytes put back without our metadata are a foreign object: what is remembered of them does not count."""
    now = 1_700_000_000.0
    async with rig(MemoryBackend(clock=lambda: now)) as gateway:
        await gateway.put("key", text(3 * MIB))
        stored, raw = await gateway.stored("key")
        assert (await gateway.get("key", range="bytes=0-9")).body == text(10)
        await behind(gateway, "key", raw, own="1")
        part, whole = await gateway.get("key", range="bytes=0-9"), await gateway.get("key")
        assert (part.body, whole.body, whole.headers["x-amz-meta-own"]) == (raw[:10], raw, "1")
        await behind(gateway, "key", raw, **{**stored.metadata, "s4-encrypted": "aes-256-gcm"})
        sealed = await gateway.get("key", range="bytes=0-9")
        assert (sealed.status, sealed.code) == (501, "NotImplemented")


async def test_forged_trailer_of_a_foreign_object_is_data() -> None:
    """Magic bytes decide nothing: an object without our metadata that ends in a valid trailer is read as it lies."""
    frames = FrameTable.from_sizes([])
    said = TrailerAttributes(0, "0" * 32, {"crc64nvme": "AAAAAAAAAAA="}, "FULL_OBJECT", None, {})
    body = encode_trailer(Trailer(said, (), frames), offset=0)
    async with rig() as gateway:
        await behind(gateway, "key", body)
        head = await gateway.client.request("HEAD", BUCKET, "key")
        assert (await gateway.get("key")).body == body
        assert (await gateway.get("key", range="bytes=-8")).body == body[-8:]
        assert head.headers["content-length"] == str(len(body))


async def test_single_payloads_of_the_reference() -> None:
    """Whole bodies and ranges of one unframed payload; a damaged one never ends cleanly."""
    body = text(300_000)
    packed = zlib.compress(body, wbits=31)
    from s4_format import crc32c

    said = Manifest(codec=None, codec_label="cpu-gzip", original_size=len(body), compressed_size=len(packed), crc32c=crc32c(body))
    async with rig() as gateway:
        await behind(gateway, "key", packed, **said.to_metadata())
        assert (await gateway.get("key")).body == body
        for start, stop in ((0, 1), (100_000, 200_000), (299_999, 300_000)):
            assert (await gateway.get("key", range=f"bytes={start}-{stop - 1}")).body == body[start:stop]
        wrong = Manifest(codec=None, codec_label="cpu-gzip", original_size=len(body), compressed_size=len(packed), crc32c=5)
        await behind(gateway, "key", packed, **wrong.to_metadata())
        from s4_gateway.testing.client import BrokenOff

        try:
            assert (await gateway.get("key")).status >= 500
        except BrokenOff:
            pass


def reference_part(body: bytes) -> bytes:
    """A part as the reference stores it: one frame, padded to the least size."""
    from s4_format import FrameHeader, crc32c, padding_for, padding_header
    from s4_format.codec_id import CodecId

    frame = FrameHeader(CodecId.PASSTHROUGH, len(body), len(body), crc32c(body)).pack() + body
    length = padding_for(len(frame), 5 * MIB)
    return frame if length is None else frame + padding_header(length) + bytes(length)


async def test_unstamped_multipart_objects_of_the_reference() -> None:
    """Size and ranges of an object that only its frames describe are found from their headers, not by reading it all, and remembered."""
    bodies = [noise(6 * MIB), text(5 * MIB), noise(100), b"", text(3000)]
    raw, whole = b"".join(map(reference_part, bodies)), b"".join(bodies)
    async with rig() as gateway:
        await behind(gateway, "key", raw, s4_multipart="true", s4_codec="cpu-zstd")
        async with gateway.counting() as spent:
            head = await gateway.client.request("HEAD", BUCKET, "key")
        assert (head.status, head.headers["content-length"], head.etag) == (200, str(len(whole)), None)
        # The sidecar that is not there, and one request for each part at most.
        assert spent["get_object"] <= 1 + len(bodies)
        async with gateway.counting() as spent:
            assert (await gateway.get("key")).body == whole
            assert (await gateway.get("key", range="bytes=6291450-6291460")).body == whole[6291450:6291461]
            second = await gateway.client.request("GET", BUCKET, "key", query={"partNumber": "2"})
            listed = await gateway.client.request("GET", BUCKET)
        assert (second.body, second.headers["x-amz-mp-parts-count"]) == (bodies[1], str(len(bodies)))
        assert listed.text("Contents/Size") == str(len(whole))
        assert spent == {"get_object": 3, "list_objects": 1}

        for damaged in (raw[:-1], raw[: 6 * MIB + 5], b"S4F2", b"", raw[:40] + b"x" + raw[40:]):
            await behind(gateway, "key", damaged, s4_multipart="true", s4_codec="cpu-zstd")
            answer = await gateway.client.request("HEAD", BUCKET, "key")
            assert answer.status == (200 if damaged == b"" else 500)
