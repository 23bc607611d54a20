"""Codecs that stand in for installed ones."""

import numpy as np
import zstandard
from s4_format import Buffer, CodecId

from s4_codecs.errors import CodecUnavailableError


class Differences:
    """In the place of cpu-columnar: differences of 64-bit integers, then zstd; bytes that are no whole numbers stay as they are."""

    codec_id = CodecId.CPU_COLUMNAR
    name = codec_id.label

    def compress(self, data: Buffer) -> bytes:
        """The differences of `data`, compressed."""
        view = memoryview(data)
        whole = len(view) // 8 * 8
        numbers = np.frombuffer(view[:whole], dtype="<u8")
        filtered = np.diff(numbers, prepend=np.uint64(0)).view(np.uint8).reshape(-1, 8).T.tobytes()
        return zstandard.ZstdCompressor(level=1).compress(filtered + bytes(view[whole:]))

    def decompress(self, payload: Buffer, original_size: int) -> bytes:
        """Back."""
        data = zstandard.ZstdDecompressor().decompress(payload, max_output_size=original_size)
        whole = original_size // 8 * 8
        lanes = np.frombuffer(data[:whole], dtype=np.uint8).reshape(8, -1)
        numbers = np.cumsum(np.ascontiguousarray(lanes.T).view("<u8").ravel(), dtype=np.uint64)
        return numbers.tobytes() + data[whole:]


class Missing(Differences):
    """The same without what it needs."""

    def compress(self, data: Buffer) -> bytes:
        """Nothing."""
        raise CodecUnavailableError("not installed here", codec=self.codec_id, extra="columnar")
