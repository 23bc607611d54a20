"""Where zstd frames and blocks begin and end (RFC 8878 section 3.1), read without decompressing.

zstandard's one-shot call decodes one frame, and its streaming object has no output limit. Knowing the blocks gives both: concatenated
frames are split exactly, a missing or trailing byte is seen, and output stays bounded, because a block never decodes to more than 128 KiB.
"""

from s4_codecs.errors import CorruptPayloadError

MAGIC = b"\x28\xb5\x2f\xfd"
MAX_BLOCK_BYTES = 128 * 1024
"""Largest decoded size of one block (RFC 8878 section 3.1.1.2.4)."""

_SKIPPABLE_MASK = 0xFFFFFFF0
_SKIPPABLE_MAGIC = 0x184D2A50
_CONTENT_SIZE_BYTES = (0, 2, 4, 8)
_DICTIONARY_ID_BYTES = (0, 1, 2, 4)
_BLOCK_HEADER_BYTES = 3
_CHECKSUM_BYTES = 4
_LARGEST_HEADER_BYTES = 18
_RLE_BLOCK = 1
_RESERVED_BLOCK = 3


class BlockWalker:
    """Follows a zstd stream that arrives in pieces and says how far a decoder may be driven.

    It keeps at most one unfinished header of its own. The caller hands the bytes of each step to a decoder, one per frame.
    """

    def __init__(self) -> None:
        self._header = bytearray()
        self._left = 0  # bytes of block content, checksum or skippable content still to come
        self._in_frame = False
        self._last = False
        self._checksum = False
        self._empty = True

    @property
    def complete(self) -> bool:
        """Whether the stream so far holds at least one frame and ends behind a whole one."""
        return not (self._in_frame or self._header or self._empty)

    def step(self, data: memoryview, *, max_blocks: int) -> tuple[int, bool]:
        """Measure one step from the start of `data`: up to the end of a frame, `max_blocks` blocks further, or all of it.

        Returns:
            The step's size in bytes, and whether a frame ends with it.

        Raises:
            CorruptPayloadError: the bytes are no zstd frame, or a block has the reserved type.
        """
        used = blocks = 0
        while used < len(data) and blocks < max_blocks:
            if self._left:
                take = min(self._left, len(data) - used)
                self._left -= take
                used += take
                blocks += not self._left
            else:
                used += self._read_header(data[used : used + _LARGEST_HEADER_BYTES])
            if self._frame_is_over():
                return used, True
        return used, False

    def _frame_is_over(self) -> bool:
        if self._left or not (self._in_frame and self._last):
            return False
        if self._checksum:
            self._checksum, self._left = False, _CHECKSUM_BYTES
            return False
        self._in_frame = self._last = False
        return True

    def _read_header(self, data: memoryview) -> int:
        """Collect one header from `data` and act on it once it is whole; returns the bytes taken."""
        taken = 0
        wanted = self._header_size()
        while taken < len(data) and len(self._header) < wanted:
            take = min(wanted - len(self._header), len(data) - taken)
            self._header += data[taken : taken + take]
            taken += take
            wanted = self._header_size()
        if len(self._header) == wanted:
            header, self._header = bytes(self._header), bytearray()
            (self._enter_block if self._in_frame else self._enter_frame)(header)
        return taken

    def _header_size(self) -> int:
        """Size of the header at hand, as far as its bytes so far tell."""
        header = self._header
        if self._in_frame:
            return _BLOCK_HEADER_BYTES
        if len(header) < len(MAGIC):
            return len(MAGIC)
        if int.from_bytes(header[:4], "little") & _SKIPPABLE_MASK == _SKIPPABLE_MAGIC:
            return 8
        if header[:4] != MAGIC:
            raise CorruptPayloadError("not a zstd frame" if self._empty else "garbage behind a zstd frame")
        if len(header) == len(MAGIC):
            return len(MAGIC) + 1
        descriptor = header[4]
        single_segment = descriptor >> 5 & 1
        content_size = _CONTENT_SIZE_BYTES[descriptor >> 6] or single_segment
        return 5 + (1 - single_segment) + _DICTIONARY_ID_BYTES[descriptor & 3] + content_size

    def _enter_frame(self, header: bytes) -> None:
        self._in_frame, self._empty = True, False
        if header[:4] == MAGIC:
            self._checksum = bool(header[4] & 4)
        else:
            self._last, self._left = True, int.from_bytes(header[4:], "little")

    def _enter_block(self, header: bytes) -> None:
        field = int.from_bytes(header, "little")
        kind = field >> 1 & 3
        if kind == _RESERVED_BLOCK:
            raise CorruptPayloadError("zstd block of the reserved type")
        self._last = bool(field & 1)
        self._left = 1 if kind == _RLE_BLOCK else field >> 3
