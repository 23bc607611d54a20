"""Backend parts out of records: staged ones joined, direct ones as they lie, the trailer last (data-paths.md 3.5, 3.7)."""

import asyncio
import base64
from collections.abc import Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass

from s4_format import Attributes as TrailerAttributes
from s4_format import FrameTable, FrameTableBuilder, Part, Trailer, encode_trailer
from s4_format import Layout as BodyLayout

from s4_gateway.errors import S3Error
from s4_gateway.objects.attributes import Attributes
from s4_gateway.objects.core import Core
from s4_gateway.objects.stream_upload import MAX_PARTS, PartCutter
from s4_gateway.objects.together import together
from s4_gateway.objects.uploads.grouping import Group, group_parts
from s4_gateway.objects.uploads.join import Joiner, Layout, RecordReader
from s4_gateway.objects.uploads.manifest import Chosen, check_object, object_checksums
from s4_gateway.objects.uploads.records import PartRecord
from s4_gateway.objects.uploads.shelf import Upload
from s4_gateway.objects.uploads.spool import Spool, SpoolQuota

JOINS_AT_ONCE = 2
"""Groups that are read and sent at the same time: one is read while one is sent."""
READS_AT_ONCE = 8
TRAILER_ALLOWANCE = 16 << 20
"""More than any trailer takes, when only the parts' sizes are known."""


@dataclass(frozen=True, slots=True)
class AssembledBody:
    """Backend parts that are all in place."""

    parts: Sequence[tuple[int, str]]
    """(number, ETag) for the backend's Complete."""
    attributes: Attributes
    frames: FrameTable
    size: int
    """Stored bytes."""


