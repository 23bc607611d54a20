"""Logical bytes of stored objects: ranges are planned over frames, fetched coalesced and in parallel, verified, and kept for a while."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Coroutine, Iterable, Sequence
from concurrent.futures import Executor
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeVar

from s4_codecs import ObjectDecoder, PayloadDecoder, SizeMismatchError, decode_async, open_decoder
from s4_format import (
    ENVELOPE_MAGIC_BYTES,
    SUFFIX_BYTES,
    TAIL_BYTES,
    Buffer,
    FrameTable,
    Layout,
    Manifest,
    layout_of,
    lookup_range,
    read_tail,
)

from s4fs.dictionaries import Dictionaries
from s4fs.errors import DamagedObjectError, UnreadableObjectError
from s4fs.face import Face, FaceFinder, naming_faults, refuse_ciphertext, refuse_envelope
from s4fs.memory import FrameCache, Lru, version_of
from s4fs.options import ReadOptions
from s4fs.stored import Download, Moved, Span, StoredObject, Suffix
from s4fs.targets import Target

T = TypeVar("T")

WHOLE_FRAME_BYTES = 16 << 20
"""Frames up to this size are decoded whole and kept; of larger ones (parts of the reference) only what is wanted is kept."""
SMALL_BODY_BYTES = 8 << 20
"""Bodies without index up to this size are fetched whole for any range; the frames of larger ones are looked for first."""
FETCH_BYTES = 16 << 20
"""Stored bytes of one request of a long range; several run at once."""
FETCHES = 4
KEPT_TAIL_BYTES = 4 << 20

WHOLE = -1
"""Number under which the plaintext of a body without frames is kept."""


class Piece(NamedTuple):
    """Logical bytes at a place of the object."""

    offset: int
    data: Buffer


@dataclass(frozen=True, slots=True)
class _Run:
    """Neighbouring frames that are fetched together, both numbers inclusive."""

    first: int
    last: int


class Reader:
    """Reads logical objects of one target.

    Args:
        target: where they lie.
        finder: tells what they are.
        options: sizes and bounds.
        pool: threads for decoding.
    """

    def __init__(self, target: Target, finder: FaceFinder, options: ReadOptions, *, pool: Executor) -> None:
        self._target = target
        self._finder = finder
        self._options = options
        self._pool = pool
        self._frames = FrameCache(options.cache_bytes)
        self._tails: Lru[bytes] = Lru(KEPT_TAIL_BYTES)
        self._innocent: Lru[bool] = Lru(100_000)
        self._dictionaries = Dictionaries(target)

    def forget(self, path: str) -> None:
        """Forget what is at a path and below it."""
        self._finder.forget(path)
        self._frames.drop_path(path)
        self._tails.drop_path(path)

    def clear(self) -> None:
        """Forget everything."""
        self._finder.clear()
        self._frames.clear()
        self._tails.clear()

    async def head(self, path: str) -> Face:
        """What the object at the path is now; its index only where it comes along.

        Raises:
            FileNotFoundError, IsADirectoryError, DamagedObjectError, OSError
        """
        return await self._again(path, lambda: self._head(path))

    async def _head(self, path: str) -> Face:
        return _found(await self._finder.find(await self._target.head(path)))

    async def open(self, path: str) -> Face:
        """What the object at the path is now, ready for ranges: where nothing is known, one request also brings index and end.

        Raises:
            EncryptedObjectError, FileNotFoundError, IsADirectoryError, DamagedObjectError, OSError
        """
        face = await self._again(path, lambda: self._open(path))
        refuse_ciphertext(face)
        return face

    async def _open(self, path: str) -> Face:
        known = self._finder.remembered(path)
        if known is not None:
            stored = await self._target.head(path)
            if known.stored.is_same(stored):
                return _found(await self._finder.find(stored, frames=True))
        download = await self._target.fetch(path, Suffix(SUFFIX_BYTES))
        try:
            suffix = b"".join([bytes(chunk) async for chunk in download])
        finally:
            await download.aclose()
        self._tails.put(path, version_of(download.stored), suffix, weight=len(suffix))
        # A small body is read whole in no more requests than its index takes.
        whole = len(suffix) == download.stored.size
        return _found(await self._finder.find(download.stored, frames=not whole, suffix=suffix))

    async def range(self, path: str, start: int | None, stop: int | None) -> bytes:
        """Logical bytes with the bounds of a slice, of one version of the object, which is the latest.

        Raises:
            EncryptedObjectError, UnreadableObjectError, DamagedObjectError, FileNotFoundError, OSError
        """
        return (await self.ranges(path, [(start, stop)]))[0]

    async def ranges(self, path: str, bounds: Sequence[tuple[int | None, int | None]]) -> list[bytes]:
        """As `range`, several at once, all of one version; frames that they share are fetched once."""
        return await self._again(path, lambda: self._ranges(path, bounds))

    async def _ranges(self, path: str, bounds: Sequence[tuple[int | None, int | None]]) -> list[bytes]:
        face = self._finder.remembered(path)
        if face is None or not self._asks(face, [_clamped(face.size, start, stop) for start, stop in bounds]):
            # What is remembered may be replaced: without a request for its bytes, which would tell, it is asked about.
            face = await self._open(path)
        spans = [_clamped(face.size, start, stop) for start, stop in bounds]
        refuse_ciphertext(face)
        pieces = await self._pieces(face, spans)
        return [_cut(pieces, low, high, path) for low, high in spans]

    async def read(self, face: Face, start: int, stop: int) -> list[Piece]:
        """Logical bytes of exactly this body: at least [start, stop), and as much more as its frames hold.

        Raises:
            Moved: the object was replaced.
            EncryptedObjectError, UnreadableObjectError, DamagedObjectError, OSError
        """
        refuse_ciphertext(face)
        return await self._pieces(face, [(start, stop)])

    async def whole(self, path: str) -> bytes:
        """All logical bytes, in one request where metadata tells how.

        Raises:
            EncryptedObjectError, UnreadableObjectError, DamagedObjectError, FileNotFoundError, OSError
        """

        async def read() -> bytes:
            async with aclosing(self._stream(path)) as chunks:
                return b"".join([chunk async for chunk in chunks])

        return await self._again(path, read)

    def stream(self, path: str) -> AsyncGenerator[Buffer, None]:
        """All logical bytes, as they are decoded. Errors as `whole`; what was handed out before is right, and not all.

        Raises:
            Moved: the object was replaced; nothing may have been used yet.
        """
        return self._stream(path)

    async def _again(self, path: str, read: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """Start again when the object was replaced meanwhile, a bounded number of times."""
        for _ in range(self._options.attempts - 1):
            try:
                return await read()
            except Moved:
                self.forget(path)
        try:
            return await read()
        except Moved as error:
            raise BlockingIOError(f"the object is being replaced faster than it can be read: {path!r}") from error

    # ------------------------------------------------------------------------------------------------------ whole bodies

    async def _stream(self, path: str) -> AsyncGenerator[Buffer, None]:
        if self._finder.trusts_trailers:
            # What the body is can only be told by looking at both of its ends.
            face = await self._open(path)
            refuse_ciphertext(face)
            step = max(self._options.readahead_bytes, 1)
            for start in range(0, face.size, step):
                stop = min(start + step, face.size)
                for piece in within(await self._pieces(face, [(start, stop)], keep=False), start, stop, path):
                    yield piece
            return
        download = await self._target.fetch(path, None)
        try:
            async with aclosing(self._whole_body(download)) as chunks:
                async for chunk in chunks:
                    yield chunk
        finally:
            await download.aclose()

    async def _whole_body(self, download: Download) -> AsyncGenerator[Buffer, None]:
        stored = download.stored
        with naming_faults(stored.path):
            manifest = Manifest.from_metadata(stored.metadata)
            face = Face(stored, manifest, layout_of(manifest), manifest.original_size or stored.size, manifest.logical_etag)
            refuse_ciphertext(face)
            body = _Checked(download)
            if face.layout is Layout.FOREIGN:
                async for chunk in body:
                    yield chunk
                return
            decoder = open_decoder(manifest, dictionary=await self._dictionaries.of(face))
            async with aclosing(decode_async(decoder, body, pool=self._pool)) as pieces:
                size = 0
                held: Buffer | None = None
                async for piece in pieces:
                    # The last piece is held back until the whole has proven to be all.
                    if held is not None:
                        yield held
                    held = piece
                    size += len(piece)
            if manifest.trailer:
                promised = read_tail(body.tail, body_size=stored.size).attributes.original_size
                if promised != size:
                    raise SizeMismatchError(f"the frames hold {size} bytes, the trailer says {promised}")
            if held is not None:
                yield held

    # ------------------------------------------------------------------------------------------------------------- ranges

    async def _pieces(self, face: Face, spans: Sequence[tuple[int, int]], *, keep: bool = True) -> list[Piece]:
        """Logical bytes of this body, in order: at least those of all spans."""
        wanted = [span for span in spans if span[0] < span[1]]
        if not wanted:
            return []
        if face.is_plain:
            return await self._plain(face, wanted)
        if face.layout is Layout.FRAMED:
            if face.frames is None and face.stored.size > SMALL_BODY_BYTES:
                face = await self._finder.walked(face)
            numbers = None if face.frames is None else _frame_numbers(face.frames, wanted)
            if face.frames is not None and numbers is not None:
                return await self._framed(face, face.frames, wanted, numbers, keep=keep)
        return await self._unindexed(face, wanted)

    def _asks(self, face: Face, spans: Sequence[tuple[int, int]]) -> bool:
        """Whether reading these ranges sends a request, and so finds out that the object was replaced."""
        if any(low >= high for low, high in spans) or (face.layout is Layout.FRAMED and face.frames is None and not face.index_absent):
            return False
        if face.is_plain:
            return any(self._held(face.stored, Span(low, high)) is None for low, high in spans)
        if face.frames is None:
            return self._frames.get(face.stored, WHOLE) is None and len(self._tail(face.stored)) < face.stored.size
        missing = [number for number in _frame_numbers(face.frames, spans) or () if self._frames.get(face.stored, number) is None]
        entries = [face.frames[number] for number in missing]
        return any(self._held(face.stored, Span(entry.stored_offset, entry.stored_end)) is None for entry in entries)

    async def _plain(self, face: Face, spans: Sequence[tuple[int, int]]) -> list[Piece]:
        """Ranges of a body that is stored as it is. Whoever asks for all of it gets it checked."""
        covered = any(low == 0 and high >= min(ENVELOPE_MAGIC_BYTES, face.size) for low, high in spans)
        if face.layout is Layout.FOREIGN and not covered:
            await self._refuse_envelope(face.stored)
        merged = _merged(spans, self._options.coalesce_bytes)
        bodies = await _together([self._stored_bytes(face.stored, Span(low, high)) for low, high in merged])
        for (low, high), body in zip(merged, bodies, strict=True):
            if low == 0 and face.layout is Layout.FOREIGN:
                refuse_envelope(face.stored.path, body[:ENVELOPE_MAGIC_BYTES])
            if (low, high) == (0, face.size) and face.manifest.payload is not None:
                await self._decoded(face, PayloadDecoder(face.manifest.payload), _once(body))
        return [Piece(low, body) for (low, _), body in zip(merged, bodies, strict=True)]

    async def _refuse_envelope(self, stored: StoredObject) -> None:
        """Look once at the first bytes of a body that nothing is known of."""
        version = version_of(stored)
        if self._innocent.get(stored.path, version) is None:
            refuse_envelope(stored.path, await self._stored_bytes(stored, Span(0, min(ENVELOPE_MAGIC_BYTES, stored.size))))
            self._innocent.put(stored.path, version, value=True, weight=1)

    async def _unindexed(self, face: Face, spans: Sequence[tuple[int, int]]) -> list[Piece]:
        """Ranges of a body in which nothing can be found but by decoding it from its start."""
        low, high = min(span[0] for span in spans), max(span[1] for span in spans)
        kept = self._frames.get(face.stored, WHOLE)
        if kept is not None:
            return [Piece(0, kept)]
        small = face.size <= min(WHOLE_FRAME_BYTES, self._frames.limit)
        start, stop = (0, face.size) if small else (low, high)
        with naming_faults(face.stored.path):
            decoder = open_decoder(face.manifest, start=start, stop=stop, dictionary=await self._dictionaries.of(face))
        tail = self._tail(face.stored)
        if len(tail) == face.stored.size:
            data = await self._decoded(face, decoder, _once(tail))
        else:
            download = await self._target.fetch(face.stored.path, None, pinned=face.stored)
            try:
                data = await self._decoded(face, decoder, download)
            finally:
                await download.aclose()
        body = b"".join(data)
        if len(body) != stop - start:
            raise DamagedObjectError(face.stored.path, f"the body holds {len(body)} of {stop - start} bytes")
        if small:
            self._frames.put(face.stored, WHOLE, body)
        return [Piece(start, body)]

    async def _framed(
        self, face: Face, table: FrameTable, spans: Sequence[tuple[int, int]], numbers: Sequence[int], *, keep: bool
    ) -> list[Piece]:
        pieces: list[Piece] = []
        missing: list[int] = []
        for number in numbers:
            kept = self._frames.get(face.stored, number)
            if kept is None:
                missing.append(number)
            else:
                pieces.append(Piece(table[number].original_offset, kept))
        dictionary = await self._dictionaries.of(face)
        gate = asyncio.Semaphore(FETCHES)
        total = sum(table[number].original_size for number in missing)
        keep = keep and total <= self._frames.limit // 2

        async def fetch(run: _Run) -> list[Piece]:
            async with gate:
                return await self._run(face, table, run, spans, dictionary, keep=keep)

        for found in await _together([fetch(run) for run in self._runs(table, missing)]):
            pieces += found
        return _in_order(pieces)

    def _runs(self, table: FrameTable, numbers: Sequence[int]) -> Iterable[_Run]:
        """Requests for these frames: neighbours go together, and so do those with little between them; long runs are cut."""
        first = last = -1
        for number in numbers:
            near = last >= 0 and table[number].stored_offset - table[last].stored_end <= self._options.coalesce_bytes
            if near and table[number].stored_end - table[first].stored_offset <= FETCH_BYTES:
                last = number
                continue
            if last >= 0:
                yield _Run(first, last)
            first = last = number
        if last >= 0:
            yield _Run(first, last)

    async def _run(
        self, face: Face, table: FrameTable, run: _Run, spans: Sequence[tuple[int, int]], dictionary: bytes | None, *, keep: bool
    ) -> list[Piece]:
        """Fetch and decode neighbouring frames: whole, but for very large ones at either end."""
        head, tail = table[run.first], table[run.last]
        start, stop = head.original_offset, tail.original_end
        if max(head.original_size, tail.original_size) > WHOLE_FRAME_BYTES:
            inside = [span for span in spans if span[0] < stop and start < span[1]]
            start = max(start, min(low for low, _ in inside))
            stop = min(stop, max(high for _, high in inside))
        decoder = ObjectDecoder(
            start=start,
            stop=stop,
            original_offset=head.original_offset,
            stored_offset=head.stored_offset,
            expected_size=face.size,
            expect=table,
            first_frame=run.first,
            dictionary=dictionary,
        )
        span = Span(head.stored_offset, tail.stored_end)
        held = self._held(face.stored, span)
        if held is not None:
            data = await self._decoded(face, decoder, _once(held))
        else:
            download = await self._target.fetch(face.stored.path, span, pinned=face.stored)
            try:
                data = await self._decoded(face, decoder, download)
            finally:
                await download.aclose()
        return self._placed(face.stored, table, run, start, data, keep=keep)

    def _placed(self, stored: StoredObject, table: FrameTable, run: _Run, start: int, data: Iterable[Buffer], *, keep: bool) -> list[Piece]:
        """Give decoded buffers their places, and keep those that are whole frames."""
        pieces = []
        number, offset = run.first, start
        for buffer in data:
            pieces.append(Piece(offset, buffer))
            while number <= run.last and table[number].original_end <= offset:
                number += 1
            entry = table[number] if number <= run.last else None
            if keep and entry is not None and (entry.original_offset, entry.original_size) == (offset, len(buffer)):
                self._frames.put(stored, number, buffer)
            offset += len(buffer)
        return pieces

    async def _decoded(self, face: Face, decoder: ObjectDecoder | PayloadDecoder, chunks: AsyncIterator[Buffer] | Download) -> list[Buffer]:
        with naming_faults(face.stored.path):
            async with aclosing(decode_async(decoder, aiter(chunks), pool=self._pool)) as pieces:
                return [piece async for piece in pieces]

    async def _stored_bytes(self, stored: StoredObject, span: Span) -> bytes:
        held = self._held(stored, span)
        if held is not None:
            return bytes(held)
        data = await self._finder.read(stored, span)
        if len(data) != (span.stop or 0) - span.start:
            raise DamagedObjectError(stored.path, f"the store sent {len(data)} bytes of {span}")
        return data

    def _held(self, stored: StoredObject, span: Span) -> memoryview | None:
        """Stored bytes that came along when the object was opened."""
        tail = self._tail(stored)
        base = stored.size - len(tail)
        return None if span.stop is None or span.start < base else memoryview(tail)[span.start - base : span.stop - base]

    def _tail(self, stored: StoredObject) -> bytes:
        """The end of the stored body as far as it is kept."""
        return self._tails.get(stored.path, version_of(stored)) or b""


class _Checked:
    """A whole stored body: counted, refused if it turns out to be an envelope, and its end remembered for the trailer."""

    def __init__(self, download: Download) -> None:
        self._download = download
        self.tail = b""

    async def __aiter__(self) -> AsyncIterator[Buffer]:
        stored, seen, head = self._download.stored, 0, b""
        foreign = layout_of(Manifest.from_metadata(stored.metadata)) is Layout.FOREIGN
        async for chunk in self._download:
            if len(head) < ENVELOPE_MAGIC_BYTES and foreign:
                head += bytes(chunk[:ENVELOPE_MAGIC_BYTES])
                refuse_envelope(stored.path, head)
            seen += len(chunk)
            self.tail = (self.tail + bytes(chunk[-TAIL_BYTES:]))[-TAIL_BYTES:]
            yield chunk
        if seen != stored.size:
            raise DamagedObjectError(stored.path, f"the store sent {seen} of {stored.size} bytes")


def _found(face: Face | None) -> Face:
    if face is None:
        raise AssertionError("only listings leave a face open")
    return face


def _in_order(pieces: Iterable[Piece]) -> list[Piece]:
    """The pieces by place; what a coalesced request brought although it was there is dropped."""
    ordered: list[Piece] = []
    reached = 0
    for piece in sorted(pieces, key=lambda piece: piece.offset):
        end = piece.offset + len(piece.data)
        if end > reached:
            ordered.append(piece)
            reached = end
    return ordered


def _clamped(size: int, start: int | None, stop: int | None) -> tuple[int, int]:
    low, high, _ = slice(start, stop).indices(size)
    return low, high


def _merged(spans: Iterable[tuple[int, int]], gap: int) -> list[tuple[int, int]]:
    """The spans in order, those with at most `gap` bytes between them made one."""
    merged: list[tuple[int, int]] = []
    for low, high in sorted(spans):
        if merged and low - merged[-1][1] <= gap:
            merged[-1] = merged[-1][0], max(merged[-1][1], high)
        else:
            merged.append((low, high))
    return merged


def _frame_numbers(table: FrameTable, spans: Iterable[tuple[int, int]]) -> list[int] | None:
    """The frames that hold these bytes, ascending; None where a span's end lies in none."""
    numbers: set[int] = set()
    for low, high in spans:
        plan = lookup_range(table, low, high)
        if plan is None:
            return None
        numbers.update(range(plan.first, plan.last + 1))
    return sorted(numbers)


def within(pieces: Iterable[Piece], low: int, high: int, path: str) -> list[memoryview]:
    """The bytes [low, high) of pieces that are in order and may overlap; they must be all there."""
    views: list[memoryview] = []
    at = low
    for offset, data in pieces:
        if at >= high:
            break
        if offset <= at < offset + len(data):
            view = memoryview(data)[at - offset : min(high, offset + len(data)) - offset]
            views.append(view)
            at += len(view)
    if at < high:
        raise DamagedObjectError(path, f"bytes {at} to {high} lie in no frame")
    return views


def _cut(pieces: Sequence[Piece], low: int, high: int, path: str) -> bytes:
    return b"".join(within(pieces, low, high, path)) if low < high else b""


async def _once(data: Buffer) -> AsyncIterator[Buffer]:
    yield data


async def _together(work: Sequence[Coroutine[Any, Any, T]]) -> list[T]:
    """All results in order, or the first error after the others were cancelled and have ended."""
    if len(work) == 1:
        return [await work[0]]
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(one) for one in work]
    except BaseExceptionGroup as errors:
        raise errors.exceptions[0] from None
    return [task.result() for task in tasks]


__all__ = ["Piece", "Reader", "UnreadableObjectError"]
