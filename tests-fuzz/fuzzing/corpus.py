"""Inputs that are kept: one file a target, one input a line in base64, so that a change of them can be read."""

import base64
import hashlib
from collections.abc import Iterable
from pathlib import Path

FOLDER = Path(__file__).resolve().parent.parent / "corpus"
MAX_KEPT_BYTES = 12 * 1024
"""Of one target; the fuzzer finds the rest again."""


def read(name: str) -> list[bytes]:
    """The kept inputs of a target; none where nothing was kept yet."""
    path = FOLDER / f"{name}.txt"
    return [base64.b64decode(line, validate=True) for line in path.read_text("ascii").split()] if path.exists() else []


def write(name: str, inputs: Iterable[bytes]) -> None:
    """Keep these inputs, the shortest first, up to the bound."""
    lines, size = [], 0
    for data in sorted(set(inputs), key=lambda data: (len(data), data)):
        size += len(data)
        if size > MAX_KEPT_BYTES:
            break
        lines.append(base64.b64encode(data).decode("ascii"))
    FOLDER.mkdir(exist_ok=True)
    (FOLDER / f"{name}.txt").write_text("".join(f"{line}\n" for line in sorted(lines)), "ascii")


def unpack(inputs: Iterable[bytes], folder: Path) -> Path:
    """Files for libFuzzer; the folder."""
    folder.mkdir()
    for data in inputs:
        (folder / hashlib.sha1(data).hexdigest()).write_bytes(data)
    return folder
