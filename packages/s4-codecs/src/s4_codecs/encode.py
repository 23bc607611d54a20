"""Plaintext in, stored frames out: no files, sockets, threads or clocks of its own.

`ObjectEncoder` cuts the plaintext into `FrameTask`s, whoever drives it runs them (anywhere, in any order), and hands the resulting
`EncodedFrame`s back in order to get the stored bytes.
"""

from dataclasses import dataclass, field
from functools import lru_cache
from typing import Literal, TypeAlias, get_args

from s4_format import Buffer, CodecId, FrameHeader, FrameTable, FrameTableBuilder, PayloadManifest, codec_from_label, crc32c

from s4_codecs._buffer import Pieces, as_bytes_view, joined
from s4_codecs.abc import Codec
from s4_codecs.checksums import combine_crc
from s4_codecs.dispatch import AlwaysDispatcher, Dispatcher, SamplingDispatcher
from s4_codecs.errors import DictionaryError, EncodeSizeError, Reason
from s4_codecs.policy import FramePolicy, frame_size
from s4_codecs.registry import codec_for
from s4_codecs.sample import SAMPLE_BYTES
from s4_codecs.zstd import DEFAULT_LEVEL, checked_level

RAW_PASSTHROUGH_LIMIT = 8 << 20
"""Passthrough picks of known size up to this are stored as the bare bytes, without frames."""

SMALLEST_FRAME_SIZE = SAMPLE_BYTES
LARGEST_FRAME_SIZE = 64 << 20
"""Bounds of an explicit frame size: no smaller than the sample, no larger than a reader allocates at once."""

_ZSTD_SLOWNESS = ((4, 1), (9, 6), (15, 13), (18, 80), (22, 180))
"""Up to this level, time per byte in terms of level 3, measured on 32 KiB of log text."""
_GZIP_SLOWNESS = 7
_CHECKSUM_SLOWNESS = 1 / 16
"""Of frames that are stored as they are: only their checksum is computed."""

DispatcherName: TypeAlias = Literal["sampling", "always"]


@dataclass(frozen=True, slots=True)
class EncodeOptions:
    """How objects are encoded.

    Raises:
        FormatError: `codec` is no label.
        DictionaryError: cpu-zstd-dict without a dictionary.
        ValueError: a level outside 1..22, an unknown dispatcher or frame policy, a dictionary for another codec.
    """

    codec: str = CodecId.CPU_ZSTD.label
    """Label of the codec that objects get unless the dispatcher decides for passthrough."""
    zstd_level: int = DEFAULT_LEVEL
    """1 (fast) to 22 (small); the zstd codecs alone have it."""
    dispatcher: DispatcherName = "sampling"
    """"sampling": incompressible objects become passthrough; "always": every object gets `codec`."""
    frame_policy: FramePolicy = FramePolicy.DEFAULT
    """`FramePolicy.REFERENCE` writes the reference's bytes: its frame sizes, its zstd streams, and frames that grow stay as they are."""
    dictionary: bytes | None = field(default=None, repr=False)
    """For the codec cpu-zstd-dict, which cannot do without."""

    def __post_init__(self) -> None:
        codec_from_label(self.codec)
        checked_level(self.zstd_level)
        if self.dispatcher not in get_args(DispatcherName):
            raise ValueError(f"dispatcher must be one of {', '.join(get_args(DispatcherName))}, not {self.dispatcher!r}")
        object.__setattr__(self, "frame_policy", FramePolicy(self.frame_policy))
        if self.codec_id is CodecId.CPU_ZSTD_DICT:
            if self.dictionary is None:
                raise DictionaryError(f"{self.codec} needs a dictionary", reason=Reason.DICTIONARY_MISSING)
        elif self.dictionary is not None:
            raise ValueError(f"codec {self.codec} has no use for a dictionary")

    @property
    def codec_id(self) -> CodecId:
        """The id of `codec`."""
        return codec_from_label(self.codec)


@dataclass(frozen=True, slots=True)
class _Recipe:
    """What every frame of one object has in common."""

    pick: CodecId
    codec: Codec | None
    """None: the bytes are stored as they are."""
    guard: bool
    """Whether a frame that does not shrink is stored as it is."""
    raw: bool
    """Whether the body is the bare bytes, without frames."""
    slowness: float
    """Time per byte in terms of zstd level 3."""


@lru_cache(maxsize=64)
def _dispatcher(options: EncodeOptions) -> Dispatcher:
    default = options.codec_id
    return AlwaysDispatcher(default) if options.dispatcher == "always" else SamplingDispatcher(default)


