"""Multipart uploads: small compressed parts, late backend uploads, one winner, and what survives crashes."""

import asyncio
import base64
import hashlib
import zlib
from collections.abc import Sequence

import pytest
from s4_format import Manifest, read_trailer

from s4_gateway.backend.abc import BackendError, Capabilities, Outcome, Pieces
from s4_gateway.backend.memory import MemoryBackend
from s4_gateway.backend.memory_store import Versioning
from s4_gateway.testing.client import Answer

from .helpers import BUCKET, MIB, Rig, embedded_like, items, noise, rig, text

SMALL = text(5 * MIB)
"""Compresses far below the backend's minimum: staged."""
LARGE = noise(6 * MIB)
"""Does not compress: direct."""


def composite(bodies: Sequence[bytes]) -> str:
    """The ETag S3 gives to an upload of these parts."""
    return hashlib.md5(b"".join(hashlib.md5(body).digest() for body in bodies)).hexdigest() + f"-{len(bodies)}"


MIXES = {
    "one staged": [b"only"],
    "one direct": [LARGE],
    "all staged": [SMALL, text(5 * MIB, 1), b"tail"],
    "all direct": [LARGE, noise(6 * MIB, 1), noise(6 * MIB, 2)],
    "isolated staged between direct": [LARGE, SMALL, noise(6 * MIB, 1), SMALL, noise(6 * MIB, 2)],
    "staged first": [SMALL, LARGE],
    "staged last": [LARGE, SMALL, b"x"],
    "empty last": [LARGE, b""],
}


@pytest.mark.parametrize("shape", ["minimum", "embedded", "strict"])
@pytest.mark.parametrize("mix", MIXES)
async def test_mixes(mix: str, shape: str) -> None:
    """Every mix of staged and direct parts becomes one object with the parts' bytes, composite ETag, part table and trailer."""
    bodies = MIXES[mix]
    backends = {
        "minimum": MemoryBackend(),
        "embedded": embedded_like(),
        "strict": MemoryBackend(capabilities=Capabilities(strict_parts=True)),
    }
    async with rig(backends[shape]) as gateway:
        done = await gateway.upload("key", bodies)
        assert done.code is None, done.body
        whole = b"".join(bodies)
        answer = await gateway.get("key")
        stored, raw = await gateway.stored("key")
        trailer = read_trailer(raw, body_size=len(raw))

        assert answer.body == whole
        assert answer.etag == composite(bodies) == (done.text("ETag") or "").strip('"')
        assert [part.original_size for part in trailer.parts] == [len(body) for body in bodies]
        assert Manifest.from_metadata(stored.metadata).write_token is not None
        assert [name for name in await gateway.names() if name.startswith(".s4mpu/") and not name.endswith("/backend")] == []
        middle = len(whole) // 2
        assert (await gateway.get("key", range=f"bytes={middle}-{middle + 999}")).body == whole[middle : middle + 1000]
        for number, body in enumerate(bodies, 1):
            part = await gateway.client.request("GET", BUCKET, "key", query={"partNumber": str(number)})
            assert (part.status, part.body, part.headers["x-amz-mp-parts-count"]) == (206, body, str(len(bodies)))


async def test_isolated_small_part_is_padded_once() -> None:
    """A small part between large ones is padded to the backend's minimum; neighbours are joined instead."""
    async with rig() as gateway:
        await gateway.upload("key", [LARGE, SMALL, noise(6 * MIB, 1)])
        _, raw = await gateway.stored("key")
        assert items(raw).count("Padding") == 2
        await gateway.upload("joined", [SMALL, text(5 * MIB, 1), text(5 * MIB, 2), b"tail"])
        _, joined = await gateway.stored("joined")

        assert items(joined).count("Padding") == 1
        assert len(joined) < 3 * MIB


async def test_part_10000() -> None:
    """The last possible part number is always staged and leaves room for the trailer."""
    for last in (LARGE, SMALL):
        async with rig() as gateway:
            upload = await gateway.create("key")
            parts = [(1, await gateway.part("key", upload, 1, LARGE)), (10000, await gateway.part("key", upload, 10000, last))]
            done = await gateway.complete("key", upload, parts)

            assert done.code is None, done.body
            assert (await gateway.get("key")).body == LARGE + last


