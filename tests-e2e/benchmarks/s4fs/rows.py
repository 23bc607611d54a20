"""The rows: what is done, with which object, and how far away."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from benchmarks.link import Link

MIB = 1 << 20
LOG_BYTES = 256 * MIB
RANDOM_BYTES = 64 * 1024
RANDOM_READS = 300
LISTED = 1000
LISTED_BYTES = 4096
WRITTEN_TIMES = 4
"""How often the log is written in a row: 1 GiB."""

LINKS: Mapping[str, Link] = {
    "0 ms": Link("beside the store"),
    "20 ms": Link("20 ms of round trip", round_trip_ms=20.0),
    "50 ms": Link("50 ms of round trip", round_trip_ms=50.0),
    "20 ms, 100 MB/s": Link("20 ms of round trip and 100 MB/s", round_trip_ms=20.0, mb_per_second=100.0),
}
DISTANCES = ("0 ms", "20 ms", "50 ms")
NEAR_AND_FAR = DISTANCES[:2]
FAR = "20 ms, 100 MB/s"


@dataclass(frozen=True, slots=True)
class Row:
    """One kind of work."""

    title: str
    work: str
    """Name in client.py."""
    data: str
    """Name of an object, of objects.py; a folder's where it is listed."""
    arguments: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))
    links: tuple[str, ...] = DISTANCES
    reads: int = 0
    """How many reads it makes, where reads a second are its figure."""
    moved: int = 0
    """Original bytes that pass; 0 = those that are read."""


ROWS: Mapping[str, Row] = {
    "parquet": Row("Parquet, footer and 3 columns, by pyarrow", "parquet", "parquet", {"columns": ["dep_delay", "arr_delay", "distance"]}),
    "parquet known": Row(
        "The same by `fsspec.parquet`, which asks for what is needed at once",
        "parquet_known",
        "parquet",
        {"columns": ["dep_delay", "arr_delay", "distance"]},
    ),
    "csv": Row("CSV in ranges of 8 MiB", "ranges", "csv", {"step": 8 * MIB}),
    "listing": Row("`ls` of 1,000 objects with sizes", "listing", "listed", links=NEAR_AND_FAR),
    "sequential": Row("`log`, 256 MiB, an open file read to its end", "sequential", "log", {"step": 4 * MIB}),
    "whole": Row("`log`, 256 MiB, `cat_file`", "whole", "log"),
    "random": Row(
        "`log`, 300 reads of 64 KiB, one by one, `cat_file`",
        "one_by_one",
        "log",
        {"length": RANDOM_BYTES, "count": RANDOM_READS},
        links=NEAR_AND_FAR,
        reads=RANDOM_READS,
    ),
    "seeking": Row(
        "`log`, 300 reads of 64 KiB, one by one, of one open file",
        "seeking",
        "log",
        {"length": RANDOM_BYTES, "count": RANDOM_READS},
        links=NEAR_AND_FAR,
        reads=RANDOM_READS,
    ),
    "together": Row(
        "`log`, 300 reads of 64 KiB, `cat_ranges`",
        "together",
        "log",
        {"length": RANDOM_BYTES, "count": RANDOM_READS},
        links=NEAR_AND_FAR,
        reads=RANDOM_READS,
    ),
    "far": Row("`log`, 256 MiB, an open file read to its end", "sequential", "log", {"step": 4 * MIB}, links=(FAR,)),
    "far whole": Row("`log`, 256 MiB, `cat_file`", "whole", "log", links=(FAR,)),
    "write": Row(
        "1 GiB written through an open file",
        "write",
        "written",
        {"times": WRITTEN_TIMES},
        links=("0 ms",),
        moved=WRITTEN_TIMES * LOG_BYTES,
    ),
}
