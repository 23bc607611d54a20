"""Listings: every page of every question equals a model over the visible keys, at the price that data-paths.md section 6 names."""

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from unittest.mock import patch
from urllib.parse import unquote

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from s4_format import is_reserved

from s4_gateway.backend.abc import BackendError, Capabilities, Pieces
from s4_gateway.backend.memory import MemoryBackend
from s4_gateway.objects import listing

from .helpers import BUCKET, MIB, Rig, noise, rig, text

MARKS = ("", ".", "/", "//", "-", "--", "x", "s4", "\u00e9", "\U0001f600", "index", ".s4index", "_")
RESERVED = (
    ".s4mpu/0a/upload",
    ".s4mpu/0a/00001.s",
    ".s4mpu/0b/backend",
    ".s4mpu/\u00e9",
    ".s4dict/00",
    ".s4dict/\U0001f600",
    "a.s4index",
    "a/b.s4index",
    ".s4index",
    "a.__s4ver__/1",
    "z-z.s4index",
)
NEAR = (".s4mpu", ".s4mpu0", ".s4mpu-", ".s4dict", ".s4dict0", ".s4m", ".s4", ".", "a.s4index/x", "a.s4indexx", "a.s4inde", "a.__s4ver__")
PIECES = st.sampled_from(["a", "b", "x", "-", ".", "/", "\u00e9", "\U0001f600", "s4", "index", "_", " ", "~"])
KEYS = st.lists(PIECES, min_size=1, max_size=4).map("".join) | st.sampled_from(NEAR) | st.sampled_from(RESERVED)


@dataclass(frozen=True)
class Page:
    """One answer."""

    names: list[str]
    next: str | None


def model(keys: Iterable[str], prefix: str, delimiter: str, after: str) -> list[str]:
    """All names in order: keys, and common prefixes that stand for at least one visible key."""
    names = set()
    for key in keys:
        if is_reserved(key) or not key.startswith(prefix):
            continue
        cut = key.find(delimiter, len(prefix)) if delimiter else -1
        names.add(key if cut < 0 else key[: cut + len(delimiter)])
    return sorted(name for name in names if name > after)


async def ask(gateway: Rig, version: int, prefix: str, delimiter: str, limit: int, place: str | None, start: str) -> Page:
    """One page, version 1 or 2."""
    query = {"prefix": prefix, "delimiter": delimiter, "max-keys": str(limit), "encoding-type": "url"}
    if version == 2:
        query |= {"list-type": "2", "start-after": start} | ({} if place is None else {"continuation-token": place})
    else:
        query |= {"marker": start if place is None else place}
    answer = await gateway.client.request("GET", BUCKET, query={name: value for name, value in query.items() if value})
    assert answer.status == 200, answer.body
    names = sorted(unquote(name) for name in answer.texts("Contents/Key") + answer.texts("CommonPrefixes/Prefix"))
    truncated = answer.text("IsTruncated") == "true"
    if version == 2:
        assert answer.text("KeyCount") == str(len(names))
        following = answer.text("NextContinuationToken")
    else:
        following = unquote(answer.text("NextMarker") or "") if delimiter else (names[-1] if truncated else None)
    assert truncated == bool(following)
    return Page(names, following or None)


async def walk(gateway: Rig, version: int, prefix: str, delimiter: str, limit: int, start: str) -> list[str]:
    """All pages; each but the last is full."""
    seen: list[str] = []
    page = await ask(gateway, version, prefix, delimiter, limit, None, start)
    while page.next is not None:
        assert len(page.names) == limit
        seen += page.names
        page = await ask(gateway, version, prefix, delimiter, limit, page.next, start)
    return seen + page.names


async def stored(backend: MemoryBackend, keys: Iterable[str]) -> None:
    """Keys with a byte each, whoever they belong to."""
    for key in keys:
        await backend.put_object(BUCKET, key, Pieces.of(b"x"), headers={}, metadata={})


