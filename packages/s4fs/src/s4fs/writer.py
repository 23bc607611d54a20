"""One object on its way into a target: encoded as it comes, in bounded memory, and visible only when it is whole."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from concurrent.futures import Executor
from contextlib import aclosing, asynccontextmanager
from dataclasses import replace

from s4_codecs import CodecError, Digests, ObjectEncoder, encode_async
from s4_format import Buffer, FrameTable

from s4fs import stamp
from s4fs.commit import confirmed
from s4fs.errors import S4FileSystemError
from s4fs.options import BUFFERED_BYTES, MIB, WriteOptions
from s4fs.sidecar import write_sidecar
from s4fs.stored import UNCONDITIONAL, Condition, Upload
from s4fs.targets import Target
from s4fs.targets.abc import Headers

MAX_PARTS = 10_000
_PARTS_AIMED_AT = 9_000
_GROW_EVERY = 2_000
"""Parts of a body of unknown length double after so many: 10,000 of them hold 480 GiB of 8 MiB and more."""

PARQUET_MAGIC = b"PAR1"
PARQUET_FRAME_BYTES = 64 * 1024
PARQUET_STREAM_FRAME_BYTES = 128 * 1024
"""Columns are read in ranges that begin and end anywhere: small frames keep what is fetched beside them small. A body of unknown length
has larger ones, so that 2^20 of them, the most that an index holds, last for 128 GiB."""
_FRAMES_AIMED_AT = 1 << 19


def frame_size_for(options: WriteOptions, head: Buffer, size: int | None) -> int | None:
    """Plaintext bytes of one frame of an object that begins with `head`; None where the format's own policy decides."""
    if options.frame_size is not None or bytes(memoryview(head)[: len(PARQUET_MAGIC)]) != PARQUET_MAGIC:
        return options.frame_size
    if size is None:
        return PARQUET_STREAM_FRAME_BYTES
    frame = PARQUET_FRAME_BYTES
    while size > frame * _FRAMES_AIMED_AT and frame < 8 * MIB:
        frame *= 2
    return frame


