"""The object decoder: whole bodies, ranges, limits, damage."""

import random
from collections.abc import Iterable
from dataclasses import replace
from struct import pack

import pytest
from hypothesis import given
from hypothesis import strategies as st
from s4_format import (
    Buffer,
    CodecId,
    FormatError,
    FrameError,
    FrameHeader,
    FrameTable,
    Manifest,
    PayloadManifest,
    crc32c,
    lookup_range,
    padding_header,
    scan_frames,
)

import s4_codecs.decode
from s4_codecs import (
    CodecError,
    CodecUnavailableError,
    CorruptPayloadError,
    CrcMismatchError,
    DecodeStream,
    DecodeTask,
    DictionaryError,
    EncodeOptions,
    EncryptedObjectError,
    IndexMismatchError,
    ObjectDecoder,
    PayloadDecoder,
    Reason,
    SizeLimitError,
    SizeMismatchError,
    codec_for,
    decode_frame,
    decode_payload,
    decode_threaded,
    encode_object,
    open_decoder,
)
from s4_codecs.testing.workloads import log, noise

MIB = 1 << 20


def frame(data: bytes, name: str = "cpu-zstd", **changes: int) -> bytes:
    """One stored frame; `changes` falsify its header."""
    payload = codec_for(name).compress(data)
    header = FrameHeader(codec_for(name).codec_id, len(data), len(payload), crc32c(data))
    return replace(header, **changes).pack() + payload


def padding(size: int) -> bytes:
    """One stored padding item."""
    return padding_header(size) + bytes(size)


def body_of(contents: Iterable[bytes], *, codecs: str = "cpu-zstd", pad: int | None = None) -> tuple[bytes, FrameTable]:
    """A framed body with padding between frames, and its table."""
    names = codecs.split()
    pieces = [frame(data, names[n % len(names)]) + (padding(pad) if pad is not None else b"") for n, data in enumerate(contents)]
    body = b"".join(pieces)
    return body, scan_frames(body)[0]


def run(decoder: ObjectDecoder | PayloadDecoder, *chunks: Buffer) -> bytes:
    """The plaintext of `chunks`."""
    return b"".join(decode_threaded(decoder, chunks, workers=0))


def collect(decoder: ObjectDecoder | PayloadDecoder, chunks: list[bytes], *, into: bytearray) -> None:
    """As `run`, keeping what came out before an error."""
    for buffer in decode_threaded(decoder, chunks, workers=0):
        into += buffer


CONTENTS = [log(5000), b"", noise(3000), b"x", log(9000)[4000:], b""]
WHOLE = b"".join(CONTENTS)
BODY, TABLE = body_of(CONTENTS, codecs="cpu-zstd passthrough cpu-gzip", pad=5)


@pytest.mark.parametrize("step", [1, 3, 28, 1000, len(BODY)])
def test_whole_body_in_any_pieces(step: int) -> None:
    """Mixed codecs, empty frames and padding decode, however the body arrives."""
    decoder = ObjectDecoder(expected_size=len(WHOLE), expect=TABLE)
    assert run(decoder, *(BODY[at : at + step] for at in range(0, len(BODY), step))) == WHOLE
    assert decoder.finished


@given(st.integers(0, len(WHOLE)), st.integers(0, len(WHOLE)))
def test_ranges_of_a_whole_body(start: int, stop: int) -> None:
    """Any range of the plaintext comes out of the whole body."""
    start, stop = min(start, stop), max(start, stop)
    assert run(ObjectDecoder(start=start, stop=stop), BODY) == WHOLE[start:stop]


@given(st.integers(0, len(WHOLE) - 1), st.integers(1, len(WHOLE)), st.integers(1, 2000))
def test_ranges_through_the_index(start: int, size: int, step: int) -> None:
    """A range needs only the frames that the index names, and their headers must equal its entries."""
    stop = min(start + size, len(WHOLE))
    plan = lookup_range(TABLE, start, stop)
    assert plan is not None
    decoder = ObjectDecoder(
        start=start,
        stop=stop,
        original_offset=TABLE[plan.first].original_offset,
        stored_offset=plan.stored_start,
        expected_size=len(WHOLE),
        expect=TABLE,
        first_frame=plan.first,
    )
    window = BODY[plan.stored_start : plan.stored_end]
    assert run(decoder, *(window[at : at + step] for at in range(0, len(window), step))) == WHOLE[start:stop]
    assert decoder.finished


