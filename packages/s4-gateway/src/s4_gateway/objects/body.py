"""From stored bytes on their way to the logical bytes of a window, verified before they are handed on."""

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Self

from s4_codecs import (
    CodecError,
    CodecUnavailableError,
    ObjectDecoder,
    PayloadDecoder,
    decode_async,
    decode_only_frame,
    decode_threaded,
)
from s4_codecs.registry import GPU_CODECS
from s4_format import FormatError, Layout, Manifest

from s4_gateway.backend.abc import Buffer, Download
from s4_gateway.errors import S3Error
from s4_gateway.objects.admission import Admission, Seat, Ticket
from s4_gateway.objects.attributes import unavailable, unreadable
from s4_gateway.objects.core import Core
from s4_gateway.objects.dictionaries import Dictionaries
from s4_gateway.objects.face import Face
from s4_gateway.objects.options import AT_ONCE_BYTES
from s4_gateway.objects.window import Window


class BodyOpener:
    """Opens decoders over downloads."""

    def __init__(self, core: Core) -> None:
        self._core = core
        self._dictionaries = Dictionaries(core)
        self._admission = Admission(core)

    def seat(self, *, reserved: bool) -> Seat:
        """For one read; `reserved` = the caller has reserved the memory that it takes."""
        return Seat(self._admission, reserved=reserved)

    async def open(self, bucket: str, face: Face, download: Download, window: Window, *, seat: Seat) -> "VerifiedBody | WholeBody":
        """Logical bytes of the window; the first piece is decoded before this returns, so most damage still gets an error document.

        Args:
            bucket: where it lies.
            face: what is read.
            download: its stored bytes from `window` on.
            window: what is wanted of it.
            seat: gives the read its share of memory, which is given back with the body, or if there is none.

        Raises:
            Crowded: there is no memory for it now: wait for it, and come again.
            S3Error: NotImplemented for what cannot be decoded here, InternalError for damage in the first piece.
            BackendError: a broken download in the first piece.
            CodecError, FormatError: of later pieces, while iterating.
        """
        if download.whole is not None and _is_small(face):
            data = await self._at_once(bucket, face, download.whole, window)
            if len(data) != window.stop - window.start:
                raise S3Error("InternalError", f"The body has {len(data)} bytes, {window.stop - window.start} were announced.")
            return WholeBody(data)
        ticket = seat.take(face, window)
        try:
            chunks = await self._chunks(bucket, face, download, window, in_flight=ticket.in_flight)
            body = VerifiedBody(chunks, download, ticket, expected=window.stop - window.start)
            await body.prime()
        except BaseException as error:
            ticket.release()
            if isinstance(error, CodecUnavailableError):
                raise unavailable(error) from error
            if isinstance(error, CodecError | FormatError):
                raise S3Error("InternalError", f"The stored object is damaged: {error}") from error
            raise
        return body

    async def _at_once(self, bucket: str, face: Face, stored: bytes, window: Window) -> Buffer:
        """Logical bytes of the window, of a small object whose stored bytes are there: decoded here and now, in one piece."""
        manifest, layout, size = face.manifest, face.attributes.layout, face.attributes.size
        if layout is Layout.ENCRYPTED:
            raise unreadable(manifest)
        whole = window.stop - window.start == size
        if layout is Layout.FOREIGN or (layout is Layout.RAW and not whole):
            return stored
        dictionary = await self._dictionary(bucket, manifest)
        try:
            if layout is Layout.FRAMED:
                data = decode_only_frame(stored, original_size=size, dictionary=dictionary) if whole else None
                return data if data is not None else _joined(_object_decoder(face, window, dictionary), stored)
            if manifest.payload is None:
                raise unreadable(manifest)
            return _joined(PayloadDecoder(manifest.payload, start=window.start, stop=window.stop, dictionary=dictionary), stored)
        except CodecUnavailableError as error:
            raise unavailable(error) from error
        except (CodecError, FormatError) as error:
            raise S3Error("InternalError", f"The stored object is damaged: {error}") from error

    async def _chunks(self, bucket: str, face: Face, download: Download, window: Window, *, in_flight: int) -> AsyncGenerator[Buffer, None]:
        manifest = face.manifest
        layout = face.attributes.layout
        if layout is Layout.ENCRYPTED:
            raise unreadable(manifest)
        whole = (window.start, window.stop) == (0, face.attributes.size)
        if layout is Layout.FOREIGN or (layout is Layout.RAW and not whole):
            return _pass(download)
        if layout is Layout.FRAMED:
            return self._decode(_object_decoder(face, window, await self._dictionary(bucket, manifest)), download, in_flight)
        if manifest.payload is None:
            raise unreadable(manifest)
        dictionary = await self._dictionary(bucket, manifest)
        decoder = PayloadDecoder(manifest.payload, start=window.start, stop=window.stop, dictionary=dictionary)
        return _held_back(self._decode(decoder, download, in_flight))

    def _decode(self, decoder: ObjectDecoder | PayloadDecoder, download: Download, in_flight: int) -> AsyncGenerator[Buffer, None]:
        return decode_async(decoder, download, pool=self._core.codecs, in_flight=in_flight, inline_below=self._core.options.inline_below)

    async def _dictionary(self, bucket: str, manifest: Manifest) -> bytes | None:
        """The object's dictionary, where its codec has one."""
        if manifest.dict_id is None or manifest.codec_label != "cpu-zstd-dict":
            return None
        return await self._dictionaries.get(bucket, manifest.dict_id)


