"""Metadata of stored objects."""

import copy
import pickle
from dataclasses import FrozenInstanceError
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from s4_format import CodecId, Manifest, ManifestError, MetadataKey, PayloadManifest, Reason, select_reserved, strip_reserved
from s4_format.testing import manifests

PAYLOAD = {"s4-codec": "cpu-zstd", "s4-original-size": "10", "s4-compressed-size": "9", "s4-crc32c": "8"}
HEX32 = "0123456789abcdef" * 2

EVERY_KEY = {
    **PAYLOAD,
    "s4-framed": "true",
    "s4-multipart": "true",
    "s4-logical-etag": f"{HEX32}-12",
    "s4-dict-id": "0123456789abcdef",
    "s4-dict-sha256": HEX32 * 2,
    "s4-encrypted": "aes-256-gcm",
    "s4-sse-type": "aws:kms",
    "s4-sse-c-key-md5": "AAAAAAAAAAAAAAAAAAAAAA==",
    "s4-sse-kms-key-id": "alias/some key é",
    "s4-zstd-level": "19",
    "s4-ledger": "1",
    "s4-parquet-zstd-level": "3",
    "s4-parquet-op-id": "3f2504e0-4f89-11d3-9a0c-0305e82c3301",
    "s4-trailer": "1",
    "s4-write": HEX32,
    "s4-crc64nvme": "rosUhgp5mYg=",
    "s4-checksum-type": "COMPOSITE",
    "s4-checksum-crc32": "y/Q5Jg==",
    "s4-checksum-sha256": "47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=-4",
}


def test_every_key_is_read_and_written() -> None:
    """Metadata with every key there is comes back unchanged, and no key of the package is missing from this test."""
    assert Manifest.from_metadata(EVERY_KEY).to_metadata() == EVERY_KEY
    assert {key.value for key in MetadataKey} <= EVERY_KEY.keys()


def test_fields_have_their_types() -> None:
    """Texts become codec, numbers and flags."""
    manifest = Manifest.from_metadata(EVERY_KEY)

    assert manifest.codec is CodecId.CPU_ZSTD
    assert (manifest.original_size, manifest.compressed_size, manifest.crc32c, manifest.zstd_level) == (10, 9, 8, 19)
    assert (manifest.framed, manifest.multipart, manifest.encrypted, manifest.ledger, manifest.trailer) == (True,) * 5
    assert dict(manifest.checksums) == {"crc32": "y/Q5Jg==", "sha256": "47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=-4"}
    assert manifest.checksum_type == "COMPOSITE"


@given(manifest=manifests(), spelling=st.sampled_from((str.lower, str.upper, str.title)))
def test_round_trip(manifest: Manifest, spelling: Any) -> None:
    """Any manifest survives the way through metadata, in any spelling of the keys, among a client's own keys."""
    metadata = {spelling(key): value for key, value in manifest.to_metadata().items()}

    assert Manifest.from_metadata({"mine": "kept", **metadata, "s4": "mine too"}) == manifest
    assert pickle.loads(pickle.dumps(manifest)) == manifest
    assert copy.deepcopy(manifest) == manifest


def test_no_metadata() -> None:
    """An object without our keys is foreign and says nothing."""
    manifest = Manifest.from_metadata({"mine": "kept"})

    assert manifest == Manifest()
    assert not manifest.is_s4
    assert manifest.payload is None
    assert manifest.to_metadata() == {}


@pytest.mark.parametrize("missing", PAYLOAD)
@pytest.mark.parametrize("broken", [None, "", "x", "-1", "1.0", "١", " 1", "1" * 21, str(2**64)])
def test_payload_exists_as_a_whole_or_not_at_all(missing: str, broken: str | None) -> None:
    """With one of the four facts missing or unreadable, there is no payload manifest."""
    metadata = PAYLOAD | {missing: broken or ""}
    if broken is None:
        del metadata[missing]

    assert Manifest.from_metadata(PAYLOAD).payload == PayloadManifest(CodecId.CPU_ZSTD, 10, 9, 8)
    assert Manifest.from_metadata(metadata).payload is None


@pytest.mark.parametrize(
    ("metadata", "expected"),
    [
        (PAYLOAD, True),
        ({"s4-framed": "true"}, True),
        ({"s4-multipart": "true"}, True),
        ({"s4-encrypted": "aes-256-gcm"}, True),
        ({"s4-trailer": "1"}, True),
        (PAYLOAD | {"s4-codec": "from-the-future"}, True),
        ({"s4-codec": "cpu-zstd"}, False),
        ({"s4-codec": "cpu-zstd", "s4-original-size": "10"}, False),
        ({"s4-framed": "false", "s4-multipart": "1"}, False),
        ({"s4-ledger": "1", "s4-write": HEX32, "s4-parquet-zstd-level": "3"}, False),
        ({}, False),
    ],
)
def test_whose_body_it_is(metadata: dict[str, str], expected: bool) -> None:
    """A body is S4's with a whole manifest (even of an unknown codec) or a marker, and foreign otherwise."""
    assert Manifest.from_metadata(metadata).is_s4 is expected