@lru_cache(maxsize=256)
def _recipe(options: EncodeOptions, pick: CodecId, raw: bool) -> _Recipe:  # noqa: FBT001 -- a cache key
    reference = options.frame_policy is FramePolicy.REFERENCE
    zstd_slowness = next(slowness for level, slowness in _ZSTD_SLOWNESS if options.zstd_level <= level)
    codec: Codec | None
    slowness: float
    match pick:
        case CodecId.PASSTHROUGH:
            codec, slowness = None, _CHECKSUM_SLOWNESS
        case CodecId.CPU_ZSTD:
            codec, slowness = codec_for(pick, level=options.zstd_level, streaming=reference), zstd_slowness
        case CodecId.CPU_ZSTD_DICT:
            codec, slowness = codec_for(pick, level=options.zstd_level, dictionary=options.dictionary), zstd_slowness
        case CodecId.CPU_GZIP:
            codec, slowness = codec_for(pick), _GZIP_SLOWNESS
        case _:
            codec, slowness = codec_for(pick), 1
    return _Recipe(pick, codec, guard=not reference, raw=raw, slowness=slowness)


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


class FrameTask:
    """The work of one frame. `run` may be called on any thread; it depends on nothing but the task."""

    __slots__ = ("_pieces", "_recipe", "sequence", "size")

    def __init__(self, sequence: int, size: int, pieces: tuple[Buffer, ...], recipe: _Recipe) -> None:
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

    def run(self) -> EncodedFrame:
        """Compress and checksum the frame; the GIL is released for most of it.

        Raises:
            CodecError: the codec cannot work; no codec of this package fails on any input.
        """
        recipe, pieces, size = self._recipe, self._pieces, self.size
        crc = 0
        for piece in pieces:
            crc = crc32c(piece, crc)
        if recipe.raw:
            return EncodedFrame(self.sequence, size, crc, b"", pieces, size)
        if recipe.codec is not None:
            payload = recipe.codec.compress(joined(pieces))
            if len(payload) < size or not recipe.guard:
                header = FrameHeader(recipe.pick, size, len(payload), crc)
                return EncodedFrame(self.sequence, size, crc, header.pack(), (payload,), len(payload))
        header = FrameHeader(CodecId.PASSTHROUGH, size, size, crc)
        return EncodedFrame(self.sequence, size, crc, header.pack(), pieces, size)


