"""The HTTP client alone: heads that are clear or refused, connections that carry one exchange at a time, a pool that is bounded."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from hypothesis import given
from hypothesis import strategies as st

from s4_gateway.backend.s3.errors import AttemptError
from s4_gateway.backend.s3.http import Answer, Pool, parse_answer_head
from s4_gateway.backend.s3.http.pool import Endpoint

REQUEST = b"GET / HTTP/1.1\r\nhost: x\r\n\r\n"
SMALL = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"


class Raw:
    """A server that sends prepared bytes for each request head, in pieces, over as many connections as come."""

    def __init__(self, *answers: bytes, piece: int = 1 << 20, close: bool = False) -> None:
        self._answers = list(answers)
        self._piece = piece
        self._close = close
        self.connections = 0
        self.heads = 0
        self.release = asyncio.Event()
        self.release.set()

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            while True:
                await reader.readuntil(b"\r\n\r\n")
                answer = self._answers[min(self.heads, len(self._answers) - 1)]
                self.heads += 1
                await self.release.wait()
                for start in range(0, len(answer), self._piece):
                    writer.write(answer[start : start + self._piece])
                    await writer.drain()
                    if self._piece == 1:
                        await asyncio.sleep(0)
                if self._close:
                    break
        except (asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
            pass
        finally:
            writer.close()


@asynccontextmanager
async def pool_of(raw: Raw, *, connections: int = 4, pool_timeout: float = 5.0) -> AsyncIterator[Pool]:
    """A pool of connections to the server."""
    server = await asyncio.start_server(raw, "127.0.0.1", 0)
    pool = Pool(
        Endpoint(
            "127.0.0.1",
            server.sockets[0].getsockname()[1],
            None,
            connections=connections,
            connect_timeout=2.0,
            pool_timeout=pool_timeout,
            shortest_patience=5.0,
        )
    )
    try:
        yield pool
    finally:
        await pool.close()
        raw.release.set()
        server.close()


async def ask(pool: Pool, *, bodiless: bool = False, patience: float = 5.0) -> Answer:
    """One exchange."""
    connection = await pool.borrow()
    return await connection.exchange(REQUEST, bodiless=bodiless, patience=patience)


@pytest.mark.parametrize("piece", [1, 7, 1 << 20])
@pytest.mark.parametrize(
    ("answer", "body"),
    [
        (SMALL, b"hello"),
        (b"HTTP/1.1 100 Continue\r\n\r\n" + SMALL, b"hello"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nhel\r\n2;x=y\r\nlo\r\n0\r\nTrailer: x\r\n\r\n", b"hello"),
        (b"HTTP/1.1 204 No Content\r\n\r\n", b""),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", b""),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 100000\r\n\r\n" + bytes(100_000), bytes(100_000)),
    ],
    ids=["length", "interim", "chunks", "no content", "empty", "large"],
)
async def test_bodies_end_where_their_heads_say(answer: bytes, body: bytes, piece: int) -> None:
    """However the bytes are cut, and the connection is kept for the next request."""
    raw = Raw(answer, piece=max(piece, len(answer) // 200))
    async with pool_of(raw) as pool:
        for _ in range(3):
            assert await (await ask(pool)).read(1 << 20) == body

        assert (raw.heads, raw.connections) == (3, 1)


async def test_head_has_no_body_whatever_its_length_says() -> None:
    """Content-Length of an answer to HEAD is the object's."""
    raw = Raw(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n")
    async with pool_of(raw) as pool:
        for _ in range(2):
            answer = await ask(pool, bodiless=True)
            assert (answer.whole(), answer.headers["content-length"]) == (b"", "5")

        assert raw.connections == 1


async def test_body_without_length_ends_with_its_connection() -> None:
    """RFC 9112 section 6.3, and that connection is not used again."""
    raw = Raw(b"HTTP/1.1 200 OK\r\n\r\n" + bytes(200_000), close=True)
    async with pool_of(raw) as pool:
        assert await (await ask(pool)).read(1 << 20) == bytes(200_000)
        assert await (await ask(pool)).read(1 << 20) == bytes(200_000)

        assert raw.connections == 2


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhel",
        b"HTTP/1.1 200 OK\r\nContent-Length: 200000\r\n\r\n" + bytes(199_999),
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nx\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Le",
    ],
    ids=["short", "large and short", "no last chunk", "no chunk", "no head"],
)
async def test_body_that_ends_early_is_an_error(answer: bytes) -> None:
    """Nothing short ever looks whole."""
    async with pool_of(Raw(answer, close=True)) as pool:
        with pytest.raises(AttemptError):
            await (await ask(pool)).read(1 << 20)


