"""The ratios that cpu-columnar is to reach."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from benchmarks.codecs.figures import CPU, REFERENCE, Figure

RATIOS: Mapping[str, float] = {
    "postings": 5000,
    "timestamps": 5000,
    "parquet_like": 100,
    "doc_values": 2.5,
    "gaps": 15.5,
    "jitter": 7.8,
    "walk_i64": 5.7,
    "walk_f64": 6.8,
    "weights_f32": 1.19,
    "records": 5.5,
}
"""By workload: original over stored bytes, 64 MiB."""

SLOWEST_ENCODE = 0.5
"""Of cpu-zstd-3's speed on the same data."""
SLOWEST_DECODE = 1.0
"""GB/s."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """cpu-columnar on one workload beside what it is to reach."""

    workload: str
    figure: Figure
    aim: float
    published: float | None
    """The best ratio that the reference publishes."""
    encode_share: float | None
    """Encoding speed in terms of cpu-zstd-3's; None where that was not measured."""

    @property
    def met(self) -> bool:
        """Whether ratio and both speeds are reached."""
        return self.figure.ratio >= self.aim and self.figure.decode >= SLOWEST_DECODE and (self.encode_share or 0) >= SLOWEST_ENCODE


def verdicts(figures: Iterable[Figure]) -> Iterator[Verdict]:
    """One for each workload with an aim that was measured."""
    known = list(figures)
    here = {(one.workload, one.codec): one for one in known if one.source == CPU}
    for workload, aim in RATIOS.items():
        found, base = here.get((workload, "cpu-columnar")), here.get((workload, "cpu-zstd-3"))
        if found is not None:
            published = max((one.ratio for one in known if one.source == REFERENCE and one.workload == workload), default=None)
            yield Verdict(workload, found, aim, published, None if base is None else found.encode / base.encode)
