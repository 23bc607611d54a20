"""Codec 7: one gzip member (RFC 1952) by zlib."""

import zlib
from collections.abc import Iterator

from s4_format import Buffer, CodecId

from s4_codecs._buffer import as_bytes_view
from s4_codecs.errors import CorruptPayloadError, SizeMismatchError

MIN_LEVEL, MAX_LEVEL, DEFAULT_LEVEL = 0, 9, 6

_GZIP_WINDOW_BITS = 31  # 15 plus 16: zlib's way to ask for the gzip wrapper
_STEP_BYTES = 1 << 20


class GzipCodec:
    """gzip at one level; CRC32 and length in the member's trailer are verified on read, bytes after the member are ignored
    (wire-format.md 2.3).

    Args:
        level: 0 (stored) to 9 (small).

    Raises:
        ValueError: a level outside 0..9.
    """

    codec_id = CodecId.CPU_GZIP
    name = CodecId.CPU_GZIP.label

    def __init__(self, *, level: int = DEFAULT_LEVEL) -> None:
        if not MIN_LEVEL <= level <= MAX_LEVEL:
            raise ValueError(f"gzip level must lie within {MIN_LEVEL}..{MAX_LEVEL}, not {level}")
        self.level = level

    def __repr__(self) -> str:
        return f"GzipCodec(level={self.level})"

    def compress(self, data: Buffer) -> bytes:
        """`data` as one gzip member without name or time."""
        return zlib.compress(as_bytes_view(data), self.level, _GZIP_WINDOW_BITS)

    def decompress(self, payload: Buffer, original_size: int) -> bytes:
        """The bytes of the first member; see `s4_codecs.abc.Codec`."""
        member = zlib.decompressobj(_GZIP_WINDOW_BITS)
        try:
            data = member.decompress(as_bytes_view(payload), original_size + 1)
        except zlib.error as error:
            raise CorruptPayloadError(f"gzip: {error}") from error
        if len(data) > original_size:
            raise SizeMismatchError(f"the gzip member decodes to more than the {original_size} bytes promised")
        if not member.eof:
            raise CorruptPayloadError("the gzip member is not complete")
        if len(data) != original_size:
            raise SizeMismatchError(f"the gzip member decodes to {len(data)} bytes, {original_size} promised")
        return data

    def inflater(self) -> "GzipInflater":
        """A decoder for one payload that arrives in pieces."""
        return GzipInflater()


class GzipInflater:
    """Decodes one gzip member that arrives in pieces, at most 1 MiB of output a step."""

    def __init__(self) -> None:
        self._member = zlib.decompressobj(_GZIP_WINDOW_BITS)

    def feed(self, data: Buffer) -> Iterator[Buffer]:
        """See `s4_codecs.abc.Inflater`; bytes behind the member are ignored."""
        rest: Buffer = as_bytes_view(data)
        while len(rest) and not self._member.eof:
            try:
                piece = self._member.decompress(rest, _STEP_BYTES)
            except zlib.error as error:
                raise CorruptPayloadError(f"gzip: {error}") from error
            rest = self._member.unconsumed_tail
            if piece:
                yield piece

    def close(self) -> None:
        """See `s4_codecs.abc.Inflater`."""
        if not self._member.eof:
            raise CorruptPayloadError("the gzip member is not complete")
