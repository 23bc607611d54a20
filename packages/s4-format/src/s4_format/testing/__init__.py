"""What tests of stored bytes share: hypothesis strategies for everything s4_format reads and writes, and ways to feed a reader.

`bodies` draws a whole framed body with the items it is made of, `trailers` a trailer with the offset it stands at, `containers` an FCG1
container with its chunks, `columnar_blocks` blocks of cpu-columnar whose streams are any bytes, the others the value types of the same
name. `pieces` cuts bytes, `read_items` drives a `FrameReader` through
them. Needs the extra `testing`.
"""

try:
    import hypothesis as _hypothesis  # noqa: F401
except ImportError as error:
    raise ImportError("s4_format.testing needs hypothesis: pip install 's4-format[testing]'") from error

from s4_format.testing.feeding import cut_anywhere, pieces, read_items
from s4_format.testing.strategies import (
    BodyItem,
    attributes,
    bodies,
    columnar_blocks,
    containers,
    frame_headers,
    frame_tables,
    gapped_frame_tables,
    manifests,
    part_tables,
    sidecars,
    trailers,
)

__all__ = [
    "BodyItem",
    "attributes",
    "bodies",
    "columnar_blocks",
    "containers",
    "cut_anywhere",
    "frame_headers",
    "frame_tables",
    "gapped_frame_tables",
    "manifests",
    "part_tables",
    "pieces",
    "read_items",
    "sidecars",
    "trailers",
]
