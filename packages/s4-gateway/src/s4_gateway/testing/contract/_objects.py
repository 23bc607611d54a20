"""Cases: bodies, headers, metadata and keys, one object at a time."""

import asyncio
import threading
from collections.abc import Sequence

import pytest

from s4_gateway.backend.abc import SYSTEM_HEADERS, Backend, BackendError, Pieces
from s4_gateway.testing.contract._base import (
    Behind,
    ContractBase,
    Seen,
    TrickyPayload,
    fetch,
    list_all,
    put,
    random_body,
    refused,
)

ALL_HEADERS = {
    "cache-control": "max-age=60, private",
    "content-disposition": 'attachment; filename="a b.txt"',
    "content-encoding": "gzip",
    "content-language": "de, en",
    "content-type": "text/plain; charset=utf-8",
    "expires": "Thu, 01 Dec 1994 16:00:00 GMT",
}


class _CancellingPayload(TrickyPayload):
    """Cancels the task that sends it, from whatever thread asks for the pieces."""

    def __init__(self, pieces: int, piece: bytes) -> None:
        super().__init__(pieces, piece)
        self.loop = asyncio.get_running_loop()
        self.loop_thread = threading.get_ident()
        self.task: asyncio.Task[object] | None = None

    def surprise(self) -> None:
        assert self.task is not None
        if threading.get_ident() == self.loop_thread:
            self.task.cancel()
        else:
            asked = threading.Event()
            self.loop.call_soon_threadsafe(self.task.cancel)
            self.loop.call_soon_threadsafe(asked.set)
            assert asked.wait(30)


