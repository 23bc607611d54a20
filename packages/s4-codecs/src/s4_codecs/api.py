"""One call for one thing: buffers in, values out. Streams and ranges are `s4_codecs.encode`, `s4_codecs.decode` and `s4_codecs.drive`.

Each function reports what it did to an optional `observe` callback.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from time import perf_counter
from typing import Literal, TypeAlias

from s4_format import (
    Attributes,
    Buffer,
    CodecId,
    FrameTable,
    Manifest,
    PayloadManifest,
    Sidecar,
    Trailer,
    crc32c,
    decode_sidecar,
    encode_trailer,
    md5_etag,
    scan_frames,
)

from s4_codecs._buffer import as_bytes_view
from s4_codecs.checksums import Digests
from s4_codecs.decode import open_decoder
from s4_codecs.drive import decode_threaded, encode_threaded
from s4_codecs.encode import RAW_PASSTHROUGH_LIMIT, ObjectEncoder
from s4_codecs.gpu import probe
from s4_codecs.options import EncodeOptions
from s4_codecs.payload import MAX_ORIGINAL_BYTES, decode_payload
from s4_codecs.policy import FramePolicy
from s4_codecs.registry import codec_for

Operation: TypeAlias = Literal["compress", "decompress", "encode_object", "decode_object"]


@dataclass(frozen=True, slots=True)
class Telemetry:
    """What one operation did."""

    operation: Operation
    codec: CodecId | None
    """The codec used or picked; None for a body that names none."""
    bytes_in: int
    bytes_out: int
    seconds: float
    """Wall time."""


Observe: TypeAlias = Callable[[Telemetry], None]


@dataclass(frozen=True, slots=True)
class Compressed:
    """One payload and what is needed to decode it."""

    payload: bytes
    manifest: PayloadManifest


@dataclass(frozen=True, slots=True)
class EncodedObject:
    """An object ready to be stored."""

    body: bytes = field(repr=False)
    manifest: Manifest
    """What the metadata says."""
    frames: FrameTable
    """Empty when the body is the bare bytes."""
    sidecar: bytes | None = field(repr=False)
    """An index that is not bound to a stored object yet (`bind_index`); None when there are fewer than two frames."""

    @property
    def metadata(self) -> dict[str, str]:
        """The user metadata to store with the body."""
        return self.manifest.to_metadata()


def compress(
    data: Buffer, *, codec: CodecId | str = CodecId.CPU_ZSTD, level: int | None = None, observe: Observe | None = None
) -> Compressed:
    """Compress `data` as one payload.

    Args:
        data: any contiguous buffer.
        codec: id or label.
        level: the codec's default when None.
        observe: called once with what was done.

    Raises:
        CodecUnavailableError: the codec is not installed.
        TypeError, ValueError: the codec has no such level.
    """
    started = perf_counter()
    view = as_bytes_view(data)
    coder = codec_for(codec) if level is None else codec_for(codec, level=level)
    payload = coder.compress(view)
    _report(observe, "compress", coder.codec_id, len(view), len(payload), started)
    return Compressed(payload, PayloadManifest(coder.codec_id, len(view), len(payload), crc32c(view)))


def decompress(
    payload: Buffer,
    manifest: PayloadManifest,
    *,
    dictionary: bytes | None = None,
    max_original_size: int = MAX_ORIGINAL_BYTES,
    observe: Observe | None = None,
) -> bytes | memoryview:
    """The plaintext of one payload, checked against `manifest`; for passthrough a view of `payload`.

    Args:
        payload: any contiguous buffer.
        manifest: codec, sizes and CRC.
        dictionary: for cpu-zstd-dict.
        max_original_size: bound in bytes, checked before anything is allocated.
        observe: called once with what was done.

    Raises:
        SizeLimitError, SizeMismatchError, CorruptPayloadError, CrcMismatchError, DictionaryError, CodecUnavailableError
    """
    started = perf_counter()
    data = decode_payload(manifest, payload, dictionary=dictionary, max_original_size=max_original_size)
    _report(observe, "decompress", manifest.codec, manifest.compressed_size, len(data), started)
    return data


_DEFAULT_OPTIONS = EncodeOptions()


def encode_object(
    data: Buffer, options: EncodeOptions = _DEFAULT_OPTIONS, *, workers: int = 0, observe: Observe | None = None
) -> EncodedObject:
    """A whole object, as the gateway stores it: body with trailer when it has several frames, metadata, and sidecar.

    With `FramePolicy.REFERENCE` all three are the reference's: no trailer, no ETag and CRC64 in the metadata, passthrough always bare.

    Args:
        data: any contiguous buffer.
        options: codec, level, dispatcher and frame policy.
        workers: threads for the frames; 0 works on the calling one.
        observe: called once with what was done.

    Raises:
        CodecUnavailableError: the codec is not installed.
    """
    started = perf_counter()
    view = as_bytes_view(data)
    reference = options.frame_policy is FramePolicy.REFERENCE
    raw_limit = max(len(view), 1) if reference else RAW_PASSTHROUGH_LIMIT
    encoder = ObjectEncoder(options, size=len(view), raw_passthrough_limit=raw_limit)
    pieces = list(encode_threaded(encoder, (view,), workers=workers))
    frames = encoder.frames
    manifest = Manifest(codec=encoder.codec, original_size=len(view), crc32c=encoder.crc32c, framed=not encoder.raw)
    if not reference:
        manifest = _with_digests(manifest, view)
        if len(frames) > 1:
            manifest = replace(manifest, trailer=True)
            pieces.append(encode_trailer(Trailer(_attributes(manifest), (), frames), offset=encoder.stored_size))
    body = b"".join(pieces)
    manifest = replace(manifest, compressed_size=len(body))
    sidecar = Sidecar(frames, len(body)).encode() if len(frames) > 1 else None
    _report(observe, "encode_object", encoder.codec, len(view), len(body), started)
    return EncodedObject(body, manifest, frames, sidecar)


def decode_object(
    body: Buffer,
    metadata: Manifest | Mapping[str, str],
    *,
    start: int = 0,
    stop: int | None = None,
    dictionary: bytes | None = None,
    workers: int = 0,
    observe: Observe | None = None,
) -> bytes:
    """The plaintext [start, stop) of a whole stored body. A body without S4 metadata comes back as it is.

    Raises:
        CodecError: damaged, truncated, encrypted, or not decodable here.
        FormatError: body or metadata are malformed.
    """
    started = perf_counter()
    manifest = metadata if isinstance(metadata, Manifest) else Manifest.from_metadata(metadata)
    view = as_bytes_view(body)
    decoder = open_decoder(manifest, start=start, stop=stop, dictionary=dictionary)
    data = b"".join(decode_threaded(decoder, (view,), workers=workers))
    _report(observe, "decode_object", manifest.codec, len(view), len(data), started)
    return data


def build_index(body: Buffer) -> Sidecar:
    """The index of a framed body, made by walking its frame headers; not bound to a stored object.

    Raises:
        FormatError: the body is not a sequence of frames.
    """
    frames, size = scan_frames(body)
    return Sidecar(frames, size)


def bind_index(sidecar: Buffer | Sidecar, *, source_size: int, source_etag: str | None) -> bytes:
    """The sidecar's bytes, bound to one stored object so that readers may trust it.

    Args:
        sidecar: an index, encoded or not.
        source_size: bytes of the stored object.
        source_etag: its backend ETag without quotes, None when the backend gives none.

    Raises:
        FormatError: `sidecar` is malformed.
    """
    index = sidecar if isinstance(sidecar, Sidecar) else decode_sidecar(sidecar)
    return replace(index, source_size=source_size, source_etag=source_etag).encode()


def gpu_available() -> bool:
    """Whether a CUDA device can be used here: without one the `nvcomp-*` codecs read, as far as they can, and do not write."""
    return probe.device() is not None


def _with_digests(manifest: Manifest, data: bytes | memoryview) -> Manifest:
    digests = Digests(("md5", "crc64nvme"))
    digests.update(data)
    return replace(manifest, logical_etag=md5_etag(digests.raw("md5")), crc64nvme=digests.base64("crc64nvme"))


def _attributes(manifest: Manifest) -> Attributes:
    """What a trailer repeats of the metadata."""
    checksums = {} if manifest.crc64nvme is None else {"crc64nvme": manifest.crc64nvme}
    kind = "FULL_OBJECT" if checksums else None
    return Attributes(manifest.original_size or 0, logical_etag=manifest.logical_etag, checksums=checksums, checksum_type=kind)


def _report(observe: Observe | None, operation: Operation, codec: CodecId | None, bytes_in: int, bytes_out: int, started: float) -> None:
    if observe is not None:
        observe(Telemetry(operation, codec, bytes_in, bytes_out, perf_counter() - started))
