"""Proving stored objects."""

import hashlib
from base64 import b64encode
from dataclasses import replace

import pytest
from s4_format import (
    Attributes,
    FrameTable,
    Manifest,
    Part,
    Trailer,
    TrailerError,
    composite_etag,
    encode_trailer,
    scan_frames,
)

from s4_codecs import (
    ChecksumMismatchError,
    CodecError,
    CorruptPayloadError,
    CrcMismatchError,
    EncodeOptions,
    EncryptedObjectError,
    IndexMismatchError,
    ObjectEncoder,
    SizeMismatchError,
    encode_object,
    encode_threaded,
    verify_object,
)
from s4_codecs.testing.workloads import log, noise

MIB = 1 << 20
DATA = log(3 * MIB + 5)
STORED = encode_object(DATA)


@pytest.mark.parametrize("data", [b"", log(5000), DATA, noise(5000), noise(9 * MIB)], ids=["empty", "one", "several", "bare", "noise"])
def test_sound_objects(data: bytes) -> None:
    """What we write is proven completely."""
    stored = encode_object(data)
    proof = verify_object(stored.body, stored.metadata, workers=2)
    assert (proof.original_size, proof.stored_size, proof.frames) == (len(data), len(stored.body), len(stored.frames))
    assert proof.checked == {"crc32c", "crc64nvme", "etag"} | ({"trailer"} if len(stored.frames) > 1 else set())


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"crc32c": 5}, ChecksumMismatchError),
        ({"logical_etag": "0" * 32}, ChecksumMismatchError),
        ({"crc64nvme": "AAAAAAAAAAA="}, ChecksumMismatchError),
        ({"checksums": {"sha256": b64encode(bytes(32)).decode()}}, ChecksumMismatchError),
        ({"original_size": len(DATA) - 1}, SizeMismatchError),
        ({"original_size": len(DATA) + 1}, SizeMismatchError),
        ({"compressed_size": len(STORED.body) - 1}, SizeMismatchError),
        ({"encrypted": True}, EncryptedObjectError),
    ],
)
def test_wrong_promises(changes: dict[str, object], error: type[CodecError]) -> None:
    """Each promise of the metadata that does not hold is found."""
    with pytest.raises(error):
        verify_object(STORED.body, replace(STORED.manifest, **changes))


def test_further_checksums_are_compared() -> None:
    """Checksums that a client gave are proven; composite ones and unknown algorithms promise nothing about the whole."""
    checksums = {
        "sha256": b64encode(hashlib.sha256(DATA).digest()).decode(),
        "sha1": b64encode(bytes(20)).decode() + "-2",
        "crc16": "AAAA",
    }
    proof = verify_object(STORED.body, replace(STORED.manifest, checksums=checksums))
    assert proof.checked == {"crc32c", "crc64nvme", "etag", "trailer", "sha256"}


@pytest.mark.parametrize("position", [30, 5000, len(STORED.body) // 2])
def test_damage(position: int) -> None:
    """A changed byte of a frame is found."""
    damaged = bytearray(STORED.body)
    damaged[position] ^= 0x40
    with pytest.raises((CorruptPayloadError, CrcMismatchError, SizeMismatchError)):
        verify_object(damaged, STORED.manifest)


def test_a_damaged_trailer() -> None:
    """Damage in the trailer is found, although reading the frames does not need it."""
    damaged = bytearray(STORED.body)
    damaged[-20] ^= 1
    with pytest.raises(TrailerError):
        verify_object(damaged, STORED.manifest)


def test_frames_exchanged_under_a_sound_trailer() -> None:
    """Sound frames of equal size in each other's place are found by the object's own checksums."""
    plain = [b"a" * 5000, b"b" * 5000]
    body, table = joined(plain)
    end = encode_trailer(Trailer(Attributes(10_000), (), table), offset=len(body))
    manifest = replace(encode_object(b"".join(plain)).manifest, compressed_size=None, trailer=True)
    assert "trailer" in verify_object(body + end, manifest).checked
    with pytest.raises(ChecksumMismatchError):
        verify_object(joined(plain[::-1])[0] + end, manifest)


def test_a_trailer_of_other_frames() -> None:
    """A trailer that fits the body's length but not its frames is found."""
    body, table = joined([log(5000), noise(3000)])
    other = FrameTable.from_sizes([(8000 - entry.original_size, len(body) - entry.stored_size) for entry in table])
    end = encode_trailer(Trailer(Attributes(8000), (), other), offset=len(body))
    with pytest.raises(IndexMismatchError):
        verify_object(body + end, Manifest(framed=True, trailer=True, original_size=8000))


def joined(parts: list[bytes]) -> tuple[bytes, FrameTable]:
    """The bodies of `parts`, one behind the other, and their table."""
    body = b""
    for part in parts:
        encoder = ObjectEncoder(EncodeOptions(), size=len(part), raw_passthrough_limit=0)
        body += b"".join(encode_threaded(encoder, (part,), workers=0))
    return body, scan_frames(body)[0]


@pytest.mark.parametrize("sizes", [[5000], [100, 200, 50], [0], [1, 0, 2, 0]])
def test_composite_etags_need_the_part_table(sizes: list[int]) -> None:
    """The ETag of a multipart object is proven through the parts that its trailer lists, and only then."""
    parts = [log(1000 + size)[1000:] for size in sizes]
    etag = composite_etag([hashlib.md5(part).digest() for part in parts])
    body, frames = joined(parts)
    manifest = Manifest(multipart=True, original_size=sum(sizes), logical_etag=etag)
    assert verify_object(body, manifest).checked == frozenset()
    listed = tuple(Part(n + 1, len(part)) for n, part in enumerate(parts))
    end = encode_trailer(Trailer(Attributes(sum(sizes), logical_etag=etag), listed, frames), offset=len(body))
    marked = replace(manifest, trailer=True)
    assert verify_object(body + end, marked).checked == {"etag", "trailer"}
    with pytest.raises(ChecksumMismatchError):
        verify_object(body + end, replace(marked, logical_etag="0" * 32 + f"-{len(parts)}"))


def test_foreign_objects_promise_nothing() -> None:
    """A body without S4 metadata is only measured."""
    proof = verify_object(b"anything", {"mine": "kept"})
    assert (proof.original_size, proof.frames, proof.checked) == (8, 0, frozenset())
