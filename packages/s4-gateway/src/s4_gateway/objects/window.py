"""What of a body a read wants."""

from dataclasses import dataclass

from s4_format import FrameTable


@dataclass(frozen=True, slots=True)
class Window:
    """Logical bytes [start, stop), and where in the body the download begins."""

    start: int
    stop: int
    first_frame: int = 0
    original_offset: int = 0
    stored_offset: int = 0
    frames: FrameTable | None = None
