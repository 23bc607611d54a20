"""Backend multipart uploads fed by one stream of stored bytes: equal parts, one ahead, aborted unless they complete."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress

from s4_gateway.backend.abc import BackendError, Buffer, Condition, Pieces, Written
from s4_gateway.errors import S3Error
from s4_gateway.objects.commit import commit
from s4_gateway.objects.core import Core
from s4_gateway.state.journal import OpenedUpload

MAX_PARTS = 10_000


class PartCutter:
    """Cuts stored bytes into backend parts 1, 2, ... of exactly `size` bytes (the last shorter), so that also strict backends take them.

    One part is on its way while the next fills: two part sizes of memory.
    """

    def __init__(self, core: Core, bucket: str, key: str, upload_id: str) -> None:
        self._core = core
        self._target = (bucket, key, upload_id)
        self._part_size = max(core.options.part_size, core.backend.capabilities.min_part_size)
        self._pieces: list[Buffer] = []
        self._held = 0
        self._parts: list[tuple[int, str]] = []
        self._sending: asyncio.Task[str] | None = None
        self.size = 0
        """Stored bytes added so far."""

    async def add(self, piece: Buffer) -> None:
        """Append stored bytes."""
        view = memoryview(piece)
        self.size += len(view)
        while self._held + len(view) >= self._part_size:
            cut = self._part_size - self._held
            self._pieces.append(view[:cut])
            self._held += cut
            view = view[cut:]
            await self._send()
        if len(view):
            self._pieces.append(view)
            self._held += len(view)

    async def finish(self) -> list[tuple[int, str]]:
        """Send the rest; (number, ETag) of all parts."""
        if self._held or (self._sending is None and not self._parts):
            await self._send()
        await self._collect()
        return self._parts

    async def cancel(self) -> None:
        """Stop what is on its way and wait until it is gone."""
        if self._sending is not None:
            self._sending.cancel()
            with suppress(BackendError, asyncio.CancelledError):
                await self._sending

    async def _send(self) -> None:
        await self._collect()
        if len(self._parts) >= MAX_PARTS:
            raise S3Error("EntityTooLarge")
        payload = Pieces(self._pieces, self._held)
        self._pieces, self._held = [], 0
        self._sending = asyncio.create_task(self._core.backend.upload_part(*self._target, len(self._parts) + 1, payload))

    async def _collect(self) -> None:
        if self._sending is not None:
            self._parts.append((len(self._parts) + 1, await self._sending))
            self._sending = None


class StreamUpload:
    """One streamed PUT: opened, filled, completed, or aborted."""

    def __init__(self, core: Core, bucket: str, key: str) -> None:
        self._core = core
        self._bucket = bucket
        self._key = key
        self._upload_id = ""
        self._cutter = PartCutter(core, bucket, key, "")
        self._outcome_unknown = False

    @property
    def size(self) -> int:
        """Stored bytes added so far."""
        return self._cutter.size

    @asynccontextmanager
    async def opened(self, *, headers: Mapping[str, str], metadata: Mapping[str, str]) -> AsyncIterator[None]:
        """Open the upload; leaving without `complete` aborts it, also after a disconnect, but never after an unknown outcome."""
        self._upload_id = await self._core.backend.create_multipart(self._bucket, self._key, headers=headers, metadata=metadata)
        self._cutter = PartCutter(self._core, self._bucket, self._key, self._upload_id)
        record = OpenedUpload(self._bucket, self._key, self._upload_id)
        try:
            await self._core.journal.opened(record)
            yield
        except BaseException:
            if not self._outcome_unknown:
                await asyncio.shield(self._core.later(self._abort(record)))
            raise
        await self._core.journal.ended(record)

    async def add(self, piece: Buffer) -> None:
        """Append stored bytes."""
        await self._cutter.add(piece)

    async def complete(self, token: str, *, condition: Condition | None) -> Written:
        """Send the rest and commit.

        Raises:
            S3Error, BackendError: as `commit.commit`.
        """
        parts = await self._cutter.finish()
        write = self._core.backend.complete_multipart(self._bucket, self._key, self._upload_id, parts, condition=condition)
        self._outcome_unknown = True
        try:
            return await commit(self._core.backend, self._bucket, self._key, token, write)
        except BackendError:
            # A definite refusal: the upload is still open and nobody will complete it.
            self._outcome_unknown = False
            raise

    async def _abort(self, record: OpenedUpload) -> None:
        await self._cutter.cancel()
        with suppress(BackendError):
            # A failed abort stays in the journal and is repeated at the next start.
            await self._core.backend.abort_multipart(self._bucket, self._key, self._upload_id)
            await self._core.journal.ended(record)
