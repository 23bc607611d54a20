"""How many bytes a read may hold, and so how many frames it decodes at a time: bodies on their way out count like those on their way in."""

import asyncio
from dataclasses import dataclass

from s4_codecs.policy import FramePolicy, frame_size, part_frame_size
from s4_format import CodecId, Layout

from s4_gateway.errors import S3Error
from s4_gateway.objects.budget import Lease
from s4_gateway.objects.core import Core
from s4_gateway.objects.face import Face
from s4_gateway.objects.patience import Watch
from s4_gateway.objects.window import Window

WAIT_SECONDS = 20.0
"""How long a read waits for its turn before the client is asked to slow down."""
SMALLEST = 16 * 1024
SMALL_BYTES = 256 * 1024
"""Most that a read may hold to have its memory from the share that is kept for small ones."""
PASSED_BYTES = 256 * 1024
"""What a body that is only passed on has in the pipes."""
PIPE_BYTES = 2 << 20
"""What a store hands over is held as long as one frame in it is: a piece that is being cut, and the one before it. (Measured: 60 unread
answers over the embedded store, which hands over 1 MiB at a time, held 3 MiB each.)"""
LARGEST_FRAME = 16 << 20
"""Largest frame that is decoded as a whole; larger ones are streamed."""


@dataclass(frozen=True, slots=True)
class Ticket:
    """A read's share."""

    in_flight: int
    """Frames to decode at a time."""
    size: int = 0
    """Bytes that it is good for."""
    leases: tuple[Lease, ...] = ()
    watch: Watch | None = None

    def release(self) -> None:
        """Give it back; repeatable."""
        if self.watch is not None:
            self.watch.end()
        for lease in self.leases:
            lease.release()


class Crowded(Exception):
    """A read must wait for so many bytes. It must hold nothing meanwhile: the first piece of a download alone may be a megabyte."""

    def __init__(self, size: int) -> None:
        super().__init__(f"{size} bytes are not free")
        self.size = size


class Admission:
    """Gives reads their share of the byte budget, at most half of it for all: slow readers must not keep writers out."""

    def __init__(self, core: Core) -> None:
        self._core = core

    def free(self) -> Ticket:
        """For a read inside a request that has reserved already."""
        return Ticket(self._core.options.frames_in_flight)

    def admit(self, face: Face, window: Window, waited: Ticket | None = None) -> Ticket:
        """A ticket for a client's read; under pressure for one frame at a time.

        Args:
            face, window: what is read.
            waited: from `wait`. It is the answer, or is given back.

        Raises:
            Crowded: none is free.
        """
        reads, budget = self._core.reads, self._core.budget
        frame, span = frame_bytes(face, window), window.stop - window.start
        quiet = reads.is_quiet() and budget.is_quiet()
        most = min(self._core.options.frames_in_flight, reads.limit // (4 * frame + 1) - 1) if quiet else 1
        in_flight = max(1, most)
        size = min(held_bytes(frame, in_flight, span), reads.limit)
        if waited is not None:
            least = min(held_bytes(frame, 1, span), reads.limit)
            if waited.size >= least:
                return waited
            # The object was replaced by one that takes more.
            waited.release()
        if size <= SMALL_BYTES and (lease := self._core.small.take_now(size)) is not None:
            return Ticket(in_flight, size, (lease,))
        # In this order everywhere: writers take the second one only.
        first = reads.take_now(size)
        second = budget.take_now(size) if first is not None else None
        if first is None or second is None:
            if first is not None:
                first.release()
            raise Crowded(min(held_bytes(frame, 1, span), reads.limit))
        return Ticket(in_flight, size, (first, second), self._core.patience.watch(reads, budget))

    async def wait(self, size: int) -> Ticket:
        """A ticket for one frame at a time, as soon as `size` bytes are free.

        Raises:
            S3Error: SlowDown after `WAIT_SECONDS`.
        """
        reads, budget = self._core.reads, self._core.budget
        first: Lease | None = None
        try:
            async with asyncio.timeout(WAIT_SECONDS):
                first = await reads.take(size)
                second = await budget.take(size)
                return Ticket(1, size, (first, second), self._core.patience.watch(reads, budget))
        except BaseException as error:
            if first is not None:
                first.release()
            if isinstance(error, TimeoutError):
                raise S3Error("SlowDown", "Too many objects are being read; try again.") from error
            raise


class Seat:
    """One read's way to its ticket, over several attempts to open a body.

    Args:
        admission: gives tickets.
        reserved: the caller has reserved the memory that the read takes.
    """

    def __init__(self, admission: Admission, *, reserved: bool) -> None:
        self._admission = admission
        self._reserved = reserved
        self._waited: Ticket | None = None

    def take(self, face: Face, window: Window) -> Ticket:
        """The ticket, which is the caller's to release.

        Raises:
            Crowded: give back all that the read holds, `wait`, and open it again.
        """
        if self._reserved:
            return self._admission.free()
        waited, self._waited = self._waited, None
        return self._admission.admit(face, window, waited)

    async def wait(self, size: int) -> None:
        """Until `size` bytes are free.

        Raises:
            S3Error: SlowDown.
        """
        self._waited = await self._admission.wait(size)

    def leave(self) -> None:
        """Give back what was waited for and not taken."""
        if self._waited is not None:
            self._waited.release()


def held_bytes(frame: int, in_flight: int, span: int) -> int:
    """Most bytes of a read at once: payload and plaintext of each frame in work, and of one more on its way in or out."""
    return max(SMALLEST, min(2 * (in_flight + 1) * frame + PIPE_BYTES, 2 * span + SMALLEST))


def frame_bytes(face: Face, window: Window) -> int:
    """Plaintext bytes of the largest frame that a read will meet, as far as it is known."""
    attributes = face.attributes
    if attributes.layout is not Layout.FRAMED:
        return PASSED_BYTES
    frames = window.frames if window.frames is not None else attributes.frames
    if frames is not None:
        sizes = frames.columns.original_sizes
        return min(max(sizes, default=0), LARGEST_FRAME)
    if face.manifest.write_token is None:
        return min(attributes.size, LARGEST_FRAME)
    codec = face.manifest.codec or CodecId.CPU_ZSTD
    if not face.manifest.multipart:
        return frame_size(FramePolicy.DEFAULT, size=attributes.size, codec=codec)
    _, dash, parts = (attributes.etag or "").partition("-")
    # Twice the mean: only the largest part's frames would tell more.
    return part_frame_size(2 * attributes.size // int(parts) if dash else attributes.size, codec)