def _is_small(face: Face) -> bool:
    """Whether all of the object can be decoded without keeping other requests waiting; codecs of a GPU may wait for another process."""
    if face.attributes.layout in (Layout.FOREIGN, Layout.RAW):
        return True
    return face.attributes.size <= AT_ONCE_BYTES and face.manifest.codec not in GPU_CODECS


def _object_decoder(face: Face, window: Window, dictionary: bytes | None) -> ObjectDecoder:
    return ObjectDecoder(
        start=window.start,
        stop=window.stop,
        original_offset=window.original_offset,
        stored_offset=window.stored_offset,
        expected_size=face.attributes.size,
        expect=window.frames,
        first_frame=window.first_frame,
        dictionary=dictionary,
    )


def _joined(decoder: ObjectDecoder | PayloadDecoder, stored: bytes) -> bytes:
    return b"".join(decode_threaded(decoder, (stored,), workers=0))


async def _pass(download: Download) -> AsyncGenerator[Buffer, None]:
    async for chunk in download:
        yield chunk


async def _held_back(chunks: AsyncGenerator[Buffer, None]) -> AsyncGenerator[Buffer, None]:
    """Hold the last piece back until everything ended well: checks over a whole payload are made at its end."""
    held: Buffer | None = None
    async with aclosing(chunks):
        async for piece in chunks:
            if held is not None:
                yield held
            held = piece
    if held is not None:
        yield held


class WholeBody:
    """The logical bytes of one read, all of them there and verified. Has the face of `VerifiedBody`."""

    __slots__ = ("whole",)

    def __init__(self, data: Buffer) -> None:
        self.whole: Buffer | None = data
        """Until it was taken."""

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Buffer:
        data, self.whole = self.whole, None
        if not data:
            raise StopAsyncIteration
        return data

    async def aclose(self) -> None:
        """Nothing is held."""


class VerifiedBody:
    """The logical bytes of one read: iterate once; `aclose` gives connection and memory back, also if nothing was read."""

    whole: Buffer | None = None

    def __init__(self, chunks: AsyncGenerator[Buffer, None], download: Download, ticket: Ticket, *, expected: int) -> None:
        self._chunks = chunks
        self._download = download
        self._ticket = ticket
        self._left = expected
        self._first: Buffer | None = None

    async def prime(self) -> None:
        """Decode the first piece now, while an error can still become an error document."""
        try:
            self._first = await anext(self._chunks, None)
        except BaseException:
            await self._chunks.aclose()
            raise

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Buffer:
        piece = self._first
        self._first = None
        if piece is None:
            piece = await anext(self._chunks, None)
        if piece is None:
            if self._left:
                raise S3Error("InternalError", f"The body ends {self._left} bytes early.")
            raise StopAsyncIteration
        self._left -= len(piece)
        if self._left < 0:
            raise S3Error("InternalError", "The body is longer than announced.")
        return piece

    async def aclose(self) -> None:
        """Release decoder, download and memory; repeatable."""
        try:
            await self._chunks.aclose()
            await self._download.aclose()
        finally:
            self._ticket.release()
