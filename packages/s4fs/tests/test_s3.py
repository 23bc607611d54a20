"""What is promised of objects with metadata: what is written beside them, what reading them costs, and how failures end."""

import base64
import hashlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from s4_codecs import EncodeOptions, FramePolicy, crc64nvme, encode_object, verify_object
from s4_codecs.testing.workloads import WORKLOADS
from s4_format import Attributes, Manifest, Trailer, decode_sidecar, dictionary_key, encode_trailer, scan_frames

from s4fs import (
    ConditionFailedError,
    DamagedObjectError,
    EncryptedObjectError,
    GatewayEndpointError,
    LostWriteError,
    S4FileSystem,
    UnreadableObjectError,
)
from s4fs.testing import FakeS3
from s4fs.testing.fake_s3 import lost, refusal

from .conftest import BUCKET

MIB = 1 << 20
LOG = WORKLOADS["log"](20 * MIB)
NOISE = WORKLOADS["noise"](12 * MIB)
PATH = f"{BUCKET}/object"
REFERENCE = EncodeOptions(frame_policy=FramePolicy.REFERENCE)


def md5(data: bytes) -> str:
    """The ETag of a PUT."""
    return hashlib.md5(data).hexdigest()


# ------------------------------------------------------------------------------------------------------ what is written


@pytest.mark.parametrize("size", [0, 1, 5000, 3 * MIB, 20 * MIB])
@pytest.mark.parametrize("source", [LOG, NOISE], ids=["log", "noise"])
def test_metadata_is_what_a_gateway_stamps(fs: S4FileSystem, store: FakeS3, source: bytes, size: int) -> None:
    """Size, ETag, CRC64NVME and a write token are stamped on every object, and all that metadata and trailer promise is true."""
    data = source[:size]
    fs.pipe_file(PATH, data, ContentType="text/x-log", Metadata={"owner": "tests", "S4-Codec": "forged"})
    found = store.get(PATH)
    manifest = Manifest.from_metadata(found.metadata)

    assert (manifest.original_size, manifest.logical_etag) == (len(data), md5(data))
    assert manifest.crc64nvme == base64.b64encode(crc64nvme(data).to_bytes(8, "big")).decode()
    assert manifest.write_token is not None
    assert "etag" in verify_object(found.body, manifest).checked
    assert (found.headers["ContentType"], found.metadata["owner"]) == ("text/x-log", "tests")
    assert manifest.codec_label != "forged"
    assert fs.info(PATH)["ETag"] == f'"{md5(data)}"'


def test_streamed_object_describes_itself(fs: S4FileSystem, store: FakeS3) -> None:
    """A large file of unknown length has size, ETag and checksum in its trailer, and shows them."""
    with fs.open(PATH, "wb") as file:
        for start in range(0, len(NOISE), MIB):
            file.write(NOISE[start : start + MIB])
    manifest = Manifest.from_metadata(store.get(PATH).metadata)

    assert manifest.trailer
    assert manifest.original_size is None
    assert verify_object(store.get(PATH).body, manifest).checked >= {"etag", "trailer", "crc64nvme"}
    fs.invalidate_cache()
    assert (fs.info(PATH)["size"], fs.info(PATH)["ETag"]) == (len(NOISE), f'"{md5(NOISE)}"')
    assert store.uploads == {}


def test_long_client_metadata_moves_ours_to_the_trailer(fs: S4FileSystem, store: FakeS3) -> None:
    """Where both do not fit beside the object, what is not indispensable lies in its trailer, and the object is complete all the same."""
    fs.pipe_file(PATH, b"content", Metadata={"notes": "x" * 1800})
    found = store.get(PATH)

    assert sum(len(key) + len(value) for key, value in found.metadata.items()) <= 2048
    fs.invalidate_cache()
    assert (fs.cat_file(PATH), fs.info(PATH)["ETag"]) == (b"content", f'"{md5(b"content")}"')


