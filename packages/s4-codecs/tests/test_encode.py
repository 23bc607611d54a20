"""The object encoder: frames, guard, raw bodies, order, sizes."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from s4_format import Buffer, CodecId, FormatError, FrameTable, crc32c, iter_frames, scan_frames

from s4_codecs import (
    CodecUnavailableError,
    DictionaryError,
    EncodeOptions,
    EncodeSizeError,
    FramePolicy,
    FrameTask,
    ObjectEncoder,
    Reason,
    decode_frame,
)
from s4_codecs.testing.workloads import log, noise, records

from .golden import golden

KIB, MIB = 1 << 10, 1 << 20
FULL = 512 * KIB
"""Plaintext of a full frame by default."""
DEFAULT = EncodeOptions()
REFERENCE = EncodeOptions(frame_policy=FramePolicy.REFERENCE)
ALWAYS = EncodeOptions(dispatcher="always")


def run(encoder: ObjectEncoder, *chunks: Buffer) -> bytes:
    """The stored body of `chunks`."""
    tasks = [task for chunk in chunks for task in encoder.feed(chunk)] + encoder.finish()
    return b"".join(piece for task in tasks for piece in encoder.accept(task.run()))


def decoded(body: bytes) -> bytes:
    """The plaintext of a framed body."""
    return b"".join(decode_frame(frame.header, frame.payload) for frame in iter_frames(body))


def codecs(body: bytes) -> list[CodecId]:
    """The codec of each frame."""
    return [frame.header.codec for frame in iter_frames(body)]


@given(st.binary(max_size=40_000), st.lists(st.integers(1, 9_000), max_size=8), st.booleans(), st.sampled_from(list(FramePolicy)))
def test_any_chunks_give_one_body(data: bytes, cuts: list[int], sized: bool, policy: FramePolicy) -> None:
    """The body depends on the plaintext alone, not on the pieces it arrives in; everything reported about it is true."""
    options = EncodeOptions(frame_policy=policy, zstd_level=1)
    size = len(data) if sized else None
    whole = ObjectEncoder(options, size=size, frame_size=4096)
    body = run(whole, data)
    chunks, at = [], 0
    for cut in cuts:
        chunks.append(data[at : at + cut])
        at += cut
    pieces = ObjectEncoder(options, size=size, frame_size=4096)
    assert run(pieces, *chunks, bytearray(data[at:])) == body
    for encoder in (whole, pieces):
        assert encoder.done
        assert (encoder.original_size, encoder.stored_size, encoder.crc32c) == (len(data), len(body), crc32c(data))
        manifest = encoder.payload_manifest
        assert (manifest.original_size, manifest.compressed_size, manifest.crc32c) == (len(data), len(body), crc32c(data))
        assert manifest.codec is encoder.codec
        assert encoder.raw or (encoder.frames, len(body)) == scan_frames(body)
    assert (body if whole.raw else decoded(body)) == data


@pytest.mark.parametrize("size", [0, 1, 4095, 4096, 4097, FULL - 1, FULL, FULL + 1, 3 * FULL])
@pytest.mark.parametrize("declared", [True, False])
def test_frame_boundaries(size: int, declared: bool) -> None:
    """Every frame but the last is full, and there is no empty one."""
    data = log(size)
    encoder = ObjectEncoder(DEFAULT, size=size if declared else None)
    body = run(encoder, data)
    assert decoded(body) == data
    sizes = [entry.original_size for entry in encoder.frames]
    assert sizes == [FULL] * (size // FULL) + ([size % FULL] if size % FULL else [])


def test_byte_by_byte() -> None:
    """Feeding single bytes gives the same body."""
    data = records(36 * 300)
    one = ObjectEncoder(DEFAULT, size=len(data), frame_size=4096)
    whole = ObjectEncoder(DEFAULT, size=len(data), frame_size=4096)
    assert run(one, *(data[n : n + 1] for n in range(len(data)))) == run(whole, data)


def test_no_bytes_make_no_frames() -> None:
    """An empty object has an empty body under the configured codec."""
    encoder = ObjectEncoder(DEFAULT, size=0)
    assert run(encoder) == b""
    assert (encoder.codec, encoder.raw, len(encoder.frames)) == (CodecId.CPU_ZSTD, False, 0)
    assert encoder.payload_manifest.crc32c == 0


def test_frames_that_do_not_shrink_are_stored_as_they_are() -> None:
    """In a body of text and noise the noise frames are passthrough, and each frame grows by no more than its header."""
    data = log(FULL) + noise(FULL) + log(FULL) + noise(512)
    encoder = ObjectEncoder(DEFAULT, size=len(data))
    body = run(encoder, data)
    zstd, plain = CodecId.CPU_ZSTD, CodecId.PASSTHROUGH
    assert codecs(body) == [zstd, plain, zstd, plain]
    assert encoder.codec is zstd
    assert decoded(body) == data
    assert all(entry.stored_size <= entry.original_size + 28 for entry in encoder.frames)


def test_the_reference_policy_has_no_guard() -> None:
    """The reference stores a frame that grew, and so does its policy."""
    data = noise(64)
    assert codecs(run(ObjectEncoder(REFERENCE, size=64), data)) == [CodecId.CPU_ZSTD]
    assert codecs(run(ObjectEncoder(DEFAULT, size=64), data)) == [CodecId.PASSTHROUGH]


@given(st.binary(max_size=3000))
def test_nothing_grows_beyond_headers(data: bytes) -> None:
    """No object grows by more than one header a frame."""
    encoder = ObjectEncoder(ALWAYS, size=None, frame_size=4096)
    assert len(run(encoder, data)) <= len(data) + 28 * len(encoder.frames)


@pytest.mark.parametrize(
    ("size", "declared", "limit", "raw"),
    [
        (4096, True, 8 * MIB, True),
        (8 * MIB, True, 8 * MIB, True),
        (8 * MIB + 8, True, 8 * MIB, False),
        (4096, False, 8 * MIB, False),
        (4096, True, 0, False),
        (4096, True, 4095, False),
    ],
)
def test_raw_bodies(size: int, declared: bool, limit: int, raw: bool) -> None:
    """A passthrough pick of known size up to the limit is stored bare; otherwise as passthrough frames."""
    data = noise(size)
    encoder = ObjectEncoder(DEFAULT, size=size if declared else None, raw_passthrough_limit=limit)
    body = run(encoder, data[:100], data[100:])
    assert (encoder.codec, encoder.raw) == (CodecId.PASSTHROUGH, raw)
    assert (body == data, len(encoder.frames) == 0) == (raw, raw)
    assert raw or (set(codecs(body)) == {CodecId.PASSTHROUGH} and decoded(body) == data)
    assert encoder.payload_manifest.compressed_size == len(body)


def test_an_empty_passthrough_object_that_must_be_framed() -> None:
    """Without raw bodies an empty object is a framed one of no frames."""
    encoder = ObjectEncoder(EncodeOptions(codec="passthrough"), size=0, raw_passthrough_limit=0)
    assert (run(encoder), encoder.raw) == (b"", False)


def test_passthrough_copies_nothing() -> None:
    """The pieces of a passthrough frame are the caller's own buffers."""
    data = noise(200_000)
    encoder = ObjectEncoder(DEFAULT, size=None)
    tasks = encoder.feed(data) + encoder.finish()
    _, payload = encoder.accept(tasks[0].run())
    assert payload is data