class ObjectEncoder:
    """Encodes one object.

    Call `feed` with the plaintext in any pieces, then `finish`; run each task they return; call `accept` with the results in order of
    their `sequence` and store the buffers it returns, in order. Afterwards the properties describe the stored body.

    At most one frame of input is kept. Buffers handed in are kept as views until the tasks made of them have run and the frames made of
    those are written, so their content must not change before; `bytes` are always safe.

    Args:
        options: codec, level, dispatcher and frame policy.
        size: bytes that will be fed, None when unknown. Another number is an EncodeSizeError.
        frame_size: plaintext bytes of each frame, for parts of larger objects (`s4_codecs.part_frame_size`); None: the policy decides.
        raw_passthrough_limit: passthrough picks of known size up to this are stored without frames; 0 when a framed body is needed.

    Raises:
        ValueError: a negative size, or a frame size outside 4 KiB..64 MiB.
    """

    def __init__(
        self,
        options: EncodeOptions,
        *,
        size: int | None,
        frame_size: int | None = None,
        raw_passthrough_limit: int = RAW_PASSTHROUGH_LIMIT,
    ) -> None:
        if size is not None and size < 0:
            raise ValueError(f"size must not be negative, not {size}")
        if frame_size is not None and not SMALLEST_FRAME_SIZE <= frame_size <= LARGEST_FRAME_SIZE:
            raise ValueError(f"frame size must lie within {SMALLEST_FRAME_SIZE}..{LARGEST_FRAME_SIZE} bytes, not {frame_size}")
        self._options = options
        self._size = size
        self._raw_limit = raw_passthrough_limit
        self._explicit_frame_size = frame_size
        self._frame_size = frame_size or _policy_frame_size(options, options.codec_id, size)
        self._recipe: _Recipe | None = None
        self._held = Pieces()
        self._fed = 0
        self._issued = 0
        self._finished = False
        self._accepted = 0
        self._original_size = 0
        self._stored_size = 0
        self._crc32c = 0
        self._table = FrameTableBuilder()

    @property
    def frame_size(self) -> int:
        """Plaintext bytes of each frame but the last. Until the codec is chosen: what it would be for the configured one."""
        return self._frame_size

    def feed(self, data: Buffer) -> list[FrameTask]:
        """Take the next plaintext; returns the tasks of the frames that are now full.

        Raises:
            EncodeSizeError: more bytes than declared, at the first such byte.
            ValueError: called after `finish`.
            CodecUnavailableError: the codec chosen is not installed.
        """
        if self._finished:
            raise ValueError("feed after finish")
        view = as_bytes_view(data)
        size = len(view)
        self._fed += size
        if self._size is not None and self._fed > self._size:
            raise EncodeSizeError(f"{self._size} bytes declared, more arrived")
        if self._recipe is None and self._held.size + size >= SAMPLE_BYTES:
            self._choose(view)
        if self._held.size + size < self._frame_size:
            self._held.add(view)
            return []
        tasks, offset, window = list[FrameTask](), 0, memoryview(view)
        while self._held.size + size - offset >= self._frame_size:
            end = offset + self._frame_size - self._held.size
            self._held.add(window[offset:end])
            tasks.append(self._cut())
            offset = end
        if offset < size:
            self._held.add(window[offset:])
        return tasks

    def finish(self) -> list[FrameTask]:
        """The plaintext ended; returns the task of the last frame, if there is one.

        Raises:
            EncodeSizeError: fewer bytes than declared.
            ValueError: called twice.
            CodecUnavailableError: the codec chosen is not installed.
        """
        if self._finished:
            raise ValueError("finish called twice")
        if self._size is not None and self._fed != self._size:
            raise EncodeSizeError(f"{self._size} bytes declared, {self._fed} arrived")
        self._finished = True
        if self._held.size:
            return [self._cut()]
        if self._recipe is None:
            self._choose()
        return []

    def accept(self, frame: EncodedFrame) -> list[Buffer]:
        """The stored bytes of `frame`, as pieces to be written in order.

        Raises:
            ValueError: frames are not handed back in order.
        """
        if frame.sequence != self._accepted:
            raise ValueError(f"frame {frame.sequence} accepted, frame {self._accepted} is next")
        self._accepted += 1
        stored = len(frame.header) + frame.payload_size
        self._crc32c = combine_crc("crc32c", self._crc32c, frame.crc32c, frame.original_size) if self._original_size else frame.crc32c
        self._original_size += frame.original_size
        self._stored_size += stored
        if not frame.header:
            return list(frame.payload)
        self._table.append(frame.original_size, stored)
        return [frame.header, *frame.payload]

    @property
    def done(self) -> bool:
        """Whether all input is fed and every frame accepted."""
        return self._finished and self._accepted == self._issued

    @property
    def codec(self) -> CodecId:
        """The codec chosen for the object; single frames may be passthrough nevertheless. Known once 4 KiB are fed, or after `finish`.

        Raises:
            ValueError: not known yet.
        """
        return self._chosen().pick

    @property
    def raw(self) -> bool:
        """Whether the body is the bare plaintext without frames. Known once 4 KiB are fed, or after `finish`.

        Raises:
            ValueError: not known yet.
        """
        return self._chosen().raw

    @property
    def original_size(self) -> int:
        """Plaintext bytes of the frames accepted so far."""
        return self._original_size

    @property
    def stored_size(self) -> int:
        """Stored bytes of the frames accepted so far, headers included."""
        return self._stored_size

    @property
    def crc32c(self) -> int:
        """CRC32C of the plaintext of the frames accepted so far."""
        return self._crc32c

    @property
    def frames(self) -> FrameTable:
        """The frames accepted so far; empty for a raw body."""
        return self._table.build()

    @property
    def payload_manifest(self) -> PayloadManifest:
        """Codec, sizes and CRC of the whole object.

        Raises:
            ValueError: not all frames are accepted.
        """
        if not self.done:
            raise ValueError("the object is not completely encoded")
        return PayloadManifest(self.codec, self._original_size, self._stored_size, self._crc32c)

    def _cut(self) -> FrameTask:
        task = FrameTask(self._issued, self._held.size, self._held.parts(), self._recipe or self._choose())
        self._issued += 1
        self._held = Pieces()
        return task

    def _choose(self, following: bytes | memoryview = b"") -> _Recipe:
        """Pick the codec from the first bytes of the object: all that is held, and what follows it."""
        sample = self._held.head(SAMPLE_BYTES)
        sample += following[: SAMPLE_BYTES - len(sample)]
        pick = _dispatcher(self._options).pick(sample, self._size)
        raw = pick is CodecId.PASSTHROUGH and self._raw_limit > 0 and self._size is not None and self._size <= self._raw_limit
        self._recipe = _recipe(self._options, pick, raw)
        self._frame_size = self._explicit_frame_size or _policy_frame_size(self._options, pick, self._size)
        return self._recipe

    def _chosen(self) -> _Recipe:
        if self._recipe is None:
            raise ValueError("the codec is not chosen before 4 KiB are fed or the input ends")
        return self._recipe


def _policy_frame_size(options: EncodeOptions, codec: CodecId, size: int | None) -> int:
    return frame_size(options.frame_policy, size=size, codec=codec)