def test_sidecars_are_bound(fs: S4FileSystem, store: FakeS3, make: Any) -> None:
    """Objects above 4 MiB get an index bound to exactly them, smaller ones none, and none where it is not wanted."""
    fs.pipe_file(PATH, LOG)
    fs.pipe_file(f"{BUCKET}/small", LOG[:MIB])
    make(sidecars=False).pipe_file(f"{BUCKET}/bare", LOG)
    found = store.get(PATH)
    index = decode_sidecar(store.get(f"{PATH}.s4index").body)

    assert index.frames_of(etag=found.etag, size=len(found.body)) == scan_frames(found.body)[0]
    assert sorted(store.buckets[BUCKET]) == ["bare", "object", "object.s4index", "small"]


def test_failing_sidecar_fails_no_write(fs: S4FileSystem, store: FakeS3, caplog: pytest.LogCaptureFixture) -> None:
    """An object whose sidecar cannot be written is written, and the log says what is missing."""
    store.before = lambda method, options: refusal("AccessDenied", method) if str(options.get("Key")).endswith(".s4index") else None
    fs.pipe_file(PATH, LOG)

    assert fs.cat_file(PATH) == LOG
    assert "sidecar" in caplog.text


def test_copies_keep_what_makes_them_readable(fs: S4FileSystem, store: FakeS3) -> None:
    """A copy has the source's metadata and headers, a write token of its own, and an index bound to itself."""
    fs.pipe_file(PATH, LOG, ContentType="text/x-log", Metadata={"owner": "tests"})
    fs.cp_file(PATH, f"{BUCKET}/copy")
    source, copy = store.get(PATH), store.get(f"{BUCKET}/copy")
    ours, theirs = (Manifest.from_metadata(found.metadata) for found in (source, copy))

    assert replace(theirs, write_token=ours.write_token) == ours
    assert theirs.write_token != ours.write_token
    assert (copy.headers["ContentType"], copy.metadata["owner"]) == ("text/x-log", "tests")
    assert decode_sidecar(store.get(f"{BUCKET}/copy.s4index").body).frames_of(etag=copy.etag, size=len(copy.body)) is not None


def test_dictionary_goes_along_to_another_bucket(fs: S4FileSystem, store: FakeS3) -> None:
    """A copy to another bucket brings the object's dictionary there before it."""
    store.buckets["other"] = {}
    data = put_with_dictionary(store, PATH)
    fs.cp_file(PATH, "other/copy")

    assert fs.cat_file("other/copy") == fs.cat_file(PATH) == data


def test_copy_of_a_changing_source_is_of_one_version(fs: S4FileSystem, store: FakeS3) -> None:
    """Metadata and body of a copy are of one version, even if the source is replaced between the two."""
    fs.pipe_file(PATH, LOG[:MIB])
    replacements = [NOISE[:MIB]]

    def overwrite(method: str, _: Any) -> None:
        if method == "copy_object" and replacements:
            encoded = encode_object(replacements.pop())
            store.put(PATH, encoded.body, encoded.manifest.to_metadata())

    store.before = overwrite
    fs.cp_file(PATH, f"{BUCKET}/copy")

    assert fs.cat_file(f"{BUCKET}/copy") == NOISE[:MIB]


# ----------------------------------------------------------------------------------------------- conditions and outcomes


def test_conditional_writes(fs: S4FileSystem) -> None:
    """`if_match` takes the ETag that `info` shows: the version it names is replaced, any other is ConditionFailedError."""
    fs.pipe_file(PATH, b"first")
    etag = fs.info(PATH)["ETag"]
    fs.pipe_file(PATH, b"second", if_match=etag)
    with pytest.raises(ConditionFailedError):
        fs.pipe_file(PATH, b"third", if_match=etag)
    with fs.open(PATH, "wb", if_match=fs.info(PATH)["ETag"]) as file:
        file.write(b"fourth")

    assert fs.cat_file(PATH) == b"fourth"


@pytest.mark.parametrize("size", [1000, 12 * MIB])
def test_condition_is_judged_when_the_object_appears(fs: S4FileSystem, store: FakeS3, make: Any, size: int) -> None:
    """Who loses the race for a new object gets FileExistsError at the end, and leaves neither a trace nor an upload."""
    file = fs.open(PATH, "xb")
    file.write(NOISE[:size])
    make().pipe_file(PATH, b"winner")
    with pytest.raises(FileExistsError):
        file.close()

    assert fs.cat_file(PATH) == b"winner"
    assert store.uploads == {}


