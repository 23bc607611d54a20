"""Plaintext in, stored frames out: no files, sockets, threads or clocks of its own.

`ObjectEncoder` cuts the plaintext into `FrameTask`s, whoever drives it runs them (anywhere, in any order), and hands the resulting
`EncodedFrame`s back in order to get the stored bytes.
"""

from collections.abc import Callable
from typing import TypeAlias

from s4_format import Buffer, CodecId, FrameTable, FrameTableBuilder, PayloadManifest

from s4_codecs._buffer import Pieces, as_bytes_view, joined
from s4_codecs.checksums import combine_crc
from s4_codecs.dispatch.by_options import pilot_for
from s4_codecs.dispatch.decision import Decision
from s4_codecs.errors import EncodeSizeError
from s4_codecs.frame_task import EncodedFrame, FrameTask
from s4_codecs.options import EncodeOptions
from s4_codecs.policy import frame_size as policy_frame_size
from s4_codecs.recipe import Recipe, recipe_for
from s4_codecs.sample import SAMPLE_BYTES

RAW_PASSTHROUGH_LIMIT = 8 << 20
"""Passthrough picks of known size up to this are stored as the bare bytes, without frames."""

SMALLEST_FRAME_SIZE = SAMPLE_BYTES
LARGEST_FRAME_SIZE = 64 << 20
"""Bounds of an explicit frame size: no smaller than the sample, no larger than a reader allocates at once."""

FrameSize: TypeAlias = int | Callable[[CodecId], int]


