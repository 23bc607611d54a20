"""Decoding one payload, whole or as it arrives, with every check of wire-format.md 2.2."""

import sys
from collections.abc import Iterator
from functools import lru_cache

from s4_format import Buffer, CodecId, FrameHeader, PayloadManifest, crc32c

from s4_codecs._buffer import as_bytes_view
from s4_codecs.abc import Codec, Inflater, StreamingCodec
from s4_codecs.errors import CodecUnavailableError, CrcMismatchError, Reason, SizeLimitError, SizeMismatchError
from s4_codecs.registry import GPU_CODECS, codec_for

MAX_ORIGINAL_BYTES = 5 << 30
"""What one payload may decode to unless the caller says otherwise: the largest single PUT."""

_LONG_STEPS = GPU_CODECS | {CodecId.CPU_COLUMNAR}
"""Codecs whose inflaters take milliseconds for a step, however few bytes it gets."""


def decode_frame(
    header: FrameHeader, payload: Buffer, *, dictionary: bytes | None = None, max_original_size: int = MAX_ORIGINAL_BYTES
) -> bytes | memoryview:
    """The plaintext of one frame; of a passthrough frame a view of `payload`.

    Args:
        header: as parsed from the body.
        payload: exactly the bytes that follow the header.
        dictionary: for frames of cpu-zstd-dict.
        max_original_size: bound in bytes on the plaintext, checked before anything is allocated.

    Raises:
        SizeLimitError, SizeMismatchError, CorruptPayloadError, CrcMismatchError, DictionaryError, CodecUnavailableError
    """
    return _decode(header.codec, header.original_size, header.payload_size, header.crc32c, payload, dictionary, max_original_size)


def decode_payload(
    manifest: PayloadManifest, body: Buffer, *, dictionary: bytes | None = None, max_original_size: int = MAX_ORIGINAL_BYTES
) -> bytes | memoryview:
    """The plaintext of an object whose body is one unframed payload; otherwise as `decode_frame`."""
    sizes = manifest.original_size, manifest.compressed_size
    return _decode(manifest.codec, *sizes, manifest.crc32c, body, dictionary, max_original_size)


def _decode(
    codec: CodecId, original_size: int, payload_size: int, crc: int, payload: Buffer, dictionary: bytes | None, limit: int
) -> bytes | memoryview:
    check_limit(original_size, limit)
    view = as_bytes_view(payload)
    if len(view) != payload_size:
        raise SizeMismatchError(f"payload has {len(view)} bytes, {payload_size} promised")
    if codec is CodecId.PASSTHROUGH:
        if len(view) != original_size:
            raise SizeMismatchError(f"passthrough payload holds {len(view)} bytes, {original_size} promised")
        data = view
    else:
        data = reading_codec(codec, dictionary).decompress(view, original_size)
    if crc32c(data) != crc:
        raise CrcMismatchError(f"CRC32C of the decoded {original_size} bytes is not {crc:#010x}")
    return data


def check_limit(original_size: int, limit: int) -> None:
    """Refuse a promised size above `limit` before anything is allocated for it.

    Raises:
        SizeLimitError: it is above.
    """
    if original_size > limit:
        raise SizeLimitError(f"{original_size} bytes promised, at most {limit} allowed")


def decoding_weight(size: int, *, waits: bool) -> int:
    """Whether decoding is worth another thread: about `size`, but never on the event loop's where a process or a device is waited for."""
    return sys.maxsize if waits else size


@lru_cache(maxsize=32)
def reading_codec(codec: CodecId, dictionary: bytes | None) -> Codec:
    """The codec that decodes payloads of this id.

    Raises:
        CodecUnavailableError: it is not installed, or none exists.
        DictionaryError: it needs a dictionary and got none or an unusable one.
    """
    return codec_for(codec, dictionary=dictionary) if codec is CodecId.CPU_ZSTD_DICT else codec_for(codec)


def new_inflater(codec: CodecId, dictionary: bytes | None) -> Inflater:
    """A piecewise decoder for one payload.

    Raises:
        CodecUnavailableError, DictionaryError: see `reading_codec`; also when the codec decodes whole payloads only.
    """
    made = reading_codec(codec, dictionary)
    if not isinstance(made, StreamingCodec):
        raise CodecUnavailableError(f"codec {codec.label} cannot decode piece by piece", codec=codec)
    return made.inflater()


