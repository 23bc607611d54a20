"""ListParts, ListMultipartUploads, Abort and the sweep of what is left behind (data-paths.md 3.4, 3.6)."""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass

from s4_format import MULTIPART_PREFIX

from s4_gateway.backend.abc import BackendError, ListEntry
from s4_gateway.errors import S3Error
from s4_gateway.objects.core import Core
from s4_gateway.objects.together import together
from s4_gateway.objects.uploads.late import LateUploads
from s4_gateway.objects.uploads.manifest import newest_parts
from s4_gateway.objects.uploads.records import (
    CHECKSUM,
    BackendRecord,
    PartRecord,
    UploadRecord,
    backend_key,
    folder,
    id_order,
    is_upload_id,
    upload_key,
)
from s4_gateway.objects.uploads.shelf import READS_AT_ONCE, Shelf, Upload, listed, part_records

STALE_SECONDS = 24 * 3600
"""Age below which nothing is swept: a Complete that works from an old listing must still find the tombstone."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class ListedPart:
    """One part as ListParts shows it."""

    record: PartRecord
    checksum: str | None
    """Base64 under the upload's algorithm; None where none was named."""


@dataclass(frozen=True, slots=True)
class ListedUpload:
    """One open upload."""

    upload_id: str
    record: UploadRecord
    initiated: int


