"""How each object is to be encoded: the rules as they are now, and what is there to do it with."""

from collections.abc import Callable

from s4_codecs import DispatchRules, EncodeOptions, ObjectEncoder
from s4_codecs.drive import BATCH_BYTES, BATCHES_IN_FLIGHT
from s4_codecs.policy import largest_frame_size
from s4_codecs.registry import GPU_CODECS
from s4_format import CodecId

Adapt = Callable[[EncodeOptions], EncodeOptions]

LEAST_FRAME_ROOM = 1 << 20
"""What a frame of the default size takes with its payload and what it is cut from."""
NO_DEVICE, DEVICE_REFUSED = "no-device", "device-refused"
"""Why cpu-zstd stands in: there is no GPU, or it had no memory, failed, or its queue was full."""
TRIED = (CodecId.CPU_ZSTD, CodecId.CPU_COLUMNAR)


class Encoding:
    """Options by bucket and key.

    Args:
        rules: what the operator wants. They may be replaced while the gateway serves; objects that are being written keep what they have.
        adapt: what becomes of options on this machine: GPU codecs where there is a GPU, others where there is none.
        adapt_small: the same for single PUTs of known size, where small ones are compressed together; None: as `adapt`.
    """

    def __init__(self, rules: DispatchRules, adapt: Adapt = lambda options: options, adapt_small: Adapt | None = None) -> None:
        self._adapt = adapt
        self._adapt_small = adapt_small or adapt
        self._rules = rules
        self._adapted: dict[tuple[Adapt, EncodeOptions], EncodeOptions] = {}

    def follow(self, rules: DispatchRules) -> None:
        """Encode by these rules from now on."""
        self._rules = rules
        self._adapted.clear()

    def for_object(self, bucket: str, key: str) -> EncodeOptions:
        """The options of a multipart upload and its parts."""
        return self._of(bucket, key, self._adapt)

    def for_put(self, bucket: str, key: str) -> EncodeOptions:
        """The options of a single PUT."""
        return self._of(bucket, key, self._adapt_small)

    def misses_device(self, bucket: str, key: str) -> bool:
        """Whether a GPU codec is wanted for this object, and there is no GPU."""
        wanted = self._rules.options_for(bucket, key).codec_id
        return wanted in GPU_CODECS and self.for_object(bucket, key).codec_id is not wanted

    def _of(self, bucket: str, key: str, adapt: Adapt) -> EncodeOptions:
        wanted = self._rules.options_for(bucket, key)
        found = self._adapted.get((adapt, wanted))
        if found is None:
            found = self._adapted[adapt, wanted] = adapt(wanted)
        return found


def frames_footprint(options: EncodeOptions, *, size: int | None, frames_in_flight: int, part: bool = False) -> int:
    """Most bytes that frames of one body take at a time, plaintext and payloads together.

    Args:
        options: of the body.
        size: bytes of the body, None when unknown.
        frames_in_flight: as the drivers have it.
        part: the body is a part of an object, which has larger frames.
    """
    codecs = {options.codec_id, *(TRIED if options.dispatcher == "trial" else ())}
    frame = max(LEAST_FRAME_ROOM, largest_frame_size(size, codecs, part=part))
    most = 2 * frames_in_flight * frame
    if options.gpu is not None or options.codec_id in GPU_CODECS:
        most = max(most, 2 * (BATCHES_IN_FLIGHT + 1) * BATCH_BYTES)
    return most


def stood_in(encoding: Encoding, encoder: ObjectEncoder, bucket: str, key: str) -> str | None:
    """Why cpu-zstd compressed a body, or frames of it, in the place of a GPU codec; None if it did not."""
    if encoder.fallback_frames:
        return DEVICE_REFUSED
    return NO_DEVICE if encoding.misses_device(bucket, key) else None