def test_frames_outside_the_range_are_not_decoded() -> None:
    """Damage and missing codecs outside the range do not matter; nothing behind its stop is even parsed."""
    bad = bytearray(frame(log(1000)))
    bad[-1] ^= 1
    missing = frame(b"gpu", codec=CodecId.NVCOMP_GANS)
    body = bytes(bad) + missing + frame(b"wanted") + frame(b"unwanted")[:20] + b"garbage"
    assert run(ObjectDecoder(start=1003, stop=1009), body) == b"wanted"
    assert run(ObjectDecoder(start=1004, stop=1005), body) == b"a"
    with pytest.raises(CodecUnavailableError):
        run(ObjectDecoder(start=1002, stop=1009), body)


def test_an_empty_range_needs_nothing() -> None:
    """An empty range is finished before the first byte."""
    decoder = ObjectDecoder(start=5, stop=5)
    assert decoder.finished
    assert (decoder.feed(b"whatever"), decoder.close()) == ([], [])


def test_a_range_that_ends_early() -> None:
    """A body that ends before the range does is an error that says so."""
    for stop, body in ((len(WHOLE) + 1, BODY), (10, b""), (5000, frame(log(4999)))):
        with pytest.raises(SizeMismatchError) as caught:
            run(ObjectDecoder(stop=stop), body)
        assert caught.value.reason is Reason.BODY_TRUNCATED


@pytest.mark.parametrize("end", [*range(60), *range(60, len(BODY), 97)])
def test_truncated_bodies(end: int) -> None:
    """No proper prefix of a body is taken for the whole, whether size or index are known or only the frames themselves."""
    boundaries = {entry.stored_end for entry in TABLE} | {entry.stored_end + 17 for entry in TABLE} | {0}
    for decoder in (ObjectDecoder(expected_size=len(WHOLE)), ObjectDecoder(expect=TABLE), ObjectDecoder(stop=len(WHOLE))):
        if end < TABLE[4].stored_end:
            with pytest.raises(ValueError, match=r"bytes|wanted"):
                run(decoder, BODY[:end])
    if end not in boundaries:
        with pytest.raises(FrameError):
            run(ObjectDecoder(), BODY[:end])


@pytest.mark.parametrize("expected", [len(WHOLE) - 1, len(WHOLE) + 1, 0])
def test_another_total_size(expected: int) -> None:
    """A body that holds more or less than the object has is refused, before the excess is decoded."""
    with pytest.raises(SizeMismatchError):
        run(ObjectDecoder(expected_size=expected), BODY)


def test_damaged_bodies_never_give_wrong_bytes() -> None:
    """Whatever byte changes, the result is an error or the right plaintext; only padding may change unnoticed."""
    chance = random.Random(3)
    for position in range(0, len(BODY), 11):
        damaged = bytearray(BODY)
        damaged[position] ^= chance.randrange(1, 256)
        try:
            assert run(ObjectDecoder(expected_size=len(WHOLE)), damaged) == WHOLE
        except (CodecError, FormatError):
            pass


@given(st.binary(max_size=200), st.integers(1, 50))
def test_garbage(data: bytes, step: int) -> None:
    """Random bytes are an error of ours, or the empty body they are."""
    for body in (data, b"S4F2" + data, b"S4P1" + data):
        try:
            found = run(ObjectDecoder(), *(body[at : at + step] for at in range(0, len(body), step)))
        except (CodecError, FormatError):
            continue
        assert found == b""


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"crc32c": 5}, CrcMismatchError),
        ({"original_size": 999}, SizeMismatchError),
        ({"original_size": 1001}, SizeMismatchError),
        ({"original_size": (5 << 30) + 1}, SizeLimitError),
        ({"payload_size": (5 << 30) + 1}, SizeLimitError),
        ({"codec": CodecId.CPU_GZIP}, CorruptPayloadError),
        ({"codec": CodecId.CPU_ZSTD_DICT}, DictionaryError),
        ({"codec": CodecId.DIETGPU_ANS}, CodecUnavailableError),
    ],
)
def test_lying_headers(changes: dict[str, int], error: type[CodecError]) -> None:
    """A header that promises something else than the payload holds is refused, each lie with its own error."""
    with pytest.raises(error):
        run(ObjectDecoder(), frame(log(1000), **changes))


