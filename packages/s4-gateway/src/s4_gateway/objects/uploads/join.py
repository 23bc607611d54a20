"""Reading records at Complete: direct ones for their frame tables, staged ones into joined backend parts (data-paths.md 3.5)."""

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field

from s4_format import END, NEED_DATA, FormatError, Frame, FrameReader, FrameTableBuilder, Padding, crc32c, padding_for, padding_header

from s4_gateway.backend.abc import BackendError, Download
from s4_gateway.errors import S3Error
from s4_gateway.objects.core import Core
from s4_gateway.objects.uploads.grouping import Group
from s4_gateway.objects.uploads.records import CHECKSUM, MAX_RECORD_BYTES, STORED_CRC, DirectPart, PartRecord, folder
from s4_gateway.objects.uploads.shelf import Upload
from s4_gateway.objects.uploads.spool import Spool, SpoolQuota

ZEROS = bytes(1 << 20)
OPENED_AHEAD = 2
"""Downloads that wait beside the one that is read: as many as hide a delay, few enough to keep what lies in their pipes small."""


@dataclass(slots=True)
class Layout:
    """Where the frames of one backend part lie, and the checksums of its client parts."""

    frames: FrameTableBuilder = field(default_factory=FrameTableBuilder)
    checksums: dict[int, str] = field(default_factory=dict)
    """Base64 under the upload's algorithm, by client part number."""


class RecordReader:
    """Reads the records of one upload, re-checking lengths and checksums."""

    def __init__(self, core: Core, upload: Upload) -> None:
        self._core = core
        self._upload = upload
        self._direct: dict[str, tuple[DirectPart, Layout]] = {}

    async def direct(self, part: PartRecord) -> tuple[DirectPart, Layout]:
        """A direct part's backend ETag and frames; read once."""
        known = self._direct.get(part.name)
        if known is None:
            known = self._direct[part.name] = await self._read_direct(part)
        return known

    async def _read_direct(self, part: PartRecord) -> tuple[DirectPart, Layout]:
        download = await self._open(part)
        async with download:
            if download.object.size > MAX_RECORD_BYTES:
                raise _damaged(part)
            body = DirectPart.unpack(await download.read())
            layout = Layout()
            self._note_checksum(part, download.object.metadata.get(CHECKSUM), layout)
        try:
            for original, stored in body.frames:
                layout.frames.append(original, stored)
            layout.frames.skip(body.stored_size - layout.frames.stored_size)
        except FormatError as error:
            raise _damaged(part) from error
        if layout.frames.original_size != part.size:
            raise _damaged(part)
        return body, layout

    async def staged(self, parts: Sequence[PartRecord], layout: Layout) -> AsyncGenerator[bytes, None]:
        """The stored bytes of staged parts, one behind the other; `layout` is complete and everything checked when it ends."""
        async with aclosing(self._opened(parts)) as downloads:
            async for part, download in downloads:
                async with aclosing(self._checked(part, download, layout)) as chunks:
                    async for chunk in chunks:
                        yield chunk

    async def _opened(self, parts: Sequence[PartRecord]) -> AsyncGenerator[tuple[PartRecord, Download], None]:
        """Their downloads in order, for the caller to close. While one is read the next are asked for: parts are small, and a store's first
        byte may take longer than all others.
        """
        asked: deque[asyncio.Task[Download]] = deque()
        rest = iter(parts)
        try:
            for part in parts:
                while len(asked) <= OPENED_AHEAD and (following := next(rest, None)) is not None:
                    asked.append(asyncio.create_task(self._open(following)))
                # Left in its place until it is there: whoever is cancelled meanwhile finds and closes it.
                download = await asyncio.shield(asked[0])
                asked.popleft()
                yield part, download
        finally:
            for task in asked:
                task.cancel()
            if asked:
                await asyncio.wait(asked)
            for task in asked:
                if not task.cancelled() and task.exception() is None:
                    await task.result().aclose()

    async def _checked(self, part: PartRecord, download: Download, layout: Layout) -> AsyncGenerator[bytes, None]:
        before = layout.frames.original_size
        reader = FrameReader()
        crc = 0
        async with download:
            metadata = download.object.metadata
            async for chunk in download:
                crc = crc32c(chunk, crc)
                _scan(reader, chunk, layout.frames, part)
                yield chunk
        try:
            reader.close()
            while reader.next_item() is not END:
                raise _damaged(part)
        except FormatError as error:
            raise _damaged(part) from error
        if str(crc) != metadata.get(STORED_CRC) or layout.frames.original_size - before != part.size:
            raise _damaged(part)
        self._note_checksum(part, metadata.get(CHECKSUM), layout)

    async def _open(self, part: PartRecord) -> Download:
        try:
            return await self._core.backend.get_object(self._upload.shelf, folder(self._upload.upload_id) + part.name)
        except BackendError as error:
            if error.code != "NoSuchKey":
                raise
            # Records go only when their upload has ended.
            raise BackendError("NoSuchUpload", 404, "The upload's records are gone.") from error

    def _note_checksum(self, part: PartRecord, value: str | None, layout: Layout) -> None:
        if self._upload.record.checksum_algorithm is None:
            return
        if value is None:
            raise _damaged(part)
        layout.checksums[part.number] = value


def _scan(reader: FrameReader, chunk: bytes, frames: FrameTableBuilder, part: PartRecord) -> None:
    try:
        reader.feed(chunk)
        while (item := reader.next_item()) is not NEED_DATA and item is not END:
            if isinstance(item, Frame):
                frames.append(item.header.original_size, item.header.stored_size)
            elif isinstance(item, Padding):
                frames.skip(item.stored_size)
    except FormatError as error:
        raise _damaged(part) from error


def _damaged(part: PartRecord) -> S3Error:
    return S3Error("InternalError", f"The record of part {part.number} is damaged; abort the upload or send the part again.")


class Joiner:
    """Collects staged parts into the spool of one backend part."""

    def __init__(self, core: Core, quota: SpoolQuota, reader: RecordReader) -> None:
        self._core = core
        self._quota = quota
        self._reader = reader

    def spool(self) -> Spool:
        """An empty spool; the caller closes it."""
        return Spool(self._core, self._quota)

    async def fill(self, spool: Spool, group: Group) -> Layout:
        """Join the group's members, padded to its minimum."""
        layout = Layout()
        async with aclosing(self._reader.staged(group.members, layout)) as chunks:
            async for chunk in chunks:
                await spool.add(chunk)
        if group.pad_to is not None and not group.trailer:
            await pad(spool, group.pad_to, layout.frames)
        return layout


async def pad(spool: Spool, minimum: int, frames: FrameTableBuilder | None = None) -> None:
    """S4P1 padding up to `minimum` stored bytes."""
    length = padding_for(spool.size, minimum)
    if length is None:
        return
    header = padding_header(length)
    await spool.add(header)
    if frames is not None:
        frames.skip(len(header) + length)
    while length > 0:
        await spool.add(memoryview(ZEROS)[: min(length, len(ZEROS))])
        length -= len(ZEROS)