@pytest.mark.parametrize("codec", ["cpu-zstd", "cpu-gzip", "passthrough"])
@pytest.mark.parametrize("level", [1, 19])
def test_codecs_and_levels(codec: str, level: int) -> None:
    """Every codec that needs no dictionary makes frames that decode."""
    data = log(100_000)
    encoder = ObjectEncoder(EncodeOptions(codec=codec, zstd_level=level), size=None)
    body = run(encoder, data)
    assert (encoder.codec.label, decoded(body)) == (codec, data)


def test_the_level_counts() -> None:
    """A higher level makes a smaller body."""
    bodies = [run(ObjectEncoder(EncodeOptions(zstd_level=level), size=None), log(300_000)) for level in (1, 9, 19)]
    assert sorted(map(len, bodies), reverse=True) == list(map(len, bodies))


def test_dictionary() -> None:
    """With a dictionary, frames name it and decode with it."""
    entry = golden("gateway/dict_event")
    options = EncodeOptions(codec="cpu-zstd-dict", dictionary=entry.dictionary, frame_policy=FramePolicy.REFERENCE)
    frame = next(iter_frames(entry.body))
    plaintext = bytes(decode_frame(frame.header, frame.payload, dictionary=entry.dictionary))
    assert run(ObjectEncoder(options, size=len(plaintext)), plaintext) == entry.body
    with pytest.raises(DictionaryError):
        run(ObjectEncoder(EncodeOptions(codec="cpu-zstd-dict", dictionary=b"\x37\xa4\x30\xecdamaged"), size=5), b"hello")


@pytest.mark.parametrize(("size", "data"), [(10, b"123456789"), (10, b""), (1, b"")])
def test_too_few_bytes(size: int, data: bytes) -> None:
    """Fewer bytes than declared are an error at the end."""
    encoder = ObjectEncoder(DEFAULT, size=size)
    encoder.feed(data)
    with pytest.raises(EncodeSizeError, match="declared") as caught:
        encoder.finish()
    assert caught.value.reason is Reason.DECLARED_SIZE


@pytest.mark.parametrize("size", [0, 9])
def test_too_many_bytes(size: int) -> None:
    """One byte more than declared is an error at once."""
    encoder = ObjectEncoder(DEFAULT, size=size)
    encoder.feed(b"123456789"[:size])
    with pytest.raises(EncodeSizeError):
        encoder.feed(b"x")


