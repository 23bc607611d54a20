"""Cases: multipart uploads."""

import asyncio
from collections.abc import Mapping, Sequence

import pytest

from s4_gateway.backend.abc import Backend, Condition, Pieces, Span, Written
from s4_gateway.testing.contract._base import ContractBase, fetch, outcomes, put, random_body, refused
from s4_gateway.testing.contract._copy import copy

NO_UPLOAD = "NoSuchUpload"


class Upload:
    """One upload under way."""

    def __init__(self, backend: Backend, bucket: str, key: str, upload_id: str) -> None:
        self.backend = backend
        self.bucket = bucket
        self.key = key
        self.upload_id = upload_id

    async def part(self, number: int, body: bytes) -> tuple[int, str]:
        """Send a part; its line in the manifest."""
        return number, await self.backend.upload_part(self.bucket, self.key, self.upload_id, number, Pieces.of(body))

    async def complete(self, parts: Sequence[tuple[int, str]], condition: Condition | None = None) -> Written:
        return await self.backend.complete_multipart(self.bucket, self.key, self.upload_id, parts, condition=condition)

    async def abort(self) -> None:
        await self.backend.abort_multipart(self.bucket, self.key, self.upload_id)


async def begin(
    backend: Backend,
    bucket: str,
    key: str,
    *,
    headers: Mapping[str, str] | None = None,
    metadata: Mapping[str, str] | None = None,
) -> Upload:
    """Create an upload."""
    return Upload(backend, bucket, key, await backend.create_multipart(bucket, key, headers=headers or {}, metadata=metadata or {}))


def part_body(backend: Backend, seed: int, extra: int = 0) -> bytes:
    """A part of legal size."""
    return random_body(max(backend.capabilities.min_part_size, 40_000) + extra, seed)


