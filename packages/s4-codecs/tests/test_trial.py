"""Choosing by trial: what is chosen, why, what it costs, and that the choice follows the content."""

import time
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from s4_format import Buffer, CodecId, iter_frames

from s4_codecs import (
    EncodeOptions,
    FramePolicy,
    GpuPreference,
    ObjectDecoder,
    ObjectEncoder,
    decode_object,
    decode_threaded,
    dispatch,
    encode_object,
    encode_threaded,
    frame_size,
    verify_object,
)
from s4_codecs._buffer import Pieces
from s4_codecs.dispatch import TrialPilot, Verdict, Why
from s4_codecs.dispatch.by_options import pilot_for
from s4_codecs.testing.batch import HostBatchCodec, provided
from s4_codecs.testing.workloads import WORKLOADS, jitter, log, nginx, noise, weights_f32

from .stand_ins import Differences, Missing

KIB, MIB = 1 << 10, 1 << 20
TRIAL = EncodeOptions(dispatcher="trial")
ZSTD, COLUMNAR, PLAIN = CodecId.CPU_ZSTD, CodecId.CPU_COLUMNAR, CodecId.PASSTHROUGH


@pytest.fixture(autouse=True)
def columnar() -> Iterator[None]:
    """A columnar codec is there whatever is installed."""
    with provided(Differences()):
        yield


def encoded(data: bytes, options: EncodeOptions = TRIAL, *, step: int = 100_000, size: int | None = None) -> tuple[ObjectEncoder, bytes]:
    """The encoder and the stored body of `data`."""
    encoder = ObjectEncoder(options, size=size, raw_passthrough_limit=0)
    chunks = (data[at : at + step] for at in range(0, len(data), step))
    return encoder, b"".join(encode_threaded(encoder, chunks, workers=0))


def codecs(body: bytes) -> list[CodecId]:
    """The codec of each frame."""
    return [frame.header.codec for frame in iter_frames(body)]


def decoded(body: bytes) -> bytes:
    """The plaintext, by the object decoder."""
    return b"".join(decode_threaded(ObjectDecoder(), (body,), workers=0))


@pytest.mark.parametrize(
    ("data", "codec", "why"),
    [
        (log(MIB), ZSTD, Why.SMALLEST),
        (jitter(MIB), COLUMNAR, Why.SMALLEST),
        (noise(MIB), PLAIN, Why.INCOMPRESSIBLE),
        (b"%PDF-" + noise(MIB), PLAIN, Why.INCOMPRESSIBLE),
        (log(4095), ZSTD, Why.TOO_SMALL),
        (noise(4088), PLAIN, Why.INCOMPRESSIBLE),
        (b"", ZSTD, Why.TOO_SMALL),
        (log(5000), ZSTD, Why.SMALLEST),
        (jitter(8192), COLUMNAR, Why.SMALLEST),
    ],
    ids=["text", "numbers", "noise", "magic", "short-text", "short-noise", "nothing", "5000", "8192"],
)
def test_what_is_chosen(data: bytes, codec: CodecId, why: Why) -> None:
    """Each kind of content gets the codec that stores the fewest bytes, and the reason says so."""
    decision = dispatch.explain(data)
    assert (decision.codec, decision.why) == (codec, why)
    assert encoded(data)[0].codec is codec


def test_explanations() -> None:
    """A decision names every codec in question with its bytes and cost, its own cost, and prints as a table."""
    decision = dispatch.explain(jitter(MIB))
    by_codec = {candidate.codec: candidate for candidate in decision.candidates}
    assert list(by_codec) == [PLAIN, ZSTD, COLUMNAR]
    assert [candidate.verdict for candidate in decision.candidates] == [Verdict.LARGER, Verdict.LARGER, Verdict.CHOSEN]
    assert by_codec[PLAIN].stored == decision.sample_bytes
    stored, plain = by_codec[COLUMNAR].stored, by_codec[ZSTD].stored
    assert stored is not None and plain is not None and stored < plain < decision.sample_bytes  # noqa: PT018
    assert decision.sample_bytes <= 256 * KIB
    assert decision.cost_ns == pytest.approx(decision.sample_bytes * (2.5 + 3.0) + 3_000_000)
    assert dispatch.explain(log(MIB)).cost_ns == pytest.approx(decision.sample_bytes * (2.5 + 3.0))
    assert decision.seconds > 0
    lines = str(decision).splitlines()
    assert lines[0].startswith("cpu-columnar: smallest, by ")
    assert len(lines) == 4
    assert "chosen" in lines[3]