def test_a_lying_passthrough_header() -> None:
    """Both sizes of a passthrough frame must be the payload's."""
    for changes in ({"original_size": 3}, {"original_size": 5}):
        with pytest.raises(SizeMismatchError):
            run(ObjectDecoder(), frame(b"four", "passthrough", **changes))


def test_frame_size_limit() -> None:
    """The caller's bound on one frame holds for plaintext and payload, before anything is collected."""
    assert run(ObjectDecoder(max_frame_size=1000), frame(log(1000))) == log(1000)
    with pytest.raises(SizeLimitError):
        run(ObjectDecoder(max_frame_size=999), frame(log(1000)))
    with pytest.raises(SizeLimitError):
        ObjectDecoder(max_frame_size=999).feed(pack("<4sIQQI", b"S4F2", 1, 1, 1000, 0))


@pytest.mark.parametrize("which", range(4))
def test_headers_must_equal_the_index(which: int) -> None:
    """An entry that differs from the header found in any of its four numbers is refused, and so are too few entries."""
    body, table = body_of([log(1000), log(2000)], pad=100)
    rows = [list(entry) for entry in table]
    rows[1][which] += 1
    with pytest.raises(IndexMismatchError):
        run(ObjectDecoder(expect=FrameTable.from_entries([tuple(row) for row in rows])), body)
    with pytest.raises(IndexMismatchError):
        run(ObjectDecoder(expect=FrameTable.from_entries([table[0]])), body)
    with pytest.raises(SizeMismatchError):
        run(ObjectDecoder(expect=table), body[: table[1].stored_offset])


def test_tasks_run_in_any_order() -> None:
    """Frames may be decoded in any order, and are accepted in theirs."""
    contents = [log(1000 + n) for n in range(20)]
    decoder = ObjectDecoder(start=1500, stop=15_000)
    tasks = [task for task in decoder.feed(body_of(contents)[0]) if isinstance(task, DecodeTask)]
    results = {task.sequence: task.run() for task in random.Random(2).sample(tasks, len(tasks))}
    with pytest.raises(ValueError, match="frame 1 accepted, frame 0 is next"):
        decoder.accept(results[1])
    assert b"".join(decoder.accept(results[n]) for n in range(len(tasks))) == b"".join(contents)[1500:15_000]


def test_misuse_is_refused() -> None:
    """Reversed ranges and calls after the end are errors of the caller."""
    for start, stop in ((-1, None), (5, 4)):
        with pytest.raises(ValueError, match="not a range"):
            ObjectDecoder(start=start, stop=stop)
    decoder = ObjectDecoder()
    decoder.close()
    with pytest.raises(ValueError, match="feed after close"):
        decoder.feed(b"")


def test_byte_by_byte_frames_are_held_compactly() -> None:
    """A payload that arrives in single bytes is not held as single views."""
    body = frame(noise(100_000), "passthrough")
    decoder = ObjectDecoder()
    for position in range(len(body) - 1):
        assert decoder.feed(body[position : position + 1]) == []
    assert decoder._task is not None
    assert len(decoder._task._pieces.parts()) <= 2


