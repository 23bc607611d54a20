"""The backend upload: created late, by whoever first needs it, with exactly one winner (data-paths.md 3.2)."""

from collections.abc import Mapping
from contextlib import suppress

from s4_gateway.backend.abc import BackendError, Outcome
from s4_gateway.errors import S3Error
from s4_gateway.objects.core import Core
from s4_gateway.objects.uploads.records import BackendRecord, backend_key
from s4_gateway.objects.uploads.shelf import Shelf, Upload
from s4_gateway.state.journal import OpenedUpload

MOST_CACHED = 100_000


class LateUploads:
    """Backend uploads of open uploads."""

    def __init__(self, core: Core, shelf: Shelf) -> None:
        self._core = core
        self._shelf = shelf
        self._known: dict[str, BackendRecord] = {}

    def forget(self, upload_id: str) -> None:
        """The upload ended."""
        self._known.pop(upload_id, None)

    async def ensure(self, upload: Upload, metadata: Mapping[str, str], *, manifest: str | None = None) -> BackendRecord:
        """The backend upload of this upload, created now if there is none.

        Args:
            metadata: for the new backend upload.
            manifest: SHA-256 of the client's manifest where Complete asks.

        Raises:
            S3Error: NoSuchUpload (aborted), ServiceUnavailable (it cannot be told which upload was published).
            BackendError: as the backend says.
        """
        known = self._known.get(upload.upload_id)
        if known is not None:
            return known
        record = upload.record
        backend_id = await self._core.backend.create_multipart(record.bucket, record.key, headers=record.headers, metadata=metadata)
        opened = OpenedUpload(record.bucket, record.key, backend_id, f"{upload.shelf}/{backend_key(upload.upload_id)}")
        await self._core.journal.opened(opened)
        own = BackendRecord(backend_id, manifest)
        try:
            await self._shelf.publish(upload, own)
            winner: BackendRecord | None = own
        except BackendError as error:
            if error.status not in (409, 412) and error.outcome is not Outcome.UNKNOWN:
                await self._discard(opened)
                raise
            # The refusal may answer one's own lost attempt: only the record tells. If it cannot be read nothing is aborted.
            winner = await self._shelf.backend_record(upload)
        if winner is None:
            raise S3Error("ServiceUnavailable", "The outcome of opening the upload is unknown; try again.")
        if winner.upload_id != backend_id:
            await self._discard(opened)
        else:
            await self._core.journal.ended(opened)
        return self._keep(upload, winner)

    def _keep(self, upload: Upload, winner: BackendRecord) -> BackendRecord:
        if winner.upload_id is None:
            self._shelf.forget(upload.upload_id)
            raise S3Error("NoSuchUpload")
        if len(self._known) >= MOST_CACHED:
            self._known.clear()
        self._known[upload.upload_id] = winner
        return winner

    async def _discard(self, opened: OpenedUpload) -> None:
        """Abort an upload that no record names; a failure stays in the journal."""
        with suppress(BackendError):
            await self._core.backend.abort_multipart(opened.bucket, opened.key, opened.upload_id)
            await self._core.journal.ended(opened)
