"""Figures: what one client took for one row at one distance, kept between runs."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

KEPT = Path(__file__).with_name("results.json")


@dataclass(frozen=True, slots=True)
class Figure:
    """What it took in the best of its rounds."""

    row: str
    link: str
    client: str
    metrics: Mapping[str, float]
    """`seconds`; `cpu_seconds` of the client; `requests` and `received` bytes at the store; `mb_per_second` of original bytes (10^6) or
    `reads_per_second`; `peak_mib` of the client and `grown_mib`, what of that came after it was ready."""
    requests: Mapping[str, float]
    """By kind."""
    rounds: int = 1

    @property
    def place(self) -> tuple[str, str, str]:
        """What a later figure replaces."""
        return self.row, self.link, self.client


def combined(rounds: list[Figure]) -> Figure:
    """The round that took least: what others do on the machine only ever adds."""
    return replace(min(rounds, key=lambda one: one.metrics["seconds"]), rounds=len(rounds))


@dataclass(slots=True)
class Figures:
    """All that is known, and what it was measured on."""

    facts: dict[str, Any] = field(default_factory=dict)
    known: dict[tuple[str, str, str], Figure] = field(default_factory=dict)

    @classmethod
    def load(cls, path: Path = KEPT) -> "Figures":
        """What a file keeps; nothing where there is none."""
        if not path.exists():
            return cls()
        kept = json.loads(path.read_text(encoding="utf-8"))
        figures = [Figure(**one) for one in kept["figures"]]
        return cls(kept["facts"], {one.place: one for one in figures})

    def save(self, path: Path = KEPT) -> None:
        """Write it, whole or not at all."""
        lines = ",\n".join("  " + json.dumps(asdict(self.known[place]), sort_keys=True) for place in sorted(self.known))
        partial = path.with_name(path.name + ".partial")
        partial.write_text(f'{{"facts": {json.dumps(self.facts, sort_keys=True)},\n "figures": [\n{lines}\n]}}\n', encoding="utf-8")
        partial.replace(path)

    def add(self, figures: Iterable[Figure]) -> None:
        """Take figures; those of the same place are replaced."""
        self.known |= {one.place: one for one in figures}

    def metric(self, row: str, link: str, client: str, name: str) -> float | None:
        """One number; None where it was not measured."""
        found = self.known.get((row, link, client))
        return None if found is None else found.metrics.get(name)