async def test_budgets() -> None:
    """Parts and Complete cost what data-paths.md section 6 allows."""
    async with rig() as gateway:
        async with gateway.counting() as spent:
            upload = await gateway.create("key")
        assert sum(spent.values()) - spent["head_bucket"] == 1
        async with gateway.counting() as spent:
            staged = await gateway.part("key", upload, 1, SMALL)
        assert spent == {"put_object": 1}
        async with gateway.counting() as spent:
            direct = await gateway.part("key", upload, 2, LARGE)
        assert spent == {"upload_part": 1, "put_object": 2, "create_multipart": 1}
        async with gateway.counting() as spent:
            again = await gateway.part("key", upload, 3, noise(6 * MIB, 1))
        assert spent == {"upload_part": 1, "put_object": 1}
        async with gateway.counting() as spent:
            await gateway.complete("key", upload, [(1, staged), (2, direct), (3, again)])
        assert spent == {
            "get_object": 1 + 3,
            "list_objects": 1,
            "upload_part": 2,
            "complete_multipart": 1,
            "head_object": 1,
            "put_object": 1,
            "delete_objects": 2,
        }


async def test_list_parts_is_logical() -> None:
    """ListParts shows the newest part of each number with the client's size and ETag, in pages."""
    async with rig() as gateway:
        upload = await gateway.create("key")
        await gateway.part("key", upload, 2, b"old")
        await asyncio.sleep(0.002)
        newest = {2: SMALL, 1: LARGE, 7: b"x"}
        for number, body in newest.items():
            await gateway.part("key", upload, number, body)
        first = await gateway.client.request("GET", BUCKET, "key", query={"uploadId": upload, "max-parts": "2"})
        marker = first.text("NextPartNumberMarker") or ""
        second = await gateway.client.request("GET", BUCKET, "key", query={"uploadId": upload, "part-number-marker": marker})

        assert (first.text("IsTruncated"), second.text("IsTruncated")) == ("true", "false")
        assert first.texts("Part/PartNumber") + second.texts("Part/PartNumber") == ["1", "2", "7"]
        assert first.texts("Part/Size") + second.texts("Part/Size") == [str(len(newest[number])) for number in (1, 2, 7)]
        tags = [tag.strip('"') for tag in first.texts("Part/ETag") + second.texts("Part/ETag")]
        assert tags == [hashlib.md5(newest[number]).hexdigest() for number in (1, 2, 7)]


async def test_reuploaded_part_selected_by_etag() -> None:
    """The ETag in the manifest selects the record, whatever was uploaded later under the number."""
    async with rig() as gateway:
        upload = await gateway.create("key")
        first = await gateway.part("key", upload, 1, text(5 * MIB, 1))
        second = await gateway.part("key", upload, 1, text(5 * MIB, 2))
        tail = await gateway.part("key", upload, 2, b"tail")
        assert first != second
        await gateway.complete("key", upload, [(1, first), (2, tail)])

        assert (await gateway.get("key")).body == text(5 * MIB, 1) + b"tail"


async def test_direct_part_replaced_by_another_is_refused() -> None:
    """The backend has one part per number: an ETag of a replaced direct part is InvalidPart, as on S3."""
    async with rig() as gateway:
        upload = await gateway.create("key")
        old = await gateway.part("key", upload, 1, LARGE)
        new = await gateway.part("key", upload, 1, noise(6 * MIB, 5))
        assert (await gateway.complete("key", upload, [(1, old)])).code == "InvalidPart"
        await gateway.complete("key", upload, [(1, new)])

        assert (await gateway.get("key")).body == noise(6 * MIB, 5)


async def rejected(gateway: Rig, upload: str, parts: Sequence[tuple[int, str]], **headers: str) -> Answer:
    """A Complete after which nothing is at the key."""
    answer = await gateway.complete("key", upload, parts, **headers)
    assert "key" not in await gateway.names()
    return answer


