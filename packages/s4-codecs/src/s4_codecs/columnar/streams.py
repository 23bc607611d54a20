"""Streams: how the bytes of a column are stored (docs/format/columnar.md, "Streams").

A plane of bytes is stored as one byte when it is constant, as it is when it looks random, bit by bit when few bits are used, and else by
zstd, which either codes literals only (several times as fast, and smaller where nothing repeats) or looks for matches.
"""

import threading
from collections.abc import Callable
from functools import partial

import numpy as np
import zstandard
from s4_format import Buffer
from s4_format.columnar import Coder, Stream

from s4_codecs.columnar.filters import Bytes
from s4_codecs.columnar.samples import spread
from s4_codecs.zstd import ZstdCodec, decompress_payload

_SAMPLE_BYTES = 16 * 1024
_SAMPLE_PIECES = 4
_WORTH_ENTROPY = 0.985
"""A stream is coded if that saves more than 1.5 %; the same is worth a slower coder."""
_MAX_BITS = 4
"""More bits than these, as planes, are no smaller than zstd's literals and slower to join."""
_FAST_BITS = 2
"""Up to so many planes of bits are joined faster than zstd decodes literals."""
_PROBE_BYTES = 8
_PROBES = 2
"""Sequences of the second half, all of which must occur in the first: one may by chance."""
_PROBE_MIN_BYTES = 32 * 1024

_LITERALS = {"window_log": 17, "hash_log": 6, "chain_log": 6, "search_log": 1, "min_match": 7, "strategy": zstandard.STRATEGY_FAST}
"""A match finder that finds almost nothing; without `target_length` the literals are still entropy coded."""


class _Contexts(threading.local):
    """libzstd contexts must not be shared between threads."""

    literals: zstandard.ZstdCompressor | None = None
    decompressor: zstandard.ZstdDecompressor | None = None


_contexts = _Contexts()


def compress_literals(data: Buffer) -> bytes:
    """One zstd frame of `data` with entropy coded literals and hardly a match."""
    if _contexts.literals is None:
        parameters = zstandard.ZstdCompressionParameters.from_level(3, write_content_size=True, target_length=0, **_LITERALS)
        _contexts.literals = zstandard.ZstdCompressor(compression_params=parameters)
    return _contexts.literals.compress(data)


def decompress(data: Buffer, size: int) -> bytes:
    """The `size` bytes of a zstd stream.

    Raises:
        SizeMismatchError, CorruptPayloadError, DictionaryError: as `ZstdCodec.decompress`.
    """
    if _contexts.decompressor is None:
        _contexts.decompressor = zstandard.ZstdDecompressor()
    return decompress_payload(_contexts.decompressor, memoryview(data), size, dictionary_id=0)


def encode_whole(data: Bytes, zstd: ZstdCodec) -> Stream:
    """A stream that is no plane of bytes: zstd, or as it is."""
    packed = zstd.compress(data.data)
    return Stream(Coder.ZSTD, 0, packed) if len(packed) < data.size else Stream(Coder.RAW, 0, data.data)


def encode_plane(plane: Bytes, zstd: ZstdCodec) -> Stream:
    """The smallest stream of `plane`, or of two of nearly the same size the faster one; at least one byte."""
    low, high = int(plane.min()), int(plane.max())
    if low == high:
        return Stream(Coder.CONSTANT, low, b"")
    stream = _encode_varying(plane, high, zstd)
    return stream if len(stream.data) < plane.size else _raw(plane)