class ObjectCases(ContractBase):
    """PutObject, GetObject, HeadObject and DeleteObject."""

    async def test_get_gives_what_put_stored(self, backend: Backend, bucket: str) -> None:
        """A body comes back byte for byte."""
        await put(backend, bucket, "key", b"hello, store")
        assert await fetch(backend, bucket, "key") == b"hello, store"

    async def test_empty_body(self, backend: Backend, bucket: str) -> None:
        """An object may be empty."""
        written = await put(backend, bucket, "key", b"")
        download = await backend.get_object(bucket, "key")
        assert (download.object.size, download.object.etag, download.start, download.stop) == (0, written.etag, 0, 0)
        assert await download.read() == b""

    @pytest.mark.parametrize("size", [1, 4095, 4096, 16 * 1024, 65_537, 3 * 2**20 + 1])
    async def test_sizes(self, backend: Backend, bucket: str, size: int) -> None:
        """Bodies of all magnitudes come back whole."""
        body = random_body(size)
        await put(backend, bucket, "key", body)
        assert (await backend.head_object(bucket, "key")).size == size
        assert await fetch(backend, bucket, "key") == body

    async def test_pieces_are_joined_in_order(self, backend: Backend, bucket: str) -> None:
        """A payload in pieces of any buffer type is one body, empty pieces included."""
        payload = Pieces.of(b"one", bytearray(b"two"), b"", memoryview(b"-three-")[1:6])
        await backend.put_object(bucket, "key", payload, headers={}, metadata={})
        assert await fetch(backend, bucket, "key") == b"onetwothree"

    async def test_many_pieces(self, backend: Backend, bucket: str) -> None:
        """Thousands of small pieces are one body."""
        pieces = [random_body(700, seed) for seed in range(3000)]
        await backend.put_object(bucket, "key", Pieces.of(*pieces), headers={}, metadata={})
        assert await fetch(backend, bucket, "key") == b"".join(pieces)

    async def test_payload_is_replayable(self, backend: Backend, bucket: str) -> None:
        """A payload can be sent again: the store only reads it."""
        payload = Pieces.of(b"again", random_body(100_000))
        for key in ("first", "second"):
            await backend.put_object(bucket, key, payload, headers={}, metadata={})
        assert await fetch(backend, bucket, "first") == await fetch(backend, bucket, "second") == b"".join(payload)

    async def test_head_tells_size_etag_and_time(self, backend: Backend, bucket: str) -> None:
        """HEAD agrees with the answer to PUT."""
        written = await put(backend, bucket, "key", b"12345")
        stored = await backend.head_object(bucket, "key")
        assert (stored.key, stored.size, stored.etag) == ("key", 5, written.etag)
        assert written.earliest <= stored.modified <= written.latest

    async def test_get_carries_what_head_tells(self, backend: Backend, bucket: str) -> None:
        """A download comes with the same description as HEAD."""
        await put(backend, bucket, "key", b"12345", headers=ALL_HEADERS, metadata={"a": "b"})
        stored = await backend.head_object(bucket, "key")
        async with await backend.get_object(bucket, "key") as download:
            assert (download.object.size, download.object.etag, download.object.modified) == (stored.size, stored.etag, stored.modified)
            assert (download.object.headers, download.object.metadata) == (stored.headers, stored.metadata)

    async def test_etag_is_bare_and_follows_the_body(self, backend: Backend, bucket: str) -> None:
        """ETags carry no quotes, and another body has another one."""
        first = await put(backend, bucket, "key", b"first")
        second = await put(backend, bucket, "key", b"second")
        assert first.etag
        assert '"' not in first.etag
        assert first.etag != second.etag

    async def test_system_headers_round_trip(self, backend: Backend, bucket: str) -> None:
        """All headers that S3 stores come back as sent, from HEAD and GET."""
        assert set(ALL_HEADERS) == set(SYSTEM_HEADERS)
        await put(backend, bucket, "key", b"body", headers=ALL_HEADERS)
        assert (await backend.head_object(bucket, "key")).headers == ALL_HEADERS
        async with await backend.get_object(bucket, "key") as download:
            assert download.object.headers == ALL_HEADERS

    async def test_body_with_content_encoding_is_left_alone(self, backend: Backend, bucket: str) -> None:
        """A Content-Encoding is a label: the body is neither decoded nor checked."""
        await put(backend, bucket, "key", b"not gzip at all", headers={"content-encoding": "gzip"})
        assert await fetch(backend, bucket, "key") == b"not gzip at all"

    async def test_without_headers(self, backend: Backend, bucket: str) -> None:
        """Nothing is made up but a default Content-Type."""
        await put(backend, bucket, "key", b"body")
        stored = await backend.head_object(bucket, "key")
        assert set(stored.headers) <= {"content-type"}
        assert stored.metadata == {}

    async def test_metadata_round_trips(self, backend: Backend, bucket: str) -> None:
        """User metadata comes back in full, names of S4 included."""
        metadata = {"s4-codec": "cpu-zstd", "s4-original-size": "12", "owner": "me", "with-dash": "x", "digits1": "1"}
        await put(backend, bucket, "key", b"body", metadata=metadata)
        assert (await backend.head_object(bucket, "key")).metadata == metadata

    async def test_odd_values(self, backend: Backend, bucket: str, odd_value: str) -> None:
        """Values of metadata and headers keep every byte."""
        await put(backend, bucket, "key", b"body", headers={"content-disposition": odd_value}, metadata={"odd": odd_value})
        stored = await backend.head_object(bucket, "key")
        assert stored.metadata == {"odd": odd_value}
        assert stored.headers["content-disposition"] == odd_value

    async def test_metadata_up_to_the_limit(self, backend: Backend, bucket: str) -> None:
        """As much metadata as the store grants is kept."""
        limit = backend.capabilities.metadata_limit
        names = [f"n{number:02d}" for number in range(min(32, limit // 64))]
        metadata = {name: "v" * (limit // len(names) - len(name)) for name in names}
        await put(backend, bucket, "key", b"body", metadata=metadata)
        assert (await backend.head_object(bucket, "key")).metadata == metadata

    async def test_overwrite_replaces_everything(self, backend: Backend, bucket: str) -> None:
        """Nothing of the old object shows through the new one."""
        await put(backend, bucket, "key", random_body(100_000), headers=ALL_HEADERS, metadata={"old": "1"})
        await put(backend, bucket, "key", b"new", headers={"content-type": "text/new"}, metadata={"new": "2"})
        stored = await backend.head_object(bucket, "key")
        assert (stored.size, stored.headers, stored.metadata) == (3, {"content-type": "text/new"}, {"new": "2"})
        assert await fetch(backend, bucket, "key") == b"new"

    async def test_absent_key(self, backend: Backend, bucket: str) -> None:
        """Absence is NoSuchKey, for GET and HEAD."""
        with refused("NoSuchKey"):
            await backend.get_object(bucket, "nothing")
        with refused("NoSuchKey"):
            await backend.head_object(bucket, "nothing")

    async def test_longest_key(self, backend: Backend, bucket: str) -> None:
        """1,024 bytes are a key, 1,025 are KeyTooLongError."""
        longest = "/".join(["k" * 100] * 10) + "/" + "é" * 7
        assert len(longest.encode()) == 1024
        await put(backend, bucket, longest, b"body")
        assert await fetch(backend, bucket, longest) == b"body"
        with refused("KeyTooLongError"):
            await put(backend, bucket, longest + "k", b"body")

    async def test_odd_key(self, backend: Backend, behind: Behind, bucket: str, odd_key: str) -> None:
        """A key is a name, whatever it looks like: written, read, listed and deleted as it is."""
        await put(backend, bucket, odd_key, odd_key.encode())
        assert await fetch(backend, bucket, odd_key) == odd_key.encode()
        assert (await backend.head_object(bucket, odd_key)).key == odd_key
        assert [entry.key for entry in (await backend.list_objects(bucket)).entries] == [odd_key]
        assert list(await behind.keys(bucket)) == [odd_key]
        await backend.delete_object(bucket, odd_key)
        assert list(await behind.keys(bucket)) == []

    async def test_odd_keys_stay_apart(self, backend: Backend, bucket: str) -> None:
        """No two keys are the same place, and listings are in UTF-8 byte order."""
        keys: Sequence[str] = self.odd_keys
        for key in keys:
            await put(backend, bucket, key, key.encode())
        for key in keys:
            assert await fetch(backend, bucket, key) == key.encode()
        entries, _ = await list_all(backend, bucket)
        assert [entry.key for entry in entries] == sorted(keys, key=str.encode)

    async def test_delete(self, backend: Backend, bucket: str) -> None:
        """A deleted object is gone, its neighbour is not."""
        await put(backend, bucket, "key", b"1")
        await put(backend, bucket, "key2", b"2")
        deleted = await backend.delete_object(bucket, "key")
        assert (deleted.key, deleted.error, deleted.delete_marker) == ("key", None, False)
        with refused("NoSuchKey"):
            await backend.head_object(bucket, "key")
        assert await fetch(backend, bucket, "key2") == b"2"

    async def test_delete_of_nothing_succeeds(self, backend: Backend, bucket: str) -> None:
        """Deleting what is not there is no error."""
        deleted = await backend.delete_object(bucket, "nothing")
        assert (deleted.key, deleted.error) == ("nothing", None)

    async def test_batch_delete(self, backend: Backend, behind: Behind, bucket: str) -> None:
        """One outcome a key, in the order asked, whether it was there or not."""
        for key in ("a", "b", "c"):
            await put(backend, bucket, key, b"x")
        outcomes = await backend.delete_objects(bucket, [("c", None), ("nothing", None), ("a", None)])
        assert [(outcome.key, outcome.error) for outcome in outcomes] == [("c", None), ("nothing", None), ("a", None)]
        assert list(await behind.keys(bucket)) == ["b"]

    async def test_batch_delete_of_odd_keys(self, backend: Backend, behind: Behind, bucket: str) -> None:
        """Names survive the way into a batch and back."""
        keys = [key for key in self.odd_keys if not any(sign < " " for sign in key)]
        for key in keys:
            await put(backend, bucket, key, b"x")
        outcomes = await backend.delete_objects(bucket, [(key, None) for key in keys])
        assert [outcome.key for outcome in outcomes] == keys
        assert list(await behind.keys(bucket)) == []

    async def test_unknown_bucket(self, backend: Backend) -> None:
        """Every operation on an object says that the bucket is not there; HEAD has no body to tell it apart from the key."""
        bucket = "contract-no-such-bucket"
        with refused("NoSuchBucket"):
            await put(backend, bucket, "key", b"body")
        with refused("NoSuchBucket"):
            await backend.get_object(bucket, "key")
        with refused("NoSuchBucket", "NoSuchKey"):
            await backend.head_object(bucket, "key")
        with refused("NoSuchBucket"):
            await backend.delete_object(bucket, "key")
        with refused("NoSuchBucket"):
            await backend.delete_objects(bucket, [("key", None)])

    async def test_cancelled_put_leaves_nothing(self, backend: Backend, behind: Behind, bucket: str) -> None:
        """A put that is cancelled in mid-body does not happen, neither now nor later."""
        payload = _CancellingPayload(40, random_body(100_000))
        payload.task = asyncio.create_task(backend.put_object(bucket, "key", payload, headers={}, metadata={}))
        with pytest.raises(asyncio.CancelledError):
            await payload.task
        await asyncio.sleep(0.2)
        assert list(await behind.keys(bucket)) == []
        await put(backend, bucket, "key", b"next")
        assert await fetch(backend, bucket, "key") == b"next"

    async def test_failing_payload_leaves_the_old_object(self, backend: Backend, bucket: str) -> None:
        """When a body cannot be read to its end, the error is raised and the object at the key stays."""
        await put(backend, bucket, "key", b"old")
        with pytest.raises((OSError, BackendError)):
            await backend.put_object(bucket, "key", TrickyPayload(40, random_body(100_000)), headers={}, metadata={})
        assert await fetch(backend, bucket, "key") == b"old"

    async def test_concurrent_puts_never_mix(self, backend: Backend, bucket: str) -> None:
        """Of many writers at one key, one whole object remains, ETag and metadata of the same writer."""
        bodies = {str(seed): random_body(20_000 + seed, seed) for seed in range(12)}
        calls = (put(backend, bucket, "key", body, metadata={"seed": seed}) for seed, body in bodies.items())
        written = dict(zip(bodies, await asyncio.gather(*calls), strict=True))
        async with await backend.get_object(bucket, "key") as download:
            seed = download.object.metadata["seed"]
            assert download.object.etag == written[seed].etag
            assert await download.read() == bodies[seed]

    async def test_seen_from_behind(self, backend: Backend, behind: Behind, bucket: str) -> None:
        """What the backend stored is what lies in the store."""
        await put(backend, bucket, "dir/key", b"body", headers=ALL_HEADERS, metadata={"s4-write": "1"})
        assert await behind.get(bucket, "dir/key") == Seen(b"body", ALL_HEADERS, {"s4-write": "1"})

    async def test_written_from_behind(self, backend: Backend, behind: Behind, bucket: str) -> None:
        """What others stored is read, and an old ETag does not fit it any more."""
        written = await put(backend, bucket, "key", b"ours")
        await behind.put(bucket, "key", Seen(b"theirs", {"content-type": "text/theirs"}, {"by": "them"}))
        stored = await backend.head_object(bucket, "key")
        assert (stored.size, stored.headers["content-type"], stored.metadata) == (6, "text/theirs", {"by": "them"})
        assert await fetch(backend, bucket, "key") == b"theirs"
        with refused("PreconditionFailed"):
            await backend.get_object(bucket, "key", if_match=written.etag)

    async def test_deleted_from_behind(self, backend: Backend, behind: Behind, bucket: str) -> None:
        """What others deleted is absent."""
        await put(backend, bucket, "key", b"ours")
        await behind.delete(bucket, "key")
        assert await behind.get(bucket, "key") is None
        with refused("NoSuchKey"):
            await backend.get_object(bucket, "key")
