"""CompleteMultipartUpload: choose records, join the staged ones, commit once (data-paths.md 3.5)."""

import asyncio
import logging
import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain, repeat
from weakref import WeakValueDictionary

from s4_format import Manifest

from s4_gateway.backend.abc import BackendError, Condition, ListEntry, StoredObject, Written
from s4_gateway.errors import S3Error
from s4_gateway.objects.attributes import Attributes
from s4_gateway.objects.commit import commit, find_own
from s4_gateway.objects.core import Core
from s4_gateway.objects.face import Face, Wanted
from s4_gateway.objects.put import LogicalCondition, Putter
from s4_gateway.objects.reader import Reader
from s4_gateway.objects.sidecar import write_sidecar
from s4_gateway.objects.stamp import has_room, multipart_metadata
from s4_gateway.objects.uploads.assemble import AssembledBody, Assembly
from s4_gateway.objects.uploads.late import LateUploads
from s4_gateway.objects.uploads.manifest import (
    Choice,
    Chosen,
    check_object,
    choose,
    full_crc64nvme,
    manifest_etag,
    names_prove,
    object_checksums,
    variants,
)
from s4_gateway.objects.uploads.part import default_codec
from s4_gateway.objects.uploads.records import PartRecord, UploadRecord, folder, upload_token
from s4_gateway.objects.uploads.shelf import Shelf, Upload, part_records
from s4_gateway.objects.uploads.spool import SpoolQuota
from s4_gateway.state.cache import Entry

MOST_VARIANTS = 16
"""How many selections of direct records of equal content are offered to the backend."""
RETRIES = 2
"""How often the same selection is sent again where the backend does not know a part: another gateway may have sent that part anew, under
another ETag.
"""
RETRY_SECONDS = 0.2
ELSEWHERE_SECONDS = 5.0
"""How long a Complete whose backend upload is gone waits for the object that another gateway is making of it."""
ELSEWHERE_PAUSE_SECONDS = 0.2

CONTRADICTED = frozenset({"InvalidPart", "NoSuchUpload", "PreconditionFailed", "ConditionalRequestConflict"})
"""Refusals that may mean that the upload was completed already: by another gateway, or by an attempt whose answer was lost."""

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
    checksum_type: str | None = None
    """FULL_OBJECT or COMPOSITE, where the client says."""


@dataclass(frozen=True, slots=True)
class Finished:
    """A committed upload."""

    attributes: Attributes
    version_id: str | None
    codec: str
    stored_size: int
    """Bytes of the stored body."""


class Completer:
    """Completes uploads."""

    def __init__(self, core: Core, shelf: Shelf, late: LateUploads, quota: SpoolQuota, reader: Reader, putter: Putter) -> None:
        self.core = core
        self.shelf = shelf
        self.late = late
        self.quota = quota
        self._reader = reader
        self.putter = putter
        self._turns: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    def turn(self, upload_id: str) -> asyncio.Lock:
        """Completes of one upload run one after the other: identical work is done once, and versitygw forgets the metadata of an upload
        that receives a part while it is being completed.
        """
        lock = self._turns.get(upload_id)
        if lock is None:
            lock = self._turns[upload_id] = asyncio.Lock()
        return lock

    async def prepare(self, request: CompleteRequest) -> "Completion | Finished":
        """Check manifest and conditions; what is left to do may take long.

        Raises:
            S3Error: NoSuchUpload, InvalidPart, InvalidPartOrder, EntityTooSmall, PreconditionFailed, InvalidRequest.
            BackendError: as the backend says.
        """
        try:
            return await self._prepare(request)
        except (S3Error, BackendError) as error:
            done = await self.already(request) if error.code in CONTRADICTED else None
            if done is None:
                raise
            return done

    async def _prepare(self, request: CompleteRequest) -> "Completion":
        upload = await self.shelf.open(request.bucket, request.key, request.upload_id, fresh=True)
        _check_type(request, upload.record)
        entries = await self.shelf.entries(upload)
        chosen = choose(part_records(entries), request.choices, object_size=request.object_size)
        if names_prove(upload.record):
            check_object(object_checksums(upload.record, chosen.parts, {})[0], request.checksums, parts=len(chosen.parts))
        return Completion(self, request, upload, chosen, entries, await self._condition(request))

    async def is_open(self, request: CompleteRequest) -> bool:
        """Whether the upload still has its record."""
        try:
            await self.shelf.open(request.bucket, request.key, request.upload_id, fresh=True)
        except S3Error as error:
            if error.code == "NoSuchUpload":
                return False
            raise
        return True

    async def elsewhere(self, request: CompleteRequest) -> Finished | None:
        """What another gateway makes of the upload, where its backend upload is gone: somebody is committing it, unless its records go
        without an object.
        """
        deadline = asyncio.get_running_loop().time() + ELSEWHERE_SECONDS
        while True:
            is_open = await self.is_open(request)
            done = await self.already(request)
            if done is not None or not is_open or asyncio.get_running_loop().time() > deadline:
                return done
            await asyncio.sleep(ELSEWHERE_PAUSE_SECONDS)

    async def _condition(self, request: CompleteRequest) -> Condition | None:
        """Conditions are checked here, before the early 200, and again by the backend."""
        condition = await self.putter.resolve(request.bucket, request.key, request.condition)
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
        face = await self.own(request)
        if face is None:
            return None
        return Finished(face.attributes, face.stored.version_id, face.manifest.codec_label or "", face.stored.size)

    async def own(self, request: CompleteRequest) -> Face | None:
        """The object at the key, if it is this upload's and made of the very parts that are named. All Completes of an upload have one
        token: it does not tell which list of parts won.

        Raises:
            S3Error: ServiceUnavailable where the key cannot be read.
        """
        folder(request.upload_id)
        token = upload_token(request.upload_id)
        if await find_own(self.core.backend, request.bucket, request.key, token) is None:
            return None
        face = await self._reader.head(request.bucket, request.key, wanted=Wanted(checksums=True))
        same = face.manifest.write_token == token and face.attributes.etag == manifest_etag(request.choices)
        return face if same else None