def decode_plane(stream: Stream, size: int) -> "Bytes | int":
    """The `size` bytes of a plane, or the one that all of them are.

    Raises:
        SizeMismatchError, CorruptPayloadError, DictionaryError
    """
    match stream.coder:
        case Coder.CONSTANT:
            return stream.parameter
        case Coder.BITS | Coder.BITS_ZSTD:
            packed = -(-size // 8)
            bits = np.frombuffer(_plain(stream, packed * stream.parameter), np.uint8).reshape(stream.parameter, packed)
            return _join_bits(bits, size)
        case _:
            return np.frombuffer(_plain(stream, size), np.uint8)


def decode_whole(stream: Stream, size: int) -> Bytes:
    """The `size` bytes of a stream that is no plane."""
    return np.frombuffer(_plain(stream, size), np.uint8)


def _plain(stream: Stream, size: int) -> Buffer:
    """What is stored, out of zstd; parsing has checked the length of what is not in zstd."""
    return decompress(stream.data, size) if stream.coder in (Coder.ZSTD, Coder.BITS_ZSTD) else stream.data


# ------------------------------------------------------------------------------------------------------- choosing a coder


def _encode_varying(plane: Bytes, high: int, zstd: ZstdCodec) -> Stream:
    """A stream of `plane`, whose largest byte is `high`, by a coder that a sample chooses."""
    coders = _coders(high, zstd)
    sample = spread(plane, _SAMPLE_BYTES, _SAMPLE_PIECES)
    tried = [coder(sample) for coder in coders]
    best = 0
    for at, stream in enumerate(tried):
        if len(stream.data) < len(tried[best].data) * _WORTH_ENTROPY:
            best = at
    if sample is plane:
        return tried[best]
    slowest = len(coders) - 1
    return coders[slowest if best != slowest and repeats_far(plane) else best](plane)


def _coders(high: int, zstd: ZstdCodec) -> list[Callable[[Bytes], Stream]]:
    """What may encode bytes up to `high`, in the order of speed; the last looks for matches."""
    bits = high.bit_length()

    def matches(data: Bytes) -> Stream:
        return Stream(Coder.ZSTD, 0, zstd.compress(data.data))

    if bits > _MAX_BITS:
        return [_raw, _literals, matches]
    planes = [partial(_bits, bits=bits), partial(_packed_bits, bits=bits)]
    return [planes[0], _literals, planes[1], matches] if bits <= _FAST_BITS else [_literals, *planes, matches]


def repeats_far(plane: Bytes) -> bool:
    """Whether sequences of the second half also occur in the first, which samples cannot show: a period longer than they are."""
    if plane.size < _PROBE_MIN_BYTES:
        return False
    half = plane.size // 2
    places = range(half, plane.size - _PROBE_BYTES, half // _PROBES)
    return all(_occurs(plane[at : at + _PROBE_BYTES], plane[:half]) for at in places)


def _occurs(probe: Bytes, data: Bytes) -> bool:
    """Whether `data` holds `probe`, and `probe` is not so monotonous that this says nothing."""
    if np.unique(probe).size <= probe.size // 2:
        return False
    places = np.flatnonzero(data[: 1 - probe.size] == probe[0])
    for at in range(1, probe.size):
        places = places[data[places + at] == probe[at]]
    return bool(places.size)


def _raw(data: Bytes) -> Stream:
    return Stream(Coder.RAW, 0, data.data)


def _literals(data: Bytes) -> Stream:
    return Stream(Coder.ZSTD, 0, compress_literals(data.data))


def _bits(data: Bytes, bits: int) -> Stream:
    return Stream(Coder.BITS, bits, _split_bits(data, bits).reshape(-1).data)


def _packed_bits(data: Bytes, bits: int) -> Stream:
    return Stream(Coder.BITS_ZSTD, bits, compress_literals(_split_bits(data, bits).reshape(-1).data))


def _split_bits(plane: Bytes, bits: int) -> Bytes:
    """The low `bits` bits as planes: (bits, bytes / 8), bit i of byte j being item 8 j + i."""
    return np.stack([np.packbits(plane & np.uint8(1 << bit), bitorder="little") for bit in range(bits)])


def _join_bits(bits: Bytes, size: int) -> Bytes:
    joined = np.unpackbits(bits[-1], count=size, bitorder="little")
    for plane in bits[-2::-1]:
        np.left_shift(joined, 1, out=joined)
        np.bitwise_or(joined, np.unpackbits(plane, count=size, bitorder="little"), out=joined)
    return joined
