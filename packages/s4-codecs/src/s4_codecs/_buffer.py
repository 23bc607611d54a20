"""Views of the caller's bytes."""

from s4_format import Buffer

COALESCE_BYTES = 16 * 1024
"""Smaller pieces are copied together: a view costs as much memory as some hundred bytes, and joining many of them is slow."""


def as_bytes_view(data: Buffer) -> bytes | memoryview:
    """`data` itself when it is `bytes`, else a one-dimensional view of its bytes; never a copy.

    Raises:
        TypeError: the buffer is not contiguous in memory.
    """
    if type(data) is bytes:
        return data
    view = memoryview(data)
    return view if view.format == "B" and view.ndim == 1 and view.c_contiguous else view.cast("B")


class Pieces:
    """Bytes collected in pieces: large ones are kept as views of the caller's buffers, small ones are copied together."""

    __slots__ = ("_list", "size")

    def __init__(self) -> None:
        self._list: list[Buffer] = []
        self.size = 0

    def add(self, piece: bytes | memoryview) -> None:
        """Append `piece`, from `as_bytes_view`."""
        held = self._list
        self.size += len(piece)
        if len(piece) >= COALESCE_BYTES or not held:
            held.append(piece)
        elif isinstance(held[-1], bytearray):
            held[-1] += piece
        else:
            held.append(bytearray(piece))

    def head(self, size: int) -> bytes:
        """The first `size` bytes, or all if there are fewer."""
        head = bytearray()
        for piece in self._list:
            head += piece[: size - len(head)]
            if len(head) >= size:
                break
        return bytes(head)

    def parts(self) -> tuple[Buffer, ...]:
        """The pieces. Nothing may be added afterwards."""
        return tuple(self._list)


def joined(parts: tuple[Buffer, ...]) -> Buffer:
    """One contiguous buffer: the part itself if there is one, else a copy."""
    return parts[0] if len(parts) == 1 else b"".join(parts)
