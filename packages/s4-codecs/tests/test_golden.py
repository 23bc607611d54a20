"""Bytes written by the reference: all are decoded or refused by name, and ours equal its own where they should."""

import hashlib

import pytest
from s4_format import CodecId, FormatError, FrameError, FrameHeader, Manifest, iter_frames

from s4_codecs import (
    CodecError,
    CodecUnavailableError,
    EncodeOptions,
    EncryptedObjectError,
    FramePolicy,
    decode_frame,
    decode_object,
    encode_object,
    verify_object,
)
from s4_codecs.zstd_dict import ZstdDictCodec

from .golden import GOLDEN, GoldenObject, by_outcome, golden, golden_objects, golden_payloads

REFERENCE = EncodeOptions(frame_policy=FramePolicy.REFERENCE)


def named(entry: GoldenObject) -> str:
    """Its id, for the names of tests."""
    return entry.id


def test_the_corpus_is_complete() -> None:
    """No golden file is missing, changed or unlisted."""
    listed = {entry.file.relative_to(GOLDEN).as_posix(): entry.stored_sha256 for entry in golden_objects()}
    listed |= {entry.file.relative_to(GOLDEN).as_posix(): entry.stored_sha256 for entry in golden_payloads()}
    others = {"objects.json", "payloads.json", "PROVENANCE.md", "cases/dispatcher_cases.jsonl", "gateway/zstd_dict.bin"}
    found = {path.relative_to(GOLDEN).as_posix() for path in GOLDEN.rglob("*") if path.is_file()}

    assert len(by_outcome("plain")) >= 15
    assert len(golden_payloads()) >= 25
    assert found == set(listed) | others
    assert {name: hashlib.sha256((GOLDEN / name).read_bytes()).hexdigest() for name in listed} == listed


@pytest.mark.parametrize("entry", by_outcome("plain"), ids=named)
def test_plain_bodies_decode(entry: GoldenObject) -> None:
    """Every plain body decodes to its original bytes, and proves what its metadata says."""
    data = decode_object(entry.body, entry.metadata, dictionary=entry.dictionary)

    assert (len(data), hashlib.sha256(data).hexdigest()) == (entry.size, entry.sha256)
    verified = verify_object(entry.body, entry.metadata, dictionary=entry.dictionary, workers=2)
    assert verified.original_size == entry.size
    assert ("crc32c" in verified.checked) == ("s4-crc32c" in entry.metadata)


