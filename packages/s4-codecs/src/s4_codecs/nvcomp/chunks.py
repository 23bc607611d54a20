"""How the chunks of each algorithm are decoded without a device."""

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import zstandard
from s4_format import Algorithm, CodecId

from s4_codecs.errors import CodecUnavailableError
from s4_codecs.gpu import engine
from s4_codecs.gpu.probe import EXTRA
from s4_codecs.nvcomp.gdeflate import decode_pages
from s4_codecs.nvcomp.host import Chunk, host_decoder
from s4_codecs.nvcomp.host_library import HostLibrary, find_library
from s4_codecs.zstd import decompress_payload

HOST_EXTRA = "nvcomp-cpu"
"""The extra of s4-codecs that brings nvCOMP's decoders for the CPU."""

_PAGES_AT_ONCE = 64
_PAGE_BYTES_AT_ONCE = 4 << 20

ChunkDecoder = Callable[[Sequence[Chunk]], Iterator[bytes]]
"""Gives the plaintext of chunks, in order, in pieces of one or more of them."""


@dataclass(frozen=True, slots=True)
class Method:
    """One codec of this family.

    Attributes:
        algorithm: what its containers say.
        host_decoder: the decoder for its chunks that needs no device.

    Raises:
        CodecUnavailableError: by `host_decoder`, nothing that is installed here decodes them; the error names what does.
    """

    algorithm: Algorithm
    host_decoder: Callable[[], ChunkDecoder]


class _Decompressors(threading.local):
    """A libzstd context must not be shared by threads."""

    zstd: zstandard.ZstdDecompressor | None = None


_decompressors = _Decompressors()


def _zstd() -> ChunkDecoder:
    return _zstd_frames


def _zstd_frames(chunks: Sequence[Chunk]) -> Iterator[bytes]:
    decompressor = _decompressors.zstd = _decompressors.zstd or zstandard.ZstdDecompressor()
    return (decompress_payload(decompressor, chunk, size, dictionary_id=0) for chunk, size in chunks)


def _gdeflate() -> ChunkDecoder:
    library = find_library()
    if library is None:
        return _gdeflate_pages
    return partial(_gdeflate_in_helper, library)


def _gdeflate_in_helper(library: HostLibrary, chunks: Sequence[Chunk]) -> Iterator[bytes]:
    """By nvCOMP; by our own decoder where no helper can be started, or the library has none: slowly is better than not at all."""
    try:
        return iter(list(host_decoder(library).decode(Algorithm.GDEFLATE, chunks)))
    except CodecUnavailableError:
        return _gdeflate_pages(chunks)


def _gdeflate_pages(chunks: Sequence[Chunk]) -> Iterator[bytes]:
    """By our own decoder, some pages together."""
    pages, sizes = list[memoryview](), list[int]()
    for page, size in chunks:
        if pages and (len(pages) == _PAGES_AT_ONCE or sum(sizes) + size > _PAGE_BYTES_AT_ONCE):
            yield from decode_pages(pages, sizes)
            pages, sizes = [], []
        pages.append(page)
        sizes.append(size)
    if pages:
        yield from decode_pages(pages, sizes)


def _bitcomp() -> ChunkDecoder:
    library = find_library()
    if library is None:
        raise CodecUnavailableError(
            f"codec nvcomp-bitcomp needs nvCOMP to decode: pip install 's4-codecs[{HOST_EXTRA}]' brings it, without a GPU",
            codec=CodecId.NVCOMP_BITCOMP,
            extra=HOST_EXTRA,
        )
    return lambda chunks: host_decoder(library).decode(Algorithm.BITCOMP, chunks)


def _device_only(codec: CodecId) -> Callable[[], ChunkDecoder]:
    def refuse() -> ChunkDecoder:
        raise CodecUnavailableError(f"codec {codec.label} needs a CUDA device to decode: {engine.missing()}", codec=codec, extra=EXTRA)

    return refuse


METHODS: Mapping[CodecId, Method] = {
    CodecId.NVCOMP_ZSTD: Method(Algorithm.ZSTD, _zstd),
    CodecId.NVCOMP_BITCOMP: Method(Algorithm.BITCOMP, _bitcomp),
    CodecId.NVCOMP_GDEFLATE: Method(Algorithm.GDEFLATE, _gdeflate),
    CodecId.NVCOMP_ANS: Method(Algorithm.ANS, _device_only(CodecId.NVCOMP_ANS)),
    CodecId.NVCOMP_CASCADED: Method(Algorithm.CASCADED, _device_only(CodecId.NVCOMP_CASCADED)),
}
