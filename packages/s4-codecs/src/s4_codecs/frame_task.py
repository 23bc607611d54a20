"""The work of one frame, and of several frames that a codec does together."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

from s4_format import Buffer, CodecId, FrameHeader, crc32c

from s4_codecs._buffer import joined
from s4_codecs.abc import BatchCodec, Codec
from s4_codecs.errors import CodecUnavailableError, DeviceMemoryError
from s4_codecs.recipe import Recipe

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class EncodedFrame:
    """One frame, ready to be stored."""

    sequence: int
    """Position among the object's frames, from 0."""
    original_size: int
    """Plaintext bytes."""
    crc32c: int
    """CRC32C of the plaintext."""
    header: bytes
    """The packed frame header; empty in a raw body."""
    payload: tuple[Buffer, ...]
    """The payload's pieces, in order."""
    payload_size: int
    """Bytes of all pieces together."""
    fallback: bool = False
    """Whether a CPU codec made it because the device had no memory for it."""


class FrameTask:
    """The work of one frame. `run` may be called on any thread; it depends on nothing but the task."""

    __slots__ = ("_pieces", "_recipe", "sequence", "size")

    def __init__(self, sequence: int, size: int, pieces: tuple[Buffer, ...], recipe: Recipe) -> None:
        self.sequence = sequence
        self.size = size
        self._pieces = pieces
        self._recipe = recipe

    def __repr__(self) -> str:
        return f"FrameTask(sequence={self.sequence}, size={self.size}, codec={self._recipe.pick.label})"

    @property
    def weight(self) -> int:
        """`size` times how slow the codec is in terms of zstd level 3: whether the work is worth another thread."""
        return int(self.size * self._recipe.slowness)

    @property
    def batch_codec(self) -> BatchCodec | None:
        """The codec, if it does many frames in one go better than one by one (`run_together`)."""
        return self._recipe.batch

    def plaintext(self) -> Buffer:
        """The frame's bytes in one piece."""
        return joined(self._pieces)

    def run(self) -> EncodedFrame:
        """Compress and checksum the frame; the GIL is released for most of it.

        Raises:
            CodecError: the codec cannot work; no codec of the CPU fails on any input.
        """
        recipe = self._recipe
        if recipe.raw:
            return EncodedFrame(self.sequence, self.size, self._checksum(), b"", self._pieces, self.size)
        if recipe.codec is None:
            return self._as_it_is(self._checksum())
        try:
            payload = recipe.codec.compress(self.plaintext())
        except (DeviceMemoryError, CodecUnavailableError) as error:
            self.check_stands_in(error)
            return self.run_without_device()
        return self.packed(payload)

    def check_stands_in(self, error: DeviceMemoryError | CodecUnavailableError) -> None:
        """Nothing, if the CPU is to do what the device could not do because of `error`; else raise that."""
        recipe = self._recipe
        if recipe.fallback is None or (isinstance(error, CodecUnavailableError) and not recipe.outlives_device):
            raise error
        _tell_once(f"{recipe.pick.label}: {error}")

    def run_without_device(self) -> EncodedFrame:
        """As `run`, with the CPU codec that stands in where a device has no memory.

        Raises:
            DeviceMemoryError: none stands in for this codec.
        """
        fallback = self._recipe.fallback
        if fallback is None:
            raise DeviceMemoryError(f"no CPU codec stands in for {self._recipe.pick.label}")
        return self.packed(fallback.compress(self.plaintext()), made_by=fallback)

    def packed(self, payload: Buffer, *, made_by: Codec | None = None) -> EncodedFrame:
        """The frame that holds `payload`, or the bytes as they are if that is shorter.

        Args:
            payload: the codec's.
            made_by: the codec that stood in; None: the task's own made it.
        """
        crc, size, length = self._checksum(), self.size, len(memoryview(payload))
        if length >= size and self._recipe.guard:
            return self._as_it_is(crc, fallback=made_by is not None)
        header = FrameHeader(self._recipe.pick if made_by is None else made_by.codec_id, size, length, crc)
        return EncodedFrame(self.sequence, size, crc, header.pack(), (payload,), length, fallback=made_by is not None)

    def _as_it_is(self, crc: int, *, fallback: bool = False) -> EncodedFrame:
        header = FrameHeader(CodecId.PASSTHROUGH, self.size, self.size, crc)
        return EncodedFrame(self.sequence, self.size, crc, header.pack(), self._pieces, self.size, fallback=fallback)

    def _checksum(self) -> int:
        crc = 0
        for piece in self._pieces:
            crc = crc32c(piece, crc)
        return crc


def run_together(codec: BatchCodec, tasks: Sequence[FrameTask]) -> list[EncodedFrame]:
    """What `run` gives for each of `tasks`, all of which have this codec, made in one go. May be called on any thread.

    Raises:
        CodecError: the codec cannot work.
        ValueError: it did not give one payload for each frame.
    """
    try:
        payloads = codec.encode_many([task.plaintext() for task in tasks])
    except (DeviceMemoryError, CodecUnavailableError) as error:
        for task in tasks:
            task.check_stands_in(error)
        return [task.run_without_device() for task in tasks]
    return [task.packed(payload) for task, payload in zip(tasks, payloads, strict=True)]


@lru_cache(maxsize=64)
def _tell_once(what: str) -> None:
    """A device that has failed fails for every frame; how often is counted by whoever encodes."""
    _log.warning("cpu-zstd takes the place of %s", what)
