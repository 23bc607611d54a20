"""Codec 8: Zstandard against a given dictionary (wire-format.md 2.3 and 8)."""

import threading

import zstandard
from s4_format import Buffer, CodecId

from s4_codecs._buffer import as_bytes_view
from s4_codecs.errors import DictionaryError, Reason
from s4_codecs.zstd import DEFAULT_LEVEL, ZstdInflater, checked_level, compress_streaming, decompress_payload

MAX_DICTIONARY_BYTES = 1024 * 1024
"""Largest dictionary: training, loading and decoding refuse alike above it (wire-format.md 8)."""

_MAGIC = b"\x37\xa4\x30\xec"


class _Contexts(threading.local):
    """As in `s4_codecs.zstd`; a context also holds the digested dictionary."""

    compressor: zstandard.ZstdCompressor | None = None
    decompressor: zstandard.ZstdDecompressor | None = None


class ZstdDictCodec:
    """Zstandard at one level with one dictionary; frames are in the reference's streaming form.

    Args:
        dictionary: a trained zstd dictionary, or raw content (any other bytes).
        level: 1 (fast) to 22 (small).

    Raises:
        DictionaryError: no dictionary, an empty, damaged or oversized one.
        ValueError: a level outside 1..22.
    """

    codec_id = CodecId.CPU_ZSTD_DICT
    name = CodecId.CPU_ZSTD_DICT.label

    def __init__(self, *, dictionary: Buffer | None = None, level: int = DEFAULT_LEVEL) -> None:
        self.level = checked_level(level)
        self._dictionary = _load(dictionary)
        self._contexts = _Contexts()
        if self._is_trained:
            self._probe()

    def __repr__(self) -> str:
        return f"ZstdDictCodec(dictionary=<{len(self._dictionary)} bytes>, level={self.level})"

    @property
    def _is_trained(self) -> bool:
        return self._dictionary.as_bytes()[:4] == _MAGIC

    def compress(self, data: Buffer) -> bytes:
        """`data` as one zstd frame that names the dictionary's id."""
        return compress_streaming(self._contexts.compressor or self._new_compressor(), as_bytes_view(data))

    def decompress(self, payload: Buffer, original_size: int) -> bytes:
        """The bytes of all concatenated frames in `payload`.

        Raises:
            SizeMismatchError, CorruptPayloadError: see `s4_codecs.abc.Codec`.
            DictionaryError: a frame names another dictionary.
        """
        decompressor = self._contexts.decompressor or self._new_decompressor()
        return decompress_payload(decompressor, as_bytes_view(payload), original_size, dictionary_id=self._dictionary.dict_id())

    def inflater(self) -> ZstdInflater:
        """A decoder for one payload that arrives in pieces."""
        return ZstdInflater(zstandard.ZstdDecompressor(dict_data=self._dictionary))

    def _probe(self) -> None:
        """A dictionary with the magic but damaged tables only shows when it is loaded; let it show at once."""
        try:
            self.compress(b"")
        except zstandard.ZstdError as error:
            raise DictionaryError(f"the dictionary cannot be loaded: {error}") from error

    def _new_compressor(self) -> zstandard.ZstdCompressor:
        self._contexts.compressor = made = zstandard.ZstdCompressor(level=self.level, dict_data=self._dictionary)
        return made

    def _new_decompressor(self) -> zstandard.ZstdDecompressor:
        self._contexts.decompressor = made = zstandard.ZstdDecompressor(dict_data=self._dictionary)
        return made


def _load(dictionary: Buffer | None) -> zstandard.ZstdCompressionDict:
    if dictionary is None:
        raise DictionaryError("cpu-zstd-dict needs a dictionary", reason=Reason.DICTIONARY_MISSING)
    data = as_bytes_view(dictionary)
    if not len(data):
        raise DictionaryError("the dictionary is empty")
    if len(data) > MAX_DICTIONARY_BYTES:
        raise DictionaryError(f"the dictionary has {len(data)} bytes, more than {MAX_DICTIONARY_BYTES}")
    return zstandard.ZstdCompressionDict(bytes(data))
