"""Uploads that several gateways, retries and lost answers work on at once."""

import asyncio

import pytest
from s4_codecs import EncodeOptions

from s4_gateway.backend.abc import BackendError, Capabilities, Outcome
from s4_gateway.backend.memory import MemoryBackend

from .helpers import BUCKET, MIB, Rig, noise, rig, text
from .test_multipart import LARGE, SMALL, composite

LOST = BackendError("RequestTimeout", 503, "no answer", outcome=Outcome.UNKNOWN)
UNCONDITIONAL = Capabilities(conditional_put=False, conditional_complete=False)


def twin(backend: MemoryBackend) -> MemoryBackend:
    """A second client of the same store, with its own counters and failures."""
    return MemoryBackend(store=backend.store)


async def records(gateway: Rig) -> list[str]:
    """Last components of all records' names."""
    return [name.rpartition("/")[2] for name in await gateway.names() if name.startswith(".s4mpu/")]


@pytest.mark.parametrize("opaque", [False, True], ids=["md5", "opaque"])
@pytest.mark.parametrize("bodies", [[SMALL, b"tail"], [LARGE, SMALL, noise(6 * MIB, 1)]], ids=["staged", "mixed"])
async def test_concurrent_completes_of_two_gateways(bodies: list[bytes], opaque: bool) -> None:
    """All succeed with one object, also where each sending of a part gets another ETag."""
    backend = MemoryBackend(opaque_etags=opaque)
    async with rig(backend) as gateway, rig(twin(backend)) as other:
        upload = await gateway.create("key")
        parts = [(number, await gateway.part("key", upload, number, body)) for number, body in enumerate(bodies, 1)]
        answers = await asyncio.gather(*((gateway, other)[number % 2].complete("key", upload, parts) for number in range(8)))

        assert [answer.code for answer in answers] == [None] * 8
        assert {answer.text("ETag") for answer in answers} == {f'"{composite(bodies)}"'}
        assert (await gateway.get("key")).body == b"".join(bodies)
        assert await backend.list_multipart(BUCKET) == []


@pytest.mark.parametrize("point", ["get_object", "list_objects", "head_object"])
async def test_upload_completed_while_another_complete_is_prepared(point: str) -> None:
    """Records that go while a second Complete looks at them are no InvalidPart: it answers what the first one did."""
    backend = MemoryBackend()
    async with rig(backend) as gateway, rig(twin(backend)) as other:
        upload = await gateway.create("key")
        bodies = [LARGE, SMALL]
        parts = [(number, await gateway.part("key", upload, number, body)) for number, body in enumerate(bodies, 1)]

        async def overtake() -> None:
            assert (await other.complete("key", upload, parts)).code is None

        backend.on_next(point, overtake, after_commit=True)
        answer = await gateway.complete("key", upload, parts)

        assert (answer.code, answer.text("ETag")) == (None, f'"{composite(bodies)}"')
        assert (await gateway.get("key")).body == LARGE + SMALL


@pytest.mark.parametrize("header", ["if-none-match", "if-match"])
async def test_conditional_complete_repeated_after_a_lost_answer(header: str) -> None:
    """The condition that one's own first attempt fulfilled, and so ended, does not refuse the second one."""
    async with rig() as gateway:
        value = "*" if header == "if-none-match" else f'"{(await gateway.put("key", b"former")).etag}"'
        upload = await gateway.create("key")
        parts = [(1, await gateway.part("key", upload, 1, SMALL))]
        # The commit is done, then nothing works any more: neither the look at the key nor the records' end.
        gateway.backend.fail_next("complete_multipart", LOST, after_commit=True)
        before = 1 if header == "if-none-match" else 0

        async def lose() -> None:
            gateway.backend.fail_next("head_object", LOST, times=1)

        gateway.backend.on_next("upload_part", lose)
        first = await gateway.complete("key", upload, parts, **{header: value})
        assert (first.code, before) == ("ServiceUnavailable", before)
        assert "upload" in await records(gateway)
        again = await gateway.complete("key", upload, parts, **{header: value})

        assert again.code is None, again.body
        other = await gateway.create("key")
        fresh = await gateway.complete("key", other, [(1, await gateway.part("key", other, 1, SMALL))], **{header: value})
        assert fresh.code == "PreconditionFailed"


