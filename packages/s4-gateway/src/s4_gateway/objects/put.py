"""PutObject: buffered below 8 MiB of stored bytes, streamed into a backend multipart upload above (data-paths.md section 2)."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable, Mapping
from contextlib import aclosing
from dataclasses import dataclass, field
from functools import partial
from typing import TypeVar

from s4_codecs import EncodedFrame, EncodeOptions, EncodeSizeError, FrameTask, ObjectEncoder, encode_async
from s4_format import Attributes as TrailerAttributes
from s4_format import Layout, Trailer, encode_trailer

from s4_gateway.backend.abc import BackendError, Buffer, Condition, Pieces, Written
from s4_gateway.errors import S3Error
from s4_gateway.objects.attributes import Attributes
from s4_gateway.objects.commit import commit, new_token, told_time
from s4_gateway.objects.core import Core
from s4_gateway.objects.encoding import frames_footprint, stood_in
from s4_gateway.objects.held import HeldBody
from s4_gateway.objects.intake import Digested, Expected, Intake, Source
from s4_gateway.objects.options import AT_ONCE_BYTES, BUFFERED_LIMIT, MAX_PUT_BYTES
from s4_gateway.objects.reader import Reader
from s4_gateway.objects.sidecar import write_sidecar
from s4_gateway.objects.stamp import check_client_metadata, complete_metadata, core_metadata, has_room
from s4_gateway.objects.stream_upload import StreamUpload
from s4_gateway.state.cache import Entry

T = TypeVar("T")

RESERVE_FLOOR = 64 * 1024


@dataclass(frozen=True, slots=True)
class LogicalCondition:
    """Precondition of a write as the client states it: on the logical ETag."""

    if_match: str | None = None
    """Unquoted; `*` = any object must be there."""
    if_absent: bool = False


@dataclass(frozen=True, slots=True)
class PutRequest:
    """One object to store. `headers` and `metadata` are the client's, reserved keys already dropped."""

    bucket: str
    key: str
    body: Source
    headers: Mapping[str, str]
    metadata: Mapping[str, str]
    expected: Expected = field(default_factory=Expected)
    condition: LogicalCondition = field(default_factory=LogicalCondition)
    ours: bool = False
    """The body is read from another object here: memory is reserved before its first byte, for both, and not when its bytes come."""


@dataclass(frozen=True, slots=True)
class PutResult:
    """A committed object."""

    attributes: Attributes
    digested: Digested
    stored_size: int
    codec: str
    version_id: str | None
    modified: int
    """Its Last-Modified, as far as the store's answer tells it."""
    fallback: str | None = None
    """Why cpu-zstd stood in for a GPU codec, if it did: `stood_in`."""