class Assembly:
    """The body of one upload."""

    def __init__(self, core: Core, upload: Upload, chosen: Chosen, quota: SpoolQuota, stated: Mapping[str, str]) -> None:
        self._core = core
        self._upload = upload
        self._chosen = chosen
        self._stated = stated
        self._quota = quota
        self._records = RecordReader(core, upload)
        self._joiner = Joiner(core, quota, self._records)

    async def run(self, backend_id: str, parts: Sequence[PartRecord]) -> AssembledBody:
        """Send what is staged, and the trailer, to the backend upload.

        Args:
            backend_id: the backend upload.
            parts: the records chosen, or `variants` of them.

        Raises:
            S3Error: InvalidPart, BadDigest (what the client stated does not hold), InternalError (a damaged record).
            BackendError: as the backend says.
        """
        if self._core.backend.capabilities.strict_parts:
            return await self._cut(backend_id, parts)
        return await self._group(backend_id, parts)

    async def rivals(self) -> Mapping[int, Sequence[PartRecord]]:
        """Direct records of the same content that name another backend part than the chosen one does, by part number."""
        found: dict[int, list[PartRecord]] = {}
        chosen = {part.number: part for part in self._chosen.parts}
        for number, records in self._chosen.alternatives.items():
            seen = [(await self._records.direct(chosen[number]))[0]]
            for record in records:
                direct, _ = await self._records.direct(record)
                if direct not in seen:
                    seen.append(direct)
                    found.setdefault(number, []).append(record)
        return found

    async def _group(self, backend_id: str, parts: Sequence[PartRecord]) -> AssembledBody:
        """Joined groups; the last one, which takes the trailer, when all others are read."""
        options = self._core.options
        groups = group_parts(parts, minimum=self._core.backend.capabilities.min_part_size, target=options.part_size)
        joins, reads = asyncio.Semaphore(JOINS_AT_ONCE), asyncio.Semaphore(READS_AT_ONCE)

        async def place(group: Group) -> tuple[str, Layout]:
            async with reads if group.direct else joins:
                return await (self._read_direct(group) if group.direct else self._join(backend_id, group))

        async with self._core.budget.reserve(JOINS_AT_ONCE * options.spool_memory):
            placed = await together(place(group) for group in groups[:-1])
            last, attributes, frames, size = await self._join_last(backend_id, groups[-1], [layout for _, layout in placed])
        tags = [*(tag for tag, _ in placed), last]
        return AssembledBody([(group.number, tag) for group, tag in zip(groups, tags, strict=True)], attributes, frames, size)

    async def _read_direct(self, group: Group) -> tuple[str, Layout]:
        direct, layout = await self._records.direct(group.members[0])
        return direct.etag, layout

    async def _join(self, backend_id: str, group: Group) -> tuple[str, Layout]:
        spool = self._joiner.spool()
        try:
            layout = await self._joiner.fill(spool, group)
            return await self._send(backend_id, group, spool), layout
        finally:
            spool.close()

    async def _join_last(self, backend_id: str, group: Group, layouts: list[Layout]) -> tuple[str, Attributes, FrameTable, int]:
        spool = self._joiner.spool()
        try:
            layouts = [*layouts, await self._joiner.fill(spool, group)]
            offset = sum(layout.frames.stored_size for layout in layouts)
            attributes, frames, trailer = await self._describe(layouts, offset)
            await spool.add(trailer)
            return await self._send(backend_id, group, spool), attributes, frames, offset + len(trailer)
        finally:
            spool.close()

    async def _send(self, backend_id: str, group: Group, spool: Spool) -> str:
        record = self._upload.record
        return await self._core.backend.upload_part(record.bucket, record.key, backend_id, group.number, spool)

    async def _cut(self, backend_id: str, parts: Sequence[PartRecord]) -> AssembledBody:
        """For backends that want equal parts everything is staged; the body is cut at equal positions, whatever the frames."""
        record, options = self._upload.record, self._core.options
        most = sum(part.stored_size for part in parts) + TRAILER_ALLOWANCE
        part_size = max(options.part_size, self._core.backend.capabilities.min_part_size, -(-most // MAX_PARTS))
        cutter = PartCutter(self._core, (record.bucket, record.key, backend_id), part_size=part_size, buffer=self._joiner.spool)
        layout = Layout()
        async with self._core.budget.reserve(JOINS_AT_ONCE * options.spool_memory):
            try:
                async with aclosing(self._records.staged(parts, layout)) as chunks:
                    async for chunk in chunks:
                        await cutter.add(chunk)
                attributes, frames, trailer = await self._describe([layout], cutter.size)
                await cutter.add(trailer)
                sent = await cutter.finish()
            finally:
                await cutter.close()
        return AssembledBody(sent, attributes, frames, cutter.size)

    async def _describe(self, layouts: Sequence[Layout], offset: int) -> tuple[Attributes, FrameTable, bytes]:
        """What the finished object is, and the trailer that says so. In a thread: an index may have a million rows."""

        def describe() -> tuple[Attributes, FrameTable, bytes]:
            attributes, frames = self._attributes(layouts), _table(layouts)
            return attributes, frames, _trailer(attributes, frames, offset=offset)

        return await asyncio.get_running_loop().run_in_executor(self._core.codecs, describe)

    def _attributes(self, layouts: Sequence[Layout]) -> Attributes:
        """The finished object, with what the client stated checked."""
        record, chosen = self._upload.record, self._chosen
        algorithm = record.checksum_algorithm
        values = {number: value for layout in layouts for number, value in layout.checksums.items()}
        for number, stated in chosen.stated.items():
            if algorithm is not None and stated.get(algorithm, values[number]) != values[number]:
                raise S3Error("InvalidPart", fields={"PartNumber": str(number)})
        checksums, checksum_type = object_checksums(record, chosen.parts, values)
        check_object(checksums, self._stated, parts=len(chosen.parts))
        parts = tuple(
            Part(part.number, part.size, base64.b64decode(values[part.number]) if part.number in values else None) for part in chosen.parts
        )
        return Attributes(BodyLayout.FRAMED, chosen.size, chosen.etag, checksums, checksum_type, algorithm if values else None, parts)


def _trailer(attributes: Attributes, frames: FrameTable, *, offset: int) -> bytes:
    said = TrailerAttributes(
        original_size=attributes.size,
        logical_etag=attributes.etag,
        checksums=attributes.checksums,
        checksum_type=attributes.checksum_type,
        part_algorithm=attributes.part_algorithm,
        extra={},
    )
    return encode_trailer(Trailer(attributes=said, parts=attributes.parts or (), frames=frames), offset=offset)


def _table(layouts: Sequence[Layout]) -> FrameTable:
    builder = FrameTableBuilder()
    for layout in layouts:
        builder.extend(layout.frames.build(), stored_size=layout.frames.stored_size)
    return builder.build()
