"""All bodies and who refers to them, by the rows alone."""

import sqlite3
import struct
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

from s4_gateway.backend.local.bodies import BodyKind, Segment, unpack_segments
from s4_gateway.backend.local.check.report import Finding, Kind


@dataclass(frozen=True, slots=True)
class BodyRow:
    """A row of `bodies`, without its bytes."""

    body: int
    kind: BodyKind
    references: int
    size: int


@dataclass(slots=True)
class Census:
    """Bodies, their holders, and what is wrong between them."""

    bodies: dict[int, BodyRow] = field(default_factory=dict)
    lists: dict[int, list[Segment]] = field(default_factory=dict)
    holders: Counter[int] = field(default_factory=Counter)
    broken_lists: set[int] = field(default_factory=set)

    @classmethod
    def take(cls, connection: sqlite3.Connection) -> "Census":
        """Read all rows; a list that cannot be read leaves the census incomplete."""
        census = cls()
        for body, kind, references, size in connection.execute("SELECT id, kind, refs, size FROM bodies"):
            census.bodies[body] = BodyRow(body, BodyKind(kind), references, size)
        census.holders.update(body for (body,) in connection.execute("SELECT body FROM objects UNION ALL SELECT body FROM parts"))
        lists = "SELECT id, content FROM bodies WHERE kind = ? UNION ALL SELECT id, content FROM trash"
        for body, content in connection.execute(lists, (int(BodyKind.LIST),)):
            try:
                census.lists[body] = list(unpack_segments(content or b""))
            except struct.error:
                census.broken_lists.add(body)
                continue
            census.holders.update(segment.body for segment in census.lists[body])
        return census

    @property
    def complete(self) -> bool:
        """Every holder is known. Without that, nothing may be taken for unreferenced."""
        return not self.broken_lists

    @property
    def files(self) -> set[int]:
        """Bodies that have a file."""
        return {row.body for row in self.bodies.values() if row.kind is BodyKind.FILE}

    @property
    def stored_bytes(self) -> int:
        return sum(row.size for row in self.bodies.values() if row.kind is not BodyKind.LIST)

    def wrong_counts(self) -> Iterator[Finding]:
        """Bodies with another number of references than their count says, and bodies without any."""
        if not self.complete:
            return
        for row in self.bodies.values():
            held = self.holders[row.body]
            if not held:
                yield Finding(Kind.ORPHAN_BODY, f"body {row.body:016x}", f"{row.size} bytes")
            elif held != row.references:
                yield Finding(Kind.REFERENCES, f"body {row.body:016x}", f"{row.references}, not {held}")
