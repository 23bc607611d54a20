"""The reference's rules: a codec by the first 4 KiB of an object and its size (wire-format.md 7)."""

from dataclasses import dataclass

from s4_format import Buffer, CodecId

from s4_codecs._buffer import as_bytes_view
from s4_codecs.dispatch.decision import Decision, Why
from s4_codecs.options import GpuPreference
from s4_codecs.sample import HIGH_ENTROPY, SAMPLE_BYTES, entropy, has_compressed_magic, looks_columnar

_MAGIC_MIN_BYTES = 48
_MAGIC_SKIP = 16
_ENTROPY_MIN_BYTES = 128


@dataclass(frozen=True, slots=True)
class AlwaysDispatcher:
    """The configured codec, whatever the bytes."""

    default: CodecId

    @property
    def sample_bytes(self) -> int:
        """None are needed."""
        return 0

    def pick(self, sample: Buffer, total_size: int | None) -> CodecId:
        """`default`."""
        return self.default

    def explain(self, sample: Buffer, total_size: int | None) -> Decision:
        """See `Dispatcher.explain`."""
        return Decision(self.default, Why.CONFIGURED, 0)


@dataclass(frozen=True, slots=True)
class SamplingDispatcher:
    """Passthrough for what is compressed already or looks random, else the configured codec, or a GPU codec in its place."""

    default: CodecId
    gpu: GpuPreference | None = None
    exclude: frozenset[CodecId] = frozenset()
    """Codecs that are never picked in place of `default`."""

    @property
    def sample_bytes(self) -> int:
        """As the reference."""
        return SAMPLE_BYTES

    def pick(self, sample: Buffer, total_size: int | None) -> CodecId:
        """See `Dispatcher.pick`."""
        return self._decide(bytes(as_bytes_view(sample)[:SAMPLE_BYTES]), total_size)[0]

    def explain(self, sample: Buffer, total_size: int | None) -> Decision:
        """See `Dispatcher.explain`."""
        head = bytes(as_bytes_view(sample)[:SAMPLE_BYTES])
        codec, why = self._decide(head, total_size)
        return Decision(codec, why, len(head))

    def _decide(self, head: bytes, total_size: int | None) -> tuple[CodecId, Why]:
        if looks_incompressible(head) and CodecId.PASSTHROUGH not in self.exclude:
            return CodecId.PASSTHROUGH, Why.INCOMPRESSIBLE
        if self.default is CodecId.CPU_ZSTD and self.gpu is not None and total_size is not None and total_size >= self.gpu.min_bytes:
            promoted = CodecId.NVCOMP_BITCOMP if self.gpu.columnar and looks_columnar(head) else CodecId.NVCOMP_ZSTD
            if promoted not in self.exclude:
                return promoted, Why.PROMOTED
        return self.default, Why.CONFIGURED


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
