"""Room that is kept on the disk: a store that is filled to the last byte could not even delete, which takes log before it gives room."""

from pathlib import Path

from s4_gateway.backend.local.faults import disk_error, unavailable
from s4_gateway.backend.local.files import FileLayer

HEADROOM = 64 << 20
"""The log between two checkpoints (16 MiB a process), what copying it lets the database grow by, and as much again."""
_START = 1 << 20
_PART = 4
"""Of a small file system no more than this part of it."""


class Headroom:
    """Refuses what makes the store grow while the disk is nearly full; deletes are never asked.

    A file system that tells no size, as some do that stand for another one, is never full.

    Args:
        directory: of the store.
        layer: tells what is free.
    """

    def __init__(self, directory: Path, layer: FileLayer) -> None:
        self._directory = str(directory)
        self._layer = layer

    def check_start(self) -> None:
        """Whether there is room for what a start writes: SQLite would call a lack of it an I/O error.

        Raises:
            BackendError: the disk is full.
            OSError: it does not tell.
        """
        free, total = self._layer.space(self._directory)
        if total and free < _START:
            raise unavailable(f"opening the store in {self._directory}: the disk is full; make room, a start needs {_START >> 10} KiB")

    def check(self, size: int) -> None:
        """Whether so many bytes, and their rows, may be stored.

        Raises:
            BackendError: the disk is full but for the headroom.
        """
        try:
            free, total = self._layer.space(self._directory)
        except OSError as error:
            raise disk_error(error, "looking for room") from error
        kept = min(HEADROOM, total // _PART)
        if total and free < kept + size:
            raise unavailable(f"the disk is full: {max(free, 0) >> 20} MiB are free, of which {kept >> 20} MiB are kept for deletes")
