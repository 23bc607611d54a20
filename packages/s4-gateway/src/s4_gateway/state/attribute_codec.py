"""Attributes <-> bytes for the cache file. Private to one schema version of the cache, so nothing here needs to be readable elsewhere."""

import json
import struct
import sys
from array import array
from zlib import crc32

from s4_format import FrameColumns, FrameTable, Layout, Part

from s4_gateway.objects.attributes import Attributes

_HEAD = struct.Struct("<II")
"""CRC32 of what follows, bytes of the JSON head. The file is written without syncs: a power failure may tear a row."""


def pack_attributes(attributes: Attributes) -> bytes:
    """One JSON head, then the frame columns as they lie in memory (little endian)."""
    frames = attributes.frames
    head = {
        "layout": attributes.layout.value,
        "size": attributes.size,
        "etag": attributes.etag,
        "checksums": dict(attributes.checksums),
        "type": attributes.checksum_type,
        "part_algorithm": attributes.part_algorithm,
        "parts": None
        if attributes.parts is None
        else [[p.number, p.original_size, p.checksum.hex() if p.checksum else None] for p in attributes.parts],
        "frames": None if frames is None else len(frames),
        "index_absent": attributes.index_absent,
    }
    text = json.dumps(head, separators=(",", ":")).encode()
    body = text if frames is None else text + _pack_frames(frames)
    return _HEAD.pack(crc32(body), len(text)) + body


def unpack_attributes(packed: bytes) -> Attributes:
    """The inverse; ValueError where the bytes are not this version's, or damaged."""
    try:
        return _unpack(packed)
    except (struct.error, KeyError, TypeError) as error:
        raise ValueError("no packed attributes") from error


def _unpack(packed: bytes) -> Attributes:
    crc, length = _HEAD.unpack_from(packed)
    body = memoryview(packed)[_HEAD.size :]
    if crc32(body) != crc:
        raise ValueError("damaged attributes")
    head = json.loads(bytes(body[:length]))
    parts = head["parts"]
    return Attributes(
        layout=Layout(head["layout"]),
        size=head["size"],
        etag=head["etag"],
        checksums=head["checksums"],
        checksum_type=head["type"],
        part_algorithm=head["part_algorithm"],
        parts=None if parts is None else tuple(Part(n, size, bytes.fromhex(digest) if digest else None) for n, size, digest in parts),
        frames=None if head["frames"] is None else _unpack_frames(body[length:], head["frames"]),
        index_absent=head["index_absent"],
    )


def _pack_frames(frames: FrameTable) -> bytes:
    return b"".join(_swapped(column).tobytes() for column in frames.columns.all())


def _unpack_frames(data: memoryview, count: int) -> FrameTable:
    columns = []
    for number in range(4):
        column = array("Q")
        column.frombytes(data[number * count * 8 : (number + 1) * count * 8])
        columns.append(_swapped(column))
    return FrameTable(FrameColumns(*columns))


def _swapped(column: "array[int]") -> "array[int]":
    if sys.byteorder == "little":
        return column
    turned = column[:]
    turned.byteswap()
    return turned
