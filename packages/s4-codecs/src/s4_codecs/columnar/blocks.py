"""Blocks: parsed, with the errors of codecs, and decoded."""

from collections.abc import Iterator
from contextlib import contextmanager

from s4_format import Buffer, FormatError
from s4_format import Reason as FormatReason
from s4_format.columnar import AnyBlock, BlockKind, ColumnsBlock, parse_blocks

from s4_codecs.columnar.rows import decode_rows
from s4_codecs.columnar.streams import decompress
from s4_codecs.errors import CorruptPayloadError, Reason

_REASONS = {FormatReason.UNKNOWN_FILTER: Reason.UNKNOWN_FILTER}


@contextmanager
def damage() -> Iterator[None]:
    """Errors of the layout are those of a damaged payload."""
    try:
        yield
    except FormatError as error:
        raise CorruptPayloadError(str(error), reason=_REASONS.get(error.reason)) from error


def parsed_blocks(payload: Buffer) -> Iterator[AnyBlock]:
    """The blocks of a whole payload.

    Raises:
        CorruptPayloadError: the layout is damaged; with `Reason.UNKNOWN_FILTER` a newer version may have written it.
    """
    with damage():
        yield from parse_blocks(payload)


def decode_block(block: AnyBlock) -> Buffer:
    """The bytes of `block`.

    Raises:
        CorruptPayloadError, SizeMismatchError, DictionaryError: a stream is damaged.
        CodecUnavailableError: pcodec wrote a part of it and is not installed.
    """
    if isinstance(block, ColumnsBlock):
        return decode_rows(block)
    return decompress(block.data, block.original_size) if block.kind is BlockKind.ZSTD else block.data