@pytest.mark.parametrize("size", [1000, 12 * MIB])
def test_lost_answer_of_a_write_that_happened(fs: S4FileSystem, store: FakeS3, size: int) -> None:
    """A write whose answer was lost is a success if the object is there, also under a condition that it now fails itself."""
    commits = {"put_object", "complete_multipart_upload"}
    left = [1]

    def lose(method: str, options: Any) -> Exception | None:
        ours = method in commits and not str(options["Key"]).endswith(".s4index")
        return lost() if ours and left.pop() else None

    store.after = lambda method, options: lose(method, options) if left else None
    fs.pipe_file(PATH, NOISE[:size], mode="create")

    assert fs.cat_file(PATH) == NOISE[:size]


@pytest.mark.parametrize("size", [1000, 12 * MIB])
def test_lost_write_is_told(fs: S4FileSystem, store: FakeS3, size: int) -> None:
    """A write that got no answer and did not happen is LostWriteError, whatever lies at the path."""
    fs.pipe_file(PATH, b"before")
    store.before = lambda method, _: lost() if method in {"put_object", "complete_multipart_upload"} else None
    with pytest.raises(LostWriteError):
        fs.pipe_file(PATH, NOISE[:size])
    store.before = None

    assert fs.cat_file(PATH) == b"before"


def test_refused_part_aborts_the_upload(fs: S4FileSystem, store: FakeS3) -> None:
    """A part that the store refuses is an error of the write, and its upload is aborted."""
    store.before = lambda method, _: refusal("AccessDenied", method) if method == "upload_part" else None
    with pytest.raises(PermissionError):
        fs.pipe_file(PATH, NOISE)

    assert store.uploads == {}
    assert not fs.exists(PATH)


def test_deletion_that_is_not_confirmed_is_an_error(fs: S4FileSystem, store: FakeS3, monkeypatch: pytest.MonkeyPatch) -> None:
    """An answer to a deletion that does not name the object, as one of a portal, is an error and not a success."""
    fs.pipe_file(PATH, b"content")
    monkeypatch.setattr(FakeS3, "_delete_objects", lambda *_, **__: {})
    with pytest.raises(OSError, match="deleted"):
        fs.rm(PATH)

    assert fs.cat_file(PATH) == b"content"


def test_gateway_is_not_written_through(fs: S4FileSystem, store: FakeS3, make: Any) -> None:
    """An endpoint that says it is an S4 gateway is refused before the first write of any kind, and nothing is written."""
    store.server = "s4-gateway/2.0"
    writes: list[Callable[[], object]] = [
        lambda: fs.pipe_file(PATH, b"x"),
        lambda: fs.open(PATH, "wb"),
        lambda: fs.touch(PATH),
        lambda: fs.cp_file(PATH, f"{BUCKET}/copy"),
        lambda: make().rm_file(PATH),
    ]
    for write in writes:
        with pytest.raises(GatewayEndpointError, match="gateway"):
            write()

    assert store.buckets[BUCKET] == {}


# --------------------------------------------------------------------------------------------------------- what is read


def put_with_dictionary(store: FakeS3, path: str) -> bytes:
    """An object of cpu-zstd-dict and its dictionary."""
    dictionary = LOG[:20_000]
    name = hashlib.sha256(dictionary).hexdigest()[:16]
    encoded = encode_object(LOG[30_000:31_000], EncodeOptions(codec="cpu-zstd-dict", dictionary=dictionary))
    store.put(f"{BUCKET}/{dictionary_key(name)}", dictionary, {"s4-dict-sha256": hashlib.sha256(dictionary).hexdigest()})
    store.put(path, encoded.body, {**encoded.manifest.to_metadata(), "s4-dict-id": name})
    return LOG[30_000:31_000]


def test_dictionary_objects(fs: S4FileSystem, store: FakeS3) -> None:
    """Objects with a dictionary are read with the one they name; a missing or exchanged one is an error, never other bytes."""
    data = put_with_dictionary(store, PATH)
    assert fs.cat_file(PATH) == data
    assert fs.cat_file(PATH, 10, 20) == data[10:20]
    (key,) = [key for key in store.buckets[BUCKET] if key.startswith(".s4dict/")]
    for body in (None, LOG[1:20_001]):
        del store.buckets[BUCKET][key]
        if body is not None:
            store.put(f"{BUCKET}/{key}", body)
        fresh = S4FileSystem(fs=fs.fs, skip_instance_cache=True)
        with pytest.raises(DamagedObjectError, match="dictionary"):
            fresh.cat_file(PATH)
        store.put(f"{BUCKET}/{key}", b"")