@settings(max_examples=150, deadline=None)
@given(
    keys=st.sets(KEYS, max_size=14),
    prefix=st.sampled_from(["", "", "a", "a/", ".", ".s4", ".s4mpu/", ".s4mpu/0", ".s4dict/", "\u00e9", "z"]),
    delimiter=st.sampled_from(MARKS),
    start=st.just("") | KEYS,
    limit=st.integers(1, 4),
    version=st.sampled_from([1, 2]),
    backend_page=st.integers(1, 5),
)
async def test_pages_equal_a_model(
    keys: set[str], prefix: str, delimiter: str, start: str, limit: int, version: int, backend_page: int
) -> None:
    """Whatever is asked of whatever keys: all visible names once, in order, in full pages, and no hidden one."""
    # A sidecar lies beside its object.
    keys |= {key.removesuffix(".s4index") for key in keys} - {""}
    async with rig() as gateway:
        await stored(gateway.backend, keys)
        with patch.object(listing, "PAGE", backend_page):
            assert await walk(gateway, version, prefix, delimiter, limit, start) == model(keys, prefix, delimiter, start)


async def test_hidden_names_cost_what_is_allowed() -> None:
    """A page costs one request, and one more for each 1,000 hidden names that it meets; folders of ours are jumped over."""
    async with rig() as gateway:
        visible = [f"key{number:03d}" for number in range(100)]
        await stored(gateway.backend, visible)
        await stored(gateway.backend, [f".s4mpu/{number:06d}/upload" for number in range(3500)])
        await gateway.client.request("GET", BUCKET)
        async with gateway.counting() as spent:
            answer = await gateway.client.request("GET", BUCKET)
        assert spent == {"list_objects": 2}
        assert answer.texts("Contents/Key") == visible
        async with gateway.counting() as spent:
            folded = await gateway.client.request("GET", BUCKET, query={"delimiter": "/"})
        assert (spent, folded.texts("CommonPrefixes/Prefix")) == ({"list_objects": 1}, [])


async def test_names_behind_a_jump_are_not_listed_for_ever() -> None:
    """Names that somebody put into our folders, sorting behind all of ours, do not turn the listing in circles."""
    async with rig() as gateway:
        await stored(gateway.backend, [f".s4mpu/\u00e9{number}" for number in range(30)] + ["z"])
        with patch.object(listing, "PAGE", 4):
            assert await walk(gateway, 2, "", "", 10, "") == ["z"]


async def test_sizes_and_etags_are_logical_and_remembered() -> None:
    """What a HEAD found out is remembered for every kind of object: the second listing costs one request."""
    bodies = {"foreign": b"x" * 10, "framed": text(3000), "raw": noise(3000), "streamed": noise(12 * MIB)}
    async with rig() as gateway:
        async with rig(MemoryBackend(store=gateway.backend.store)) as other:
            for key, body in bodies.items():
                if key != "foreign":
                    await other.put(key, body)
        await gateway.backend.put_object(BUCKET, "foreign", Pieces.of(bodies["foreign"]), headers={}, metadata={})
        for budget in ({"list_objects": 1, "head_object": 4, "get_object": 1}, {"list_objects": 1}):
            async with gateway.counting() as spent:
                answer = await gateway.client.request("GET", BUCKET)
            assert spent == budget
            rows = zip(answer.texts("Contents/Key"), answer.texts("Contents/Size"), answer.texts("Contents/ETag"), strict=True)
            assert list(rows) == [(key, str(len(body)), f'"{hashlib.md5(body).hexdigest()}"') for key, body in sorted(bodies.items())]


async def test_listing_with_metadata_needs_no_heads() -> None:
    """Where the backend lists metadata only trailers are read."""
    backend = MemoryBackend(capabilities=Capabilities(lists_metadata=True))
    async with rig(backend) as gateway:
        async with rig(MemoryBackend(store=backend.store)) as other:
            for key, body in {"framed": text(3000), "streamed": noise(12 * MIB)}.items():
                await other.put(key, body)
        async with gateway.counting() as spent:
            answer = await gateway.client.request("GET", BUCKET)

        assert spent == {"list_objects": 1, "get_object": 1}
        assert answer.texts("Contents/Size") == ["3000", str(12 * MIB)]


