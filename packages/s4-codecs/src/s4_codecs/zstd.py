"""Codec 1: Zstandard (RFC 8878) by libzstd."""

import threading
from collections.abc import Iterator

import zstandard
from s4_format import Buffer, CodecId

from s4_codecs._buffer import as_bytes_view
from s4_codecs._zstd_blocks import MAGIC, MAX_BLOCK_BYTES, BlockWalker
from s4_codecs.errors import CorruptPayloadError, DictionaryError, Reason, SizeMismatchError

MIN_LEVEL, MAX_LEVEL, DEFAULT_LEVEL = 1, 22, 3

_PREALLOCATE_BYTES = 64 * 1024 * 1024
"""Output of a promised size up to this is allocated at once (untouched pages cost nothing); above, it grows with what is really there."""
_STEP_BLOCKS = (1 << 20) // MAX_BLOCK_BYTES
"""Blocks decoded per step of the inflater: at most 1 MiB of output."""


_SHORT_BYTES = 1 << 20
"""Inputs up to this, frames of the default policy among them, are compressed with tables that suit their size."""
_SHORT_TABLES = {DEFAULT_LEVEL: {"hash_log": 16, "chain_log": 15}}
"""Level -> binary logarithms of table entries. The level's own are for windows of 2 MiB; half of them stay in the second-level cache beside
another thread's, and are an eighth faster at 0.15 % of the ratio of `log`."""


class _Contexts(threading.local):
    """Compression contexts and one decompression context a thread: libzstd contexts must not be shared, and making one costs 25 us."""

    compressor: zstandard.ZstdCompressor | None = None
    short: zstandard.ZstdCompressor | None = None
    decompressor: zstandard.ZstdDecompressor | None = None


class ZstdCodec:
    """Zstandard at one level.

    Args:
        level: 1 (fast) to 22 (small).
        streaming: write the frames that libzstd's streaming interface makes of input whose size it does not know, as the reference
            does (wire-format.md 2.3): no content size, so slower to write and to read by about a tenth. Otherwise a frame records its
            content size; window and tables are the level's for unknown sizes, so the ratio is the same at every frame size (at the
            default level inputs up to 1 MiB have smaller tables).

    Raises:
        ValueError: a level outside 1..22.
    """

    codec_id = CodecId.CPU_ZSTD
    name = CodecId.CPU_ZSTD.label

    def __init__(self, *, level: int = DEFAULT_LEVEL, streaming: bool = False) -> None:
        self.level = checked_level(level)
        self.streaming = streaming
        self._contexts = _Contexts()

    def __repr__(self) -> str:
        return f"ZstdCodec(level={self.level}, streaming={self.streaming})"

    def compress(self, data: Buffer) -> bytes:
        """`data` as one zstd frame."""
        view = as_bytes_view(data)
        if self.streaming:
            return compress_streaming(self._contexts.compressor or self._new_compressor(), view)
        if len(view) <= _SHORT_BYTES and self.level in _SHORT_TABLES:
            return (self._contexts.short or self._new_short_compressor()).compress(view)
        return (self._contexts.compressor or self._new_compressor()).compress(view)

    def decompress(self, payload: Buffer, original_size: int) -> bytes:
        """The bytes of all concatenated frames in `payload`.

        Raises:
            SizeMismatchError, CorruptPayloadError: see `s4_codecs.abc.Codec`.
            DictionaryError: a frame names a dictionary.
        """
        decompressor = self._contexts.decompressor or self._new_decompressor()
        return decompress_payload(decompressor, as_bytes_view(payload), original_size, dictionary_id=0)

    def inflater(self) -> "ZstdInflater":
        """A decoder for one payload that arrives in pieces."""
        return ZstdInflater(zstandard.ZstdDecompressor())

    def _new_compressor(self) -> zstandard.ZstdCompressor:
        if self.streaming:
            made = zstandard.ZstdCompressor(level=self.level)
        else:
            parameters = zstandard.ZstdCompressionParameters.from_level(self.level, write_content_size=True)
            made = zstandard.ZstdCompressor(compression_params=parameters)
        self._contexts.compressor = made
        return made

    def _new_short_compressor(self) -> zstandard.ZstdCompressor:
        parameters = zstandard.ZstdCompressionParameters.from_level(self.level, write_content_size=True, **_SHORT_TABLES[self.level])
        self._contexts.short = made = zstandard.ZstdCompressor(compression_params=parameters)
        return made

    def _new_decompressor(self) -> zstandard.ZstdDecompressor:
        self._contexts.decompressor = made = zstandard.ZstdDecompressor()
        return made


