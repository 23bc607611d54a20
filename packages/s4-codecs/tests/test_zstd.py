"""What is particular to the zstd codecs and to gzip."""

import gzip
import zlib

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from s4_codecs import CorruptPayloadError, DictionaryError, Reason, SizeMismatchError
from s4_codecs._zstd_blocks import MAX_BLOCK_BYTES, BlockWalker
from s4_codecs.gzip import GzipCodec
from s4_codecs.testing.workloads import log, noise
from s4_codecs.zstd import ZstdCodec
from s4_codecs.zstd_dict import MAX_DICTIONARY_BYTES, ZstdDictCodec

from .golden import golden

TEXT = log(300_000)
SKIPPABLE = b"\x53\x2a\x4d\x18\x05\x00\x00\x00hello"
TRAINED = golden("gateway/dict_event").dictionary or b""


def standard(data: bytes, *, level: int = 3, **options: bool) -> bytes:
    """One frame as any zstd writer makes it."""
    return zstandard.ZstdCompressor(level=level, **options).compress(data)


@pytest.mark.parametrize("level", range(1, 23))
def test_every_level(level: int) -> None:
    """All levels round-trip in both forms, and any zstd decoder reads them."""
    data = TEXT[:100_000]
    for streaming in (False, True):
        payload = ZstdCodec(level=level, streaming=streaming).compress(data)
        assert zstandard.ZstdDecompressor().decompress(payload, max_output_size=len(data)) == data
        assert len(payload) < len(data) / 3
    assert repr(ZstdCodec(level=level)) == f"ZstdCodec(level={level}, streaming=False)"


def test_the_two_forms() -> None:
    """The default form records the content size; the streaming form has the reference's header: no size, 2 MiB window at level 3."""
    sized, streamed = ZstdCodec().compress(TEXT), ZstdCodec(streaming=True).compress(TEXT)
    assert zstandard.frame_content_size(sized) == len(TEXT)
    assert streamed[:6] == b"\x28\xb5\x2f\xfd\x00\x58"
    assert abs(len(sized) - len(streamed)) < len(TEXT) // 1000


@given(st.lists(st.integers(1, 100_000), max_size=6))
def test_the_streaming_form_does_not_depend_on_the_write_size(cuts: list[int]) -> None:
    """Input written in any pieces gives the bytes that one piece gives."""
    stream = zstandard.ZstdCompressor(level=3).compressobj()
    pieces, at = [], 0
    for cut in [*cuts, len(TEXT)]:
        pieces.append(stream.compress(TEXT[at : at + cut]))
        at += cut
    assert b"".join([*pieces, stream.flush()]) == ZstdCodec(streaming=True).compress(TEXT)


@pytest.mark.parametrize(
    "payload",
    [
        standard(TEXT[:1000]) + standard(TEXT[1000:]),
        standard(b"") + standard(TEXT) + standard(b""),
        SKIPPABLE + standard(TEXT),
        standard(TEXT) + SKIPPABLE,
        standard(TEXT, write_checksum=True) + standard(b"", write_checksum=True),
        standard(TEXT[:5], write_content_size=False) + ZstdCodec(streaming=True).compress(TEXT[5:]),
        b"".join(standard(TEXT[at : at + 30_000], level=1, write_checksum=True) for at in range(0, len(TEXT), 30_000)),
    ],
    ids=["two", "empty ones around", "skippable first", "skippable last", "checksums", "without sizes", "ten"],
)
def test_concatenated_frames(payload: bytes) -> None:
    """Several frames in one payload are all decoded, whole and piecewise; one junk byte behind them is an error."""
    codec = ZstdCodec()
    assert codec.decompress(payload, len(TEXT)) == TEXT
    for step in (1, 5, 1000):
        inflater = codec.inflater()
        assert b"".join(piece for at in range(0, len(payload), step) for piece in inflater.feed(payload[at : at + step])) == TEXT
        inflater.close()
    with pytest.raises(CorruptPayloadError):
        codec.decompress(payload + b"\x28", len(TEXT))
    with pytest.raises(SizeMismatchError):
        codec.decompress(payload + standard(b"x"), len(TEXT))


def test_a_damaged_checksum_is_seen() -> None:
    """The checksum that other writers add is verified."""
    payload = bytearray(standard(TEXT, write_checksum=True))
    payload[-1] ^= 1
    with pytest.raises(CorruptPayloadError):
        ZstdCodec().decompress(payload, len(TEXT))


def test_a_lying_content_size_is_not_believed() -> None:
    """A frame header that promises 2^60 bytes allocates nothing."""
    payload = bytearray(ZstdCodec().compress(bytes(1 << 16)))
    header = b"\x28\xb5\x2f\xfd\xe0" + (1 << 60).to_bytes(8, "little")
    lying = header + bytes(payload[zstandard.frame_header_size(bytes(payload)) :])
    with pytest.raises((CorruptPayloadError, SizeMismatchError)):
        ZstdCodec().decompress(lying, 1 << 16)


def test_payloads_above_the_preallocation_bound() -> None:
    """Large promises are kept too, by the path that grows with what is there."""
    data = bytes(65 << 20)
    payload = ZstdCodec(level=1).compress(data)
    assert ZstdCodec().decompress(payload, len(data)) == data


def walk(stream: bytes, *, pieces: int, max_blocks: int) -> list[int]:
    """Where frames end, as a walker says that is fed `pieces` bytes at a time."""
    walker, position, ends = BlockWalker(), 0, []
    for at in range(0, len(stream), pieces):
        view = memoryview(stream)[at : at + pieces]
        while view:
            size, over = walker.step(view, max_blocks=max_blocks)
            assert size > 0
            view, position = view[size:], position + size
            if over:
                ends.append(position)
    assert walker.complete == (bool(ends) and ends[-1] == len(stream))
    return ends