class Roster:
    """Looks over uploads."""

    def __init__(self, core: Core, shelf: Shelf, late: LateUploads) -> None:
        self._core = core
        self._shelf = shelf
        self._late = late

    async def parts(self, upload: Upload, *, after: int, limit: int) -> tuple[list[ListedPart], bool]:
        """Parts with numbers above `after`, at most `limit`, and whether more follow.

        Raises:
            S3Error: NoSuchUpload.
        """
        newest = newest_parts(part_records(await self._shelf.entries(upload)))
        behind = [record for record in newest if record.number > after]
        gate = asyncio.Semaphore(READS_AT_ONCE)

        async def checked(record: PartRecord) -> ListedPart:
            if upload.record.checksum_algorithm is None:
                return ListedPart(record, None)
            if upload.record.checksum_algorithm == "crc64nvme":
                return ListedPart(record, record.crc64nvme)
            async with gate:
                return ListedPart(record, await self._checksum(upload, record))

        return await together(map(checked, behind[:limit])), limit > 0 and len(behind) > limit

    async def _checksum(self, upload: Upload, record: PartRecord) -> str | None:
        try:
            stored = await self._core.backend.head_object(upload.shelf, folder(upload.upload_id) + record.name)
        except BackendError as error:
            if error.status == 404:
                # Records go only when their upload has ended.
                raise S3Error("NoSuchUpload") from error
            raise
        return stored.metadata.get(CHECKSUM)

    async def uploads(self, bucket: str, *, prefix: str) -> list[ListedUpload]:
        """All open uploads of a bucket whose key begins with `prefix`, by key and then by age."""
        gate = asyncio.Semaphore(READS_AT_ONCE)

        async def read(shelf: str, entry: ListEntry) -> ListedUpload | None:
            async with gate:
                data = await self._shelf.read(shelf, entry.key)
            if data is None:
                return None
            record = UploadRecord.unpack(data)
            if record.bucket != bucket or not record.key.startswith(prefix):
                return None
            return ListedUpload(entry.key.split("/")[1], record, entry.modified)

        records = [
            (shelf, entry)
            for shelf in await self._shelf.shelves(bucket)
            async for entry in listed(self._core, shelf, MULTIPART_PREFIX)
            if entry.key.endswith("/upload")
        ]
        found = [upload for upload in await together(read(*each) for each in records) if upload is not None]
        return sorted(found, key=lambda upload: (upload.record.key, id_order(upload.upload_id)))

    async def abort(self, bucket: str, key: str, upload_id: str) -> None:
        """Abort an upload: no late create can win any more, the backend upload is gone, then the records.

        Raises:
            S3Error: NoSuchUpload.
            BackendError: as the backend says; the upload is then still there.
        """
        upload = await self._shelf.open(bucket, key, upload_id, fresh=True)
        published = await self._seal(upload)
        await self._end(published)
        await self._shelf.remove(upload, await self._shelf.entries(upload))
        self._late.forget(upload_id)

    async def _seal(self, upload: Upload) -> BackendRecord:
        """Publish that there will be no backend upload, or learn which one there is."""
        if not self._core.backend.capabilities.conditional_put:
            published = await self._shelf.backend_record(upload)
            if published is not None:
                return published
        aborted = BackendRecord(upload.record.bucket, upload.record.key, None)
        try:
            await self._shelf.publish(upload, aborted)
        except BackendError as error:
            if error.status not in (409, 412):
                raise
            published = await self._shelf.backend_record(upload)
            if published is None:
                raise S3Error("ServiceUnavailable", "The state of the upload is unknown; try again.") from error
            return published
        return aborted

    async def _end(self, record: BackendRecord) -> None:
        """Abort the backend upload that a record names; one that is gone already is no error."""
        if record.upload_id is None:
            return
        try:
            await self._core.backend.abort_multipart(record.bucket, record.key, record.upload_id)
        except BackendError as error:
            if error.status != 404:
                raise

    async def end_all(self, bucket: str) -> None:
        """Abort the backend uploads of all uploads with records in a bucket that is about to go: nothing else names them.

        Raises:
            BackendError, S3Error: one could not be aborted.
        """
        async for entry in listed(self._core, bucket, MULTIPART_PREFIX):
            if entry.key.endswith("/backend"):
                data = await self._shelf.read(bucket, entry.key)
                if data is not None:
                    await self._end(BackendRecord.unpack(data))

    async def sweep(self, bucket: str) -> int:
        """Delete records older than a day of uploads that have ended; how many uploads were cleared away.

        Only on positive proof: the upload record is gone, or the backend upload is. What fails is tried again with the next sweep.

        Raises:
            BackendError: the records could not be listed.
        """
        swept = 0
        async for upload_id, entries in _by_upload(listed(self._core, bucket, MULTIPART_PREFIX)):
            try:
                swept += await self._sweep_one(bucket, upload_id, entries)
            except (BackendError, S3Error) as error:
                _log.warning("records of upload %s in %r could not be swept: %s", upload_id, bucket, error)
        return swept

    async def _sweep_one(self, bucket: str, upload_id: str, entries: Sequence[ListEntry]) -> bool:
        own, published = upload_key(upload_id), backend_key(upload_id)
        if max(entry.modified for entry in entries) > time.time() - STALE_SECONDS:
            return False
        names = [entry.key for entry in entries]
        parts = part_records(entries)
        if len(parts) != len(set(names) - {own, published}):
            # Something that no gateway of ours wrote.
            return False
        data = await self._shelf.read(bucket, published)
        record = None if data is None else BackendRecord.unpack(data)
        if await self._shelf.read(bucket, own) is not None and (record is None or not await self._is_gone(record)):
            return False
        if record is not None:
            await self._end(record)
        for some in ([own], [name for name in names if name not in (own, published)], [published]):
            for refusal in await self._shelf.delete(bucket, [name for name in some if name in names]):
                raise refusal
        _log.info("swept %d records of an ended upload in %r", len(entries), bucket)
        return True

    async def _is_gone(self, record: BackendRecord) -> bool:
        """Whether the backend says that the upload is not open any more: completed, or aborted by a lifecycle rule or by hand."""
        try:
            found = await self._core.backend.list_multipart(record.bucket, prefix=record.key)
        except BackendError as error:
            if error.code == "NoSuchBucket":
                return True
            raise
        return all(upload.upload_id != record.upload_id for upload in found)


async def _by_upload(entries: AsyncIterator[ListEntry]) -> AsyncIterator[tuple[str, list[ListEntry]]]:
    """The records of one upload after the other; they lie together. What does not lie in an upload's folder is passed over."""
    group: list[ListEntry] = []
    current = ""
    async for entry in entries:
        _, upload_id, *rest = entry.key.split("/")
        if upload_id != current:
            if group:
                yield current, group
            current, group = upload_id, []
        if len(rest) == 1 and is_upload_id(upload_id):
            group.append(entry)
    if group:
        yield current, group
