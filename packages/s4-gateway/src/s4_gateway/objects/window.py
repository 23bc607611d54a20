"""What of a body a read wants."""

from typing import NamedTuple

from s4_format import FrameTable


class Window(NamedTuple):
    """Logical bytes [start, stop), and where in the body the download begins."""

    start: int
    stop: int
    first_frame: int = 0
    original_offset: int = 0
    stored_offset: int = 0
    frames: FrameTable | None = None
