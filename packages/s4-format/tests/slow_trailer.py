"""A second reader of trailers, written from docs/format/trailer.md alone: one number at a time, no sharing with the package."""

from typing import Any


def bitwise_crc32c(data: bytes) -> int:
    """CRC32C by its definition."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF


class Cursor:
    """Takes numbers and bytes off the front."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.at = 0

    def take(self, size: int) -> bytes:
        assert self.at + size <= len(self.data)
        self.at += size
        return self.data[self.at - size : self.at]

    def number(self, size: int) -> int:
        return sum(byte << 8 * place for place, byte in enumerate(self.take(size)))

    def column(self, count: int) -> list[int]:
        width, base = self.number(1), self.number(8)
        return [base + self.number(width) for _ in range(count)]


def read(trailer: bytes, offset: int) -> dict[str, Any]:
    """Everything that the trailer at this offset of a body says; an assertion fails where it breaks its layout."""
    footer = Cursor(trailer[-60:])
    attributes_size, parts, frames = footer.number(2), footer.number(2), footer.number(4)
    index_size, part_size, directory_size = footer.number(4), footer.number(4), footer.number(4)
    crcs = [footer.number(4) for _ in range(3)]
    assert footer.number(8) == offset
    assert footer.number(8) == offset + len(trailer)
    assert footer.number(4) == len(trailer) - 12
    assert footer.number(4) == bitwise_crc32c(trailer[-60:-8])
    assert footer.take(4) == b"S4T1"
    whole = Cursor(trailer[:-60])
    assert whole.take(4) == b"S4P1"
    assert whole.number(8) == len(trailer) - 12
    index = whole.take(index_size)
    part_table, directory, attributes = whole.take(part_size), whole.take(directory_size), whole.take(attributes_size)
    assert whole.at == len(trailer) - 60
    assert crcs == [bitwise_crc32c(attributes), bitwise_crc32c(part_table), bitwise_crc32c(directory)]
    entries, leaf_sizes = _index(index, frames)
    return {
        "frames": entries,
        "parts": _parts(part_table, parts),
        "directory": _directory(directory, frames, leaf_sizes, entries),
        **_attributes(attributes),
    }


def _index(index: bytes, frames: int) -> tuple[list[tuple[int, int, int, int]], list[int]]:
    cursor = Cursor(index)
    entries = []
    leaf_sizes = []
    original = stored = 0
    for first in range(0, frames, 1024):
        start = cursor.at
        assert cursor.number(4) == first
        count, gap_count = cursor.number(2), cursor.number(2)
        assert count == min(1024, frames - first)
        assert (cursor.number(8), cursor.number(8)) == (original, stored)
        originals, payloads = cursor.column(count), cursor.column(count)
        places = [cursor.number(2) for _ in range(gap_count)]
        gaps = dict(zip(places, cursor.column(gap_count) if gap_count else [], strict=True))
        assert bitwise_crc32c(index[start : cursor.at]) == cursor.number(4)
        leaf_sizes.append(cursor.at - start)
        for place in range(count):
            stored += gaps.get(place, 0)
            entries.append((original, originals[place], stored, payloads[place] + 28))
            original += originals[place]
            stored += payloads[place] + 28
    assert cursor.at == len(index)
    return entries, leaf_sizes


def _parts(table: bytes, count: int) -> list[tuple[int, int, bytes | None]]:
    if count == 0:
        assert table == b""
        return []
    cursor = Cursor(table)
    presence, width = cursor.number(1), cursor.number(1)
    steps, sizes = cursor.column(count), cursor.column(count)
    marks = {0: [0] * count, 1: [1] * count}.get(presence) or [cursor.number(1) for _ in range(count)]
    parts = []
    number = 0
    for step, size, mark in zip(steps, sizes, marks, strict=True):
        number += step + 1
        parts.append((number, size, cursor.take(width) if mark else None))
    assert cursor.at == len(table)
    return parts


def _directory(directory: bytes, frames: int, leaf_sizes: list[int], entries: list[tuple[int, int, int, int]]) -> bool:
    if frames <= 16_384:
        assert directory == b""
        return False
    cursor = Cursor(directory)
    originals, stored, sizes = (cursor.column(len(leaf_sizes)) for _ in range(3))
    assert cursor.at == len(directory)
    assert sizes == leaf_sizes
    end = 0
    for number, (original_bytes, stored_bytes) in enumerate(zip(originals, stored, strict=True)):
        leaf = entries[1024 * number : 1024 * (number + 1)]
        assert original_bytes == sum(entry[1] for entry in leaf)
        assert stored_bytes == leaf[-1][2] + leaf[-1][3] - end
        end += stored_bytes
    return True


def _attributes(section: bytes) -> dict[str, Any]:
    cursor = Cursor(section)
    said: dict[str, Any] = {"original_size": cursor.number(8), "checksums": {}, "extra": {}}
    while cursor.at < len(section):
        tag, key_size, value_size = cursor.number(1), cursor.number(1), cursor.number(2)
        key, value = cursor.take(key_size).decode(), cursor.take(value_size).decode()
        match tag:
            case 1:
                said["logical_etag"] = value
            case 2:
                said["checksums"][key] = value
            case 3:
                said["checksum_type"] = value
            case 4:
                said["part_algorithm"] = value
            case 5:
                said["extra"][key] = value
            case _:
                raise AssertionError(tag)
    return said