class Putter:
    """Stores whole objects."""

    def __init__(self, core: Core, reader: Reader) -> None:
        self._core = core
        self._reader = reader

    async def put(self, request: PutRequest) -> PutResult:
        """Store one object; nothing is visible before its length and every promised digest hold.

        Raises:
            S3Error: EntityTooLarge, MetadataTooLarge, PreconditionFailed, NotImplemented (conditions the store cannot keep), digest and
                length errors of the body.
            BackendError: as the store said.
        """
        size = request.body.size
        if size is not None and size > MAX_PUT_BYTES:
            raise S3Error("EntityTooLarge", fields={"ProposedSize": str(size), "MaxSizeAllowed": str(MAX_PUT_BYTES)}, close=True)
        capabilities = self._core.backend.capabilities
        check_client_metadata(request.metadata, capabilities)
        condition = await self.resolve(request.bucket, request.key, request.condition)
        complete = has_room(request.metadata, capabilities)
        encode = self._core.encoding.for_put(request.bucket, request.key)
        encoder = ObjectEncoder(encode, size=size, raw_passthrough_limit=BUFFERED_LIMIT if complete else 0)
        footprint = self._footprint(encode, size)
        if request.ours:
            async with self._core.budget.reserve(footprint):
                return await self._run(request, _Write(self._core, request, request.body, encoder, condition, complete=complete))
        body = HeldBody(self._core, request.body, footprint)
        try:
            return await self._run(request, _Write(self._core, request, body, encoder, condition, complete=complete))
        finally:
            body.release()

    async def _run(self, request: PutRequest, write: "_Write") -> PutResult:
        try:
            return await write.run()
        except BackendError as error:
            await self.confirm(error, request.bucket, request.key, request.condition)
            raise

    async def resolve(self, bucket: str, key: str, logical: LogicalCondition) -> Condition | None:
        """Turn a condition on the logical object into one on the stored object.

        Raises:
            S3Error: PreconditionFailed (it does not hold now), NoSuchKey (If-Match on nothing, as S3), NotImplemented.
        """
        if logical.if_match is None and not logical.if_absent:
            return None
        if not self._core.backend.capabilities.conditional_put:
            raise S3Error("NotImplemented", "The storage backend has no conditional writes.")
        if logical.if_absent:
            return Condition(if_absent=True)
        face = await self._reader.head(bucket, key)
        if logical.if_match not in ("*", face.attributes.etag):
            raise S3Error("PreconditionFailed", fields={"Condition": "If-Match"})
        return Condition(if_match=face.stored.etag)

    async def confirm(self, refusal: BackendError, bucket: str, key: str, logical: LogicalCondition) -> None:
        """Let a write be refused only if its condition does not hold for the logical object either: meanwhile the same content may have
        been stored anew under another physical ETag, or the one that was told may have been wrong.

        Raises:
            S3Error: PreconditionFailed, NoSuchKey: it does not hold. ConditionalRequestConflict: it does.
        """
        if refusal.status == 412 and logical.if_match is not None:
            await self.resolve(bucket, key, logical)
            raise S3Error("ConditionalRequestConflict") from refusal

    def _footprint(self, encode: EncodeOptions, size: int | None) -> int:
        """Bytes that a PUT may hold at once: the buffered body, or the parts and frames of a streamed one."""
        options = self._core.options
        frames = frames_footprint(encode, size=size, frames_in_flight=options.frames_in_flight)
        streamed = BUFFERED_LIMIT + 2 * options.part_size + frames
        return streamed if size is None else max(RESERVE_FLOOR, min(2 * size, streamed))


