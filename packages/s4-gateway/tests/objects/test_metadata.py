"""What clients say about their objects comes back byte for byte, and ours never crowds it out."""

import hashlib

import pytest
from s4_format import read_trailer

from s4_gateway.backend.abc import Capabilities, Pieces
from s4_gateway.backend.memory import MemoryBackend

from .helpers import BUCKET, MIB, Rig, noise, rig, text

HEADERS = {
    "content-type": "text/plain; charset=utf-8",
    "content-disposition": 'attachment; filename="a b.txt"',
    "content-encoding": "gzip, br",
    "content-language": "de, en",
    "cache-control": "no-store",
    "expires": "not a date at all",
    "x-amz-meta-empty": "",
    "x-amz-meta-spaces": "a  b",
    "x-amz-meta-quoted": '"=?UTF-8?Q?x?="',
    "x-amz-meta-with.dots_and-dashes": "1",
}


async def streamed(gateway: Rig, key: str) -> bytes:
    """A PUT through a backend upload."""
    body = noise(12 * MIB)
    answer = await gateway.client.request("PUT", BUCKET, key, body=body, headers=HEADERS)
    assert answer.status == 200
    return body


async def buffered(gateway: Rig, key: str) -> bytes:
    """A PUT in one request."""
    answer = await gateway.client.request("PUT", BUCKET, key, body=text(1000), headers=HEADERS)
    assert answer.status == 200
    return text(1000)


async def uploaded(gateway: Rig, key: str) -> bytes:
    """A multipart upload."""
    answer = await gateway.client.request("POST", BUCKET, key, query={"uploads": ""}, headers=HEADERS)
    upload = answer.text("UploadId") or ""
    await gateway.complete(key, upload, [(1, await gateway.part(key, upload, 1, text(1000)))])
    return text(1000)


async def copied(gateway: Rig, key: str) -> bytes:
    """A copy with its own metadata."""
    await gateway.put("source", text(1000))
    headers = {**HEADERS, "x-amz-copy-source": f"/{BUCKET}/source", "x-amz-metadata-directive": "REPLACE"}
    assert (await gateway.client.request("PUT", BUCKET, key, headers=headers)).status == 200
    return text(1000)


@pytest.mark.parametrize("way", [buffered, streamed, uploaded, copied])
async def test_round_trip(way) -> None:  # type: ignore[no-untyped-def]
    """All system headers and metadata come back as they were sent, whichever way the object came; a copy keeps them too."""
    async with rig() as gateway:
        body = await way(gateway, "key")
        headers = {"x-amz-copy-source": f"/{BUCKET}/key"}
        assert (await gateway.client.request("PUT", BUCKET, "again", headers=headers)).status == 200
        for key in ("key", "again"):
            for method in ("GET", "HEAD"):
                answer = await gateway.client.request(method, BUCKET, key)
                assert {name: answer.headers.get(name) for name in HEADERS} == HEADERS
                assert [name for name in answer.headers if name.startswith("x-amz-meta-s4")] == []
            assert (await gateway.get(key)).body == body


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("x-amz-meta-s4-trailer", "1"),
        ("x-amz-meta-S4-Trailer", "1"),
        ("X-Amz-Meta-s4-framed", "true"),
        ("x-amz-meta-s4-write", "0" * 32),
        ("x-amz-meta-s4-logical-etag", "0" * 32),
        ("x-amz-meta-s4-encrypted", "aes-256-gcm"),
        ("x-amz-meta-s4-anything", "x"),
    ],
)
async def test_our_names_cannot_be_set(name: str, value: str) -> None:
    """`s4-*` of a client is dropped on every way in, whatever its case, and changes nothing about the object."""
    forged = {name: value}
    async with rig() as gateway:
        body, etag = noise(5000), hashlib.md5(noise(5000)).hexdigest()
        assert (await gateway.client.request("PUT", BUCKET, "put", body=body, headers=forged)).status == 200
        copy = {**forged, "x-amz-copy-source": f"/{BUCKET}/put", "x-amz-metadata-directive": "REPLACE"}
        assert (await gateway.client.request("PUT", BUCKET, "copy", headers=copy)).status == 200
        created = await gateway.client.request("POST", BUCKET, "upload", query={"uploads": ""}, headers=forged)
        upload = created.text("UploadId") or ""
        done = await gateway.complete("upload", upload, [(1, await gateway.part("upload", upload, 1, body))])
        assert done.code is None
        for key in ("put", "copy", "upload"):
            answer = await gateway.get(key)
            assert answer.body == body
            assert key == "upload" or answer.etag == etag
            stored, _ = await gateway.stored(key)
            assert stored.metadata.get(name.lower().removeprefix("x-amz-meta-")) != value or (key == "upload" and "trailer" in name.lower())


