"""Objects and parts at the upper end: indexes of two levels, limits of parts, pages of parts."""

import asyncio
import hashlib

import pytest
from s4_format import Attributes as TrailerAttributes
from s4_format import FrameHeader, FrameTableBuilder, Manifest, Trailer, crc32c, encode_trailer, read_tail
from s4_format.codec_id import CodecId

from s4_gateway.backend.abc import Capabilities, Pieces
from s4_gateway.backend.memory import MemoryBackend
from s4_gateway.objects.options import MAX_PUT_BYTES

from .helpers import BUCKET, MIB, Rig, noise, rig, text
from .test_multipart import LARGE, SMALL, composite

FRAMES = 40_000


async def many_frames(gateway: Rig, key: str) -> bytes:
    """An object whose index does not fit into a suffix, as a large one has it."""
    sizes = [1 + byte for byte in noise(FRAMES, 1)]
    plain = noise(sum(sizes))
    body, table, start = bytearray(), FrameTableBuilder(), 0
    for size in sizes:
        data = plain[start : start + size]
        header = FrameHeader(CodecId.PASSTHROUGH, size, size, crc32c(data)).pack()
        body += header + data
        table.append(size, len(header) + size)
        start += size
    said = TrailerAttributes(len(plain), hashlib.md5(plain).hexdigest(), {"crc64nvme": "AAAAAAAAAAA="}, "FULL_OBJECT", None, {})
    body += encode_trailer(Trailer(said, (), table.build()), offset=len(body))
    manifest = Manifest(codec=CodecId.PASSTHROUGH, original_size=len(plain), framed=True, trailer=True, write_token="0" * 32)
    await gateway.backend.put_object(BUCKET, key, Pieces.of(bytes(body)), headers={}, metadata=manifest.to_metadata())
    assert read_tail(bytes(body), body_size=len(body)).two_level
    return plain


async def test_index_of_two_levels() -> None:
    """A cold range of an object with a large index costs three requests, a warm one one; every range is right."""
    async with rig() as gateway:
        plain = await many_frames(gateway, "key")
        for start, stop in ((0, 1), (100, 900), (1_000_000, 1_000_200), (len(plain) - 1, len(plain))):
            gateway.client.services.store.core.cache.drop(BUCKET, "key")
            for budget in (3, 1):
                async with gateway.counting() as spent:
                    answer = await gateway.get("key", range=f"bytes={start}-{stop - 1}")
                assert (answer.status, answer.body) == (206, plain[start:stop])
                assert spent == {"get_object": budget}
        head = await gateway.client.request("HEAD", BUCKET, "key")
        assert head.headers["content-length"] == str(len(plain))
        assert (await gateway.get("key")).body == plain


async def test_part_that_grows_beyond_the_backends_largest() -> None:
    """An incompressible part of exactly the largest size grows by frame headers: EntityTooLarge, and the upload goes on."""
    backend = MemoryBackend(capabilities=Capabilities(max_part_size=6 * MIB))
    async with rig(backend) as gateway:
        upload = await gateway.create("key")
        query = {"partNumber": "1", "uploadId": upload}
        refused = await gateway.client.request("PUT", BUCKET, "key", query=query, body=noise(6 * MIB))
        assert (refused.status, refused.code) == (400, "EntityTooLarge")
        one = await gateway.part("key", upload, 1, noise(6 * MIB - 1000))
        assert (await gateway.complete("key", upload, [(1, one)])).code is None


@pytest.mark.parametrize("query", [{}, {"partNumber": "1"}])
async def test_declared_size_above_the_limit(query: dict[str, str]) -> None:
    """More than 5 GiB in one PUT or part is EntityTooLarge before a byte is read."""
    async with rig() as gateway:
        if query:
            query = {**query, "uploadId": await gateway.create("key")}
        answer = await gateway.client.request("PUT", BUCKET, "key", query=query, length=MAX_PUT_BYTES + 1, payload="unsigned")
        assert (answer.status, answer.code) == (400, "EntityTooLarge")


async def test_parts_that_are_not_in_the_manifest() -> None:
    """What the client leaves out is not in the object, whatever lies under its number in the backend."""
    bodies = {1: LARGE, 2: noise(6 * MIB, 2), 3: SMALL, 4: noise(6 * MIB, 4), 5: b"tail", 9: noise(6 * MIB, 9)}
    async with rig() as gateway:
        for chosen in ((1, 3, 5), (2, 3), (3, 4, 5), (1, 9), (5,)):
            upload = await gateway.create("key")
            tags = dict(
                zip(bodies, await asyncio.gather(*(gateway.part("key", upload, n, body) for n, body in bodies.items())), strict=True)
            )
            # Number 3 was large before, and its large form is still what the backend has.
            await gateway.part("key", upload, 3, LARGE)
            done = await gateway.complete("key", upload, [(number, tags[number]) for number in chosen])
            assert done.code is None, done.body
            answer = await gateway.get("key")
            assert answer.body == b"".join(bodies[number] for number in chosen)
            assert answer.etag == composite([bodies[number] for number in chosen])
            assert await gateway.backend.list_multipart(BUCKET) == []


async def test_pages_of_object_attributes() -> None:
    """GetObjectAttributes pages through the part table by number."""
    async with rig() as gateway:
        upload = await gateway.create("key", x_amz_checksum_algorithm="SHA256")
        parts = [(number, await gateway.part("key", upload, number, text(5 * MIB, number))) for number in (1, 2, 3)]
        await gateway.complete("key", upload, parts)
        marker, seen = "0", []
        while True:
            asked = {"x-amz-object-attributes": "ObjectParts,ObjectSize", "x-amz-max-parts": "2", "x-amz-part-number-marker": marker}
            page = await gateway.client.request("GET", BUCKET, "key", query={"attributes": ""}, headers=asked)
            assert page.text("ObjectParts/PartsCount") == "3"
            seen += page.texts("ObjectParts/Part/PartNumber")
            if page.text("ObjectParts/IsTruncated") == "false":
                break
            marker = page.text("ObjectParts/NextPartNumberMarker") or ""
        assert seen == ["1", "2", "3"]


@pytest.mark.parametrize(
    ("created", "stated", "code"),
    [
        ({"x-amz-checksum-algorithm": "CRC32"}, "FULL_OBJECT", "InvalidRequest"),
        ({"x-amz-checksum-algorithm": "CRC32", "x-amz-checksum-type": "FULL_OBJECT"}, "COMPOSITE", "InvalidRequest"),
        ({"x-amz-checksum-algorithm": "CRC32"}, "COMPOSITE", None),
        ({}, "FULL_OBJECT", None),
    ],
)
async def test_checksum_type_of_complete(created: dict[str, str], stated: str, code: str | None) -> None:
    """A Complete that states the other type of checksum is refused before anything is done."""
    async with rig() as gateway:
        answer = await gateway.client.request("POST", BUCKET, "key", query={"uploads": ""}, headers=created)
        upload = answer.text("UploadId") or ""
        parts = [(1, await gateway.part("key", upload, 1, SMALL))]
        done = await gateway.complete("key", upload, parts, **{"x-amz-checksum-type": stated})
        assert done.code == code
