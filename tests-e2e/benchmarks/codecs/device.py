"""Figures that the pipeline's benchmark wrote on a machine with a GPU."""

import json
from pathlib import Path

from benchmarks.codecs.figures import DEVICE, Figure


def device_figures(path: Path) -> tuple[list[Figure], dict[str, object]]:
    """The figures of one file, and what they were measured on.

    Raises:
        KeyError: the file is not one of gpu_pipeline.py.
    """
    kept = json.loads(path.read_text(encoding="utf-8"))
    figures = [Figure(one["workload"], one["codec"], DEVICE, one["ratio"], one["encode"], one["decode"]) for one in kept["figures"]]
    return figures, kept["facts"]
