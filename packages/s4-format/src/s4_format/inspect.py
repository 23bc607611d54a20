"""Describe stored bytes for people and programs: what `python -m s4_format inspect` prints."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass

from s4_format._buffer import Buffer, as_view
from s4_format.envelope import detect_envelope
from s4_format.errors import FormatError, Reason, TrailerError
from s4_format.frame import FRAME_MAGIC, MAGIC_BYTES, PADDING_MAGIC, Frame, Padding, iter_items
from s4_format.frames import FrameTable
from s4_format.gpu_container import CONTAINER_MAGIC, parse_container
from s4_format.index import SIDECAR_MAGIC, decode_sidecar, scan_frames
from s4_format.parts import Part
from s4_format.trailer import TRAILER_MAGIC, read_tail, read_trailer

Fields = dict[str, object]


@dataclass(frozen=True, slots=True)
class Report:
    """What a file holds.

    Attributes:
        kind: "framed body", "sidecar", "GPU container", "envelope", "empty" or "unknown".
        sound: whether everything that was looked at keeps the rules.
        facts: single values by name.
        tables: rows by name; at most the limit asked for, the counts are in `facts`.
    """

    kind: str
    sound: bool
    facts: Fields
    tables: Mapping[str, Sequence[Fields]]

    def as_json(self) -> Fields:
        """The report as plain values."""
        return {"kind": self.kind, "sound": self.sound, **self.facts, **self.tables}


def describe(data: Buffer, *, limit: int = 1000) -> Report:
    """Look at the bytes of a stored body, which may be one bare GPU container, or of a sidecar. Payloads are not decoded.

    Whether a padding that looks like a trailer may be trusted is said by the object's metadata, which is not here.

    Args:
        data: the whole file.
        limit: rows of one table to keep.
    """
    view = as_view(data)
    magic = bytes(view[:MAGIC_BYTES])
    envelope = detect_envelope(view)
    if not len(view):
        return Report("empty", True, {"size": 0}, {})
    if magic == SIDECAR_MAGIC:
        return _sidecar(view, limit)
    if magic == CONTAINER_MAGIC:
        return _container(view, limit)
    if envelope is not None:
        return Report("envelope", True, {"size": len(view), "envelope": str(envelope)}, {})
    if magic in (FRAME_MAGIC, PADDING_MAGIC):
        return _body(view, limit)
    return Report("unknown", True, {"size": len(view), "first_bytes": magic.hex()}, {})


def _fault(error: FormatError) -> Fields:
    return {"reason": str(error.reason), "offset": error.offset, "message": str(error)}


def _body(view: memoryview, limit: int) -> Report:
    rows: list[Fields] = []
    facts: Fields = {"size": len(view)}
    frames = paddings = original = stored = 0
    last: Frame | Padding | None = None
    try:
        for last in iter_items(view):
            if len(rows) < limit:
                rows.append(_item(last))
            if isinstance(last, Frame):
                frames, original, stored = frames + 1, original + last.header.original_size, stored + last.stored_size
            else:
                paddings += 1
    except FormatError as error:
        facts["error"] = _fault(error)
    facts |= {"frames": frames, "paddings": paddings, "original_size": original, "frame_bytes": stored}
    tables: dict[str, Sequence[Fields]] = {"items": rows}
    if isinstance(last, Padding) and last.payload[-len(TRAILER_MAGIC) :] == TRAILER_MAGIC:
        try:
            facts["trailer"], tables["parts"] = _trailer(view, limit)
        except FormatError as error:
            facts["trailer_error"] = _fault(error)
    return Report("framed body", "error" not in facts and "trailer_error" not in facts, facts, tables)


def _item(item: Frame | Padding) -> Fields:
    if isinstance(item, Padding):
        return {"offset": item.offset, "item": "padding", "stored_size": item.stored_size}
    header = item.header
    return {
        "offset": item.offset,
        "item": "frame",
        "stored_size": item.stored_size,
        "original_size": header.original_size,
        "codec": header.codec.label,
        "crc32c": f"{header.crc32c:08x}",
    }


def _trailer(view: memoryview, limit: int) -> tuple[Fields, list[Fields]]:
    tail = read_tail(view, body_size=len(view))
    trailer = read_trailer(view, body_size=len(view))
    if scan_frames(view[: tail.offset])[0] != trailer.frames:
        raise TrailerError("the index is not that of the frames in the body", Reason.INDEX_MISMATCH, offset=tail.index_span.start)
    attributes = trailer.attributes
    facts: Fields = {
        "offset": tail.offset,
        "size": tail.body_size - tail.offset,
        "levels": 2 if tail.two_level else 1,
        "frames": tail.frame_count,
        "parts": tail.part_count,
        "original_size": attributes.original_size,
        "logical_etag": attributes.logical_etag,
        "checksums": dict(attributes.checksums),
        "checksum_type": attributes.checksum_type,
        "part_algorithm": attributes.part_algorithm,
        "extra": dict(attributes.extra),
    }
    return facts, [_part(part) for part in trailer.parts[:limit]]


def _part(part: Part) -> Fields:
    return {"number": part.number, "original_size": part.original_size, "checksum": part.checksum.hex() if part.checksum else None}


def _sidecar(view: memoryview, limit: int) -> Report:
    try:
        sidecar = decode_sidecar(view)
    except FormatError as error:
        return Report("sidecar", False, {"size": len(view), "error": _fault(error)}, {})
    facts: Fields = {
        "size": len(view),
        "frames": len(sidecar.frames),
        "original_size": sidecar.frames.original_size,
        "padded_size": sidecar.padded_size,
        "source_size": sidecar.source_size,
        "source_etag": sidecar.source_etag,
        "envelope": None if sidecar.sse is None else asdict(sidecar.sse) | {"salt": sidecar.sse.salt.hex()},
    }
    return Report("sidecar", True, facts, {"entries": _entries(sidecar.frames, limit)})


def _container(view: memoryview, limit: int) -> Report:
    try:
        container = parse_container(view)
    except FormatError as error:
        return Report("GPU container", False, {"size": len(view), "error": _fault(error)}, {})
    facts: Fields = {
        "size": len(view),
        "algorithm": container.algorithm.name.lower(),
        "element_type": container.element_type.name.lower(),
        "original_size": container.original_size,
        "chunk_size": container.chunk_size,
        "chunk_count": len(container.chunk_sizes),
    }
    rows: list[Fields] = [
        {"offset": offset, "stored_size": size, "original_size": container.chunk_original_size(number)}
        for number, (offset, size) in enumerate(zip(container.chunk_offsets()[:limit], container.chunk_sizes[:limit], strict=False))
    ]
    return Report("GPU container", True, facts, {"chunks": rows})


def _entries(frames: FrameTable, limit: int) -> list[Fields]:
    return [dict(frames[number]._asdict()) for number in range(min(limit, len(frames)))]


def render(report: Report) -> Iterator[str]:
    """The report as lines of text: facts first, then tables."""
    yield f"{report.kind}{'' if report.sound else ', DAMAGED'}"
    yield from _render_facts(report.facts, indent="  ")
    for name, rows in report.tables.items():
        if rows:
            yield ""
            yield f"{name}:"
            yield from _render_rows(rows)


def _render_facts(facts: Mapping[str, object], *, indent: str) -> Iterator[str]:
    for name, value in facts.items():
        if isinstance(value, dict):
            yield f"{indent}{name}:"
            yield from _render_facts(value, indent=indent + "  ")
        elif value is not None:
            yield f"{indent}{name}: {value}"


def _render_rows(rows: Sequence[Fields]) -> Iterator[str]:
    names = list(dict.fromkeys(name for row in rows for name in row))
    cells = [names, *([_cell(row.get(name)) for name in names] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    return ("  " + _line(row, widths) for row in cells)


def _cell(value: object) -> str:
    return "" if value is None else str(value)


def _line(cells: Iterable[str], widths: Iterable[int]) -> str:
    return "  ".join(cell.rjust(width) for cell, width in zip(cells, widths, strict=True)).rstrip()
