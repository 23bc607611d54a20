"""UploadPart: compress into the spool, verify, then send direct or stage (data-paths.md 3.3, 3.4)."""

from contextlib import AsyncExitStack, aclosing
from dataclasses import dataclass
from functools import partial

from s4_codecs import EncodeOptions, EncodeSizeError, ObjectEncoder, encode_async, part_frame_size
from s4_format import CodecId

from s4_gateway.backend.abc import BackendError, Pieces, Written
from s4_gateway.errors import S3Error
from s4_gateway.objects.commit import told_time
from s4_gateway.objects.core import Core
from s4_gateway.objects.encoding import frames_footprint, stood_in
from s4_gateway.objects.held import held
from s4_gateway.objects.intake import Digested, Expected, Intake, Source
from s4_gateway.objects.options import MAX_PUT_BYTES
from s4_gateway.objects.stamp import multipart_metadata
from s4_gateway.objects.uploads.grouping import MAX_PART_NUMBER
from s4_gateway.objects.uploads.join import pad
from s4_gateway.objects.uploads.late import LateUploads
from s4_gateway.objects.uploads.records import (
    BODY_TYPE,
    CHECKSUM,
    JSON_TYPE,
    STORED_CRC,
    DirectPart,
    UploadRecord,
    folder,
    part_name,
    upload_token,
)
from s4_gateway.objects.uploads.shelf import Shelf, Upload
from s4_gateway.objects.uploads.spool import Spool, SpoolQuota

RESERVE_FLOOR = 64 * 1024


@dataclass(frozen=True, slots=True)
class PartRequest:
    """One part to store."""

    number: int
    body: Source
    expected: Expected
    ours: bool = False
    """As in `PutRequest`."""


@dataclass(frozen=True, slots=True)
class StoredPart:
    """A part that is stored."""

    digested: Digested
    modified: int
    """Its Last-Modified, as far as the store's answer tells it."""
    fallback: str | None = None
    """As in `PutResult`."""


class PartStore:
    """Stores parts of open uploads."""

    def __init__(self, core: Core, shelf: Shelf, late: LateUploads, quota: SpoolQuota) -> None:
        self._core = core
        self._shelf = shelf
        self._late = late
        self._quota = quota

    async def put(self, upload: Upload, request: PartRequest) -> StoredPart:
        """Store one part. Nothing is sent before its length and digests hold, so a bad retry cannot replace a good part.

        Raises:
            S3Error: EntityTooLarge, SlowDown (spool full), digest and length errors, NoSuchUpload (aborted meanwhile).
            BackendError: as the backend says.
        """
        size = request.body.size
        if size is not None and size > MAX_PUT_BYTES:
            raise S3Error("EntityTooLarge", fields={"ProposedSize": str(size), "MaxSizeAllowed": str(MAX_PUT_BYTES)}, close=True)
        record = upload.record
        encode = self._core.encoding.for_object(record.bucket, record.key)
        footprint = self._footprint(encode, size)
        spool = Spool(self._core, self._quota)
        try:
            async with AsyncExitStack() as stack:
                body = request.body
                if request.ours:
                    await stack.enter_async_context(self._core.budget.reserve(footprint))
                else:
                    body = await stack.enter_async_context(held(self._core, body, footprint))
                encoder, digested = await self._fill(spool, body, request.expected, encode)
                if spool.size > self._core.backend.capabilities.max_part_size:
                    raise S3Error("EntityTooLarge", "The stored form of this part is larger than the backend's largest part.")
                if await self._direct(upload, request.number, spool):
                    written = await self._send(upload, request.number, spool, encoder, digested)
                else:
                    written = await self._stage(upload, request.number, spool, digested)
        finally:
            spool.close()
        return StoredPart(digested, told_time(written), stood_in(self._core.encoding, encoder, record.bucket, record.key))

    async def _fill(self, spool: Spool, body: Source, expected: Expected, encode: EncodeOptions) -> tuple[ObjectEncoder, Digested]:
        options = self._core.options
        size = body.size
        intake = Intake(self._core, body, expected)
        encoder = ObjectEncoder(encode, size=size, frame_size=partial(part_frame_size, size or 0), raw_passthrough_limit=0)
        try:
            async with (
                aclosing(intake.chunks()) as chunks,
                aclosing(
                    encode_async(
                        encoder, chunks, pool=self._core.codecs, in_flight=options.frames_in_flight, inline_below=options.inline_below
                    )
                ) as pieces,
            ):
                async for piece in pieces:
                    await spool.add(piece)
        except EncodeSizeError as error:
            raise S3Error("IncompleteBody") from error
        return encoder, intake.verify()

    async def _direct(self, upload: Upload, number: int, spool: Spool) -> bool:
        """Part 10000 and, on strict backends, every part is staged; otherwise what is large enough goes straight to the backend."""
        capabilities = self._core.backend.capabilities
        if number == MAX_PART_NUMBER or capabilities.strict_parts:
            return False
        if spool.size >= capabilities.min_part_size:
            return True
        if not await self._shelf.must_send_direct(upload):
            return False
        # Part bodies must not be staged where deleted records would keep their bytes.
        await pad(spool, capabilities.min_part_size)
        return True

    async def _send(self, upload: Upload, number: int, spool: Spool, encoder: ObjectEncoder, digested: Digested) -> Written:
        record = upload.record
        codec = default_codec(self._core, record)
        backend = await self._late.ensure(upload, {**record.metadata, **multipart_metadata(codec, upload_token(upload.upload_id))})
        assert backend.upload_id is not None
        try:
            etag = await self._core.backend.upload_part(record.bucket, record.key, backend.upload_id, number, spool)
        except BackendError as error:
            if error.code == "NoSuchUpload":
                self._late.forget(upload.upload_id)
                self._shelf.forget(upload.upload_id)
            raise
        frames = tuple((entry.original_size, entry.stored_size) for entry in encoder.frames)
        write = self._core.backend.put_object(
            upload.shelf,
            self._name(upload, number, digested, direct=True),
            Pieces.of(DirectPart(etag, spool.size, frames).pack()),
            headers=JSON_TYPE,
            metadata=self._metadata(upload, digested),
        )
        # It has replaced an earlier part of this number: unrecorded, that one would be missed in vain.
        return await self._core.to_the_end(write)

    async def _stage(self, upload: Upload, number: int, spool: Spool, digested: Digested) -> Written:
        return await self._core.backend.put_object(
            upload.shelf,
            self._name(upload, number, digested, direct=False),
            spool,
            headers=BODY_TYPE,
            metadata={**self._metadata(upload, digested), STORED_CRC: str(spool.crc32c)},
        )

    @staticmethod
    def _name(upload: Upload, number: int, digested: Digested, *, direct: bool) -> str:
        name = part_name(number, direct=direct, md5=digested.md5.hex(), size=digested.size, crc64nvme=digested.checksums["crc64nvme"])
        return folder(upload.upload_id) + name

    @staticmethod
    def _metadata(upload: Upload, digested: Digested) -> dict[str, str]:
        algorithm = upload.record.checksum_algorithm
        return {CHECKSUM: digested.checksums[algorithm]} if algorithm is not None else {}

    def _footprint(self, encode: EncodeOptions, size: int | None) -> int:
        options = self._core.options
        most = options.spool_memory + frames_footprint(encode, size=size, frames_in_flight=options.frames_in_flight, part=True)
        return most if size is None else max(RESERVE_FLOOR, min(2 * size, most))


def default_codec(core: Core, record: UploadRecord) -> CodecId:
    """The codec that multipart metadata names; each frame has its own id."""
    return core.encoding.for_object(record.bucket, record.key).codec_id