async def older_part_wins(backend: MemoryBackend, gateway: Rig, other: Rig, body: bytes, upload: str) -> str:
    """Part 1 sent twice at once: the newest record is not of the sending that the backend kept."""
    hold = backend.hold_next("upload_part", after_commit=True)
    first = asyncio.create_task(gateway.part("key", upload, 1, body))
    await hold.reached()
    # The second sending replaces the backend part and is recorded; then the first one, long replaced, is recorded too.
    await other.part("key", upload, 1, body)
    await asyncio.sleep(0.01)
    hold.release()
    return await first


@pytest.mark.parametrize("kind", ["opaque ETags", "other frames"])
async def test_direct_records_of_equal_content(kind: str) -> None:
    """Of two sendings of one part the one that the backend kept is found, with its own frames in the trailer."""
    half = text(4 * MIB) + noise(6 * MIB)
    backend = MemoryBackend(opaque_etags=kind == "opaque ETags")
    options = {} if kind == "opaque ETags" else {"encode": EncodeOptions(zstd_level=19)}
    async with rig(backend, **options) as gateway, rig(twin(backend)) as other:
        upload = await gateway.create("key")
        await gateway.part("key", upload, 3, LARGE)
        one = await older_part_wins(backend, gateway, other, half, upload)
        two = await gateway.part("key", upload, 2, noise(6 * MIB, 2))
        three = await other.part("key", upload, 3, LARGE)
        done = await gateway.complete("key", upload, [(1, one), (2, two), (3, three)])
        assert done.code is None, done.body

        whole = half + noise(6 * MIB, 2) + LARGE
        async with rig(twin(backend)) as cold:
            for start in (0, 5 * MIB, 9 * MIB, 12 * MIB, 20 * MIB):
                assert (await cold.get("key", range=f"bytes={start}-{start + 99}")).body == whole[start : start + 100]
            assert (await cold.get("key")).body == whole


async def test_part_that_the_backend_does_not_have_is_invalid() -> None:
    """A direct part that was replaced by other content is InvalidPart, after a bounded number of attempts, and nothing is committed."""
    async with rig() as gateway:
        upload = await gateway.create("key")
        old = await gateway.part("key", upload, 1, LARGE)
        await gateway.part("key", upload, 1, noise(6 * MIB, 9))
        async with gateway.counting() as spent:
            answer = await gateway.complete("key", upload, [(1, old)])

        assert answer.code == "InvalidPart"
        assert spent["complete_multipart"] <= 4
        assert "key" not in await gateway.names()


async def test_records_are_read_once() -> None:
    """A Complete reads one record per selected part, however often a part was sent."""
    async with rig() as gateway:
        upload = await gateway.create("key")
        for _ in range(4):
            one = await gateway.part("key", upload, 1, LARGE)
        async with gateway.counting() as spent:
            await gateway.complete("key", upload, [(1, one)])
        # The upload record and the one part's.
        assert spent["get_object"] == 2


@pytest.mark.parametrize("bodies", [[SMALL, b"tail"], [LARGE, SMALL]], ids=["staged", "direct"])
async def test_backend_upload_that_somebody_aborted(bodies: list[bytes], monkeypatch: pytest.MonkeyPatch) -> None:
    """After a lifecycle rule of the backend took the parts away the upload is NoSuchUpload, and nothing is committed."""
    monkeypatch.setattr("s4_gateway.objects.uploads.complete.ELSEWHERE_SECONDS", 0.1)
    async with rig() as gateway:
        upload = await gateway.create("key")
        parts = [(number, await gateway.part("key", upload, number, body)) for number, body in enumerate(bodies, 1)]
        if bodies[0] is SMALL:
            # Complete makes the backend upload, which then goes.
            gateway.backend.fail_next("complete_multipart", LOST)
            await gateway.complete("key", upload, parts)
        for each in await gateway.backend.list_multipart(BUCKET):
            await gateway.backend.abort_multipart(BUCKET, each.key, each.upload_id)
        answer = await gateway.complete("key", upload, parts)

        assert answer.code == "NoSuchUpload"
        assert "key" not in await gateway.names()