@pytest.mark.parametrize("with_index", [True, False], ids=["index", "no index"])
def test_objects_of_the_reference(fs: S4FileSystem, store: FakeS3, *, with_index: bool) -> None:
    """Framed objects without trailer are read with their sidecar, or found frame by frame, and one bound to other bytes is not used."""
    encoded = encode_object(NOISE[: 9 * MIB], replace(REFERENCE, dispatcher="always"))
    assert encoded.sidecar is not None
    made = store.put(PATH, encoded.body, encoded.manifest.to_metadata())
    index = decode_sidecar(encoded.sidecar)
    bound = replace(index, source_etag=made.etag if with_index else md5(b""), source_size=len(encoded.body))
    store.put(f"{PATH}.s4index", bound.encode())

    assert fs.info(PATH)["size"] == 9 * MIB
    assert fs.cat_file(PATH, 5 * MIB, 5 * MIB + 1000) == NOISE[5 * MIB : 5 * MIB + 1000]
    assert fs.cat_file(PATH) == NOISE[: 9 * MIB]
    sent = sum(request.sent for request in store.requests if request.key == "object")
    assert sent < 2.6 * len(encoded.body)


def test_multipart_of_the_reference_without_size(fs: S4FileSystem, store: FakeS3) -> None:
    """An object whose metadata does not tell its size has the size of its frames."""
    body = b"".join(encode_object(part, REFERENCE).body for part in (LOG[: 6 * MIB], NOISE[: 6 * MIB]) if part)
    encoded = encode_object(LOG[: 6 * MIB], REFERENCE)
    store.put(PATH, encoded.body, {"s4-multipart": "true", "s4-codec": "cpu-zstd"})

    assert body
    assert fs.info(PATH)["size"] == 6 * MIB
    assert fs.cat_file(PATH, -10, None) == LOG[6 * MIB - 10 : 6 * MIB]
    assert fs.cat_file(PATH) == LOG[: 6 * MIB]


def test_single_payloads(fs: S4FileSystem, store: FakeS3) -> None:
    """A body that is one gzip stream with a manifest is decoded, whole and in ranges."""
    import gzip

    body = gzip.compress(LOG[: 2 * MIB])
    crc = encode_object(LOG[: 2 * MIB]).manifest.crc32c
    metadata = {"s4-codec": "cpu-gzip", "s4-original-size": str(2 * MIB), "s4-compressed-size": str(len(body)), "s4-crc32c": str(crc)}
    store.put(PATH, body, metadata)

    assert fs.cat_file(PATH, MIB, MIB + 10) == LOG[MIB : MIB + 10]
    assert fs.cat_file(PATH) == LOG[: 2 * MIB]


def test_foreign_objects_come_back_as_they_are(fs: S4FileSystem, store: FakeS3) -> None:
    """What has no S4 metadata is handed out untouched, even if it looks like frames or ends like a trailer."""
    encoded = encode_object(LOG[: 2 * MIB])
    for body in (b"", b"plain", encoded.body, NOISE[:MIB]):
        store.put(PATH, body, {"author": "somebody"})
        assert fs.cat_file(PATH) == body
        assert fs.cat_file(PATH, 2, 100) == body[2:100]
        assert fs.info(PATH)["size"] == len(body)
        assert fs.info(PATH)["ETag"] == f'"{md5(body)}"'


