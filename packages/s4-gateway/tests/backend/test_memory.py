"""What only the memory backend has: counted requests, failures and races on demand, versions."""

import asyncio
import hashlib

import pytest

from s4_gateway.backend.abc import BackendError, Capabilities, Condition, Outcome, Pieces
from s4_gateway.backend.memory import CHUNK, MemoryBackend
from s4_gateway.backend.memory_store import Versioning

NOTHING: dict[str, str] = {}
LOST = BackendError("ServiceUnavailable", 503, "the answer was lost", outcome=Outcome.UNKNOWN)


async def store(backend: MemoryBackend, body: bytes, condition: Condition | None = None) -> str:
    """Put at one place; the ETag."""
    payload = Pieces.of(body)
    return (await backend.put_object("bucket", "key", payload, headers=NOTHING, metadata=NOTHING, condition=condition)).etag


async def new_backend(capabilities: Capabilities | None = None, *, opaque_etags: bool = False) -> MemoryBackend:
    """A backend with one bucket and no request counted."""
    backend = MemoryBackend(capabilities=capabilities, clock=lambda: 1_000_000.9, opaque_etags=opaque_etags)
    backend.store.create_bucket("bucket", None)
    return backend


async def test_requests_are_counted_by_method() -> None:
    """Each call is one request under its own name; what is done behind the backend is none."""
    backend = await new_backend()
    await store(backend, b"x")
    await store(backend, b"y")
    await (await backend.get_object("bucket", "key")).read()
    await backend.delete_objects("bucket", [("key", None)])
    with pytest.raises(BackendError):
        await backend.head_object("bucket", "key")
    assert backend.requests == {"put_object": 2, "get_object": 1, "delete_objects": 1, "head_object": 1}


async def test_failure_before_anything_happens() -> None:
    """A failing call changes nothing, and the next one works."""
    backend = await new_backend()
    backend.fail_next("put_object", LOST)
    assert backend.unspent == {"put_object": 1}
    with pytest.raises(BackendError) as caught:
        await store(backend, b"x")
    assert caught.value is LOST
    assert backend.store.page("bucket", prefix="", delimiter="", start_after="", token=None, limit=9).entries == []
    await store(backend, b"x")
    assert backend.unspent == {}


async def test_failure_after_commit() -> None:
    """The call takes effect, only its answer is lost."""
    backend = await new_backend()
    backend.fail_next("put_object", LOST, after_commit=True, times=2)
    for body in (b"x", b"y"):
        with pytest.raises(BackendError):
            await store(backend, body)
        assert backend.store.head("bucket", "key")[1] == body


async def test_action_inside_a_call() -> None:
    """Something else can happen between two requests of the code under test."""
    backend = await new_backend()
    await store(backend, b"old")

    async def overwrite() -> None:
        await store(backend, b"new")

    backend.on_next("get_object", overwrite)
    assert await (await backend.get_object("bucket", "key")).read() == b"new"


async def test_download_that_breaks() -> None:
    """A body may end in the middle."""
    backend = await new_backend()
    await store(backend, bytes(CHUNK * 3))
    download = await backend.get_object("bucket", "key")
    chunks = download.__aiter__()
    assert len(await anext(chunks)) == CHUNK
    backend.fail_next("download", LOST)
    with pytest.raises(BackendError):
        await anext(chunks)


async def test_held_call() -> None:
    """A request can be made to stand still while others pass."""
    backend = await new_backend()
    hold = backend.hold_next("put_object", after_commit=True)
    writer = asyncio.create_task(store(backend, b"x"))
    await hold.reached()
    assert backend.store.head("bucket", "key")[1] == b"x"
    assert not writer.done()
    hold.release()
    await writer


def test_unknown_operation() -> None:
    """A misspelt operation is noticed at once."""
    with pytest.raises(ValueError, match="put_objet"):
        MemoryBackend().fail_next("put_objet", LOST)


async def test_two_backends_over_one_store() -> None:
    """Two gateways see one state and count for themselves."""
    first = await new_backend()
    second = MemoryBackend(store=first.store)
    await store(first, b"x")
    assert (await second.head_object("bucket", "key")).size == 1
    assert (first.requests["put_object"], second.requests["put_object"]) == (1, 0)


async def test_etags_are_those_of_s3() -> None:
    """MD5 for a PUT, composite for parts, MD5 again for a copy of them."""
    backend = await new_backend(Capabilities(min_part_size=0))
    md5 = hashlib.md5(b"onetwo").hexdigest()
    assert await store(backend, b"onetwo") == md5
    upload = await backend.create_multipart("bucket", "parts", headers=NOTHING, metadata=NOTHING)
    parts = [(n, await backend.upload_part("bucket", "parts", upload, n, Pieces.of(body))) for n, body in ((1, b"one"), (2, b"two"))]
    written = await backend.complete_multipart("bucket", "parts", upload, parts)
    composite = hashlib.md5(hashlib.md5(b"one").digest() + hashlib.md5(b"two").digest()).hexdigest()
    assert written.etag == f"{composite}-2"
    copied = await backend.copy_object(
        "bucket",
        "copy",
        source_bucket="bucket",
        source_key="parts",
        source_version_id=None,
        source_etag=written.etag,
        headers=NOTHING,
        metadata=NOTHING,
    )
    assert copied.etag == md5


