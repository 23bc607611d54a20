"""Reading and writing records: where they live, and the cached upload record (data-paths.md 3.1, 3.8)."""

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass

from s4_gateway.backend.abc import BackendError, Condition, ListEntry, Pieces
from s4_gateway.errors import S3Error
from s4_gateway.objects.buckets import BucketStates
from s4_gateway.objects.core import Core
from s4_gateway.objects.together import together
from s4_gateway.objects.uploads.records import (
    JSON_TYPE,
    MAX_RECORD_BYTES,
    BackendRecord,
    PartRecord,
    UploadRecord,
    backend_key,
    folder,
    upload_key,
)

BATCH = 1000
MOST_CACHED = 100_000
READS_AT_ONCE = 32
ENDED = b"e"
"""Message to other workers: this upload ended, do not take its cached record for it."""


@dataclass(frozen=True, slots=True)
class Upload:
    """An open upload."""

    upload_id: str
    record: UploadRecord
    shelf: str
    """Bucket that holds its records."""


class Shelf:
    """The records of all uploads."""

    def __init__(self, core: Core, states: BucketStates) -> None:
        self._core = core
        self._states = states
        self._cached: dict[str, tuple[float, Upload]] = {}
        if core.switchboard is not None:
            core.switchboard.listen(ENDED, lambda _sender, upload_id: self.forget(upload_id.decode("ascii", "replace")))

    async def shelves(self, bucket: str) -> Sequence[str]:
        """Buckets that may hold records of a bucket's uploads: versioning may have been switched on since."""
        return list(dict.fromkeys((await self.home(bucket), bucket)))

    async def home(self, bucket: str) -> str:
        """Bucket for the records of a new upload: versions would keep deleted records' bytes, retention would keep the records."""
        state = await self._states.get(bucket)
        staging = self._core.options.staging_bucket
        return staging if staging is not None and (state.versioned or state.locked) else bucket

    async def must_send_direct(self, upload: Upload) -> bool:
        """Whether part bodies must not be staged: records in a versioned or locked bucket, without another bucket for them."""
        if upload.shelf != upload.record.bucket:
            return False
        state = await self._states.get(upload.record.bucket)
        return state.versioned or state.locked

    async def create(self, upload: Upload) -> None:
        """Write the upload record."""
        await self._core.backend.put_object(
            upload.shelf, upload_key(upload.upload_id), Pieces.of(upload.record.pack()), headers=JSON_TYPE, metadata={}
        )
        self._remember(upload)

    async def open(self, bucket: str, key: str, upload_id: str, *, fresh: bool = False) -> Upload:
        """The upload with this id.

        Args:
            fresh: read the record, whatever is cached (Complete and Abort).

        Raises:
            S3Error: NoSuchUpload: no record, or one of another bucket or key.
        """
        known = self._cached.get(upload_id)
        if fresh or known is None or time.monotonic() - known[0] > self._core.options.upload_record_ttl:
            upload = await self._find(bucket, upload_id)
            self._remember(upload)
        else:
            upload = known[1]
        if (upload.record.bucket, upload.record.key) != (bucket, key):
            raise S3Error("NoSuchUpload")
        return upload

    async def _find(self, bucket: str, upload_id: str) -> Upload:
        for shelf in await self.shelves(bucket):
            data = await self.read(shelf, upload_key(upload_id))
            if data is not None:
                return Upload(upload_id, UploadRecord.unpack(data), shelf)
        self.forget(upload_id)
        raise S3Error("NoSuchUpload")

    def _remember(self, upload: Upload) -> None:
        if len(self._cached) >= MOST_CACHED:
            self._cached.clear()
        self._cached[upload.upload_id] = (time.monotonic(), upload)

    def forget(self, upload_id: str) -> None:
        """The upload ended."""
        self._cached.pop(upload_id, None)

    async def read(self, shelf: str, key: str) -> bytes | None:
        """A small record's body; None if it is definitely not there.

        Raises:
            BackendError: it could not be read.
            S3Error: InternalError for a record that is too large to be ours.
        """
        try:
            download = await self._core.backend.get_object(shelf, key)
        except BackendError as error:
            if error.code == "NoSuchKey":
                return None
            raise
        async with download:
            if download.object.size > MAX_RECORD_BYTES:
                raise S3Error("InternalError", "A multipart record is too large.")
            return await download.read()

    async def backend_record(self, upload: Upload) -> BackendRecord | None:
        """The published backend upload, if any."""
        data = await self.read(upload.shelf, backend_key(upload.upload_id))
        return None if data is None else BackendRecord.unpack(data)

    async def publish(self, upload: Upload, record: BackendRecord) -> None:
        """Write the backend record if there is none.

        Raises:
            BackendError: PreconditionFailed if there is one; unknown outcomes as they come.
        """
        condition = Condition(if_absent=True) if self._core.backend.capabilities.conditional_put else None
        await self._core.backend.put_object(
            upload.shelf, backend_key(upload.upload_id), Pieces.of(record.pack()), headers=JSON_TYPE, metadata={}, condition=condition
        )

    async def entries(self, upload: Upload) -> list[ListEntry]:
        """All records of an upload, in name order.

        Raises:
            S3Error: NoSuchUpload: it has ended. ServiceUnavailable: the listing lacks the upload record, which is there.
        """
        own = upload_key(upload.upload_id)
        found = [entry async for entry in listed(self._core, upload.shelf, folder(upload.upload_id))]
        if all(entry.key != own for entry in found):
            if await self.read(upload.shelf, own) is not None:
                raise S3Error("ServiceUnavailable", "The storage backend's listing is not whole; try again.")
            self.forget(upload.upload_id)
            raise S3Error("NoSuchUpload")
        return found

    async def remove(self, upload: Upload, entries: Sequence[ListEntry]) -> None:
        """Delete an ended upload's records, `upload` first; `backend` stays as tombstone for a day (data-paths.md 3.5).

        Raises:
            BackendError: the upload record is still there. Other records that stay are the sweeper's.
        """
        self.forget(upload.upload_id)
        for refusal in await self.delete(upload.shelf, [upload_key(upload.upload_id)]):
            raise refusal
        if self._core.switchboard is not None:
            self._core.switchboard.tell_all(ENDED, upload.upload_id.encode())
        keep = {upload_key(upload.upload_id), backend_key(upload.upload_id)}
        await self.delete(upload.shelf, [entry.key for entry in entries if entry.key not in keep])

    async def delete(self, shelf: str, keys: Sequence[str]) -> list[BackendError]:
        """Delete records, by version id where the bucket keeps versions; the refusals, if any.

        Raises:
            BackendError: a whole request failed.
        """
        refusals: list[BackendError] = []
        for at in range(0, len(keys), BATCH):
            outcomes = await self._core.backend.delete_objects(shelf, await self._targets(shelf, keys[at : at + BATCH]))
            refusals.extend(outcome.error for outcome in outcomes if outcome.error is not None)
        return refusals

    async def _targets(self, shelf: str, keys: Sequence[str]) -> list[tuple[str, str | None]]:
        if not (await self._states.get(shelf)).versioned:
            return [(key, None) for key in keys]
        gate = asyncio.Semaphore(READS_AT_ONCE)

        async def version(key: str) -> str | None:
            async with gate:
                return await self._version(shelf, key)

        return list(zip(keys, await together(map(version, keys)), strict=True))

    async def _version(self, shelf: str, key: str) -> str | None:
        try:
            return (await self._core.backend.head_object(shelf, key)).version_id
        except BackendError as error:
            if error.status == 404:
                return None
            raise


async def listed(core: Core, bucket: str, prefix: str) -> AsyncIterator[ListEntry]:
    """Every entry below a prefix, in name order, a page at a time."""
    token: str | None = None
    while True:
        page = await core.backend.list_objects(bucket, prefix=prefix, token=token, limit=BATCH)
        for entry in page.entries:
            yield entry
        token = page.token
        if token is None:
            return


def part_records(entries: Sequence[ListEntry]) -> list[PartRecord]:
    """The part records among an upload's entries."""
    parsed = (PartRecord.parse(entry.key, stored_size=entry.size, modified=entry.modified) for entry in entries)
    return [record for record in parsed if record is not None]
