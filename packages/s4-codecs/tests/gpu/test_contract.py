"""Every GPU codec passes the shipped suite."""

from s4_codecs import Codec, codec_for
from s4_codecs.testing.contract import SAMPLES, CodecContract


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
    """The same bytes are not compressed to the same payload each time, so payloads are compared by what they decode to."""

    test_is_deterministic = None  # type: ignore[assignment]

    def codec(self) -> Codec:
        return codec_for("nvcomp-ans")

    def test_compresses_any_buffer(self) -> None:
        """bytes, bytearray, slices and views of wider items are compressed alike."""
        codec, data = self.codec(), SAMPLES["log"][:4096]
        for view in (bytearray(data), memoryview(b"--" + data)[2:], memoryview(bytearray(data)).cast("I")):
            assert codec.decompress(codec.compress(view), len(data)) == data


class TestNvcompCascaded(_DecodedByTheDevice):
    def codec(self) -> Codec:
        return codec_for("nvcomp-cascaded")
