"""Everything about uploads, put together."""

from s4_gateway.objects.buckets import BucketStates
from s4_gateway.objects.core import Core
from s4_gateway.objects.put import Putter
from s4_gateway.objects.reader import Reader
from s4_gateway.objects.stamp import multipart_metadata
from s4_gateway.objects.uploads.complete import Completer
from s4_gateway.objects.uploads.late import LateUploads
from s4_gateway.objects.uploads.manifest import newest_parts
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
        quota = SpoolQuota(core.options.spool_bytes)
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
        await self.shelf.create(upload)
        if not self._core.backend.capabilities.conditional_put:
            # Without conditional writes no later race could have one winner.
            own = multipart_metadata(default_codec(self._core), upload_token(upload_id))
            await self._late.ensure(upload, {**record.metadata, **own})
        return upload

    async def part_time(self, upload: Upload, number: int) -> int:
        """Last-Modified of the newest record of a part."""
        return next((part.modified for part in newest_parts(await self.shelf.parts(upload)) if part.number == number), 0)

    async def is_published(self, opened: OpenedUpload) -> bool:
        """Whether the backend record that may name this backend upload does."""
        shelf, _, key = opened.record.partition("/")
        data = await self.shelf.read(shelf, key)
        return data is not None and BackendRecord.unpack(data).upload_id == opened.upload_id
