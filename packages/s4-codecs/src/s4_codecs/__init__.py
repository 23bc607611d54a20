"""Codecs, dispatcher, object encoder and object decoder of S4.

`compress`, `encode_object`, `decode_object` and `verify_object` do one thing in one call. `ObjectEncoder` and `ObjectDecoder` are for
streams and ranges: they turn plaintext into stored frames and back without input or output of their own, and `encode_threaded`,
`encode_async` and their siblings drive them. `Codec` is what a codec is, `codec_for` finds one.
Everything refused raises a `CodecError`, or a `s4_format.FormatError` where the stored bytes are malformed.
"""

from s4_format import iter_frames

from s4_codecs._version import __version__
from s4_codecs.abc import BatchCodec, Codec, Inflater, StreamingCodec
from s4_codecs.api import (
    Compressed,
    EncodedObject,
    Observe,
    Telemetry,
    bind_index,
    build_index,
    compress,
    decode_object,
    decompress,
    encode_object,
    gpu_available,
)
from s4_codecs.checksums import ALGORITHMS, CRC_ALGORITHMS, Digests, combine_crc, crc64nvme, crc_bytes
from s4_codecs.decode import Decoded, DecodeTask, ObjectDecoder, decode_only_frame, open_decoder
from s4_codecs.device_calls import DeviceCall, device_calls
from s4_codecs.dispatch import (
    AlwaysDispatcher,
    Decision,
    Dispatcher,
    DispatchRule,
    DispatchRules,
    SamplingDispatcher,
    TrialDispatcher,
    explain,
)
from s4_codecs.drive import decode_async, decode_threaded, encode_async, encode_threaded
from s4_codecs.encode import ObjectEncoder
from s4_codecs.errors import (
    ChecksumMismatchError,
    CodecError,
    CodecMismatchError,
    CodecUnavailableError,
    CorruptPayloadError,
    CrcMismatchError,
    DeviceMemoryError,
    DictionaryError,
    EncodeSizeError,
    EncryptedObjectError,
    IndexMismatchError,
    Reason,
    RegistryError,
    SizeLimitError,
    SizeMismatchError,
)
from s4_codecs.frame_task import EncodedFrame, FrameTask
from s4_codecs.options import EncodeOptions, GpuPreference
from s4_codecs.payload import DecodeStream, PayloadDecoder, decode_frame, decode_payload
from s4_codecs.policy import FramePolicy, frame_size, part_frame_size
from s4_codecs.registry import available_codecs, codec_for
from s4_codecs.verify import Verified, verify_object

__all__ = [
    "ALGORITHMS",
    "CRC_ALGORITHMS",
    "AlwaysDispatcher",
    "BatchCodec",
    "ChecksumMismatchError",
    "Codec",
    "CodecError",
    "CodecMismatchError",
    "CodecUnavailableError",
    "Compressed",
    "CorruptPayloadError",
    "CrcMismatchError",
    "Decision",
    "DecodeStream",
    "DecodeTask",
    "Decoded",
    "DeviceCall",
    "DeviceMemoryError",
    "DictionaryError",
    "Digests",
    "DispatchRule",
    "DispatchRules",
    "Dispatcher",
    "EncodeOptions",
    "EncodeSizeError",
    "EncodedFrame",
    "EncodedObject",
    "EncryptedObjectError",
    "FramePolicy",
    "FrameTask",
    "GpuPreference",
    "IndexMismatchError",
    "Inflater",
    "ObjectDecoder",
    "ObjectEncoder",
    "Observe",
    "PayloadDecoder",
    "Reason",
    "RegistryError",
    "SamplingDispatcher",
    "SizeLimitError",
    "SizeMismatchError",
    "StreamingCodec",
    "Telemetry",
    "TrialDispatcher",
    "Verified",
    "__version__",
    "available_codecs",
    "bind_index",
    "build_index",
    "codec_for",
    "combine_crc",
    "compress",
    "crc64nvme",
    "crc_bytes",
    "decode_async",
    "decode_frame",
    "decode_object",
    "decode_only_frame",
    "decode_payload",
    "decode_threaded",
    "decompress",
    "device_calls",
    "encode_async",
    "encode_object",
    "encode_threaded",
    "explain",
    "frame_size",
    "gpu_available",
    "iter_frames",
    "open_decoder",
    "part_frame_size",
    "verify_object",
]
