"""GPU-written payloads are read without a GPU, as objects and as frames, and without a device nothing is written."""

import hashlib
import tracemalloc
from array import array
from collections.abc import Iterator
from pathlib import Path
from struct import pack
from typing import TYPE_CHECKING

import pytest
from s4_format import Algorithm, CodecId, ElementType, GpuContainer, Manifest

from s4_codecs import (
    BatchCodec,
    CodecError,
    CodecMismatchError,
    CodecUnavailableError,
    CorruptPayloadError,
    CrcMismatchError,
    DeviceCall,
    DeviceMemoryError,
    EncodeOptions,
    ObjectDecoder,
    SizeLimitError,
    SizeMismatchError,
    StreamingCodec,
    codec_for,
    decode_object,
    decode_threaded,
    device_calls,
    encode_object,
    gpu_available,
)
from s4_codecs.nvcomp import chunks
from s4_codecs.nvcomp.codec import NvcompCodec
from s4_codecs.nvcomp.host_library import HostLibrary
from s4_codecs.registry import GPU_CODECS
from s4_codecs.testing.workloads import log

from .container_writers import container, gdeflate_page, zstd_frame
from .fake_cuda import FakeLibrary, fake_cupy
from .golden import GoldenPayload, golden_payloads, missing

if TYPE_CHECKING:
    from s4_codecs.gpu.pipeline import Pipeline

SOUND = [entry for entry in golden_payloads() if entry.error is None and entry.extra != "gpu"]
"""What needs no device; tests/gpu has the others."""
FRAMED = Manifest(framed=True, codec=CodecId.CPU_ZSTD)


def named(entry: GoldenPayload) -> str:
    """Its id, for the names of tests."""
    return entry.id


def digest(data: bytes) -> tuple[int, str]:
    """What the list says of an original."""
    return len(data), hashlib.sha256(data).hexdigest()


@pytest.fixture
def here(entry: GoldenPayload) -> GoldenPayload:
    """The payload, if it can be decoded with what is installed."""
    if missing(entry.extra):
        pytest.skip(f"the extra {entry.extra} is not installed, or has nothing for this platform")
    return entry


