"""Codecs by id or label, provided through entry points of the group `s4.codecs` and loaded on first use.

An entry point's name is the codec's label, its object a callable that takes keyword options and returns a `Codec`.
"""

from collections import defaultdict
from collections.abc import Callable
from functools import cache, lru_cache
from importlib.metadata import EntryPoint, entry_points
from typing import TypeAlias

from s4_format import CodecId, FormatError, codec_from_label

from s4_codecs.abc import Codec
from s4_codecs.errors import CodecUnavailableError, Reason, RegistryError

ENTRY_POINT_GROUP = "s4.codecs"

GPU_CODECS = frozenset({CodecId.NVCOMP_ZSTD, CodecId.NVCOMP_BITCOMP, CodecId.NVCOMP_GDEFLATE, CodecId.NVCOMP_ANS, CodecId.NVCOMP_CASCADED})
"""Codecs whose writers need a CUDA device."""

CodecOption: TypeAlias = int | str | bytes | bool | None
"""What a provider may be configured with."""

_EXTRAS = dict.fromkeys(GPU_CODECS, "gpu")
_RESERVED = frozenset({CodecId.NVCOMP_GANS, CodecId.DIETGPU_ANS})


def codec_for(codec: CodecId | str, **options: CodecOption) -> Codec:
    """The codec with this id or label; equal arguments give the same instance while it is in use.

    Args:
        codec: an id, or a label such as "cpu-zstd".
        options: handed to the provider: `level`, `dictionary`, ...

    Raises:
        CodecUnavailableError: no provider is installed (the error names the extra), or none exists.
        RegistryError: two providers claim this codec, or the one found is not a codec of this name.
        TypeError, ValueError, DictionaryError: the provider does not take these options.
    """
    return _cached_codec(_codec_id(codec), tuple(sorted(options.items())))


def available_codecs() -> frozenset[CodecId]:
    """The codecs that have a provider here; none is loaded."""
    return frozenset(_providers())


def _codec_id(codec: CodecId | str) -> CodecId:
    if isinstance(codec, CodecId):
        return codec
    try:
        return codec_from_label(codec)
    except FormatError as error:
        raise CodecUnavailableError(f"no codec is called {codec!r}") from error


@lru_cache(maxsize=64)
def _cached_codec(codec: CodecId, options: tuple[tuple[str, CodecOption], ...]) -> Codec:
    made = _provider(codec)(**dict(options))
    if not isinstance(made, Codec) or made.codec_id is not codec:
        raise RegistryError(f"the provider of {codec.label} makes {made!r}, not that codec", reason=Reason.INVALID_PROVIDER)
    return made


@cache
def _provider(codec: CodecId) -> Callable[..., object]:
    found = _providers().get(codec, [])
    if not found:
        raise _unavailable(codec)
    if len(found) > 1:
        names = ", ".join(sorted(point.value for point in found))
        raise RegistryError(f"several installed packages provide {codec.label}: {names}")
    try:
        loaded = found[0].load()
    except ImportError as error:
        raise _unavailable(codec) from error
    if not callable(loaded):
        raise RegistryError(f"{found[0].value} is not callable", reason=Reason.INVALID_PROVIDER)
    return loaded  # type: ignore[no-any-return]


@cache
def _providers() -> dict[CodecId, list[EntryPoint]]:
    found: defaultdict[CodecId, list[EntryPoint]] = defaultdict(list)
    for point in entry_points(group=ENTRY_POINT_GROUP):
        try:
            found[codec_from_label(point.name)].append(point)
        except FormatError:
            continue  # a codec that this s4-format does not know: nothing can ask for it
    return dict(found)


def _unavailable(codec: CodecId) -> CodecUnavailableError:
    extra = _EXTRAS.get(codec)
    if codec in _RESERVED:
        text = "its id is reserved; no implementation exists"
    elif extra is None:
        text = "no installed package provides it; is s4-codecs itself installed with its entry points?"
    else:
        text = f"pip install 's4-codecs[{extra}]' provides it"
    return CodecUnavailableError(f"codec {codec.label} is not available here: {text}", codec=codec, extra=extra)
