"""How objects are encoded: what a caller can choose."""

from dataclasses import dataclass, field
from typing import Literal, TypeAlias, get_args

from s4_format import CodecId, codec_from_label

from s4_codecs.errors import DictionaryError, Reason
from s4_codecs.policy import FramePolicy
from s4_codecs.zstd import DEFAULT_LEVEL, checked_level

DEFAULT_GPU_MIN_BYTES = 1 << 20
DEFAULT_TRIAL_NS_PER_BYTE = 12.0
"""A twelfth of a second per 10 MB: enough for zstd at its default level and for cpu-columnar, too little for gzip and for high levels."""

DispatcherName: TypeAlias = Literal["sampling", "always", "trial"]


@dataclass(frozen=True, slots=True)
class GpuPreference:
    """Use of GPU codecs, where a device is there."""

    min_bytes: int = DEFAULT_GPU_MIN_BYTES
    """Objects below this size, or of unknown size, stay on the CPU."""
    columnar: bool = False
    """Whether samples that look columnar get nvcomp-bitcomp instead of nvcomp-zstd (dispatcher "sampling")."""


@dataclass(frozen=True, slots=True)
class EncodeOptions:
    """How objects are encoded.

    Raises:
        FormatError: `codec` or an excluded one is no label.
        DictionaryError: cpu-zstd-dict without a dictionary.
        ValueError: a level outside 1..22, an unknown dispatcher or frame policy, a dictionary for another codec, a codec that is
            configured and excluded at a time, or a trial budget that is not positive.
    """

    codec: str = CodecId.CPU_ZSTD.label
    """Label of the codec that objects get unless the dispatcher decides for another one."""
    zstd_level: int = DEFAULT_LEVEL
    """1 (fast) to 22 (small); the zstd codecs and cpu-columnar have it."""
    dispatcher: DispatcherName = "sampling"
    """"sampling": incompressible objects become passthrough; "always": every object gets `codec`; "trial": a sample is compressed with each
    allowed codec, and the one that stores the fewest bytes within the budget wins."""
    frame_policy: FramePolicy = FramePolicy.DEFAULT
    """`FramePolicy.REFERENCE` writes the reference's bytes: its frame sizes, its zstd streams, and frames that grow stay as they are."""
    dictionary: bytes | None = field(default=None, repr=False)
    """For the codec cpu-zstd-dict, which cannot do without."""
    exclude: frozenset[str] = frozenset()
    """Labels of codecs that no dispatcher may decide for."""
    gpu: GpuPreference | None = None
    """Whether and for which objects "sampling" and "trial" may decide for a GPU codec; None: for none. With it, cpu-zstd takes the place of
    GPU codecs, `codec` too, when the device fails; without it that is an error."""
    trial_ns_per_byte: float = DEFAULT_TRIAL_NS_PER_BYTE
    """Dispatcher "trial": time that encoding may take, in nanoseconds a byte on one core. Slower codecs are not tried, but for `codec`."""

    def __post_init__(self) -> None:
        codec_from_label(self.codec)
        checked_level(self.zstd_level)
        if self.dispatcher not in get_args(DispatcherName):
            raise ValueError(f"dispatcher must be one of {', '.join(get_args(DispatcherName))}, not {self.dispatcher!r}")
        object.__setattr__(self, "frame_policy", FramePolicy(self.frame_policy))
        object.__setattr__(self, "exclude", frozenset(self.exclude))
        for label in self.exclude:
            codec_from_label(label)
        if self.codec in self.exclude and self.dispatcher != "trial":
            raise ValueError(f"codec {self.codec} is configured and excluded; dispatcher {self.dispatcher} has no other")
        if not self.trial_ns_per_byte > 0:
            raise ValueError(f"trial_ns_per_byte must be positive, not {self.trial_ns_per_byte}")
        if self.codec_id is CodecId.CPU_ZSTD_DICT:
            if self.dictionary is None:
                raise DictionaryError(f"{self.codec} needs a dictionary", reason=Reason.DICTIONARY_MISSING)
        elif self.dictionary is not None:
            raise ValueError(f"codec {self.codec} has no use for a dictionary")

    @property
    def codec_id(self) -> CodecId:
        """The id of `codec`."""
        return codec_from_label(self.codec)

    @property
    def excluded(self) -> frozenset[CodecId]:
        """The ids of `exclude`."""
        return frozenset(map(codec_from_label, self.exclude))
