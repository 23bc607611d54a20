"""cpu-columnar: what it finds in numbers, what it leaves to zstd, and what its filters bring back."""

import tracemalloc
from collections.abc import Callable, Iterator
from itertools import groupby
from struct import pack
from threading import Event, Thread
from time import thread_time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from s4_format import CodecId, FrameHeader, crc32c
from s4_format.columnar import (
    NUMBER_WIDTHS,
    AnyBlock,
    Arrangement,
    Block,
    BlockKind,
    Coder,
    ColumnsBlock,
    Field,
    NumberType,
    Predictor,
    Stream,
    Transform,
    parse_blocks,
)
from s4_format.testing import columnar_blocks

from s4_codecs import CodecError, CodecUnavailableError, CorruptPayloadError, EncodeOptions, Reason, codec_for, decode_object, encode_object
from s4_codecs.columnar import ColumnarCodec, pco
from s4_codecs.columnar.fields import FieldPlan
from s4_codecs.columnar.rows import Layout, encode_rows
from s4_codecs.decode import ObjectDecoder
from s4_codecs.drive import decode_threaded
from s4_codecs.policy import DEFAULT_FRAME_BYTES
from s4_codecs.testing import workloads
from s4_codecs.zstd import ZstdCodec

MIB = 1 << 20
HEAD = 12
CODEC = ColumnarCodec()
WITHOUT = ColumnarCodec(pcodec=False)
ZSTD = ZstdCodec()
LOG = workloads.log(MIB)

PLANS = [
    *(
        FieldPlan(width, Transform.NONE, 0, predictor, arrangement)
        for width in NUMBER_WIDTHS
        for predictor in Predictor
        for arrangement in (Arrangement.BYTES, Arrangement.INTERLEAVED)
    ),
    *(FieldPlan(width, Transform.DECIMAL, 2, predictor) for width in (4, 8) for predictor in Predictor),
    *(FieldPlan(width, Transform.DICTIONARY) for width in NUMBER_WIDTHS),
    *(FieldPlan(width, Transform.NONE, kind, arrangement=Arrangement.PCODEC) for width in (2, 4, 8) for kind in NumberType),
]
"""Every way to write a field."""


@pytest.fixture
def no_pcodec(monkeypatch: pytest.MonkeyPatch) -> None:
    """As it is without the extra."""
    monkeypatch.setattr(pco, "_module", lambda: None)


def ratio(data: bytes, codec: ColumnarCodec = CODEC) -> float:
    """Original over stored bytes, once it came back."""
    payload = codec.compress(data)
    assert codec.decompress(payload, len(data)) == data
    return len(data) / len(payload)


def blocks(payload: bytes) -> list[AnyBlock]:
    """The blocks of a payload."""
    return list(parse_blocks(payload))


def written(data: bytes, lead: int, *plans: FieldPlan) -> ColumnsBlock:
    """A block by a layout of the test's choice."""
    return encode_rows(np.frombuffer(data, np.uint8), Layout(lead, plans), ZSTD)


# ------------------------------------------------------------------------------------------------------------------- ratio


@pytest.mark.parametrize("codec", [CODEC, WITHOUT], ids=["pcodec", "filters alone"])
@pytest.mark.parametrize(
    ("name", "least"),
    [
        ("postings", 10_000),
        ("timestamps", 10_000),
        ("parquet_like", 300),
        ("doc_values", 2.5),
        ("gaps", 15.9),
        ("jitter", 7.9),
        ("walk_i64", 5.8),
        ("walk_f64", 7.0),
        ("weights_f32", 1.2),
        ("records", 9.0),
    ],
)
def test_ratio_of_a_frame(name: str, least: float, codec: ColumnarCodec) -> None:
    """A frame of each array takes no more than it should, with and without pcodec."""
    assert ratio(workloads.WORKLOADS[name](4 * MIB), codec) >= least