async def test_manifest_errors() -> None:
    """Wrong order, unknown parts, small parts and wrong totals have S3's codes, and the upload survives."""
    async with rig() as gateway:
        upload = await gateway.create("key")
        one = await gateway.part("key", upload, 1, SMALL)
        two = await gateway.part("key", upload, 2, b"tail")
        three = await gateway.part("key", upload, 3, b"more")

        assert (await rejected(gateway, upload, [(2, two), (1, one)])).code == "InvalidPartOrder"
        assert (await rejected(gateway, upload, [(1, one), (1, one)])).code == "InvalidPartOrder"
        assert (await rejected(gateway, upload, [(1, two)])).code == "InvalidPart"
        assert (await rejected(gateway, upload, [(4, one)])).code == "InvalidPart"
        assert (await rejected(gateway, upload, [(1, one), (2, two), (3, three)])).code == "EntityTooSmall"
        assert (await rejected(gateway, upload, [(1, one)], x_amz_mp_object_size="7")).code == "InvalidRequest"
        assert (await rejected(gateway, upload, [])).code == "MalformedXML"
        assert (await rejected(gateway, "0" * 32, [(1, one)])).code == "NoSuchUpload"
        assert (await rejected(gateway, "nonsense", [(1, one)])).code == "NoSuchUpload"
        assert (await gateway.complete("other", upload, [(1, one)])).code == "NoSuchUpload"
        assert (await gateway.complete("key", upload, [(1, one), (3, three)])).code is None
        assert (await gateway.get("key")).body == SMALL + b"more"


async def test_wrong_digest_keeps_the_good_part() -> None:
    """A bad retry of a part cannot replace the good one: nothing is sent before its digests hold."""
    async with rig() as gateway:
        upload = await gateway.create("key")
        good = await gateway.part("key", upload, 1, LARGE)
        headers = {"content-md5": base64.b64encode(bytes(16)).decode()}
        query = {"partNumber": "1", "uploadId": upload}
        async with gateway.counting() as spent:
            bad = await gateway.client.request("PUT", BUCKET, "key", query=query, body=noise(6 * MIB, 9), headers=headers)
        assert (bad.status, bad.code, spent) == (400, "BadDigest", {})
        await gateway.complete("key", upload, [(1, good)])

        assert (await gateway.get("key")).body == LARGE


@pytest.mark.parametrize("bodies", [[SMALL, b"tail"], [LARGE, noise(6 * MIB, 1)]], ids=["staged", "direct"])
async def test_twelve_concurrent_completes(bodies: list[bytes]) -> None:
    """Completes of one upload on two gateways at once all succeed with one object, and nothing is left open."""
    backend = MemoryBackend()
    async with rig(backend) as gateway, rig(backend) as other:
        upload = await gateway.create("key")
        parts = [(number, await gateway.part("key", upload, number, body)) for number, body in enumerate(bodies, 1)]
        racers = [(gateway, other)[number % 2].complete("key", upload, parts) for number in range(12)]
        answers = await asyncio.gather(*racers)

        assert [answer.code for answer in answers] == [None] * 12, [answer.body for answer in answers if answer.code]
        assert {answer.text("ETag") for answer in answers} == {f'"{composite(bodies)}"'}
        assert (await gateway.get("key")).body == b"".join(bodies)
        assert await backend.list_multipart(BUCKET) == []


async def test_concurrent_completes_with_different_manifests() -> None:
    """Where Complete made the backend upload, another manifest is OperationAborted: only one can win."""
    backend = MemoryBackend()
    async with rig(backend) as gateway, rig(backend) as other:
        upload = await gateway.create("key")
        one = await gateway.part("key", upload, 1, SMALL)
        two = await gateway.part("key", upload, 2, b"tail")
        hold = backend.hold_next("complete_multipart")
        slow = asyncio.create_task(gateway.complete("key", upload, [(1, one), (2, two)]))
        await hold.reached()
        assert (await other.complete("key", upload, [(1, one)])).code == "OperationAborted"
        hold.release()

        assert (await slow).code is None
        assert (await gateway.get("key")).body == SMALL + b"tail"


