"""Where a part waits until its length and digests are verified: RAM, then an unlinked file under a quota (data-paths.md 3.3)."""

import asyncio
import logging
import os
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import IO

from s4_format import crc32c

from s4_gateway.backend.abc import Buffer
from s4_gateway.errors import S3Error
from s4_gateway.objects.core import Core
from s4_gateway.observe.board import Place

READ_BYTES = 1 << 20

_log = logging.getLogger(__name__)


class SpoolQuota:
    """Bytes in spool files, over all parts of the gateway.

    Args:
        limit: of all workers together.
        place: of this one among them; None = it is alone. Workers that take at the same moment do not see each other yet, and may be
            beyond the limit by what they take at a time, which is little more than what a part holds in RAM.
    """

    def __init__(self, limit: int, place: Place | None = None) -> None:
        self._limit = limit
        self._place = place
        self._taken = 0

    @property
    def left(self) -> int:
        """Bytes that may still be taken; negative where workers took at the same moment."""
        return self._limit - self._taken - self._taken_by_others()

    def take(self, size: int) -> None:
        """Raises S3Error SlowDown beyond the quota."""
        if size > self.left:
            raise S3Error("SlowDown", "The gateway's spool is full; try again.")
        self._change(size)

    def give(self, size: int) -> None:
        self._change(-size)

    def _change(self, size: int) -> None:
        self._taken += size
        if self._place is not None:
            self._place.seat.spooled = self._taken

    def _taken_by_others(self) -> int:
        return sum(self._place.board.seats[number].spooled for number in self._place.others()) if self._place is not None else 0


class Spool:
    """One part's stored bytes; a replayable payload once filled. Close it whatever happens."""

    def __init__(self, core: Core, quota: SpoolQuota) -> None:
        self._core = core
        self._quota = quota
        self._pieces: list[Buffer] = []
        self._held = 0
        self._file: IO[bytes] | None = None
        self._filed = 0
        self._taken = 0
        """Of the quota."""
        self.crc32c = 0
        """Of all stored bytes."""

    @property
    def size(self) -> int:
        """Stored bytes."""
        return self._filed + self._held

    async def add(self, piece: Buffer) -> None:
        """Append stored bytes.

        Raises:
            S3Error: SlowDown (the quota is used up), ServiceUnavailable (the file cannot be written).
        """
        self._pieces.append(piece)
        self._held += len(piece)
        self.crc32c = crc32c(piece, self.crc32c)
        if self._held > self._core.options.spool_memory:
            await self._spill()

    async def _spill(self) -> None:
        self._quota.take(self._held)
        self._taken += self._held
        try:
            # To the end: the file must not be closed under a thread that writes to it.
            await self._core.to_the_end(asyncio.to_thread(self._write, self._pieces))
        except OSError as error:
            _log.exception("the spool cannot be written")
            raise S3Error("ServiceUnavailable", "The gateway cannot write its spool; try again.") from error
        self._filed += self._held
        self._pieces, self._held = [], 0

    def _write(self, pieces: Sequence[Buffer]) -> None:
        if self._file is None:
            self._file = tempfile.TemporaryFile(prefix="s4-part-", dir=self._core.options.spool_dir)  # noqa: SIM115 - closed by `close`
        self._file.writelines(pieces)
        self._file.flush()

    def __iter__(self) -> Iterator[Buffer]:
        # Each iteration has its own position: one that was given up may still be running in a thread.
        offset = 0
        while self._file is not None and offset < self._filed:
            piece = os.pread(self._file.fileno(), min(READ_BYTES, self._filed - offset), offset)
            if not piece:
                return
            offset += len(piece)
            yield piece
        yield from self._pieces

    def close(self) -> None:
        """Drop the bytes and free the quota; repeatable."""
        if self._file is not None:
            with suppress(OSError):
                # What a full disk did not take is offered again here.
                self._file.close()
            self._file = None
        self._quota.give(self._taken)
        self._pieces, self._held, self._filed, self._taken = [], 0, 0, 0
