"""HEAD and GET of logical objects: one backend request where attributes are known, two where not (data-paths.md sections 4 and 6)."""

from collections.abc import Callable
from typing import NamedTuple

from s4_format import SUFFIX_BYTES, Layout, lookup_range

from s4_gateway.backend.abc import BackendError, Download, Span, StoredObject, Suffix
from s4_gateway.errors import S3Error
from s4_gateway.objects.admission import Crowded, Seat
from s4_gateway.objects.attributes import Attributes
from s4_gateway.objects.body import BodyOpener, VerifiedBody, WholeBody
from s4_gateway.objects.core import Core
from s4_gateway.objects.face import NOTHING, Face, FaceFinder, Moved, Wanted, require_same
from s4_gateway.objects.window import Window
from s4_gateway.state.cache import Entry

ATTEMPTS = 3
"""How often a read starts again when the object was replaced under it."""

MOVED = frozenset({412, 416})
"""What the backend answers when the object is not the one that was looked at. We ask only for bytes that were there, so a 416 means that
too: it comes from stores that judge the range before the condition.
"""

Select = Callable[[Attributes], tuple[int, int]]
"""Logical half-open span of the request; raises S3Error InvalidRange or InvalidPartNumber."""
Check = Callable[[Face], None]
"""Preconditions of the request; raises S3Error PreconditionFailed or NotModified."""


class ReadRequest(NamedTuple):
    """What a GET asks for."""

    bucket: str
    key: str
    version: str | None
    check: Check
    select: Select | None = None
    """None = the whole object."""
    wanted: Wanted = NOTHING
    reserved: bool = False
    """The memory that it takes is part of what the request has reserved, or is about to: it must not wait for more."""


class Opened(NamedTuple):
    """A body ready to be sent: its first bytes are decoded and verified."""

    face: Face
    start: int
    stop: int
    """Logical bytes [start, stop)."""
    chunks: VerifiedBody | WholeBody
    """Yields exactly stop - start bytes or raises; close it whatever happens."""


