"""nvCOMP's batched C API, called through ctypes: no Python object per chunk, and the GIL is free during every call.

The shared library is the one of the wheel `nvidia-libnvcomp-cu12` or `-cu13`. Signatures and option structs are those of its headers
`nvcomp/zstd.h`, `bitcomp.h`, `gdeflate.h`, `ans.h`, `cascaded.h` and `crc32.h`: every options struct of an algorithm has 64 bytes and is
passed by value, fields that are not named are zero. The headers of 5.3 and 6.0 agree but for two things: how the functions that size the
scratch memory are called, and Cascaded's options.
"""

import ctypes
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from struct import pack
from typing import Final

from s4_format.gpu_container import Algorithm, ElementType

from s4_codecs.errors import CodecUnavailableError

_OPTION_BYTES: Final = 64
_SIZE = ctypes.c_size_t
_POINTER = ctypes.c_void_p
_SIZES_KEPT: Final = 1024

SUPPORTED_MAJORS: Final = (5, 6)
"""Major versions of nvCOMP whose headers this binding agrees with."""
CASCADED_MAJOR: Final = 6
"""Cascaded's options, and what it writes, were others before this version."""


class _Options(ctypes.Structure):
    _fields_ = (("words", ctypes.c_uint64 * (_OPTION_BYTES // 8)),)


class _CrcOptions(ctypes.Structure):
    """nvcompBatchedCRC32Opts_t of nvcomp/crc32.h: the model, how the kernel is launched, and room for more."""

    _fields_ = (
        ("polynomial", ctypes.c_uint32),
        ("initial", ctypes.c_uint32),
        ("reflect_in", ctypes.c_bool),
        ("reflect_out", ctypes.c_bool),
        ("final_xor", ctypes.c_uint32),
        ("reserved_model", ctypes.c_char * 16),
        ("kernel", ctypes.c_char * 32),
        ("reserved", ctypes.c_char * 64),
    )


class _Properties(ctypes.Structure):
    _fields_ = (("version", ctypes.c_uint32), ("cudart_version", ctypes.c_uint32))


# nvcompType_t of nvcomp/shared_types.h; it has no bfloat16 and calls no type by its width.
_NVCOMP_TYPES: Final = {
    ElementType.CHAR: 0,
    ElementType.U8: 1,
    ElementType.U16: 3,
    ElementType.U32: 5,
    ElementType.U64: 7,
    ElementType.I8: 0,
    ElementType.I16: 2,
    ElementType.I32: 4,
    ElementType.I64: 6,
    ElementType.F32: 11,
    ElementType.F64: 12,
}
_ASYMMETRIC, _BITPACK, _ALL_ENCODINGS, _LEVEL = 1, 1, 7, 7
_BITCOMP_TYPES: Final = (ElementType.CHAR, ElementType.U16, ElementType.U32, ElementType.U64)
_CASCADED_TYPES: Final = (ElementType.U8, ElementType.U16, ElementType.U32, ElementType.U64)


@dataclass(frozen=True, slots=True)
class Method:
    """How nvCOMP is asked for one algorithm."""

    algorithm: Algorithm
    prefix: str
    """As in nvcompBatched<prefix>CompressAsync."""
    compress_options: Callable[[ElementType], bytes]
    """The meaningful first bytes of the options struct."""
    element_types: tuple[ElementType, ...] = (ElementType.CHAR,)
    """What chunks may be compressed as; the first is for frames of any length."""
    tried: tuple[ElementType, ...] = ()
    """Which of them are tried on a sample; where none of these fits the length, or none is named, it is the first."""
    first_major: int = SUPPORTED_MAJORS[0]
    checked: bool = False
    """Whether what was compressed is decompressed on the device and its checksum compared before it is handed out: for closed formats,
    whose decoders are so fast that it costs next to nothing."""


METHODS: Final = {
    method.algorithm: method
    for method in (
        Method(Algorithm.ZSTD, "Zstd", lambda _: b""),
        Method(
            Algorithm.BITCOMP,
            "Bitcomp",
            lambda element: pack("<ii", 0, _NVCOMP_TYPES[element]),
            _BITCOMP_TYPES,
            _BITCOMP_TYPES,
            checked=True,
        ),
        # Algorithm 1 finds matches; 0, which the reference writes, has only the entropy stage and a third of the ratio on text.
        Method(Algorithm.GDEFLATE, "Gdeflate", lambda _: pack("<i", 1)),
        Method(Algorithm.ANS, "ANS", lambda _: pack("<ii", 0, _NVCOMP_TYPES[ElementType.CHAR]), checked=True),
        # Level 7 takes 15 % longer than 3 and finds deltas of deltas, which make timestamps five times smaller. Single bytes are encoded at
        # a quarter of the speed of words and gain next to nothing, so they are left to frames that no word fits.
        Method(
            Algorithm.CASCADED,
            "Cascaded",
            lambda element: pack("<iiQQQB", _NVCOMP_TYPES[element], _ASYMMETRIC, _BITPACK, 0, _ALL_ENCODINGS, _LEVEL),
            _CASCADED_TYPES,
            _CASCADED_TYPES[1:],
            CASCADED_MAJOR,
            checked=True,
        ),
    )
}
"""Every algorithm that this package writes."""


def _options(head: bytes) -> _Options:
    return _Options.from_buffer_copy(head.ljust(_OPTION_BYTES, b"\0"))


class NvcompError(Exception):
    """nvCOMP refused a call; `status` is its nvcompStatus_t."""

    def __init__(self, function: str, status: int) -> None:
        super().__init__(f"{function} failed with nvCOMP status {status}")
        self.status = status


@dataclass(frozen=True, slots=True)
class Chunks:
    """Addresses of device arrays with one entry a chunk, as nvCOMP wants them."""

    sources: int
    """Array of addresses of what is read."""
    source_sizes: int
    """Array of size_t: bytes to read."""
    targets: int
    """Array of addresses of what is written."""
    target_sizes: int
    """Array of size_t that nvCOMP fills: bytes written."""
    statuses: int
    """Array of nvcompStatus_t (32 bits) that nvCOMP fills."""
    count: int
    target_room: int = 0
    """Array of size_t: bytes that may be written, for decompression."""


@dataclass(frozen=True, slots=True)
class Scratch:
    """Device memory that a call may scribble over."""

    address: int
    size: int


class Library:
    """The loaded library.

    Raises:
        CodecUnavailableError: it is not of a supported version, or lacks a function.
    """

    def __init__(self, handle: ctypes.CDLL) -> None:
        properties = _Properties()
        try:
            status = handle.nvcompGetProperties(ctypes.byref(properties))
        except AttributeError as error:
            raise CodecUnavailableError("the libnvcomp that was found is no nvCOMP library", extra="gpu") from error
        number = int(properties.version)
        self.version = f"{number // 1000}.{number % 1000 // 100}.{number % 100}"
        self.major = number // 1000
        if status or self.major not in SUPPORTED_MAJORS:
            known = " and ".join(f"{major}.x" for major in SUPPORTED_MAJORS)
            raise CodecUnavailableError(f"nvCOMP {self.version} is installed; supported are {known}", extra="gpu")
        self._handle = handle
        pointers = [_POINTER, _POINTER, _SIZE, _POINTER, _CrcOptions, ctypes.c_int, _POINTER, _POINTER]
        self._crc = _function(handle, "nvcompBatchedCRC32Async", pointers)
        self._crc_kernel = _function(handle, "nvcompBatchedCRC32GetHeuristicConf", [_POINTER, _SIZE, _POINTER, _SIZE, _POINTER])

    def crc32c(self, sources: int, sizes: int, results: int, *, count: int, largest: int, stream: int) -> None:
        """Queue the CRC32C of `count` pieces of device memory of at most `largest` bytes.

        Args:
            sources, sizes: device arrays of addresses and of size_t.
            results: device array of 32-bit numbers, which is filled.
        """
        options = _CrcOptions(0x1EDC6F41, 0xFFFFFFFF, reflect_in=True, reflect_out=True, final_xor=0xFFFFFFFF)
        kernel = ctypes.addressof(options) + _CrcOptions.kernel.offset
        _check("CRC32GetHeuristicConf", self._crc_kernel(None, count, kernel, largest, None))
        _check("CRC32Async", self._crc(sources, sizes, count, results, options, 0, None, stream))

    def api(self, algorithm: Algorithm) -> "BatchedApi":
        """The functions of one algorithm.

        Raises:
            CodecUnavailableError: this version of nvCOMP does not have it.
        """
        method = METHODS.get(algorithm)
        if method is None or self.major < method.first_major:
            needed = "no version of" if method is None else f"at least version {method.first_major} of"
            raise CodecUnavailableError(f"{algorithm.name} takes {needed} nvCOMP, {self.version} is installed", extra="gpu")
        return BatchedApi(self._handle, self.major, method)


class BatchedApi:
    """The batched functions of one algorithm. Sizes are in bytes, addresses are the device's. Thread-safe.

    Every call raises NvcompError when nvCOMP refuses it. Compression and decompression are only queued on the stream; what became of the
    chunks is in `Chunks.statuses` and `Chunks.target_sizes` once the stream is synchronised.
    """

    def __init__(self, handle: ctypes.CDLL, major: int, method: Method) -> None:
        self.method = method
        takes_stream = major >= 6
        temp_size = "GetTempSize" if takes_stream else "GetTempSizeAsync"
        size_types = [_SIZE, _SIZE, _Options, _POINTER, _SIZE] + [_POINTER] * takes_stream
        self._stream_of_size = (None,) * takes_stream
        self._compress_size = self._bind(handle, f"Compress{temp_size}", size_types)
        self._decompress_size = self._bind(handle, f"Decompress{temp_size}", size_types)
        self._max_output = self._bind(handle, "CompressGetMaxOutputChunkSize", [_SIZE, _Options, _POINTER])
        compress_types = [_POINTER, _POINTER, _SIZE, _SIZE, _POINTER, _SIZE, _POINTER, _POINTER, _Options, _POINTER, _POINTER]
        self._compress = self._bind(handle, "CompressAsync", compress_types)
        decompress_types = [_POINTER, _POINTER, _POINTER, _POINTER, _SIZE, _POINTER, _SIZE, _POINTER, _Options, _POINTER, _POINTER]
        self._decompress = self._bind(handle, "DecompressAsync", decompress_types)
        self._compress_options = {element: _options(method.compress_options(element)) for element in method.element_types}
        self._decompress_options = _options(b"")
        self._sizes: dict[tuple[str, int, int], int] = {}

    def max_output(self, chunk_bytes: int) -> int:
        """Bytes that a chunk of `chunk_bytes` takes at most when compressed, whatever its element type."""
        return self._once(("max_output", 1, chunk_bytes), lambda: self._ask_max_output(chunk_bytes))

    def _ask_max_output(self, chunk_bytes: int) -> int:
        most = 0
        for options in self._compress_options.values():
            found = _SIZE()
            _check("CompressGetMaxOutputChunkSize", self._max_output(chunk_bytes, options, ctypes.byref(found)))
            most = max(most, found.value)
        return most

    def compress_scratch(self, count: int, chunk_bytes: int) -> int:
        """Bytes of scratch memory for compressing `count` chunks of at most `chunk_bytes`, whatever their element type."""
        ask = self._compress_size
        every = self._compress_options.values()
        return self._once(
            ("compress", count, chunk_bytes),
            lambda: max(_scratch(ask, count, chunk_bytes, options, self._stream_of_size) for options in every),
        )

    def decompress_scratch(self, count: int, chunk_bytes: int) -> int:
        """Bytes of scratch memory for decompressing `count` chunks to at most `chunk_bytes` each."""
        ask, options = self._decompress_size, self._decompress_options
        return self._once(("decompress", count, chunk_bytes), lambda: _scratch(ask, count, chunk_bytes, options, self._stream_of_size))

    def compress(self, chunks: Chunks, chunk_bytes: int, element: ElementType, scratch: Scratch, stream: int) -> None:
        """Queue the compression of chunks of at most `chunk_bytes` bytes."""
        status = self._compress(
            chunks.sources,
            chunks.source_sizes,
            chunk_bytes,
            chunks.count,
            scratch.address,
            scratch.size,
            chunks.targets,
            chunks.target_sizes,
            self._compress_options[element],
            chunks.statuses,
            stream,
        )
        _check("CompressAsync", status)

    def decompress(self, chunks: Chunks, scratch: Scratch, stream: int) -> None:
        """Queue the decompression of chunks, each into at most its `target_room`."""
        status = self._decompress(
            chunks.sources,
            chunks.source_sizes,
            chunks.target_room,
            chunks.target_sizes,
            chunks.count,
            scratch.address,
            scratch.size,
            chunks.targets,
            self._decompress_options,
            chunks.statuses,
            stream,
        )
        _check("DecompressAsync", status)

    def _once(self, key: tuple[str, int, int], ask: Callable[[], int]) -> int:
        """What nvCOMP answered before, or answers now: a batch asks several times, and most batches are alike."""
        found = self._sizes.get(key)
        if found is None:
            if len(self._sizes) >= _SIZES_KEPT:
                self._sizes.clear()
            found = self._sizes[key] = ask()
        return found

    def _bind(self, handle: ctypes.CDLL, name: str, argument_types: Sequence[type]) -> Callable[..., int]:
        return _function(handle, f"nvcompBatched{self.method.prefix}{name}", argument_types)


def _function(handle: ctypes.CDLL, name: str, argument_types: Sequence[type]) -> Callable[..., int]:
    try:
        function = getattr(handle, name)
    except AttributeError as error:
        raise CodecUnavailableError(f"the nvCOMP library that is installed has no {name}", extra="gpu") from error
    function.argtypes = argument_types
    function.restype = ctypes.c_int
    return function  # type: ignore[no-any-return]


def _scratch(function: Callable[..., int], count: int, chunk_bytes: int, options: _Options, stream: tuple[None, ...]) -> int:
    found = _SIZE()
    _check("GetTempSize", function(count, chunk_bytes, options, ctypes.byref(found), count * chunk_bytes, *stream))
    return found.value


def _check(function: str, status: int) -> None:
    if status:
        raise NvcompError(function, status)
