"""S4IX sidecars, and the scan of a body."""

from contextlib import suppress
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from s4_format import (
    MAX_SIDECAR_BYTES,
    FrameError,
    FrameTable,
    Reason,
    Sidecar,
    SidecarError,
    SseBinding,
    decode_sidecar,
    iter_frames,
    padding_header,
    scan_frames,
)
from s4_format.testing import BodyItem, bodies, sidecars

from . import golden_files
from .test_frame import REASONS as FRAME_REASONS

REASONS = FRAME_REASONS | {
    "TooManyFrames": Reason.TOO_MANY_FRAMES,
    "EtagTooLong": Reason.ETAG_TOO_LONG,
    "UnsupportedVersion": Reason.UNSUPPORTED_VERSION,
    "EntryCountMismatch": Reason.ENTRY_COUNT_MISMATCH,
    "EntryOverflow": Reason.OFFSET_OVERFLOW,
    "NonMonotonicEntries": Reason.NOT_MONOTONIC,
    "PayloadTooLarge": Reason.OFFSET_OVERFLOW,
}
BINDING = SseBinding(65_536, 3, 513, b"saltsalt", 150_000, 24)


def as_golden(outcome: str) -> str:
    """A golden outcome with the reference's error name replaced by our reason."""
    return outcome if outcome[0].isdigit() else REASONS[outcome.partition(":")[0]]


def describe(sidecar: Sidecar) -> str:
    """The golden notation of a sidecar."""
    sse = sidecar.sse
    geometry = (
        "-" if sse is None else f"{sse.chunk_size}:{sse.chunk_count}:{sse.key_id}:{sse.salt.hex()}:{sse.framed_size}:{sse.header_bytes}"
    )
    etag = "-" if sidecar.source_etag is None else sidecar.source_etag.encode().hex()
    size = "-" if sidecar.source_size is None else sidecar.source_size
    entries = ",".join(":".join(map(str, entry)) for entry in sidecar.frames)
    return f"{sidecar.padded_size}|{etag}|{size}|{geometry}|{entries}"


def decoded(data: bytes) -> str:
    """Outcome of decoding in golden notation."""
    try:
        return describe(decode_sidecar(data))
    except SidecarError as error:
        return error.reason


def scanned(data: bytes) -> str:
    """Outcome of a body scan in golden notation."""
    try:
        return describe(Sidecar(*scan_frames(data)))
    except FrameError as error:
        return error.reason


def test_golden_decode_cases() -> None:
    """Every input of the reference's sidecar table has its outcome."""
    for row in golden_files.rows("cases/index_cases.jsonl"):
        assert decoded(bytes.fromhex(row["hex"])) == as_golden(row["decode_index"]), row


def test_golden_scan_cases() -> None:
    """Every input of the reference's frame table scans to its outcome."""
    for row in golden_files.rows("cases/frame_cases.jsonl"):
        assert scanned(bytes.fromhex(row["hex"])) == as_golden(row["build_index"]), row


@given(sidecar=sidecars())
def test_round_trip(sidecar: Sidecar) -> None:
    """What was encoded decodes to the same value; the version is 3 exactly with an envelope."""
    data = sidecar.encode()

    assert decode_sidecar(data) == sidecar
    assert data[4] == (2 if sidecar.sse is None else 3)


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
def test_any_buffer(kind: type) -> None:
    """bytes, bytearray and memoryview decode alike."""
    sidecar = Sidecar(FrameTable.from_sizes([(5, 33)]), 33, 33, "abc", BINDING)

    assert decode_sidecar(kind(sidecar.encode())) == sidecar


@pytest.mark.parametrize("name", ["gateway/multi_zstd.s4index", "refcode/multi_zstd_v1.s4index", "refcode/sse_s4_multi.s4index"])
def test_cut_at_every_offset_and_longer(name: str) -> None:
    """A sidecar of each version is refused when any byte is missing and when there is one too many."""
    data = golden_files.read(name)
    decode_sidecar(data)
    for length in range(len(data)):
        with pytest.raises(SidecarError) as caught:
            decode_sidecar(data[:length])
        assert caught.value.reason in (Reason.HEADER_TRUNCATED, Reason.ENTRY_COUNT_MISMATCH)
    with pytest.raises(SidecarError) as caught:
        decode_sidecar(data + b"\0")
    assert caught.value.reason is Reason.ENTRY_COUNT_MISMATCH


