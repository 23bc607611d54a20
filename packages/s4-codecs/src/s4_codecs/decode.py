"""Stored frames in, plaintext out: no files, sockets, threads or clocks of its own.

`ObjectDecoder` turns stored bytes into `DecodeTask`s, whoever drives it runs them (anywhere, in any order) and hands the results back in
order to get the plaintext. Frames too large to be held are `DecodeStream`s instead, which are iterated in their turn.
"""

from dataclasses import dataclass
from typing import TypeAlias

from s4_format import FRAME_HEADER_BYTES, FRAME_MAGIC, Buffer, CodecId, FrameEntry, FrameHeader, FrameTable, Manifest, parse_frame_header

from s4_codecs._buffer import Pieces, as_bytes_view, joined
from s4_codecs._items import ItemScanner, Mark
from s4_codecs.abc import StreamingCodec
from s4_codecs.errors import CodecUnavailableError, EncryptedObjectError, IndexMismatchError, Reason, SizeMismatchError
from s4_codecs.payload import (
    MAX_ORIGINAL_BYTES,
    DecodeStream,
    PayloadDecoder,
    PayloadStream,
    check_limit,
    decode_frame,
    decoding_weight,
    reading_codec,
)
from s4_codecs.registry import GPU_CODECS

STREAM_ABOVE_BYTES = 16 << 20
"""Frames with more plaintext or payload are decoded as they arrive, in one thread; up to it they are decoded whole, in parallel.

16 MiB is the reference's largest frame of a single PUT; its multipart frames are as large as the parts, up to 5 GiB."""


_CHECKSUM_SPEED = 16
"""How many times as fast as decoding a frame's checksum is."""


@dataclass(frozen=True, slots=True)
class Decoded:
    """The output of one `DecodeTask`."""

    sequence: int
    """Position among the tasks and streams of this decoder, from 0."""
    data: Buffer
    """The wanted part of the frame's plaintext."""


class DecodeTask:
    """The work of one frame. `run` may be called on any thread; it depends on nothing but the task."""

    __slots__ = ("_dictionary", "_header", "_high", "_low", "_pieces", "sequence")

    serial = False

    def __init__(self, sequence: int, header: FrameHeader, *, low: int, high: int, dictionary: bytes | None) -> None:
        self.sequence = sequence
        self._header = header
        self._low = low
        self._high = high
        self._dictionary = dictionary
        self._pieces = Pieces()

    def __repr__(self) -> str:
        return f"DecodeTask(sequence={self.sequence}, size={self.size}, codec={self._header.codec.label})"

    @property
    def size(self) -> int:
        """Plaintext bytes of the frame."""
        return self._header.original_size

    @property
    def weight(self) -> int:
        """Whether the work is worth another thread: `size`, since all codecs of the CPU read about equally fast, but a passthrough frame
        only has its checksum compared.
        """
        size = self.size // _CHECKSUM_SPEED if self._header.codec is CodecId.PASSTHROUGH else self.size
        return decoding_weight(size, waits=self._header.codec in GPU_CODECS)

    def collect(self, content: memoryview) -> None:
        """Take the next piece of the payload; the decoder's to call."""
        self._pieces.add(content)

    def run(self) -> Decoded:
        """Decompress and check the frame; the GIL is released for most of it.

        Raises:
            SizeMismatchError, CorruptPayloadError, CrcMismatchError, DictionaryError
        """
        data = decode_frame(self._header, joined(self._pieces.parts()), dictionary=self._dictionary, max_original_size=self.size)
        if self._low == 0 and self._high == len(data):
            return Decoded(self.sequence, data)
        return Decoded(self.sequence, memoryview(data)[self._low : self._high])


Work: TypeAlias = DecodeTask | DecodeStream


