"""The device pipeline over a device made of host memory: layout, assembly, budgets and failures."""

import random
from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from s4_format.crc32c import crc32c
from s4_format.gpu_container import Algorithm, ElementType, GpuContainer, parse_container

from s4_codecs.errors import CodecUnavailableError, CorruptPayloadError, DeviceMemoryError
from s4_codecs.gpu.library import NvcompError
from s4_codecs.testing.workloads import log

from .fake_cuda import FakeApi, FakeLibrary, Runtime, fake_cupy

MIB = 1 << 20
TEXT = log(4 * MIB)


@pytest.fixture
def runtime() -> Iterator[Runtime]:
    """A device with plenty of memory."""
    with fake_cupy() as made:
        yield made


def new_pipeline(library: FakeLibrary | None = None, **settings: int):
    """A pipeline over the fake device."""
    from s4_codecs.gpu.pipeline import Pipeline, PipelineSettings

    return Pipeline(library or FakeLibrary(), PipelineSettings(**({"lanes": 2, "batch_bytes": 16 * MIB} | settings)))


def decoded(pipeline, payloads) -> list[bytes]:
    """The plaintexts of payloads."""
    found = pipeline.decode([parse_container(payload) for payload in payloads], payloads)
    assert found.checksums == [crc32c(plain) for plain in found.plain]
    return [bytes(plain) for plain in found.plain]


FRAMES = (
    b"",
    b"x",
    TEXT[:700],
    TEXT[:65_536],
    bytes(65_537),
    TEXT[: 3 * MIB + 1],
    b"",
    np.arange(100_000, dtype="<u4").tobytes(),
    TEXT[:MIB],
)


@pytest.mark.parametrize("algorithm", [Algorithm.ZSTD, Algorithm.BITCOMP, Algorithm.CASCADED, Algorithm.ANS, Algorithm.GDEFLATE])
def test_frames_come_back(runtime: Runtime, algorithm: Algorithm) -> None:
    """Frames of every size, together, each in a container of its own, with the checksum of its plaintext."""
    pipeline = new_pipeline()
    encoded = pipeline.encode(algorithm, FRAMES)

    containers = [parse_container(payload) for payload in encoded.payloads]
    assert [(c.algorithm, c.original_size, c.chunk_size) for c in containers] == [(algorithm, len(frame), 65_536) for frame in FRAMES]
    assert [c.stored_size for c in containers] == [len(payload) for payload in encoded.payloads]
    assert encoded.checksums == [crc32c(frame) for frame in FRAMES]
    assert decoded(pipeline, encoded.payloads) == list(FRAMES)
    pipeline.close()
    assert not runtime.held
    assert not runtime.pinned


def test_a_frame_larger_than_a_batch(runtime: Runtime) -> None:
    """It is cut at chunks, takes several lanes, and is one container with one element type, in the end."""
    pipeline = new_pipeline()
    frame = np.arange(11 * MIB + 7, dtype="<u4").tobytes()
    encoded = pipeline.encode(Algorithm.BITCOMP, [frame])

    container = parse_container(encoded.payloads[0])
    assert container.element_type is ElementType.U32
    assert encoded.checksums[0] == crc32c(frame)
    assert decoded(pipeline, encoded.payloads) == [frame]


