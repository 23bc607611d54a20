"""Bodies for every stored form, by a name that is short enough to print."""

import random
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

Kind = Literal["text", "noise", "mixed", "zeros"]
KINDS: tuple[Kind, ...] = ("text", "noise", "mixed", "zeros")


@dataclass(frozen=True, slots=True)
class Body:
    """A body: compressible, incompressible, both by turns, or nothing but zeros."""

    kind: Kind
    size: int
    seed: int = 0

    @property
    def bytes(self) -> bytes:
        """The body itself; the same for equal values."""
        return _made(self.kind, self.size, self.seed)


@lru_cache(maxsize=512)
def _made(kind: Kind, size: int, seed: int) -> bytes:
    if kind == "zeros":
        return bytes(size)
    if kind == "noise":
        return random.Random(seed).randbytes(size)
    text = b"".join(b"%07d seed %d: an entirely ordinary line of some log\n" % (number, seed) for number in range(size // 50 + 1))[:size]
    if kind == "text":
        return text
    noise = random.Random(seed).randbytes(size)
    step = max(1, size // 4)
    return b"".join((noise if at // step % 2 else text)[at : at + step] for at in range(0, size, step))