@pytest.mark.parametrize(
    ("metadata", "key"),
    [
        ({}, "keyring"),
        ({"s4-sse-type": "AES256", "s4-sse-c-key-md5": "AAAAAAAAAAAAAAAAAAAAAA=="}, "AAAAAAAAAAAAAAAAAAAAAA=="),
        ({"s4-sse-type": "aws:kms", "s4-sse-kms-key-id": "alias/data"}, "alias/data"),
    ],
    ids=["gateway", "customer", "service"],
)
def test_encrypted_objects_are_refused_by_name(fs: S4FileSystem, store: FakeS3, tmp_path: Path, metadata: dict[str, str], key: str) -> None:
    """An encrypted object is PermissionError that says which key it needs, for every way of reading; its size is told."""
    sealed = {"s4-encrypted": "aes-256-gcm", "s4-codec": "cpu-zstd", "s4-original-size": "9", **metadata}
    store.put(PATH, b"S4E6" + NOISE[:1000], sealed)
    reads: list[Callable[[], object]] = [
        lambda: fs.cat_file(PATH),
        lambda: fs.cat_file(PATH, 1, 5),
        lambda: fs.open(PATH),
        lambda: fs.get_file(PATH, str(tmp_path / "local")),
    ]
    for read in reads:
        with pytest.raises(EncryptedObjectError, match=key):
            read()

    assert list(tmp_path.iterdir()) == []
    assert fs.info(PATH)["size"] == 9


@pytest.mark.parametrize("kind", ["S4E1", "S4E2", "S4E3", "S4E4", "S4E5", "S4E6"])
def test_envelopes_without_metadata_are_refused(fs: S4FileSystem, store: FakeS3, kind: str) -> None:
    """Ciphertext whose metadata got lost is recognised by its first bytes, in ranges that do not hold them too."""
    store.put(PATH, kind.encode() + NOISE[:200_000])
    for start, stop in ((None, None), (100, 200), (0, 2), (-5, None)):
        with pytest.raises(EncryptedObjectError, match=kind):
            fs.cat_file(PATH, start, stop)
    with fs.open(PATH) as file, pytest.raises(EncryptedObjectError):
        file.read(10)


def test_unknown_codec_says_what_is_missing(fs: S4FileSystem, store: FakeS3) -> None:
    """An object of a codec that nothing here decodes is UnreadableObjectError with the codec's name."""
    metadata = {"s4-codec": "dietgpu-ans", "s4-original-size": "10", "s4-compressed-size": "5", "s4-crc32c": "1"}
    store.put(PATH, b"ANS!!", metadata)
    for start, stop in ((None, None), (0, 3)):
        with pytest.raises(UnreadableObjectError, match="dietgpu-ans"):
            fs.cat_file(PATH, start, stop)


def test_trailer_must_be_the_objects_own(fs: S4FileSystem, store: FakeS3) -> None:
    """A trailer that says another size than metadata, or another than the frames hold, is damage and not another object."""
    encoded = encode_object(LOG[: 2 * MIB])
    offset = encoded.frames.stored_end
    body = encoded.body[:offset]
    described = Trailer(Attributes(encoded.frames[1].original_offset), (), _first(encoded.body, 1))
    shorter = encode_trailer(described, offset=_end(encoded.body, 1))
    for wrong in (body, body + b"\0" * 100, encoded.body[: _end(encoded.body, 1)] + shorter):
        for metadata in (encoded.manifest.to_metadata(), {"s4-framed": "true", "s4-trailer": "1", "s4-original-size": str(2 * MIB)}):
            store.put(PATH, wrong, metadata)
            for start, stop in ((None, None), (10, 20)):
                with pytest.raises(DamagedObjectError):
                    fs.cat_file(PATH, start, stop)


def _first(body: bytes, frames: int) -> Any:
    return scan_frames(body[: _end(body, frames)])[0]


def _end(body: bytes, frames: int) -> int:
    return scan_frames(body)[0][frames - 1].stored_end


# ---------------------------------------------------------------------------------------------------- what reading costs


def test_requests_of_reads(fs: S4FileSystem, store: FakeS3, make: Any) -> None:
    """Whole: one request. Cold range: two. Warm range: one. An open file: one, and its end comes along."""
    fs.pipe_file(PATH, LOG)
    costs = {}

    def cost(name: str, action: Callable[[], object]) -> None:
        before = store.count()
        action()
        costs[name] = store.count() - before

    cold = make()
    cost("whole", lambda: cold.cat_file(PATH))
    cost("cold range", lambda: cold.cat_file(PATH, 10 * MIB, 10 * MIB + 1000))
    cost("warm range", lambda: cold.cat_file(PATH, 15 * MIB, 15 * MIB + 1000))
    cost("same range", lambda: cold.cat_file(PATH, 15 * MIB, 15 * MIB + 1000))
    file = make().open(PATH)
    cost("open", lambda: make().open(PATH))
    cost("size", lambda: file.seek(0, 2))
    cost("info", lambda: cold.info(PATH))
    cost("many ranges", lambda: cold.cat_ranges([PATH] * 5, [0, 100, 5 * MIB, 5 * MIB + 9, MIB], [50, 200, 5 * MIB + 5, 6 * MIB, MIB + 5]))

    assert costs == {
        "whole": 1, "cold range": 2, "warm range": 1, "same range": 1, "open": 1, "size": 0, "info": 1, "many ranges": 2,
    }  # fmt: skip


