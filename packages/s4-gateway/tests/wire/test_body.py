"""Request bodies."""

import asyncio
import hashlib
import zlib
from base64 import b64encode
from collections.abc import AsyncIterator, Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from s4_gateway.errors import ClientDisconnected, S3Error
from s4_gateway.wire import body as body_module
from s4_gateway.wire.body import RawBody, read_limited

from .helpers import Receiver, body_messages

CONTENT = b"hello world"
MD5 = b64encode(hashlib.md5(CONTENT).digest()).decode()
CRC32 = b64encode(zlib.crc32(CONTENT).to_bytes(4, "big")).decode()


def raw(*chunks: bytes, size: int | None = None, max_bytes: int | None = None, disconnect: bool = False) -> RawBody:
    """A body that comes in these chunks."""
    return RawBody(Receiver(body_messages(*chunks, disconnect=disconnect)), size=size, max_bytes=max_bytes)


async def collect(body: RawBody) -> bytes:
    """All of a body."""
    return b"".join([bytes(chunk) async for chunk in body])


@given(st.lists(st.binary(max_size=20), max_size=6))
async def test_a_whole_body(chunks: list[bytes]) -> None:
    """All chunks come, in order, none of them empty, and nothing is left."""
    content = b"".join(chunks)
    for size in (len(content), None):
        body = raw(*chunks, size=size)
        received = [bytes(chunk) async for chunk in body]
        assert b"".join(received) == content
        assert all(received)
        assert not body.unread


async def test_an_absent_body_is_not_waited_for() -> None:
    """A request without a body is done before anything is received."""
    body = RawBody(Receiver(), size=0)
    assert not body.unread
    assert await collect(body) == b""


async def test_a_body_is_read_once() -> None:
    """Reading again is a mistake of ours, not an empty body."""
    body = raw(b"x", size=1)
    await collect(body)
    with pytest.raises(RuntimeError):
        await collect(body)


async def test_a_short_body() -> None:
    """Fewer bytes than declared are IncompleteBody, after all of them were handed on."""
    with pytest.raises(S3Error) as caught:
        await collect(raw(b"abc", size=4))
    assert caught.value.code == "IncompleteBody"
    assert caught.value.fields == {"NumberBytesExpected": "4", "NumberBytesProvided": "3"}


async def test_a_long_body() -> None:
    """More bytes than declared are refused, and never handed on."""
    chunks = aiter(raw(b"abc", b"de", size=4))
    assert await anext(chunks) == b"abc"
    with pytest.raises(S3Error, match="RequestBodyLengthMismatch"):
        await anext(chunks)


async def test_a_body_of_unknown_size_is_bounded() -> None:
    """Without a declared length the limit counts what comes."""
    assert await collect(raw(b"ab", b"cd", max_bytes=4)) == b"abcd"
    body = raw(b"ab", b"cd", b"e", max_bytes=4)
    with pytest.raises(S3Error, match="EntityTooLarge") as caught:
        await collect(body)
    assert caught.value.close
    assert body.unread


@pytest.mark.parametrize("size", [4, 2, None])
async def test_a_client_that_leaves(size: int | None) -> None:
    """A disconnect in the middle is no end of the body, wherever it comes."""
    with pytest.raises(ClientDisconnected):
        await collect(raw(b"ab", size=size, disconnect=True))


def test_promises_of_the_plain_body() -> None:
    """A plain body has no trailers, and the hash it was given."""
    body = raw(size=0)
    assert (body.announced_trailers, body.trailers, body.sha256) == (frozenset(), {}, None)
    assert body.with_sha256("ab").sha256 == "ab"


async def test_gone_waits_for_the_disconnect() -> None:
    """Whatever else still comes is dropped."""
    receiver = Receiver(body_messages(b"x", b"y", disconnect=True))
    await RawBody(receiver, size=0).gone()
    assert receiver.messages == []


async def test_lingering_ends_with_the_body() -> None:
    """A client that sends the rest gets its connection closed in order."""
    body = raw(b"x" * 10, size=10)
    await body.linger()
    assert not body.unread


async def test_lingering_ends_with_the_client() -> None:
    """A client that left is not waited for."""
    body = raw(b"x", size=10, disconnect=True)
    await body.linger()
    assert body.unread