class _Write:
    """One PUT on its way."""

    def __init__(
        self, core: Core, request: PutRequest, body: Source, encoder: ObjectEncoder, condition: Condition | None, *, complete: bool
    ) -> None:
        self._core = core
        self._request = request
        self._encoder = encoder
        self._condition = condition
        self._complete = complete
        self._intake = Intake(core, body, request.expected)
        self._token = new_token()

    async def run(self) -> PutResult:
        size = self._request.body.size
        if size is not None and size <= AT_ONCE_BYTES:
            return await self._send(*await self._encoded_at_once())
        small = self._core.options.small_batching
        if size is not None and small is not None and size < small.below_bytes:
            return await self._send(*await self._encoded_together())
        pieces: list[Buffer] = []
        stored = 0
        async with aclosing(self._stored_pieces()) as stream:
            async for piece in stream:
                pieces.append(piece)
                stored += len(piece)
                if stored > BUFFERED_LIMIT:
                    return await self._stream(pieces, stream)
        return await self._send(pieces, stored)

    async def _encoded_at_once(self) -> tuple[list[Buffer], int]:
        """The stored body of a small object and its size, made in one go."""
        body = await self._intake.whole()
        encoder = self._encoder

        def tasks() -> list[FrameTask]:
            return [*encoder.feed(body), *encoder.finish()]

        try:
            made = await self._in_thread(tasks) if encoder.deliberates(None) else tasks()
        except EncodeSizeError as error:
            raise S3Error("IncompleteBody") from error
        return self._accepted([await self._made(task) for task in made])

    async def _encoded_together(self) -> tuple[list[Buffer], int]:
        """The same of an object whose frames go to the device with those of others."""
        encoder, tasks = self._encoder, list[FrameTask]()
        try:
            async with aclosing(self._intake.chunks()) as chunks:
                async for chunk in chunks:
                    feed = partial(encoder.feed, chunk)
                    tasks += await self._in_thread(feed) if encoder.deliberates(len(chunk)) else feed()
            tasks += await self._in_thread(encoder.finish) if encoder.deliberates(None) else encoder.finish()
        except EncodeSizeError as error:
            raise S3Error("IncompleteBody") from error
        return self._accepted(await asyncio.gather(*map(self._made, tasks)))

    async def _made(self, task: FrameTask) -> EncodedFrame:
        batches = self._core.small_batches
        if task.batch_codec is not None and batches is not None:
            return await batches.run(task)
        if task.batch_codec is None and task.weight <= AT_ONCE_BYTES:
            return task.run()
        return await self._in_thread(task.run)

    def _accepted(self, frames: Iterable[EncodedFrame]) -> tuple[list[Buffer], int]:
        pieces = [piece for frame in frames for piece in self._encoder.accept(frame)]
        return pieces, sum(map(len, pieces))

    async def _in_thread(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._core.codecs, work)

    async def _stored_pieces(self) -> AsyncGenerator[Buffer, None]:
        options = self._core.options
        try:
            async with (
                aclosing(self._intake.chunks()) as chunks,
                aclosing(
                    encode_async(
                        self._encoder,
                        chunks,
                        pool=self._core.codecs,
                        in_flight=options.frames_in_flight,
                        inline_below=options.inline_below,
                    )
                ) as stream,
            ):
                async for piece in stream:
                    yield piece
        except EncodeSizeError as error:
            raise S3Error("IncompleteBody") from error

    async def _send(self, pieces: list[Buffer], stored: int) -> PutResult:
        """The buffered way: one PUT of a body whose every digest was verified."""
        digested = self._intake.verify()
        encoder, request = self._encoder, self._request
        trailer = not encoder.raw and (len(encoder.frames) > 1 or not self._complete)
        if trailer:
            item = self._trailer(digested, offset=stored)
            pieces.append(item)
            stored += len(item)
        if self._complete:
            own = complete_metadata(encoder, digested, self._token, stored_size=stored, trailer=trailer)
        else:
            own = core_metadata(encoder.codec, self._token, size=digested.size)
        write = self._core.backend.put_object(
            request.bucket,
            request.key,
            Pieces(pieces, stored),
            headers=request.headers,
            metadata={**request.metadata, **own},
            condition=self._condition,
        )

        async def done() -> PutResult:
            written = await commit(self._core.backend, request.bucket, request.key, self._token, write)
            return await self._committed(written, digested, stored)

        return await self._core.to_the_end(done())

    async def _stream(self, pieces: list[Buffer], rest: AsyncIterator[Buffer]) -> PutResult:
        """The streamed way: parts go out as they fill, Complete only after everything held."""
        request = self._request
        if self._condition is not None and not self._core.backend.capabilities.conditional_complete:
            raise S3Error("NotImplemented", "The storage backend has no conditional CompleteMultipartUpload.")
        md5 = request.expected.md5
        own = core_metadata(self._encoder.codec, self._token, size=request.body.size, etag=md5.hex() if md5 and self._complete else None)
        upload = StreamUpload(self._core, request.bucket, request.key)
        async with upload.opened(headers=request.headers, metadata={**request.metadata, **own}):
            for piece in pieces:
                await upload.add(piece)
            pieces.clear()
            async for piece in rest:
                await upload.add(piece)
            digested = self._intake.verify()
            await upload.add(self._trailer(digested, offset=upload.size))
            await upload.finish()

            async def done() -> PutResult:
                written = await upload.commit(self._token, condition=self._condition)
                return await self._committed(written, digested, upload.size)

            return await self._core.to_the_end(done())

    def _trailer(self, digested: Digested, *, offset: int) -> bytes:
        attributes = TrailerAttributes(
            original_size=digested.size,
            logical_etag=digested.etag,
            checksums=digested.checksums,
            checksum_type="FULL_OBJECT",
            part_algorithm=None,
            extra={},
        )
        return encode_trailer(Trailer(attributes=attributes, parts=(), frames=self._encoder.frames), offset=offset)

    async def _committed(self, written: Written, digested: Digested, stored: int) -> PutResult:
        encoder, request = self._encoder, self._request
        attributes = Attributes(
            layout=Layout.RAW if encoder.raw else Layout.FRAMED,
            size=digested.size,
            etag=digested.etag,
            checksums=digested.checksums,
            checksum_type="FULL_OBJECT",
            parts=(),
            frames=None if encoder.raw else encoder.frames,
        )
        self._core.cache.put(request.bucket, request.key, Entry(written.etag, stored, written.earliest, written.latest, attributes))
        await write_sidecar(self._core, request.bucket, request.key, etag=written.etag, stored_size=stored, attributes=attributes)
        fallback = stood_in(self._core.encoding, encoder, request.bucket, request.key)
        return PutResult(attributes, digested, stored, encoder.codec.label, written.version_id, told_time(written), fallback)
