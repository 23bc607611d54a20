"""Errors of s4_codecs.

    CodecError (ValueError)
     ├─ CrcMismatchError        decoded bytes have another CRC32C than promised
     ├─ ChecksumMismatchError   the whole object has another checksum or ETag than its metadata says
     ├─ SizeMismatchError       decoded or stored bytes are fewer or more than promised
     ├─ SizeLimitError          a promised size exceeds the caller's limit
     ├─ CorruptPayloadError     the compressed stream itself is damaged, or (`UNKNOWN_FILTER`) a newer version wrote it
     ├─ CodecMismatchError      a payload was handed to another codec than wrote it
     ├─ CodecUnavailableError   no implementation of this codec is installed, or none exists
     ├─ DeviceMemoryError       a device codec has no memory for this work now; a CPU codec can do it
     ├─ DictionaryError         a dictionary is missing, unusable or not the one needed
     ├─ IndexMismatchError      a frame header contradicts the frame table
     ├─ EncryptedObjectError    the stored bytes are ciphertext
     ├─ EncodeSizeError         the plaintext is shorter or longer than declared
     └─ RegistryError           two providers claim one codec, or a provider is not a codec

Malformed frames, indexes and trailers raise `s4_format.FormatError`, which is not wrapped here.
Callers look at the class or at `reason`, never at the message.
"""

from enum import StrEnum

from s4_format import CodecId


class Reason(StrEnum):
    """Why an operation failed, for machines."""

    CRC_MISMATCH = "crc-mismatch"
    CHECKSUM_MISMATCH = "checksum-mismatch"
    SIZE_MISMATCH = "size-mismatch"
    BODY_TRUNCATED = "body-truncated"
    SIZE_LIMIT = "size-limit"
    CORRUPT_PAYLOAD = "corrupt-payload"
    UNKNOWN_FILTER = "unknown-filter"
    CODEC_MISMATCH = "codec-mismatch"
    CODEC_UNAVAILABLE = "codec-unavailable"
    DEVICE_MEMORY = "device-memory"
    DICTIONARY_MISSING = "dictionary-missing"
    DICTIONARY_INVALID = "dictionary-invalid"
    INDEX_MISMATCH = "index-mismatch"
    ENCRYPTED = "encrypted"
    DECLARED_SIZE = "declared-size"
    DUPLICATE_PROVIDER = "duplicate-provider"
    INVALID_PROVIDER = "invalid-provider"


class CodecError(ValueError):
    """Base of all errors of this package; `reason` says which one, for machines."""

    reason: Reason

    def __init__(self, message: str, *, reason: Reason | None = None) -> None:
        super().__init__(message)
        if reason is not None:
            self.reason = reason


class CrcMismatchError(CodecError):
    """The decoded bytes have another CRC32C than the header or manifest promised."""

    reason = Reason.CRC_MISMATCH


class ChecksumMismatchError(CodecError):
    """The whole object has another checksum or ETag than its metadata says, although every frame is sound."""

    reason = Reason.CHECKSUM_MISMATCH


class SizeMismatchError(CodecError):
    """Bytes are fewer or more than a header, manifest or range promised (`BODY_TRUNCATED` when the body ended early)."""

    reason = Reason.SIZE_MISMATCH


class SizeLimitError(CodecError):
    """A promised size exceeds the limit that the caller set; nothing was allocated."""

    reason = Reason.SIZE_LIMIT


class CorruptPayloadError(CodecError):
    """The compressed stream is damaged, incomplete, or followed by something that is not one."""

    reason = Reason.CORRUPT_PAYLOAD


class CodecMismatchError(CodecError):
    """A payload was handed to another codec than the one that wrote it."""

    reason = Reason.CODEC_MISMATCH


class CodecUnavailableError(CodecError):
    """No implementation of `codec` can be used here; `extra` is the extra of s4-codecs to install, None when none exists."""

    reason = Reason.CODEC_UNAVAILABLE

    def __init__(self, message: str, *, codec: CodecId | None = None, extra: str | None = None) -> None:
        super().__init__(message)
        self.codec = codec
        self.extra = extra


class DeviceMemoryError(CodecError):
    """A codec that works on a device has no memory there for this work now. Later it may; a codec of the CPU can do it at once."""

    reason = Reason.DEVICE_MEMORY


class DictionaryError(CodecError):
    """A dictionary is missing, unusable or not the one that the payload names."""

    reason = Reason.DICTIONARY_INVALID


class IndexMismatchError(CodecError):
    """A frame header contradicts the frame table that was used to find it."""

    reason = Reason.INDEX_MISMATCH


class EncryptedObjectError(CodecError):
    """The stored bytes are ciphertext, which is to be decrypted before it is decoded."""

    reason = Reason.ENCRYPTED


class EncodeSizeError(CodecError):
    """The plaintext is shorter or longer than declared; nothing of it may become visible."""

    reason = Reason.DECLARED_SIZE


class RegistryError(CodecError):
    """Two providers claim one codec, or a provider does not make a codec of the name it claims."""

    reason = Reason.DUPLICATE_PROVIDER