@pytest.mark.parametrize("entry", SOUND, ids=named)
def test_as_an_object(here: GoldenPayload) -> None:
    """A body that is one bare payload decodes to the original, whole, in parts, and as it arrives."""
    data = decode_object(here.body, here.manifest)

    assert digest(data) == (here.size, here.sha256)
    for start, stop in ((0, 1), (here.size // 3, here.size // 2), (max(here.size - 7, 0), here.size)):
        assert decode_object(here.body, here.manifest, start=start, stop=stop) == data[start:stop]


@pytest.mark.parametrize("entry", SOUND, ids=named)
def test_as_frames(here: GoldenPayload) -> None:
    """Frames of it decode to the original, through the decoder of objects and whatever the pieces."""
    body = here.frame * 2
    for step in (len(body), 1 + len(body) // 7):
        decoder = ObjectDecoder(expected_size=2 * here.size)
        pieces = (body[at : at + step] for at in range(0, len(body), step))
        data = b"".join(map(bytes, decode_threaded(decoder, pieces, workers=2)))
        assert data[: here.size] == data[here.size :]
        assert digest(data[: here.size]) == (here.size, here.sha256)


@pytest.mark.usefixtures("no_nvcomp")
@pytest.mark.parametrize("entry", [entry for entry in SOUND if entry.extra is None], ids=named)
def test_without_nvcomp(entry: GoldenPayload) -> None:
    """zstd and GDeflate need no library of NVIDIA's."""
    assert digest(decode_object(entry.body, entry.manifest)) == (entry.size, entry.sha256)
    assert digest(decode_object(entry.frame, FRAMED)) == (entry.size, entry.sha256)


@pytest.mark.usefixtures("no_nvcomp")
@pytest.mark.parametrize("entry", [entry for entry in golden_payloads() if entry.extra == "nvcomp-cpu"], ids=named)
def test_what_needs_nvcomp(entry: GoldenPayload) -> None:
    """Bitcomp without the library is an error that names the extra, before anything is decoded."""
    for body, manifest in ((entry.body, entry.manifest), (entry.frame, FRAMED)):
        with pytest.raises(CodecUnavailableError, match=r"s4-codecs\[nvcomp-cpu\]") as caught:
            decode_object(body, manifest)
        assert (caught.value.codec, caught.value.extra) == (entry.codec, "nvcomp-cpu")


@pytest.mark.usefixtures("no_nvcomp")
def test_a_library_that_cannot_be_used(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """GDeflate is decoded all the same where nvCOMP is installed and of no use; Bitcomp is an error that says so."""
    (tmp_path / "libnvcomp.so").touch()
    monkeypatch.setattr(chunks, "find_library", lambda: HostLibrary(tmp_path / "libnvcomp.so", tmp_path / "libnvcomp.so"))
    gdeflate, bitcomp = (
        next(entry for entry in SOUND if entry.id == f"nvcomp/{name}") for name in ("gdeflate-a1.b65536", "bitcomp-char.one")
    )
    assert digest(decode_object(gdeflate.body, gdeflate.manifest)) == (gdeflate.size, gdeflate.sha256)
    with pytest.raises(CodecUnavailableError, match="no decoder for BITCOMP"):
        decode_object(bitcomp.body, bitcomp.manifest)


@pytest.mark.parametrize("entry", [entry for entry in golden_payloads() if entry.error], ids=named)
def test_what_nvcomp_did_not_bring_back(here: GoldenPayload) -> None:
    """One byte compressed as u32 does not come back from nvCOMP: the CRC says so, and nothing is handed out."""
    for body, manifest in ((here.body, here.manifest), (here.frame, FRAMED)):
        with pytest.raises(CrcMismatchError) as caught:
            decode_object(body, manifest)
        assert caught.value.reason == here.error


@pytest.mark.usefixtures("no_nvcomp")
@pytest.mark.parametrize("entry", [entry for entry in golden_payloads() if entry.extra == "gpu"], ids=named)
def test_what_only_a_device_decodes(entry: GoldenPayload) -> None:
    """ANS and Cascaded without a device are an error that names the extra and says what is missing."""
    for body, manifest in ((entry.body, entry.manifest), (entry.frame, FRAMED)):
        with pytest.raises(CodecUnavailableError, match="needs a CUDA device to decode") as caught:
            decode_object(body, manifest)
        assert (caught.value.codec, caught.value.extra) == (entry.codec, "gpu")


@pytest.mark.parametrize("codec", sorted(GPU_CODECS - {CodecId.NVCOMP_BITCOMP}))
def test_nothing_is_written_without_a_device(codec: CodecId) -> None:
    """Without a device compressing names the extra and what is missing, alone, in batches and in the encoder of objects."""
    if gpu_available():
        pytest.skip("there is a device")
    options = EncodeOptions(codec.label)
    for work in (
        lambda: codec_for(codec).compress(b"data"),
        lambda: codec_for(codec).encode_many([b"data"]),
        lambda: encode_object(b"data", options),
    ):
        with pytest.raises(CodecUnavailableError, match="needs a CUDA device") as caught:
            work()
        assert (caught.value.codec, caught.value.extra) == (codec, "gpu")


def test_many_at_once() -> None:
    """Payloads are decoded in order; one that is wrong is an error."""
    codec = codec_for("nvcomp-zstd")
    assert isinstance(codec, BatchCodec)
    assert isinstance(codec, StreamingCodec)
    plain = [bytes([number]) * 70_000 * number for number in range(4)]
    payloads = [container(Algorithm.ZSTD, zstd_frame, data) for data in plain]
    sizes = [len(data) for data in plain]

    assert codec.decode_many(payloads, sizes) == plain
    with pytest.raises(SizeMismatchError):
        codec.decode_many(payloads, [*sizes[:3], 1])


@pytest.fixture
def device(monkeypatch: pytest.MonkeyPatch) -> "Iterator[Pipeline]":
    """A device made of host memory is what the codecs use."""
    with fake_cupy():
        from s4_codecs.gpu.pipeline import Pipeline, PipelineSettings

        made = Pipeline(FakeLibrary(), PipelineSettings(lanes=2, batch_bytes=16 << 20))
        monkeypatch.setattr("s4_codecs.nvcomp.codec.engine.pipeline", lambda: made)
        monkeypatch.setattr("s4_codecs.nvcomp.codec.probe.device", lambda: made)
        yield made
        made.close()


@pytest.mark.parametrize("codec", [CodecId.NVCOMP_ANS, CodecId.NVCOMP_CASCADED])
def test_a_device_does_everything(device: "Pipeline", codec: CodecId) -> None:
    """Where there is a device it compresses and decodes, payloads together, alone and piece by piece, and its calls are told."""
    del device
    found, calls = NvcompCodec(codec), list[DeviceCall]()
    plain = [log(3 << 20), b"", bytes(70_000), b"x"]
    sizes = [len(data) for data in plain]
    with device_calls.observed(calls.append):
        payloads = found.encode_many(plain)
        assert found.decode_many(payloads, sizes) == plain
    assert [(call.codec, call.operation, call.plaintext_bytes, call.outcome) for call in calls] == [
        (codec, "encode", sum(sizes), "done"),
        (codec, "decode", sum(sizes), "done"),
    ]
    assert bytes(found.compress(plain[0])) == bytes(payloads[0])
    assert found.decompress(payloads[0], sizes[0]) == plain[0]
    inflater = found.inflater()
    pieces = [bytes(piece) for at in range(0, len(payloads[0]), 50_000) for piece in inflater.feed(payloads[0][at : at + 50_000])]
    inflater.close()
    assert b"".join(pieces) == plain[0]
    with pytest.raises(SizeMismatchError):
        found.decompress(payloads[0], sizes[0] - 1)


def test_a_device_is_not_asked_for_what_can_be_read_without(device: "Pipeline", monkeypatch: pytest.MonkeyPatch) -> None:
    """Damage can take a device from the process, so stored payloads are decoded without one where that is possible."""

    def refuse(*_: object) -> None:
        raise AssertionError("the device was asked")

    monkeypatch.setattr(device, "decode", refuse)
    data = log(200_000)
    assert NvcompCodec(CodecId.NVCOMP_ZSTD).decompress(container(Algorithm.ZSTD, zstd_frame, data), len(data)) == data
    assert NvcompCodec(CodecId.NVCOMP_GDEFLATE).decompress(container(Algorithm.GDEFLATE, gdeflate_page, data), len(data)) == data


@pytest.mark.usefixtures("no_nvcomp")
def test_a_device_reads_what_nothing_else_here_can(device: "Pipeline") -> None:
    """Bitcomp without its decoder for the CPU is decoded by the device."""
    del device
    codec, data = NvcompCodec(CodecId.NVCOMP_BITCOMP), log(200_000)
    assert codec.decompress(codec.compress(data), len(data)) == data


@pytest.mark.parametrize("error", [DeviceMemoryError("full"), CodecUnavailableError("lost")])
def test_what_the_device_cannot_do_now(device: "Pipeline", monkeypatch: pytest.MonkeyPatch, error: CodecError) -> None:
    """A device without memory, or that was lost, is an error where only it can decode."""

    def refuse(*_: object) -> None:
        raise error

    monkeypatch.setattr(device, "decode", refuse)
    data = log(200_000)
    body = NvcompCodec(CodecId.NVCOMP_ANS).compress(data)
    with pytest.raises(type(error)):
        NvcompCodec(CodecId.NVCOMP_ANS).decompress(body, len(data))


def test_another_algorithm_is_an_error() -> None:
    """A container of another codec than the one promised is refused, whole and piecewise."""
    body = container(Algorithm.GDEFLATE, gdeflate_page, b"text")
    with pytest.raises(CodecMismatchError):
        codec_for("nvcomp-zstd").decompress(body, 4)
    with pytest.raises(CodecMismatchError):
        decode_object(body, Manifest(codec=CodecId.NVCOMP_ZSTD, original_size=4, compressed_size=len(body), crc32c=0))


def forged(algorithm: Algorithm, chunk: bytes, *, size: int, chunk_size: int = 65_536) -> bytes:
    """A container of `size` bytes whose chunks are all the same."""
    count = -(-size // chunk_size)
    return GpuContainer(algorithm, ElementType.CHAR, size, chunk_size, array("I", [len(chunk)]) * count).pack() + chunk * count


LIES = {
    "chunks that hold more": (Algorithm.ZSTD, zstd_frame(bytes(65_537)), 131_072),
    "chunks that hold less": (Algorithm.ZSTD, zstd_frame(bytes(65_535)), 131_072),
    "chunks that are bombs": (Algorithm.ZSTD, zstd_frame(bytes(64 << 20)), 131_072),
    "two frames in a chunk, too much": (Algorithm.ZSTD, zstd_frame(bytes(65_536)) * 2, 131_072),
    "pages that hold more": (Algorithm.GDEFLATE, gdeflate_page(bytes(65_537)), 131_072),
    "pages that hold less": (Algorithm.GDEFLATE, gdeflate_page(bytes(65_535)), 131_072),
    "chunks of one byte": (Algorithm.ZSTD, b"\0", 131_072),
    "pages of one byte": (Algorithm.GDEFLATE, b"\xff", 131_072),
    "a chunk far larger than it can be": (Algorithm.GDEFLATE, bytes(300_000), 10),
}


@pytest.mark.parametrize("whole", [False, True])
@pytest.mark.parametrize("name", LIES)
def test_sizes_that_lie(name: str, whole: bool) -> None:
    """Chunks that hold another number of bytes than the header says are an error, and no byte of the last chunk is handed out."""
    algorithm, chunk, size = LIES[name]
    codec = CodecId.NVCOMP_ZSTD if algorithm is Algorithm.ZSTD else CodecId.NVCOMP_GDEFLATE
    body = forged(algorithm, chunk, size=size)
    manifest = Manifest(codec=codec, original_size=size, compressed_size=len(body), crc32c=0)
    with pytest.raises((CorruptPayloadError, SizeMismatchError)):
        codec_for(codec).decompress(body, size) if whole else decode_object(body, manifest)


def test_a_promise_of_terabytes() -> None:
    """A container that promises more than is allowed is refused by its promise; one whose header lies, by its header."""
    body = forged(Algorithm.ZSTD, b"x" * 9, size=1 << 40, chunk_size=16 << 20)
    with pytest.raises(SizeLimitError):
        decode_object(body, Manifest(codec=CodecId.NVCOMP_ZSTD, original_size=1 << 40, compressed_size=len(body), crc32c=0))
    with pytest.raises(SizeMismatchError):
        codec_for("nvcomp-zstd").decompress(body, 5)
    with pytest.raises(CodecError):
        decode_object(body, Manifest(codec=CodecId.NVCOMP_ZSTD, original_size=5, compressed_size=len(body), crc32c=0))


@pytest.mark.parametrize("codec", [CodecId.NVCOMP_ZSTD, CodecId.NVCOMP_GDEFLATE])
def test_chunks_of_next_to_nothing(codec: CodecId) -> None:
    """A million chunks of a byte each do not take more memory than their payload does."""
    size = 1 << 20
    body = forged(Algorithm.ZSTD if codec is CodecId.NVCOMP_ZSTD else Algorithm.GDEFLATE, b"\0" * 4, size=size, chunk_size=1)
    tracemalloc.start()
    try:
        with pytest.raises((CorruptPayloadError, SizeMismatchError)):
            codec_for(codec).decompress(body, size)
        assert tracemalloc.get_traced_memory()[1] < 2 * len(body)
    finally:
        tracemalloc.stop()


def test_a_size_table_of_gigabytes() -> None:
    """A container whose size table alone would fill the memory is refused before the table comes."""
    codec = codec_for("nvcomp-zstd")
    assert isinstance(codec, StreamingCodec)
    head = pack("<4sBBHQII", b"FCG1", Algorithm.ZSTD, 0, 0, (1 << 32) - 1, 1, (1 << 32) - 1)
    with pytest.raises(CorruptPayloadError, match="size table"):
        list(codec.inflater().feed(head))


def test_a_chunk_that_would_be_waited_for_for_ever() -> None:
    """A container that says of a chunk that it is stored in gigabytes is refused before they come."""
    codec = codec_for("nvcomp-zstd")
    assert isinstance(codec, StreamingCodec)
    head = GpuContainer(Algorithm.ZSTD, ElementType.CHAR, 100_000, 65_536, array("I", [100, 3 << 30])).pack()
    with pytest.raises(CorruptPayloadError, match="is stored in"):
        list(codec.inflater().feed(head))


def test_small_chunks_that_are_stored_in_much() -> None:
    """Chunks with much beside their bytes are decoded before many of them are kept."""
    codec, chunk = codec_for("nvcomp-zstd"), pack("<II", 0x184D2A50, 60_000) + bytes(60_000) + zstd_frame(b"x")
    assert isinstance(codec, StreamingCodec)
    inflater = codec.inflater()
    plain = list(inflater.feed(GpuContainer(Algorithm.ZSTD, ElementType.CHAR, 1_000, 1, array("I", [len(chunk)] * 1_000)).pack()))
    tracemalloc.start()
    try:
        plain += [bytes(piece) for _ in range(1_000) for piece in inflater.feed(chunk)]
        assert tracemalloc.get_traced_memory()[1] < 24 << 20
    finally:
        tracemalloc.stop()
    inflater.close()
    assert b"".join(plain) == b"x" * 1_000


@pytest.mark.parametrize("payload", [b"", b"FCG1", b"FCG2" + bytes(40), pack("<4sBBHQII", b"FCG1", 9, 0, 0, 0, 65_536, 0)])
def test_what_is_no_container(payload: bytes) -> None:
    """Malformed containers are damaged payloads, whole and piecewise."""
    with pytest.raises(CorruptPayloadError):
        codec_for("nvcomp-zstd").decompress(payload, 5)
    with pytest.raises(CodecError):
        decode_object(payload, Manifest(codec=CodecId.NVCOMP_ZSTD, original_size=5, compressed_size=len(payload), crc32c=0))


@pytest.mark.parametrize("chunk_size", [1, 1000, 65_536, 16 << 20])
def test_chunk_sizes_of_other_writers(chunk_size: int) -> None:
    """Chunks of any size up to 16 MiB decode, also those larger than a step of the piecewise decoder; bytes behind them are ignored."""
    data = b"".join(b"%d," % number for number in range(1500 if chunk_size == 1 else 900_000))
    body = container(Algorithm.ZSTD, zstd_frame, data, chunk_size=chunk_size) + b"junk"
    codec = codec_for("nvcomp-zstd")
    assert codec.decompress(body, len(data)) == data
    assert isinstance(codec, StreamingCodec)
    inflater = codec.inflater()
    pieces = [bytes(piece) for at in range(0, len(body), 100_000) for piece in inflater.feed(body[at : at + 100_000])]
    inflater.close()
    assert b"".join(pieces) == data
    assert max(map(len, pieces)) <= 1 << 20