class Reader:
    """Reads logical objects."""

    def __init__(self, core: Core) -> None:
        self._core = core
        self._faces = FaceFinder(core)
        self._bodies = BodyOpener(core)

    async def head(self, bucket: str, key: str, *, version: str | None = None, wanted: Wanted = NOTHING) -> Face:
        """The object's face.

        Raises:
            BackendError: NoSuchKey, NoSuchBucket and whatever the backend says.
        """
        for attempt in range(ATTEMPTS):
            stored = await self._core.backend.head_object(bucket, key, version_id=version)
            try:
                return await self._faces.find(bucket, stored, wanted=wanted, version=version)
            except (Moved, BackendError) as error:
                self._again(error, bucket, key, attempt)
        raise AssertionError("unreachable")

    async def with_index(self, bucket: str, face: Face, *, version: str | None = None) -> Face:
        """The same face, with its frames as far as there is an index.

        Raises:
            Moved: the object was replaced since.
            S3Error, BackendError: as `head`.
        """
        return await self._faces.find(bucket, face.stored, wanted=Wanted(checksums=True, frames=True), version=version)

    async def open(self, request: ReadRequest) -> Opened:
        """Open a read of one consistent body.

        Raises:
            S3Error, NotModified: from the request's own checks; NotImplemented for bodies that cannot be decoded here; InternalError for
                damage; SlowDown where memory does not become free in time.
            BackendError: as the backend says.
        """
        seat, attempt = self._bodies.seat(reserved=request.reserved), 0
        try:
            while True:
                try:
                    return await self._open(request, seat)
                except Crowded as crowd:
                    await seat.wait(crowd.size)
                except (Moved, BackendError) as error:
                    self._again(error, request.bucket, request.key, attempt)
                    attempt += 1
        finally:
            seat.leave()

    async def _open(self, request: ReadRequest, seat: Seat) -> Opened:
        if request.select is None:
            return await self._open_whole(request, seat)
        warm = await self._open_warm(request, request.select, seat)
        return warm if warm is not None else await self._open_cold(request, request.select, seat)

    def _again(self, error: Exception, bucket: str, key: str, attempt: int) -> None:
        """Let a read start again if the object was replaced under it, a bounded number of times; let everything else rise."""
        if isinstance(error, BackendError) and error.status not in MOVED:
            raise error
        self._core.cache.drop(bucket, key)
        if attempt == ATTEMPTS - 1:
            raise S3Error("OperationAborted", "The object is being replaced faster than it can be read; try again.") from error

    async def _open_whole(self, request: ReadRequest, seat: Seat) -> Opened:
        download = await self._core.backend.get_object(request.bucket, request.key, version_id=request.version)
        try:
            face = await self._faces.find(request.bucket, download.object, wanted=request.wanted, version=request.version)
            request.check(face)
            window = Window(0, face.attributes.size)
            chunks = await self._bodies.open(request.bucket, face, download, window, seat=seat)
        except BaseException:
            await download.aclose()
            raise
        return Opened(face, 0, face.attributes.size, chunks)

    async def _open_warm(self, request: ReadRequest, select: Select, seat: Seat) -> Opened | None:
        """One request, for an object whose attributes and index are known; None where they are not, or seem outdated."""
        entry = self._core.cache.get(request.bucket, request.key) if request.version is None else None
        if entry is None or not _ranged_from_memory(entry, request.wanted):
            return None
        try:
            start, stop = select(entry.attributes)
        except S3Error:
            # The entry may be stale: only a fresh answer may refuse.
            return None
        if start == stop:
            return None
        stored_span, window = _plan(entry.attributes, start, stop)
        download = await self._core.backend.get_object(request.bucket, request.key, span=stored_span, if_match=entry.etag)
        try:
            if not entry.describes(download.object):
                raise Moved
            face = await self._faces.find(request.bucket, download.object, wanted=request.wanted)
            if face.attributes.size != entry.attributes.size:
                raise Moved
            request.check(face)
            chunks = await self._bodies.open(request.bucket, face, download, window, seat=seat)
        except BaseException:
            await download.aclose()
            raise
        return Opened(face, start, stop, chunks)

    async def _open_cold(self, request: ReadRequest, select: Select, seat: Seat) -> Opened:
        """A suffix GET tells what the object is, then one ranged GET fetches; small objects need only the first."""
        bucket, key, version = request.bucket, request.key, request.version
        probe = await self._core.backend.get_object(bucket, key, span=Suffix(SUFFIX_BYTES), version_id=version)
        async with probe:
            stored = probe.object
            suffix = await probe.read()
        wanted = Wanted(request.wanted.checksums, request.wanted.parts, frames=len(suffix) < stored.size)
        face = await self._faces.find(bucket, stored, wanted=wanted, version=version, suffix=suffix)
        request.check(face)
        start, stop = select(face.attributes)
        stored_span, window = _plan(face.attributes, start, stop)
        download = self._held(stored, suffix, stored_span)
        try:
            if download is None:
                download = await self._core.backend.get_object(bucket, key, span=stored_span, if_match=stored.etag, version_id=version)
                require_same(stored, download.object)
            chunks = await self._bodies.open(bucket, face, download, window, seat=seat)
        except BaseException:
            if download is not None:
                await download.aclose()
            raise
        return Opened(face, start, stop, chunks)

    @staticmethod
    def _held(stored: StoredObject, suffix: bytes, span: Span | None) -> Download | None:
        """The wanted stored bytes, where the suffix already has them (an empty part needs none)."""
        if span == EMPTY:
            return Download(stored, start=0, stop=0, whole=b"")
        held_from = stored.size - len(suffix)
        start = span.start if span else 0
        stop = min(span.stop, stored.size) if span and span.stop is not None else stored.size
        if start < held_from:
            return None
        return Download(stored, start=start, stop=stop, whole=suffix[start - held_from : stop - held_from])


EMPTY = Span(0, 0)
"""No stored bytes: a part of a multipart object may be empty."""


def _ranged_from_memory(entry: Entry, wanted: Wanted) -> bool:
    attributes = entry.attributes
    if wanted.parts and attributes.parts is None:
        return False
    return attributes.layout in (Layout.FOREIGN, Layout.RAW) or (attributes.layout is Layout.FRAMED and attributes.frames is not None)


def _plan(attributes: Attributes, start: int, stop: int) -> tuple[Span | None, Window]:
    """Which stored bytes to fetch for logical [start, stop), and how to read them. None = the whole body."""
    if start == stop:
        return EMPTY, Window(start, stop)
    if attributes.layout in (Layout.FOREIGN, Layout.RAW):
        return Span(start, stop), Window(start, stop)
    frames = attributes.frames
    plan = lookup_range(frames, start, stop) if frames is not None else None
    if frames is None or plan is None:
        return None, Window(start, stop)
    window = Window(
        start,
        stop,
        first_frame=plan.first,
        original_offset=frames[plan.first].original_offset,
        stored_offset=plan.stored_start,
        frames=frames,
    )
    return Span(plan.stored_start, plan.stored_end), window
