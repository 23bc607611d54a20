"""Figures of GPU codecs: what packages/s4-codecs/benchmarks/gpu_pipeline.py wrote on a machine with a GPU."""

import json
from pathlib import Path
from typing import Any

from benchmarks.codecs.figures import DEVICE, Figure

KEPT = Path(__file__).parents[3] / "packages" / "s4-codecs" / "benchmarks" / "gpu_h200.json"


def device_figures(path: Path = KEPT) -> list[Figure]:
    """One for each workload and codec."""
    kept = _load(path)
    return [
        Figure(one["workload"], one["codec"], DEVICE, one["ratio"], one["encode_gbps"], one["decode_gbps"], kept["frame_bytes"])
        for one in kept["streams"]
    ]


def device_words(path: Path = KEPT) -> str:
    """What they were measured on, and how."""
    kept = _load(path)
    small, machine = kept["small_objects"], kept["machine"]
    copies = (
        f"{machine['host_to_device_gbps']:.0f} GB/s to the device, and {machine['copy_ten_threads_gbps']:.0f} in memory with ten threads"
    )
    return (
        f"{kept['device']}, nvCOMP {kept['nvcomp']}, {kept['cpus']} CPU cores; {kept['stream_bytes'] >> 30} GiB from ordinary memory to "
        f"ordinary memory, checksums and frames included, wall clock, medians of {kept['rounds']}. The machine copies {copies}. "
        f"1,000 objects of 8 KiB together: {small['one_caller_per_s']:,.0f} objects a second."
    )


def _load(path: Path) -> dict[str, Any]:
    kept: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return kept
