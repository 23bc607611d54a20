"""GET and HEAD: right bytes of one version, and what they cost."""

import hashlib

import pytest

from s4_gateway.backend.abc import Pieces
from s4_gateway.testing.client import BrokenOff

from .helpers import BUCKET, MIB, Rig, noise, rig, text

RANGES = [
    ("bytes=0-0", 0, 1),
    ("bytes=0-", 0, None),
    ("bytes=-1", -1, None),
    ("bytes=-99999999", 0, None),
    ("bytes=1048570-1048590", 1048570, 1048591),
    ("bytes=100-99999999", 100, None),
]


async def forget(gateway: Rig, key: str) -> None:
    """Make the next read cold."""
    gateway.client.services.store.core.cache.drop(BUCKET, key)


async def refused(gateway: Rig, key: str) -> bool:
    """Whether a GET ends in an error document or a broken connection; which of the two depends on how far it had come."""
    try:
        return (await gateway.get(key)).status >= 500
    except BrokenOff:
        return True


@pytest.mark.parametrize("warm", [False, True], ids=["cold", "warm"])
@pytest.mark.parametrize("body", [text(3 * MIB), noise(2 * MIB), noise(12 * MIB)], ids=["frames", "raw", "streamed"])
async def test_ranges(body: bytes, warm: bool) -> None:
    """Every range form gives exactly its bytes, 206 and the logical Content-Range, cold or warm."""
    async with rig() as gateway:
        etag = (await gateway.put("key", body)).etag
        for value, start, stop in RANGES:
            if not warm:
                await forget(gateway, "key")
            answer = await gateway.get("key", range=value)
            expected = body[start:stop]
            begin = len(body) + start if start < 0 else start

            assert (answer.status, answer.body, answer.etag) == (206, expected, etag)
            assert answer.headers["content-range"] == f"bytes {begin}-{begin + len(expected) - 1}/{len(body)}"


@pytest.mark.parametrize("value", [f"bytes={3 * MIB}-", "bytes=-0"])
async def test_unsatisfiable_range(value: str) -> None:
    """A range without a byte is 416 with the logical size."""
    async with rig() as gateway:
        await gateway.put("key", text(3 * MIB))
        answer = await gateway.get("key", range=value)

        assert (answer.status, answer.code) == (416, "InvalidRange")
        assert answer.headers["content-range"] == f"bytes */{3 * MIB}"


async def test_budget_of_reads() -> None:
    """GET, HEAD and ranges cost one request warm; a cold range costs the suffix and the range; small objects one."""
    body = noise(12 * MIB)
    async with rig() as gateway:
        await gateway.put("large", body)
        await gateway.put("small", text(5000))
        plans = [
            ("GET", "small", {}, {"get_object": 1}, {"get_object": 1}),
            ("GET", "small", {"range": "bytes=5-9"}, {"get_object": 1}, {"get_object": 1}),
            ("GET", "large", {}, {"get_object": 2}, {"get_object": 1}),
            ("GET", "large", {"range": "bytes=5-9"}, {"get_object": 2}, {"get_object": 1}),
            ("HEAD", "small", {}, {"head_object": 1}, {"head_object": 1}),
            ("HEAD", "large", {}, {"head_object": 1, "get_object": 1}, {"head_object": 1}),
        ]
        for method, key, headers, cold, warm in plans:
            await forget(gateway, key)
            for budget in (cold, warm):
                async with gateway.counting() as spent:
                    answer = await gateway.client.request(method, BUCKET, key, headers=headers)
                assert answer.status in (200, 206)
                assert spent == budget, (method, key, headers)


async def test_overwrite_between_reads_is_noticed() -> None:
    """A range of an object that another writer replaced gives the new object's bytes, never a mixture."""
    async with rig() as gateway:
        await gateway.put("key", text(3 * MIB))
        await gateway.get("key", range="bytes=0-9")
        async with rig(gateway.backend) as other:
            await other.put("key", text(3 * MIB, seed=7))
        answer = await gateway.get("key", range="bytes=2000000-2000099")

        assert answer.body == text(3 * MIB, seed=7)[2000000:2000100]
        assert answer.etag == hashlib.md5(text(3 * MIB, seed=7)).hexdigest()


async def test_overwrite_between_the_two_requests_of_a_cold_range() -> None:
    """An object that changes under a cold read is read again, whole and new."""
    async with rig() as gateway:
        await gateway.put("key", noise(12 * MIB))
        await forget(gateway, "key")

        async def replace() -> None:
            async with rig(gateway.backend) as other:
                await other.put("key", noise(12 * MIB, seed=1))

        gateway.backend.on_next("get_object", replace, after_commit=True)
        answer = await gateway.get("key", range="bytes=5000000-5000999")

        assert answer.body == noise(12 * MIB, seed=1)[5000000:5001000]


async def test_foreign_objects_are_passed_through() -> None:
    """What we did not write comes back untouched, ranged or whole, even if it looks like a frame."""
    body = b"S4F2" + noise(100_000)
    async with rig() as gateway:
        await gateway.backend.put_object(BUCKET, "key", Pieces.of(body), headers={"content-type": "x/y"}, metadata={"own": "1"})
        whole, part = await gateway.get("key"), await gateway.get("key", range="bytes=10-19")

        assert (whole.body, part.body) == (body, body[10:20])
        assert (whole.headers["content-type"], whole.headers["x-amz-meta-own"]) == ("x/y", "1")
        assert whole.etag == hashlib.md5(body).hexdigest()