def _delays() -> bytes:
    minutes = np.floor(np.sqrt(workloads.uniform(300_000, 0, 10_000, seed=3))) - 30
    minutes[workloads.uniform(300_000, 0, 40, seed=4) == 0] = np.nan
    return minutes.astype("<f8").tobytes()


def _stereo() -> bytes:
    time = np.arange(600_000) / 44_100
    left, right = (np.sin(time * tone) * 12_000 + workloads.uniform(time.size, -40, 40, seed=tone) for tone in (1_380, 2_070))
    return np.stack([left, right], axis=1).astype("<i2").tobytes()


def _turns() -> bytes:
    numbers = workloads.walk_i64(MIB)
    return b"".join(part[at : at + 64_000] for at in range(0, MIB, 64_000) for part in (numbers, LOG))


def _readings() -> bytes:
    values = 20 + np.cumsum(workloads.uniform(400_000, -2, 3, seed=6)) / 10
    return values.astype("<f4").tobytes()


def _short_mixtures() -> Iterator[bytes]:
    """Numbers that repeat themselves and others behind them, which the sample in the middle does not show."""
    tiled = np.tile(workloads.uniform(37, 0, 255, seed=1), 109)[:4_000].astype("<i4")
    yield tiled.tobytes() + (np.arange(750, dtype="<i4") * 7).tobytes()
    runs = np.repeat(workloads.uniform(715, 0, 100, seed=2), 7)[:5_000].astype("<i2")
    walk = np.cumsum(workloads.uniform(5_000, -5, 6, seed=3)).astype("<i4")
    yield runs.tobytes() + walk.tobytes()