class ObjectDecoder:
    """Decodes one framed body, or the frames of one range of it.

    Call `feed` with the stored bytes in any pieces, then `close`; run each `DecodeTask` and hand its result to `accept`, and iterate each
    `DecodeStream`, in the order in which they were returned: the buffers make up the plaintext [start, stop).
    Buffers handed in are kept as views until the tasks made of them have run.

    Args:
        start, stop: the range of the object's plaintext that is wanted, half-open; stop None is the end of the object.
        original_offset: position in the plaintext of the first frame that will be fed.
        stored_offset: position in the body of the first byte that will be fed.
        expected_size: plaintext bytes of the whole object, if known.
        expect: the frame table; every frame header must equal its entry.
        first_frame: number in `expect` of the first frame that will be fed.
        dictionary: for frames of cpu-zstd-dict.
        max_frame_size: bound in bytes on the payload and on the plaintext of one frame.

    Raises:
        ValueError: a negative or reversed range.
    """

    def __init__(
        self,
        *,
        start: int = 0,
        stop: int | None = None,
        original_offset: int = 0,
        stored_offset: int = 0,
        expected_size: int | None = None,
        expect: FrameTable | None = None,
        first_frame: int = 0,
        dictionary: bytes | None = None,
        max_frame_size: int = MAX_ORIGINAL_BYTES,
    ) -> None:
        if start < 0 or (stop is not None and stop < start):
            raise ValueError(f"not a range: {start}..{stop}")
        self._start = start
        self._stop = stop
        self._scanner = ItemScanner(offset=stored_offset)
        self._cursor = original_offset
        self._expected_size = expected_size
        self._expect = expect
        self._frame = first_frame
        self._dictionary = dictionary
        self._max_frame_size = max_frame_size
        self._task: DecodeTask | None = None
        self._stream: PayloadStream | None = None
        self._issued = 0
        self._accepted = 0
        self._closed = False

    @property
    def finished(self) -> bool:
        """Whether all of [start, stop) has been fed; more bytes are ignored. Without a stop the end of the body decides."""
        return self._closed or self._range_is_over()

    def feed(self, data: Buffer) -> list[Work]:
        """Take the next stored bytes; returns the work that they complete.

        Raises:
            FrameError: the body is malformed.
            IndexMismatchError: a frame header contradicts `expect`.
            SizeLimitError, SizeMismatchError: a frame is larger than allowed, or larger than the object.
            CodecUnavailableError, DictionaryError: a wanted frame cannot be decoded here.
            ValueError: called after `close`.
        """
        if self._closed:
            raise ValueError("feed after close")
        work: list[Work] = []
        if self._range_is_over():
            return work
        for token in self._scanner.feed(memoryview(as_bytes_view(data))):
            if isinstance(token, memoryview):
                self._take(token, work)
            elif isinstance(token, FrameHeader):
                self._open(token)
            elif token is Mark.ITEM_END:
                self._end_item(work)
                if self._range_is_over():
                    break
        return work

    def close(self) -> list[Work]:
        """The body, or the part of it that holds the range, ended.

        Raises:
            FrameError: in the middle of an item.
            SizeMismatchError: before the range's stop, or with another plaintext size than `expected_size` or `expect` says.
        """
        self._closed = True
        if self._range_is_over():
            return []
        self._scanner.close()
        if self._stop is not None:
            raise SizeMismatchError(f"the frames end at {self._cursor}, wanted up to {self._stop}", reason=Reason.BODY_TRUNCATED)
        for promised in (self._expected_size, None if self._expect is None else self._expect.original_size):
            if promised is not None and promised != self._cursor:
                raise SizeMismatchError(f"the frames hold {self._cursor} bytes, {promised} promised", reason=Reason.BODY_TRUNCATED)
        return []

    def accept(self, decoded: Decoded) -> Buffer:
        """The plaintext of one task; may be empty.

        Raises:
            ValueError: results are not handed back in order.
        """
        if decoded.sequence != self._accepted:
            raise ValueError(f"frame {decoded.sequence} accepted, frame {self._accepted} is next")
        self._accepted += 1
        return decoded.data

    def _range_is_over(self) -> bool:
        if self._stop is None or self._task is not None or self._stream is not None:
            return False
        return max(self._cursor, self._start) >= self._stop

    def _open(self, header: FrameHeader) -> None:
        """A frame begins: check its header, and decide whether to skip, collect or stream it."""
        self._check(header)
        low, high = self._cursor, self._cursor + header.original_size
        self._frame += 1
        self._cursor = high
        before = high <= self._start and low < self._start
        behind = self._stop is not None and low >= self._stop
        if before or behind:
            return
        first = max(self._start - low, 0)
        last = header.original_size if self._stop is None else min(self._stop, high) - low
        codec = reading_codec(header.codec, self._dictionary)
        if max(header.original_size, header.payload_size) > STREAM_ABOVE_BYTES and isinstance(codec, StreamingCodec):
            sizes = {"original_size": header.original_size, "low": first, "high": last}
            self._stream = PayloadStream(codec.inflater(), crc=header.crc32c, codec=header.codec, **sizes)
        else:
            self._task = DecodeTask(self._issued, header, low=first, high=last, dictionary=self._dictionary)
            self._issued += 1

    def _take(self, content: memoryview, work: list[Work]) -> None:
        if self._task is not None:
            self._task.collect(content)
        elif self._stream is not None:
            work.append(DecodeStream(self._stream, content, last=False))

    def _end_item(self, work: list[Work]) -> None:
        if self._task is not None:
            work.append(self._task)
            self._task = None
        elif self._stream is not None:
            work.append(DecodeStream(self._stream, b"", last=True))
            self._stream = None

    def _check(self, header: FrameHeader) -> None:
        check_limit(header.original_size, self._max_frame_size)
        check_limit(header.payload_size, self._max_frame_size)
        if self._expected_size is not None and self._cursor + header.original_size > self._expected_size:
            raise SizeMismatchError(f"the frames hold more than the {self._expected_size} bytes promised")
        if self._expect is not None:
            found = FrameEntry(self._cursor, header.original_size, self._scanner.item_offset, header.stored_size)
            if self._frame >= len(self._expect) or self._expect[self._frame] != found:
                raise IndexMismatchError(f"frame {self._frame} is not where and what the index says: {found}")


