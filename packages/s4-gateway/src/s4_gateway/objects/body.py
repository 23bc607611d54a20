"""From stored bytes on their way to the logical bytes of a window, verified before they are handed on."""

from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass
from typing import Self

from s4_codecs import CodecError, CodecUnavailableError, ObjectDecoder, PayloadDecoder, decode_async
from s4_format import FormatError, FrameTable, Manifest

from s4_gateway.backend.abc import Buffer, Download
from s4_gateway.errors import S3Error
from s4_gateway.objects.attributes import Layout, unavailable, unreadable
from s4_gateway.objects.core import Core
from s4_gateway.objects.dictionaries import Dictionaries
from s4_gateway.objects.face import Face


@dataclass(frozen=True, slots=True)
class Window:
    """Logical bytes [start, stop), and where in the body the download begins."""

    start: int
    stop: int
    first_frame: int = 0
    original_offset: int = 0
    stored_offset: int = 0
    frames: FrameTable | None = None


class BodyOpener:
    """Opens decoders over downloads."""

    def __init__(self, core: Core) -> None:
        self._core = core
        self._dictionaries = Dictionaries(core)

    async def open(self, bucket: str, face: Face, download: Download, window: Window) -> "VerifiedBody":
        """Logical bytes of the window; the first piece is decoded before this returns, so most damage still gets an error document.

        Raises:
            S3Error: NotImplemented for what cannot be decoded here, InternalError for damage in the first piece.
            BackendError: a broken download in the first piece.
            CodecError, FormatError: of later pieces, while iterating.
        """
        try:
            body = VerifiedBody(await self._chunks(bucket, face, download, window), download, expected=window.stop - window.start)
            await body.prime()
        except CodecUnavailableError as error:
            raise unavailable(error) from error
        except (CodecError, FormatError) as error:
            raise S3Error("InternalError", f"The stored object is damaged: {error}") from error
        return body

    async def _chunks(self, bucket: str, face: Face, download: Download, window: Window) -> AsyncGenerator[Buffer, None]:
        manifest = face.manifest
        layout = face.attributes.layout
        if layout is Layout.ENCRYPTED:
            raise unreadable(manifest)
        whole = (window.start, window.stop) == (0, face.attributes.size)
        if layout is Layout.FOREIGN or (layout is Layout.RAW and not whole):
            return _pass(download)
        if layout is Layout.FRAMED:
            return self._framed(face, download, window, await self._dictionary(bucket, manifest))
        if manifest.payload is None:
            raise unreadable(manifest)
        dictionary = await self._dictionary(bucket, manifest)
        decoder = PayloadDecoder(manifest.payload, start=window.start, stop=window.stop, dictionary=dictionary)
        return _held_back(self._decode(decoder, download))

    def _framed(self, face: Face, download: Download, window: Window, dictionary: bytes | None) -> AsyncGenerator[Buffer, None]:
        decoder = ObjectDecoder(
            start=window.start,
            stop=window.stop,
            original_offset=window.original_offset,
            stored_offset=window.stored_offset,
            expected_size=face.attributes.size,
            expect=window.frames,
            first_frame=window.first_frame,
            dictionary=dictionary,
        )
        return self._decode(decoder, download)

    def _decode(self, decoder: ObjectDecoder | PayloadDecoder, download: Download) -> AsyncGenerator[Buffer, None]:
        options = self._core.options
        return decode_async(
            decoder, download, pool=self._core.codecs, in_flight=options.frames_in_flight, inline_below=options.inline_below
        )

    async def _dictionary(self, bucket: str, manifest: Manifest) -> bytes | None:
        """The object's dictionary, where its codec has one."""
        if manifest.dict_id is None or manifest.codec_label != "cpu-zstd-dict":
            return None
        return await self._dictionaries.get(bucket, manifest.dict_id)


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


class VerifiedBody:
    """The logical bytes of one read: iterate once; `aclose` gives the backend's connection back, also if nothing was read."""

    def __init__(self, chunks: AsyncGenerator[Buffer, None], download: Download, *, expected: int) -> None:
        self._chunks = chunks
        self._download = download
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
        """Release decoder and download; repeatable."""
        await self._chunks.aclose()
        await self._download.aclose()