async def test_opaque_etags_say_nothing() -> None:
    """Equal bodies get different ETags."""
    backend = await new_backend(opaque_etags=True)
    assert await store(backend, b"x") != await store(backend, b"x")


async def test_time_is_whole_seconds_of_the_clock() -> None:
    """Last-Modified is the clock's, cut."""
    backend = await new_backend()
    await store(backend, b"x")
    assert (await backend.head_object("bucket", "key")).modified == 1_000_000


@pytest.mark.parametrize(("sizes", "numbers", "code"), [((9, 10), (1, 2), "InvalidPart"), ((10, 10), (1, 3), "InvalidPart")])
async def test_strict_parts(sizes: tuple[int, int], numbers: tuple[int, int], code: str) -> None:
    """Parts of different sizes and gaps between numbers are refused where the store is strict."""
    backend = await new_backend(Capabilities(min_part_size=1, strict_parts=True))
    upload = await backend.create_multipart("bucket", "key", headers=NOTHING, metadata=NOTHING)
    pairs = zip(numbers, sizes, strict=True)
    parts = [(number, await backend.upload_part("bucket", "key", upload, number, Pieces.of(bytes(size)))) for number, size in pairs]
    with pytest.raises(BackendError) as caught:
        await backend.complete_multipart("bucket", "key", upload, parts)
    assert caught.value.code == code


async def test_limits_are_enforced() -> None:
    """Metadata and bodies above what the store grants are refused."""
    backend = await new_backend(Capabilities(metadata_limit=10, max_part_size=10))
    with pytest.raises(BackendError, match="MetadataTooLarge"):
        await backend.put_object("bucket", "key", Pieces.of(b""), headers=NOTHING, metadata={"name": "1234567"})
    with pytest.raises(BackendError, match="EntityTooLarge"):
        await store(backend, bytes(11))


async def test_conditions_that_are_not_granted() -> None:
    """A store without conditional writes says so instead of ignoring them."""
    backend = await new_backend(Capabilities(conditional_put=False))
    await store(backend, b"x", Condition())
    with pytest.raises(BackendError, match="NotImplemented"):
        await store(backend, b"y", Condition(if_absent=True))


async def test_versions() -> None:
    """With versioning every write is kept, deletes leave markers, and versions are read and deleted by id."""
    backend = await new_backend()
    await store(backend, b"null version")
    backend.store.set_versioning("bucket", Versioning.ENABLED)
    assert (await backend.head_bucket("bucket")).versioned
    written = await backend.put_object("bucket", "key", Pieces.of(b"second"), headers=NOTHING, metadata=NOTHING)
    marker = await backend.delete_object("bucket", "key")
    assert marker.delete_marker
    with pytest.raises(BackendError, match="NoSuchKey"):
        await backend.head_object("bucket", "key")
    assert (await backend.list_objects("bucket")).entries == []
    with pytest.raises(BackendError, match="MethodNotAllowed"):
        await backend.head_object("bucket", "key", version_id=marker.marker_version_id)
    assert (await backend.head_object("bucket", "key", version_id="null")).size == len(b"null version")
    with pytest.raises(BackendError, match="NoSuchVersion"):
        await backend.head_object("bucket", "key", version_id="unknown")
    with pytest.raises(BackendError, match="BucketNotEmpty"):
        await backend.delete_bucket("bucket")
    assert (await backend.delete_object("bucket", "key", version_id=marker.marker_version_id)).delete_marker
    assert (await backend.head_object("bucket", "key")).version_id == written.version_id


async def test_suspended_versioning() -> None:
    """Suspended, writes and deletes replace the null version and keep the others."""
    backend = await new_backend()
    backend.store.set_versioning("bucket", Versioning.ENABLED)
    kept = await backend.put_object("bucket", "key", Pieces.of(b"kept"), headers=NOTHING, metadata=NOTHING)
    backend.store.set_versioning("bucket", Versioning.SUSPENDED)
    for body in (b"first null", b"second null"):
        assert (await backend.put_object("bucket", "key", Pieces.of(body), headers=NOTHING, metadata=NOTHING)).version_id == "null"
    assert (await backend.head_object("bucket", "key")).size == len(b"second null")
    assert (await backend.delete_object("bucket", "key")).marker_version_id == "null"
    assert (await backend.head_object("bucket", "key", version_id=kept.version_id)).size == len(b"kept")
