"""The golden objects of `golden/objects.json`, and the payloads of GPU codecs of `golden/payloads.json`."""

import gzip
import json
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Literal

from s4_format import CodecId, FrameHeader, Manifest, codec_from_label

from s4_codecs.gpu import probe
from s4_codecs.nvcomp.host_library import find_library

GOLDEN = Path(__file__).parent / "golden"


@dataclass(frozen=True)
class GoldenObject:
    """One stored body and what a CPU-only reader must make of it."""

    id: str
    file: Path
    stored_sha256: str
    metadata: dict[str, str]
    outcome: Literal["plain", "unavailable", "encrypted"]
    size: int | None = None
    sha256: str | None = None
    extra: str | None = None
    """The extra without which it cannot be decoded; with "unavailable", one that is not installed here."""
    dictionary: bytes | None = field(default=None, repr=False)
    frames: tuple[tuple[int, int], ...] = ()

    @property
    def body(self) -> bytes:
        """The bytes as stored on the backend."""
        raw = self.file.read_bytes()
        return gzip.decompress(raw) if self.file.suffix == ".gz" else raw


@cache
def golden_objects() -> tuple[GoldenObject, ...]:
    """All of them, in the order of the list."""
    return tuple(_read(entry) for entry in json.loads((GOLDEN / "objects.json").read_text()))


@dataclass(frozen=True)
class GoldenPayload:
    """A container that nvCOMP filled, and what it must decode to."""

    id: str
    file: Path
    stored_sha256: str
    codec: CodecId
    size: int
    sha256: str
    crc32c: int
    extra: str | None
    error: str | None
    """The reason for which it cannot be decoded: nvCOMP does not bring back every input."""

    @property
    def body(self) -> bytes:
        """The container."""
        return self.file.read_bytes()

    @property
    def manifest(self) -> Manifest:
        """The metadata of an object that is this payload and nothing else."""
        return Manifest(codec=self.codec, original_size=self.size, compressed_size=len(self.body), crc32c=self.crc32c)

    @property
    def frame(self) -> bytes:
        """The payload as the only frame of a body."""
        return FrameHeader(self.codec, self.size, len(self.body), self.crc32c).pack() + self.body


@cache
def golden_payloads() -> tuple[GoldenPayload, ...]:
    """All of them, in the order of the list."""
    return tuple(
        GoldenPayload(
            id=entry["id"],
            file=GOLDEN / entry["payload"],
            stored_sha256=entry["stored_sha256"],
            codec=codec_from_label(entry["codec"]),
            size=entry["size"],
            sha256=entry["sha256"],
            crc32c=entry["crc32c"],
            extra=entry.get("extra"),
            error=entry.get("error"),
        )
        for entry in json.loads((GOLDEN / "payloads.json").read_text())
    )


def missing(extra: str | None) -> bool:
    """Whether this extra, which some golden bytes need, is not installed; that of a GPU is of use with a device only."""
    match extra:
        case "nvcomp-cpu":
            return find_library() is None
        case "gpu":
            return probe.device() is None
        case _:
            return False


def golden(object_id: str) -> GoldenObject:
    """The one with this id."""
    return next(entry for entry in golden_objects() if entry.id == object_id)


def by_outcome(outcome: str) -> list[GoldenObject]:
    """Those with this outcome."""
    return [entry for entry in golden_objects() if entry.outcome == outcome]


def _read(entry: dict) -> GoldenObject:
    dictionary = entry.get("dictionary")
    return GoldenObject(
        id=entry["id"],
        file=GOLDEN / entry["body"],
        stored_sha256=entry["stored_sha256"],
        metadata=entry["metadata"],
        outcome="unavailable" if missing(entry.get("extra")) else entry["outcome"],
        size=entry.get("size"),
        sha256=entry.get("sha256"),
        extra=entry.get("extra"),
        dictionary=(GOLDEN / dictionary).read_bytes() if dictionary else None,
        frames=tuple((codec, size) for codec, size in entry.get("frames", ())),
    )
