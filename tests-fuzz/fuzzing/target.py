"""What is fuzzed, and what holds for every input: documented refusals only, bounded time and memory."""

import resource
import time
from collections.abc import Callable
from dataclasses import dataclass

from s4_gateway.errors import S3Error

MAX_BYTES = 4096
"""Longest input where a target does not say otherwise: long enough for every structure, short enough for many thousand tries a second."""
MAX_SECONDS = 2.0
"""CPU time of one input, with coverage counted. A parser needs well below a millisecond; the rest is for a busy machine."""
MAX_GROWTH = 64 * 2**20
"""Bytes by which one input may raise the process's peak of resident memory. Inputs are at most some ten KiB long."""


class Finding(AssertionError):
    """An input broke a promise."""


@dataclass(frozen=True, slots=True)
class Target:
    """One parser under test.

    Attributes:
        name: as given on the command line, and of its corpus file.
        check: hands the input to the parser. Returning means that all properties held; raising one of `refusals` that it was refused.
        modules: names whose coverage leads the fuzzer.
        seeds: inputs to begin with, beside the corpus.
        words: tokens of the language, which the fuzzer would be long in finding.
        refusals: the documented errors.
        codes: of `S3Error`, the documented ones; empty = it must not be raised.
        max_bytes: longest input.
    """

    name: str
    check: Callable[[bytes], None]
    modules: tuple[str, ...]
    seeds: tuple[bytes, ...]
    words: tuple[bytes, ...] = ()
    refusals: tuple[type[Exception], ...] = ()
    codes: frozenset[str] = frozenset()
    max_bytes: int = MAX_BYTES

    def run(self, data: bytes) -> None:
        """Try one input.

        Raises:
            Finding: it took too much, or was refused with an error that is not documented.
            Exception: whatever else the parser let through.
        """
        peak, began = _peak(), time.thread_time()
        try:
            self.check(data)
        except S3Error as error:
            if error.code not in self.codes:
                raise Finding(f"{error.code} is not among the documented refusals") from error
        except self.refusals:
            pass
        seconds, growth = time.thread_time() - began, _peak() - peak
        if seconds > MAX_SECONDS:
            raise Finding(f"{len(data)} bytes took {seconds:.1f} s of CPU time")
        if growth > MAX_GROWTH:
            raise Finding(f"{len(data)} bytes took {growth >> 20} MiB of memory")


def _peak() -> int:
    """Most resident bytes of this process so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def require(holds: bool, promise: str) -> None:  # noqa: FBT001
    """Raise a `Finding` that names the promise unless it holds."""
    if not holds:
        raise Finding(promise)


def outcome(work: Callable[[], object], *refusals: type[Exception]) -> object:
    """The result, or the kind of a refusal in a form that compares: what two ways of reading the same bytes must agree on."""
    try:
        return "read", work()
    except S3Error as error:
        return "refused", error.code, error.status
    except refusals as error:
        return "refused", type(error).__name__, getattr(error, "reason", None)


def cuts(data: bytes, seed: int) -> list[bytes]:
    """`data` in pieces of 1 to 16 bytes, cut as `seed` says; empty for no data."""
    pieces, position = [], 0
    while position < len(data):
        seed = (seed * 1103515245 + 12345) & 0x7FFFFFFF
        size = 1 + (seed >> 16) % 16
        pieces.append(data[position : position + size])
        position += size
    return pieces
