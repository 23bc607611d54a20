"""Whether a CUDA device can be used here: decided once in a process, and only when asked.

Nothing imports CUDA before `device` or `require` is called. A process that was forked from one that had asked cannot use the device.
"""

import os
from dataclasses import dataclass
from functools import cache
from typing import Any

from s4_format import CodecId

from s4_codecs.errors import CodecUnavailableError
from s4_codecs.gpu.library import Library

EXTRA = "gpu"
INSTALL = "pip install 's4-codecs[gpu]' (CUDA 12) or 's4-codecs[gpu-cu13]' (CUDA 13)"


@dataclass(frozen=True, slots=True)
class Device:
    """The CUDA device that is used: the process's current one, so CUDA_VISIBLE_DEVICES decides which."""

    name: str
    memory_bytes: int
    """Of the whole device."""
    cuda_runtime: str
    nvcomp: str
    """Version of the nvCOMP library."""
    library: Library


def device() -> Device | None:
    """The device, None when there is none or something that is needed to use it is missing (`missing` says what)."""
    found = _probe(os.getpid())
    return found if isinstance(found, Device) else None


def missing() -> str | None:
    """Why there is no device, None when there is one."""
    found = _probe(os.getpid())
    return found if isinstance(found, str) else None


def require(codec: CodecId | None = None) -> Device:
    """The device.

    Raises:
        CodecUnavailableError: there is none; the message says what is missing, `extra` what to install.
    """
    found = _probe(os.getpid())
    if isinstance(found, Device):
        return found
    what = "a GPU codec" if codec is None else f"codec {codec.label}"
    raise CodecUnavailableError(f"{what} needs a CUDA device: {found}", codec=codec, extra=EXTRA)


@cache
def _probe(_process: int) -> Device | str:
    try:
        import cupy  # noqa: PLC0415 -- only when asked
    except ImportError as error:
        return f"cupy cannot be imported ({error}); {INSTALL} brings it"
    try:
        from nvidia.libnvcomp import load_library  # noqa: PLC0415
    except ImportError as error:
        return f"nvCOMP cannot be imported ({error}); {INSTALL} brings it"
    try:
        handle = load_library()
        if handle is None:
            return f"the nvCOMP package has no library for this platform; {INSTALL} brings one where there is"
        return _describe(cupy, Library(handle))
    except CodecUnavailableError as error:
        return str(error)
    except (OSError, cupy.cuda.runtime.CUDARuntimeError) as error:
        return f"CUDA says {error}"


def _describe(cupy: Any, library: Library) -> Device | str:
    runtime = cupy.cuda.runtime
    if not runtime.getDeviceCount():
        return "no device is visible"
    number = runtime.getDevice()
    properties = runtime.getDeviceProperties(number)
    version = runtime.runtimeGetVersion()
    return Device(
        name=properties["name"].decode(),
        memory_bytes=properties["totalGlobalMem"],
        cuda_runtime=f"{version // 1000}.{version % 1000 // 10}",
        nvcomp=library.version,
        library=library,
    )
