"""Frame sizes."""

import pytest
from s4_format import CodecId

from s4_codecs import FramePolicy, frame_size, part_frame_size
from s4_codecs.policy import DEFAULT_FRAME_BYTES, MAX_FRAME_BYTES, MIN_FRAME_BYTES, TARGET_FRAMES, largest_frame_size

MIB = 1 << 20
TIB = 1 << 40


@pytest.mark.parametrize(
    ("size", "frame"),
    [
        (None, 4 * MIB),
        (0, MIB),
        (64 << 10, MIB),
        (MIB, MIB),
        (MIB + 1, 4 * MIB),
        (50 * MIB, 4 * MIB),
        (100 * MIB, 4 * MIB),
        (100 * MIB + 1, 16 * MIB),
        (10 << 30, 16 * MIB),
    ],
)
def test_reference_sizes(size: int | None, frame: int) -> None:
    """The reference policy has the reference's thresholds."""
    assert frame_size(FramePolicy.REFERENCE, size=size, codec=CodecId.CPU_ZSTD) == frame


@pytest.mark.parametrize("size", [None, 0, 1, 4096, MIB, 100 * MIB, 5 << 30, TIB, TIB + 1, 2 * TIB + 1, 4 * TIB + 1, 8 * TIB])
@pytest.mark.parametrize("codec", [CodecId.CPU_ZSTD, CodecId.PASSTHROUGH, CodecId.CPU_GZIP])
def test_default_sizes_keep_the_index_small(size: int | None, codec: CodecId) -> None:
    """Frames stay within 256 KiB..8 MiB, and no object has more than 2^20 of them."""
    frame = frame_size(FramePolicy.DEFAULT, size=size, codec=codec)
    assert MIN_FRAME_BYTES <= frame <= MAX_FRAME_BYTES
    assert size is None or -(-size // frame) <= TARGET_FRAMES
    assert size is None or size > TARGET_FRAMES * MIN_FRAME_BYTES or frame <= DEFAULT_FRAME_BYTES


def test_default_size_of_ordinary_objects() -> None:
    """Objects of ordinary and of unknown size get the measured default."""
    for size in (None, 1, MIB, 5 << 30):
        assert frame_size(FramePolicy.DEFAULT, size=size, codec=CodecId.CPU_ZSTD) == DEFAULT_FRAME_BYTES == MIB // 2
        assert frame_size(FramePolicy.DEFAULT, size=size, codec=CodecId.PASSTHROUGH) == MIN_FRAME_BYTES == MIB // 4
        assert frame_size(FramePolicy.DEFAULT, size=size, codec=CodecId.CPU_COLUMNAR) == 4 * MIB


@pytest.mark.parametrize(
    ("part", "frame"),
    [
        (0, MIB // 2),
        (1, MIB // 2),
        (8 * MIB, MIB // 2),
        (32 * MIB + 1, MIB // 2 + 1),
        (64 * MIB, MIB),
        (128 * MIB, 2 * MIB),
        (5 << 30, 8 * MIB),
    ],
)
def test_part_sizes(part: int, frame: int) -> None:
    """A part's frames grow with the part, so that an object of 10,000 parts keeps a small index."""
    assert part_frame_size(part) == frame


def test_the_largest_frame() -> None:
    """No object and no part of a size has a larger frame than is told for its codecs."""
    for size in (None, 0, MIB, 64 * MIB, 5 << 30):
        for codecs in ([CodecId.CPU_ZSTD], [CodecId.CPU_ZSTD, CodecId.CPU_COLUMNAR]):
            for codec in codecs:
                assert frame_size(FramePolicy.DEFAULT, size=size, codec=codec) <= largest_frame_size(size, codecs) <= MAX_FRAME_BYTES
                assert part_frame_size(size or 0, codec) <= largest_frame_size(size, codecs, part=True) <= MAX_FRAME_BYTES
    assert largest_frame_size(None, []) == DEFAULT_FRAME_BYTES
