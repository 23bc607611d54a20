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

    def with_tail(self, tail: bytes | memoryview) -> "Pieces":
        """These bytes followed by `tail`, for looking at: nothing is added here, and nothing may be added there."""
        made = Pieces()
        made._list, made.size = [*self._list, tail], self.size + len(tail)
        return made

    def extract(self, start: int, stop: int) -> bytes:
        """The bytes [start, stop), as far as they are there; a copy of them unless one piece of `bytes` is all there is."""
        if len(self._list) == 1 and type(self._list[0]) is bytes:
            return self._list[0][start:stop]
        found = bytearray()
        for piece in self._list:
            size = len(memoryview(piece))
            if stop <= 0:
                break
            if start < size:
                found += memoryview(piece)[max(start, 0) : stop]
            start, stop = start - size, stop - size
        return bytes(found)

    def parts(self) -> tuple[Buffer, ...]:
        """The pieces. Nothing may be added afterwards."""
        return tuple(self._list)


def joined(parts: tuple[Buffer, ...]) -> Buffer:
    """One contiguous buffer: the part itself if there is one, else a copy."""
    return parts[0] if len(parts) == 1 else b"".join(parts)