@pytest.mark.parametrize("algorithm", ["", "CRC64NVME", "CRC32", "SHA256"])
@pytest.mark.parametrize("resent", [text(2000, 1), noise(6 * MIB, 1)], ids=["staged", "direct"])
async def test_part_sent_again_after_a_refused_complete(algorithm: str, resent: bytes) -> None:
    """A Complete that is refused because of a checksum decides nothing: the part is sent again, and a Complete with it succeeds."""
    async with rig() as gateway:
        upload = await gateway.create("key", **({"x_amz_checksum_algorithm": algorithm} if algorithm else {}))
        name, wrong = algorithm.lower() or "crc64nvme", {"": "A" * 11 + "=", "CRC64NVME": "A" * 11 + "="}
        stated = wrong.get(algorithm, {"CRC32": "AAAAAA==-1", "SHA256": "A" * 43 + "=-1"}.get(algorithm, ""))
        bad = [(1, await gateway.part("key", upload, 1, text(1000)))]
        refused = await gateway.complete("key", upload, bad, **{f"x_amz_checksum_{name}": stated})
        good = [(1, await gateway.part("key", upload, 1, resent)), (2, await gateway.part("key", upload, 2, b"end"))]
        if len(resent) < 5 * MIB:
            good = good[:1]
        done = await gateway.complete("key", upload, good)
        answer = await gateway.get("key")

        assert refused.code == "BadDigest"
        assert done.code is None, done.body
        assert answer.body == (resent if len(good) == 1 else resent + b"end")
        assert (answer.etag or "").endswith(f"-{len(good)}")


async def test_other_parts_after_a_condition_that_did_not_hold() -> None:
    """A Complete that the store refuses because of its condition decides nothing either."""
    async with rig() as gateway:
        upload = await gateway.create("key")
        parts = [(number, await gateway.part("key", upload, number, text(1000, number))) for number in (1, 2)]

        async def overtaken() -> None:
            await gateway.backend.put_object(BUCKET, "key", Pieces.of(b"first"), headers={}, metadata={})

        gateway.backend.on_next("complete_multipart", overtaken)
        refused = await gateway.complete("key", upload, parts[:1], if_none_match="*")
        done = await gateway.complete("key", upload, parts[1:])

        assert (refused.status, refused.code) == (412, "PreconditionFailed")
        assert done.code is None, done.body
        assert (await gateway.get("key")).body == text(1000, 2)


@pytest.mark.parametrize("behind", [None, 0, 3, 9])
async def test_completes_of_different_parts_at_once(behind: int | None) -> None:
    """Where nothing binds the backend upload to one list of parts, only the one that the object is made of succeeds.

    Both have the upload's token, which therefore proves nothing to the other one. `behind` None: the second one is at the store already.
    """
    async with rig() as gateway, rig(gateway.backend) as other:
        upload = await gateway.create("key", x_amz_checksum_algorithm="CRC32")
        parts = [(number, await gateway.part("key", upload, number, text(1000, number))) for number in (1, 2)]
        crcs = [base64.b64encode(zlib.crc32(text(1000, number)).to_bytes(4)).decode() for number in (1, 2)]

        async def complete(rig: Rig, number: int) -> Answer:
            for _ in range((behind or 0) * number):
                await asyncio.sleep(0)
            row = f"<PartNumber>{parts[number][0]}</PartNumber><ETag>{parts[number][1]}</ETag><ChecksumCRC32>{crcs[number]}</ChecksumCRC32>"
            xml = f"<CompleteMultipartUpload><Part>{row}</Part></CompleteMultipartUpload>".encode()
            return await rig.client.request("POST", BUCKET, "key", query={"uploadId": upload}, body=xml)

        if behind is None:
            hold = gateway.backend.hold_next("complete_multipart")
            late = asyncio.create_task(complete(other, 1))
            await hold.reached()
            first = await complete(gateway, 0)
            hold.release()
            answers = [first, await late]
        else:
            answers = list(await asyncio.gather(complete(gateway, 0), complete(other, 1)))
        (winner,) = (number for number, answer in enumerate(answers) if answer.status == 200 and answer.code is None)
        found = await gateway.get("key")

        assert (found.body, f'"{found.etag}"') == (text(1000, winner + 1), answers[winner].text("ETag"))
        assert answers[1 - winner].code in ("NoSuchUpload", "OperationAborted", "InvalidPart")
        assert await gateway.backend.list_multipart(BUCKET) == []


async def test_repeated_complete_tells_the_same() -> None:
    """Also the checksum, which only the trailer has, from a gateway that has never seen the object."""
    async with rig() as gateway:
        upload = await gateway.create("key", x_amz_checksum_algorithm="SHA256")
        parts = [(1, await gateway.part("key", upload, 1, text(1000)))]
        first = await gateway.complete("key", upload, parts)
        async with rig(gateway.backend) as other:
            again = await other.complete("key", upload, parts)

        assert (first.text("ChecksumType"), (first.text("ChecksumSHA256") or "")[-2:]) == ("COMPOSITE", "-1")
        assert again.body == first.body