@pytest.mark.parametrize("lists_metadata", [False, True])
@pytest.mark.parametrize("point", ["head_object", "get_object"])
async def test_objects_that_change_while_they_are_listed(point: str, lists_metadata: bool) -> None:
    """A replaced object is listed as it is now, a deleted one is left out, and neither fails the listing."""
    backend = MemoryBackend(capabilities=Capabilities(lists_metadata=lists_metadata))
    async with rig(backend) as gateway, rig(MemoryBackend(store=backend.store)) as other:

        async def prepare() -> None:
            for key in ("a", "b"):
                await other.put(key, noise(12 * MIB))

        async def replace() -> None:
            await other.put("a", text(5000))
            await other.put("b", text(5000))

        async def delete() -> None:
            for key in ("a", "b"):
                await other.client.request("DELETE", BUCKET, key)

        for change in (replace, delete):
            for moment in (False, True):
                await prepare()
                backend.on_next(point, change, after_commit=moment)
                answer = await gateway.client.request("GET", BUCKET)
                assert answer.status == 200, answer.body
                assert set(answer.texts("Contents/Size")) <= {"5000", str(12 * MIB)}
                backend._before.clear()
                backend._after.clear()


async def test_head_that_fails_fails_the_listing() -> None:
    """A failure is not an absence: the listing is an error rather than short."""
    async with rig() as gateway:
        await stored(gateway.backend, ["a", "b"])
        gateway.backend.fail_next("head_object", BackendError("AccessDenied", 403, "no"))
        answer = await gateway.client.request("GET", BUCKET)

        assert (answer.status, answer.code) == (403, "AccessDenied")


@pytest.mark.parametrize("lists_metadata", [False, True])
@pytest.mark.parametrize("seen_before", [False, True])
async def test_checksums_that_only_the_trailer_has(lists_metadata: bool, seen_before: bool) -> None:
    """Every gateway lists the checksum algorithm, also one that has met the object before and did not need its checksums then."""
    backend = MemoryBackend(capabilities=Capabilities(lists_metadata=lists_metadata))
    async with rig(backend) as gateway:
        upload = await gateway.create("key", x_amz_checksum_algorithm="CRC32C")
        assert (await gateway.complete("key", upload, [(1, await gateway.part("key", upload, 1, text(1000)))])).code is None
    async with rig(backend) as other:
        if seen_before:
            assert (await other.client.request("HEAD", BUCKET, "key")).status == 200
            assert (await other.get("key")).body == text(1000)
        for _ in range(2):
            listed = await other.client.request("GET", BUCKET)
            assert (listed.text("Contents/ChecksumAlgorithm"), listed.text("Contents/ChecksumType")) == ("CRC32C", "COMPOSITE")
        async with other.counting() as spent:
            await other.client.request("GET", BUCKET)
        assert spent == {"list_objects": 1}


async def test_page_of_nothing() -> None:
    """max-keys 0 asks nothing but whether the bucket is there."""
    async with rig() as gateway:
        await stored(gateway.backend, ["a"])
        none = await gateway.client.request("GET", BUCKET, query={"max-keys": "0", "list-type": "2"})
        gone = await gateway.client.request("GET", "no-such-bucket", query={"max-keys": "0"})

        assert (none.texts("Contents/Key"), none.text("IsTruncated")) == ([], "false")
        assert (gone.status, gone.code) == (404, "NoSuchBucket")


BAD_TOKENS: Sequence[str] = ("", "%", "abc", "\u00e9", "_w==", "gICA")


@pytest.mark.parametrize("token", BAD_TOKENS)
async def test_tokens_that_no_listing_gave(token: str) -> None:
    """A continuation token that no listing gave out is InvalidArgument, the empty one too: it would start from the beginning again."""
    async with rig() as gateway:
        query = [("list-type", "2"), ("continuation-token", token)]
        answer = await gateway.client.request("GET", BUCKET, query=query)
        assert (answer.status, answer.code) == (400, "InvalidArgument")
