"""GDeflate pages: what nvCOMP wrote decodes, what it never writes too, and what breaks a rule is refused in bounded time."""

import random
import time
from contextlib import suppress

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from s4_codecs import CodecError, CorruptPayloadError, SizeMismatchError
from s4_codecs.nvcomp.gdeflate import decode_pages
from s4_codecs.nvcomp.gdeflate import max_blocks as most_blocks

from . import slow_gdeflate
from .slow_gdeflate import Dynamic, Fixed, Stored, Symbol, Writer, encode

Block = Stored | Fixed | Dynamic


def fast(page: bytes, size: int) -> bytes:
    """One page."""
    (plain,) = decode_pages([page], [size])
    return plain


def plaintext(blocks: list[Block]) -> bytes:
    """What blocks stand for."""
    out = bytearray()
    for block in blocks:
        for symbol in block.data if isinstance(block, Stored) else block.symbols:
            if isinstance(symbol, tuple):
                for _ in range(symbol[0]):
                    out.append(out[-symbol[1]])
            else:
                out.append(symbol)
    return bytes(out)


@st.composite
def pages(draw: st.DrawFn, *, max_blocks: int = 4) -> list[Block]:
    """Blocks of any type, whose matches reach back as far as there is something."""
    blocks: list[Block] = []
    size = 0
    for kind in draw(st.lists(st.sampled_from((Stored, Fixed, Dynamic)), min_size=1, max_size=max_blocks)):
        if kind is Stored:
            blocks.append(Stored(draw(st.binary(max_size=200))))
            size += len(blocks[-1].data)
            continue
        symbols: list[Symbol] = []
        alphabet = draw(st.integers(0, 255))
        for number in draw(st.lists(st.integers(0, 2**32), max_size=150)):
            length, distance = 3 + number % (40 if number % 7 else 300), 1 + (number >> 9) % max(size, 1)
            symbol: Symbol = (length, distance) if size and number & 1 else (number >> 1) % (alphabet + 1)
            symbols.append(symbol)
            size += length if isinstance(symbol, tuple) else 1
        blocks.append(kind(tuple(symbols)))
    return blocks


@given(st.lists(pages(), min_size=1, max_size=4))
def test_pages_of_any_blocks(drawn: list[list[Block]]) -> None:
    """Pages of stored, fixed and dynamic blocks, decoded together, are what they stand for; the slow decoder says the same."""
    plain = [plaintext(blocks) for blocks in drawn]
    stored = [encode(blocks) for blocks in drawn]
    assert [slow_gdeflate.decode(page, len(data)) for page, data in zip(stored, plain, strict=True)] == plain
    assert decode_pages(stored, [len(data) for data in plain]) == plain


def test_long_lengths_and_distances() -> None:
    """Every code of lengths and distances at both ends of its range, among them the three that are not RFC 1951's."""
    chance = random.Random(1)
    head = chance.randbytes(65_535), chance.randbytes(100)
    ends = [end for base, extra in slow_gdeflate.DISTANCES for end in {base, base + (1 << extra) - 1}]
    assert max(ends) == 65_536
    far = tuple((3 + number % 5, distance) for number, distance in enumerate(ends))
    long = tuple(
        (length, 1 + number * 97)
        for number, (base, extra) in enumerate(slow_gdeflate.LENGTHS)
        for length in {base, base + (1 << extra) - 1}
    )
    for kind in (Fixed, Dynamic):
        blocks = [Stored(head[0]), Stored(head[1]), kind(far), kind(long)]
        data = plaintext(blocks)
        assert len(data) > 2 * 65_536
        assert fast(encode(blocks), len(data)) == data


def test_matches_that_repeat_themselves() -> None:
    """A match may overlap what it makes, and one lane's source may be another lane's pending match."""
    symbols = (65, 66, 67, *((3 + number, 1 + number % 3) for number in range(100)), *((258, 3),) * 64)
    data = plaintext([Dynamic(symbols)])
    assert fast(encode([Dynamic(symbols)]), len(data)) == data


@pytest.mark.parametrize("count", [0, 1, 31, 32, 33, 64, 1000, 65_535])
def test_stored_blocks_of_any_length(count: int) -> None:
    """A stored block ends at the lane where its bytes end, and the next block begins at lane 0."""
    data = random.Random(count).randbytes(count)
    assert fast(encode([Stored(data), Fixed((1, 2, 3)), Stored(data)]), 2 * count + 3) == data + b"\1\2\3" + data


def test_pages_that_end_at_different_times() -> None:
    """Pages of very different lengths do not disturb each other."""
    chance = random.Random(4)
    drawn: list[list[Block]] = [[Stored(chance.randbytes(chance.choice((0, 1, 40, 3000))))] * chance.randrange(1, 4) for _ in range(40)]
    plain = [plaintext(blocks) for blocks in drawn]
    assert decode_pages([encode(blocks) for blocks in drawn], [len(data) for data in plain]) == plain


def test_nothing_to_decode() -> None:
    """No pages are no plaintexts."""
    assert decode_pages([], []) == []


def _header(*fields: tuple[int, int]) -> bytes:
    """A page that begins with these bits of lane 0, and has zeros in the other lanes."""
    writer = Writer()
    for value, count in fields:
        writer.put(value, count)
        writer.refill()
    return writer.page() + bytes(400)


def _code_lengths(*words: tuple[int, int]) -> bytes:
    """A dynamic block of 257 and 1 code lengths whose code for them has two words: 0 for symbol 16, 1 for symbol 18."""
    writer = Writer()
    for value, count in ((1, 1), (2, 2), (0, 5), (0, 5), (15, 4)):
        writer.put(value, count)
    writer.refill()
    for place in slow_gdeflate.ORDER:
        writer.put(place in (16, 18), 3)
        writer.advance()
    writer.lane = 0
    for word, extra in words:
        writer.put(word, 1)
        writer.put(extra, 7 if word else 2)
        writer.advance()
    return writer.page() + bytes(400)