class PayloadStream:
    """A payload decoded as it arrives: the plaintext's bytes [low, high), size and CRC checked at its end.

    The last buffer is held back until everything is checked, so that a damaged payload never looks complete.

    Args:
        original_size, crc: what the plaintext must have; None for bytes that promise nothing.
        codec: the inflater's.
    """

    def __init__(
        self,
        inflater: Inflater,
        *,
        original_size: int | None,
        crc: int | None,
        low: int = 0,
        high: int | None = None,
        codec: CodecId | None = None,
    ) -> None:
        self.waits = codec in _LONG_STEPS
        self._inflater = inflater
        self._original_size = original_size
        self._expected_crc = crc
        self._low = low
        self._high = high
        self._produced = 0
        self._crc = 0
        self._held: Buffer | None = None

    def push(self, data: Buffer) -> Iterator[Buffer]:
        """Buffers of plaintext, of at most about 1 MiB unless the codec is passthrough."""
        for piece in self._inflater.feed(data):
            start = self._produced
            self._produced += len(piece)
            if self._original_size is not None and self._produced > self._original_size:
                raise SizeMismatchError(f"the payload decodes to more than the {self._original_size} bytes promised")
            if self._expected_crc is not None:
                self._crc = crc32c(piece, self._crc)
            wanted = self._slice(piece, start)
            if len(wanted):
                if self._held is not None:
                    yield self._held
                self._held = wanted

    def end(self) -> Iterator[Buffer]:
        """Check the whole, then release the last buffer."""
        self._inflater.close()
        if self._original_size is not None and self._produced != self._original_size:
            raise SizeMismatchError(f"the payload decodes to {self._produced} bytes, {self._original_size} promised")
        if self._expected_crc is not None and self._crc != self._expected_crc:
            raise CrcMismatchError(f"CRC32C of the decoded {self._produced} bytes is not {self._expected_crc:#010x}")
        if self._high is not None and self._produced < self._high:
            raise SizeMismatchError(f"the payload ends at {self._produced}, wanted up to {self._high}", reason=Reason.BODY_TRUNCATED)
        if self._held is not None:
            yield self._held
            self._held = None

    def _slice(self, piece: Buffer, start: int) -> Buffer:
        low = max(self._low - start, 0)
        high = len(piece) if self._high is None else min(self._high - start, len(piece))
        if low == 0 and high == len(piece):
            return piece
        return memoryview(piece)[low : max(high, low)]


class DecodeStream:
    """Serial work: iterate it to the end, after everything before it and before everything behind it. Any thread may do each step."""

    __slots__ = ("_data", "_last", "_stream", "size", "weight")

    serial = True

    def __init__(self, stream: PayloadStream, data: Buffer, *, last: bool) -> None:
        self._stream = stream
        self._data = data
        self._last = last
        self.size = len(data)
        """Stored bytes to be decoded."""
        self.weight = decoding_weight(self.size, waits=stream.waits)

    def __iter__(self) -> Iterator[Buffer]:
        """Buffers of output, in order.

        Raises:
            SizeMismatchError, CorruptPayloadError, CrcMismatchError
        """
        yield from self._stream.push(self._data)
        if self._last:
            yield from self._stream.end()


class PayloadDecoder:
    """Decodes a body that is one unframed payload (gzip, a zstd stream, or plain bytes) as it arrives.

    Args:
        manifest: what the metadata promises; None for a foreign body, whose bytes are handed on unchecked.
        start, stop: the range of the plaintext that is wanted, half-open; stop None is the end. The whole body is decoded nevertheless.
        dictionary: for cpu-zstd-dict.
        max_original_size: bound in bytes on the promised plaintext.

    Raises:
        SizeLimitError, CodecUnavailableError, DictionaryError
    """

    def __init__(
        self,
        manifest: PayloadManifest | None,
        *,
        start: int = 0,
        stop: int | None = None,
        dictionary: bytes | None = None,
        max_original_size: int = MAX_ORIGINAL_BYTES,
    ) -> None:
        self._compressed_size = None if manifest is None else manifest.compressed_size
        self._fed = 0
        if manifest is None:
            codec, size, crc = CodecId.PASSTHROUGH, None, None
        else:
            check_limit(manifest.original_size, max_original_size)
            codec, size, crc = manifest.codec, manifest.original_size, manifest.crc32c
        inflater = new_inflater(codec, dictionary)
        self._stream = PayloadStream(inflater, original_size=size, crc=crc, low=start, high=stop, codec=codec)

    def feed(self, data: Buffer) -> list[DecodeStream]:
        """Take the next stored bytes.

        Raises:
            SizeMismatchError: more bytes than the manifest's `compressed_size`.
        """
        view = as_bytes_view(data)
        self._fed += len(view)
        if self._compressed_size is not None and self._fed > self._compressed_size:
            raise SizeMismatchError(f"the body has more than the {self._compressed_size} bytes promised")
        return [DecodeStream(self._stream, view, last=False)] if len(view) else []

    def close(self) -> list[DecodeStream]:
        """The body ended; the last stream checks size and CRC.

        Raises:
            SizeMismatchError: fewer bytes than the manifest's `compressed_size`.
        """
        if self._compressed_size is not None and self._fed != self._compressed_size:
            message = f"the body has {self._fed} bytes, {self._compressed_size} promised"
            raise SizeMismatchError(message, reason=Reason.BODY_TRUNCATED)
        return [DecodeStream(self._stream, b"", last=True)]
