"""Backend multipart uploads fed by one stream of stored bytes: equal parts, one ahead, aborted unless they complete."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Protocol

from s4_gateway.backend.abc import BackendError, Buffer, Condition, Payload, Written
from s4_gateway.errors import S3Error
from s4_gateway.objects.commit import commit
from s4_gateway.objects.core import Core
from s4_gateway.state.journal import OpenedUpload

MAX_PARTS = 10_000


class PartBuffer(Payload, Protocol):
    """Takes the bytes of one part, then is its payload."""

    async def add(self, piece: Buffer) -> None:
        """Append stored bytes."""
        ...

    def close(self) -> None:
        """Drop them; repeatable."""
        ...


class HeldPart:
    """A part in memory; pieces are never joined."""

    def __init__(self) -> None:
        self._pieces: list[Buffer] = []
        self.size = 0

    async def add(self, piece: Buffer) -> None:
        self._pieces.append(piece)
        self.size += len(piece)

    def __iter__(self) -> Iterator[Buffer]:
        return iter(self._pieces)

    def close(self) -> None:
        self._pieces = []


class PartCutter:
    """Cuts stored bytes into backend parts 1, 2, ... of exactly one size (the last shorter), so that also strict backends take them.

    One part is on its way while the next fills. Close it whatever happens.

    Args:
        core: of the gateway.
        target: bucket, key and id of the backend upload.
        part_size: bytes of a part.
        buffer: makes what a part is collected in.
    """

    def __init__(self, core: Core, target: tuple[str, str, str], *, part_size: int, buffer: Callable[[], PartBuffer] = HeldPart) -> None:
        self._core = core
        self._target = target
        self._part_size = part_size
        self._buffer = buffer
        self._filling = buffer()
        self._parts: list[tuple[int, str]] = []
        self._sending: asyncio.Task[str] | None = None
        self.size = 0
        """Stored bytes added so far."""

    async def add(self, piece: Buffer) -> None:
        """Append stored bytes."""
        view = memoryview(piece)
        self.size += len(view)
        while self._filling.size + len(view) >= self._part_size:
            cut = self._part_size - self._filling.size
            await self._filling.add(view[:cut])
            view = view[cut:]
            await self._send()
        if len(view):
            await self._filling.add(view)

    async def finish(self) -> list[tuple[int, str]]:
        """Send the rest; (number, ETag) of all parts."""
        if self._filling.size or (self._sending is None and not self._parts):
            await self._send()
        await self._collect()
        return self._parts

    async def close(self) -> None:
        """Stop what is on its way and wait until it is gone."""
        self._filling.close()
        if self._sending is not None:
            self._sending.cancel()
            await asyncio.wait((self._sending,))
            if not self._sending.cancelled():
                # Whatever it ended with, nobody wants to know any more.
                self._sending.exception()

    async def _send(self) -> None:
        await self._collect()
        if len(self._parts) >= MAX_PARTS:
            raise S3Error("EntityTooLarge")
        full, self._filling = self._filling, self._buffer()
        self._sending = asyncio.create_task(self._upload(len(self._parts) + 1, full))

    async def _upload(self, number: int, part: PartBuffer) -> str:
        try:
            return await self._core.backend.upload_part(*self._target, number, part)
        finally:
            part.close()

    async def _collect(self) -> None:
        if self._sending is not None:
            self._parts.append((len(self._parts) + 1, await self._sending))
            self._sending = None


PARTS_CODES = frozenset({"EntityTooSmall", "InvalidPart", "InvalidPartOrder", "NoSuchUpload"})
"""Refusals that speak of parts, of which the client of a PUT knows nothing: what was sent is not what the store says that it has."""


class StreamUpload:
    """One streamed PUT: opened, filled, completed, or aborted."""

    def __init__(self, core: Core, bucket: str, key: str) -> None:
        self._core = core
        self._bucket = bucket
        self._key = key
        self._opened: OpenedUpload | None = None
        """While nobody but this PUT can end the upload, and it is sure that it has not ended."""
        self._cutter = self._cut("")
        self._parts: Sequence[tuple[int, str]] = ()

    @property
    def size(self) -> int:
        """Stored bytes added so far."""
        return self._cutter.size

    @asynccontextmanager
    async def opened(self, *, headers: Mapping[str, str], metadata: Mapping[str, str]) -> AsyncIterator[None]:
        """Open the upload; leaving without `commit` aborts it, also after a disconnect, but never after an unknown outcome."""
        try:
            await self._core.to_the_end(self._open(headers, metadata))
            yield
        except BaseException as error:
            if self._opened is not None:
                await asyncio.shield(self._core.later(self._abort(self._opened)))
            if isinstance(error, BackendError) and error.code in PARTS_CODES:
                raise S3Error("ServiceUnavailable", "The storage backend lost a part of the body; try again.") from error
            raise

    async def _open(self, headers: Mapping[str, str], metadata: Mapping[str, str]) -> None:
        upload_id = await self._core.backend.create_multipart(self._bucket, self._key, headers=headers, metadata=metadata)
        self._opened = OpenedUpload(self._bucket, self._key, upload_id)
        self._cutter = self._cut(upload_id)
        await self._core.journal.opened(self._opened)

    def _cut(self, upload_id: str) -> PartCutter:
        part_size = max(self._core.options.part_size, self._core.backend.capabilities.min_part_size)
        return PartCutter(self._core, (self._bucket, self._key, upload_id), part_size=part_size)

    async def add(self, piece: Buffer) -> None:
        """Append stored bytes."""
        await self._cutter.add(piece)

    async def finish(self) -> None:
        """Send the rest."""
        self._parts = await self._cutter.finish()

    async def commit(self, token: str, *, condition: Condition | None) -> Written:
        """Make the object of what was sent. Run it under `Core.to_the_end`.

        Raises:
            S3Error, BackendError: as `commit.commit`.
        """
        upload, self._opened = self._opened, None
        assert upload is not None
        write = self._core.backend.complete_multipart(self._bucket, self._key, upload.upload_id, self._parts, condition=condition)
        try:
            written = await commit(self._core.backend, self._bucket, self._key, token, write)
        except BackendError:
            # A definite refusal: the upload is still open and nobody will complete it.
            self._opened = upload
            raise
        except BaseException:
            await self._core.journal.abandoned(upload)
            raise
        await self._core.journal.ended(upload)
        return written

    async def _abort(self, upload: OpenedUpload) -> None:
        await self._cutter.close()
        try:
            await self._core.backend.abort_multipart(upload.bucket, upload.key, upload.upload_id)
        except BackendError as error:
            if error.status != 404:
                await self._core.journal.abandoned(upload)
                return
        await self._core.journal.ended(upload)