async def test_connection_with_bytes_that_nobody_asked_for_is_not_used_again() -> None:
    """They would be taken for the next answer."""
    raw = Raw(SMALL + b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nforged", SMALL)
    async with pool_of(raw) as pool:
        assert await (await ask(pool)).read(100) == b"hello"
        assert await (await ask(pool)).read(100) == b"hello"

        assert raw.connections == 2


@pytest.mark.parametrize("option", ["close", "Keep-Alive, CLOSE"])
async def test_close_is_honoured(option: str) -> None:
    """A store that says so gets no further request on that connection."""
    raw = Raw(SMALL.replace(b"\r\n\r\n", b"\r\nConnection: " + option.encode() + b"\r\n\r\n"))
    async with pool_of(raw) as pool:
        await ask(pool)
        await ask(pool)

        assert raw.connections == 2


async def test_connections_are_bounded_and_passed_on_in_order() -> None:
    """Who waits longest gets the connection that is given back first."""
    raw = Raw(SMALL)
    raw.release.clear()
    done: list[int] = []

    async def one(number: int, pool: Pool) -> None:
        await ask(pool)
        done.append(number)

    async with pool_of(raw, connections=2) as pool:
        tasks = [asyncio.create_task(one(number, pool)) for number in range(8)]
        await asyncio.sleep(0.05)
        assert raw.connections == 2
        raw.release.set()
        await asyncio.gather(*tasks)

        assert raw.connections == 2
        assert done[2:] == sorted(done[2:])


async def test_waiting_for_a_connection_ends() -> None:
    """With an error that says that nothing was sent."""
    raw = Raw(SMALL)
    raw.release.clear()
    async with pool_of(raw, connections=1, pool_timeout=0.1) as pool:
        first = asyncio.create_task(ask(pool))
        await asyncio.sleep(0.02)
        with pytest.raises(AttemptError, match="no connection"):
            await ask(pool)
        raw.release.set()
        await first
        assert await (await ask(pool)).read(100) == b"hello"


async def test_place_of_who_gives_up_goes_to_the_next() -> None:
    """Neither a cancelled waiter nor a cancelled exchange takes a place in the pool with it."""
    raw = Raw(SMALL)
    async with pool_of(raw, connections=1) as pool:
        for _ in range(20):
            raw.release.clear()
            tasks = [asyncio.create_task(ask(pool)) for _ in range(4)]
            await asyncio.sleep(0.005)
            for task in tasks[:3]:
                task.cancel()
            raw.release.set()
            assert (await tasks[3]).whole() == b"hello"


async def test_answer_that_is_given_up_frees_its_place() -> None:
    """A body that nobody reads to its end is cut off, not waited for."""
    raw = Raw(b"HTTP/1.1 200 OK\r\nContent-Length: 50000000\r\n\r\n" + bytes(3_000_000), SMALL)
    async with pool_of(raw, connections=1) as pool:
        answer = await ask(pool)
        assert await answer.piece()
        answer.close()
        answer.close()

        assert await (await ask(pool)).read(100) == b"hello"


async def test_slow_reader_is_not_taken_for_a_silent_store() -> None:
    """Silence counts only while the store could send."""
    body = bytes(3_000_000)
    raw = Raw(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
    server = await asyncio.start_server(raw, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    pool = Pool(Endpoint("127.0.0.1", port, None, connections=1, connect_timeout=2.0, pool_timeout=2.0, shortest_patience=0.1))
    answer = await ask(pool, patience=0.1)
    await asyncio.sleep(0.4)
    assert await answer.read(1 << 23) == body
    await pool.close()
    server.close()


@pytest.mark.parametrize(
    "head",
    [
        b"HTTP/2 200",
        b"HTTP/1.1 2000 OK",
        b"HTTP/1.1 200 OK\r\nno colon",
        b"HTTP/1.1 200 OK\r\n folded: x",
        b"HTTP/1.1 200 OK\r\na b: c",
        b"HTTP/1.1 200 OK\r\na: b\nc: d",
        b"HTTP/1.1 200 OK\r\na: \0",
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6",
        b"HTTP/1.1 200 OK\r\nContent-Length: -1",
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked",
        b"",
    ],
)
def test_unclear_heads_are_refused(head: bytes) -> None:
    """What two readers could take differently is no answer."""
    with pytest.raises(AttemptError):
        parse_answer_head(head, bodiless=False)


@given(st.binary(max_size=200))
def test_any_bytes_are_a_head_or_an_error(data: bytes) -> None:
    """Nothing else escapes, whatever the store sends."""
    for head in (data, b"HTTP/1.1 200 OK\r\n" + data):
        try:
            parsed = parse_answer_head(head, bodiless=False)
        except AttemptError:
            continue
        assert 100 <= parsed.status <= 999
