"""What a dispatcher is."""

from typing import Protocol

from s4_format import Buffer, CodecId

from s4_codecs.dispatch.decision import Decision


class Dispatcher(Protocol):
    """Chooses the codec of a whole object from its beginning. Stateless: equal arguments give equal answers."""

    @property
    def sample_bytes(self) -> int:
        """How many bytes from the start of an object it wants to see, if the object has as many."""
        ...

    def pick(self, sample: Buffer, total_size: int | None) -> CodecId:
        """The codec for an object that begins with `sample`.

        Args:
            sample: the first min(`sample_bytes`, size) bytes; more are ignored, but for a trial, which spreads its samples over all.
            total_size: bytes of the object, None when unknown.
        """
        ...

    def explain(self, sample: Buffer, total_size: int | None) -> Decision:
        """The same with its reasons; `pick` is its `codec`."""
        ...
