"""Blocks of cpu-columnar: heads of blocks, fields and streams."""

from dataclasses import replace
from struct import pack

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from s4_format import FormatError, Reason
from s4_format.columnar import (
    MAX_BLOCK_BYTES,
    MAX_STORED_BYTES,
    AnyBlock,
    Arrangement,
    Block,
    BlockKind,
    Coder,
    ColumnsBlock,
    Field,
    NumberType,
    Predictor,
    Stream,
    Transform,
    parse_blocks,
)
from s4_format.testing import columnar_blocks


def reason_of(payload: bytes) -> Reason:
    """Why it is refused."""
    with pytest.raises(FormatError) as caught:
        list(parse_blocks(payload))
    assert caught.value.offset is not None
    return caught.value.reason


def test_numbers_are_wire_format() -> None:
    """Every id has its number, and there are no others."""
    ids = {kind.__name__: [member.name for member in kind] for kind in (BlockKind, Transform, Predictor, Arrangement, Coder, NumberType)}
    assert ids == {
        "BlockKind": ["STORED", "ZSTD", "COLUMNS"],
        "Transform": ["NONE", "DECIMAL", "DICTIONARY"],
        "Predictor": ["NONE", "DELTA", "DELTA2", "XOR"],
        "Arrangement": ["INTERLEAVED", "BYTES", "PCODEC"],
        "Coder": ["CONSTANT", "RAW", "ZSTD", "BITS", "BITS_ZSTD"],
        "NumberType": ["INTEGER", "FLOAT"],
    }
    for kind in (BlockKind, Transform, Predictor, Arrangement, Coder, NumberType):
        assert list(map(int, kind)) == list(range(len(kind)))


def test_layout() -> None:
    """A block of one field is laid out as the page says, byte for byte."""
    field = Field(
        2,
        Transform.NONE,
        0,
        Predictor.DELTA,
        Arrangement.BYTES,
        7,
        300,
        0,
        0,
        (Stream(Coder.RAW, 0, b"abc"), Stream(Coder.CONSTANT, 9, b"")),
    )
    block = ColumnsBlock(8, 1, 2, Stream(Coder.RAW, 0, b"<>"), (field,))
    heads = (
        pack("<IHH", 1, 2, 0)
        + pack("<BBHI", 1, 0, 0, 2)
        + pack("<5B3xIQQQ", 2, 0, 0, 1, 1, 0, 7, 300, 0)
        + pack("<BBHI", 1, 0, 0, 3)
        + pack("<BBHI", 0, 9, 0, 0)
    )
    assert block.pack() == pack("<BBHII", 2, 0, 1, 8, len(heads) + 5) + heads + b"<>abc"
    assert (block.rows, block.edge_bytes, block.stored_size) == (3, 2, len(block.pack()))
    assert Block(BlockKind.ZSTD, 9, b"xyz").pack() == pack("<BBHII", 1, 0, 0, 9, 3) + b"xyz"


@given(st.lists(columnar_blocks(), max_size=3))
def test_what_is_packed_is_parsed(blocks: list[AnyBlock]) -> None:
    """Blocks come back one after the other, with views of their bytes."""
    payload = b"".join(block.pack() for block in blocks)
    assert list(parse_blocks(bytearray(payload))) == blocks
    assert len(payload) == sum(block.stored_size for block in blocks)


@given(columnar_blocks(max_rows=9))
def test_truncated_at_every_offset(block: AnyBlock) -> None:
    """No proper prefix of a block is one, but the one without any bytes, which holds nothing."""
    payload = block.pack()
    for end in range(1, len(payload)):
        assert reason_of(payload[:end]) in (Reason.HEADER_TRUNCATED, Reason.PAYLOAD_TRUNCATED)


@given(columnar_blocks(), st.data())
def test_damaged_heads(block: AnyBlock, data: st.DataObject) -> None:
    """Whatever byte is changed, what is read is written back alike, or it is refused."""
    payload = bytearray(block.pack())
    payload[data.draw(st.integers(0, len(payload) - 1))] ^= data.draw(st.integers(1, 255))
    try:
        found = b"".join(block.pack() for block in parse_blocks(payload))
    except FormatError:
        return
    assert len(found) == len(payload)


@given(st.binary(max_size=80) | st.binary(max_size=80).map(lambda rest: pack("<BBHII", 2, 0, 1, 40, len(rest)) + rest))
@example(b"")
def test_any_bytes(payload: bytes) -> None:
    """Arbitrary bytes are refused, or are as long as what is read out of them."""
    try:
        blocks = list(parse_blocks(payload))
    except FormatError:
        return
    assert sum(block.stored_size for block in blocks) == len(payload)


PLANE = Stream(Coder.CONSTANT, 1, b"")
FIELD = Field(4, Transform.NONE, 0, Predictor.NONE, Arrangement.BYTES, 0, 0, 0, 0, (PLANE,) * 4)
BLOCK = ColumnsBlock(640, 0, 4, Stream(Coder.RAW, 0, b""), (FIELD,))


def with_field(**changes: object) -> bytes:
    """The block with another field."""
    return replace(BLOCK, fields=(replace(FIELD, **changes),)).pack()


def patched(place: int, *values: int) -> bytes:
    """The block with other bytes at `place`."""
    payload = bytearray(BLOCK.pack())
    payload[place : place + len(values)] = values
    return bytes(payload)


