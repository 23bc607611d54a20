"""Blocks of rows: bytes cut into columns and put together again."""

from dataclasses import dataclass

import numpy as np
from s4_format.columnar import Coder, ColumnsBlock, Stream

from s4_codecs.columnar.fields import FieldPlan, FieldReader, encode_field
from s4_codecs.columnar.filters import UNSIGNED, Bytes, Words
from s4_codecs.columnar.streams import decode_whole
from s4_codecs.zstd import ZstdCodec

_RUN_BYTES = 256 * 1024
"""Rows are put together in runs of about this size, so that what a run goes through stays in the caches next to the core."""
_RUN_ROWS = 512
"""Runs have at least so many rows: a call for each field of each run is to be little beside its work, however many fields there are."""


@dataclass(frozen=True, slots=True)
class Layout:
    """How a block is to be written: `lead` bytes before the first row, then rows of the fields' widths."""

    lead: int
    plans: tuple[FieldPlan, ...]

    @property
    def stride(self) -> int:
        """Bytes of a row."""
        return sum(plan.width for plan in self.plans)


def encode_rows(data: Bytes, layout: Layout, zstd: ZstdCodec) -> ColumnsBlock:
    """`data`, which has at least one row, as a block."""
    lead, stride = layout.lead, layout.stride
    rows = (data.size - lead) // stride
    end = lead + rows * stride
    edges = np.concatenate([data[:lead], data[end:]])
    fields, place = [], lead
    for plan in layout.plans:
        fields.append(encode_field(gathered(data, place, stride, rows, plan.width), plan, zstd))
        place += plan.width
    return ColumnsBlock(data.size, lead, stride, Stream(Coder.RAW, 0, edges.data), tuple(fields))


def decode_rows(block: ColumnsBlock) -> memoryview:
    """The bytes of `block`.

    Raises:
        CorruptPayloadError, SizeMismatchError, DictionaryError, CodecUnavailableError: see `FieldReader`.
    """
    lead, stride, rows = block.lead, block.stride, block.rows
    end = lead + rows * stride
    edges = decode_whole(block.edges, block.edge_bytes)
    out = np.empty(block.original_size, np.uint8)
    out[:lead], out[end:] = edges[:lead], edges[lead:]
    targets, place = [], lead
    for field in block.fields:
        targets.append((FieldReader(field, rows), column(out, place, stride, rows, field.width)))
        place += field.width
    step = max(_RUN_BYTES // stride, _RUN_ROWS)
    for start in range(0, rows, step):
        stop = min(start + step, rows)
        for reader, target in targets:
            reader.read(start, stop, target[start:stop])
    return out.data


def column(data: Bytes, place: int, stride: int, rows: int, width: int) -> Words:
    """A view of `rows` numbers of `width` bytes, the first at `place`, each `stride` bytes after the one before it."""
    return np.ndarray((rows,), UNSIGNED[width], data.data, place, (stride,))


def gathered(data: Bytes, place: int, stride: int, rows: int, width: int) -> Words:
    """As `column`, side by side and aligned: a copy where the column is not so already."""
    return np.require(column(data, place, stride, rows, width), requirements=["C", "A"])
