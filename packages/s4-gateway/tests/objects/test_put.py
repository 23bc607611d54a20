"""PutObject: what is stored, what it costs, and what never becomes visible."""

import base64
import hashlib

import pytest
from s4_codecs.policy import DEFAULT_FRAME_BYTES
from s4_format import Manifest, decode_sidecar, read_trailer

from s4_gateway.backend.abc import BackendError, Outcome, Pieces

from .helpers import BUCKET, MIB, items, noise, rig, text


@pytest.mark.parametrize(
    ("body", "kinds", "trailer"),
    [
        pytest.param(b"", [], False, id="empty"),
        pytest.param(text(100), ["Frame"], False, id="one frame"),
        pytest.param(text(2 * DEFAULT_FRAME_BYTES + 1), ["Frame"] * 3 + ["Padding"], True, id="several frames"),
    ],
)
async def test_stored_form(body: bytes, kinds: list[str], trailer: bool) -> None:
    """A compressible body is frames; a trailer follows where there is more than one; metadata is complete."""
    async with rig() as gateway:
        answer = await gateway.put("key", body, x_amz_meta_mine="kept")
        stored, raw = await gateway.stored("key")
        manifest = Manifest.from_metadata(stored.metadata)

        assert items(raw) == kinds
        assert manifest.framed
        assert manifest.trailer is trailer
        assert (manifest.original_size, manifest.compressed_size) == (len(body), len(raw))
        assert manifest.logical_etag == hashlib.md5(body).hexdigest() == answer.etag
        assert manifest.crc64nvme == answer.headers["x-amz-checksum-crc64nvme"]
        assert stored.metadata["mine"] == "kept"


async def test_incompressible_body_is_stored_raw() -> None:
    """A passthrough pick of known length up to 8 MiB is the original bytes with manifest and logical ETag."""
    body = noise(MIB)
    async with rig() as gateway:
        await gateway.put("key", body)
        stored, raw = await gateway.stored("key")

        assert raw == body
        assert stored.metadata["s4-codec"] == "passthrough"
        assert "s4-framed" not in stored.metadata
        assert stored.metadata["s4-logical-etag"] == hashlib.md5(body).hexdigest()
        assert (await gateway.get("key")).body == body


async def test_large_incompressible_body_is_framed_with_trailer() -> None:
    """Above 8 MiB passthrough is frames in a backend multipart upload, with a trailer, and nothing grows beyond headers."""
    body = noise(20 * MIB)
    async with rig() as gateway:
        await gateway.put("key", body)
        stored, raw = await gateway.stored("key")

        assert read_trailer(raw, body_size=len(raw)).attributes.logical_etag == hashlib.md5(body).hexdigest()
        assert len(raw) < len(body) * 1.001
        assert stored.metadata["s4-trailer"] == "1"
        assert (await gateway.get("key")).body == body


@pytest.mark.parametrize(
    ("body", "budget"),
    [
        pytest.param(text(4096), {"put_object": 1}, id="buffered"),
        pytest.param(text(6 * MIB), {"put_object": 2}, id="buffered with sidecar"),
        pytest.param(noise(20 * MIB), {"create_multipart": 1, "upload_part": 3, "complete_multipart": 1, "put_object": 1}, id="streamed"),
    ],
)
async def test_request_budget(body: bytes, budget: dict[str, int]) -> None:
    """PUT costs what data-paths.md section 6 allows."""
    async with rig() as gateway:
        async with gateway.counting() as spent:
            await gateway.put("key", body)

        assert spent == budget


async def test_sidecar_is_bound_to_the_object() -> None:
    """The sidecar names the backend ETag and stored size and repeats size and ETag in its metadata."""
    body = text(6 * MIB)
    async with rig() as gateway:
        await gateway.put("key", body)
        stored, _ = await gateway.stored("key")
        beside, data = await gateway.stored("key.s4index")
        sidecar = decode_sidecar(data)

        assert (sidecar.source_etag, sidecar.source_size) == (stored.etag, stored.size)
        assert beside.metadata["s4-original-size"] == str(len(body))
        assert beside.metadata["s4-logical-etag"] == hashlib.md5(body).hexdigest()