class ObjectEncoder:
    """Encodes one object.

    Call `feed` with the plaintext in any pieces, then `finish`; run each task they return; call `accept` with the results in order of
    their `sequence` and store the buffers it returns, in order. Afterwards the properties describe the stored body.

    At most one frame of input is kept, or what the dispatcher wants to see of the object (512 KiB). Buffers handed in are kept as views
    until the tasks made of them have run and the frames made of those are written, so their content must not change before; `bytes` are
    always safe.

    Args:
        options: codec, level, dispatcher and frame policy.
        size: bytes that will be fed, None when unknown. Another number is an EncodeSizeError.
        frame_size: plaintext bytes of each frame, or what tells them for a codec, for parts of larger objects
            (`s4_codecs.part_frame_size`); None: the policy decides.
        raw_passthrough_limit: passthrough picks of known size up to this are stored without frames; 0 when a framed body is needed.

    Raises:
        ValueError: a negative size, or a frame size outside 4 KiB..64 MiB.
    """

    def __init__(
        self,
        options: EncodeOptions,
        *,
        size: int | None,
        frame_size: FrameSize | None = None,
        raw_passthrough_limit: int = RAW_PASSTHROUGH_LIMIT,
    ) -> None:
        if size is not None and size < 0:
            raise ValueError(f"size must not be negative, not {size}")
        self._options = options
        self._size = size
        self._raw_limit = raw_passthrough_limit
        self._explicit_frame_size = frame_size
        self._frame_size = self._frame_size_of(options.codec_id)
        self._pilot = pilot_for(options, size)
        self._window = max(SAMPLE_BYTES, min(self._pilot.window, self._frame_size))
        self._pick: CodecId | None = None
        self._recipe: Recipe | None = None
        self._held = Pieces()
        self._fed = 0
        self._issued = 0
        self._finished = False
        self._accepted = 0
        self._original_size = 0
        self._stored_size = 0
        self._crc32c = 0
        self._fallback_frames = 0
        self._table = FrameTableBuilder()

    @property
    def frame_size(self) -> int:
        """Plaintext bytes of each frame from here on but the last. Until the codec is chosen: what it would be for the configured one."""
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
        if self._recipe is not None:
            return self._take(view)
        if self._held.size + size < self._window:
            self._held.add(view)
            return []
        self._choose(self._held.with_tail(view[: self._window - self._held.size]))
        if self._held.size < self._frame_size:
            return self._take(view)
        held, self._held = as_bytes_view(joined(self._held.parts())), Pieces()
        return self._take(held) + self._take(view)

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
        tasks = list[FrameTask]()
        if self._recipe is None:
            self._choose(self._held)
            if self._held.size > self._frame_size:
                held, self._held = as_bytes_view(joined(self._held.parts())), Pieces()
                tasks = self._take(held)
        if self._held.size:
            tasks.append(self._cut())
        return tasks

    def accept(self, frame: EncodedFrame) -> list[Buffer]:
        """The stored bytes of `frame`, as pieces to be written in order.

        Raises:
            ValueError: frames are not handed back in order.
        """
        if frame.sequence != self._accepted:
            raise ValueError(f"frame {frame.sequence} accepted, frame {self._accepted} is next")
        self._accepted += 1
        self._fallback_frames += frame.fallback
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
        """The codec chosen for the object at its beginning. Single frames may have another one: those that do not shrink are passthrough,
        and a trial may choose anew where the content changes. Known once 4 KiB are fed (512 KiB for a trial), or after `finish`.

        Raises:
            ValueError: not known yet.
        """
        if self._pick is None:
            raise ValueError("the codec is not chosen before enough is fed or the input ends")
        return self._pick

    @property
    def raw(self) -> bool:
        """Whether the body is the bare plaintext without frames. Known when `codec` is.

        Raises:
            ValueError: not known yet.
        """
        if self._recipe is None:
            raise ValueError("the codec is not chosen before enough is fed or the input ends")
        return self._recipe.raw

    @property
    def decisions(self) -> tuple[Decision, ...]:
        """What trials decided, and from which offset on: the first choice and every other one. Empty for dispatchers without a trial."""
        return self._pilot.decisions

    @property
    def fallback_frames(self) -> int:
        """Frames accepted so far that a CPU codec made because the device had no memory for them."""
        return self._fallback_frames

    def deliberates(self, size: int | None) -> bool:
        """Whether feeding `size` more bytes (None: calling `finish`) may take milliseconds, since codecs are tried on the calling thread.

        Whoever drives the encoder beside an event loop makes that call on another thread.
        """
        if not self._pilot.heavy:
            return False
        if self._recipe is None:
            return size is None or self._held.size + size >= self._window
        return self._held.size + (size or 0) >= self._frame_size and not self._recipe.raw

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

    def _take(self, view: bytes | memoryview) -> list[FrameTask]:
        """The tasks of the frames that are full with `view`; the rest is held."""
        size = len(view)
        if self._held.size + size < self._frame_size:
            if size:
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

    def _cut(self) -> FrameTask:
        recipe = self._recipe
        assert recipe is not None
        if not recipe.raw:
            pick = self._pilot.following(self._held)
            if pick is not recipe.pick:
                self._recipe = recipe = recipe_for(self._options, pick)
                self._frame_size = self._frame_size_of(pick)
        task = FrameTask(self._issued, self._held.size, self._held.parts(), recipe)
        self._issued += 1
        self._held = Pieces()
        return task

    def _choose(self, window: Pieces) -> None:
        """Pick the codec by the first bytes of the object."""
        self._pick = pick = self._pilot.first(window)
        raw = pick is CodecId.PASSTHROUGH and self._raw_limit > 0 and self._size is not None and self._size <= self._raw_limit
        self._recipe = recipe_for(self._options, pick, raw)
        if pick is not self._options.codec_id:
            self._frame_size = self._frame_size_of(pick)

    def _frame_size_of(self, codec: CodecId) -> int:
        explicit = self._explicit_frame_size
        if explicit is None:
            return policy_frame_size(self._options.frame_policy, size=self._size, codec=codec)
        size = explicit(codec) if callable(explicit) else explicit
        if not SMALLEST_FRAME_SIZE <= size <= LARGEST_FRAME_SIZE:
            raise ValueError(f"frame size must lie within {SMALLEST_FRAME_SIZE}..{LARGEST_FRAME_SIZE} bytes, not {size}")
        return size
