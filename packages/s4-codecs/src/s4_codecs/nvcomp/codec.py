"""Codecs 2, 3, 6, 65 and 66: FCG1 containers, written by nvCOMP on a CUDA device and read here with or without one."""

from collections.abc import Iterator, Sequence
from functools import partial
from itertools import islice

from s4_format import Buffer, CodecId, ContainerError, GpuContainer, parse_container

from s4_codecs._buffer import as_bytes_view
from s4_codecs.device_calls import device_calls
from s4_codecs.errors import CodecMismatchError, CodecUnavailableError, CorruptPayloadError, SizeMismatchError
from s4_codecs.gpu import engine, probe
from s4_codecs.gpu.probe import EXTRA
from s4_codecs.nvcomp.chunks import METHODS
from s4_codecs.nvcomp.host import Chunk
from s4_codecs.nvcomp.inflater import ContainerInflater

_CHUNKS_AT_ONCE = 4096
"""A list of the chunks takes 250 bytes for each, which may hold one."""


class NvcompCodec:
    """One algorithm of nvCOMP. Only a device compresses; what reads without one is said in `s4_codecs.nvcomp.chunks`.

    Args:
        codec: one of this family.

    Raises:
        CodecUnavailableError: without a device, for a codec that nothing else here decodes.
    """

    def __init__(self, codec: CodecId) -> None:
        self.codec_id = codec
        self.name = codec.label
        self._method = METHODS[codec]
        if probe.device() is None:
            self._method.host_decoder()

    def __repr__(self) -> str:
        return f"NvcompCodec({self.name})"

    def compress(self, data: Buffer) -> bytes:
        """`data` as one container.

        Raises:
            CodecUnavailableError: there is no device.
            DeviceMemoryError: it has no memory for this now.
        """
        (payload,) = self.encode_many((data,))
        return bytes(payload)

    def encode_many(self, frames: Sequence[Buffer]) -> list[Buffer]:
        """See `s4_codecs.abc.BatchCodec`.

        Raises:
            CodecUnavailableError, DeviceMemoryError: as `compress`.
        """
        pipeline = engine.pipeline()
        if pipeline is None:
            message = f"codec {self.name} needs a CUDA device to compress: {engine.missing()}"
            raise CodecUnavailableError(message, codec=self.codec_id, extra=EXTRA)
        with device_calls.call(self.codec_id, "encode", sum(len(as_bytes_view(frame)) for frame in frames)):
            return pipeline.encode(self._method.algorithm, frames).payloads

    def decompress(self, payload: Buffer, original_size: int) -> bytes:
        """The bytes that the chunks hold.

        Raises:
            SizeMismatchError, CorruptPayloadError: see `s4_codecs.abc.Codec`.
            CodecMismatchError: the container is of another codec.
            CodecUnavailableError: nothing here decodes this codec.
        """
        (plain,) = self.decode_many((payload,), (original_size,))
        return bytes(plain)

    def decode_many(self, payloads: Sequence[Buffer], original_sizes: Sequence[int]) -> list[Buffer]:
        """See `s4_codecs.abc.BatchCodec`; raises as `decompress`.

        What can be decoded without the device is: nvCOMP's kernels can fail at a damaged chunk in a way that takes the device from this
        process for good, and whatever a store holds may be damaged. `s4_codecs.gpu.engine` is for payloads that are known to be sound.
        """
        views = [as_bytes_view(payload) for payload in payloads]
        containers = [self._container(view, size) for view, size in zip(views, original_sizes, strict=True)]
        try:
            decode = self._method.host_decoder()
        except CodecUnavailableError:
            pipeline = engine.pipeline()
            if pipeline is None:
                raise
            with device_calls.call(self.codec_id, "decode", sum(original_sizes)):
                return pipeline.decode(containers, views).plain
        return [
            b"".join(piece for some in _some_chunks(container, view) for piece in decode(some))
            for container, view in zip(containers, views, strict=True)
        ]

    def inflater(self) -> ContainerInflater:
        """A decoder for one payload that arrives in pieces."""
        return ContainerInflater(self._method.algorithm, self.decompress)

    def _container(self, payload: bytes | memoryview, original_size: int) -> GpuContainer:
        try:
            container = parse_container(payload)
        except ContainerError as error:
            raise CorruptPayloadError(f"{self.name}: {error}") from error
        if container.algorithm is not self._method.algorithm:
            raise CodecMismatchError(f"{self.name}: the container holds {container.algorithm.name}")
        if container.original_size != original_size:
            raise SizeMismatchError(f"the container holds {container.original_size} bytes, {original_size} promised")
        return container


def _some_chunks(container: GpuContainer, payload: Buffer) -> Iterator[list[Chunk]]:
    chunks = container.chunks(payload)
    while some := list(islice(chunks, _CHUNKS_AT_ONCE)):
        yield some


zstd = partial(NvcompCodec, CodecId.NVCOMP_ZSTD)
bitcomp = partial(NvcompCodec, CodecId.NVCOMP_BITCOMP)
gdeflate = partial(NvcompCodec, CodecId.NVCOMP_GDEFLATE)
ans = partial(NvcompCodec, CodecId.NVCOMP_ANS)
cascaded = partial(NvcompCodec, CodecId.NVCOMP_CASCADED)