def test_end_of_a_file_comes_with_its_opening(fs: S4FileSystem, store: FakeS3) -> None:
    """The footer of a foreign file is read without another request for its bytes, as Parquet readers need."""
    store.put(PATH, NOISE[:MIB])
    with fs.open(PATH) as file:
        before = store.count()
        file.seek(-1000, 2)
        assert file.read() == NOISE[MIB - 1000 : MIB]
    sent = sum(request.sent for request in store.requests[before:])

    assert sent <= 4, "only the first bytes, to prove that it is no envelope"


def test_small_range_costs_little(fs: S4FileSystem, store: FakeS3, make: Any) -> None:
    """A 64 KiB range of a large object fetches little more than the frames that hold it."""
    fs.pipe_file(PATH, LOG)
    stored, before = len(store.get(PATH).body), store.count()
    make().cat_file(PATH, 9 * MIB, 9 * MIB + 64 * 1024)

    assert sum(request.sent for request in store.requests[before:]) < 0.1 * stored


def test_names_cost_no_request_each(fs: S4FileSystem, store: FakeS3, make: Any) -> None:
    """Names alone cost the listing; sizes cost one request for each object, at once, and nothing while the objects stay."""
    for number in range(50):
        fs.pipe_file(f"{BUCKET}/{number:03}", LOG[:number])
    cold = make(use_listings_cache=False)
    before = store.count()
    walked = [path for _, _, files in cold.walk(BUCKET) for path in files]
    for names in (cold.ls(BUCKET, detail=False), cold.find(BUCKET), cold.glob(f"{BUCKET}/0*"), walked):
        assert len(names) == 50
    assert store.count("head_object") == 0
    assert store.count() - before <= 6
    store.delay = 0.02
    before = store.count()
    assert [row["size"] for row in cold.ls(BUCKET)] == list(range(50))
    assert store.count() - before == 51
    before = store.count()
    assert cold.du(BUCKET) == sum(range(50))
    assert store.count() - before == 1


def test_listings_are_kept_as_fsspec_users_expect(fs: S4FileSystem, store: FakeS3, make: Any) -> None:
    """Listings are kept until they are invalidated, by path or as a whole, or until they expire; one's own writes invalidate."""
    fs.pipe_file(f"{BUCKET}/dir/one", b"1")
    kept, none = make(), make(use_listings_cache=False)
    assert len(kept.ls(f"{BUCKET}/dir")) == len(none.ls(f"{BUCKET}/dir")) == 1
    fs.pipe_file(f"{BUCKET}/dir/two", b"22")
    assert (len(kept.ls(f"{BUCKET}/dir")), len(none.ls(f"{BUCKET}/dir")), len(fs.ls(f"{BUCKET}/dir"))) == (1, 2, 2)
    kept.invalidate_cache(f"{BUCKET}/dir/two")
    assert len(kept.ls(f"{BUCKET}/dir")) == 2
    fs.pipe_file(f"{BUCKET}/dir/three", b"333")
    assert len(kept.ls(f"{BUCKET}/dir", refresh=True)) == 3


# -------------------------------------------------------------------------------------------------------------- failures


