"""Codec 64: arrays of fixed-width numbers, and records of them (docs/format/columnar.md)."""

from collections.abc import Sequence
from io import BytesIO

import numpy as np
from s4_format import Buffer, CodecId
from s4_format.columnar import AnyBlock, Block, BlockKind

from s4_codecs._buffer import as_bytes_view
from s4_codecs.columnar import pco
from s4_codecs.columnar.blocks import decode_block, parsed_blocks
from s4_codecs.columnar.filters import Bytes
from s4_codecs.columnar.inflater import ColumnarInflater
from s4_codecs.columnar.rows import encode_rows
from s4_codecs.columnar.segments import segments
from s4_codecs.columnar.trial import choose_layout, left_to_zstd
from s4_codecs.errors import SizeMismatchError
from s4_codecs.policy import DEFAULT_FRAME_BYTES
from s4_codecs.zstd import DEFAULT_LEVEL, ZstdCodec

BLOCK_BYTES = 8 << 20
"""Inputs are cut into blocks of at most this size; a frame of the default policy is one."""

_CLEARLY = 0.97
"""A block that leaves more of what zstd takes where it does best may hold several kinds of content: zstd is tried on the whole."""

_SMALL_BYTES = 256 * 1024
"""In less than this hardly a place tells what zstd makes of the whole: it is always tried, which takes less than the trial."""


class ColumnarCodec:
    """Numbers filtered by what they are, found by trial, before zstd or pcodec; everything else is zstd at the same level.

    Args:
        level: 1 (fast) to 22 (small), of zstd.
        pcodec: whether columns may be written by pcodec (extra `columnar`), without which they cannot be read; None: if it is installed.

    Raises:
        ValueError: a level outside 1..22.
        CodecUnavailableError: pcodec is asked for and not installed.
    """

    codec_id = CodecId.CPU_COLUMNAR
    name = CodecId.CPU_COLUMNAR.label

    def __init__(self, *, level: int = DEFAULT_LEVEL, pcodec: bool | None = None) -> None:
        self._zstd = ZstdCodec(level=level)
        self.level = level
        self.pcodec = pco.available() if pcodec is None else pcodec
        if self.pcodec:
            pco.require()

    def __repr__(self) -> str:
        return f"ColumnarCodec(level={self.level}, pcodec={self.pcodec})"

    def compress(self, data: Buffer) -> bytes:
        """`data` as blocks of at most 8 MiB."""
        view = as_bytes_view(data)
        octets = np.frombuffer(view, np.uint8) if len(view) else np.empty(0, np.uint8)
        return b"".join(
            [block.pack() for at in range(0, octets.size, BLOCK_BYTES) for block in self._blocks(octets[at : at + BLOCK_BYTES])]
        )

    def decompress(self, payload: Buffer, original_size: int) -> bytes:
        """The bytes of all blocks; see `s4_codecs.abc.Codec`.

        Raises:
            CorruptPayloadError: damaged; with `Reason.UNKNOWN_FILTER` written in a way that this version does not know.
            SizeMismatchError: other than `original_size` bytes.
            CodecUnavailableError: pcodec wrote a part of it and is not installed.
        """
        # Parsed twice: a list of blocks would take twenty times the bytes of a payload whose blocks hold next to nothing.
        size = sum(block.original_size for block in parsed_blocks(payload))
        if size != original_size:
            raise SizeMismatchError(f"the columnar payload holds {size} bytes, {original_size} promised")
        plain = BytesIO()
        for block in parsed_blocks(payload):
            plain.write(decode_block(block))
        return plain.getvalue()

    def inflater(self) -> ColumnarInflater:
        """A decoder for one payload that arrives in pieces."""
        return ColumnarInflater()

    def _blocks(self, octets: Bytes) -> list[AnyBlock]:
        """Blocks of `octets`: one for each array or table of records, and what zstd makes of all else."""
        if left_to_zstd(octets, self._zstd):
            return [*self._encode_plainly(octets)]
        parts = list(segments(octets))
        blocks = [block for part in parts for block in self._encode(part)]
        if len(parts) == 1 or octets.size > DEFAULT_FRAME_BYTES:
            return blocks
        return [*_smaller(blocks, self._encode_plainly(octets))]

    def _encode(self, octets: Bytes) -> Sequence[AnyBlock]:
        choice = choose_layout(octets, self._zstd, pcodec=self.pcodec)
        if choice is None:
            return self._encode_plainly(octets)
        block = encode_rows(octets, choice.layout, self._zstd)
        if octets.size >= _SMALL_BYTES and 8 * block.stored_size <= choice.zstd_bits * octets.size * _CLEARLY:
            return [block]
        return _smaller([block], self._encode_plainly(octets))

    def _encode_plainly(self, octets: Bytes) -> list[Block]:
        """As frames of cpu-zstd hold it, so that nothing takes more here than there."""
        return [self._encode_piece(octets[at : at + DEFAULT_FRAME_BYTES]) for at in range(0, octets.size, DEFAULT_FRAME_BYTES)]

    def _encode_piece(self, octets: Bytes) -> Block:
        packed = self._zstd.compress(octets.data)
        if len(packed) < octets.size:
            return Block(BlockKind.ZSTD, octets.size, packed)
        return Block(BlockKind.STORED, octets.size, octets.data)


def _smaller(blocks: Sequence[AnyBlock], others: Sequence[AnyBlock]) -> Sequence[AnyBlock]:
    return min(blocks, others, key=lambda either: sum(block.stored_size for block in either))
