"""Read the golden bytes in `tests/golden`; a missing file fails, nothing is ever written."""

import gzip
import json
from hashlib import sha256
from pathlib import Path
from typing import Any

GOLDEN = Path(__file__).parent / "golden"


def read(name: str) -> bytes:
    """The bytes of a golden file, unpacked if it is gzipped."""
    data = (GOLDEN / name).read_bytes()
    return gzip.decompress(data) if name.endswith(".gz") else data


def rows(name: str) -> list[dict[str, Any]]:
    """The cases of a table, JSON or JSON lines."""
    text = (GOLDEN / name).read_text()
    found = [json.loads(line) for line in text.splitlines()] if name.endswith(".jsonl") else json.loads(text)
    assert found, f"{name} is empty"
    return list(found)


def entries(*, having: str = "id") -> list[dict[str, Any]]:
    """The stored objects that have this field."""
    found = [entry for entry in json.loads((GOLDEN / "entries.json").read_text())["entries"] if having in entry]
    assert found, f"no golden object has {having}"
    return found


def body(entry: dict[str, Any]) -> bytes:
    """The framed body of a stored object, put together from its pieces and checked."""
    joined = b"".join(read(piece) if isinstance(piece, str) else _padding(piece) for piece in entry["pieces"])
    assert sha256(joined).hexdigest() == entry["body_sha256"], entry["id"]
    return joined


def _padding(piece: dict[str, int]) -> bytes:
    size = piece["pad_payload_zero_bytes"]
    return b"S4P1" + size.to_bytes(8, "little") + bytes(size)
