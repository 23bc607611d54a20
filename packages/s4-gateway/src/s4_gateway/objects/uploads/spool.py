"""Where a part waits until its length and digests are verified: RAM, then an unlinked file under a quota (data-paths.md 3.3)."""

import asyncio
import tempfile
from collections.abc import Iterator, Sequence
from typing import IO

from s4_format import crc32c

from s4_gateway.backend.abc import Buffer
from s4_gateway.errors import S3Error
from s4_gateway.objects.core import Core

READ_BYTES = 1 << 20


class SpoolQuota:
    """Bytes in spool files, over all parts of this process."""

    def __init__(self, limit: int) -> None:
        self._left = limit

    def take(self, size: int) -> None:
        """Raises S3Error SlowDown beyond the quota."""
        if size > self._left:
            raise S3Error("SlowDown", "The gateway's spool is full; try again.")
        self._left -= size

    def give(self, size: int) -> None:
        self._left += size


class Spool:
    """One part's stored bytes; a replayable payload once filled. Close it whatever happens."""

    def __init__(self, core: Core, quota: SpoolQuota) -> None:
        self._core = core
        self._quota = quota
        self._pieces: list[Buffer] = []
        self._held = 0
        self._file: IO[bytes] | None = None
        self._filed = 0
        self.crc32c = 0
        """Of all stored bytes."""

    @property
    def size(self) -> int:
        """Stored bytes."""
        return self._filed + self._held

    async def add(self, piece: Buffer) -> None:
        """Append stored bytes."""
        self._pieces.append(piece)
        self._held += len(piece)
        self.crc32c = crc32c(piece, self.crc32c)
        if self._held > self._core.options.spool_memory:
            await self._spill()

    async def _spill(self) -> None:
        pieces, size = self._pieces, self._held
        self._quota.take(size)
        self._filed += size
        self._pieces, self._held = [], 0
        await asyncio.get_running_loop().run_in_executor(self._core.digests, self._write, pieces)

    def _write(self, pieces: Sequence[Buffer]) -> None:
        if self._file is None:
            self._file = tempfile.TemporaryFile(prefix="s4-part-", dir=self._core.options.spool_dir)  # noqa: SIM115 - closed by `close`
        self._file.writelines(pieces)

    def __iter__(self) -> Iterator[Buffer]:
        if self._file is not None:
            self._file.seek(0)
            while chunk := self._file.read(READ_BYTES):
                yield chunk
        yield from self._pieces

    def close(self) -> None:
        """Drop the bytes and free the quota; repeatable."""
        if self._file is not None:
            self._file.close()
            self._file = None
        self._quota.give(self._filed)
        self._pieces, self._held, self._filed = [], 0, 0
