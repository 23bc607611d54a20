"""Every codec of this package passes the shipped suite."""

from s4_codecs import Codec, codec_for
from s4_codecs.gzip import GzipCodec
from s4_codecs.passthrough import PassthroughCodec
from s4_codecs.testing.contract import CodecContract
from s4_codecs.zstd import ZstdCodec
from s4_codecs.zstd_dict import ZstdDictCodec

from .golden import golden

TRAINED = golden("gateway/dict_event").dictionary
RAW = b'{"timestamp":"2026-06-10T12:00:00Z","level":"info"} GET /api/v1/users/list HTTP/1.1' * 20


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


class TestGzip(CodecContract):
    def codec(self) -> Codec:
        return GzipCodec()
