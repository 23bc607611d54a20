"""From settings to how objects are encoded: the rules file, and what of it this machine can do.

Rules are read before workers are forked, and again on SIGHUP. Whether there is a GPU is found out by each serving process for itself: CUDA
does not survive a fork.
"""

import logging
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from s4_codecs import CodecUnavailableError, DispatchRules, EncodeOptions, GpuPreference
from s4_codecs.dispatch import RulesError
from s4_codecs.recipe import codec_of
from s4_codecs.registry import GPU_CODECS
from s4_format import CodecId

from s4_gateway.errors import SettingsError
from s4_gateway.objects.encoding import Encoding
from s4_gateway.objects.options import SmallBatching
from s4_gateway.settings import GPU_LABELS, CompressionSettings, GpuSettings, Settings

MAX_RULES_BYTES = 1 << 20

logger = logging.getLogger(__name__)


def read_rules(settings: Settings) -> DispatchRules:
    """What the settings and the rules file say.

    Raises:
        SettingsError: the file cannot be read or used; the message names it and what is wrong.
    """
    compression = settings.compression
    default = default_options(compression)
    path = compression.dispatch_rules
    if path is None:
        return DispatchRules(default)
    try:
        return DispatchRules.parse(default, tomllib.loads(_text(path)))
    except OSError as error:
        raise SettingsError(f"--dispatch-rules: {path}: {error.strerror}") from error
    except (RulesError, ValueError) as error:  # UnicodeDecodeError and TOMLDecodeError are ValueErrors
        raise SettingsError(f"--dispatch-rules: {path}: {error}") from error


def default_options(compression: CompressionSettings) -> EncodeOptions:
    """The options of objects that no rule is for."""
    return EncodeOptions(
        codec=compression.codec,
        zstd_level=compression.zstd_level,
        dispatcher=compression.dispatcher,
        trial_ns_per_byte=compression.trial_ns_per_byte,
    )


def small_batching(gpu: GpuSettings) -> SmallBatching | None:
    """How small objects are compressed together; None where they are not."""
    if not gpu.gpu_batch_small_puts:
        return None
    return SmallBatching(gpu.gpu_batch_max_items, gpu.gpu_batch_window_ms / 1000, below_bytes=gpu.gpu_min_bytes)


@dataclass(frozen=True, slots=True)
class Machine:
    """What this machine has for encoding."""

    gpu: str | None
    """Name of the device, None where there is none."""
    missing: str = ""
    """Why there is none."""


def look_at_machine(rules: DispatchRules, gpu: GpuSettings) -> Machine:
    """Whether there is a GPU; asked only where one would be used, since CUDA takes seconds and memory to load."""
    if not any(_may_use_gpu(options) for _, options in _named(rules)) and not gpu.gpu_batch_small_puts:
        return Machine(None, "no setting uses one")
    from s4_codecs.gpu import probe  # noqa: PLC0415 - see above

    device = probe.device()
    return Machine(None, probe.missing() or "") if device is None else Machine(device.name)


def encoding_on(machine: Machine, rules: DispatchRules, gpu: GpuSettings) -> Encoding:
    """How objects are encoded on this machine.

    Raises:
        SettingsError: a codec is not available here; the message names the setting, and what to install or to set.
    """
    if machine.gpu is None and gpu.gpu_batch_small_puts:
        raise SettingsError(f"--gpu-batch-small-puts: there is no GPU: {machine.missing}")

    def adapt(options: EncodeOptions, min_bytes: int = gpu.gpu_min_bytes) -> EncodeOptions:
        if machine.gpu is not None:
            return replace(options, gpu=GpuPreference(min_bytes, columnar=gpu.prefer_columnar_gpu))
        if options.codec_id in GPU_CODECS:
            return _on_cpu(options)
        return options

    def adapt_small(options: EncodeOptions) -> EncodeOptions:
        return adapt(options, gpu.gpu_batch_floor_bytes)

    check_codecs(machine, rules, gpu)
    return Encoding(rules, adapt, adapt_small if gpu.gpu_batch_small_puts else None)


def check_codecs(machine: Machine, rules: DispatchRules, gpu: GpuSettings) -> None:
    """Every codec that rules or settings name is there, or has somebody to stand in for it.

    Raises:
        SettingsError: one is not.
    """
    for place, options in _named(rules):
        codec = options.codec_id
        if codec in GPU_CODECS and machine.gpu is None:
            if gpu.gpu_fallback != "cpu":
                raise SettingsError(
                    f"{place}: {codec.label} needs a GPU, and there is none: {machine.missing}; "
                    "--gpu-fallback cpu stores with cpu-zstd instead"
                )
            logger.warning("%s: there is no GPU (%s); cpu-zstd takes the place of %s", place, machine.missing, codec.label)
            continue
        try:
            codec_of(options, codec)
        except CodecUnavailableError as error:
            raise SettingsError(f"{place}: {error}") from error


def _on_cpu(options: EncodeOptions) -> EncodeOptions:
    """The same with cpu-zstd in the place of the GPU codec."""
    label = CodecId.CPU_ZSTD.label
    return replace(options, codec=label, exclude=options.exclude - {label})


def _named(rules: DispatchRules) -> Iterator[tuple[str, EncodeOptions]]:
    """All options, with where they come from."""
    yield "--codec", rules.default
    for place, options in rules.all_options():
        yield f"--dispatch-rules: rule {place!r}", options


def _may_use_gpu(options: EncodeOptions) -> bool:
    """Whether a GPU, if there is one, would compress objects of these options."""
    if options.codec_id in GPU_CODECS:
        return True
    promoted = options.codec_id is CodecId.CPU_ZSTD or options.dispatcher == "trial"
    return promoted and options.dispatcher != "always" and not options.exclude.issuperset(GPU_LABELS)


def _text(path: Path) -> str:
    with path.open("rb") as file:
        data = file.read(MAX_RULES_BYTES + 1)
    if len(data) > MAX_RULES_BYTES:
        raise ValueError(f"more than {MAX_RULES_BYTES} bytes are no rules")
    return data.decode("utf-8")
