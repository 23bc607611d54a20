"""CompleteMultipartUpload: choose records, join the staged ones, commit once (data-paths.md 3.5)."""

import asyncio
import base64
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from s4_format import Attributes as TrailerAttributes
from s4_format import FrameTable, FrameTableBuilder, Part, Trailer, encode_trailer

from s4_gateway.backend.abc import BackendError, Condition, ListEntry, StoredObject, Written
from s4_gateway.errors import S3Error
from s4_gateway.objects.attributes import Attributes
from s4_gateway.objects.attributes import Layout as BodyLayout
from s4_gateway.objects.commit import commit, find_own
from s4_gateway.objects.core import Core
from s4_gateway.objects.put import LogicalCondition, Putter
from s4_gateway.objects.reader import Reader
from s4_gateway.objects.sidecar import write_sidecar
from s4_gateway.objects.stamp import has_room, multipart_metadata
from s4_gateway.objects.stream_upload import PartCutter
from s4_gateway.objects.together import together
from s4_gateway.objects.uploads.grouping import Group, group_parts
from s4_gateway.objects.uploads.join import Joiner, Layout, RecordReader
from s4_gateway.objects.uploads.late import LateUploads
from s4_gateway.objects.uploads.manifest import Choice, Chosen, choose, full_crc64nvme, manifest_etag, object_checksums
from s4_gateway.objects.uploads.part import default_codec
from s4_gateway.objects.uploads.records import BackendRecord, folder, upload_token
from s4_gateway.objects.uploads.shelf import Shelf, Upload, part_records
from s4_gateway.objects.uploads.spool import SpoolQuota
from s4_gateway.state.cache import Entry

JOINS_AT_ONCE = 2
"""Groups that are read and sent at the same time: one is read while one is sent."""
READS_AT_ONCE = 8
MOST_ATTEMPTS = 3
"""How many combinations of direct records with equal MD5 are offered to the backend."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class CompleteRequest:
    """The client's manifest and what it states about the object."""

    bucket: str
    key: str
    upload_id: str
    choices: Sequence[Choice]
    condition: LogicalCondition = field(default_factory=LogicalCondition)
    object_size: int | None = None
    """x-amz-mp-object-size."""
    checksums: Mapping[str, str] = field(default_factory=dict)
    """Checksum of the whole object, algorithm -> base64."""


@dataclass(frozen=True, slots=True)
class Finished:
    """A committed upload."""

    attributes: Attributes
    version_id: str | None


class Completer:
    """Completes uploads."""

    def __init__(self, core: Core, shelf: Shelf, late: LateUploads, quota: SpoolQuota, reader: Reader, putter: Putter) -> None:
        self.core = core
        self.shelf = shelf
        self.late = late
        self.quota = quota
        self._reader = reader
        self._putter = putter

    async def prepare(self, request: CompleteRequest) -> "Completion | Finished":
        """Check manifest and conditions; what is left to do may take long.

        Raises:
            S3Error: NoSuchUpload, InvalidPart, InvalidPartOrder, EntityTooSmall, PreconditionFailed, InvalidRequest.
            BackendError: as the backend says.
        """
        try:
            upload = await self.shelf.open(request.bucket, request.key, request.upload_id, fresh=True)
        except S3Error as error:
            done = await self.already(request) if error.code == "NoSuchUpload" else None
            if done is None:
                raise
            return done
        entries = await self.shelf.entries(upload)
        chosen = choose(part_records(entries), request.choices, object_size=request.object_size)
        condition = await self._condition(request)
        return Completion(self, request, upload, chosen, entries, condition)

    async def _condition(self, request: CompleteRequest) -> Condition | None:
        """Conditions are checked here, before the early 200, and again by the backend."""
        condition = await self._putter.resolve(request.bucket, request.key, request.condition)
        if condition is None:
            return None
        if not self.core.backend.capabilities.conditional_complete:
            raise S3Error("NotImplemented", "The storage backend has no conditional CompleteMultipartUpload.")
        if condition.if_absent and await _exists(self.core, request.bucket, request.key):
            raise S3Error("PreconditionFailed", fields={"Condition": "If-None-Match"})
        return condition

    async def already(self, request: CompleteRequest) -> Finished | None:
        """The result of an earlier Complete of this upload, also when its records are gone: only if the object carries this upload's token
        and the composite ETag of the very manifest that was sent.
        """
        folder(request.upload_id)
        if await find_own(self.core.backend, request.bucket, request.key, upload_token(request.upload_id)) is None:
            return None
        face = await self._reader.head(request.bucket, request.key)
        own = face.manifest.write_token == upload_token(request.upload_id)
        same = own and face.attributes.etag == manifest_etag(request.choices)
        return Finished(face.attributes, face.stored.version_id) if same else None