def decode_only_frame(body: Buffer, *, original_size: int, dictionary: bytes | None = None) -> bytes | memoryview | None:
    """The plaintext of a body that is one frame and nothing else, which most small objects are; None for every other body.

    Args:
        body: the whole stored body.
        original_size: plaintext bytes of the object.
        dictionary: for a frame of cpu-zstd-dict.

    Raises:
        SizeMismatchError, CorruptPayloadError, CrcMismatchError, CodecUnavailableError, DictionaryError: it is one, and damaged or not
            decodable here.
    """
    if len(body) < FRAME_HEADER_BYTES or bytes(body[: len(FRAME_MAGIC)]) != FRAME_MAGIC:
        return None
    header = parse_frame_header(body)
    if header.stored_size != len(body) or header.original_size != original_size:
        return None
    return decode_frame(header, memoryview(body)[FRAME_HEADER_BYTES:], dictionary=dictionary, max_original_size=original_size)


def open_decoder(
    manifest: Manifest,
    *,
    start: int = 0,
    stop: int | None = None,
    dictionary: bytes | None = None,
    max_frame_size: int = MAX_ORIGINAL_BYTES,
) -> ObjectDecoder | PayloadDecoder:
    """The decoder for a whole stored body with this metadata (wire-format.md 5.2), giving the plaintext [start, stop).

    Bodies without S4 metadata are handed on as they are, whatever they begin with.

    Raises:
        EncryptedObjectError: the body is ciphertext.
        SizeLimitError, CodecUnavailableError, DictionaryError, ValueError
    """
    if manifest.encrypted:
        raise EncryptedObjectError("the body is encrypted; decrypt it before decoding")
    if manifest.framed or manifest.multipart or manifest.trailer:
        return ObjectDecoder(
            start=start, stop=stop, expected_size=manifest.original_size, dictionary=dictionary, max_frame_size=max_frame_size
        )
    if manifest.is_s4 and manifest.payload is None:
        raise CodecUnavailableError(f"the metadata names {manifest.codec_label!r}, which is no codec known here")
    return PayloadDecoder(manifest.payload, start=start, stop=stop, dictionary=dictionary, max_original_size=max_frame_size)
