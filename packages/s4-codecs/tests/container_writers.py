"""FCG1 containers made without a device: by libzstd, by the yardstick for GDeflate, and by nvCOMP's compressors for the CPU.

What nvCOMP does here is done in this process: it is handed nothing but plaintext.
"""

import ctypes
from array import array
from collections.abc import Callable
from functools import cache, lru_cache

import zstandard
from s4_format import Algorithm, ElementType, GpuContainer

from s4_codecs.nvcomp.host_library import HostLibrary

from .slow_gdeflate import Fixed, Stored, encode

CHUNK = 65_536


def container(algorithm: Algorithm, compress: Callable[[bytes], bytes], data: bytes, *, chunk_size: int = CHUNK) -> bytes:
    """`data` with every chunk compressed by `compress`; equal chunks once."""
    known = lru_cache(maxsize=8)(compress)
    chunks = [known(data[at : at + chunk_size]) for at in range(0, len(data), chunk_size)]
    head = GpuContainer(algorithm, ElementType.CHAR, len(data), chunk_size, array("I", map(len, chunks)))
    return head.pack() + b"".join(chunks)


def zstd_frame(chunk: bytes) -> bytes:
    """As nvCOMP writes it: with a content size."""
    return zstandard.ZstdCompressor(level=1).compress(chunk)


def gdeflate_page(chunk: bytes) -> bytes:
    """A fixed block for zeros, a stored one for everything else."""
    if chunk.strip(b"\0") or len(chunk) < 4:
        return encode([Stored(chunk[: CHUNK - 1]), Stored(chunk[CHUNK - 1 :])])
    return encode([Fixed((0, (len(chunk) - 1, 1)))])


@cache
def nvcomp_gdeflate(library: HostLibrary) -> Callable[[bytes], bytes]:
    """`gdeflate::compressCPU` of nvcomp/native/gdeflate_cpu.h."""
    loaded = ctypes.CDLL(str(library.gdeflate))
    names = ("_ZN6nvcomp8gdeflate11compressCPUEPKPKvPKmmmPKPvPmi", "_ZN8gdeflate11compressCPUEPKPKvPKmmmPKPvPmi")
    compress_all = next(getattr(loaded, name) for name in names if hasattr(loaded, name))

    def compress(chunk: bytes, level: int = 6) -> bytes:
        source, target, size = ctypes.c_char_p(chunk), ctypes.create_string_buffer(2 * len(chunk) + 4096), ctypes.c_size_t()
        pointers = (ctypes.c_void_p * 1)(ctypes.cast(source, ctypes.c_void_p)), (ctypes.c_void_p * 1)(ctypes.addressof(target))
        sizes = (ctypes.c_size_t * 1)(len(chunk))
        compress_all(pointers[0], sizes, ctypes.c_size_t(CHUNK), ctypes.c_size_t(1), pointers[1], ctypes.byref(size), level)
        return target.raw[: size.value]

    return compress


@cache
def nvcomp_bitcomp(library: HostLibrary) -> Callable[[bytes], bytes]:
    """`bitcompHostCompressLossless` of nvcomp/native/bitcomp.h, for bytes."""
    loaded = ctypes.CDLL(str(library.bitcomp))
    loaded.bitcompMaxBuflen.argtypes = [ctypes.c_size_t]
    loaded.bitcompMaxBuflen.restype = ctypes.c_size_t

    def compress(chunk: bytes) -> bytes:
        plan, size = ctypes.c_void_p(), ctypes.c_size_t()
        words = (ctypes.c_uint64 * (loaded.bitcompMaxBuflen(len(chunk)) // 8 + 8))()
        assert not loaded.bitcompCreatePlan(ctypes.byref(plan), ctypes.c_size_t(len(chunk)), 0, 0, 0)
        assert not loaded.bitcompHostCompressLossless(plan, chunk, words)
        assert not loaded.bitcompGetCompressedSize(words, ctypes.byref(size))
        loaded.bitcompDestroyPlan(plan)
        return bytes(words)[: size.value]

    return compress
