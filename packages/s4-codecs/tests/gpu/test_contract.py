"""Every GPU codec passes the shipped suite."""

from s4_codecs import Codec, codec_for
from s4_codecs.testing.contract import CodecContract


class TestNvcompZstd(CodecContract):
    def codec(self) -> Codec:
        return codec_for("nvcomp-zstd")


class TestNvcompBitcomp(CodecContract):
    def codec(self) -> Codec:
        return codec_for("nvcomp-bitcomp")


class TestNvcompGdeflate(CodecContract):
    def codec(self) -> Codec:
        return codec_for("nvcomp-gdeflate")


class _DecodedByTheDevice(CodecContract):
    """Only the device decodes these, and damage can take it from the process: `test_device.py` does that in processes of their own."""

    test_damaged_bytes_never_give_wrong_bytes = None  # type: ignore[assignment]


class TestNvcompAns(_DecodedByTheDevice):
    def codec(self) -> Codec:
        return codec_for("nvcomp-ans")


class TestNvcompCascaded(_DecodedByTheDevice):
    def codec(self) -> Codec:
        return codec_for("nvcomp-cascaded")