class TestUnconditional:
    """Backends without conditional writes."""

    async def test_one_backend_upload_whoever_works_on_it(self) -> None:
        """The backend upload is made with the upload, and found again by other gateways and after restarts."""
        backend = MemoryBackend(capabilities=UNCONDITIONAL)
        async with rig(backend) as gateway:
            upload = await gateway.create("key")
            one = await gateway.part("key", upload, 1, LARGE)
        async with rig(twin(backend)) as gateway:
            two = await gateway.part("key", upload, 2, noise(6 * MIB, 1))
            assert len(await backend.list_multipart(BUCKET)) == 1
        async with rig(twin(backend)) as gateway:
            done = await gateway.complete("key", upload, [(1, one), (2, two)])
            assert done.code is None, done.body
            assert (await gateway.get("key")).body == LARGE + noise(6 * MIB, 1)
            assert await backend.list_multipart(BUCKET) == []

    async def test_abort(self) -> None:
        """Abort ends the backend upload, which only its record names."""
        backend = MemoryBackend(capabilities=UNCONDITIONAL)
        async with rig(backend) as gateway:
            upload = await gateway.create("key")
            await gateway.part("key", upload, 1, LARGE)
        async with rig(twin(backend)) as gateway:
            gone = await gateway.client.request("DELETE", BUCKET, "key", query={"uploadId": upload})
            assert gone.status == 204
            assert await backend.list_multipart(BUCKET) == []
            late = await gateway.client.request("PUT", BUCKET, "key", query={"partNumber": "1", "uploadId": upload}, body=LARGE)
            assert late.code == "NoSuchUpload"

    @pytest.mark.parametrize("header", ["if-none-match", "if-match"])
    async def test_conditions_are_not_implemented(self, header: str) -> None:
        """A condition that could not be kept is refused before anything happens."""
        backend = MemoryBackend(capabilities=UNCONDITIONAL)
        async with rig(backend) as gateway:
            upload = await gateway.create("key")
            parts = [(1, await gateway.part("key", upload, 1, SMALL))]
            value = "*" if header == "if-none-match" else '"x"'
            answers = [
                await gateway.client.request("PUT", BUCKET, "key", body=b"x", headers={header: value}),
                await gateway.client.request("PUT", BUCKET, "key", headers={"x-amz-copy-source": "/bucket/other", header: value}),
                await gateway.complete("key", upload, parts, **{header: value}),
            ]
            await gateway.put("other", b"x")
            answers.append(
                await gateway.client.request("PUT", BUCKET, "key", headers={"x-amz-copy-source": "/bucket/other", header: value})
            )

            assert [(answer.status, answer.code) for answer in answers] == [
                (501, "NotImplemented"),
                (404, "NoSuchKey"),
                (501, "NotImplemented"),
                (501, "NotImplemented"),
            ]
            assert "key" not in await gateway.names()


@pytest.mark.parametrize("failing", ["put_object", "get_object"])
async def test_late_create_whose_record_cannot_be_told(failing: str) -> None:
    """Nothing is aborted while it is not known which backend upload is published, and the next attempt goes on."""
    async with rig() as gateway:
        upload = await gateway.create("key")
        gateway.backend.fail_next("put_object", LOST, after_commit=failing == "get_object")
        if failing == "get_object":
            gateway.backend.fail_next("get_object", LOST)
        query = {"partNumber": "1", "uploadId": upload}
        answer = await gateway.client.request("PUT", BUCKET, "key", query=query, body=LARGE)
        assert (answer.status, answer.code) == (503, "ServiceUnavailable")
        assert gateway.backend.requests["abort_multipart"] == 0
        parts = [(1, await gateway.part("key", upload, 1, LARGE))]

        assert (await gateway.complete("key", upload, parts)).code is None
        assert (await gateway.get("key")).body == LARGE
        store = gateway.client.services.store
        store.core.journal._clock = lambda: 4e9
        await store.end_left_open()
        assert await gateway.backend.list_multipart(BUCKET) == []