async def _exists(core: Core, bucket: str, key: str) -> bool:
    try:
        await core.backend.head_object(bucket, key)
    except BackendError as error:
        if error.status == 404:
            return False
        raise
    return True


class Completion:
    """One Complete whose manifest and conditions were checked."""

    def __init__(
        self,
        owner: Completer,
        request: CompleteRequest,
        upload: Upload,
        chosen: Chosen,
        entries: Sequence[ListEntry],
        condition: Condition | None,
    ) -> None:
        self._owner = owner
        self._core = owner.core
        self._request = request
        self._upload = upload
        self._chosen = chosen
        self._entries = entries
        self._condition = condition
        self._records = RecordReader(self._core, upload)
        self._joiner = Joiner(self._core, owner.quota, self._records)

    async def run(self) -> Finished:
        """Join, commit, tidy up.

        Raises:
            S3Error: OperationAborted (another manifest is being committed), BadDigest, InvalidPart, ServiceUnavailable.
            BackendError: as the backend says.
        """
        try:
            return await self._run()
        except BackendError as error:
            # Another gateway, or an earlier attempt, may have completed this upload meanwhile.
            done = await self._owner.already(self._request) if error.code == "NoSuchUpload" else None
            if done is None:
                raise
            return done

    async def _run(self) -> Finished:
        upload, chosen = self._upload, self._chosen
        backend = await self._owner.late.ensure(upload, self._metadata(), manifest=chosen.digest)
        if backend.upload_id is None or backend.manifest not in (None, chosen.digest):
            raise S3Error("OperationAborted", "Another list of parts is being completed for this upload.")
        strict = self._core.backend.capabilities.strict_parts
        body = await (_cut(self, backend.upload_id) if strict else _group(self, backend.upload_id))
        written = await self._commit(backend, body)
        attributes = replace(body.attributes, frames=body.frames)
        stored = await self._confirmed(written, body, attributes)
        await self._tidy()
        return Finished(attributes, stored.version_id if stored is not None else written.version_id)

    def _metadata(self) -> dict[str, str]:
        """Metadata of a backend upload that is created now: size and ETag are known, checksums unless records must be read for them."""
        record, capabilities = self._upload.record, self._core.backend.capabilities
        token = upload_token(self._upload.upload_id)
        crc = full_crc64nvme(self._chosen.parts) if record.checksum_algorithm in (None, "crc64nvme") else None
        etag = self._chosen.etag if has_room(record.metadata, capabilities) else None
        own = multipart_metadata(default_codec(self._core), token, size=self._chosen.size, etag=etag, crc64nvme=crc if etag else None)
        return {**record.metadata, **own}

    def attributes(self, layouts: Sequence[Layout]) -> Attributes:
        """The finished object, with what the client stated checked.

        Raises:
            S3Error: InvalidPart, BadDigest.
        """
        record, chosen = self._upload.record, self._chosen
        values = {number: value for layout in layouts for number, value in layout.checksums.items()}
        for number, stated in chosen.stated.items():
            algorithm = record.checksum_algorithm
            if algorithm is not None and stated.get(algorithm, values[number]) != values[number]:
                raise S3Error("InvalidPart", fields={"PartNumber": str(number)})
        checksums, checksum_type = object_checksums(record, chosen.parts, values)
        for name, value in self._request.checksums.items():
            if checksums.get(name) not in (value, f"{value}-{len(chosen.parts)}"):
                raise S3Error("BadDigest", f"The {name.upper()} you specified did not match the calculated checksum.")
        parts = tuple(
            Part(part.number, part.size, base64.b64decode(values[part.number]) if part.number in values else None) for part in chosen.parts
        )
        return Attributes(
            BodyLayout.FRAMED, chosen.size, chosen.etag, checksums, checksum_type, record.checksum_algorithm if values else None, parts
        )

    async def _commit(self, backend: BackendRecord, body: "_Body") -> Written:
        """The commit point. Direct records of equal MD5 are offered one after the other: only the backend knows which part it still has."""
        record = self._upload.record
        assert backend.upload_id is not None
        for attempt, parts in enumerate(body.offers[:MOST_ATTEMPTS], 1):
            write = self._core.backend.complete_multipart(record.bucket, record.key, backend.upload_id, parts, condition=self._condition)
            try:
                return await commit(self._core.backend, record.bucket, record.key, upload_token(self._upload.upload_id), write)
            except BackendError as error:
                if error.code != "InvalidPart" or attempt == len(body.offers[:MOST_ATTEMPTS]):
                    raise
        raise AssertionError("an upload always has one offer")

    async def _confirmed(self, written: Written, body: "_Body", attributes: Attributes) -> StoredObject | None:
        """Sidecar and cache only for an object that is still this upload's; some backends answer a repeated Complete 200 over a newer one."""
        record = self._upload.record
        try:
            stored = await find_own(self._core.backend, record.bucket, record.key, upload_token(self._upload.upload_id))
        except S3Error as error:
            _log.warning("%r in %r is complete but could not be read back: %s", record.key, record.bucket, error)
            return None
        if stored is None:
            return None
        entry = Entry(stored.etag, stored.size, stored.modified, stored.modified, attributes)
        self._core.cache.put(record.bucket, record.key, entry)
        await write_sidecar(self._core, record.bucket, record.key, etag=stored.etag, stored_size=body.size, attributes=attributes)
        return stored

    async def _tidy(self) -> None:
        """Records left behind are the sweeper's: the object is committed."""
        try:
            await self._owner.shelf.remove(self._upload, self._entries)
        except BackendError as error:
            _log.warning("records of a completed upload stay behind: %s", error)
        self._owner.late.forget(self._upload.upload_id)

    def trailer(self, attributes: Attributes, frames: FrameTable, *, offset: int) -> bytes:
        """The object's trailer."""
        said = TrailerAttributes(
            original_size=attributes.size,
            logical_etag=attributes.etag,
            checksums=attributes.checksums,
            checksum_type=attributes.checksum_type,
            part_algorithm=attributes.part_algorithm,
            extra={},
        )
        return encode_trailer(Trailer(attributes=said, parts=attributes.parts or (), frames=frames), offset=offset)