@given(st.lists(st.sampled_from([b"", b"x", TEXT[:50_000], TEXT, bytes(400_000), noise(200_000)]), max_size=4), st.booleans())
def test_block_walker(contents: list[bytes], checksum: bool) -> None:
    """Frame ends are found wherever the input is cut."""
    frames = [standard(content, level=1, write_checksum=checksum) for content in contents]
    stream = b"".join(frames)
    expected = [sum(map(len, frames[: n + 1])) for n in range(len(frames))]
    for pieces, max_blocks in ((len(stream) or 1, 8), (1000, 1), (7 if len(stream) < 100_000 else 4999, 3)):
        assert walk(stream, pieces=pieces, max_blocks=max_blocks) == expected


@given(st.binary(max_size=60))
def test_block_walker_takes_garbage(data: bytes) -> None:
    """Anything else than zstd is an error or an unfinished frame, and every step makes progress."""
    stream = b"\x28\xb5\x2f\xfd" + data
    try:
        walk(stream, pieces=3, max_blocks=2)
    except CorruptPayloadError:
        pass


def test_steps_are_bounded() -> None:
    """No step spans more blocks than asked for, so no step decodes to more than that many times 128 KiB."""
    stream = memoryview(standard(bytes(10 * MAX_BLOCK_BYTES), level=1))
    walker, decoder = BlockWalker(), zstandard.ZstdDecompressor().decompressobj()
    sizes = []
    while stream:
        size, _ = walker.step(stream, max_blocks=2)
        sizes.append(len(decoder.decompress(stream[:size])))
        stream = stream[size:]
    assert sum(sizes) == 10 * MAX_BLOCK_BYTES
    assert max(sizes) <= 2 * MAX_BLOCK_BYTES


def test_an_empty_payload_is_no_stream() -> None:
    """No bytes at all are not an empty zstd stream."""
    with pytest.raises(CorruptPayloadError):
        ZstdCodec().decompress(b"", 0)


@pytest.mark.parametrize(
    ("decoder", "reason"),
    [
        (ZstdCodec(), Reason.DICTIONARY_MISSING),
        (ZstdDictCodec(dictionary=b"another dictionary of raw content" * 9), Reason.DICTIONARY_MISSING),
        (
            ZstdDictCodec(
                dictionary=zstandard.train_dictionary(4096, [TEXT[at : at + 300] for at in range(0, 120_000, 300)]).as_bytes(),
            ),
            Reason.DICTIONARY_INVALID,
        ),
    ],
    ids=["none", "raw", "trained"],
)
def test_the_wrong_dictionary(decoder: ZstdCodec | ZstdDictCodec, reason: Reason) -> None:
    """A frame that names its dictionary is refused without it, and by any other."""
    data = TEXT[:2000]
    payload = ZstdDictCodec(dictionary=TRAINED).compress(data)
    with pytest.raises(DictionaryError) as caught:
        decoder.decompress(payload, len(data))
    assert caught.value.reason is reason


@pytest.mark.parametrize(
    ("dictionary", "reason"),
    [
        (None, Reason.DICTIONARY_MISSING),
        (b"", Reason.DICTIONARY_INVALID),
        (bytes(MAX_DICTIONARY_BYTES + 1), Reason.DICTIONARY_INVALID),
        (b"\x37\xa4\x30\xec" + b"not a dictionary", Reason.DICTIONARY_INVALID),
        (TRAINED[:100], Reason.DICTIONARY_INVALID),
    ],
    ids=["none", "empty", "too large", "damaged", "truncated"],
)
def test_unusable_dictionaries(dictionary: bytes | None, reason: Reason) -> None:
    """A dictionary that cannot work is refused when the codec is made."""
    with pytest.raises(DictionaryError) as caught:
        ZstdDictCodec(dictionary=dictionary)
    assert caught.value.reason is reason


def test_a_dictionary_is_not_shown() -> None:
    """The representation names size and level, not the content."""
    assert repr(ZstdDictCodec(dictionary=TRAINED, level=4)) == "ZstdDictCodec(dictionary=<17917 bytes>, level=4)"


@pytest.mark.parametrize("level", range(10))
def test_gzip_is_gzip(level: int) -> None:
    """The standard library reads our members, and we read its."""
    payload = GzipCodec(level=level).compress(TEXT)
    assert payload[:8] == b"\x1f\x8b\x08\x00\0\0\0\0"
    assert gzip.decompress(payload) == TEXT
    assert GzipCodec().decompress(gzip.compress(TEXT, level), len(TEXT)) == TEXT


def test_gzip_stops_after_the_first_member() -> None:
    """What follows the first member is ignored, whole and piecewise."""
    payload = gzip.compress(b"first") + gzip.compress(b"second") + b"junk"
    inflater = GzipCodec().inflater()
    assert GzipCodec().decompress(payload, 5) == b"first"
    assert b"".join(piece for byte in payload for piece in inflater.feed(bytes([byte]))) == b"first"
    inflater.close()


def test_gzip_trailer_is_verified() -> None:
    """Damage in CRC32 or length of the member is an error."""
    for position in (-1, -5):
        payload = bytearray(zlib.compress(TEXT, wbits=31))
        payload[position] ^= 1
        with pytest.raises(CorruptPayloadError):
            GzipCodec().decompress(payload, len(TEXT))