async def test_forged_trailer_is_only_data() -> None:
    """A client may store a file that ends in somebody else's trailer: it is read back as that file."""
    async with rig() as gateway:
        await gateway.put("real", noise(12 * MIB))
        _, raw = await gateway.stored("real")
        forged = raw[-4096:]
        await gateway.put("forged", forged)
        await gateway.upload("parts", [text(5 * MIB), forged])

        assert (await gateway.get("forged")).body == forged
        assert (await gateway.get("parts")).body == text(5 * MIB) + forged
        await forget(gateway, "parts")
        assert (await gateway.get("parts", range="bytes=-4096")).body == forged


@pytest.mark.parametrize("body", [text(3 * MIB), noise(12 * MIB), noise(2 * MIB), text(1000)], ids=["frames", "streamed", "raw", "small"])
async def test_damage_never_ends_cleanly(body: bytes) -> None:
    """A flipped bit on the backend gives an error document or a broken connection, never a clean wrong body."""
    async with rig() as gateway:
        await gateway.put("key", body)
        stored, raw = await gateway.stored("key")
        for position in (len(raw) // 2, 40):
            bad = bytearray(raw)
            bad[position] ^= 0x10
            await gateway.backend.put_object(BUCKET, "key", Pieces.of(bytes(bad)), headers=stored.headers, metadata=stored.metadata)
            assert await refused(gateway, "key"), position


async def test_truncated_body_never_ends_cleanly() -> None:
    """A stored body that lost its end is an error."""
    async with rig() as gateway:
        await gateway.put("key", text(3 * MIB))
        stored, raw = await gateway.stored("key")
        await gateway.backend.put_object(BUCKET, "key", Pieces.of(raw[:-3000]), headers=stored.headers, metadata=stored.metadata)
        assert await refused(gateway, "key")


async def test_undecodable_bodies_have_a_named_error() -> None:
    """Encrypted and GPU bodies are 501 with the reason, never raw bytes; HEAD still works."""
    envelope = {
        "s4-encrypted": "aes-256-gcm",
        "s4-framed": "true",
        "s4-codec": "cpu-zstd",
        "s4-original-size": "9",
        "s4-compressed-size": "9",
    }
    gpu = {"s4-codec": "nvcomp-bitcomp", "s4-original-size": "9", "s4-compressed-size": "4", "s4-crc32c": "1"}
    async with rig() as gateway:
        for key, metadata in (("sealed", {**envelope, "s4-crc32c": "1"}), ("gpu", gpu)):
            await gateway.backend.put_object(BUCKET, key, Pieces.of(b"RAW!"), headers={}, metadata=metadata)
            answer = await gateway.get(key)
            head = await gateway.client.request("HEAD", BUCKET, key)

            assert (answer.status, answer.code) == (501, "NotImplemented")
            assert b"RAW!" not in answer.body
            assert (head.status, head.headers["content-length"]) == (200, "9")


async def test_conditional_reads_use_the_logical_etag() -> None:
    """If-Match, If-None-Match and If-Range judge what clients see; 304 carries the ETag."""
    body = text(3 * MIB)
    async with rig() as gateway:
        etag = (await gateway.put("key", body)).etag
        stored, _ = await gateway.stored("key")
        assert stored.etag != etag

        assert (await gateway.get("key", if_match=f'"{etag}"')).status == 200
        assert (await gateway.get("key", if_match=f'"{stored.etag}"')).status == 412
        unchanged = await gateway.get("key", if_none_match=f'"{etag}"')
        assert (unchanged.status, unchanged.etag, unchanged.body) == (304, etag, b"")
        assert (await gateway.get("key", range="bytes=0-9", if_range=f'"{etag}"')).status == 206
        whole = await gateway.get("key", range="bytes=0-9", if_range='"other"')
        assert (whole.status, whole.body) == (200, body)


async def test_part_number_of_a_plain_object() -> None:
    """An object that was not uploaded in parts is its own part 1; other numbers are 416."""
    async with rig() as gateway:
        await gateway.put("key", text(5000))
        first = await gateway.client.request("GET", BUCKET, "key", query={"partNumber": "1"})
        second = await gateway.client.request("GET", BUCKET, "key", query={"partNumber": "2"})

        assert (first.status, first.body) == (206, text(5000))
        assert (second.status, second.code) == (416, "InvalidPartNumber")


async def test_metadata_change_outside_wins_over_the_cache() -> None:
    """Headers and metadata are never cached: a copy onto itself with other metadata shows at once."""
    async with rig() as gateway:
        await gateway.put("key", text(3 * MIB), x_amz_meta_a="1")
        await gateway.get("key")
        copied = await gateway.client.request(
            "PUT",
            BUCKET,
            "key",
            headers={"x-amz-copy-source": f"/{BUCKET}/key", "x-amz-metadata-directive": "REPLACE", "x-amz-meta-a": "2"},
        )
        assert copied.status == 200, copied.body
        answer = await gateway.get("key", range="bytes=0-9")

        assert (answer.headers["x-amz-meta-a"], answer.body) == ("2", text(3 * MIB)[:10])