@dataclass(frozen=True, slots=True)
class _Body:
    """Backend parts that are all in place."""

    offers: Sequence[Sequence[tuple[int, str]]]
    """(number, ETag) lists for the backend's Complete, the likeliest first."""
    attributes: Attributes
    frames: FrameTable
    size: int
    """Stored bytes."""


async def _group(job: Completion, backend_id: str) -> _Body:
    """Send joined groups; the last one, which takes the trailer, when all others are read."""
    capabilities, options = job._core.backend.capabilities, job._core.options
    groups = group_parts(job._chosen.parts, minimum=capabilities.min_part_size, target=options.part_size)
    gate, reads = asyncio.Semaphore(JOINS_AT_ONCE), asyncio.Semaphore(READS_AT_ONCE)
    record = job._upload.record
    etags: dict[int, list[str]] = {}

    async def send(group: Group) -> Layout:
        if group.direct:
            async with reads:
                direct, layout = await job._records.direct(group.members[0])
                others = [(await job._records.direct(other))[0].etag for other in job._chosen.alternatives.get(group.number, ())]
            etags[group.number] = [direct.etag, *others]
            return layout
        async with gate:
            spool = job._joiner.spool()
            try:
                layout = await job._joiner.fill(spool, group)
                etags[group.number] = [await job._core.backend.upload_part(record.bucket, record.key, backend_id, group.number, spool)]
            finally:
                spool.close()
            return layout

    async with job._core.budget.reserve(JOINS_AT_ONCE * options.spool_memory):
        done = await together(send(group) for group in groups[:-1])
        return await _finish(job, backend_id, groups[-1], done, etags)


async def _finish(job: Completion, backend_id: str, last: Group, done: list[Layout], etags: dict[int, list[str]]) -> _Body:
    """The last group with the trailer."""
    record = job._upload.record
    spool = job._joiner.spool()
    try:
        layouts = [*done, await job._joiner.fill(spool, last)]
        frames = _table(layouts)
        attributes = job.attributes(layouts)
        offset = sum(layout.frames.stored_size for layout in layouts)
        trailer = job.trailer(attributes, frames, offset=offset)
        await spool.add(trailer)
        etags[last.number] = [await job._core.backend.upload_part(record.bucket, record.key, backend_id, last.number, spool)]
    finally:
        spool.close()
    count = max(map(len, etags.values()))
    offers = [[(number, tags[min(attempt, len(tags) - 1)]) for number, tags in sorted(etags.items())] for attempt in range(count)]
    return _Body(offers, attributes, frames, offset + len(trailer))


async def _cut(job: Completion, backend_id: str) -> _Body:
    """Backends that want equal parts: everything is staged; the body is cut at equal positions, whatever the frames (data-paths.md 3.7)."""
    record = job._upload.record
    cutter = PartCutter(job._core, record.bucket, record.key, backend_id)
    layout = Layout()
    async with job._core.budget.reserve(3 * job._core.options.part_size):
        try:
            for part in job._chosen.parts:
                async for chunk in job._records.staged(part, layout):
                    await cutter.add(chunk)
            attributes, frames = job.attributes([layout]), layout.frames.build()
            await cutter.add(job.trailer(attributes, frames, offset=cutter.size))
            parts = await cutter.finish()
        except BaseException:
            await cutter.cancel()
            raise
    return _Body([parts], attributes, frames, cutter.size)


def _table(layouts: Sequence[Layout]) -> FrameTable:
    builder = FrameTableBuilder()
    for layout in layouts:
        builder.extend(layout.frames.build(), stored_size=layout.frames.stored_size)
    return builder.build()