async def test_failing_sidecar_does_not_fail_the_write() -> None:
    """The object is committed even if its sidecar cannot be written."""
    body = text(6 * MIB)
    async with rig() as gateway:

        async def refuse_the_second() -> None:
            gateway.backend.fail_next("put_object", BackendError("SlowDown", 503, "no"))

        gateway.backend.on_next("put_object", refuse_the_second, after_commit=True)
        await gateway.put("key", body)

        assert await gateway.names() == ["key"]
        assert (await gateway.get("key", range="bytes=5000000-5000009")).body == body[5000000:5000010]


async def test_large_client_metadata_moves_ours_into_the_trailer() -> None:
    """When both do not fit only the core keys stay, the body is framed whatever it is, and everything comes back."""
    limit = 2048 - 128
    body = noise(1000)
    async with rig() as gateway:
        await gateway.put("key", body, x_amz_meta_m="v" * (limit - 1))
        stored, raw = await gateway.stored("key")
        answer = await gateway.get("key")

        assert sum(len(k) + len(v) for k, v in stored.metadata.items()) <= 2048
        assert items(raw) == ["Frame", "Padding"]
        assert (answer.body, answer.etag) == (body, hashlib.md5(body).hexdigest())
        assert answer.headers["x-amz-meta-m"] == "v" * (limit - 1)

        refused = await gateway.client.request("PUT", BUCKET, "more", body=body, headers={"x-amz-meta-m": "v" * limit})
        assert (refused.status, refused.code) == (400, "MetadataTooLarge")
        assert await gateway.names() == ["key"]


@pytest.mark.parametrize("size", [100, 20 * MIB])
@pytest.mark.parametrize(
    ("header", "value", "code"),
    [
        ("content-md5", base64.b64encode(bytes(16)).decode(), "BadDigest"),
        ("x-amz-checksum-crc32", base64.b64encode(bytes(4)).decode(), "BadDigest"),
        ("x-amz-checksum-crc32c", base64.b64encode(bytes(4)).decode(), "BadDigest"),
        ("x-amz-checksum-crc64nvme", base64.b64encode(bytes(8)).decode(), "BadDigest"),
        ("x-amz-checksum-sha1", base64.b64encode(bytes(20)).decode(), "BadDigest"),
        ("x-amz-checksum-sha256", base64.b64encode(bytes(32)).decode(), "BadDigest"),
    ],
)
async def test_wrong_digest_leaves_nothing(size: int, header: str, value: str, code: str) -> None:
    """A body that is not what was promised is refused before anything is visible, buffered or streamed."""
    async with rig() as gateway:
        answer = await gateway.client.request("PUT", BUCKET, "key", body=noise(size), headers={header: value})

        assert (answer.status, answer.code) == (400, code)
        assert await gateway.names() == []
        assert await gateway.backend.list_multipart(BUCKET) == []


@pytest.mark.parametrize("size", [100_000, 20 * MIB])
async def test_disconnect_leaves_nothing(size: int) -> None:
    """A client that goes away in the middle leaves neither object nor upload."""
    async with rig() as gateway:
        with pytest.raises(Exception, match="broken off"):
            await gateway.client.request("PUT", BUCKET, "key", body=noise(size), disconnect_after=size - 50_000)

        assert await gateway.names() == []
        assert await gateway.backend.list_multipart(BUCKET) == []


async def test_if_none_match() -> None:
    """If-None-Match: * writes only where nothing is."""
    async with rig() as gateway:
        await gateway.put("key", b"first", if_none_match="*")
        answer = await gateway.client.request("PUT", BUCKET, "key", body=b"second", headers={"if-none-match": "*"})

        assert (answer.status, answer.code) == (412, "PreconditionFailed")
        assert (await gateway.get("key")).body == b"first"


