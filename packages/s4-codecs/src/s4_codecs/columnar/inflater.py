"""A payload of columns that arrives in pieces, decoded block by block: a few bytes of it may hold gigabytes."""

from collections.abc import Iterator

from s4_format import Buffer
from s4_format.columnar import BLOCK_HEAD_BYTES, block_size

from s4_codecs._buffer import as_bytes_view
from s4_codecs.columnar.blocks import damage, decode_block, parsed_blocks
from s4_codecs.errors import CorruptPayloadError

_STEP_BYTES = 1 << 20


class ColumnarInflater:
    """Decodes each block when all of it is there. See `s4_codecs.abc.Inflater`."""

    def __init__(self) -> None:
        self._held = bytearray()

    def feed(self, data: Buffer) -> Iterator[Buffer]:
        """See `s4_codecs.abc.Inflater`."""
        view = memoryview(as_bytes_view(data))
        for at in range(0, len(view), _STEP_BYTES):
            self._held += view[at : at + _STEP_BYTES]
            for block in parsed_blocks(self._whole_blocks()):
                plain = memoryview(decode_block(block))
                yield from (plain[start : start + _STEP_BYTES] for start in range(0, len(plain), _STEP_BYTES))

    def close(self) -> None:
        """See `s4_codecs.abc.Inflater`."""
        if self._held:
            raise CorruptPayloadError("the columnar payload ends in the middle of a block")

    def _whole_blocks(self) -> bytes:
        """Takes the blocks that are there from what is held."""
        held, end = self._held, 0
        with damage():
            while len(held) - end >= BLOCK_HEAD_BYTES and (stop := end + block_size(held, end)) <= len(held):
                end = stop
        whole = bytes(held[:end])
        del held[:end]
        return whole
