"""Where nvCOMP's libraries lie, when the extra `nvcomp-cpu` (or one of the GPU extras, which bring the same files) is installed."""

import sys
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path

_PACKAGE = "nvidia.libnvcomp"
"""Looked up by name and never imported: only `s4_codecs.gpu` may load a CUDA library into this process."""


@dataclass(frozen=True, slots=True)
class HostLibrary:
    """The two libraries that decode on the CPU."""

    gdeflate: Path
    bitcomp: Path


@cache
def find_library() -> HostLibrary | None:
    """The libraries that are installed, looked for once in a process; None when there are none that could be used on this platform."""
    if sys.platform != "linux":
        return None  # the helper process shares memory by a means of Linux
    try:
        spec = find_spec(_PACKAGE)
    except ModuleNotFoundError:
        return None
    for folder in (spec and spec.submodule_search_locations) or ():
        gdeflate, bitcomp = (sorted(Path(folder, "lib64").glob(f"{name}.so*")) for name in ("libnvcomp_cpu", "libnvcomp"))
        if gdeflate and bitcomp:
            return HostLibrary(gdeflate[-1], bitcomp[-1])
    return None