class MultipartCases(ContractBase):
    """Create, UploadPart, Complete, Abort and ListMultipartUploads."""

    async def test_parts_become_one_object(self, backend: Backend, bucket: str) -> None:
        """The body is the parts in order; size and ETag agree with HEAD."""
        bodies = [part_body(backend, 1), part_body(backend, 2), b"the end"]
        upload = await begin(backend, bucket, "key")
        written = await upload.complete([await upload.part(number, body) for number, body in enumerate(bodies, start=1)])
        stored = await backend.head_object(bucket, "key")
        assert (stored.size, stored.etag) == (sum(map(len, bodies)), written.etag)
        assert written.earliest <= stored.modified <= written.latest
        assert await fetch(backend, bucket, "key") == b"".join(bodies)

    async def test_one_small_part(self, backend: Backend, bucket: str) -> None:
        """The last part may be small, and it may be the only one."""
        upload = await begin(backend, bucket, "key")
        await upload.complete([await upload.part(1, b"small")])
        assert await fetch(backend, bucket, "key") == b"small"

    async def test_parts_in_any_order_and_at_once(self, backend: Backend, bucket: str) -> None:
        """Parts may arrive in any order."""
        bodies = {number: part_body(backend, number) for number in (3, 1, 4, 2)}
        upload = await begin(backend, bucket, "key")
        parts = await asyncio.gather(*(upload.part(number, body) for number, body in bodies.items()))
        await upload.complete(sorted(parts))
        assert await fetch(backend, bucket, "key") == b"".join(bodies[number] for number in (1, 2, 3, 4))

    async def test_gaps_between_part_numbers(self, backend: Backend, bucket: str) -> None:
        """Numbers need not be consecutive, and 10,000 is one of them; stores with strict parts say no."""
        first, last = part_body(backend, 1), b"last"
        upload = await begin(backend, bucket, "key")
        parts = [await upload.part(7, first), await upload.part(10_000, last)]
        if backend.capabilities.strict_parts:
            with refused("InvalidPart", "InvalidPartOrder"):
                await upload.complete(parts)
        else:
            await upload.complete(parts)
            assert await fetch(backend, bucket, "key") == first + last

    async def test_ranges_across_parts(self, backend: Backend, bucket: str) -> None:
        """A span does not care where parts meet."""
        bodies = [part_body(backend, seed) for seed in range(3)]
        whole = b"".join(bodies)
        upload = await begin(backend, bucket, "key")
        await upload.complete([await upload.part(number, body) for number, body in enumerate(bodies, start=1)])
        border = len(bodies[0])
        for start, stop in ((border - 1, border + 1), (border, border + 5), (5, len(whole) - 5), (border - 3, border)):
            download = await backend.get_object(bucket, "key", span=Span(start, stop))
            assert await download.read() == whole[start:stop]

    async def test_invisible_before_complete(self, backend: Backend, bucket: str) -> None:
        """An upload under way changes nothing at its key."""
        upload = await begin(backend, bucket, "new")
        await upload.part(1, b"part")
        with refused("NoSuchKey"):
            await backend.head_object(bucket, "new")
        await put(backend, bucket, "old", b"old")
        await (await begin(backend, bucket, "old")).part(1, b"part")
        assert await fetch(backend, bucket, "old") == b"old"
        assert [entry.key for entry in (await backend.list_objects(bucket)).entries] == ["old"]

    async def test_headers_and_metadata_of_create(self, backend: Backend, bucket: str) -> None:
        """What Create was given is on the object."""
        headers = {"content-type": "text/parts", "cache-control": "no-store"}
        upload = await begin(backend, bucket, "key", headers=headers, metadata={"s4-framed": "true", "latin": "\xe9"})
        await upload.complete([await upload.part(1, b"body")])
        stored = await backend.head_object(bucket, "key")
        assert stored.headers == headers
        assert stored.metadata == {"s4-framed": "true", "latin": "\xe9"}

    async def test_complete_replaces_an_object(self, backend: Backend, bucket: str) -> None:
        """Complete overwrites like a PUT."""
        await put(backend, bucket, "key", b"old", metadata={"old": "1"})
        upload = await begin(backend, bucket, "key")
        await upload.complete([await upload.part(1, b"new")])
        assert await fetch(backend, bucket, "key") == b"new"
        assert (await backend.head_object(bucket, "key")).metadata == {}

    async def test_object_of_parts_is_replaced_and_deleted(self, backend: Backend, bucket: str) -> None:
        """An object of parts goes like any other."""
        for successor in (b"put", None):
            upload = await begin(backend, bucket, "key")
            await upload.complete([await upload.part(1, part_body(backend, 1)), await upload.part(2, b"end")])
            if successor is None:
                await backend.delete_object(bucket, "key")
                with refused("NoSuchKey"):
                    await backend.get_object(bucket, "key")
            else:
                await put(backend, bucket, "key", successor)
                assert await fetch(backend, bucket, "key") == successor

    async def test_overwrite_while_parts_are_read(self, backend: Backend, bucket: str) -> None:
        """Replacing an object of parts does not damage a download that goes on."""
        bodies = [part_body(backend, seed, extra=700_000) for seed in range(4)]
        upload = await begin(backend, bucket, "key")
        await upload.complete([await upload.part(number, body) for number, body in enumerate(bodies, start=1)])
        async with await backend.get_object(bucket, "key", if_match=(await backend.head_object(bucket, "key")).etag) as download:
            chunks = download.__aiter__()
            got = bytearray(await anext(chunks))
            await put(backend, bucket, "key", b"new")
            assert b"".join(bodies).startswith(got + await anext(chunks))
        assert await fetch(backend, bucket, "key") == b"new"

    async def test_copy_of_an_object_of_parts(self, backend: Backend, bucket: str) -> None:
        """A copy has all the parts' bytes, also when the source is gone."""
        bodies = [part_body(backend, 1), part_body(backend, 2)]
        upload = await begin(backend, bucket, "source")
        written = await upload.complete([await upload.part(number, body) for number, body in enumerate(bodies, start=1)])
        await copy(backend, (bucket, "source", written.etag), (bucket, "target"))
        await backend.delete_object(bucket, "source")
        assert await fetch(backend, bucket, "target") == b"".join(bodies)

    async def test_part_sent_again(self, backend: Backend, bucket: str) -> None:
        """The newest part of a number counts, and the ETag of the older one does not fit any more."""
        upload = await begin(backend, bucket, "key")
        old = await upload.part(1, b"old content")
        new = await upload.part(1, b"new")
        with refused("InvalidPart"):
            await upload.complete([old])
        await upload.complete([new])
        assert await fetch(backend, bucket, "key") == b"new"

    async def test_same_part_sent_twice(self, backend: Backend, bucket: str) -> None:
        """A repeated part is no harm."""
        upload = await begin(backend, bucket, "key")
        await upload.part(1, b"same")
        await upload.complete([await upload.part(1, b"same")])
        assert await fetch(backend, bucket, "key") == b"same"

    async def test_parts_left_out(self, backend: Backend, bucket: str) -> None:
        """Only the parts in the manifest are in the object."""
        upload = await begin(backend, bucket, "key")
        first = await upload.part(1, b"first")
        await upload.part(2, b"second")
        await upload.complete([first])
        assert await fetch(backend, bucket, "key") == b"first"

    async def test_part_that_never_came(self, backend: Backend, bucket: str) -> None:
        """A manifest cannot name what is not there, and a right one still works afterwards."""
        upload = await begin(backend, bucket, "key")
        parts = [await upload.part(1, part_body(backend, 1)), await upload.part(2, b"two")]
        # Part 2 would be too small in the middle, and some stores look at that first.
        with refused("InvalidPart", "EntityTooSmall"):
            await upload.complete([*parts, (3, parts[0][1])])
        with refused("NoSuchKey"):
            await backend.head_object(bucket, "key")
        await upload.complete(parts)
        assert (await backend.head_object(bucket, "key")).size == len(part_body(backend, 1)) + 3

    async def test_wrong_etag_of_a_part(self, backend: Backend, bucket: str) -> None:
        """A part is what its ETag says."""
        upload = await begin(backend, bucket, "key")
        await upload.part(1, b"one")
        with refused("InvalidPart"):
            await upload.complete([(1, "0" * 32)])
        with refused("NoSuchKey"):
            await backend.head_object(bucket, "key")

    async def test_manifest_out_of_order(self, backend: Backend, bucket: str) -> None:
        """Parts ascend."""
        upload = await begin(backend, bucket, "key")
        parts = [await upload.part(number, part_body(backend, number)) for number in (1, 2)]
        with refused("InvalidPartOrder"):
            await upload.complete(parts[::-1])

    async def test_empty_manifest(self, backend: Backend, bucket: str) -> None:
        """An object needs a part."""
        upload = await begin(backend, bucket, "key")
        with refused("MalformedXML", "InvalidRequest", "InvalidArgument", "InvalidPart"):
            await upload.complete([])

    async def test_small_part_that_is_not_the_last(self, backend: Backend, bucket: str) -> None:
        """Below the minimum is EntityTooSmall where the store has one, and a part like any other where it has none."""
        upload = await begin(backend, bucket, "key")
        parts = [await upload.part(1, b"small"), await upload.part(2, b"last!")]
        if backend.capabilities.min_part_size > len(b"small"):
            with refused("EntityTooSmall"):
                await upload.complete(parts)
        else:
            await upload.complete(parts)
            assert await fetch(backend, bucket, "key") == b"smalllast!"

    async def test_last_part_is_the_largest(self, backend: Backend, bucket: str) -> None:
        """Parts may grow, but not on stores with strict parts."""
        bodies = [part_body(backend, 1), part_body(backend, 2, extra=1)]
        upload = await begin(backend, bucket, "key")
        parts = [await upload.part(number, body) for number, body in enumerate(bodies, start=1)]
        if backend.capabilities.strict_parts:
            with refused("InvalidPart"):
                await upload.complete(parts)
        else:
            await upload.complete(parts)
            assert await fetch(backend, bucket, "key") == b"".join(bodies)

    @pytest.mark.parametrize("number", [0, 10_001])
    async def test_part_number_out_of_bounds(self, backend: Backend, bucket: str, number: int) -> None:
        """Parts are 1 to 10,000."""
        upload = await begin(backend, bucket, "key")
        with refused("InvalidArgument"):
            await upload.part(number, b"body")

    async def test_abort(self, backend: Backend, bucket: str) -> None:
        """After Abort the upload is unknown and nothing was visible."""
        upload = await begin(backend, bucket, "key")
        part = await upload.part(1, b"part")
        await upload.abort()
        with refused(NO_UPLOAD):
            await upload.part(2, b"part")
        with refused(NO_UPLOAD):
            await upload.complete([part])
        with refused("NoSuchKey"):
            await backend.head_object(bucket, "key")

    async def test_unknown_upload(self, backend: Backend, bucket: str) -> None:
        """An id of nothing is NoSuchUpload, whatever is asked."""
        known = await begin(backend, bucket, "key")
        await known.abort()
        unknown = Upload(backend, bucket, "key", known.upload_id)
        with refused(NO_UPLOAD):
            await unknown.part(1, b"part")
        with refused(NO_UPLOAD):
            await unknown.complete([(1, "0" * 32)])

    async def test_upload_belongs_to_its_key(self, backend: Backend, bucket: str) -> None:
        """Another key does not know the id."""
        upload = await begin(backend, bucket, "key")
        stranger = Upload(backend, bucket, "other", upload.upload_id)
        with refused(NO_UPLOAD):
            await stranger.part(1, b"part")
        with refused(NO_UPLOAD):
            await stranger.complete([await upload.part(1, b"part")])
        await upload.complete([await upload.part(1, b"part")])

    async def test_create_in_an_unknown_bucket(self, backend: Backend) -> None:
        """There is no upload without a bucket."""
        with refused("NoSuchBucket"):
            await begin(backend, "contract-no-such-bucket", "key")

    async def test_two_uploads_of_one_key(self, backend: Backend, bucket: str) -> None:
        """Uploads of one key do not see each other's parts; the later Complete stays."""
        first, second = await begin(backend, bucket, "key"), await begin(backend, bucket, "key")
        assert first.upload_id != second.upload_id
        first_part, second_part = await first.part(1, b"first"), await second.part(1, b"second")
        await second.complete([second_part])
        assert await fetch(backend, bucket, "key") == b"second"
        await first.complete([first_part])
        assert await fetch(backend, bucket, "key") == b"first"

    async def test_complete_twice(self, backend: Backend, bucket: str) -> None:
        """A repeated Complete is NoSuchUpload or the same answer, and changes nothing."""
        upload = await begin(backend, bucket, "key")
        part = await upload.part(1, b"body")
        first = await upload.complete([part])
        again, errors = await outcomes([upload.complete([part])])
        assert [written.etag for written in again] in ([], [first.etag])
        assert [error.code for error in errors] in ([], [NO_UPLOAD])
        assert await fetch(backend, bucket, "key") == b"body"

    async def test_twelve_completes_at_once(self, backend: Backend, bucket: str) -> None:
        """Concurrent Completes of one upload make one object."""
        upload = await begin(backend, bucket, "key")
        parts = [await upload.part(1, part_body(backend, 1)), await upload.part(2, b"end")]
        written, errors = await outcomes(upload.complete(parts) for _ in range(12))
        assert written
        assert len({each.etag for each in written}) == 1
        assert {error.code for error in errors} <= {NO_UPLOAD}
        assert await fetch(backend, bucket, "key") == part_body(backend, 1) + b"end"

    async def test_complete_if_absent(self, backend: Backend, bucket: str) -> None:
        """Complete honours If-None-Match: *."""
        if not backend.capabilities.conditional_complete:
            pytest.skip("the store has no conditional CompleteMultipartUpload")
        upload = await begin(backend, bucket, "key")
        await upload.complete([await upload.part(1, b"first")], Condition(if_absent=True))
        late = await begin(backend, bucket, "key")
        with refused("PreconditionFailed"):
            await late.complete([await late.part(1, b"second")], Condition(if_absent=True))
        assert await fetch(backend, bucket, "key") == b"first"

    async def test_complete_if_match(self, backend: Backend, bucket: str) -> None:
        """Complete honours If-Match."""
        if not backend.capabilities.conditional_complete:
            pytest.skip("the store has no conditional CompleteMultipartUpload")
        old = await put(backend, bucket, "key", b"old")
        upload = await begin(backend, bucket, "key")
        await upload.complete([await upload.part(1, b"new")], Condition(if_match=old.etag))
        late = await begin(backend, bucket, "key")
        with refused("PreconditionFailed"):
            await late.complete([await late.part(1, b"late")], Condition(if_match=old.etag))
        assert await fetch(backend, bucket, "key") == b"new"

    async def test_twelve_conditional_completes_have_one_winner(self, backend: Backend, bucket: str) -> None:
        """Of concurrent uploads with If-None-Match: * exactly one becomes the object."""
        if not backend.capabilities.conditional_complete:
            pytest.skip("the store has no conditional CompleteMultipartUpload")
        uploads = [await begin(backend, bucket, "key") for _ in range(12)]
        parts = [await upload.part(1, b"by %d" % number) for number, upload in enumerate(uploads)]
        calls = (upload.complete([part], Condition(if_absent=True)) for upload, part in zip(uploads, parts, strict=True))
        written, errors = await outcomes(calls)
        assert len(written) == 1
        assert {error.code for error in errors} <= {"PreconditionFailed", "ConditionalRequestConflict"}
        assert (await backend.head_object(bucket, "key")).etag == written[0].etag

    async def test_list_open_uploads(self, backend: Backend, bucket: str) -> None:
        """Open uploads are listed under their key with their ids, completed and aborted ones are not."""
        first, second, third = [await begin(backend, bucket, "dir/key") for _ in range(3)]
        await second.abort()
        await third.complete([await third.part(1, b"x")])
        uploads = await backend.list_multipart(bucket, prefix="dir/key")
        assert [(upload.key, upload.upload_id) for upload in uploads] == [("dir/key", first.upload_id)]
        assert uploads[0].initiated > 0

    async def test_list_uploads_by_prefix(self, backend: Backend, bucket: str) -> None:
        """Uploads come in order of their keys, and a prefix chooses among them."""
        if not self.lists_all_uploads:
            pytest.skip("the store lists uploads of one key only")
        for key in ("b/2", "a", "b/1", "c"):
            await begin(backend, bucket, key)
        assert [upload.key for upload in await backend.list_multipart(bucket)] == ["a", "b/1", "b/2", "c"]
        assert [upload.key for upload in await backend.list_multipart(bucket, prefix="b/")] == ["b/1", "b/2"]
        assert list(await backend.list_multipart(bucket, prefix="d")) == []
