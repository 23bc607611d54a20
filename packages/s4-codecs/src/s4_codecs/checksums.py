"""Checksums of S3, of which all CRCs can be combined from those of parts.

CRC values are plain unsigned integers; S3 shows them as base64 of their big-endian bytes.
"""

import hashlib
from base64 import b64encode
from collections.abc import Callable, Iterable, Mapping
from typing import Literal, Protocol, TypeAlias, get_args

from awscrt import checksums as _crt
from s4_format import Buffer

from s4_codecs._buffer import as_bytes_view

Algorithm: TypeAlias = Literal["crc32", "crc32c", "crc64nvme", "md5", "sha1", "sha256"]
"""The names that S3 uses in its header names, in lower case."""
CrcAlgorithm: TypeAlias = Literal["crc32", "crc32c", "crc64nvme"]
"""Those whose value for joined data follows from the values for its pieces."""

ALGORITHMS: frozenset[str] = frozenset(get_args(Algorithm))
CRC_ALGORITHMS: frozenset[str] = frozenset(get_args(CrcAlgorithm))

_CRC_BYTES: Mapping[str, int] = {"crc32": 4, "crc32c": 4, "crc64nvme": 8}
_CRC_UPDATE: Mapping[str, Callable[[Buffer, int], int]] = {"crc32": _crt.crc32, "crc32c": _crt.crc32c, "crc64nvme": _crt.crc64nvme}
_CRC_COMBINE: Mapping[str, Callable[[int, int, int], int]] = {
    "crc32": _crt.combine_crc32,
    "crc32c": _crt.combine_crc32c,
    "crc64nvme": _crt.combine_crc64nvme,
}


def crc64nvme(data: Buffer, value: int = 0) -> int:
    """CRC-64/NVME of `data`, continuing from `value`, the CRC of the bytes before it."""
    return _CRC_UPDATE["crc64nvme"](as_bytes_view(data), value)


def combine_crc(algorithm: str, crc_a: int, crc_b: int, len_b: int) -> int:
    """The CRC of a || b from those of a and of b, whose length is `len_b` bytes.

    Raises:
        ValueError: `algorithm` is not one of `CRC_ALGORITHMS`.
    """
    combine = _CRC_COMBINE.get(algorithm)
    if combine is None:
        raise ValueError(f"checksums of {algorithm!r} cannot be combined; those of {', '.join(sorted(CRC_ALGORITHMS))} can")
    return combine(crc_a, crc_b, len_b)


def crc_bytes(algorithm: str, value: int) -> bytes:
    """The big-endian bytes of a CRC, as S3 encodes them.

    Raises:
        ValueError: `algorithm` is not one of `CRC_ALGORITHMS`.
    """
    size = _CRC_BYTES.get(algorithm)
    if size is None:
        raise ValueError(f"{algorithm!r} is not a CRC")
    return value.to_bytes(size, "big")


class _Hash(Protocol):
    def update(self, data: Buffer, /) -> None: ...

    def digest(self) -> bytes: ...


class _RunningCrc:
    """A CRC with the face of a hashlib object."""

    __slots__ = ("_algorithm", "_update", "value")

    def __init__(self, algorithm: str) -> None:
        self._algorithm = algorithm
        self._update = _CRC_UPDATE[algorithm]
        self.value = 0

    def update(self, data: Buffer, /) -> None:
        self.value = self._update(data, self.value)

    def digest(self) -> bytes:
        return crc_bytes(self._algorithm, self.value)


def _new(algorithm: str) -> _Hash:
    if algorithm in CRC_ALGORITHMS:
        return _RunningCrc(algorithm)
    if algorithm in ALGORITHMS:
        make: Callable[..., _Hash] = getattr(hashlib, algorithm)
        return make(usedforsecurity=False)
    raise ValueError(f"unknown checksum algorithm {algorithm!r}; known are {', '.join(sorted(ALGORITHMS))}")


class Digests:
    """Several checksums of one stream of bytes, computed together. Not thread-safe; may be used from one thread after another.

    Raises:
        ValueError: an algorithm is not one of `ALGORITHMS`.
    """

    def __init__(self, algorithms: Iterable[str]) -> None:
        self._running = {algorithm: _new(algorithm) for algorithm in algorithms}
        self._size = 0

    @property
    def algorithms(self) -> frozenset[str]:
        """The algorithms computed."""
        return frozenset(self._running)

    @property
    def size(self) -> int:
        """Bytes seen so far."""
        return self._size

    def update(self, data: Buffer) -> None:
        """Take the next bytes. hashlib releases the GIL above 2 KiB."""
        view = as_bytes_view(data)
        self._size += len(view)
        for running in self._running.values():
            running.update(view)

    def raw(self, algorithm: str) -> bytes:
        """The digest of everything so far, as bytes.

        Raises:
            KeyError: `algorithm` is not computed here.
        """
        return self._running[algorithm].digest()

    def base64(self, algorithm: str) -> str:
        """The digest of everything so far, as S3 shows it.

        Raises:
            KeyError: `algorithm` is not computed here.
        """
        return b64encode(self.raw(algorithm)).decode("ascii")
