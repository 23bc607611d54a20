"""The golden objects of `golden/objects.json`."""

import gzip
import json
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Literal

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
    codec: str | None = None
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
        outcome=entry["outcome"],
        size=entry.get("size"),
        sha256=entry.get("sha256"),
        codec=entry.get("codec"),
        dictionary=(GOLDEN / dictionary).read_bytes() if dictionary else None,
        frames=tuple((codec, size) for codec, size in entry.get("frames", ())),
    )
