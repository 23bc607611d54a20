"""What the frames of an object have in common: the codec, and what is done with frames that it cannot do well."""

from dataclasses import dataclass
from functools import lru_cache

from s4_format import CodecId

from s4_codecs.abc import BatchCodec, Codec
from s4_codecs.costs import slowness
from s4_codecs.options import EncodeOptions
from s4_codecs.policy import FramePolicy
from s4_codecs.registry import GPU_CODECS, codec_for


@dataclass(frozen=True, slots=True)
class Recipe:
    """How frames are made until the dispatcher decides for another codec."""

    pick: CodecId
    codec: Codec | None
    """None: the bytes are stored as they are."""
    guard: bool
    """Whether a frame that does not shrink is stored as it is."""
    raw: bool
    """Whether the body is the bare bytes, without frames."""
    slowness: float
    """Time per byte in terms of zstd level 3."""
    batch: BatchCodec | None = None
    """The codec, if it does many frames in one go."""
    fallback: Codec | None = None
    """For frames that a device has no memory for."""
    outlives_device: bool = False
    """Whether it is for all frames too once the device has failed."""


def codec_of(options: EncodeOptions, codec: CodecId) -> Codec:
    """`codec` as `options` configure it.

    Raises:
        CodecUnavailableError: it is not installed.
        DictionaryError: it needs a dictionary.
    """
    match codec:
        case CodecId.CPU_ZSTD:
            return codec_for(codec, level=options.zstd_level, streaming=options.frame_policy is FramePolicy.REFERENCE)
        case CodecId.CPU_ZSTD_DICT:
            return codec_for(codec, level=options.zstd_level, dictionary=options.dictionary)
        case CodecId.CPU_COLUMNAR:
            return codec_for(codec, level=options.zstd_level)
        case _:
            return codec_for(codec)


@lru_cache(maxsize=256)
def recipe_for(options: EncodeOptions, pick: CodecId, raw: bool = False) -> Recipe:  # noqa: FBT001, FBT002 -- a cache key
    """The recipe for objects or frames that are to have the codec `pick`.

    Raises:
        CodecUnavailableError: it is not installed.
    """
    codec = None if pick is CodecId.PASSTHROUGH else codec_of(options, pick)
    return Recipe(
        pick,
        codec,
        guard=options.frame_policy is not FramePolicy.REFERENCE,
        raw=raw,
        slowness=slowness(pick, zstd_level=options.zstd_level),
        batch=codec if isinstance(codec, BatchCodec) else None,
        fallback=codec_of(options, CodecId.CPU_ZSTD) if pick in GPU_CODECS else None,
        outlives_device=options.gpu is not None,
    )
