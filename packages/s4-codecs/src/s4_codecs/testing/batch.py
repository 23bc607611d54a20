"""A stand-in for GPU codecs where there is no device, and a way to put it in their place."""

import threading
from array import array
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib.metadata import EntryPoint
from unittest.mock import patch

import zstandard
from s4_format import Buffer, CodecId
from s4_format.gpu_container import DEFAULT_CHUNK_BYTES, Algorithm, ElementType, GpuContainer, parse_container

from s4_codecs import payload, recipe, registry
from s4_codecs.abc import Codec
from s4_codecs.device_calls import device_calls
from s4_codecs.errors import DeviceMemoryError, SizeMismatchError


class HostBatchCodec:
    """A `BatchCodec` that writes what nvcomp-zstd writes (FCG1 containers of stock zstd frames) on the CPU, under any codec id.

    Args:
        codec_id: of the codec that it stands in for.
        failures: how many of the first batches the pretended device has no memory for.
    """

    def __init__(self, codec_id: CodecId = CodecId.NVCOMP_ZSTD, *, failures: int = 0) -> None:
        self.codec_id = codec_id
        self.batches: list[int] = []
        """The number of frames of each batch that was asked for."""
        self._failures = failures
        self._lock = threading.Lock()

    @property
    def name(self) -> str:
        """See `s4_codecs.abc.Codec`."""
        return self.codec_id.label

    def compress(self, data: Buffer) -> bytes:
        """A batch of one."""
        return bytes(self.encode_many([data])[0])

    def decompress(self, payload: Buffer, original_size: int) -> bytes:
        """A batch of one."""
        return bytes(self.decode_many([payload], [original_size])[0])

    def encode_many(self, frames: Sequence[Buffer]) -> list[Buffer]:
        """See `s4_codecs.abc.BatchCodec`."""
        views = [memoryview(frame).cast("B") for frame in frames]
        with device_calls.call(self.codec_id, "encode", sum(map(len, views))):
            with self._lock:
                self.batches.append(len(frames))
                if self._failures:
                    self._failures -= 1
                    raise DeviceMemoryError("the pretended device has no memory")
            return [_container(view) for view in views]

    def decode_many(self, payloads: Sequence[Buffer], original_sizes: Sequence[int]) -> list[Buffer]:
        """See `s4_codecs.abc.BatchCodec`."""
        with device_calls.call(self.codec_id, "decode", sum(original_sizes)):
            return [_plaintext(payload, size) for payload, size in zip(payloads, original_sizes, strict=True)]


@contextmanager
def provided(*codecs: Codec) -> Iterator[None]:
    """Put `codecs` in the place of whatever is installed under their ids, in this process."""
    ours = {codec.codec_id: codec for codec in codecs}
    installed = registry._provider  # noqa: SLF001

    def provider(codec: CodecId) -> Callable[..., object]:
        return (lambda **_: ours[codec]) if codec in ours else installed(codec)

    caches = (registry._cached_codec, recipe.recipe_for, payload.reading_codec)  # noqa: SLF001
    known = {**registry._providers(), **{codec: list[EntryPoint]() for codec in ours}}  # noqa: SLF001
    with patch.object(registry, "_provider", provider), patch.object(registry, "_providers", lambda: known):
        for cache in caches:
            cache.cache_clear()
        try:
            yield
        finally:
            for cache in caches:
                cache.cache_clear()


def _container(data: memoryview) -> bytes:
    compressor = zstandard.ZstdCompressor(level=1)
    chunks = [compressor.compress(data[at : at + DEFAULT_CHUNK_BYTES]) for at in range(0, len(data), DEFAULT_CHUNK_BYTES)]
    sizes = array("I", map(len, chunks))
    return GpuContainer(Algorithm.ZSTD, ElementType.CHAR, len(data), DEFAULT_CHUNK_BYTES, sizes).pack() + b"".join(chunks)


def _plaintext(payload: Buffer, original_size: int) -> bytes:
    container = parse_container(payload)
    if container.original_size != original_size:
        raise SizeMismatchError(f"the container holds {container.original_size} bytes, {original_size} promised")
    decoder = zstandard.ZstdDecompressor()
    return b"".join(decoder.decompress(chunk, max_output_size=size) for chunk, size in container.chunks(payload))
