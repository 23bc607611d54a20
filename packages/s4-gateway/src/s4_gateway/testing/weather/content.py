"""What clients of a schedule send: bodies of few sizes, so that a mix-up of two would not show by its length, each of its own content."""

import random
from dataclasses import dataclass
from hashlib import md5


@dataclass(frozen=True, slots=True)
class Shape:
    """Kind and size of a body."""

    noise: bool
    """Incompressible; otherwise text."""
    size: int

    def body(self, seed: str) -> bytes:
        """A body of this shape; another one for each seed."""
        if self.noise:
            return random.Random(seed).randbytes(self.size)
        line = b"%b: an entirely ordinary line of some log\n" % seed.encode()
        numbered = b"".join(b"%06d %b" % (number, line) for number in range(self.size // len(line) + 1))
        return numbered[: self.size]


OBJECTS = (
    Shape(noise=False, size=0),
    Shape(noise=False, size=700),
    Shape(noise=False, size=9_000),
    Shape(noise=False, size=40_000),
    Shape(noise=True, size=700),
    Shape(noise=True, size=9_000),
    Shape(noise=True, size=40_000),
)
PARTS = (Shape(noise=False, size=6_000), Shape(noise=True, size=6_000), Shape(noise=False, size=20_000), Shape(noise=True, size=11_000))
LAST_PARTS = (*PARTS, Shape(noise=False, size=300), Shape(noise=True, size=300))


def etag_of(body: bytes) -> str:
    """The ETag of one PUT."""
    return md5(body, usedforsecurity=False).hexdigest()


def composite(etags: list[str]) -> str:
    """The ETag of a multipart object of parts with these."""
    digest = md5(b"".join(map(bytes.fromhex, etags)), usedforsecurity=False).hexdigest()
    return f"{digest}-{len(etags)}"