async def test_repeated_complete() -> None:
    """A Complete repeated after the records are gone succeeds only for the same manifest and the same object."""
    async with rig() as gateway:
        upload = await gateway.create("key")
        one = await gateway.part("key", upload, 1, SMALL)
        two = await gateway.part("key", upload, 2, b"tail")
        parts = [(1, one), (2, two)]
        first = await gateway.complete("key", upload, parts)
        again = await gateway.complete("key", upload, parts)
        assert (again.code, again.text("ETag")) == (None, first.text("ETag"))
        assert (await gateway.complete("key", upload, [(1, one)])).code == "NoSuchUpload"

        await gateway.put("key", b"newer")
        assert (await gateway.complete("key", upload, parts)).code == "NoSuchUpload"
        assert (await gateway.get("key")).body == b"newer"


@pytest.mark.parametrize("after_commit", [True, False])
async def test_lost_answer_of_complete(after_commit: bool) -> None:
    """A Complete that the backend committed but did not answer succeeds; one that it did not commit can be repeated."""
    lost = BackendError("RequestTimeout", 503, "no answer", outcome=Outcome.UNKNOWN)
    async with rig() as gateway:
        upload = await gateway.create("key")
        parts = [(1, await gateway.part("key", upload, 1, LARGE)), (2, await gateway.part("key", upload, 2, SMALL))]
        gateway.backend.fail_next("complete_multipart", lost, after_commit=after_commit)
        answer = await gateway.complete("key", upload, parts)
        assert answer.code == (None if after_commit else "ServiceUnavailable")
        if not after_commit:
            assert (await gateway.complete("key", upload, parts)).code is None

        assert (await gateway.get("key")).body == LARGE + SMALL


async def test_upload_goes_on_after_a_restart() -> None:
    """No gateway holds state of an upload: another one takes over in the middle."""
    backend = MemoryBackend()
    async with rig(backend) as gateway:
        upload = await gateway.create("key", x_amz_meta_mine="kept", content_type="text/x")
        one = await gateway.part("key", upload, 1, LARGE)
    async with rig(backend) as gateway:
        two = await gateway.part("key", upload, 2, SMALL)
        three = await gateway.part("key", upload, 3, noise(6 * MIB, 1))
    async with rig(backend) as gateway:
        await gateway.complete("key", upload, [(1, one), (2, two), (3, three)])
        answer = await gateway.get("key")

        assert answer.body == LARGE + SMALL + noise(6 * MIB, 1)
        assert (answer.headers["content-type"], answer.headers["x-amz-meta-mine"]) == ("text/x", "kept")
        assert await backend.list_multipart(BUCKET) == []


@pytest.mark.parametrize("bodies", [[SMALL], [LARGE], []], ids=["staged", "direct", "none"])
async def test_abort(bodies: list[bytes]) -> None:
    """Abort leaves no parts, no backend upload and no record but the tombstone; afterwards nothing can be added."""
    async with rig() as gateway:
        upload = await gateway.create("key")
        for number, body in enumerate(bodies, 1):
            await gateway.part("key", upload, number, body)
        gone = await gateway.client.request("DELETE", BUCKET, "key", query={"uploadId": upload})
        late = await gateway.client.request("PUT", BUCKET, "key", query={"partNumber": "1", "uploadId": upload}, body=LARGE)
        again = await gateway.client.request("DELETE", BUCKET, "key", query={"uploadId": upload})

        assert (gone.status, late.code, again.code) == (204, "NoSuchUpload", "NoSuchUpload")
        assert await gateway.backend.list_multipart(BUCKET) == []
        assert await gateway.names() == [f".s4mpu/{upload}/backend"]


async def test_late_create_never_wins_over_an_abort() -> None:
    """A part that another gateway still accepts after an Abort cannot open a backend upload."""
    backend = MemoryBackend()
    async with rig(backend) as gateway, rig(backend) as other:
        upload = await gateway.create("key")
        await other.part("key", upload, 1, b"warms the other gateway's record")
        await gateway.client.request("DELETE", BUCKET, "key", query={"uploadId": upload})
        late = await other.client.request("PUT", BUCKET, "key", query={"partNumber": "2", "uploadId": upload}, body=LARGE)

        assert late.code == "NoSuchUpload"
        assert await backend.list_multipart(BUCKET) == []


