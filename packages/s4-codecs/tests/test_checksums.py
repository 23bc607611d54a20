"""Checksums of S3."""

import hashlib
import zlib
from base64 import b64encode

import pytest
from hypothesis import given
from hypothesis import strategies as st
from s4_format import crc32c

from s4_codecs import ALGORITHMS, CRC_ALGORITHMS, Digests, combine_crc, crc64nvme, crc_bytes

CHECK = b"123456789"
"""The input of the published check values of CRCs."""

VECTORS = {"crc32": 0xCBF43926, "crc32c": 0xE3069283, "crc64nvme": 0xAE8B14860A799888}


def digest(algorithm: str, data: bytes) -> bytes:
    """The raw digest of `data`."""
    digests = Digests([algorithm])
    digests.update(data)
    return digests.raw(algorithm)


@pytest.mark.parametrize("algorithm", sorted(CRC_ALGORITHMS))
def test_published_check_values(algorithm: str) -> None:
    """Each CRC has its published check value, as S3's base64 of big-endian bytes."""
    digests = Digests([algorithm])
    digests.update(CHECK)
    assert digests.raw(algorithm) == crc_bytes(algorithm, VECTORS[algorithm])
    assert digests.base64(algorithm) == b64encode(crc_bytes(algorithm, VECTORS[algorithm])).decode()


def test_against_other_implementations() -> None:
    """Values equal those of zlib, hashlib and s4_format."""
    data = bytes(range(256)) * 50
    assert crc64nvme(CHECK) == VECTORS["crc64nvme"]
    assert digest("crc32", data) == zlib.crc32(data).to_bytes(4, "big")
    assert digest("crc32c", data) == crc32c(data).to_bytes(4, "big")
    for name in ("md5", "sha1", "sha256"):
        assert digest(name, data) == hashlib.new(name, data).digest()


@given(st.binary(max_size=2000), st.integers(0, 2000), st.sampled_from(sorted(CRC_ALGORITHMS)))
def test_combination(data: bytes, cut: int, algorithm: str) -> None:
    """The CRC of joined data follows from those of its pieces, empty ones included."""
    a, b = data[:cut], data[cut:]
    whole, first, second = (int.from_bytes(digest(algorithm, piece), "big") for piece in (data, a, b))
    assert combine_crc(algorithm, first, second, len(b)) == whole
    assert algorithm != "crc64nvme" or crc64nvme(b, crc64nvme(a)) == whole


@given(st.lists(st.binary(max_size=300), max_size=10))
def test_pieces_make_no_difference(pieces: list[bytes]) -> None:
    """Streaming in any pieces and buffer types equals the whole."""
    running, whole = Digests(ALGORITHMS), Digests(ALGORITHMS)
    for number, piece in enumerate(pieces):
        running.update((bytes, bytearray, memoryview)[number % 3](piece))
    whole.update(b"".join(pieces))
    assert running.size == sum(map(len, pieces))
    assert {name: running.raw(name) for name in ALGORITHMS} == {name: whole.raw(name) for name in ALGORITHMS}


def test_views_of_wider_items() -> None:
    """A view of wider items counts its bytes, not its items."""
    digests = Digests(["crc32"])
    digests.update(memoryview(b"12345678").cast("I"))
    assert (digests.size, digests.raw("crc32")) == (8, zlib.crc32(b"12345678").to_bytes(4, "big"))
    assert crc64nvme(memoryview(b"12345678").cast("I")) == crc64nvme(b"12345678")


def test_refusals() -> None:
    """Unknown algorithms are refused when named; hashes cannot be combined."""
    with pytest.raises(ValueError, match="unknown checksum algorithm 'crc16'"):
        Digests(["crc16"])
    with pytest.raises(ValueError, match="cannot be combined"):
        combine_crc("sha256", 1, 2, 3)
    with pytest.raises(ValueError, match="not a CRC"):
        crc_bytes("md5", 1)
    with pytest.raises(KeyError):
        Digests(["md5"]).raw("sha1")
