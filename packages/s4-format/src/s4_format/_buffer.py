"""The one notion of "bytes from a caller" that every parser here accepts."""

from typing import TypeAlias

Buffer: TypeAlias = bytes | bytearray | memoryview
"""Anything readable as contiguous bytes. Parsers hand out views into it: do not change it while they live."""


def as_view(data: Buffer) -> memoryview:
    """View `data` as flat unsigned bytes without copying.

    Raises:
        TypeError: `data` is no buffer, or a memoryview that is not C-contiguous.
    """
    view = memoryview(data)
    return view if view.format == "B" and view.ndim == 1 and view.contiguous else view.cast("B")
