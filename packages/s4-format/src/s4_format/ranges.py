"""From a range of the object to the bytes of the body that hold it."""

from dataclasses import dataclass

from s4_format.frames import FrameTable


@dataclass(frozen=True, slots=True)
class RangePlan:
    """What to fetch and what to cut out of it; sizes and offsets in bytes, ranges half-open.

    Attributes:
        first, last: numbers of the first and the last frame, both inclusive.
        stored_start, stored_end: the body bytes that hold these frames, and the padding between them.
        slice_start, slice_end: the wanted bytes within the frames' decoded bytes put together.
    """

    first: int
    last: int
    stored_start: int
    stored_end: int
    slice_start: int
    slice_end: int


def lookup_range(frames: FrameTable, start: int, stop: int) -> RangePlan | None:
    """Plan the read of [start, stop) of the object; `stop` may lie behind its end.

    None when the range is empty or begins at or behind the end, and when its first or last byte lies in no frame (a gap, which
    only sidecars can have): the caller then reads the body as a whole.
    """
    stop = min(stop, frames.original_size)
    if not 0 <= start < stop:
        return None
    first, last = frames.find(start), frames.find(stop - 1)
    if first is None or last is None:
        return None
    head, tail = frames[first], frames[last]
    return RangePlan(
        first=first,
        last=last,
        stored_start=head.stored_offset,
        stored_end=tail.stored_end,
        slice_start=start - head.original_offset,
        slice_end=stop - head.original_offset,
    )
