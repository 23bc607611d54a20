"""Every codec of this package passes the shipped suite."""

import pytest
from s4_format import Algorithm

from s4_codecs import Codec, codec_for
from s4_codecs.columnar import ColumnarCodec
from s4_codecs.gzip import GzipCodec
from s4_codecs.nvcomp.host_library import find_library
from s4_codecs.passthrough import PassthroughCodec
from s4_codecs.testing.contract import CodecContract, DecodingContract
from s4_codecs.testing.workloads import log
from s4_codecs.zstd import ZstdCodec
from s4_codecs.zstd_dict import ZstdDictCodec

from .container_writers import container, gdeflate_page, nvcomp_bitcomp, nvcomp_gdeflate, zstd_frame
from .golden import golden

TRAINED = golden("gateway/dict_event").dictionary
RAW = b'{"timestamp":"2026-06-10T12:00:00Z","level":"info"} GET /api/v1/users/list HTTP/1.1' * 20
LIBRARY = find_library()
needs_nvcomp = pytest.mark.skipif(LIBRARY is None, reason="the extra nvcomp-cpu is not installed, or has nothing for this platform")


class TestPassthrough(CodecContract):
    def codec(self) -> Codec:
        return PassthroughCodec()


class TestZstd(CodecContract):
    def codec(self) -> Codec:
        return codec_for("cpu-zstd")


class TestZstdStreaming(CodecContract):
    def codec(self) -> Codec:
        return ZstdCodec(level=1, streaming=True)


class TestZstdHighLevel(CodecContract):
    def codec(self) -> Codec:
        return ZstdCodec(level=9)


class TestZstdTrainedDictionary(CodecContract):
    dictionary = TRAINED

    def codec(self) -> Codec:
        return ZstdDictCodec(dictionary=TRAINED)


class TestZstdRawDictionary(CodecContract):
    dictionary = RAW

    def codec(self) -> Codec:
        return ZstdDictCodec(dictionary=RAW, level=5)


class TestColumnar(CodecContract):
    step_memory = 12 << 20  # blocks of 8 MiB are decoded whole

    def codec(self) -> Codec:
        return ColumnarCodec()


class TestColumnarWithoutPcodec(CodecContract):
    step_memory = 12 << 20

    def codec(self) -> Codec:
        return ColumnarCodec(level=1, pcodec=False)


class TestGzip(CodecContract):
    def codec(self) -> Codec:
        return GzipCodec()


class TestNvcompZstd(DecodingContract):
    def codec(self) -> Codec:
        return codec_for("nvcomp-zstd")

    def payload(self, data: bytes) -> bytes:
        return container(Algorithm.ZSTD, zstd_frame, data)


@pytest.mark.usefixtures("no_nvcomp")
class TestNvcompGdeflate(DecodingContract):
    """Without nvCOMP, and with a writer as slow as it is simple."""

    most_repeats = 3
    most_damages = 60
    large = bytes(3 << 20) + log(100_000)

    def codec(self) -> Codec:
        return codec_for("nvcomp-gdeflate")

    def payload(self, data: bytes) -> bytes:
        return container(Algorithm.GDEFLATE, gdeflate_page, data)


@needs_nvcomp
class TestNvcompGdeflateInHelper(DecodingContract):
    most_damages = 60

    def codec(self) -> Codec:
        return codec_for("nvcomp-gdeflate")

    def payload(self, data: bytes) -> bytes:
        assert LIBRARY
        return container(Algorithm.GDEFLATE, nvcomp_gdeflate(LIBRARY), data)


@needs_nvcomp
class TestNvcompBitcomp(DecodingContract):
    most_damages = 60

    def codec(self) -> Codec:
        return codec_for("nvcomp-bitcomp")

    def payload(self, data: bytes) -> bytes:
        assert LIBRARY
        return container(Algorithm.BITCOMP, nvcomp_bitcomp(LIBRARY), data)