@pytest.mark.parametrize("entry", by_outcome("plain"), ids=named)
def test_ranges_of_plain_bodies(entry: GoldenObject) -> None:
    """Ranges at both ends, in the middle and across everything equal the slices of the original."""
    size = entry.size or 0
    whole = decode_object(entry.body, entry.metadata, dictionary=entry.dictionary)
    for start, stop in ((0, size), (0, min(1, size)), (size // 3, size // 2), (max(size - 7, 0), size), (size, size)):
        assert decode_object(entry.body, entry.metadata, start=start, stop=stop, dictionary=entry.dictionary) == whole[start:stop]


@pytest.mark.usefixtures("no_nvcomp")
@pytest.mark.parametrize("entry", [entry for entry in golden_objects() if entry.extra], ids=named)
def test_what_needs_an_extra_is_refused_by_name(entry: GoldenObject) -> None:
    """What no codec here can decode is an error that names codec and extra, never raw bytes."""
    with pytest.raises(CodecUnavailableError) as caught:
        decode_object(entry.body, entry.metadata)

    assert caught.value.codec is not None
    assert (caught.value.codec.label, caught.value.extra) == (entry.metadata["s4-codec"], entry.extra)
    assert f"s4-codecs[{entry.extra}]" in str(caught.value)


@pytest.mark.parametrize("entry", by_outcome("encrypted"), ids=named)
def test_encrypted_bodies_are_refused(entry: GoldenObject) -> None:
    """Ciphertext is refused before anything is decoded."""
    with pytest.raises(EncryptedObjectError):
        decode_object(entry.body, entry.metadata)


def test_frames_of_a_mixed_body() -> None:
    """In a padded body of several codecs every frame is found, and those of CPU codecs decode."""
    entry = golden("refcode/mixed_padded")
    frames = list(iter_frames(entry.body))

    assert tuple((int(frame.header.codec), frame.header.original_size) for frame in frames) == entry.frames
    assert [len(decode_frame(frame.header, frame.payload)) for frame in frames] == [1000, 12, 2000, 1, 4096, 0]


def test_a_range_needs_only_the_codecs_of_its_frames() -> None:
    """Frames outside the range are skipped, also those that nothing here can decode."""
    reserved = FrameHeader(CodecId.NVCOMP_GANS, 5, 9, 0).pack() + bytes(9)
    body = golden("refcode/mixed_padded").body + reserved
    manifest = Manifest(framed=True, codec=CodecId.CPU_ZSTD)

    assert len(decode_object(body, manifest, start=0, stop=7109)) == 7109
    with pytest.raises(CodecUnavailableError):
        decode_object(body, manifest, start=0, stop=7110)


@pytest.mark.parametrize(
    "object_id",
    ["gateway/text_zstd", "gateway/multi_zstd", "gateway/parquet_zstd", "refcode/empty_put", "server/plain_multi", "server/plain_empty"],
)
def test_reference_policy_writes_the_same_bytes(object_id: str) -> None:
    """cpu-zstd bodies of the reference policy equal the reference's, byte for byte, and so does the metadata."""
    entry = golden(object_id)
    again = encode_object(decode_object(entry.body, entry.metadata), REFERENCE, workers=2)

    assert again.body == entry.body
    assert again.metadata == {key: value for key, value in entry.metadata.items() if key in again.metadata}


def test_dictionary_frames_are_the_same_bytes() -> None:
    """A frame compressed against the reference's dictionary equals the reference's."""
    entry = golden("gateway/dict_event")
    frame = next(iter_frames(entry.body))
    codec = ZstdDictCodec(dictionary=entry.dictionary)
    plaintext = decode_frame(frame.header, frame.payload, dictionary=entry.dictionary)

    assert codec.compress(plaintext) == frame.payload


def test_passthrough_is_stored_as_it_is() -> None:
    """An incompressible body of the reference policy is the bare bytes with the reference's metadata."""
    entry = golden("server/plain_noise")
    again = encode_object(entry.body, REFERENCE)

    assert again.body == entry.body
    assert again.metadata == {key: value for key, value in entry.metadata.items() if key.startswith("s4-")}


@pytest.mark.parametrize("entry", [golden("gateway/text_zstd"), golden("server/gzip_one"), golden("gateway/dict_event")], ids=named)
def test_truncated_at_every_offset(entry: GoldenObject) -> None:
    """No proper prefix of a stored body decodes."""
    body = entry.body
    for end in range(0, len(body), 1 if len(body) < 2000 else 37):
        with pytest.raises((CodecError, FormatError)):
            decode_object(body[:end], entry.metadata, dictionary=entry.dictionary)


def test_trailing_junk_is_an_error() -> None:
    """Bytes that are neither frame nor padding behind the last frame are refused."""
    entry = golden("gateway/text_zstd")
    for junk in (b"\0", b"S4P1", b"S4F2", bytes(28)):
        with pytest.raises(FrameError):
            decode_object(entry.body + junk, {**entry.metadata, "s4-compressed-size": str(len(entry.body) + len(junk))})


def test_unknown_codec_names_are_not_handed_out_raw() -> None:
    """A complete manifest with a codec of the future is refused."""
    metadata = {**golden("gateway/text_gzip").metadata, "s4-codec": "cpu-future"}
    assert Manifest.from_metadata(metadata).is_s4
    with pytest.raises(CodecUnavailableError, match="cpu-future"):
        decode_object(golden("gateway/text_gzip").body, metadata)


def test_foreign_bodies_come_back_as_they_are() -> None:
    """A body without S4 metadata is handed on, also when it looks like frames."""
    body = golden("gateway/text_zstd").body
    assert decode_object(body, {"mine": "kept"}) == body
    assert decode_object(body, {}, start=5, stop=20) == body[5:20]