async def test_twelve_way_late_create_has_one_winner() -> None:
    """Direct parts sent through two gateways at once open one backend upload; the losers' are aborted."""
    backend = MemoryBackend()
    async with rig(backend) as gateway, rig(backend) as other:
        upload = await gateway.create("key")
        bodies = [noise(5 * MIB + 100, seed) for seed in range(6)]
        tags = await asyncio.gather(*((gateway, other)[n % 2].part("key", upload, n, body) for n, body in enumerate(bodies, 1)))
        assert len(await backend.list_multipart(BUCKET)) == 1
        await gateway.complete("key", upload, list(enumerate(tags, 1)))

        assert (await gateway.get("key")).body == b"".join(bodies)
        assert await backend.list_multipart(BUCKET) == []


async def test_list_uploads() -> None:
    """ListMultipartUploads shows uploads that have a record, with prefix, delimiter and markers."""
    async with rig() as gateway:
        keys = ["a", "b/1", "b/2", "c"]
        ids = {key: await gateway.create(key) for key in keys}
        everything = await gateway.client.request("GET", BUCKET, query={"uploads": ""})
        folded = await gateway.client.request("GET", BUCKET, query={"uploads": "", "delimiter": "/"})
        first = await gateway.client.request("GET", BUCKET, query={"uploads": "", "max-uploads": "2"})
        markers = {"key-marker": first.text("NextKeyMarker") or "", "upload-id-marker": first.text("NextUploadIdMarker") or ""}
        rest = await gateway.client.request("GET", BUCKET, query={"uploads": "", **markers})

        assert everything.texts("Upload/Key") == keys
        assert everything.texts("Upload/UploadId") == [ids[key] for key in keys]
        assert (folded.texts("Upload/Key"), folded.texts("CommonPrefixes/Prefix")) == (["a", "c"], ["b/"])
        assert first.texts("Upload/Key") + rest.texts("Upload/Key") == keys


CRC32 = {"x_amz_checksum_algorithm": "CRC32"}


@pytest.mark.parametrize(
    ("headers", "kind"),
    [
        (CRC32, "COMPOSITE"),
        ({**CRC32, "x_amz_checksum_type": "FULL_OBJECT"}, "FULL_OBJECT"),
        ({"x_amz_checksum_algorithm": "SHA256"}, "COMPOSITE"),
    ],
)
async def test_checksums_of_uploads(headers: dict[str, str], kind: str) -> None:
    """Composite and full-object checksums are what S3 computes, on Complete, HEAD and GetObjectAttributes."""
    from s4_codecs import Digests

    name = headers["x_amz_checksum_algorithm"].lower()

    def raw(data: bytes) -> bytes:
        digests = Digests([name])
        digests.update(data)
        return digests.raw(name)

    bodies = [SMALL, LARGE, b"tail"]
    async with rig() as gateway:
        upload = await gateway.create("key", **headers)
        parts = [(number, await gateway.part("key", upload, number, body)) for number, body in enumerate(bodies, 1)]
        if kind == "COMPOSITE":
            expected = base64.b64encode(raw(b"".join(map(raw, bodies)))).decode() + "-3"
        else:
            expected = base64.b64encode(raw(b"".join(bodies))).decode()
        wrong = base64.b64encode(bytes(len(raw(b"")))).decode()
        bad = await gateway.complete("key", upload, parts, **{f"x-amz-checksum-{name}": wrong, "x-amz-checksum-type": kind})
        assert bad.code == "BadDigest"
        done = await gateway.complete("key", upload, parts)
        head = await gateway.client.request("HEAD", BUCKET, "key", headers={"x-amz-checksum-mode": "ENABLED"})
        asked = {"x-amz-object-attributes": "ETag,Checksum,ObjectParts,ObjectSize"}
        about = await gateway.client.request("GET", BUCKET, "key", query={"attributes": ""}, headers=asked)

        assert done.text(f"Checksum{name.upper()}") == expected
        _, stored_body = await gateway.stored("key")
        kept = read_trailer(stored_body, body_size=len(stored_body)).attributes.checksums
        whole = Digests(["crc64nvme"])
        whole.update(b"".join(bodies))
        assert kept == {name: expected, "crc64nvme": whole.base64("crc64nvme")}
        assert (head.headers[f"x-amz-checksum-{name}"], head.headers["x-amz-checksum-type"]) == (expected, kind)
        assert about.text("ObjectSize") == str(sum(map(len, bodies)))
        assert about.texts("ObjectParts/Part/Size") == [str(len(body)) for body in bodies]
        assert about.texts(f"ObjectParts/Part/Checksum{name.upper()}") == [base64.b64encode(raw(body)).decode() for body in bodies]


