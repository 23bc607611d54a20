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


@dataclass(frozen=True, slots=True)
class Scale:
    """The bodies of a schedule, as large as the limits of its gateways ask for."""

    objects: tuple[Shape, ...]
    parts: tuple[Shape, ...]
    last_parts: tuple[Shape, ...]
    smallest_part: int
    """Least logical bytes of a part but the last."""

    @property
    def largest(self) -> int:
        """Bytes of the largest object that one PUT sends."""
        return max(shape.size for shape in self.objects)


def scale(*, objects: tuple[int, int, int], parts: tuple[int, int], smallest_part: int) -> Scale:
    """Empty, small, medium and large objects, and parts that are staged and direct.

    Args:
        objects: sizes of a small object, of one of several frames, and of one that is streamed where it does not compress.
        parts: two sizes of parts.
        smallest_part: see `Scale`.
    """
    kinds = (False, True)
    middle = tuple(Shape(noise=noise, size=size) for noise in kinds for size in parts)
    return Scale(
        (Shape(noise=False, size=0), *(Shape(noise=noise, size=size) for noise in kinds for size in objects)),
        middle,
        (*middle, *(Shape(noise=noise, size=300) for noise in kinds)),
        smallest_part,
    )


KILOBYTES = scale(objects=(700, 9_000, 40_000), parts=(6_000, 11_000), smallest_part=4096)
"""For gateways whose limits were brought down."""
MEGABYTES = scale(objects=(700, 700_000, 9 * 2**20), parts=(5 * 2**20, 5 * 2**20 + 11_000), smallest_part=5 * 2**20)
"""For real ones."""


def etag_of(body: bytes) -> str:
    """The ETag of one PUT."""
    return md5(body, usedforsecurity=False).hexdigest()


def composite(etags: list[str]) -> str:
    """The ETag of a multipart object of parts with these."""
    digest = md5(b"".join(map(bytes.fromhex, etags)), usedforsecurity=False).hexdigest()
    return f"{digest}-{len(etags)}"
