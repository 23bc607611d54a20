"""Ways to hand bytes to an incremental reader."""

from collections.abc import Iterable, Iterator

from hypothesis import strategies as st

from s4_format.frame import Frame, Padding
from s4_format.reader import END, NEED_DATA, FrameReader


def pieces(data: bytes, size: int) -> Iterator[bytes]:
    """`data` in pieces of `size` bytes, the last one shorter."""
    return (data[start : start + size] for start in range(0, len(data), size))


@st.composite
def cut_anywhere(draw: st.DrawFn, data: bytes) -> list[bytes]:
    """`data` cut at up to eight places, empty pieces among them."""
    cuts = sorted(draw(st.lists(st.integers(0, len(data)), max_size=8)))
    return [data[start:stop] for start, stop in zip([0, *cuts], [*cuts, len(data)], strict=True)]


def read_items(reader: FrameReader, parts: Iterable[bytes]) -> Iterator[Frame | Padding]:
    """Feed the parts, close, and yield every item as soon as it is there.

    Raises:
        FrameError: whatever the reader raises; the items before it have been yielded.
    """
    for part in parts:
        reader.feed(part)
        while (item := reader.next_item()) is not NEED_DATA:
            assert isinstance(item, Frame | Padding)
            yield item
    reader.close()
    assert reader.next_item() is END