THREE = [0] * 65 + [2, 2] + [0] * 189 + [2]
FOUR = [0] * 65 + [2, 2, 2] + [0] * 188 + [2]
BROKEN = {
    "block type 3": (_header((1, 1), (3, 2)), 5, CorruptPayloadError),
    "a repeated length without a first one": (_code_lengths((0, 0)), 5, CorruptPayloadError),
    "more lengths than declared": (_code_lengths((1, 127), (1, 127)), 5, CorruptPayloadError),
    "an over-subscribed literal code": (encode([Dynamic((65,), FOUR, declared_literals=[1] * 257)]), 1, CorruptPayloadError),
    "an over-subscribed distance code": (encode([Dynamic((65,), declared_distances=[2] * 5)]), 1, CorruptPayloadError),
    "bits that are no literal": (encode([Dynamic((65, 66), FOUR, declared_literals=THREE)]), 2, CorruptPayloadError),
    "a block without codes": (encode([Dynamic((65,), FOUR, declared_literals=[0] * 257)]), 1, CorruptPayloadError),
    "bits that are no distance": (encode([Dynamic((65, (3, 1), *range(64)), declared_distances=[0])]), 68, CorruptPayloadError),
    "bits that are no distance, at the end": (encode([Dynamic((65, (3, 1)), declared_distances=[0])]), 4, CorruptPayloadError),
    "length symbol 286": (encode([Fixed((65, 286, 66))]), 5, CorruptPayloadError),
    "length symbol 287": (encode([Fixed((65, 287, 66))]), 5, CorruptPayloadError),
    "a distance before the output": (encode([Fixed((65, (3, 2), *range(64)))]), 68, CorruptPayloadError),
    "a distance before the output, at the end": (encode([Fixed((65, 66, (3, 3)))]), 5, CorruptPayloadError),
    "no page": (b"", 1, CodecError),
    "an end in the middle": (encode([Stored(bytes(range(256)) * 9)])[:1000], 2304, CorruptPayloadError),
    "a byte more": (encode([Stored(b"12345")]), 4, SizeMismatchError),
    "a byte less": (encode([Stored(b"12345")]), 6, SizeMismatchError),
    "a match beyond the end": (encode([Fixed((65, (100, 1)))]), 50, SizeMismatchError),
    "64 KiB where nothing is promised": (encode([Fixed((65, (65_538, 1)))]), 0, SizeMismatchError),
}


@pytest.mark.parametrize("name", BROKEN)
def test_broken_pages(name: str) -> None:
    """Each broken rule is an error, also beside pages that are sound."""
    page, size, error = BROKEN[name]
    with pytest.raises(error):
        fast(page, size)
    with pytest.raises(error):
        decode_pages([encode([Fixed((1, 2, 3))]), page], [3, size])


SOUND = encode([Dynamic((*b"a page of two blocks", (9, 3), (4, 20), *b"that ends here")), Fixed((*b"or rather here", (30, 33)))])
SOUND_SIZE = 20 + 9 + 4 + 14 + 14 + 30


@given(st.binary(max_size=400) | st.binary(max_size=60).map(lambda tail: SOUND[:60] + tail), st.integers(0, 3000))
def test_any_bytes(page: bytes, size: int) -> None:
    """Arbitrary pages are refused, or hold what the slow decoder finds in them."""
    try:
        found = fast(page, size)
    except CodecError:
        return
    assert found == slow_gdeflate.decode(page, size)


def test_flipped_bits() -> None:
    """Whatever bit is wrong, both decoders come to the same bytes, or both refuse the page."""
    assert fast(SOUND, SOUND_SIZE) == slow_gdeflate.decode(SOUND, SOUND_SIZE)
    outcomes = set()
    for bit in range(8 * len(SOUND)):
        page = bytearray(SOUND)
        page[bit // 8] ^= 1 << bit % 8
        slow = found = None
        with suppress(ValueError, IndexError):
            slow = slow_gdeflate.decode(bytes(page), SOUND_SIZE)
        with suppress(CodecError):
            found = fast(bytes(page), SOUND_SIZE)
        assert found == slow
        outcomes.add(found is None)
    assert outcomes == {True, False}


FLOODS = {
    "zeros, which are stored blocks of nothing": bytes(65_536),
    "dynamic blocks of nothing": encode([Dynamic(())] * 2000),
    "fixed blocks of nothing": encode([Fixed(())] * 5000),
    "a stored byte a block": encode([Stored(b"x")] * 5000),
}


@pytest.mark.parametrize("name", FLOODS)
def test_floods_of_blocks(name: str) -> None:
    """Blocks that hold next to nothing are refused before they cost much."""
    started = time.thread_time()
    with pytest.raises(CorruptPayloadError):
        fast(FLOODS[name], 5000)
    assert time.thread_time() - started < 1


def test_as_many_blocks_as_are_allowed() -> None:
    """The bound on blocks is reached, not passed."""
    blocks = [Stored(b"x")] * most_blocks(0)
    assert fast(encode(blocks), len(blocks)) == b"x" * len(blocks)
    with pytest.raises(CorruptPayloadError):
        fast(encode([*blocks, Stored(b"")]), len(blocks))


def test_takes_any_buffer() -> None:
    """A page may be a view of anything, and need not be a multiple of 4 bytes long."""
    page = encode([Fixed((1, 2, 3))]).rstrip(b"\0")
    views = (bytearray(page), memoryview(b"-" + page)[1:], np.frombuffer(page, dtype=np.uint8).data)
    assert decode_pages(views, [3] * 3) == [b"\1\2\3"] * 3
