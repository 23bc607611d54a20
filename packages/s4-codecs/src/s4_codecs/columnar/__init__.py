"""cpu-columnar: bodies that are arrays of fixed-width numbers, or hold them. `ColumnarCodec` is the codec."""

from s4_codecs.columnar.codec import ColumnarCodec

__all__ = ["ColumnarCodec"]