HEAD, FIELD_AT, STREAM_AT = 12, 12 + 8 + 8, 12 + 8 + 8 + 36

REFUSED = {
    "block kind 3": (patched(0, 3), Reason.UNKNOWN_FILTER),
    "reserved byte of a block": (patched(1, 1), Reason.MALFORMED),
    "a zstd block with fields": (patched(0, 1), Reason.MALFORMED),
    "columns without fields": (patched(2, 0), Reason.MALFORMED),
    "a block of nothing": (pack("<BBHII", 1, 0, 0, 0, 1) + b"x", Reason.MALFORMED),
    "a block above 16 MiB": (pack("<BBHII", 1, 0, 0, MAX_BLOCK_BYTES + 1, 1) + b"x", Reason.SIZE_LIMIT),
    "a block stored in more than 32 MiB": (pack("<BBHII", 1, 0, 0, 1, MAX_STORED_BYTES + 1) + b"x", Reason.SIZE_LIMIT),
    "a stored block of another length": (pack("<BBHII", 0, 0, 0, 3, 2) + b"xy", Reason.MALFORMED),
    "stride 0": (patched(HEAD + 4, 0), Reason.MALFORMED),
    "a lead as long as a row": (replace(BLOCK, lead=4).pack(), Reason.MALFORMED),
    "no whole row": (replace(BLOCK, original_size=3).pack(), Reason.MALFORMED),
    "reserved bytes of the rows": (patched(HEAD + 6, 1), Reason.MALFORMED),
    "edges of another length": (replace(BLOCK, edges=Stream(Coder.RAW, 0, b"x")).pack(), Reason.MALFORMED),
    "constant edges": (replace(BLOCK, edges=PLANE).pack(), Reason.MALFORMED),
    "fields that do not fill a row": (replace(BLOCK, stride=5).pack(), Reason.MALFORMED),
    "width 3": (patched(FIELD_AT, 3), Reason.MALFORMED),
    "transform 3": (patched(FIELD_AT + 1, 3), Reason.UNKNOWN_FILTER),
    "predictor 4": (patched(FIELD_AT + 3, 4), Reason.UNKNOWN_FILTER),
    "arrangement 3": (patched(FIELD_AT + 4, 3), Reason.UNKNOWN_FILTER),
    "coder 5": (patched(STREAM_AT, 5), Reason.UNKNOWN_FILTER),
    "a parameter without use": (with_field(parameter=1), Reason.MALFORMED),
    "a base beyond the width": (with_field(base=1 << 32), Reason.MALFORMED),
    "a start beyond the width": (with_field(start=1 << 32), Reason.MALFORMED),
    "a base beside XOR": (with_field(base=1, predictor=Predictor.XOR), Reason.MALFORMED),
    "extras without a transform": (with_field(extra_count=1), Reason.MALFORMED),
    "exponent 16": (with_field(transform=Transform.DECIMAL, parameter=16), Reason.MALFORMED),
    "too many exceptions": (with_field(transform=Transform.DECIMAL, extra_count=21), Reason.MALFORMED),
    "an empty dictionary": (with_field(transform=Transform.DICTIONARY), Reason.MALFORMED),
    "a dictionary of 257": (with_field(transform=Transform.DICTIONARY, extra_count=257), Reason.MALFORMED),
    "a dictionary that is predicted": (with_field(transform=Transform.DICTIONARY, extra_count=1, base=1), Reason.MALFORMED),
    "pcodec that is predicted": (with_field(arrangement=Arrangement.PCODEC, predictor=Predictor.DELTA), Reason.MALFORMED),
    "pcodec of type 2": (with_field(arrangement=Arrangement.PCODEC, parameter=2), Reason.MALFORMED),
    "a plane of another length": (with_field(streams=(Stream(Coder.RAW, 0, bytes(159)), *(PLANE,) * 3)), Reason.MALFORMED),
    "a constant with bytes": (with_field(streams=(Stream(Coder.CONSTANT, 0, b"x"), *(PLANE,) * 3)), Reason.MALFORMED),
    "eight bits": (with_field(streams=(Stream(Coder.BITS, 8, bytes(160)), *(PLANE,) * 3)), Reason.MALFORMED),
    "bits of another length": (with_field(streams=(Stream(Coder.BITS, 2, bytes(41)), *(PLANE,) * 3)), Reason.MALFORMED),
    "reserved bytes of a stream": (patched(STREAM_AT + 2, 1), Reason.MALFORMED),
    "bytes behind the streams": (patched(8, len(BLOCK.pack()) - 12 + 1) + b"x", Reason.MALFORMED),
    "streams that are not there": (patched(STREAM_AT, 1, 0, 0, 0, 160), Reason.PAYLOAD_TRUNCATED),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused(name: str) -> None:
    """Each broken rule has its reason."""
    payload, reason = REFUSED[name]
    assert reason_of(payload) is reason


@pytest.mark.parametrize("name", [name for name, (_, reason) in REFUSED.items() if reason is Reason.UNKNOWN_FILTER])
def test_an_unknown_id_is_named(name: str) -> None:
    """The message says which id of which kind is not known."""
    with pytest.raises(FormatError, match=rf"(?i){name.replace('block kind', 'BlockKind')} is not known"):
        list(parse_blocks(REFUSED[name][0]))
