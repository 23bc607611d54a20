"""What encoding costs, in nanoseconds a byte on one core: fixed figures, so that whatever is decided by them is decided alike everywhere.

Measured with frames of 512 KiB of the workloads of `s4_codecs.testing.workloads`, in CPU time of the thread (medians of the workloads that
shrink); docs/adr/0015-choosing-by-trial.md has the spread. GPU codecs cost the CPU their copies and checksums.
"""

from s4_format import CodecId

from s4_codecs.registry import GPU_CODECS
from s4_codecs.zstd import DEFAULT_LEVEL

_ZSTD_NS = ((4, 2.5), (9, 15.0), (15, 33.0), (18, 200.0), (22, 450.0))
"""Up to this level, time per byte."""
_GZIP_NS = 17.5
_CHECKSUM_NS = 0.1
"""Of frames that are stored as they are: only their checksum is computed."""
_COLUMNAR_FACTOR = 1.2
"""cpu-columnar beside zstd at the same level: between 0.3 (numbers, most of which pcodec writes) and 1.4 (text, which is zstd's in the
end). Above 1, so that what both store alike is zstd's."""
_COLUMNAR_CALL_NS = 3_000_000.0
"""To find the layout of numbers, whatever their size: 1.2 to 8 ms. Text is told from them in a tenth of that."""
_GPU_NS = 0.25


def ns_per_byte(codec: CodecId, *, zstd_level: int = DEFAULT_LEVEL) -> float:
    """Time that `codec` takes to encode one byte, in nanoseconds on one core."""
    zstd = next(cost for level, cost in _ZSTD_NS if zstd_level <= level)
    if codec in GPU_CODECS:
        return _GPU_NS
    match codec:
        case CodecId.PASSTHROUGH:
            return _CHECKSUM_NS
        case CodecId.CPU_GZIP:
            return _GZIP_NS
        case CodecId.CPU_COLUMNAR:
            return zstd * _COLUMNAR_FACTOR
        case _:
            return zstd


def call_ns(codec: CodecId) -> float:
    """What `codec` takes in addition for each call on numbers, in nanoseconds on one core: nothing beside a frame, much beside a sample."""
    return _COLUMNAR_CALL_NS if codec is CodecId.CPU_COLUMNAR else 0.0


def slowness(codec: CodecId, *, zstd_level: int = DEFAULT_LEVEL) -> float:
    """The same in terms of zstd at its default level."""
    return ns_per_byte(codec, zstd_level=zstd_level) / ns_per_byte(CodecId.CPU_ZSTD)