class TestWideFrames:
    """Frames too large to be held are decoded as they arrive."""

    @pytest.fixture(autouse=True)
    def small_bound(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(s4_codecs.decode, "STREAM_ABOVE_BYTES", 2000)

    @pytest.mark.parametrize("step", [1, 500, 100_000])
    @pytest.mark.parametrize("codec", ["cpu-zstd", "cpu-gzip", "passthrough"])
    def test_mixed_with_small_ones(self, codec: str, step: int) -> None:
        """Order is kept between frames decoded whole and frames decoded piecewise, in threads and without."""
        contents = [log(100), log(3000), log(50), noise(2500), log(6000), b"end"]
        body, table = body_of(contents, codecs=codec, pad=1)
        chunks = [body[at : at + step] for at in range(0, len(body), step)]
        for workers in (0, 2):
            decoder = ObjectDecoder(expected_size=sum(map(len, contents)), expect=table)
            assert b"".join(decode_threaded(decoder, chunks, workers=workers)) == b"".join(contents)

    @given(st.integers(0, 8999), st.integers(1, 9000))
    def test_ranges(self, start: int, size: int) -> None:
        """Ranges that begin or end inside a wide frame are exact."""
        contents = [log(4000), b"x" * 1000, noise(4000)]
        stop = min(start + size, 9000)
        assert run(ObjectDecoder(start=start, stop=stop), body_of(contents)[0]) == b"".join(contents)[start:stop]

    @pytest.mark.parametrize("step", [100, 100_000])
    def test_nothing_wrong_looks_complete(self, step: int) -> None:
        """A wide frame whose CRC is wrong never gives all its bytes, and the error comes instead of the last ones."""
        data = noise(5 * MIB // 8)
        body = frame(data, crc32c=1)
        got, chunks = bytearray(), [body[at : at + step] for at in range(0, len(body), step)]
        with pytest.raises(CrcMismatchError):
            collect(ObjectDecoder(stop=len(data)), chunks, into=got)
        assert len(got) < len(data)

    @pytest.mark.parametrize(
        ("changes", "error"), [({"original_size": 2999}, SizeMismatchError), ({"original_size": 3001}, SizeMismatchError)]
    )
    def test_lying_sizes(self, changes: dict[str, int], error: type[CodecError]) -> None:
        """Another size than promised is an error here too."""
        with pytest.raises(error):
            run(ObjectDecoder(), frame(log(3000), **changes))

    def test_truncated(self) -> None:
        """A wide frame that ends early is an error, and a range inside it is not complete before its end is proven."""
        body = frame(log(30_000))
        for end in range(29, len(body), 101):
            with pytest.raises(FrameError):
                run(ObjectDecoder(), body[:end])
        decoder = ObjectDecoder(stop=10)
        work = decoder.feed(body[:-1])
        assert [buffer for stream in work if isinstance(stream, DecodeStream) for buffer in stream] == []
        assert not decoder.finished


def manifest(data: bytes, payload: bytes, codec: CodecId) -> PayloadManifest:
    """What metadata says of an unframed payload."""
    return PayloadManifest(codec, len(data), len(payload), crc32c(data))


@pytest.mark.parametrize("codec", ["cpu-gzip", "cpu-zstd", "passthrough"])
class TestUnframedPayloads:
    """Bodies that are one payload."""

    @pytest.mark.parametrize("step", [1, 1000, 10_000_000])
    def test_streaming(self, codec: str, step: int) -> None:
        """The payload decodes as it arrives, and so do its ranges."""
        data = log(20_000)
        payload = codec_for(codec).compress(data)
        facts = manifest(data, payload, codec_for(codec).codec_id)
        chunks = [payload[at : at + step] for at in range(0, len(payload), step)]
        assert run(PayloadDecoder(facts), *chunks) == data
        assert decode_payload(facts, payload) == data
        for start, stop in ((0, 1), (5, None), (19_999, 20_000), (7, 7), (100, 19_000)):
            assert run(PayloadDecoder(facts, start=start, stop=stop), *chunks) == data[start:stop]

    @pytest.mark.parametrize(
        ("changes", "error"),
        [
            ({"crc32c": 0}, CrcMismatchError),
            ({"original_size": 19_999}, SizeMismatchError),
            ({"original_size": 20_001}, SizeMismatchError),
            ({"original_size": (5 << 30) + 1}, SizeLimitError),
            ({"compressed_size": 5}, SizeMismatchError),
            ({"compressed_size": 50_000}, SizeMismatchError),
        ],
    )
    def test_lies(self, codec: str, changes: dict[str, int], error: type[CodecError]) -> None:
        """Each false promise of the metadata is an error, whole and streamed, and the last bytes never come."""
        data = log(20_000)
        payload = codec_for(codec).compress(data)
        facts = replace(manifest(data, payload, codec_for(codec).codec_id), **changes)
        got = bytearray()
        with pytest.raises(error):
            collect(PayloadDecoder(facts), [payload], into=got)
        assert len(got) < len(data)
        with pytest.raises(error):
            decode_payload(facts, payload)

    def test_truncated(self, codec: str) -> None:
        """A payload that ends early is an error at every offset."""
        data = log(700)
        payload = codec_for(codec).compress(data)
        facts = manifest(data, payload, codec_for(codec).codec_id)
        for end in range(len(payload)):
            with pytest.raises(SizeMismatchError):
                run(PayloadDecoder(facts), payload[:end])

    def test_a_range_beyond_the_end(self, codec: str) -> None:
        """A stop beyond the plaintext is an error."""
        payload = codec_for(codec).compress(b"short")
        with pytest.raises(SizeMismatchError):
            run(PayloadDecoder(manifest(b"short", payload, codec_for(codec).codec_id), stop=6), payload)


def test_empty_payloads() -> None:
    """No bytes at all are an empty passthrough body, and damage for every other codec."""
    assert run(PayloadDecoder(PayloadManifest(CodecId.PASSTHROUGH, 0, 0, 0))) == b""
    with pytest.raises(CorruptPayloadError):
        run(PayloadDecoder(PayloadManifest(CodecId.CPU_GZIP, 0, 0, 0)))


def test_concatenated_zstd_bodies() -> None:
    """An unframed body of several zstd streams, as the first gateways wrote, is read to its end."""
    data = log(50_000)
    payload = codec_for("cpu-zstd").compress(data[:20_000]) + codec_for("cpu-zstd").compress(data[20_000:])
    facts = manifest(data, payload, CodecId.CPU_ZSTD)
    assert run(PayloadDecoder(facts), payload[:99], payload[99:]) == data
    assert decode_payload(facts, payload) == data


def test_open_decoder_follows_the_metadata() -> None:
    """Framed, multipart and trailer marks mean frames; a manifest means one payload; nothing means foreign bytes."""
    one = encode_object(log(5000))
    many = encode_object(log(3 * MIB))
    assert isinstance(open_decoder(one.manifest), ObjectDecoder)
    assert isinstance(open_decoder(Manifest(multipart=True)), ObjectDecoder)
    assert run(open_decoder(many.manifest, start=MIB - 1, stop=MIB + 1), many.body) == log(3 * MIB)[MIB - 1 : MIB + 1]
    assert run(open_decoder(Manifest(trailer=True)), many.body) == log(3 * MIB)
    assert isinstance(open_decoder(replace(one.manifest, framed=False)), PayloadDecoder)
    assert run(open_decoder(Manifest()), b"S4F2", b" is not ours") == b"S4F2 is not ours"
    with pytest.raises(EncryptedObjectError):
        open_decoder(replace(one.manifest, encrypted=True))
    with pytest.raises(SizeMismatchError):
        run(open_decoder(replace(one.manifest, original_size=4999)), one.body)


def test_a_stray_dictionary_id_is_ignored() -> None:
    """Frames decide whether a dictionary is needed, not the metadata."""
    one = encode_object(log(5000))
    assert run(open_decoder(replace(one.manifest, dict_id="0123456789abcdef")), one.body) == log(5000)


def test_dictionaries_of_frames() -> None:
    """Dictionary frames decode with their dictionary, mixed with others; without it the error says what is missing."""
    dictionary = log(4000)
    options = EncodeOptions(codec="cpu-zstd-dict", dictionary=dictionary)
    stored = encode_object(log(1000), options)
    body = stored.body + frame(b"plain")
    assert run(ObjectDecoder(dictionary=dictionary), body) == log(1000) + b"plain"
    with pytest.raises(DictionaryError) as caught:
        run(ObjectDecoder(), body)
    assert caught.value.reason is Reason.DICTIONARY_MISSING
    with pytest.raises(CodecError):
        run(ObjectDecoder(dictionary=dictionary[::-1]), body)


def test_decode_frame_checks_the_payload_length() -> None:
    """A header and a payload of another length do not belong together."""
    stored = frame(b"data")
    header = FrameHeader(CodecId.CPU_ZSTD, 4, len(stored) - 28, crc32c(b"data"))
    assert decode_frame(header, stored[28:]) == b"data"
    with pytest.raises(SizeMismatchError):
        decode_frame(header, stored[28:] + b"\0")


def test_passthrough_frames_are_views() -> None:
    """A passthrough frame that arrived in one piece is handed out without a copy."""
    data = noise(100_000)
    stored = frame(data, "passthrough")
    decoder = ObjectDecoder()
    (task,) = decoder.feed(stored)
    assert isinstance(task, DecodeTask)
    view = decoder.accept(task.run())
    assert isinstance(view, memoryview)
    assert view.obj is stored