async def test_upload_part_copy() -> None:
    """UploadPartCopy takes the logical source range, whatever its stored form."""
    async with rig() as gateway:
        await gateway.put("source", text(6 * MIB))
        upload = await gateway.create("key")
        copied = []
        for number, span in ((1, f"bytes=0-{5 * MIB - 1}"), (2, f"bytes={5 * MIB}-{6 * MIB - 1}")):
            headers = {"x-amz-copy-source": f"/{BUCKET}/source", "x-amz-copy-source-range": span}
            query = {"partNumber": str(number), "uploadId": upload}
            answer = await gateway.client.request("PUT", BUCKET, "key", query=query, headers=headers)
            assert answer.status == 200, answer.body
            copied.append((number, (answer.text("ETag") or "").strip('"')))
        await gateway.complete("key", upload, copied)

        assert (await gateway.get("key")).body == text(6 * MIB)


async def test_damaged_record_is_never_joined() -> None:
    """A staged record whose bytes changed fails the Complete; nothing appears at the key."""
    async with rig() as gateway:
        upload = await gateway.create("key")
        parts = [(1, await gateway.part("key", upload, 1, SMALL)), (2, await gateway.part("key", upload, 2, b"tail"))]
        record = next(name for name in await gateway.names() if "/00001." in name)
        stored, raw = await gateway.stored(record)
        bad = bytearray(raw)
        bad[len(bad) // 2] ^= 1
        await gateway.backend.put_object(BUCKET, record, Pieces.of(bytes(bad)), headers=stored.headers, metadata=stored.metadata)
        answer = await gateway.complete("key", upload, parts)

        assert answer.code == "InternalError"
        assert "key" not in await gateway.names()


async def test_records_are_swept_only_when_stale() -> None:
    """The sweep clears records of ended uploads after a day, with the backend upload that only they name, and nothing else."""
    now = 1_700_000_000.0
    backend = MemoryBackend(clock=lambda: now)
    async with rig(backend) as gateway:
        ended, kept = await gateway.create("ended"), await gateway.create("kept")
        for upload, key in ((ended, "ended"), (kept, "kept")):
            await gateway.part(key, upload, 1, LARGE)
        await backend.delete_object(BUCKET, f".s4mpu/{ended}/upload")
        swept = await gateway.client.services.store.uploads.roster.sweep(BUCKET)

        assert swept == 1
        assert [upload.key for upload in await backend.list_multipart(BUCKET)] == ["kept"]
        assert all(kept in name for name in await gateway.names())


async def test_fresh_records_are_not_swept() -> None:
    """A tombstone younger than a day stays: a Complete may still work from an old listing."""
    async with rig() as gateway:
        await gateway.upload("key", [SMALL])
        assert await gateway.client.services.store.uploads.roster.sweep(BUCKET) == 0


async def test_versioned_bucket_without_staging_bucket_sends_direct() -> None:
    """Where deleted records would keep their bytes, small parts are padded and sent to the backend upload."""
    backend = MemoryBackend()
    await backend.create_bucket(BUCKET)
    backend.store.set_versioning(BUCKET, Versioning.ENABLED)
    async with rig(backend) as gateway:
        upload = await gateway.create("key")
        parts = [(1, await gateway.part("key", upload, 1, SMALL)), (2, await gateway.part("key", upload, 2, b"tail"))]
        assert all(".d." in name for name in await gateway.names() if "/0000" in name)
        done = await gateway.complete("key", upload, parts)

        assert done.code is None, done.body
        assert (await gateway.get("key")).body == SMALL + b"tail"


async def test_strict_parts_of_giant_uploads() -> None:
    """Equal parts grow with the upload, so that even the largest one has at most 10,000 of them."""
    body = noise(12 * MIB)
    async with rig(MemoryBackend(capabilities=Capabilities(min_part_size=1000, strict_parts=True)), part_size=1000) as gateway:
        done = await gateway.upload("key", [body])

        assert done.code is None, done.body
        assert (await gateway.get("key")).body == body
