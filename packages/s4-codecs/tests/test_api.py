"""The one-call functions."""

import hashlib
from base64 import b64decode
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from s4_format import CodecId, FormatError, Manifest, crc32c, decode_sidecar, iter_items, lookup_range, md5_etag, read_trailer

import s4_codecs
from s4_codecs import (
    CodecUnavailableError,
    Compressed,
    CorruptPayloadError,
    CrcMismatchError,
    DictionaryError,
    EncodedObject,
    EncodeOptions,
    FramePolicy,
    SizeLimitError,
    SizeMismatchError,
    Telemetry,
    bind_index,
    build_index,
    compress,
    crc64nvme,
    decode_object,
    decompress,
    encode_object,
    iter_frames,
)
from s4_codecs.testing.workloads import log, noise

MIB = 1 << 20
REFERENCE = EncodeOptions(frame_policy=FramePolicy.REFERENCE)


@given(st.binary(max_size=5000), st.sampled_from(["passthrough", "cpu-zstd", "cpu-gzip"]))
def test_compress_and_decompress(data: bytes, codec: str) -> None:
    """Any bytes come back through any codec, with a manifest that says what they are."""
    made = compress(bytearray(data), codec=codec)
    assert made.manifest.codec.label == codec
    assert (made.manifest.original_size, made.manifest.compressed_size) == (len(data), len(made.payload))
    assert made.manifest.crc32c == crc32c(data)
    assert decompress(memoryview(made.payload), made.manifest) == data