async def test_lingering_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither endless nor silent clients hold the connection."""
    monkeypatch.setattr(body_module, "LINGER_BYTES", 100)
    receiver = Receiver(body_messages(*[b"x" * 60] * 9))
    body = RawBody(receiver, size=10_000)
    await body.linger()
    assert len(receiver.messages) == 8
    assert body.unread

    monkeypatch.setattr(body_module, "LINGER_SECONDS", 0.01)
    await RawBody(_never, size=10).linger()


async def _never() -> Mapping[str, object]:
    await asyncio.Event().wait()
    return {}


class Trailing(RawBody):
    """A body with a trailer, as aws-chunked gives it."""

    __slots__ = ("_trailers",)

    def __init__(self, trailers: Mapping[str, str]) -> None:
        super().__init__(Receiver(body_messages(CONTENT)), size=len(CONTENT))
        self._trailers = trailers

    @property
    def trailers(self) -> Mapping[str, str]:
        return self._trailers


async def test_documents_are_read_whole() -> None:
    """A small body comes back as it was sent, all promises kept."""
    headers = {"content-md5": MD5, "x-amz-checksum-crc32": CRC32}
    assert await read_limited(raw(b"hello ", b"world", size=11), 11, headers) == CONTENT
    body = raw(CONTENT, size=None).with_sha256(hashlib.sha256(CONTENT).hexdigest())
    assert await read_limited(body) == CONTENT
    trailer = {"x-amz-trailer": "x-amz-checksum-crc32"}
    assert await read_limited(Trailing({"x-amz-checksum-crc32": CRC32}), 100, trailer) == CONTENT


@pytest.mark.parametrize(("size", "chunks"), [(12, (CONTENT + b"!",)), (None, (CONTENT, b"!"))])
async def test_documents_above_the_limit(size: int | None, chunks: tuple[bytes, ...]) -> None:
    """A document above the limit is refused, declared or not."""
    with pytest.raises(S3Error) as caught:
        await read_limited(raw(*chunks, size=size), 11)
    assert (caught.value.code, caught.value.close) == ("MaxMessageLengthExceeded", True)


@pytest.mark.parametrize("algorithm", ["crc32", "crc32c", "crc64nvme", "sha1", "sha256"])
async def test_documents_with_a_wrong_checksum(algorithm: str) -> None:
    """Each checksum of a document is compared."""
    size = {"crc32": 4, "crc32c": 4, "crc64nvme": 8, "sha1": 20, "sha256": 32}[algorithm]
    headers = {f"x-amz-checksum-{algorithm}": b64encode(b"\x01" * size).decode()}
    with pytest.raises(S3Error, match=f"BadDigest: The {algorithm.upper()} you specified"):
        await read_limited(raw(CONTENT, size=11), 100, headers)


async def test_documents_with_other_broken_promises() -> None:
    """MD5, payload hash and trailer are compared; an announced trailer must come."""
    with pytest.raises(S3Error, match="BadDigest"):
        await read_limited(raw(CONTENT, size=11), 100, {"content-md5": b64encode(bytes(16)).decode()})
    with pytest.raises(S3Error, match="XAmzContentSHA256Mismatch"):
        await read_limited(raw(CONTENT, size=11).with_sha256("0" * 64), 100)
    announced = {"x-amz-trailer": "x-amz-checksum-crc32"}
    with pytest.raises(S3Error, match="BadDigest"):
        await read_limited(Trailing({"x-amz-checksum-crc32": "AAAAAA=="}), 100, announced)
    with pytest.raises(S3Error, match="InvalidRequest"):
        await read_limited(Trailing({}), 100, announced)
    with pytest.raises(S3Error, match="InvalidRequest"):
        await read_limited(Trailing({"x-amz-checksum-crc32": "nonsense"}), 100, announced)


async def test_a_malformed_promise_is_refused_before_reading() -> None:
    """Headers are judged first: nothing is read for a request that cannot succeed."""
    body = raw(CONTENT, size=11)
    with pytest.raises(S3Error, match="InvalidDigest"):
        await read_limited(body, 100, {"content-md5": "nonsense"})
    assert body.unread


def test_bodies_are_async_iterables() -> None:
    """The body is what the rest of the gateway iterates."""
    assert isinstance(aiter(raw(size=0)), AsyncIterator)
