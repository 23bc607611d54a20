"""Which codec an object gets, from its first bytes and its size (wire-format.md 7)."""

from dataclasses import dataclass
from typing import Protocol

from s4_format import Buffer, CodecId

from s4_codecs._buffer import as_bytes_view
from s4_codecs.sample import HIGH_ENTROPY, SAMPLE_BYTES, entropy, has_compressed_magic, looks_columnar

DEFAULT_GPU_MIN_BYTES = 1 << 20

_MAGIC_MIN_BYTES = 48
_MAGIC_SKIP = 16
_ENTROPY_MIN_BYTES = 128


class Dispatcher(Protocol):
    """Chooses the codec of a whole object."""

    def pick(self, sample: Buffer, total_size: int | None) -> CodecId:
        """The codec for an object that begins with `sample`.

        Args:
            sample: the first min(4096, size) bytes; more are ignored.
            total_size: bytes of the object, None when unknown.
        """
        ...


@dataclass(frozen=True, slots=True)
class AlwaysDispatcher:
    """The configured codec, whatever the bytes."""

    default: CodecId

    def pick(self, sample: Buffer, total_size: int | None) -> CodecId:
        """`default`."""
        return self.default


@dataclass(frozen=True, slots=True)
class GpuPreference:
    """Promotion of cpu-zstd picks to a GPU codec, where a device is there."""

    min_bytes: int = DEFAULT_GPU_MIN_BYTES
    """Objects below this size, or of unknown size, stay on the CPU."""
    columnar: bool = False
    """Whether samples that look columnar get nvcomp-bitcomp instead of nvcomp-zstd."""


@dataclass(frozen=True, slots=True)
class SamplingDispatcher:
    """The reference's rules: passthrough for what is compressed already or looks random, else the configured codec."""

    default: CodecId
    gpu: GpuPreference | None = None

    def pick(self, sample: Buffer, total_size: int | None) -> CodecId:
        """See `Dispatcher.pick`."""
        head = bytes(as_bytes_view(sample)[:SAMPLE_BYTES])
        if looks_incompressible(head):
            return CodecId.PASSTHROUGH
        if self.default is CodecId.CPU_ZSTD and self.gpu is not None and total_size is not None and total_size >= self.gpu.min_bytes:
            return CodecId.NVCOMP_BITCOMP if self.gpu.columnar and looks_columnar(head) else CodecId.NVCOMP_ZSTD
        return self.default


def looks_incompressible(head: bytes) -> bool:
    """Steps 1-3 of the sampling rules.

    A magic number alone proves nothing (text may begin with "BZh"): what follows it must look random too. Short samples cannot reach the
    threshold, so only those with a magic number are judged below 128 bytes.
    """
    if head.isascii():
        # At most 7 bits per byte: the same verdict without counting.
        return False
    if len(head) > _MAGIC_MIN_BYTES and has_compressed_magic(head) and entropy(head[_MAGIC_SKIP:]) >= HIGH_ENTROPY:
        return True
    return len(head) >= _ENTROPY_MIN_BYTES and entropy(head) >= HIGH_ENTROPY