def checked_level(level: int) -> int:
    """`level`, if zstd has it.

    Raises:
        ValueError: it is outside 1..22.
    """
    if not MIN_LEVEL <= level <= MAX_LEVEL:
        raise ValueError(f"zstd level must lie within {MIN_LEVEL}..{MAX_LEVEL}, not {level}")
    return level


def compress_streaming(compressor: zstandard.ZstdCompressor, data: bytes | memoryview) -> bytes:
    """One frame as libzstd writes it when it is given all input with "continue" and then "end", of unknown size."""
    stream = compressor.compressobj()
    head = stream.compress(data)
    tail = stream.flush()
    return head + tail if head else tail


def decompress_payload(
    decompressor: zstandard.ZstdDecompressor, payload: bytes | memoryview, original_size: int, *, dictionary_id: int
) -> bytes:
    """Decode one payload: a fast path for the single frame that every writer makes, an exact one for everything else.

    Args:
        dictionary_id: id of the decompressor's dictionary, 0 without one.
    """
    if original_size <= _PREALLOCATE_BYTES:
        try:
            promised = zstandard.frame_content_size(payload)
            if promised in (original_size, -1):
                data = decompressor.decompress(payload, max_output_size=max(original_size, 1), allow_extra_data=False)
                if len(data) == original_size:
                    return data
        except zstandard.ZstdError:
            pass  # the exact path finds out what is wrong, if anything is
    return _decompress_exactly(decompressor, memoryview(payload), original_size, dictionary_id)


def _decompress_exactly(decompressor: zstandard.ZstdDecompressor, payload: memoryview, original_size: int, dictionary_id: int) -> bytes:
    _check_dictionary(payload, dictionary_id)
    inflater = ZstdInflater(decompressor)
    pieces, size = list[Buffer](), 0
    for piece in inflater.feed(payload):
        pieces.append(piece)
        size += len(piece)
        if size > original_size:
            raise SizeMismatchError(f"the zstd stream decodes to more than the {original_size} bytes promised")
    inflater.close()
    if size != original_size:
        raise SizeMismatchError(f"the zstd stream decodes to {size} bytes, {original_size} promised")
    return b"".join(pieces)


def _check_dictionary(payload: memoryview, dictionary_id: int) -> None:
    """A frame that names a dictionary decodes with that one only."""
    if payload[:4] != MAGIC:
        return  # a skippable frame, or no frame: the walker tells them apart
    try:
        wanted = zstandard.get_frame_parameters(payload).dict_id
    except zstandard.ZstdError as error:
        raise CorruptPayloadError(f"zstd frame header: {error}") from error
    if wanted and wanted != dictionary_id:
        have = f"dictionary {dictionary_id}" if dictionary_id else "none"
        reason = Reason.DICTIONARY_INVALID if dictionary_id else Reason.DICTIONARY_MISSING
        raise DictionaryError(f"the zstd frame needs dictionary {wanted}, {have} is given", reason=reason)


class ZstdInflater:
    """Decodes concatenated zstd frames that arrive in pieces, at most 1 MiB of output a step."""

    def __init__(self, decompressor: zstandard.ZstdDecompressor) -> None:
        self._decompressor = decompressor
        self._walker = BlockWalker()
        self._frame: zstandard.ZstdDecompressionObj | None = None

    def feed(self, data: Buffer) -> Iterator[Buffer]:
        """See `s4_codecs.abc.Inflater`."""
        view = memoryview(as_bytes_view(data))
        while view:
            size, ends = self._walker.step(view, max_blocks=_STEP_BLOCKS)
            if self._frame is None:
                self._frame = self._decompressor.decompressobj()
            try:
                piece = self._frame.decompress(view[:size])
            except zstandard.ZstdError as error:
                raise CorruptPayloadError(f"zstd: {error}") from error
            if ends:
                if not self._frame.eof:
                    raise CorruptPayloadError("zstd: the decoder did not finish with the frame")
                self._frame = None
            view = view[size:]
            if piece:
                yield piece

    def close(self) -> None:
        """See `s4_codecs.abc.Inflater`."""
        if not self._walker.complete:
            raise CorruptPayloadError("the zstd stream ends in the middle of a frame")
