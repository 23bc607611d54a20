"""Stored objects of the reference: their bytes are what they were, and read as they must."""

from hashlib import sha256
from typing import Any

import pytest

from s4_format import (
    Frame,
    FrameReader,
    FrameTable,
    Manifest,
    composite_etag,
    decode_sidecar,
    iter_frames,
    iter_items,
    lookup_range,
    md5_etag,
    pad_to_minimum,
    scan_frames,
    strip_reserved,
)
from s4_format.testing import pieces, read_items

from . import golden_files
from .test_index import describe
from .test_ranges import golden_plan


def by_id(entry: dict[str, Any]) -> str:
    """Test ids are object ids."""
    return str(entry["id"])


BODIES = golden_files.entries(having="pieces")
SIDECARS = golden_files.entries(having="sidecar")


def test_corpus_is_complete_and_unchanged() -> None:
    """Every golden file is listed with its digest, every listed file is there, and the corpus is not empty."""
    lines = (line.split("  ", 1) for line in (golden_files.GOLDEN / "SHA256SUMS").read_text().splitlines())
    listed = {name: digest for digest, name in lines}
    found = {path.relative_to(golden_files.GOLDEN).as_posix(): path for path in golden_files.GOLDEN.rglob("*") if path.is_file()}
    found.pop("SHA256SUMS")

    assert len(listed) >= 30
    assert {name: sha256(path.read_bytes()).hexdigest() for name, path in found.items()} == listed


@pytest.mark.parametrize("entry", BODIES, ids=by_id)
def test_body_reads_to_its_end(entry: dict[str, Any]) -> None:
    """Each framed body reads item by item to its end, in one piece and in many, and decodes to the size its metadata says."""
    data = golden_files.body(entry)
    manifest = Manifest.from_metadata(entry["metadata"])
    items = list(iter_items(data))
    frames = [item for item in items if isinstance(item, Frame)]

    assert sum(item.stored_size for item in items) == len(data)
    if manifest.original_size is not None:
        assert sum(frame.header.original_size for frame in frames) == manifest.original_size
    if manifest.payload is not None:
        assert manifest.payload.compressed_size == len(data)
    streamed = list(read_items(FrameReader(max_kept_padding=len(data)), pieces(data, 4093)))
    assert [(item.offset, item.payload) for item in streamed] == [(item.offset, item.payload) for item in items]
    assert [frame.header for frame in iter_frames(data)] == [frame.header for frame in frames]


@pytest.mark.parametrize("entry", BODIES, ids=by_id)
def test_header_bytes_are_reproduced(entry: dict[str, Any]) -> None:
    """Packing the headers and padding that were read gives the body's own bytes."""
    data = golden_files.body(entry)
    rebuilt = bytearray()
    for item in iter_items(data):
        if isinstance(item, Frame):
            rebuilt += item.header.pack() + item.payload
        else:
            pad_to_minimum(rebuilt, item.offset + item.stored_size)

    assert rebuilt == data


@pytest.mark.parametrize("entry", golden_files.entries(having="reference_built_index"), ids=by_id)
def test_scan_equals_the_reference_s(entry: dict[str, Any]) -> None:
    """The scan of a body gives the table that the reference's scan gave."""
    table, size = scan_frames(golden_files.body(entry))

    assert f"{size}|-|-|-|" + ",".join(":".join(map(str, row)) for row in table) == entry["reference_built_index"]


def test_sidecar_of_version_1() -> None:
    """The legacy sidecar decodes as in the reference."""
    (entry,) = golden_files.entries(having="reference_decode")

    assert describe(decode_sidecar(golden_files.read(entry["sidecar"]))) == entry["reference_decode"]


@pytest.mark.parametrize("entry", SIDECARS, ids=by_id)
def test_sidecar(entry: dict[str, Any]) -> None:
    """Each sidecar decodes, encodes to its own bytes again unless it is version 1, and is bound to its object."""
    data = golden_files.read(entry["sidecar"])
    sidecar = decode_sidecar(data)

    if data[4] == 1:
        assert (sidecar.source_etag, sidecar.source_size) == (None, None)
        return
    assert sidecar.encode() == data
    if "backend_etag" in entry:
        assert sidecar.source_etag == entry["backend_etag"]
    if "stored_size" in entry:
        assert sidecar.source_size == entry["stored_size"]
    if "pieces" in entry:
        assert (sidecar.frames, sidecar.padded_size) == scan_frames(golden_files.body(entry))
    else:
        assert sidecar.sse is not None
        assert sidecar.sse.framed_size == sidecar.padded_size


@pytest.mark.parametrize("entry", golden_files.entries(having="ranges"), ids=by_id)
def test_ranges_of_sidecars(entry: dict[str, Any]) -> None:
    """Ranges of real objects have the reference's plans."""
    frames: FrameTable = decode_sidecar(golden_files.read(entry["sidecar"])).frames
    for query in entry["ranges"]:
        assert lookup_range(frames, query["start"], query["end"]) == golden_plan(query["plan"])


@pytest.mark.parametrize("entry", golden_files.entries(having="metadata"), ids=by_id)
def test_metadata(entry: dict[str, Any]) -> None:
    """The metadata of each object reads, classifies and writes back unchanged; the client's own is kept apart."""
    metadata = entry["metadata"]
    manifest = Manifest.from_metadata(metadata)
    own = {key: value for key, value in metadata.items() if key.startswith("s4-")}

    assert manifest.to_metadata() == own
    assert strip_reserved(metadata) == {key: value for key, value in metadata.items() if key not in own}
    assert manifest.is_s4 == bool(own)
    assert Manifest.from_metadata({key.upper(): value for key, value in metadata.items()}) == manifest


def test_composite_etag_of_a_real_upload() -> None:
    """The ETag of an upload follows from those of its parts."""
    (entry,) = golden_files.entries(having="part_etags_to_client")
    digests = [bytes.fromhex(etag) for etag in entry["part_etags_to_client"]]

    assert composite_etag(digests) == entry["metadata"]["s4-logical-etag"]
    assert [md5_etag(digest) for digest in digests] == entry["part_etags_to_client"]
