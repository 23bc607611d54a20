"""The bodies that the reference wrote, kept with the packages that parse and decode them; read where they are, so each exists once."""

import gzip
import hashlib
import json
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Literal

from s4_format import CodecId, FrameHeader
from servers.behind import Stored

PACKAGES = Path(__file__).resolve().parent.parent / "packages"
BODIES = PACKAGES / "s4-codecs" / "tests" / "golden"
SIDECARS = PACKAGES / "s4-format" / "tests" / "golden"
DICTIONARY_ID = "s4-dict-id"


@dataclass(frozen=True, slots=True)
class Golden:
    """One stored object, and what a reader without a GPU and without keys makes of it."""

    id: str
    stored: Stored
    outcome: Literal["plain", "unavailable", "encrypted"]
    size: int | None
    sha256: str | None
    dictionary: Stored | None
    """What lies at `.s4dict/<id>` for it."""

    @property
    def needs(self) -> dict[str, Stored]:
        """Further objects that belong to it, by key."""
        return {} if self.dictionary is None else {f".s4dict/{self.stored.metadata[DICTIONARY_ID]}": self.dictionary}

    @property
    def etag(self) -> str | None:
        """What clients see: the one stamped, else that of a body which is stored as it came; None where none is known."""
        metadata = self.stored.metadata
        stamped = metadata.get("s4-logical-etag")
        as_it_came = metadata.get("s4-codec", "passthrough") == "passthrough" and "s4-framed" not in metadata
        if stamped is None and as_it_came:
            stamped = hashlib.md5(self.stored.body).hexdigest()
        return None if stamped is None else f'"{stamped}"'


@cache
def goldens() -> tuple[Golden, ...]:
    """All of them; fails where a file is missing or is not what it was."""
    entries = json.loads((BODIES / "objects.json").read_text(encoding="utf-8"))
    assert len(entries) >= 25
    return tuple(_read(entry) for entry in entries)


def with_outcome(outcome: str) -> list[Golden]:
    """Those with this outcome."""
    return [golden for golden in goldens() if golden.outcome == outcome]


def of(identity: str) -> Golden:
    """The one with this id."""
    return next(golden for golden in goldens() if golden.id == identity)


def without_decoder() -> list[Golden]:
    """Objects of a codec that only a device decodes, made of those that lie here: a bare payload, and a frame behind others."""
    bare, framed = of("refcode/unframed_nvcomp-bitcomp"), of("refcode/mixed_padded")
    renamed = replace(bare.stored, metadata={**bare.stored.metadata, "s4-codec": CodecId.NVCOMP_ANS.label})
    longer = replace(framed.stored, body=framed.stored.body + FrameHeader(CodecId.NVCOMP_ANS, 5, 9, 0).pack() + bytes(9))
    return [
        replace(bare, id="ans/bare", outcome="unavailable", stored=renamed),
        replace(framed, id="ans/behind others", outcome="unavailable", stored=longer),
    ]


def sidecar_of(golden: Golden) -> bytes | None:
    """The sidecar that the reference wrote beside it."""
    entries = json.loads((SIDECARS / "entries.json").read_text(encoding="utf-8"))["entries"]
    names = {entry["id"]: entry.get("sidecar") for entry in entries}
    name = names.get(golden.id)
    return None if name is None else (SIDECARS / name).read_bytes()


def _read(entry: dict[str, object]) -> Golden:
    path = BODIES / str(entry["body"])
    raw = path.read_bytes()
    assert hashlib.sha256(raw).hexdigest() == entry["stored_sha256"], f"{path} was changed"
    body = gzip.decompress(raw) if path.suffix == ".gz" else raw
    metadata = entry["metadata"]
    assert isinstance(metadata, dict)
    dictionary = entry.get("dictionary")
    size, digest = entry.get("size"), entry.get("sha256")
    return Golden(
        id=str(entry["id"]),
        stored=Stored(body, metadata, "text/x-golden"),
        outcome=entry["outcome"],  # type: ignore[arg-type]
        size=size if isinstance(size, int) else None,
        sha256=digest if isinstance(digest, str) else None,
        dictionary=None if dictionary is None else Stored((BODIES / str(dictionary)).read_bytes()),
    )
