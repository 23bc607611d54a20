"""Everything about uploads, put together."""

from s4_gateway.objects.buckets import BucketStates
from s4_gateway.objects.core import Core
from s4_gateway.objects.put import Putter
from s4_gateway.objects.reader import Reader
from s4_gateway.objects.stamp import multipart_metadata
from s4_gateway.objects.uploads.complete import Completer
from s4_gateway.objects.uploads.late import LateUploads
from s4_gateway.objects.uploads.part import PartStore, default_codec
from s4_gateway.objects.uploads.records import BackendRecord, UploadRecord, upload_token
from s4_gateway.objects.uploads.roster import Roster
from s4_gateway.objects.uploads.shelf import Shelf, Upload
from s4_gateway.objects.uploads.spool import SpoolQuota
from s4_gateway.state.journal import OpenedUpload


class Uploads:
    """Multipart uploads of one gateway.

    Attributes:
        shelf: their records.
        parts: stores parts.
        completer: completes.
        roster: lists, aborts, sweeps.
    """

    def __init__(self, core: Core, states: BucketStates, reader: Reader, putter: Putter) -> None:
        quota = SpoolQuota(core.options.spool_bytes, core.place)
        self._core = core
        self.shelf = Shelf(core, states)
        self._late = LateUploads(core, self.shelf)
        self.parts = PartStore(core, self.shelf, self._late, quota)
        self.completer = Completer(core, self.shelf, self._late, quota, reader, putter)
        self.roster = Roster(core, self.shelf, self._late)

    async def create(self, record: UploadRecord, upload_id: str) -> Upload:
        """Open an upload.

        Raises:
            BackendError: NoSuchBucket and what else the backend says.
        """
        upload = Upload(upload_id, record, await self.shelf.home(record.bucket))
        if not self._core.backend.capabilities.conditional_put:
            # Without conditional writes no later race could have one winner. The upload record comes last: what has none is swept.
            own = multipart_metadata(default_codec(self._core, record), upload_token(upload_id))
            await self._core.to_the_end(self._late.create(upload, {**record.metadata, **own}))
        await self.shelf.create(upload)
        return upload

    async def is_published(self, opened: OpenedUpload) -> bool:
        """Whether the backend record that may name this backend upload does."""
        shelf, _, key = opened.record.partition("/")
        data = await self.shelf.read(shelf, key)
        return data is not None and BackendRecord.unpack(data).upload_id == opened.upload_id