@pytest.mark.parametrize(
    ("data", "better"),
    [
        (_delays(), 1.5),
        (_stereo(), 1.2),
        (b"RIFF" + bytes(39) + _stereo(), 1.2),
        (_readings(), 2.5),
        (b"head" + workloads.walk_f64(MIB), 2.0),
        (workloads.records(36 * 30_000)[5:], 2.0),
        (np.repeat(np.arange(40, dtype="<i4"), 9_000).tobytes(), 1.0),
        (LOG, 0.995),
        (workloads.nginx(MIB), 0.995),
        (workloads.noise(MIB), 0.995),
        (bytes(MIB), 0.995),
        (workloads.log(2 * MIB) + workloads.walk_i64(MIB), 1.1),
        (workloads.walk_i64(2 * MIB) + workloads.log(2 * MIB), 1.1),
        (workloads.log(3 * MIB // 2) + workloads.walk_i64(MIB) + workloads.log(3 * MIB // 2), 1.1),
        (_turns(), 0.995),
        *((data, 0.995) for data in _short_mixtures()),
    ],
    ids=[
        "decimals with gaps", "audio", "audio behind a header", "single precision decimals", "a header and floats", "records cut anywhere",
        "runs", "log", "one line", "noise", "zeros", "text, then numbers", "numbers, then text", "numbers within text",
        "numbers and text by turns", "a period, then steps", "runs, then a walk",
    ],
)  # fmt: skip
def test_beside_zstd(data: bytes, better: float) -> None:
    """Real arrays take less than zstd makes of them, wherever they begin, and nothing takes more than it by half a percent."""
    payload = CODEC.compress(data)
    assert CODEC.decompress(payload, len(data)) == data
    frames = [ZSTD.compress(data[at : at + DEFAULT_FRAME_BYTES]) for at in range(0, len(data), DEFAULT_FRAME_BYTES)]
    assert len(payload) <= sum(map(len, frames)) / better + HEAD * len(frames)


def test_each_kind_gets_a_block() -> None:
    """Where numbers of another kind begin, or text, another block begins, to within a few KiB."""
    parts = workloads.walk_f64(700_000), workloads.log(900_001), workloads.gaps(800_000), workloads.noise(600_000)
    payload = CODEC.compress(data := b"".join(parts))
    assert CODEC.decompress(payload, len(data)) == data
    found = blocks(payload)
    assert [kind for kind, _ in groupby(isinstance(block, ColumnsBlock) for block in found)] == [True, False, True, False]
    ends = np.cumsum([block.original_size for block in found])
    for end in np.cumsum([len(part) for part in parts]):
        assert np.abs(ends - end).min() <= 16 * 1024


def test_text_is_left_to_zstd() -> None:
    """What is no array is stored as cpu-zstd would in its frames, or as it is."""
    for data, kind in ((LOG, BlockKind.ZSTD), (workloads.noise(MIB), BlockKind.STORED)):
        assert [(block.kind, block.original_size) for block in blocks(CODEC.compress(data))] == [(kind, DEFAULT_FRAME_BYTES)] * 2


def test_records_become_fields() -> None:
    """Rows of 36 bytes are found, and their fields with them."""
    (block,) = blocks(WITHOUT.compress(workloads.records(36 * 30_000)))
    assert isinstance(block, ColumnsBlock)
    assert [field.width for field in block.fields] == [8, 8, 8, 4, 8]
    assert block.fields[2].transform is Transform.DECIMAL
    assert block.fields[4].transform is Transform.DICTIONARY


def test_large_inputs_are_cut_into_blocks() -> None:
    """A payload of more than 8 MiB is several blocks, each of its own kind."""
    data = workloads.walk_i64(8 * MIB) + workloads.log(8 * MIB) + b"end"
    payload = CODEC.compress(data)
    assert [block.original_size for block in blocks(payload)] == [8 * MIB, *[DEFAULT_FRAME_BYTES] * 16, 3]
    assert [isinstance(block, ColumnsBlock) for block in blocks(payload)] == [True, *[False] * 17]
    assert CODEC.decompress(payload, len(data)) == data


def test_the_gil_is_released() -> None:
    """Another thread runs while columns are written and while they are read."""
    data = workloads.walk_f64(8 * MIB)
    payload = CODEC.compress(data)
    for work in (lambda: CODEC.compress(data), lambda: CODEC.decompress(payload, len(data))):
        done = Event()

        def repeated(work: Callable[[], bytes] = work, done: Event = done) -> None:
            for _ in range(20):
                work()
            done.set()

        worker, ticks = Thread(target=repeated), 0
        worker.start()
        while not done.is_set():
            ticks += 1
        worker.join()
        # A thread that got the GIL only between the calls would have come to 20.
        assert ticks > 200


def test_through_the_encoder() -> None:
    """An object of numbers has frames of 4 MiB, and ranges of it come back."""
    data = workloads.walk_f64(9 * MIB)
    stored = encode_object(data, EncodeOptions(codec="cpu-columnar", dispatcher="always"))
    assert [frame.original_size for frame in stored.frames] == [4 * MIB, 4 * MIB, MIB]
    assert len(stored.body) * 7 < len(data)
    assert decode_object(stored.body, stored.metadata, start=4 * MIB - 3, stop=4 * MIB + 5) == data[4 * MIB - 3 : 4 * MIB + 5]


# ----------------------------------------------------------------------------------------------------------------- filters


@st.composite
def columns_of(draw: st.DrawFn, width: int) -> bytes:
    """Numbers of `width` bytes: any, few, near each other, floats that are decimals, or floats of any kind."""
    top = (1 << 8 * width) - 1
    count = draw(st.integers(1, 60))
    near = draw(st.integers(0, top))
    kinds = [
        st.lists(st.integers(0, top), min_size=count, max_size=count),
        st.lists(st.sampled_from([0, 1, top, near]), min_size=count, max_size=count),
        st.lists(st.integers(-3, 3), min_size=count, max_size=count).map(lambda steps: [(near + step) & top for step in steps]),
    ]
    if width in (4, 8):
        dtype = f"<f{width}"
        floats = st.floats(width=8 * width) | st.integers(-500, 500).map(lambda cents: cents / 100)
        kinds.append(
            st.lists(floats, min_size=count, max_size=count).map(lambda numbers: np.array(numbers, dtype).view(f"<u{width}").tolist())
        )
    numbers = draw(st.one_of(kinds)) * draw(st.sampled_from([1, 1, 40]))
    return np.array(numbers, f"<u{width}").tobytes()


@pytest.mark.parametrize(
    "plan", PLANS, ids=lambda plan: f"{plan.width}-{plan.transform.name}-{plan.predictor.name}-{plan.arrangement.name}"
)
@settings(max_examples=20)
@given(data=st.data())
def test_every_filter_brings_back_every_column(plan: FieldPlan, data: st.DataObject) -> None:
    """Whatever the numbers, in an array or in rows of any length and at any place, a field is read as it was."""
    numbers = data.draw(columns_of(plan.width))
    count = len(numbers) // plan.width
    before, behind = data.draw(st.lists(st.sampled_from(NUMBER_WIDTHS), max_size=2)), data.draw(st.lists(st.just(1), max_size=2))
    rows = np.zeros((count, sum(before) + plan.width + sum(behind)), np.uint8)
    rows[:, sum(before) : sum(before) + plan.width] = np.frombuffer(numbers, np.uint8).reshape(count, plan.width)
    lead, tail = (data.draw(st.integers(0, rows.shape[1] - 1)) for _ in range(2))
    body = b"L" * lead + rows.tobytes() + b"T" * tail
    block = written(body, lead, *map(FieldPlan, before), plan, *map(FieldPlan, behind))
    assert CODEC.decompress(block.pack(), len(body)) == body


@pytest.mark.parametrize("predictor", Predictor)
@pytest.mark.parametrize("width", NUMBER_WIDTHS)
def test_runs_of_rows_are_joined(width: int, predictor: Predictor) -> None:
    """Prediction goes on across the runs that rows are put together in."""
    numbers = np.cumsum(workloads.uniform(700_000, -3, 5, seed=width)).astype(f"<i{width}").tobytes()
    assert CODEC.decompress(written(numbers, 0, FieldPlan(width, predictor=predictor)).pack(), len(numbers)) == numbers


def test_many_fields_cost_no_more_than_their_bytes() -> None:
    """Rows of thousands of fields are put together without a call for each number."""
    field = Field(1, Transform.NONE, 0, Predictor.NONE, Arrangement.BYTES, 0, 0, 0, 0, (Stream(Coder.CONSTANT, 7, b""),))
    block = ColumnsBlock(8_000 * 2_000, 0, 8_000, Stream(Coder.RAW, 0, b""), (field,) * 8_000)
    payload = block.pack()
    started = thread_time()
    assert CODEC.decompress(payload, block.original_size) == bytes([7]) * block.original_size
    assert thread_time() - started < 5.0


def test_numbers_that_are_no_decimals_are_kept() -> None:
    """NaN with a payload, negative zero, infinities and irrational numbers among decimals come back bit for bit."""
    numbers = np.arange(4_000) / 100
    numbers[[5, 17, 1_000, 3_999]] = [-0.0, np.inf, np.pi, -np.inf]
    numbers.view("<u8")[77] = 0x7FF8_0000_0000_1234
    (field,) = (block := written(numbers.tobytes(), 0, FieldPlan(8, Transform.DECIMAL, 2, Predictor.DELTA))).fields
    assert (field.transform, field.extra_count) == (Transform.DECIMAL, 5)
    assert CODEC.decompress(block.pack(), numbers.nbytes) == numbers.tobytes()


@pytest.mark.parametrize(
    ("plan", "numbers"),
    [
        (FieldPlan(8, Transform.DECIMAL, 2), np.random.default_rng(1).random(1_000)),
        (FieldPlan(4, Transform.DICTIONARY), np.arange(1_000, dtype="<u4")),
    ],
)
def test_a_sample_that_promised_too_much(plan: FieldPlan, numbers: np.ndarray) -> None:
    """Columns that are not what their sample was are written plainly."""
    block = written(numbers.tobytes(), 0, plan)
    assert block.fields[0].transform is Transform.NONE
    assert CODEC.decompress(block.pack(), numbers.nbytes) == numbers.tobytes()


# ---------------------------------------------------------------------------------------------------------- without pcodec


def test_what_pcodec_wrote_needs_it(no_pcodec: None) -> None:
    """Without the extra such a payload is refused by its name; everything else is read and written."""
    numbers = workloads.walk_i64(8_000)
    field = Field(8, Transform.NONE, 0, Predictor.NONE, Arrangement.PCODEC, 0, 0, 0, 0, (Stream(Coder.RAW, 0, b"pco"),))
    payload = ColumnsBlock(len(numbers), 0, 8, Stream(Coder.RAW, 0, b""), (field,)).pack()
    with pytest.raises(CodecUnavailableError, match=r"s4-codecs\[columnar\]") as caught:
        CODEC.decompress(payload, len(numbers))
    assert (caught.value.codec, caught.value.extra) == (CodecId.CPU_COLUMNAR, "columnar")
    assert ratio(workloads.walk_i64(MIB), ColumnarCodec()) > 5.5


def test_pcodec_must_be_there_where_it_is_asked_for(no_pcodec: None) -> None:
    """Whoever insists on it is told at once."""
    assert not ColumnarCodec().pcodec
    with pytest.raises(CodecUnavailableError, match=r"s4-codecs\[columnar\]"):
        codec_for("cpu-columnar", pcodec=True)


def test_pcodec_is_used_where_it_wins() -> None:
    """Multiples of a number that is no power of two are smaller by pcodec, which can be turned off."""
    prices = (workloads.uniform(200_000, 0, 300, seed=2) * 1_250).astype("<i4").tobytes()
    (field,) = blocks(CODEC.compress(prices))[0].fields
    assert field.arrangement is Arrangement.PCODEC
    assert {block.kind for block in blocks(WITHOUT.compress(prices))} == {BlockKind.ZSTD}


# ----------------------------------------------------------------------------------------------------------------- hostile


@settings(max_examples=100)
@given(columnar_blocks())
def test_any_streams(block: AnyBlock) -> None:
    """Blocks whose streams hold anything decode to the size that they promise, or are refused."""
    try:
        assert len(CODEC.decompress(block.pack(), block.original_size)) == block.original_size
    except CodecError:
        pass


def _patched(place: int, value: int) -> bytes:
    payload = bytearray(written(bytes(range(200)) * 4, 0, FieldPlan(2)).pack())
    payload[place] = value
    return bytes(payload)


@pytest.mark.parametrize(("place", "name"), [(0, "BlockKind"), (29, "Transform"), (31, "Predictor"), (32, "Arrangement"), (64, "Coder")])
def test_an_unknown_filter_is_named(place: int, name: str) -> None:
    """What a newer version wrote is told apart from damage."""
    with pytest.raises(CorruptPayloadError, match=f"{name} 99 is not known") as caught:
        CODEC.decompress(_patched(place, 99), 800)
    assert caught.value.reason is Reason.UNKNOWN_FILTER


def _bombs() -> Iterator[tuple[str, bytes, int]]:
    constant, edges = (Stream(Coder.CONSTANT, 1, b""),), Stream(Coder.RAW, 0, b"")
    full = 1 << 24
    zeros = ZSTD.compress(bytes(full))
    plain = Field(1, Transform.NONE, 0, Predictor.NONE, Arrangement.BYTES, 0, 0, 0, 0, constant)
    many = b"".join(ColumnsBlock(full, 0, 1, edges, (plain,)).pack() for _ in range(512))
    yield "constants that promise 8 GiB", many, 1000
    yield "constants of 8 GiB cut short", many[:-1], 8 << 30
    plane = Field(1, Transform.NONE, 0, Predictor.NONE, Arrangement.BYTES, 0, 0, 0, 0, (Stream(Coder.ZSTD, 0, zeros),))
    yield "a plane that is longer than its rows", ColumnsBlock(5000, 0, 1, edges, (plane,)).pack(), 5000
    yield "a zstd block that is longer than it says", Block(BlockKind.ZSTD, 5000, zeros).pack(), 5000
    yield "a block of 4 GiB", pack("<BBHII", 1, 0, 0, (1 << 32) - 1, len(zeros)) + zeros, (1 << 32) - 1
    numbers = pco.compress(np.arange(1 << 20, dtype="<u8"), NumberType.INTEGER)
    column = Field(8, Transform.NONE, 0, Predictor.NONE, Arrangement.PCODEC, 0, 0, 0, 0, (Stream(Coder.RAW, 0, numbers),))
    yield "a pcodec file of more numbers than rows", ColumnsBlock(80, 0, 8, edges, (column,)).pack(), 80


@pytest.mark.parametrize(("payload", "promised"), [case[1:] for case in _bombs()], ids=[case[0] for case in _bombs()])
def test_bombs(payload: bytes, promised: int) -> None:
    """Payloads that hold more than is promised, or promise more than they hold, are refused without the memory for it."""
    tracemalloc.start()
    try:
        with pytest.raises(CodecError):
            CODEC.decompress(payload, promised)
        assert tracemalloc.get_traced_memory()[1] < 8 * MIB
    finally:
        tracemalloc.stop()


def test_blocks_of_next_to_nothing() -> None:
    """A hundred thousand blocks of a byte each do not take more memory than their payload does."""
    payload = Block(BlockKind.STORED, 1, b"x").pack() * 100_000
    tracemalloc.start()
    try:
        assert CODEC.decompress(payload, 100_000) == b"x" * 100_000
        assert tracemalloc.get_traced_memory()[1] < len(payload)
    finally:
        tracemalloc.stop()


def test_a_small_frame_that_holds_much_is_decoded_in_steps() -> None:
    """A frame above 16 MiB is decoded block by block, with memory for one of them, however few bytes it is stored in."""
    blocks, zeros = 6, bytes(16 * MIB)
    payload = blocks * written(zeros, 0, FieldPlan(1)).pack()
    header = FrameHeader(CodecId.CPU_COLUMNAR, blocks * len(zeros), len(payload), crc32c(blocks * zeros))
    assert len(payload) < 1_000
    tracemalloc.start()
    try:
        pieces = decode_threaded(ObjectDecoder(), [header.pack() + payload], workers=0)
        assert sum(len(piece) for piece in pieces if not np.frombuffer(piece, np.uint8).any()) == blocks * len(zeros)
        assert tracemalloc.get_traced_memory()[1] < 3 * len(zeros)
    finally:
        tracemalloc.stop()


@settings(max_examples=60)
@given(st.binary(min_size=1, max_size=200), st.sampled_from(NumberType), st.sampled_from((2, 4, 8)))
def test_pcodec_takes_any_bytes(data: bytes, number_type: NumberType, width: int) -> None:
    """Damaged pcodec files are refused, or give as many numbers as there are rows."""
    field = Field(width, Transform.NONE, number_type, Predictor.NONE, Arrangement.PCODEC, 0, 0, 0, 0, (Stream(Coder.RAW, 0, data),))
    block = ColumnsBlock(40 * width, 0, width, Stream(Coder.RAW, 0, b""), (field,))
    try:
        assert len(CODEC.decompress(block.pack(), 40 * width)) == 40 * width
    except CodecError:
        pass


def test_exceptions_out_of_order() -> None:
    """Places of exceptions beyond the rows, or not ascending, are refused instead of written somewhere."""
    plane = (Stream(Coder.CONSTANT, 0, b""),) * 8
    for places in ((5, 5), (6, 5), (5, 40)):
        extras = Stream(Coder.RAW, 0, pack("<2I2d", *places, 1.5, 2.5))
        field = Field(8, Transform.DECIMAL, 1, Predictor.NONE, Arrangement.BYTES, 0, 0, 0, 2, (*plane, extras))
        with pytest.raises(CorruptPayloadError):
            CODEC.decompress(ColumnsBlock(320, 0, 8, Stream(Coder.RAW, 0, b""), (field,)).pack(), 320)
