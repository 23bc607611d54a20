"""Backend parts out of records: staged ones joined, direct ones as they lie, the trailer last (data-paths.md 3.5, 3.7)."""

import asyncio
import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from s4_format import Attributes as TrailerAttributes
from s4_format import FrameTable, FrameTableBuilder, Part, Trailer, encode_trailer

from s4_gateway.errors import S3Error
from s4_gateway.objects.attributes import Attributes
from s4_gateway.objects.attributes import Layout as BodyLayout
from s4_gateway.objects.core import Core
from s4_gateway.objects.stream_upload import PartCutter
from s4_gateway.objects.together import together
from s4_gateway.objects.uploads.grouping import Group, group_parts
from s4_gateway.objects.uploads.join import Joiner, Layout, RecordReader
from s4_gateway.objects.uploads.manifest import Chosen, object_checksums
from s4_gateway.objects.uploads.shelf import Upload
from s4_gateway.objects.uploads.spool import SpoolQuota

JOINS_AT_ONCE = 2
"""Groups that are read and sent at the same time: one is read while one is sent."""
READS_AT_ONCE = 8


@dataclass(frozen=True, slots=True)
class AssembledBody:
    """Backend parts that are all in place."""

    offers: Sequence[Sequence[tuple[int, str]]]
    """(number, ETag) lists for the backend's Complete, the likeliest first."""
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
        self._records = RecordReader(core, upload)
        self._joiner = Joiner(core, quota, self._records)
        self._etags: dict[int, list[str]] = {}

    async def run(self, backend_id: str) -> AssembledBody:
        """Send what is staged to the backend upload.

        Raises:
            S3Error: InvalidPart, BadDigest (what the client stated does not hold), InternalError (a damaged record).
            BackendError: as the backend says.
        """
        if self._core.backend.capabilities.strict_parts:
            return await self._cut(backend_id)
        return await self._group(backend_id)

    async def _group(self, backend_id: str) -> AssembledBody:
        """Joined groups; the last one, which takes the trailer, when all others are read."""
        options = self._core.options
        groups = group_parts(self._chosen.parts, minimum=self._core.backend.capabilities.min_part_size, target=options.part_size)
        joins, reads = asyncio.Semaphore(JOINS_AT_ONCE), asyncio.Semaphore(READS_AT_ONCE)

        async def place(group: Group) -> Layout:
            async with reads if group.direct else joins:
                return await (self._read_direct(group) if group.direct else self._join(backend_id, group))

        async with self._core.budget.reserve(JOINS_AT_ONCE * options.spool_memory):
            layouts = await together(place(group) for group in groups[:-1])
            return await self._join_last(backend_id, groups[-1], layouts)

    async def _read_direct(self, group: Group) -> Layout:
        direct, layout = await self._records.direct(group.members[0])
        others = [(await self._records.direct(other))[0].etag for other in self._chosen.alternatives.get(group.number, ())]
        self._etags[group.number] = [direct.etag, *others]
        return layout

    async def _join(self, backend_id: str, group: Group) -> Layout:
        record = self._upload.record
        spool = self._joiner.spool()
        try:
            layout = await self._joiner.fill(spool, group)
            self._etags[group.number] = [await self._core.backend.upload_part(record.bucket, record.key, backend_id, group.number, spool)]
        finally:
            spool.close()
        return layout

    async def _join_last(self, backend_id: str, group: Group, layouts: list[Layout]) -> AssembledBody:
        record = self._upload.record
        spool = self._joiner.spool()
        try:
            layouts = [*layouts, await self._joiner.fill(spool, group)]
            attributes, frames = self._attributes(layouts), _table(layouts)
            offset = sum(layout.frames.stored_size for layout in layouts)
            trailer = _trailer(attributes, frames, offset=offset)
            await spool.add(trailer)
            self._etags[group.number] = [await self._core.backend.upload_part(record.bucket, record.key, backend_id, group.number, spool)]
        finally:
            spool.close()
        return AssembledBody(self._offers(), attributes, frames, offset + len(trailer))

    def _offers(self) -> list[list[tuple[int, str]]]:
        tags = sorted(self._etags.items())
        return [
            [(number, known[min(attempt, len(known) - 1)]) for number, known in tags]
            for attempt in range(max(map(len, self._etags.values())))
        ]

    async def _cut(self, backend_id: str) -> AssembledBody:
        """For backends that want equal parts everything is staged; the body is cut at equal positions, whatever the frames."""
        record = self._upload.record
        cutter = PartCutter(self._core, record.bucket, record.key, backend_id)
        layout = Layout()
        async with self._core.budget.reserve(3 * self._core.options.part_size):
            try:
                for part in self._chosen.parts:
                    async for chunk in self._records.staged(part, layout):
                        await cutter.add(chunk)
                attributes, frames = self._attributes([layout]), layout.frames.build()
                await cutter.add(_trailer(attributes, frames, offset=cutter.size))
                parts = await cutter.finish()
            except BaseException:
                await cutter.cancel()
                raise
        return AssembledBody([parts], attributes, frames, cutter.size)

    def _attributes(self, layouts: Sequence[Layout]) -> Attributes:
        """The finished object, with what the client stated checked."""
        record, chosen = self._upload.record, self._chosen
        algorithm = record.checksum_algorithm
        values = {number: value for layout in layouts for number, value in layout.checksums.items()}
        for number, stated in chosen.stated.items():
            if algorithm is not None and stated.get(algorithm, values[number]) != values[number]:
                raise S3Error("InvalidPart", fields={"PartNumber": str(number)})
        checksums, checksum_type = object_checksums(record, chosen.parts, values)
        for name, value in self._stated.items():
            if checksums.get(name) not in (value, f"{value}-{len(chosen.parts)}"):
                raise S3Error("BadDigest", f"The {name.upper()} you specified did not match the calculated checksum.")
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