def test_other_dispatchers_explain_too() -> None:
    """`explain` says what any options decide."""
    always = dispatch.explain(noise(8192), EncodeOptions(dispatcher="always"))
    assert (always.codec, always.why) == (ZSTD, Why.CONFIGURED)
    sampling = EncodeOptions(gpu=GpuPreference())
    assert dispatch.explain(noise(8192), sampling).why is Why.INCOMPRESSIBLE
    promoted = dispatch.explain(log(8192), sampling, total_size=MIB)
    assert (promoted.codec, promoted.why) == (CodecId.NVCOMP_ZSTD, Why.PROMOTED)
    excluded = EncodeOptions(gpu=GpuPreference(), exclude=frozenset({"nvcomp-zstd", "passthrough"}))
    assert dispatch.explain(log(8192), excluded, total_size=MIB).codec is ZSTD
    assert dispatch.explain(noise(8192), excluded).codec is ZSTD


@pytest.mark.parametrize("size", [5000, 100 * KIB, MIB, 64 * MIB, None])
def test_samples_are_bounded(size: int | None) -> None:
    """No trial looks at more than 256 KiB, and of objects of known size at an eighth, but for short ones."""
    content = log(min(size or MIB, MIB))
    decision = dispatch.explain(content, total_size=size)
    assert decision.sample_bytes <= min(256 * KIB, max(31 * KIB, len(content) if size is None else size // 8))


def test_the_budget_rules_slow_codecs_out() -> None:
    """A codec that takes longer than allowed is not tried, but for the configured one."""
    slow = EncodeOptions(dispatcher="trial", zstd_level=9)
    verdicts = {candidate.codec: candidate.verdict for candidate in dispatch.explain(jitter(MIB), slow).candidates}
    assert verdicts == {PLAIN: Verdict.LARGER, ZSTD: Verdict.CHOSEN, COLUMNAR: Verdict.OVER_BUDGET}
    generous = EncodeOptions(dispatcher="trial", zstd_level=9, trial_ns_per_byte=30)
    assert dispatch.explain(jitter(MIB), generous).codec is COLUMNAR


def test_the_faster_of_equals() -> None:
    """A codec that saves less than a hundredth more than a cheaper one is not worth its time."""
    decision = dispatch.explain(weights_f32(MIB), EncodeOptions(dispatcher="trial", codec="cpu-gzip", exclude=frozenset({"cpu-columnar"})))
    by_codec = {candidate.codec: candidate for candidate in decision.candidates}
    gzip, zstd = by_codec[CodecId.CPU_GZIP].stored, by_codec[ZSTD].stored
    assert gzip is not None and zstd is not None and gzip * 1.01 > zstd  # noqa: PT018
    assert decision.codec is ZSTD
    assert by_codec[CodecId.CPU_GZIP].verdict in (Verdict.DEARER, Verdict.LARGER)
    assert by_codec[COLUMNAR].verdict is Verdict.EXCLUDED


def test_excluded_and_missing_codecs() -> None:
    """Codecs that are excluded or cannot work are not chosen, and the decision says which is which; bytes can always stay as they are."""
    for excluded, codec in (({"cpu-columnar"}, ZSTD), ({"cpu-zstd"}, COLUMNAR), ({"cpu-zstd", "cpu-columnar", "passthrough"}, PLAIN)):
        options = EncodeOptions(dispatcher="trial", exclude=frozenset(excluded))
        assert dispatch.explain(jitter(MIB), options).codec is codec
        encoder, body = encoded(jitter(MIB), options)
        assert (encoder.codec, decoded(body)) == (codec, jitter(MIB))
    with provided(Missing()):
        decision = dispatch.explain(jitter(MIB))
        assert decision.codec is ZSTD
        assert decision.candidates[-1].verdict is Verdict.UNAVAILABLE


def test_nothing_left_to_save() -> None:
    """Where a cheap codec leaves next to nothing, dearer ones are not tried."""
    decision = dispatch.explain(nginx(MIB))
    assert decision.codec is ZSTD
    assert decision.candidates[-1].verdict is Verdict.NO_ROOM


def test_gpu_codecs_take_part_where_they_may() -> None:
    """Objects that are large enough are tried on the device, in one call; others are not."""
    gpu = HostBatchCodec(CodecId.NVCOMP_ZSTD)
    options = EncodeOptions(dispatcher="trial", gpu=GpuPreference(), exclude=frozenset({"nvcomp-bitcomp", "cpu-zstd"}))
    with provided(Differences(), gpu):
        assert dispatch.explain(log(MIB), options, total_size=MIB).codec is CodecId.NVCOMP_ZSTD
        assert gpu.batches == [1]
        assert dispatch.explain(log(MIB), options, total_size=MIB - 1).codec is COLUMNAR
    with provided(Differences(), HostBatchCodec(CodecId.NVCOMP_ZSTD, failures=1)):
        decision = dispatch.explain(log(MIB), options, total_size=MIB)
        assert decision.codec is COLUMNAR


@settings(max_examples=12)
@given(st.lists(st.integers(1, 700_000), max_size=4), st.sampled_from([0, 300_000, 2 * MIB]), st.booleans())
def test_any_chunks_give_one_body(cuts: list[int], head: int, sized: bool) -> None:
    """The body depends on the plaintext alone, not on the pieces it arrives in, nor on the threads."""
    data = log(head) + jitter(2 * MIB) + noise(MIB)
    size = len(data) if sized else None
    encoder = ObjectEncoder(TRIAL, size=size)
    chunks: list[Buffer] = []
    at = 0
    for cut in cuts:
        chunks.append(data[at : at + cut])
        at += cut
    body = b"".join(encode_threaded(encoder, [*chunks, data[at:]], workers=2))
    assert body == encoded(data, size=size)[1]
    assert decoded(body) == data


def test_the_choice_follows_the_content() -> None:
    """Where text gives way to numbers and numbers to noise, so do the codecs; what was decided and where can be read afterwards."""
    parts = log(8 * MIB), jitter(8 * MIB), noise(8 * MIB), log(8 * MIB)
    data = b"".join(parts)
    encoder, body = encoded(data)
    found = codecs(body)
    assert decoded(body) == data
    assert encoder.codec is ZSTD
    assert [decision.codec for decision in encoder.decisions] == [ZSTD, COLUMNAR, PLAIN, ZSTD]
    for decision, start in zip(encoder.decisions, (0, 8, 16, 24), strict=True):
        assert start * MIB <= decision.offset <= (start + 4) * MIB
    assert set(found) == {ZSTD, COLUMNAR, PLAIN}
    steady = encode_object(data, EncodeOptions())
    assert len(body) < len(steady.body)


def test_frames_have_the_size_of_their_codec() -> None:
    """The size of frames follows the codec, from the frame after the choice on."""
    _, body = encoded(noise(2 * MIB) + log(8 * MIB))
    sizes = [(frame.header.codec, frame.header.original_size) for frame in iter_frames(body)]
    full = {codec: frame_size(FramePolicy.DEFAULT, size=None, codec=codec) for codec in (PLAIN, ZSTD)}
    assert sizes[0] == (PLAIN, full[PLAIN])
    assert sizes[-2] == (ZSTD, full[ZSTD])
    asked: list[CodecId] = []

    def size_for(codec: CodecId) -> int:
        asked.append(codec)
        return {COLUMNAR: 2 * MIB}.get(codec, MIB)

    part = ObjectEncoder(TRIAL, size=None, frame_size=size_for)
    body = b"".join(encode_threaded(part, (jitter(5 * MIB),), workers=0))
    assert [frame.header.original_size for frame in iter_frames(body)] == [2 * MIB, 2 * MIB, MIB]
    assert asked == [ZSTD, COLUMNAR]
    with pytest.raises(ValueError, match="frame size"):
        ObjectEncoder(TRIAL, size=None, frame_size=lambda _: 100)


def test_little_is_held_back() -> None:
    """Input is held until the choice is made or a frame is full, and no longer."""
    encoder = ObjectEncoder(TRIAL, size=None)
    assert encoder.feed(log(512 * KIB - 1)) == []
    with pytest.raises(ValueError, match="not chosen"):
        _ = encoder.codec
    assert not encoder.deliberates(0)
    assert encoder.deliberates(1)
    assert encoder.deliberates(None)
    assert len(encoder.feed(b"\n")) == 1
    assert encoder.codec is ZSTD
    assert not encoder.deliberates(100)
    assert encoder.deliberates(512 * KIB)
    assert not ObjectEncoder(EncodeOptions(), size=None).deliberates(MIB)


def test_raw_bodies_stay_raw() -> None:
    """An incompressible object of known size is stored bare, whatever follows its beginning, since it has no frames to differ."""
    data = noise(MIB) + log(MIB)
    encoder = ObjectEncoder(TRIAL, size=len(data))
    assert b"".join(encode_threaded(encoder, (data,), workers=0)) == data
    assert (encoder.raw, encoder.codec) == (True, PLAIN)


def test_whole_objects() -> None:
    """An object of mixed frames has sound metadata, trailer and sidecar, and ranges across its codecs decode."""
    data = log(6 * MIB) + jitter(12 * MIB)
    stored = encode_object(data, TRIAL, workers=2)
    assert stored.manifest.codec is ZSTD
    last = stored.frames[-1]
    assert {ZSTD, COLUMNAR} <= set(codecs(stored.body[: last.stored_offset + last.stored_size]))
    for start in (0, 6 * MIB - 10, 8 * MIB, len(data) - 4096):
        assert decode_object(stored.body, stored.metadata, start=start, stop=start + 4096) == data[start : start + 4096]
    assert verify_object(stored.body, stored.metadata).original_size == len(data)


WORK = 64 * MIB


def pieces(view: memoryview) -> Pieces:
    """The bytes as a server receives them."""
    made = Pieces()
    for at in range(0, len(view), 64 * KIB):
        made.add(view[at : at + 64 * KIB])
    return made


@pytest.mark.parametrize("name", ["nginx", "log", "parquet_like", "walk_f64", "noise"])
def test_trials_take_little_time(name: str) -> None:
    """Of the CPU time of encoding 64 MiB, choosing takes at most 5 %, counted by the table of costs; measured, twice as much would fail."""
    block = memoryview(WORKLOADS[name](4 * MIB))
    pilot = pilot_for(TRIAL, WORK)
    assert isinstance(pilot, TrialPilot)
    window = pieces(block[: 512 * KIB])
    pick = pilot.first(window)
    size = frame_size(FramePolicy.DEFAULT, size=WORK, codec=pick)
    frames = [pieces(block[at : at + size]) for at in range(0, len(block), size)]
    for _ in range(WORK // len(block)):
        for frame in frames:
            pilot.following(frame)
    assert pilot.encoding_ns > 0
    assert pilot.spent_ns <= 0.05 * pilot.encoding_ns

    def choosing() -> float:
        fresh = pilot_for(TRIAL, WORK)
        began = time.thread_time()
        fresh.first(window)
        for _ in range(WORK // len(block)):
            for frame in frames:
                fresh.following(frame)
        return time.thread_time() - began

    def encoding() -> float:
        encoder = ObjectEncoder(EncodeOptions(codec=pick.label, dispatcher="always"), size=WORK)
        began = time.thread_time()
        for task in encoder.feed(block):
            task.run()
        return (time.thread_time() - began) * WORK / len(block)

    assert min(choosing() for _ in range(3)) <= 0.10 * min(encoding() for _ in range(3))


def test_content_that_changes_all_the_time_is_bounded_too() -> None:
    """However often the content changes, choosing takes no more than its share."""
    kinds = [pieces(memoryview(make(512 * KIB))) for make in (log, jitter, weights_f32)]
    pilot = pilot_for(TRIAL, WORK)
    assert isinstance(pilot, TrialPilot)
    pilot.first(kinds[0])
    for number in range(WORK // (512 * KIB)):
        pilot.following(kinds[number % len(kinds)])
    assert pilot.spent_ns <= 0.05 * pilot.encoding_ns
    assert len(pilot.decisions) > 2
