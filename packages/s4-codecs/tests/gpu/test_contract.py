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


class TestNvcompAns(CodecContract):
    def codec(self) -> Codec:
        return codec_for("nvcomp-ans")


class TestNvcompCascaded(CodecContract):
    def codec(self) -> Codec:
        return codec_for("nvcomp-cascaded")
