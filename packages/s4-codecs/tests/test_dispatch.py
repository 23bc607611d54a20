"""The dispatcher picks what the reference picks."""

import json
from base64 import b64decode

import pytest
from hypothesis import given
from hypothesis import strategies as st
from s4_format import CodecId, codec_from_label

from s4_codecs import AlwaysDispatcher, GpuPreference, SamplingDispatcher
from s4_codecs.sample import SAMPLE_BYTES, entropy, has_compressed_magic, looks_columnar
from s4_codecs.testing.workloads import doc_values, log, noise, postings

from .golden import GOLDEN

CASES = [json.loads(line) for line in (GOLDEN / "cases/dispatcher_cases.jsonl").read_text().splitlines()]


def test_the_case_table_is_there() -> None:
    """The table covers every kind of pick."""
    assert len(CASES) == 260
    assert {case["pick"] for case in CASES} == {"cpu-zstd", "cpu-gzip", "passthrough", "nvcomp-zstd", "nvcomp-bitcomp"}


@pytest.mark.parametrize("case", CASES, ids=range(len(CASES)))
def test_case_table(case: dict[str, object]) -> None:
    """Pick, entropy, magic and columnar test equal those of the reference's compiled dispatcher."""
    sample = b64decode(str(case["sample_b64"]))
    gpu = GpuPreference(min_bytes=case["gpu_min_bytes"], columnar=bool(case["prefer_columnar"])) if case["prefer_gpu"] else None
    dispatcher = SamplingDispatcher(codec_from_label(str(case["default"])), gpu=gpu)

    assert dispatcher.pick(sample, case["total_size"]).label == case["pick"]
    assert entropy(sample) == pytest.approx(case["entropy"], abs=1e-9)
    assert has_compressed_magic(sample) == bool(case["magic"])
    assert looks_columnar(sample) == bool(case["columnar"])


@pytest.mark.parametrize("size", [0, 1, 48, 127, 128, 4096, 5000])
def test_text_is_compressed(size: int) -> None:
    """Text of any length gets the configured codec."""
    assert SamplingDispatcher(CodecId.CPU_ZSTD).pick(log(5000)[:size], size) is CodecId.CPU_ZSTD


def test_noise_is_passed_through() -> None:
    """Random bytes are not compressed once there are enough of them to tell."""
    dispatcher = SamplingDispatcher(CodecId.CPU_ZSTD)
    assert dispatcher.pick(noise(4096), 4096) is CodecId.PASSTHROUGH
    assert dispatcher.pick(noise(64), 64) is CodecId.CPU_ZSTD


@pytest.mark.parametrize("magic", [b"BZh:loglog:", b"\x1f\x8b", b"%PDF-", b"RIFF1234WEBP", b"0000ftyp"])
def test_a_magic_number_alone_proves_nothing(magic: bytes) -> None:
    """Text that begins like a compressed format is compressed; a random rest is not."""
    dispatcher = SamplingDispatcher(CodecId.CPU_ZSTD)
    assert has_compressed_magic(magic)
    assert dispatcher.pick(magic + log(4000), 4096) is CodecId.CPU_ZSTD
    assert dispatcher.pick(magic + noise(4000), 4096) is CodecId.PASSTHROUGH


def test_only_the_sample_counts() -> None:
    """Bytes behind the first 4,096 do not change the pick."""
    text = log(SAMPLE_BYTES)
    assert SamplingDispatcher(CodecId.CPU_ZSTD).pick(memoryview(text + noise(100_000)), None) is CodecId.CPU_ZSTD


def test_always_means_always() -> None:
    """Without sampling every object gets the configured codec."""
    assert AlwaysDispatcher(CodecId.CPU_GZIP).pick(noise(4096), 4096) is CodecId.CPU_GZIP


@pytest.mark.parametrize(
    ("size", "sample", "pick"),
    [
        (None, postings(4096), CodecId.CPU_ZSTD),
        ((1 << 20) - 1, postings(4096), CodecId.CPU_ZSTD),
        (1 << 20, postings(4096), CodecId.NVCOMP_BITCOMP),
        (1 << 20, doc_values(4096), CodecId.NVCOMP_BITCOMP),
        (1 << 20, log(4096), CodecId.NVCOMP_ZSTD),
        (1 << 20, noise(4096), CodecId.PASSTHROUGH),
    ],
)
def test_promotion_to_the_gpu(size: int | None, sample: bytes, pick: CodecId) -> None:
    """Only large objects of known size are promoted, and only zstd picks."""
    assert SamplingDispatcher(CodecId.CPU_ZSTD, gpu=GpuPreference(columnar=True)).pick(sample, size) is pick
    assert SamplingDispatcher(CodecId.CPU_GZIP, gpu=GpuPreference()).pick(log(4096), 1 << 30) is CodecId.CPU_GZIP


@given(st.binary(max_size=6000))
def test_entropy_is_bounded(data: bytes) -> None:
    """Entropy lies within 0..8 bits and within what the length allows, also above the size of the look-up table."""
    value = entropy(data)
    assert 0.0 <= value <= 8.0
    assert value <= len(data).bit_length()
    assert entropy(data * 2) == pytest.approx(value, abs=1e-9)