@pytest.mark.parametrize("size", [5000, 20 * MIB])
async def test_if_match_is_logical(size: int) -> None:
    """If-Match compares the ETag that clients see and is kept atomically by the backend."""
    async with rig() as gateway:
        first = await gateway.put("key", text(5000))
        wrong = await gateway.client.request("PUT", BUCKET, "key", body=noise(size), headers={"if-match": '"' + "0" * 32 + '"'})
        assert (wrong.status, wrong.code) == (412, "PreconditionFailed")

        async with gateway.counting() as spent:
            await gateway.put("key", noise(size), if_match=f'"{first.etag}"')
        assert spent["head_object"] == 1
        assert (await gateway.get("key")).body == noise(size)

        async def overtake() -> None:
            await gateway.backend.put_object(BUCKET, "key", Pieces.of(b"other"), headers={}, metadata={})

        current = (await gateway.get("key")).etag
        gateway.backend.on_next("put_object" if size < MIB else "complete_multipart", overtake)
        lost = await gateway.client.request("PUT", BUCKET, "key", body=noise(size, 2), headers={"if-match": f'"{current}"'})
        assert (lost.status, lost.code) == (412, "PreconditionFailed")


@pytest.mark.parametrize(("size", "operation"), [(5000, "put_object"), (20 * MIB, "complete_multipart")])
async def test_lost_answer_of_a_write_that_happened(size: int, operation: str) -> None:
    """A timeout after the commit is success: the write token at the key proves it."""
    body = noise(size)
    async with rig() as gateway:
        lost = BackendError("RequestTimeout", 503, "no answer", outcome=Outcome.UNKNOWN)
        gateway.backend.fail_next(operation, lost, after_commit=True)
        await gateway.put("key", body)

        assert (await gateway.get("key")).body == body


@pytest.mark.parametrize(("size", "operation"), [(5000, "put_object"), (20 * MIB, "complete_multipart")])
async def test_lost_answer_of_a_write_that_did_not_happen(size: int, operation: str) -> None:
    """A timeout before the commit is 503 and leaves the former object; the upload is not aborted, for its outcome is unknown."""
    async with rig() as gateway:
        await gateway.put("key", b"former")
        gateway.backend.fail_next(operation, BackendError("RequestTimeout", 503, "no answer", outcome=Outcome.UNKNOWN))
        answer = await gateway.client.request("PUT", BUCKET, "key", body=noise(size))

        assert (answer.status, answer.code) == (503, "ServiceUnavailable")
        assert (await gateway.get("key")).body == b"former"
        assert gateway.backend.requests["abort_multipart"] == 0


async def test_refusal_after_a_lost_attempt_is_not_definite() -> None:
    """A 412 that followed a lost attempt becomes 503: that attempt may have held and been overwritten since."""
    async with rig() as gateway:
        await gateway.put("key", b"former")
        refused = BackendError("PreconditionFailed", 412, "no", retried=True)
        gateway.backend.fail_next("put_object", refused)
        answer = await gateway.client.request("PUT", BUCKET, "key", body=b"new", headers={"if-none-match": "*"})

        assert (answer.status, answer.code) == (503, "ServiceUnavailable")


async def test_definite_refusal_of_a_streamed_put_aborts_its_upload() -> None:
    """A backend that refuses the Complete leaves no open upload behind."""
    async with rig() as gateway:
        gateway.backend.fail_next("complete_multipart", BackendError("AccessDenied", 403, "no"))
        answer = await gateway.client.request("PUT", BUCKET, "key", body=noise(20 * MIB))

        assert (answer.status, answer.code) == (403, "AccessDenied")
        assert await gateway.backend.list_multipart(BUCKET) == []


async def test_token_is_new_for_every_write() -> None:
    """Two writes of one body carry two tokens."""
    async with rig() as gateway:
        await gateway.put("key", b"same")
        first, _ = await gateway.stored("key")
        await gateway.put("key", b"same")
        second, _ = await gateway.stored("key")

        assert first.metadata["s4-write"] != second.metadata["s4-write"]


async def test_clients_cannot_set_our_metadata() -> None:
    """`x-amz-meta-s4-*` of any case is dropped, and never shown."""
    async with rig() as gateway:
        await gateway.put("key", b"body", **{"X-Amz-Meta-S4-Trailer": "1", "x-amz-meta-s4-multipart": "true"})
        stored, _ = await gateway.stored("key")
        answer = await gateway.get("key")

        assert "s4-multipart" not in stored.metadata
        assert "s4-trailer" not in stored.metadata
        assert not [name for name in answer.headers if name.startswith("x-amz-meta-")]
