"""Codec 0: the bytes as they are."""

from collections.abc import Iterator

from s4_format import Buffer, CodecId

from s4_codecs._buffer import as_bytes_view
from s4_codecs.errors import SizeMismatchError


class PassthroughCodec:
    """Stores bytes as they are. The encoder and decoder hand the caller's own views through and do not call it."""

    codec_id = CodecId.PASSTHROUGH
    name = CodecId.PASSTHROUGH.label

    def __repr__(self) -> str:
        return "PassthroughCodec()"

    def compress(self, data: Buffer) -> bytes:
        """A copy of `data` (`data` itself when it is `bytes`)."""
        return bytes(as_bytes_view(data))

    def decompress(self, payload: Buffer, original_size: int) -> bytes:
        """A copy of `payload` (`payload` itself when it is `bytes`).

        Raises:
            SizeMismatchError: it is not `original_size` bytes long.
        """
        view = as_bytes_view(payload)
        if len(view) != original_size:
            raise SizeMismatchError(f"passthrough payload holds {len(view)} bytes, {original_size} promised")
        return bytes(view)

    def inflater(self) -> "PassthroughInflater":
        """A decoder for one payload that arrives in pieces."""
        return PassthroughInflater()


class PassthroughInflater:
    """Hands each piece on."""

    def feed(self, data: Buffer) -> Iterator[Buffer]:
        """Yield `data` itself."""
        yield as_bytes_view(data)

    def close(self) -> None:
        """Any end is a legal one."""