@given(data=st.binary(max_size=200), version=st.integers(0, 4))
def test_arbitrary_bytes_are_decoded_or_refused(data: bytes, version: int) -> None:
    """Nothing but a SidecarError comes out of bytes that look like a sidecar."""
    forged = b"S4IX" + version.to_bytes(4, "little") + data
    with suppress(SidecarError):
        sidecar = decode_sidecar(forged)
        assert decode_sidecar(sidecar.encode()).frames == sidecar.frames


def test_absent_forms() -> None:
    """An ETag that is not UTF-8, a source length of 0 and an envelope without chunks count as absent."""
    sidecar = Sidecar(FrameTable.from_sizes([(5, 33)]), 33, 33, "\x7f", BINDING)
    data = bytearray(sidecar.encode())
    data[44] = 0xFF
    data[32:40] = bytes(8)
    data[45:49] = bytes(4)

    assert decode_sidecar(data) == Sidecar(sidecar.frames, 33)


def test_declared_original_size_is_not_believed() -> None:
    """The original size comes from the last entry."""
    data = bytearray(Sidecar(FrameTable.from_sizes([(5, 33)]), 33).encode())
    data[16:24] = b"\xff" * 8

    assert decode_sidecar(data).frames.original_size == 5


def test_longest_sidecar_is_bounded() -> None:
    """One byte above the bound is refused before anything is read."""
    with pytest.raises(SidecarError) as caught:
        decode_sidecar(bytes(MAX_SIDECAR_BYTES + 1))

    assert caught.value.reason is Reason.SIZE_LIMIT


@pytest.mark.parametrize(
    "fields",
    [
        {"chunk_size": 0},
        {"chunk_count": 0},
        {"chunk_count": 2**32},
        {"key_id": 2**16},
        {"salt": b"short"},
        {"framed_size": -1},
        {"header_bytes": 2**32},
    ],
)
def test_impossible_envelope_geometry_is_refused(fields: dict[str, object]) -> None:
    """A geometry that could not be written cannot be made."""
    with pytest.raises(SidecarError) as caught:
        replace(BINDING, **fields)  # type: ignore[arg-type]

    assert caught.value.reason is Reason.INVALID_VALUE


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"padded_size": -1}, Reason.INVALID_VALUE),
        ({"source_size": 2**64}, Reason.INVALID_VALUE),
        ({"source_etag": "é" * 2049}, Reason.ETAG_TOO_LONG),
    ],
)
def test_impossible_sidecar_is_refused(fields: dict[str, object], reason: Reason) -> None:
    """A sidecar that could not be written or read back cannot be made."""
    with pytest.raises(SidecarError) as caught:
        replace(Sidecar(FrameTable.from_sizes([]), 0), **fields)  # type: ignore[arg-type]

    assert caught.value.reason is reason


@given(drawn=bodies())
def test_scan_finds_the_frames(drawn: tuple[bytes, list[BodyItem]]) -> None:
    """The scan's table lists the frames of a body where they lie, and the body's whole length."""
    data, _ = drawn
    table, size = scan_frames(data)

    assert size == len(data)
    assert [(entry.stored_offset, entry.stored_size, entry.original_size) for entry in table] == [
        (frame.offset, frame.stored_size, frame.header.original_size) for frame in iter_frames(data)
    ]


@given(drawn=bodies(max_items=3), cut=st.integers(0, 11), missing=st.integers(1, 50))
def test_scan_is_lenient_at_the_end(drawn: tuple[bytes, list[BodyItem]], cut: int, missing: int) -> None:
    """A cut padding header, cut padding, or up to 27 other bytes at the end do not spoil the table."""
    data, _ = drawn
    table, _ = scan_frames(data)
    for end in (padding_header(5)[:cut], padding_header(missing), b"x" * (cut * 27 // 11)):
        assert scan_frames(data + end) == (table, len(data) + len(end))


@pytest.mark.parametrize(
    "changes",
    [
        {"source_etag": "b"},
        {"source_etag": None},
        {"source_size": 29},
        {"source_size": None},
        {"source_size": 20},
        {"frames": FrameTable.from_entries(())},
        {"sse": SseBinding(1, 1, 0, bytes(8), 30, 0)},
    ],
    ids=str,
)
def test_frames_are_those_of_the_bound_object_alone(changes: dict[str, object]) -> None:
    """An index is used for the object it is bound to, and for no other: ETag and length must be its own, frames must lie in the body."""
    bound = Sidecar(FrameTable.from_sizes([(100, 30)]), 30, source_size=30, source_etag="a")
    other = replace(bound, **changes)  # type: ignore[arg-type]

    assert bound.frames_of(etag="a", size=30) == bound.frames
    assert bound.frames_of(etag="b", size=30) is None
    assert other.frames_of(etag="a", size=30) is None