def test_unknown_codec_keeps_its_label() -> None:
    """A label that is not known is kept, so that an error can name it, and gives no payload manifest."""
    manifest = Manifest.from_metadata(PAYLOAD | {"s4-codec": "from-the-future"})

    assert (manifest.codec, manifest.codec_label, manifest.payload) == (None, "from-the-future", None)
    assert manifest.to_metadata()["s4-codec"] == "from-the-future"


UNREADABLE = {
    "s4-codec": ["", "has space", "x" * 65],
    "s4-crc32c": [str(2**32)],
    "s4-framed": ["True", "1"],
    "s4-multipart": ["True", "1"],
    "s4-encrypted": ["true", "AES-256-GCM"],
    "s4-ledger": ["true"],
    "s4-logical-etag": [HEX32.upper(), HEX32[1:], f'"{HEX32}"', f"{HEX32}-", f"{HEX32}-123456"],
    "s4-dict-id": ["0123456789ABCDEF", "0123456789abcde", "../../0123456789"],
    "s4-dict-sha256": [HEX32],
    "s4-sse-type": ["aes256"],
    "s4-sse-c-key-md5": ["AAAA"],
    "s4-sse-kms-key-id": ["", "line\nbreak", "x" * 256],
    "s4-zstd-level": ["23", "-1"],
    "s4-parquet-zstd-level": ["max"],
    "s4-parquet-op-id": ["a b"],
    "s4-write": [HEX32.upper(), HEX32 + "0"],
    "s4-crc64nvme": ["AAAA", "not base64!!"],
    "s4-checksum-type": ["full_object"],
    "s4-checksum-crc32": ["", "a b", "AAAA==="],
}


@pytest.mark.parametrize(("key", "value"), [(key, value) for key, values in UNREADABLE.items() for value in values])
def test_unreadable_values_count_as_absent(key: str, value: str) -> None:
    """A value that breaks its key's syntax is as if the key were not there."""
    assert Manifest.from_metadata({key: value}) == Manifest()


@pytest.mark.parametrize("key", ["s4-checksum-", "s4-checksum-no_good", "s4-checksum-abcdefghijklmnopq", "s4-else", "s4-"])
def test_unknown_keys_are_passed_over(key: str) -> None:
    """Keys of ours that are not listed change nothing."""
    assert Manifest.from_metadata({key: "AAAA"}) == Manifest()


@pytest.mark.parametrize("value", ["", "0", "2", "true"])
def test_unknown_trailer_marker_is_an_error(value: str) -> None:
    """A trailer marker that is not known is refused: its trailer would be read as padding."""
    with pytest.raises(ManifestError) as caught:
        Manifest.from_metadata({"S4-Trailer": value})

    assert caught.value.reason is Reason.INVALID_VALUE


def test_one_key_in_two_spellings_is_an_error() -> None:
    """Two values for one key are a contradiction."""
    for read in (Manifest.from_metadata, select_reserved):
        with pytest.raises(ManifestError) as caught:
            read({"s4-framed": "true", "S4-Framed": "true"})
        assert caught.value.reason is Reason.DUPLICATE_KEY


@pytest.mark.parametrize(
    "fields",
    [
        {"codec": CodecId.CPU_ZSTD, "codec_label": "cpu-gzip"},
        {"codec_label": "has space"},
        {"original_size": -1},
        {"original_size": 2**64},
        {"crc32c": 2**32},
        {"logical_etag": f'"{HEX32}"'},
        {"write_token": "short"},
        {"zstd_level": 23},
        {"checksums": {"SHA256": "AAAA"}},
        {"checksums": {"type": "AAAA"}},
        {"checksums": {"sha256": ""}},
        {"checksum_type": "full"},
        {"sse_kms_key_id": "a\r\nb"},
    ],
)
def test_what_cannot_be_written_cannot_be_made(fields: dict[str, Any]) -> None:
    """A manifest with a value that its key's syntax does not allow is refused when it is made."""
    with pytest.raises(ManifestError) as caught:
        Manifest(**fields)

    assert caught.value.reason is Reason.INVALID_VALUE


def test_manifest_is_frozen() -> None:
    """Fields and checksums cannot be changed, not even through the mapping that was handed in."""
    checksums = {"crc32": "y/Q5Jg=="}
    manifest = Manifest(checksums=checksums)
    checksums["sha1"] = "AAAA"

    assert dict(manifest.checksums) == {"crc32": "y/Q5Jg=="}
    with pytest.raises(TypeError):
        manifest.checksums["sha1"] = "AAAA"  # type: ignore[index]
    with pytest.raises(FrozenInstanceError):
        manifest.framed = True  # type: ignore[misc]


def test_reserved_metadata_is_kept_apart() -> None:
    """Keys with our prefix in any letter case are ours, all others are the client's, and none is lost or changed."""
    metadata = {"mine": "1", "S4-Codec": "cpu-zstd", "s4-unknown": "x", "s4": "mine", "S4x": "mine", "Other": "2"}

    assert strip_reserved(metadata) == {"mine": "1", "s4": "mine", "S4x": "mine", "Other": "2"}
    assert select_reserved(metadata) == {"s4-codec": "cpu-zstd", "s4-unknown": "x"}
