"""Measuring codecs through the object encoder and decoder, on one thread."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TypeVar

from s4_codecs import CodecUnavailableError, EncodeOptions, ObjectDecoder, ObjectEncoder, codec_for, decode_threaded, encode_threaded
from s4_codecs.testing.workloads import WORKLOADS
from s4_format import Attributes, Buffer, Trailer, trailer_size

from benchmarks.codecs.figures import CPU, Figure

_T = TypeVar("_T")

PIECE = 1 << 20
"""Bytes handed to the encoder and decoder at once, as they would arrive."""

OPTIONS: Mapping[str, EncodeOptions] = {
    "cpu-zstd-1": EncodeOptions(zstd_level=1, dispatcher="always"),
    "cpu-zstd-3": EncodeOptions(dispatcher="always"),
    "cpu-zstd-9": EncodeOptions(zstd_level=9, dispatcher="always"),
    "cpu-zstd-19": EncodeOptions(zstd_level=19, dispatcher="always"),
    "cpu-gzip": EncodeOptions(codec="cpu-gzip", dispatcher="always"),
    "cpu-columnar": EncodeOptions(codec="cpu-columnar", dispatcher="always"),
    "trial": EncodeOptions(dispatcher="trial"),
}
"""Every way to encode that needs no device."""

SLOW = ("cpu-zstd-19",)
"""Measured once: their times are beyond any noise."""


@dataclass(frozen=True, slots=True)
class Missing:
    """A codec that cannot be measured here."""

    codec: str
    why: str


def available(names: Sequence[str]) -> tuple[list[str], list[Missing]]:
    """Which of `names` can be measured, and why not the others."""
    here, missing = list[str](), list[Missing]()
    for name in names:
        try:
            codec_for(OPTIONS[name].codec)
        except CodecUnavailableError as error:
            missing.append(Missing(name, str(error)))
        else:
            here.append(name)
    return here, missing


def measure(workloads: Sequence[str], codecs: Sequence[str], *, size: int, rounds: int) -> Iterator[Figure]:
    """One figure for each workload and codec; each body is decoded and compared."""
    for workload in workloads:
        data = WORKLOADS[workload](size)
        for codec in codecs:
            yield _figure(workload, codec, data, 1 if codec in SLOW else rounds)


def _figure(workload: str, codec: str, data: bytes, rounds: int) -> Figure:
    (encoder, pieces), encoding = _least(lambda: _encode(data, OPTIONS[codec]), rounds)
    _, decoding = _least(lambda: sum(map(len, _decoded(pieces))), rounds)
    if b"".join(_decoded(pieces)) != data:
        raise AssertionError(f"{codec} does not bring {workload} back")
    stored = encoder.stored_size + _trailer_bytes(encoder)
    return Figure(workload, codec, CPU, len(data) / stored, len(data) / encoding / 1e9, len(data) / decoding / 1e9, encoder.frame_size)


def _encode(data: bytes, options: EncodeOptions) -> tuple[ObjectEncoder, list[bytes]]:
    encoder = ObjectEncoder(options, size=len(data), raw_passthrough_limit=0)
    return encoder, list(map(bytes, encode_threaded(encoder, _cut(data), workers=0)))


def _decoded(pieces: Sequence[bytes]) -> Iterator[Buffer]:
    """The plaintext as it comes; whoever times this keeps none of it, as whoever sends it on does."""
    return decode_threaded(ObjectDecoder(), pieces, workers=0)


def _cut(data: bytes) -> Iterator[memoryview]:
    view = memoryview(data)
    for low, high in pairwise([*range(0, len(data), PIECE), len(data)]):
        yield view[low:high]


def _least(work: Callable[[], _T], rounds: int) -> tuple[_T, float]:
    """What `work` returned last, and the least CPU seconds of this thread that it took."""
    least = float("inf")
    for _ in range(rounds):
        started = time.thread_time()
        done = work()
        least = min(least, time.thread_time() - started)
    return done, least


def _trailer_bytes(encoder: ObjectEncoder) -> int:
    if len(encoder.frames) < 2:
        return 0
    return trailer_size(Trailer(Attributes(encoder.original_size), (), encoder.frames), offset=encoder.stored_size)
