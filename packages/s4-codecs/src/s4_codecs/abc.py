"""What a codec is."""

from collections.abc import Iterator, Sequence
from typing import Protocol, runtime_checkable

from s4_format import Buffer, CodecId


@runtime_checkable
class Codec(Protocol):
    """Compresses and decompresses whole payloads.

    One instance serves any number of threads at once, and releases the GIL while it works.
    A provider (entry point group `s4.codecs`, named by the codec's label) is a callable that takes keyword options
    (`level`, `dictionary`, ...) and returns a Codec.
    """

    @property
    def codec_id(self) -> CodecId:
        """The id written into frame headers."""
        ...

    @property
    def name(self) -> str:
        """The label written into metadata; equals `codec_id.label`."""
        ...

    def compress(self, data: Buffer) -> bytes:
        """Return `data` as one payload. The result may be longer than the input."""
        ...

    def decompress(self, payload: Buffer, original_size: int) -> bytes:
        """Return the `original_size` bytes that `payload` holds.

        Never produces more than `original_size + 1` bytes, whatever the payload says. The CRC is the caller's to check.

        Raises:
            SizeMismatchError: the payload holds fewer or more bytes.
            CorruptPayloadError: the payload is damaged, incomplete or followed by garbage.
            DictionaryError: the payload needs another dictionary.
        """
        ...


@runtime_checkable
class BatchCodec(Codec, Protocol):
    """A codec that does many payloads in one go better than one by one, since a device works for all of them at once."""

    def encode_many(self, frames: Sequence[Buffer]) -> list[Buffer]:
        """The payloads of these plaintexts, in their order; each is what `compress` gives.

        Raises:
            DeviceMemoryError: the device has no memory for them now; whoever has another codec uses that.
            CodecUnavailableError: there is no device.
        """
        ...

    def decode_many(self, payloads: Sequence[Buffer], original_sizes: Sequence[int]) -> list[Buffer]:
        """The plaintexts of these payloads, in their order, of these sizes in bytes; each is what `decompress` gives.

        Raises:
            SizeMismatchError, CorruptPayloadError: one of them is wrong; nothing is said of the others.
        """
        ...


class Inflater(Protocol):
    """Decompresses one payload that arrives in pieces, in bounded steps. Not thread-safe."""

    def feed(self, data: Buffer) -> Iterator[Buffer]:
        """Yield what `data` decodes to, in pieces of at most about 1 MiB; exhaust it before the next call.

        Raises:
            CorruptPayloadError: the stream is damaged, followed by garbage, or needs another dictionary.
        """
        ...

    def close(self) -> None:
        """The payload ended.

        Raises:
            CorruptPayloadError: in the middle of the stream.
        """
        ...


@runtime_checkable
class StreamingCodec(Codec, Protocol):
    """A codec whose payloads can also be decoded piece by piece."""

    def inflater(self) -> Inflater:
        """A decoder for one payload."""
        ...
