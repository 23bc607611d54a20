"""The backend upload: created late, by whoever first needs it, with exactly one winner (data-paths.md 3.2)."""

from collections.abc import Mapping

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
            upload: whose.
            metadata: for the new backend upload.
            manifest: SHA-256 of the client's manifest where Complete asks.

        Raises:
            S3Error: NoSuchUpload (aborted), ServiceUnavailable (it cannot be told which upload was published).
            BackendError: as the backend says.
        """
        known = self._known.get(upload.upload_id)
        if known is not None:
            return known
        if self._core.backend.capabilities.conditional_put:
            return self._keep(upload, await self._core.to_the_end(self.create(upload, metadata, manifest=manifest)))
        # Without conditional writes no race could have one winner: it was created together with the upload, or there is no upload.
        published = await self._shelf.backend_record(upload)
        if published is None:
            raise S3Error("NoSuchUpload")
        return self._keep(upload, published)

    async def create(self, upload: Upload, metadata: Mapping[str, str], *, manifest: str | None = None) -> BackendRecord:
        """Open a backend upload and publish it, or find out which one was published instead. Run it under `Core.to_the_end`.

        Raises:
            S3Error: ServiceUnavailable (it cannot be told which upload was published).
            BackendError: as the backend says.
        """
        bucket, key = upload.record.bucket, upload.record.key
        backend_id = await self._core.backend.create_multipart(bucket, key, headers=upload.record.headers, metadata=metadata)
        opened = OpenedUpload(bucket, key, backend_id, f"{upload.shelf}/{backend_key(upload.upload_id)}")
        own = BackendRecord(bucket, key, backend_id, manifest)
        try:
            await self._core.journal.opened(opened)
            await self._shelf.publish(upload, own)
        except S3Error:
            await self._discard(opened)
            raise
        except BackendError as error:
            if error.status not in (409, 412) and error.outcome is not Outcome.UNKNOWN:
                await self._discard(opened)
                raise
            return await self._winner(upload, opened)
        await self._core.journal.ended(opened)
        return own

    async def _winner(self, upload: Upload, opened: OpenedUpload) -> BackendRecord:
        """Which upload is published. A refusal may answer one's own lost attempt: only the record tells, without it nothing is aborted."""
        try:
            winner = await self._shelf.backend_record(upload)
        except BaseException:
            await self._core.journal.abandoned(opened)
            raise
        if winner is None:
            await self._core.journal.abandoned(opened)
            raise S3Error("ServiceUnavailable", "The outcome of opening the upload is unknown; try again.")
        if winner.upload_id == opened.upload_id:
            await self._core.journal.ended(opened)
        else:
            await self._discard(opened)
        return winner

    def _keep(self, upload: Upload, winner: BackendRecord) -> BackendRecord:
        if winner.upload_id is None:
            self._shelf.forget(upload.upload_id)
            raise S3Error("NoSuchUpload")
        if len(self._known) >= MOST_CACHED:
            self._known.clear()
        self._known[upload.upload_id] = winner
        return winner

    async def _discard(self, opened: OpenedUpload) -> None:
        """Abort an upload that no record names; one that could not be aborted is tried again later."""
        try:
            await self._core.backend.abort_multipart(opened.bucket, opened.key, opened.upload_id)
        except BackendError as error:
            if error.status != 404:
                await self._core.journal.abandoned(opened)
                return
        await self._core.journal.ended(opened)
