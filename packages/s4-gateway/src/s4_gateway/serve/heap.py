"""The C library's heap: told to keep what was freed.

A frame's plaintext is half a megabyte. By itself glibc maps such a block when it is wanted and unmaps it when it is freed, so that the
kernel clears 128 pages for every frame: a seventh of the CPU of a large GET, a quarter where frames are only passed on.
"""

import ctypes
from typing import Final

_TRIM_THRESHOLD: Final = -1
_MMAP_THRESHOLD: Final = -3
"""Parameters of mallopt(3)."""

KEPT_BYTES: Final = 16 << 20
"""Free bytes at the end of a heap above which they are given back. There are at most eight heaps a core, and few are ever used."""
MAPPED_FROM_BYTES: Final = 8 << 20
"""Blocks from here on are mapped by themselves and given back when they are freed: no frame of the default policy is as large."""


def keep_freed_blocks() -> bool:
    """Set both limits for this process. Returns whether its C library has them: glibc alone does, and others need it less."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return False
    return bool(mallopt(_MMAP_THRESHOLD, MAPPED_FROM_BYTES)) and bool(mallopt(_TRIM_THRESHOLD, KEPT_BYTES))
