"""Codec numbers as frames carry them, and the labels that metadata uses for them."""

from enum import IntEnum

from s4_format.errors import FormatError, Reason


class CodecId(IntEnum):
    """Who can decode a payload. Numbers are wire format: they are never reused. 0-8 are the reference's, extensions start at 64."""

    PASSTHROUGH = 0
    CPU_ZSTD = 1
    NVCOMP_ZSTD = 2
    NVCOMP_BITCOMP = 3
    NVCOMP_GANS = 4
    DIETGPU_ANS = 5
    NVCOMP_GDEFLATE = 6
    CPU_GZIP = 7
    CPU_ZSTD_DICT = 8
    CPU_COLUMNAR = 64
    NVCOMP_ANS = 65
    NVCOMP_CASCADED = 66

    @property
    def label(self) -> str:
        """The value of `s4-codec` for this codec, such as "cpu-zstd"."""
        return _LABELS[self]


_LABELS = {codec: codec.name.lower().replace("_", "-") for codec in CodecId}
_BY_LABEL = {label: codec for codec, label in _LABELS.items()}


def codec_from_label(label: str) -> CodecId:
    """The codec that `label` names; labels are compared exactly.

    Raises:
        FormatError: UNKNOWN_CODEC.
    """
    codec = _BY_LABEL.get(label)
    if codec is None:
        raise FormatError(f"no codec is called {label!r}", Reason.UNKNOWN_CODEC)
    return codec