def test_many_batches_keep_their_order(runtime: Runtime) -> None:
    """Frames of more than all lanes hold come back in order."""
    pipeline = new_pipeline()
    frames = [TEXT[number : number + MIB // 2 + 4099 * number] for number in range(80)]
    encoded = pipeline.encode(Algorithm.ZSTD, frames)

    assert decoded(pipeline, encoded.payloads) == frames


def test_element_types_are_tried_for_each_frame(runtime: Runtime) -> None:
    """Each frame has the type that suits it, and none whose width does not divide its length."""
    pipeline = new_pipeline()
    u64 = np.cumsum(np.arange(200_000, dtype="<u8") * 1_000_003).tobytes()
    frames = [np.arange(300_000, dtype="<u4").tobytes(), TEXT[:MIB], u64, u64[:-3]]
    encoded = pipeline.encode(Algorithm.BITCOMP, frames)

    found = [parse_container(payload).element_type for payload in encoded.payloads]
    assert found == [ElementType.U32, ElementType.CHAR, ElementType.U64, ElementType.CHAR]
    assert decoded(pipeline, encoded.payloads) == frames


@settings(max_examples=20)
@given(st.lists(st.integers(0, 200_000), max_size=30), st.sampled_from([Algorithm.CASCADED, Algorithm.ZSTD]))
def test_frames_of_any_sizes(sizes: list[int], algorithm: Algorithm) -> None:
    """Any number of frames of any sizes."""
    with fake_cupy():
        pipeline = new_pipeline()
        source = TEXT
        frames = [source[:size] for size in sizes]
        encoded = pipeline.encode(algorithm, frames)
        assert encoded.checksums == [crc32c(frame) for frame in frames]
        assert decoded(pipeline, encoded.payloads) == frames


def test_staging_buffers_are_read_where_they_are(runtime: Runtime) -> None:
    """A frame in a buffer of the pool is not copied to another pinned one; a buffer given back is used again."""
    pipeline = new_pipeline()
    data = TEXT[: 2 * MIB]
    with pipeline.staging.lease() as staged:
        staged.view[: len(data)] = data
        before = pipeline.pinned_budget.used
        encoded = pipeline.encode(Algorithm.ZSTD, [staged.view[: len(data)]])
        assert pipeline.pinned_budget.used > before
    assert encoded.checksums[0] == crc32c(data)
    assert decoded(pipeline, encoded.payloads) == [data]
    used = pipeline.pinned_budget.used
    with pipeline.staging.lease():
        assert pipeline.pinned_budget.used == used


def test_no_memory_is_said_and_counted(runtime: Runtime) -> None:
    """A device that is full makes the call fail as such, once; it works again when there is room."""
    pipeline = new_pipeline()
    runtime.limit = 4 * MIB
    with pytest.raises(DeviceMemoryError):
        pipeline.encode(Algorithm.ZSTD, [bytes(8 * MIB)])
    assert pipeline.out_of_memory == {Algorithm.ZSTD: 1}

    runtime.limit = 1 << 40
    encoded = pipeline.encode(Algorithm.ZSTD, [bytes(8 * MIB)])
    assert decoded(pipeline, encoded.payloads) == [bytes(8 * MIB)]


def test_the_budget_is_kept(runtime: Runtime) -> None:
    """No more than the budget is allocated; a batch that does not fit is refused without asking the device."""
    pipeline = new_pipeline(device_bytes=12 * MIB)
    with pytest.raises(DeviceMemoryError, match="budget"):
        pipeline.encode(Algorithm.ZSTD, [bytes(8 * MIB)])
    assert runtime.used <= 12 * MIB
    assert pipeline.encode(Algorithm.ZSTD, [bytes(MIB)])


def test_lanes_at_rest_make_room(runtime: Runtime) -> None:
    """What other lanes hold from earlier batches is freed before a call is refused."""
    pipeline = new_pipeline(lanes=4)
    pipeline.encode(Algorithm.ZSTD, [bytes(15 * MIB)] * 4)
    runtime.limit = runtime.used + MIB
    frame = TEXT * 4
    encoded = pipeline.encode(Algorithm.CASCADED, [frame])
    assert decoded(pipeline, encoded.payloads) == [frame]
    assert not pipeline.out_of_memory


def test_a_damaged_chunk_is_an_error(runtime: Runtime) -> None:
    """Any damage inside a chunk that nvCOMP notices is a CorruptPayloadError, and other frames decode afterwards."""
    pipeline = new_pipeline()
    encoded = pipeline.encode(Algorithm.ZSTD, [TEXT[:MIB]])
    chance = random.Random(3)
    container = parse_container(encoded.payloads[0])
    for _ in range(20):
        damaged = bytearray(encoded.payloads[0])
        damaged[chance.randrange(container.table_end + 1, len(damaged))] ^= 0xFF
        with pytest.raises(CorruptPayloadError):
            pipeline.decode([container], [damaged])
    assert decoded(pipeline, encoded.payloads) == [TEXT[:MIB]]


def test_a_chunk_of_another_size_is_an_error(runtime: Runtime) -> None:
    """A chunk that holds fewer bytes than its place is refused."""
    pipeline = new_pipeline()
    encoded = pipeline.encode(Algorithm.ZSTD, [TEXT[:1000]])
    container = parse_container(encoded.payloads[0])
    promised = GpuContainer(container.algorithm, container.element_type, 1001, container.chunk_size, container.chunk_sizes)
    with pytest.raises(CorruptPayloadError):
        pipeline.decode([promised], encoded.payloads)


def test_an_absurd_chunk_is_not_decoded(runtime: Runtime) -> None:
    """Stored bytes that no chunk of that size can need are refused before they travel."""
    pipeline = new_pipeline()
    payload = GpuContainer(Algorithm.ZSTD, ElementType.CHAR, 10, 65_536, [MIB]).pack() + bytes(MIB)
    with pytest.raises(CorruptPayloadError, match="stored bytes"):
        pipeline.decode([parse_container(payload)], [payload])
    assert not runtime.held


def test_containers_of_other_writers(runtime: Runtime) -> None:
    """Chunks of odd and of the largest sizes decode."""
    import zlib

    pipeline = new_pipeline()
    for chunk_size, size in ((1001, 50_000), (16 * MIB, 17 * MIB), (1, 20)):
        plain = (TEXT * 9)[:size]
        chunks = [b"\0" + zlib.compress(plain[at : at + chunk_size], 1) for at in range(0, size, chunk_size)]
        payload = GpuContainer(Algorithm.ZSTD, ElementType.CHAR, size, chunk_size, [len(chunk) for chunk in chunks]).pack() + b"".join(
            chunks
        )
        assert decoded(pipeline, [payload, payload]) == [plain, plain]


def test_containers_are_of_one_algorithm(runtime: Runtime) -> None:
    """A container of another algorithm is refused."""
    pipeline = new_pipeline()
    zstd, ans = (pipeline.encode(algorithm, [b"data"]).payloads[0] for algorithm in (Algorithm.ZSTD, Algorithm.ANS))
    with pytest.raises(CorruptPayloadError):
        pipeline.decode([parse_container(zstd), parse_container(ans)], [zstd, ans])


def test_a_lost_device_stays_lost(runtime: Runtime) -> None:
    """After an error of CUDA every call says so, and closing does not fail."""
    pipeline = new_pipeline()
    runtime.broken = 700
    with pytest.raises(CodecUnavailableError, match="700"):
        pipeline.encode(Algorithm.ZSTD, [b"data"])
    runtime.broken = 0
    with pytest.raises(CodecUnavailableError, match="700"):
        pipeline.encode(Algorithm.ZSTD, [b"data"])
    pipeline.close()


def test_a_chunk_that_nvcomp_cannot_compress(runtime: Runtime) -> None:
    """A bad status is an error, never a payload."""
    library = FakeLibrary()
    pipeline = new_pipeline(library)
    library.bad_status = 19
    with pytest.raises(CodecUnavailableError, match="19"):
        pipeline.encode(Algorithm.BITCOMP, [b"data"])


@pytest.mark.parametrize("algorithm", [Algorithm.BITCOMP, Algorithm.ANS, Algorithm.CASCADED])
def test_what_does_not_come_back_is_not_handed_out(runtime: Runtime, algorithm: Algorithm) -> None:
    """Payloads of closed formats are decompressed and compared before anybody gets them."""
    library = FakeLibrary()
    pipeline = new_pipeline(library)
    library.forgets = True
    with pytest.raises(CodecUnavailableError, match="does not bring back"):
        pipeline.encode(algorithm, [TEXT])


def test_what_nvcomp_refuses_is_an_error(runtime: Runtime, monkeypatch: pytest.MonkeyPatch) -> None:
    """A refusal before a batch begins, or in the middle of one, reaches the caller, and the next call works."""

    def refuse(*_: object) -> int:
        raise NvcompError("GetTempSize", 1000)

    pipeline = new_pipeline()
    for name in ("compress_scratch", "compress"):
        with monkeypatch.context() as patched:
            patched.setattr(FakeApi, name, refuse)
            with pytest.raises(CodecUnavailableError, match="1000"):
                pipeline.encode(Algorithm.ZSTD, [TEXT])
    assert decoded(pipeline, pipeline.encode(Algorithm.ZSTD, [TEXT]).payloads) == [TEXT]


def test_a_closed_pipeline_refuses(runtime: Runtime) -> None:
    """Nothing is done after closing, and closing twice is fine."""
    pipeline = new_pipeline()
    pipeline.encode(Algorithm.ZSTD, [b"data"])
    pipeline.close()
    pipeline.close()
    assert not runtime.held
    with pytest.raises(CodecUnavailableError, match="closed"):
        pipeline.encode(Algorithm.ZSTD, [b"data"])


@pytest.mark.parametrize("settings", [{"lanes": 0}, {"batch_bytes": MIB}])
def test_settings_are_checked(runtime: Runtime, settings: dict[str, int]) -> None:
    """Settings that cannot work are refused."""
    with pytest.raises(ValueError, match=next(iter(settings))):
        new_pipeline(**settings)