class ObjectWriter:
    """Writes one object: `add` its plaintext, then `commit`; `abort` if anything goes wrong.

    Args:
        target: where it goes.
        path: its name.
        options: how it is encoded.
        headers: the client's metadata, and options of the underlying file system.
        condition: what must hold when it becomes visible.
        pool: threads for encoding and hashing.
        size: bytes that will be added, if known; another number is an error.
        digested: digests of these bytes, if they are known.
        head: the first bytes, which decide about the frames.
    """

    def __init__(
        self,
        target: Target,
        path: str,
        options: WriteOptions,
        *,
        headers: Headers,
        pool: Executor,
        condition: Condition = UNCONDITIONAL,
        size: int | None = None,
        digested: stamp.Digested | None = None,
        head: Buffer = b"",
    ) -> None:
        self._target = target
        self._path = path
        self._options = options
        self._headers = headers
        self._condition = condition
        self._pool = pool
        self._size = size
        self._digested = digested
        self._complete = target.keeps_metadata and stamp.has_room(headers.metadata)
        self._token = stamp.new_token()
        self._digests = Digests(stamp.DIGESTS if digested is None else ())
        self._encoder = ObjectEncoder(
            options.encode,
            size=size,
            frame_size=frame_size_for(options, head, size),
            raw_passthrough_limit=BUFFERED_BYTES if self._complete else 0,
        )
        self._queue: asyncio.Queue[Buffer | None] = asyncio.Queue(maxsize=1)
        self._parts: _PartSender | None = None
        self._pieces: list[Buffer] = []
        self._stored = 0
        self._encoding = asyncio.get_running_loop().create_task(self._encode())

    async def add(self, data: Buffer) -> None:
        """Take the next plaintext, which must not change any more; returns when there is room for more.

        Raises:
            OSError: the target refuses it.
            S4FileSystemError: more bytes than announced, or the codec is not installed.
        """
        await self._put(data)

    async def commit(self) -> None:
        """Make the object of everything that was added.

        Raises:
            FileExistsError, ConditionFailedError: the condition does not hold.
            LostWriteError: the target did not answer, and the write is not to be seen.
            OSError: the target refuses it.
            S4FileSystemError: fewer bytes than announced. Nothing is visible in any of these cases.
        """
        try:
            await self._put(None)
            await self._encoding
            digested = self._digested or stamp.Digested.of(self._digests)
            if self._parts is None:
                await self._put_whole(digested)
            else:
                await self._complete_parts(self._parts, digested)
        except BaseException:
            await self.abort()
            raise

    async def abort(self) -> None:
        """Drop everything; repeatable."""
        self._encoding.cancel()
        await asyncio.wait((self._encoding,))
        if not self._encoding.cancelled():
            # Whoever aborts has seen the error, or does not want to.
            self._encoding.exception()
        if self._parts is not None:
            await self._parts.abort()

    async def _put(self, data: Buffer | None) -> None:
        putting = asyncio.ensure_future(self._queue.put(data))
        await asyncio.wait((putting, self._encoding), return_when=asyncio.FIRST_COMPLETED)
        if self._encoding.done() and not putting.done():
            putting.cancel()
            await self._encoding
            raise S4FileSystemError(self._path, "the write has ended")

    async def _encode(self) -> None:
        try:
            async with aclosing(encode_async(self._encoder, self._plaintext(), pool=self._pool)) as pieces:
                async for piece in pieces:
                    await self._store(piece)
        except CodecError as error:
            raise S4FileSystemError(self._path, f"the object cannot be encoded: {error}") from error

    async def _plaintext(self) -> AsyncIterator[Buffer]:
        loop = asyncio.get_running_loop()
        while (data := await self._queue.get()) is not None:
            hashing = None if self._digested is not None else loop.run_in_executor(self._pool, self._digests.update, data)
            yield data
            if hashing is not None:
                await hashing

    async def _store(self, piece: Buffer) -> None:
        self._stored += len(piece)
        if self._parts is not None:
            await self._parts.add(piece)
            return
        self._pieces.append(piece)
        if self._stored > BUFFERED_BYTES:
            held, self._pieces = self._pieces, []
            self._parts = await self._begin()
            for each in held:
                await self._parts.add(each)

    async def _begin(self) -> "_PartSender":
        own = stamp.core(self._encoder.codec, self._token, size=self._size, digested=self._digested if self._complete else None)
        upload = await self._target.upload(self._path, self._with(own))
        fixed = bool(getattr(self._target.fs, "fixed_upload_size", False))
        part_size = max(self._options.part_size, self._target.min_part_bytes)
        if self._size is not None:
            part_size = max(part_size, -(-self._size // _PARTS_AIMED_AT))
        return _PartSender(upload, part_size, growing=self._size is None and not fixed, ordered=not self._target.keeps_metadata)

    def _with(self, own: dict[str, str]) -> Headers:
        return replace(self._headers, metadata={**self._headers.metadata, **own})

    async def _put_whole(self, digested: stamp.Digested) -> None:
        encoder, pieces = self._encoder, self._pieces
        trailer = not encoder.raw and (len(encoder.frames) > 1 or not self._complete)
        if trailer:
            pieces.append(stamp.trailer_of(encoder, digested, offset=self._stored))
            self._stored += len(pieces[-1])
        if self._complete:
            own = stamp.complete(encoder, digested, self._token, stored_size=self._stored, trailer=trailer)
        else:
            own = stamp.core(encoder.codec, self._token, size=digested.size, digested=None)
        write = self._target.put(self._path, pieces, self._with(own), self._condition)
        etag = await confirmed(self._target, self._path, self._token, write, self._condition)
        await self._index(etag, digested)

    async def _complete_parts(self, parts: "_PartSender", digested: stamp.Digested) -> None:
        trailer = stamp.trailer_of(self._encoder, digested, offset=self._stored)
        self._stored += len(trailer)
        await parts.add(trailer)
        upload = await parts.finish()
        etag = await confirmed(self._target, self._path, self._token, upload.complete(self._condition), self._condition)
        await self._index(etag, digested)

    async def _index(self, etag: str | None, digested: stamp.Digested) -> None:
        frames: FrameTable = self._encoder.frames
        if self._options.sidecars and not self._encoder.raw:
            await write_sidecar(self._target, self._path, etag=etag, stored_size=self._stored, frames=frames, digested=digested)


@asynccontextmanager
async def written(writer: ObjectWriter) -> AsyncIterator[None]:
    """Commit a write when the block ends, abort it when an exception leaves the block."""
    try:
        yield
    except BaseException:
        await writer.abort()
        raise
    await writer.commit()


class _PartSender:
    """Cuts stored bytes into parts; while one is sent, the next one fills."""

    def __init__(self, upload: Upload, part_size: int, *, growing: bool, ordered: bool) -> None:
        self._upload = upload
        self._size = part_size
        self._growing = growing
        self._at_once = 1 if ordered else 2
        self._filling: list[Buffer] = []
        self._filled = 0
        self._sent = 0
        self._sending: deque[asyncio.Task[None]] = deque()

    async def add(self, piece: Buffer) -> None:
        view = memoryview(piece)
        while self._filled + len(view) >= self._part_size:
            cut = self._part_size - self._filled
            self._filling.append(view[:cut])
            view = view[cut:]
            await self._send()
        if len(view):
            self._filling.append(view)
            self._filled += len(view)

    async def finish(self) -> Upload:
        """Send the rest; the upload, with all its parts."""
        if self._filled or not self._sent:
            await self._send()
        while self._sending:
            await self._sending.popleft()
        return self._upload

    async def abort(self) -> None:
        for task in self._sending:
            task.cancel()
        await asyncio.gather(*self._sending, return_exceptions=True)
        await self._upload.abort()

    @property
    def _part_size(self) -> int:
        return self._size << (self._sent // _GROW_EVERY) if self._growing else self._size

    async def _send(self) -> None:
        while len(self._sending) >= self._at_once:
            await self._sending.popleft()
        full, self._filling, self._filled = self._filling, [], 0
        self._sent += 1
        self._sending.append(asyncio.create_task(self._upload.add(full)))
