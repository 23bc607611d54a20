"""Codec numbers and labels."""

import pytest

from s4_format import CodecId, FormatError, Reason, codec_from_label

WIRE = {
    "passthrough": 0,
    "cpu-zstd": 1,
    "nvcomp-zstd": 2,
    "nvcomp-bitcomp": 3,
    "nvcomp-gans": 4,
    "dietgpu-ans": 5,
    "nvcomp-gdeflate": 6,
    "cpu-gzip": 7,
    "cpu-zstd-dict": 8,
    "cpu-columnar": 64,
    "nvcomp-ans": 65,
    "nvcomp-cascaded": 66,
}


def test_numbers_and_labels_are_wire_format() -> None:
    """Every codec has its number and label, and there are no others."""
    assert {codec.label: int(codec) for codec in CodecId} == WIRE


@pytest.mark.parametrize("codec", CodecId)
def test_label_leads_back(codec: CodecId) -> None:
    """A codec is found by its label."""
    assert codec_from_label(codec.label) is codec


@pytest.mark.parametrize("label", ["", "CPU-ZSTD", "cpu_zstd", "zstd", "cpu-zstd "])
def test_other_labels_are_refused(label: str) -> None:
    """Labels are compared exactly."""
    with pytest.raises(FormatError) as caught:
        codec_from_label(label)

    assert caught.value.reason is Reason.UNKNOWN_CODEC