def test_tasks_run_in_any_order_and_are_accepted_in_theirs() -> None:
    """Frames may be compressed in any order, but only the next one is accepted."""
    data = log(20 * 4096)
    encoder = ObjectEncoder(DEFAULT, size=len(data), frame_size=4096)
    tasks = encoder.feed(data) + encoder.finish()
    assert [(task.sequence, task.size) for task in tasks] == [(n, 4096) for n in range(20)]
    frames = {task.sequence: task.run() for task in random.Random(1).sample(tasks, len(tasks))}
    with pytest.raises(ValueError, match="frame 1 accepted, frame 0 is next"):
        encoder.accept(frames[1])
    body = b"".join(piece for n in range(20) for piece in encoder.accept(frames[n]))
    assert decoded(body) == data
    with pytest.raises(ValueError, match="frame 19 accepted, frame 20 is next"):
        encoder.accept(frames[19])


@pytest.mark.parametrize("step", [1000, MIB])
def test_the_pick_decides_the_frame_size(step: int) -> None:
    """Passthrough frames are smaller, since nothing is lost by it; an explicit size holds for every codec."""
    for explicit, expected in ((None, 256 * KIB), (100_000, 100_000)):
        encoder = ObjectEncoder(DEFAULT, size=None, frame_size=explicit)
        assert encoder.frame_size == (explicit or FULL)
        data = noise(MIB)
        run(encoder, *(data[at : at + step] for at in range(0, MIB, step)))
        assert encoder.frame_size == encoder.frames[0].original_size == expected


def test_the_codec_is_known_as_soon_as_the_sample_is() -> None:
    """After 4 KiB the pick is made, whatever pieces they came in."""
    encoder = ObjectEncoder(DEFAULT, size=None)
    for at in range(0, 4095, 5):
        assert encoder.feed(noise(4096)[at : at + 5]) == []
    with pytest.raises(ValueError, match="not chosen"):
        assert encoder.codec
    encoder.feed(b"x")
    assert encoder.codec is CodecId.PASSTHROUGH


def test_misuse_is_refused() -> None:
    """Calls out of order and values out of bounds are errors of the caller."""
    with pytest.raises(ValueError, match="negative"):
        ObjectEncoder(DEFAULT, size=-1)
    for frame_size in (0, 4095, (64 << 20) + 1):
        with pytest.raises(ValueError, match="frame size"):
            ObjectEncoder(DEFAULT, size=None, frame_size=frame_size)
    encoder = ObjectEncoder(DEFAULT, size=None)
    for early in (lambda: encoder.codec, lambda: encoder.raw, lambda: encoder.payload_manifest):
        with pytest.raises(ValueError, match="not"):
            early()
    encoder.feed(b"x")
    task: FrameTask = encoder.finish()[0]
    assert encoder.codec is CodecId.CPU_ZSTD
    assert not encoder.done
    assert encoder.frames == FrameTable.from_sizes([])
    encoder.accept(task.run())
    assert encoder.done
    for late in (lambda: encoder.feed(b"x"), encoder.finish):
        with pytest.raises(ValueError, match="finish"):
            late()


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"codec": "zstd"}, FormatError),
        ({"zstd_level": 0}, ValueError),
        ({"zstd_level": 23}, ValueError),
        ({"dispatcher": "magic"}, ValueError),
        ({"exclude": frozenset({"lz5"})}, FormatError),
        ({"exclude": frozenset({"cpu-zstd"})}, ValueError),
        ({"dispatcher": "trial", "trial_ns_per_byte": 0.0}, ValueError),
        ({"dispatcher": "trial", "trial_ns_per_byte": float("nan")}, ValueError),
        ({"frame_policy": "huge"}, ValueError),
        ({"codec": "cpu-zstd-dict"}, DictionaryError),
        ({"dictionary": b"useless"}, ValueError),
    ],
)
def test_options_are_checked_when_made(change: dict[str, object], error: type[Exception]) -> None:
    """Options that cannot work are refused before the first byte."""
    with pytest.raises(error):
        EncodeOptions(**change)


def test_policy_by_name() -> None:
    """The policy may be given by its name."""
    assert EncodeOptions(frame_policy="reference") == REFERENCE
    assert ObjectEncoder(REFERENCE, size=50 * MIB).frame_size == 4 * MIB


def test_unavailable_codec() -> None:
    """A codec without a provider is named when the first frame is cut."""
    encoder = ObjectEncoder(EncodeOptions(codec="nvcomp-gans"), size=None)
    encoder.feed(log(1000))
    with pytest.raises(CodecUnavailableError, match="nvcomp-gans"):
        encoder.finish()


@pytest.mark.parametrize("step", [1, 100, 20_000])
def test_small_feeds_are_not_quadratic(step: int) -> None:
    """A frame that arrives in small pieces is held in few of them, and none is held longer than its frame."""
    data = log(200_000)
    encoder = ObjectEncoder(DEFAULT, size=None, frame_size=100_000)
    for at in range(0, len(data), step):
        for task in encoder.feed(data[at : at + step]):
            assert task.size == 100_000
            assert len(task._pieces) <= 8
            encoder.accept(task.run())
    assert encoder.finish() == []
    assert encoder.original_size == len(data)
