"""Figures of codecs: what was measured here, and what the reference publishes."""

import json
import tomllib
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
KEPT = HERE / "results.json"
PUBLISHED = HERE / "published.toml"
REFERENCE = "reference"
"""Source of the figures that the reference publishes."""
CPU = "cpu"
DEVICE = "device"


@dataclass(frozen=True, slots=True)
class Figure:
    """One codec on one workload."""

    workload: str
    codec: str
    """Label, with the level where it has one; "trial" for the trial dispatcher."""
    source: str
    """`CPU`: one core, CPU time. `DEVICE`: a GPU, wall clock. `REFERENCE`: published."""
    ratio: float
    """Original bytes over stored bytes, headers and trailer included."""
    encode: float
    """GB (10^9 original bytes) a second."""
    decode: float
    """The same."""
    frame_size: int | None = None
    """Original bytes of a frame."""

    @property
    def place(self) -> tuple[str, str, str]:
        """What a later figure replaces."""
        return self.source, self.workload, self.codec


@dataclass(slots=True)
class Figures:
    """All that is known, and what it was measured on."""

    facts: dict[str, Any] = field(default_factory=dict)
    """By source: machine, versions, bytes of a workload."""
    measured: list[Figure] = field(default_factory=list)

    @classmethod
    def load(cls, path: Path = KEPT) -> "Figures":
        """What a file keeps; nothing where there is none."""
        if not path.exists():
            return cls()
        kept = json.loads(path.read_text(encoding="utf-8"))
        return cls(kept["facts"], [Figure(**one) for one in kept["figures"]])

    def save(self, path: Path = KEPT) -> None:
        """Write it, whole or not at all."""
        lines = ",\n".join("  " + json.dumps(asdict(one), sort_keys=True) for one in sorted(self.measured, key=lambda one: one.place))
        partial = path.with_name(path.name + ".partial")
        partial.write_text(f'{{"facts": {json.dumps(self.facts, sort_keys=True)},\n "figures": [\n{lines}\n]}}\n', encoding="utf-8")
        partial.replace(path)

    def add(self, figures: Iterable[Figure], source: str, facts: dict[str, Any]) -> None:
        """Take figures of one source; those of the same codec and workload are replaced."""
        new = {one.place: one for one in figures}
        self.measured = [one for one in self.measured if one.place not in new] + list(new.values())
        self.facts[source] = facts


def published() -> list[Figure]:
    """The reference's figures."""
    kept = tomllib.loads(PUBLISHED.read_text(encoding="utf-8"))
    return [
        Figure(workload, codec, REFERENCE, *numbers)
        for workload, rows in kept.items()
        if isinstance(rows, dict)
        for codec, numbers in rows.items()
    ]


def published_machine() -> str:
    """What the reference's figures were taken on."""
    return str(tomllib.loads(PUBLISHED.read_text(encoding="utf-8"))["machine"])