async def test_client_leaves_during_a_late_create() -> None:
    """The backend upload that was being opened is published or gone, never left without a name."""
    async with rig() as gateway:
        upload = await gateway.create("key")
        hold = gateway.backend.hold_next("create_multipart", after_commit=True)
        request = asyncio.create_task(gateway.part("key", upload, 1, LARGE))
        await hold.reached()
        request.cancel()
        hold.release()
        with pytest.raises(asyncio.CancelledError):
            await request
        one = await gateway.part("key", upload, 1, LARGE)

        assert len(await gateway.backend.list_multipart(BUCKET)) == 1
        assert (await gateway.complete("key", upload, [(1, one)])).code is None


async def test_client_leaves_after_its_part_was_sent() -> None:
    """A part that replaced another one in the backend is recorded, though nobody waits for it."""
    async with rig(MemoryBackend(opaque_etags=True)) as gateway:
        upload = await gateway.create("key")
        one = await gateway.part("key", upload, 1, LARGE)
        hold = gateway.backend.hold_next("put_object")
        request = asyncio.create_task(gateway.part("key", upload, 1, LARGE))
        await hold.reached()
        request.cancel()
        hold.release()
        with pytest.raises(asyncio.CancelledError):
            await request

        assert (await gateway.complete("key", upload, [(1, one)])).code is None
        assert (await gateway.get("key")).body == LARGE


async def test_complete_goes_on_without_its_client() -> None:
    """A client that leaves does not stop a commit; the records go too."""
    async with rig() as gateway:
        upload = await gateway.create("key")
        parts = [(1, await gateway.part("key", upload, 1, SMALL)), (2, await gateway.part("key", upload, 2, b"tail"))]
        hold = gateway.backend.hold_next("complete_multipart")
        request = asyncio.create_task(gateway.complete("key", upload, parts))
        await hold.reached()
        request.cancel()
        with pytest.raises(asyncio.CancelledError):
            await request
        hold.release()
        await gateway.client.services.store.core.settle()

        assert (await gateway.get("key")).body == SMALL + b"tail"
        assert await records(gateway) == ["backend"]


async def test_part_copies_do_not_list_the_upload() -> None:
    """The time of a copied part comes from its own answer: an upload of 10,000 copied parts is not listed 10,000 times."""
    async with rig() as gateway:
        await gateway.put("source", text(1000))
        upload = await gateway.create("key")
        headers = {"x-amz-copy-source": f"/{BUCKET}/source"}
        query = {"partNumber": "1", "uploadId": upload}
        async with gateway.counting() as spent:
            answer = await gateway.client.request("PUT", BUCKET, "key", query=query, headers=headers)
        listed = await gateway.client.request("GET", BUCKET, "key", query={"uploadId": upload})

        assert spent == {"get_object": 1, "put_object": 1}
        assert answer.text("LastModified") == listed.text("Part/LastModified")


async def test_shutdown_during_complete(monkeypatch: pytest.MonkeyPatch) -> None:
    """A Complete that does not end holds the shutdown up for a bounded time; another gateway finishes it."""
    monkeypatch.setattr("s4_gateway.objects.store.CLOSE_SECONDS", 0.05)
    backend = MemoryBackend()
    async with asyncio.timeout(10):
        async with rig(backend) as gateway:
            upload = await gateway.create("key")
            parts = [(1, await gateway.part("key", upload, 1, LARGE)), (2, await gateway.part("key", upload, 2, SMALL))]
            hold = backend.hold_next("upload_part")
            request = asyncio.create_task(gateway.complete("key", upload, parts))
            await hold.reached()
            request.cancel()
            with pytest.raises(asyncio.CancelledError):
                await request
    async with rig(twin(backend)) as gateway:
        assert (await gateway.complete("key", upload, parts)).code is None
        assert (await gateway.get("key")).body == LARGE + SMALL
        assert await backend.list_multipart(BUCKET) == []