def test_compress_defaults_and_levels() -> None:
    """zstd is the default; the level is the codec's own."""
    data = log(100_000)
    assert compress(data).manifest.codec is CodecId.CPU_ZSTD
    sizes = [len(compress(data, codec=codec, level=level).payload) for codec, level in (("cpu-zstd", 1), ("cpu-zstd", 19), ("cpu-gzip", 9))]
    assert sizes[1] < sizes[0]
    assert sizes[1] < sizes[2]
    with pytest.raises(ValueError, match="not 10"):
        compress(data, codec="cpu-gzip", level=10)
    with pytest.raises(CodecUnavailableError):
        compress(data, codec="nvcomp-zstd")
    with pytest.raises(DictionaryError):
        compress(data, codec=CodecId.CPU_ZSTD_DICT)


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"original_size": 999}, SizeMismatchError),
        ({"original_size": 1001}, SizeMismatchError),
        ({"original_size": 1 << 40}, SizeLimitError),
        ({"compressed_size": 1}, SizeMismatchError),
        ({"crc32c": 1}, CrcMismatchError),
        ({"codec": CodecId.CPU_GZIP}, CorruptPayloadError),
    ],
)
def test_decompress_checks_the_manifest(changes: dict[str, int], error: type[Exception]) -> None:
    """A manifest that does not fit is refused, each lie with its own error."""
    made: Compressed = compress(log(1000))
    with pytest.raises(error):
        decompress(made.payload, replace(made.manifest, **changes))
    with pytest.raises(SizeLimitError):
        decompress(made.payload, made.manifest, max_original_size=999)


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("size", [0, 1, 4096, MIB // 2, MIB // 2 + 1, 3 * MIB + 7])
def test_encode_object_by_default(size: int, workers: int) -> None:
    """A stored object proves itself: digests in the metadata, and with several frames a trailer and a sidecar that agree."""
    data = log(size)
    stored: EncodedObject = encode_object(data, workers=workers)
    several = size > MIB // 2
    assert decode_object(stored.body, stored.metadata, workers=workers) == data
    assert stored.manifest == Manifest.from_metadata(stored.metadata)
    assert stored.manifest.logical_etag == md5_etag(hashlib.md5(data).digest())
    assert stored.manifest.compressed_size == len(stored.body)
    assert stored.metadata["s4-framed"] == "true"
    assert (stored.sidecar is not None, stored.manifest.trailer) == (several, several)
    if several:
        trailer = read_trailer(stored.body, body_size=len(stored.body))
        assert trailer.frames == stored.frames == decode_sidecar(stored.sidecar or b"").frames
        assert trailer.attributes.checksums == {"crc64nvme": stored.manifest.crc64nvme}
        assert crc64nvme(data) == int.from_bytes(b64decode(stored.manifest.crc64nvme or ""), "big")


def test_encode_object_of_noise() -> None:
    """Incompressible objects are stored bare up to 8 MiB, above as frames with a trailer."""
    bare, framed = encode_object(noise(8 * MIB)), encode_object(noise(8 * MIB + 8))
    assert (bare.body == noise(8 * MIB), bare.manifest.framed, bare.manifest.logical_etag is not None) == (True, False, True)
    assert (framed.manifest.framed, framed.manifest.trailer, len(framed.frames)) == (True, True, 33)
    assert decode_object(framed.body, framed.metadata, start=MIB - 1, stop=MIB + 1) == noise(2 * MIB)[MIB - 1 : MIB + 1]


@pytest.mark.parametrize(("size", "frames"), [(0, 0), (MIB, 1), (4 * MIB - 1, 1), (4 * MIB, 1), (4 * MIB + 1, 2), (9 * MIB, 3)])
def test_encode_object_by_the_reference(size: int, frames: int) -> None:
    """The reference policy has the reference's frames and metadata, and no trailer; a sidecar only for several frames."""
    data = log(size)
    stored = encode_object(data, REFERENCE)
    assert len(stored.frames) == frames
    assert (stored.sidecar is not None) == (frames > 1)
    assert set(stored.metadata) == {"s4-codec", "s4-original-size", "s4-compressed-size", "s4-crc32c", "s4-framed"}
    assert stored.metadata["s4-compressed-size"] == str(len(stored.body))
    assert all(item.header.codec is CodecId.CPU_ZSTD for item in iter_frames(stored.body))
    assert decode_object(stored.body, stored.metadata) == data


def test_reference_passthrough_is_bare_at_any_size() -> None:
    """The reference never frames passthrough objects."""
    stored = encode_object(noise(9 * MIB), REFERENCE)
    assert (stored.body == noise(9 * MIB), stored.metadata.get("s4-framed"), stored.sidecar) == (True, None, None)
    empty = encode_object(b"", EncodeOptions(codec="passthrough", frame_policy=FramePolicy.REFERENCE))
    assert (empty.body, empty.manifest.framed) == (b"", False)


def test_sidecar_entries_point_at_frames() -> None:
    """A range looked up in the sidecar names the bytes that decode to it; binding adds the source and nothing else."""
    data = log(3 * MIB)
    stored = encode_object(data)
    bound = decode_sidecar(bind_index(stored.sidecar or b"", source_size=len(stored.body), source_etag="abc"))
    assert (bound.source_size, bound.source_etag, bound.padded_size) == (len(stored.body), "abc", len(stored.body))
    assert decode_sidecar(bind_index(bound, source_size=5, source_etag=None)).source_etag is None
    plan = lookup_range(bound.frames, MIB + 5, MIB + 10)
    assert plan is not None
    window = stored.body[plan.stored_start : plan.stored_end]
    part = b"".join(s4_codecs.decode_frame(item.header, item.payload) for item in iter_frames(window))
    assert part[plan.slice_start : plan.slice_end] == data[MIB + 5 : MIB + 10]
    with pytest.raises(FormatError):
        bind_index(b"garbage", source_size=1, source_etag=None)


def test_build_index() -> None:
    """The index of a body is found again by walking it; a body that is not frames has none."""
    stored = encode_object(log(3 * MIB))
    index = build_index(stored.body)
    assert (index.frames, index.padded_size) == (stored.frames, len(stored.body))
    assert len(build_index(b"").frames) == 0
    with pytest.raises(FormatError):
        build_index(log(100))


def test_frames_are_iterated_lazily() -> None:
    """Frames before a damaged one can be read."""
    stored = encode_object(log(2 * MIB + 5))
    frames = iter_frames(stored.body[:-5000] + b"garbage" * 10)
    assert next(frames).header.original_size == MIB // 2
    assert sum(1 for _ in iter_items(stored.body)) == 6


def test_telemetry() -> None:
    """Each operation reports codec, sizes and time once; without an observer nothing happens."""
    seen: list[Telemetry] = []
    data = log(100_000)
    made = compress(data, observe=seen.append)
    decompress(made.payload, made.manifest, observe=seen.append)
    stored = encode_object(noise(4096), observe=seen.append)
    decode_object(stored.body, stored.metadata, observe=seen.append)
    decode_object(b"foreign", {}, observe=seen.append)
    zstd, plain = CodecId.CPU_ZSTD, CodecId.PASSTHROUGH
    assert [(one.operation, one.codec, one.bytes_in, one.bytes_out) for one in seen] == [
        ("compress", zstd, len(data), len(made.payload)),
        ("decompress", zstd, len(made.payload), len(data)),
        ("encode_object", plain, 4096, 4096),
        ("decode_object", plain, 4096, 4096),
        ("decode_object", None, 7, 7),
    ]
    assert all(one.seconds > 0 for one in seen)


def test_public_names() -> None:
    """Every name of `__all__` exists, the list is sorted, and nothing public is missing from it."""
    names = s4_codecs.__all__
    assert sorted(names, key=lambda name: (not name.isupper(), name[0].islower() or name[0] == "_", name)) == names
    missing = [name for name in names if not hasattr(s4_codecs, name)]
    assert missing == []
    public = {
        name
        for name, value in vars(s4_codecs).items()
        if not name.startswith("_") and getattr(value, "__module__", "").startswith("s4_codecs") and not hasattr(value, "__path__")
    }
    assert public <= set(names)


def test_every_error_has_its_own_reason() -> None:
    """Errors share one base, which is a ValueError, and say machine-readably what happened."""
    errors = [value for value in vars(s4_codecs).values() if isinstance(value, type) and issubclass(value, s4_codecs.CodecError)]
    leaves = [error for error in errors if error is not s4_codecs.CodecError]
    assert len(leaves) >= 12
    assert len({error.reason for error in leaves}) == len(leaves)
    assert all(issubclass(error, ValueError) for error in leaves)