def test_failure_is_never_an_absence(fs: S4FileSystem, store: FakeS3) -> None:
    """A store that fails is an OSError in every question; only what is definitely not there is not found, and nothing is remembered."""
    fs.pipe_file(PATH, LOG)
    questions: list[Callable[[], object]] = [
        lambda: fs.exists(PATH),
        lambda: fs.isfile(PATH),
        lambda: fs.info(PATH),
        lambda: fs.ls(BUCKET),
        lambda: fs.cat_file(PATH),
        lambda: fs.cat_file(PATH, 0, 10),
        lambda: fs.open(PATH),
        lambda: fs.find(BUCKET),
    ]
    for fault in (lambda method: refusal("AccessDenied", method), lambda method: refusal("500", method), lambda _: lost()):
        store.before = lambda method, _, fault=fault: fault(method)
        fs.invalidate_cache()
        for ask in questions:
            with pytest.raises(OSError, match=r".") as caught:
                ask()
            assert not isinstance(caught.value, FileNotFoundError)
    store.before = None

    assert fs.exists(PATH)
    assert fs.cat_file(PATH, 0, 10) == LOG[:10]


def test_failing_sidecar_read_is_not_remembered(fs: S4FileSystem, store: FakeS3) -> None:
    """An index that could not be fetched fails the read, and is used as soon as it can be."""
    encoded = encode_object(NOISE[: 9 * MIB], replace(REFERENCE, dispatcher="always"))
    made = store.put(PATH, encoded.body, encoded.manifest.to_metadata())
    assert encoded.sidecar is not None
    index = replace(decode_sidecar(encoded.sidecar), source_etag=made.etag, source_size=len(encoded.body))
    store.put(f"{PATH}.s4index", index.encode())
    store.before = lambda method, options: refusal("SlowDown", method) if str(options.get("Key")).endswith(".s4index") else None
    with pytest.raises(OSError, match="SlowDown"):
        fs.cat_file(PATH, 10, 20)
    store.before = None
    before = store.count()

    assert fs.cat_file(PATH, 10, 20) == NOISE[10:20]
    assert sum(request.sent for request in store.requests[before:]) < len(encoded.body) * 0.6


@pytest.mark.parametrize("start", [None, 5 * MIB])
def test_broken_answers_are_taken_up_again(fs: S4FileSystem, store: FakeS3, start: int | None) -> None:
    """A body that breaks off is asked for again from where it broke; one that always breaks is an error after a few attempts."""
    fs.pipe_file(PATH, NOISE)
    left = [3]

    def cut(body: bytes) -> bytes:
        if len(body) > MIB and left[0]:
            left[0] -= 1
            return body[: len(body) // 2]
        return body

    store.cut = cut
    assert fs.cat_file(PATH, start, None) == NOISE[start:]
    assert left == [0]
    store.cut = lambda body: body[: len(body) // 2]
    before = store.count()
    with pytest.raises(OSError, match="breaks"):
        fs.cat_file(PATH)
    assert store.count() - before <= 6


def test_replaced_while_it_is_read(fs: S4FileSystem, store: FakeS3) -> None:
    """An object that is replaced in the middle of a read gives the new version whole; one that always is, BlockingIOError."""
    fs.pipe_file(PATH, NOISE)
    versions = [encode_object(data) for data in (LOG[: 12 * MIB], NOISE[::-1])]
    swaps = [1]

    def swap(body: bytes) -> bytes:
        if len(body) > 100_000 and swaps[0]:
            swaps[0] -= 1
            version = versions[swaps[0] % 2]
            store.put(PATH, version.body, version.manifest.to_metadata())
            return body[:50_000]
        return body

    store.cut = swap
    assert fs.cat_file(PATH) == LOG[: 12 * MIB]
    swaps[0] = 1
    assert fs.cat_file(PATH, MIB, 9 * MIB) in (LOG[MIB : 9 * MIB], NOISE[::-1][MIB : 9 * MIB])
    swaps[0] = 1000
    with pytest.raises(BlockingIOError):
        fs.cat_file(PATH)
    assert swaps[0] > 990


def test_listing_tells_which_object_is_damaged(fs: S4FileSystem, store: FakeS3) -> None:
    """An object that contradicts itself is named by the listing that asks for its size; names alone can still be had."""
    fs.pipe_file(PATH, b"content")
    metadata = {"s4-codec": "passthrough", "s4-original-size": "9", "s4-compressed-size": "9", "s4-crc32c": "1"}
    store.put(f"{BUCKET}/bad", b"short", metadata)
    with pytest.raises(DamagedObjectError, match="bad"):
        fs.ls(BUCKET)

    assert fs.ls(BUCKET, detail=False) == [f"{BUCKET}/bad", PATH]