def _check_type(request: CompleteRequest, record: UploadRecord) -> None:
    if request.checksum_type not in (None, record.checksum_type):
        raise S3Error(
            "InvalidRequest",
            f"The upload was created using the {record.checksum_type} checksum mode. The complete request must use the same checksum mode.",
        )


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

    async def run(self) -> Finished:
        """Join, commit, tidy up.

        Raises:
            S3Error: OperationAborted (another manifest is being committed), BadDigest, InvalidPart, ServiceUnavailable.
            BackendError: as the backend says.
        """
        turn = self._owner.turn(self._request.upload_id)
        waited = turn.locked()
        async with turn:
            try:
                if waited and not await self._owner.is_open(self._request):
                    raise S3Error("NoSuchUpload")
                return await self._run()
            except (S3Error, BackendError) as error:
                done = None
                if error.code == "NoSuchUpload":
                    done = await self._owner.elsewhere(self._request)
                elif error.code in CONTRADICTED:
                    done = await self._owner.already(self._request)
                if done is None:
                    if isinstance(error, BackendError):
                        await self._owner.putter.confirm(error, self._request.bucket, self._request.key, self._request.condition)
                    raise
                return done

    async def _run(self) -> Finished:
        upload, chosen = self._upload, self._chosen
        if self._condition is None and (names_prove(upload.record) or not (chosen.stated or self._request.checksums)):
            backend = await self._owner.late.ensure(upload, self._metadata(), manifest=chosen.digest)
        else:
            # What is stated is compared when the records are read, the condition by the store. If they do not hold, other parts may
            # follow, so that this backend upload must say nothing of these ones.
            backend = await self._owner.late.ensure(upload, self._bare_metadata())
        if backend.upload_id is None or backend.manifest not in (None, chosen.digest):
            raise S3Error("OperationAborted", "Another list of parts is being completed for this upload.")
        written, body = await self._commit(backend.upload_id)
        attributes = replace(body.attributes, frames=body.frames)
        stored = await self._confirmed(written, body, attributes)
        await self._tidy()
        version = stored.version_id if stored is not None else written.version_id
        return Finished(attributes, version, default_codec(self._core, self._upload.record).label, body.size)

    def _metadata(self) -> dict[str, str]:
        """Metadata of a backend upload that is created now: size and ETag are known, checksums unless records must be read for them."""
        record, capabilities = self._upload.record, self._core.backend.capabilities
        token = upload_token(self._upload.upload_id)
        crc = full_crc64nvme(self._chosen.parts) if record.checksum_algorithm in (None, "crc64nvme") else None
        etag = self._chosen.etag if has_room(record.metadata, capabilities) else None
        own = multipart_metadata(
            default_codec(self._core, self._upload.record), token, size=self._chosen.size, etag=etag, crc64nvme=crc if etag else None
        )
        return {**record.metadata, **own}

    def _bare_metadata(self) -> dict[str, str]:
        """Metadata of a backend upload whose object is not known yet."""
        token = upload_token(self._upload.upload_id)
        return {**self._upload.record.metadata, **multipart_metadata(default_codec(self._core, self._upload.record), token)}

    async def _commit(self, backend_id: str) -> tuple[Written, AssembledBody]:
        """The commit point. Where the backend does not know a part, other direct records of the same content are tried: only the backend
        knows which of them its part still is. Each has its own frames, so each gets its own trailer.
        """
        assembly = Assembly(self._core, self._upload, self._chosen, self._owner.quota, self._request.checksums)
        selections: Iterator[Sequence[PartRecord]] | None = None
        parts: Sequence[PartRecord] = self._chosen.parts
        while True:
            body = await assembly.run(backend_id, parts)
            try:
                return await self._offer(backend_id, body.parts), body
            except BackendError as error:
                if error.code != "InvalidPart":
                    raise
                if selections is None:
                    others = variants(self._chosen.parts, await assembly.rivals(), most=MOST_VARIANTS)
                    selections = chain(others, repeat(self._chosen.parts, RETRIES))
                selected = next(selections, None)
                if selected is None:
                    raise
                parts = selected
            await asyncio.sleep(random.uniform(0, RETRY_SECONDS))

    async def _offer(self, backend_id: str, parts: Sequence[tuple[int, str]]) -> Written:
        record = self._upload.record
        write = self._core.backend.complete_multipart(record.bucket, record.key, backend_id, parts, condition=self._condition)
        token = upload_token(self._upload.upload_id)
        return await commit(self._core.backend, record.bucket, record.key, token, write, find=self._found)

    async def _found(self) -> StoredObject | None:
        try:
            face = await self._owner.own(self._request)
        except BackendError as error:
            raise S3Error("ServiceUnavailable", "The outcome of the Complete is unknown; try again.") from error
        return None if face is None else face.stored

    async def _confirmed(self, written: Written, body: AssembledBody, attributes: Attributes) -> StoredObject | None:
        """Sidecar and cache only for an object that is still this upload's: some backends answer 200 to a repeated Complete."""
        record = self._upload.record
        try:
            stored = await find_own(self._core.backend, record.bucket, record.key, upload_token(self._upload.upload_id))
        except S3Error as error:
            _log.warning("%r in %r is complete but could not be read back: %s", record.key, record.bucket, error)
            return None
        if stored is None:
            stored = await self._labelled_again(written)
        if stored is None:
            return None
        entry = Entry(stored.etag, stored.size, stored.modified, stored.modified, attributes)
        self._core.cache.put(record.bucket, record.key, entry)
        await write_sidecar(self._core, record.bucket, record.key, etag=stored.etag, stored_size=body.size, attributes=attributes)
        return stored

    async def _labelled_again(self, written: Written) -> StoredObject | None:
        """The object with its metadata put back, where the store has lost them: versitygw does when another gateway's part arrives in the
        middle of a Complete. None for an object that is not the one just written.

        Raises:
            S3Error: ServiceUnavailable: the metadata are not there, so the object cannot be read.
        """
        record, backend = self._upload.record, self._core.backend
        try:
            found = await backend.head_object(record.bucket, record.key)
            if found.etag != written.etag or Manifest.from_metadata(found.metadata).write_token is not None:
                return None
            _log.warning("the storage backend lost the metadata of %r in %r; they are written again", record.key, record.bucket)
            await backend.copy_object(
                record.bucket,
                record.key,
                source_bucket=record.bucket,
                source_key=record.key,
                source_version_id=found.version_id,
                source_etag=found.etag,
                headers=record.headers,
                metadata=self._metadata(),
            )
        except BackendError as error:
            if error.status in (404, 412):
                return None
            raise S3Error("ServiceUnavailable", "The storage backend lost the metadata of the object; try again.") from error
        return await find_own(backend, record.bucket, record.key, upload_token(self._upload.upload_id))

    async def _tidy(self) -> None:
        """Records left behind are the sweeper's: the object is committed."""
        try:
            await self._owner.shelf.remove(self._upload, self._entries)
        except BackendError as error:
            _log.warning("records of a completed upload stay behind: %s", error)
        self._owner.late.forget(self._upload.upload_id)
