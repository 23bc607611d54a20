"""ListParts, ListMultipartUploads, Abort and the sweep of what is left behind (data-paths.md 3.4, 3.6)."""

import asyncio
import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass

from s4_format import MULTIPART_PREFIX

from s4_gateway.backend.abc import BackendError, ListEntry
from s4_gateway.errors import S3Error
from s4_gateway.objects.core import Core
from s4_gateway.objects.together import together
from s4_gateway.objects.uploads.late import LateUploads
from s4_gateway.objects.uploads.manifest import newest_parts
from s4_gateway.objects.uploads.records import CHECKSUM, BackendRecord, PartRecord, UploadRecord, backend_key, folder, upload_key
from s4_gateway.objects.uploads.shelf import Shelf, Upload, list_all

STALE_SECONDS = 24 * 3600
"""Age below which nothing is swept: a Complete that works from an old listing must still find the tombstone."""
READS_AT_ONCE = 32

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
        """Parts with numbers above `after`, at most `limit`, and whether more follow."""
        behind = [record for record in newest_parts(await self._shelf.parts(upload)) if record.number > after]
        gate = asyncio.Semaphore(READS_AT_ONCE)

        async def listed(record: PartRecord) -> ListedPart:
            if upload.record.checksum_algorithm is None:
                return ListedPart(record, None)
            if upload.record.checksum_algorithm == "crc64nvme":
                return ListedPart(record, record.crc64nvme)
            async with gate:
                stored = await self._core.backend.head_object(upload.shelf, folder(upload.upload_id) + record.name)
            return ListedPart(record, stored.metadata.get(CHECKSUM))

        return await together(map(listed, behind[:limit])), len(behind) > limit

    async def uploads(self, bucket: str, *, prefix: str) -> list[ListedUpload]:
        """All open uploads of a bucket whose key begins with `prefix`, by key and then by age."""
        gate = asyncio.Semaphore(READS_AT_ONCE)
        home = await self._shelf.home(bucket)

        async def read(entry: ListEntry) -> ListedUpload | None:
            async with gate:
                data = await self._shelf.read(home, entry.key)
            if data is None:
                return None
            record = UploadRecord.unpack(data)
            if record.bucket != bucket or not record.key.startswith(prefix):
                return None
            return ListedUpload(entry.key.split("/")[1], record, entry.modified)

        records = [entry for entry in await list_all(self._core, home, MULTIPART_PREFIX) if entry.key.endswith("/upload")]
        found = [upload for upload in await together(map(read, records)) if upload is not None]
        return sorted(found, key=lambda upload: (upload.record.key, upload.initiated, upload.upload_id))

    async def abort(self, bucket: str, key: str, upload_id: str) -> None:
        """Abort an upload: no late create can win any more, the backend upload is gone, then the records.

        Raises:
            S3Error: NoSuchUpload.
            BackendError: as the backend says; the upload is then still there.
        """
        upload = await self._shelf.open(bucket, key, upload_id, fresh=True)
        published = await self._seal(upload)
        if published.upload_id is not None:
            try:
                await self._core.backend.abort_multipart(bucket, key, published.upload_id)
            except BackendError as error:
                if error.code != "NoSuchUpload":
                    raise
        await self._shelf.remove(upload, await self._shelf.entries(upload))
        self._late.forget(upload_id)

    async def _seal(self, upload: Upload) -> BackendRecord:
        """Publish that there will be no backend upload, or learn which one there is."""
        aborted = BackendRecord(None)
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

    async def sweep(self, bucket: str) -> int:
        """Delete records older than a day whose upload record is gone; how many uploads were cleared away.

        The backend upload that a record names is aborted first: the record is the only pointer to its parts.
        """
        groups: dict[str, list[ListEntry]] = {}
        for entry in await list_all(self._core, bucket, MULTIPART_PREFIX):
            groups.setdefault(entry.key.split("/")[1], []).append(entry)
        swept = 0
        for upload_id, entries in groups.items():
            if await self._is_stale(bucket, upload_id, entries):
                await self._clear(bucket, upload_id, entries)
                swept += 1
        return swept

    async def _is_stale(self, bucket: str, upload_id: str, entries: Sequence[ListEntry]) -> bool:
        try:
            name = upload_key(upload_id)
        except S3Error:
            return False
        if max(entry.modified for entry in entries) > time.time() - STALE_SECONDS:
            return False
        return all(entry.key != name for entry in entries) and await self._shelf.read(bucket, name) is None

    async def _clear(self, bucket: str, upload_id: str, entries: Sequence[ListEntry]) -> None:
        data = await self._shelf.read(bucket, backend_key(upload_id))
        record = BackendRecord.unpack(data) if data is not None else None
        if record is not None and record.upload_id is not None:
            for upload in await self._core.backend.list_multipart(bucket):
                if upload.upload_id == record.upload_id:
                    await self._core.backend.abort_multipart(bucket, upload.key, upload.upload_id)
        names = [entry.key for entry in entries if entry.key != backend_key(upload_id)]
        await self._shelf.delete(bucket, names)
        await self._shelf.delete(bucket, [backend_key(upload_id)])
        _log.info("swept %d records of an ended upload in %r", len(entries), bucket)
