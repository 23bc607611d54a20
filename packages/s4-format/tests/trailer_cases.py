"""Trailers described in plain values: the golden ones, and large ones that tests build."""

from typing import Any

from s4_format import Attributes, FrameTable, FrameTableBuilder, Part, Trailer

from . import golden_files


def table(frames: Any) -> FrameTable:
    """A table from rows (original size, stored size, padding before), or from a count of equal frames."""
    builder = FrameTableBuilder()
    if isinstance(frames, dict):
        for _ in range(frames["count"]):
            builder.append(frames["original_size"], frames["stored_size"])
    else:
        for original_size, stored_size, gap in frames:
            builder.skip(gap)
            builder.append(original_size, stored_size)
    return builder.build()


def build(case: dict[str, Any]) -> Trailer:
    """The trailer that a golden case describes."""
    parts = tuple(Part(number, size, bytes.fromhex(checksum) if checksum else None) for number, size, checksum in case["parts"])
    return Trailer(Attributes(**case["attributes"]), parts, table(case["frames"]))


def golden() -> list[dict[str, Any]]:
    """The golden cases."""
    return golden_files.rows("trailer/cases.json")


def uneven(count: int, *, padded_every: int = 0) -> FrameTable:
    """A table of 1 MiB frames whose stored sizes differ, some behind padding, the last frame short."""
    builder = FrameTableBuilder()
    for number in range(count):
        if padded_every and number % padded_every == 0:
            builder.skip(12 + number % 5000)
        builder.append(2**20 if number < count - 1 else 77, 180_000 + number * 7919 % 60_000)
    return builder.build()


def repeated(frames: FrameTable, times: int) -> FrameTable:
    """The same body so many times behind itself."""
    builder = FrameTableBuilder()
    for _ in range(times):
        builder.extend(frames)
    return builder.build()


def of(frames: FrameTable, **attributes: Any) -> Trailer:
    """A trailer around these frames."""
    return Trailer(Attributes(frames.original_size, **attributes), (), frames)


def in_body(encoded: bytes, offset: int, length: int = 65_536) -> bytes:
    """The last bytes of a body of zeros that ends in this trailer: at most `length`, fewer when the body is shorter."""
    return (bytes(min(offset, length)) + encoded)[-length:]