@pytest.mark.parametrize("size", [1627, 1628, 1629, 1919, 1920])
@pytest.mark.parametrize("limit", [2048, 8192])
async def test_every_size_of_metadata_fits(size: int, limit: int) -> None:
    """At every size that is accepted the backend's limit is kept, and nothing is lost: ours moves into the trailer when it must."""
    body = text(5000)
    async with rig(MemoryBackend(capabilities=Capabilities(metadata_limit=limit))) as gateway:
        await gateway.put("key", body, x_amz_meta_m="v" * (size - 1), x_amz_checksum_sha256=sha256(body))
        upload = await gateway.create("parts", x_amz_meta_m="v" * (size - 1))
        await gateway.complete("parts", upload, [(1, await gateway.part("parts", upload, 1, body))])
        for key in ("key", "parts"):
            stored, raw = await gateway.stored(key)
            assert sum(len(name) + len(value) for name, value in stored.metadata.items()) <= limit
            assert ("s4-trailer" in stored.metadata) is (key == "parts" or (limit == 2048 and size > 1628))
            if "s4-trailer" in stored.metadata:
                assert read_trailer(raw, body_size=len(raw)).attributes.logical_etag is not None
            async with rig(MemoryBackend(store=gateway.backend.store)) as cold:
                answer = await cold.get(key, x_amz_checksum_mode="ENABLED")
                assert (answer.body, answer.headers["x-amz-meta-m"]) == (body, "v" * (size - 1))
                assert key == "parts" or answer.headers["x-amz-checksum-sha256"] == sha256(body)


def sha256(body: bytes) -> str:
    """As the header wants it."""
    import base64

    return base64.b64encode(hashlib.sha256(body).digest()).decode()


@pytest.mark.parametrize(("limit", "most"), [(2048, 1920), (8192, 2048)])
async def test_too_much_metadata_is_refused_everywhere(limit: int, most: int) -> None:
    """PUT, Create and copies say MetadataTooLarge before anything is stored."""
    async with rig(MemoryBackend(capabilities=Capabilities(metadata_limit=limit))) as gateway:
        await gateway.put("source", b"x")
        for value, status in (("v" * (most - 1), 200), ("v" * most, 400)):
            headers = {"x-amz-meta-m": value}
            copy = {**headers, "x-amz-copy-source": f"/{BUCKET}/source", "x-amz-metadata-directive": "REPLACE"}
            answers = [
                await gateway.client.request("PUT", BUCKET, "put", body=b"x", headers=headers),
                await gateway.client.request("PUT", BUCKET, "copy", headers=copy),
                await gateway.client.request("POST", BUCKET, "upload", query={"uploads": ""}, headers=headers),
            ]
            assert [answer.status for answer in answers] == [status] * 3
            assert status == 200 or {answer.code for answer in answers} == {"MetadataTooLarge"}


async def test_metadata_of_foreign_objects() -> None:
    """Metadata that somebody else stored are shown as they are, names in any case."""
    async with rig() as gateway:
        metadata = {"plain": "\xff", "s4-own-idea": "hidden", "empty": ""}
        await gateway.backend.put_object(BUCKET, "key", Pieces.of(b"x"), headers={}, metadata=metadata)
        answer = await gateway.get("key")
        shown = {name: value for name, value in answer.headers.items() if name.startswith("x-amz-meta-")}
        assert shown == {"x-amz-meta-plain": "\xff", "x-amz-meta-empty": ""}
