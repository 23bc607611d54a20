"""Planted bugs: each is of a kind that the fuzzer must be able to find, or its silence says nothing."""

from collections.abc import Mapping

from fuzzing.target import Target, require
from fuzzing.targets import TARGETS as REAL
from s4_gateway.wire import ranges

KEPT: list[bytes] = []


def check_depth(data: bytes) -> None:
    """Six nested comparisons: one in 2^48 at random, and six small steps for whoever is told of new branches."""
    if data[:1] == b"C":
        if data[1:2] == b"a":
            if data[2:3] == b"n":
                if data[3:4] == b"a":
                    if data[4:5] == b"r":
                        require(data[5:6] != b"y", "nobody guesses this")


def check_split(data: bytes) -> None:
    """A line reader that looks for CRLF in each piece alone: cut between its two bytes it misses an end."""
    if data:
        cut = data[0] % len(data)
        require(_lines([data]) == _lines([data[:cut], data[cut:]]), "a cut text has the lines of a whole one")


def _lines(pieces: list[bytes]) -> list[bytes]:
    lines, held = [], b""
    for piece in pieces:
        *ended, rest = piece.split(b"\r\n")
        for end in ended:
            lines.append(held + end)
            held = b""
        held += rest
    return lines


def check_slowness(data: bytes) -> None:
    """Work that grows with the fourth power of a run of brackets; not without end, because it is to be judged by time and not by a hang."""
    depth = min(len(data) - len(data.lstrip(b"[")), 80)
    total = 0
    for number in range(depth**4):
        total += number


def check_greed(data: bytes) -> None:
    """A length that is believed before the bytes are there."""
    if len(data) > 4 and data[0] == ord("L"):
        KEPT[:] = [b"x" * min(int.from_bytes(data[1:4]) * 64, 2**28)]


def check_leak(data: bytes) -> None:
    """A real parser with a bug in it: no position of a range may end with 77."""
    original = ranges._position

    def position(digits: str) -> int:
        if digits.endswith("77"):
            raise IndexError(digits)
        return original(digits)

    ranges._position = position
    try:
        REAL["values"].check(b"\x00" + data)
    finally:
        ranges._position = original


CANARIES = {
    "depth": (check_depth, (b"A",)),
    "split": (check_split, (b"a line\r\nand another",)),
    "slowness": (check_slowness, (b"[x]",)),
    "greed": (check_greed, (b"A----",)),
    "leak": (check_leak, (b"bytes=0-9",)),
}
TARGETS: Mapping[str, Target] = {
    name: Target(name, check, modules=("canaries", "s4_gateway.wire.ranges"), seeds=seeds, max_bytes=256)
    for name, (check, seeds) in CANARIES.items()
}
