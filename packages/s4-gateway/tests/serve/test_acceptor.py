"""Workers that accept from one socket: each gets its share, and nobody waits for one that does not come."""

import asyncio
import socket
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from s4_gateway.observe.board import Board, Place
from s4_gateway.serve import acceptor as acceptor_module
from s4_gateway.serve.acceptor import Acceptor

HOST = "127.0.0.1"


class Greeting(asyncio.Protocol):
    """Says who accepted it; tells the board, as the gateway's connections do."""

    def __init__(self, place: Place) -> None:
        self._place = place

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._place.seat.connections += 1
        transport.write(b"%d" % self._place.number)

    def connection_lost(self, exc: Exception | None) -> None:
        self._place.seat.connections -= 1


@asynccontextmanager
async def workers(count: int, *, accepting: int | None = None) -> AsyncIterator[tuple[Board, tuple[str, int]]]:
    """A board of seats that serve, of which the first `accepting` really accept; and the address."""
    board = Board(count)
    for seat in board.seats:
        seat.take()
    with socket.create_server((HOST, 0), backlog=128) as listening:
        listening.setblocking(False)
        acceptors = []
        for number in range(count if accepting is None else accepting):
            place = Place(number, board, ())
            acceptors.append(Acceptor(listening.dup(), lambda place=place: Greeting(place), place))  # type: ignore[misc]
        try:
            yield board, listening.getsockname()
        finally:
            for acceptor in acceptors:
                acceptor.close()
                await acceptor.settle()


async def greeted(address: tuple[str, int], count: int) -> list[tuple[int, asyncio.StreamWriter]]:
    """So many connections opened at once: who accepted each, and its writer."""
    opened = await asyncio.gather(*(asyncio.open_connection(*address) for _ in range(count)))
    return [(int(await reader.read(8)), writer) for reader, writer in opened]


async def closed(connections: list[tuple[int, asyncio.StreamWriter]]) -> None:
    """Close them from this side."""
    for _, writer in connections:
        writer.close()
        await writer.wait_closed()
    await asyncio.sleep(0.05)


async def test_connections_opened_at_once_are_shared_out() -> None:
    """Each of three workers gets a third, again and again."""
    async with workers(3) as (board, address):
        for _ in range(3):
            connections = await greeted(address, 30)
            assert [seat.connections for seat in board.seats] == [10, 10, 10]
            await closed(connections)
            assert [seat.connections for seat in board.seats] == [0, 0, 0]


async def test_who_has_fewer_gets_the_next() -> None:
    """After one worker lost its connections, new ones go there until the others have as many."""
    async with workers(2) as (board, address):
        connections = await greeted(address, 20)
        await closed([one for one in connections if one[0] == 1])
        later = await greeted(address, 6)
        assert {number for number, _ in later} == {1}
        assert [seat.connections for seat in board.seats] == [10, 6]
        await closed([one for one in connections if one[0] == 0] + later)


async def test_a_worker_that_stands_still_is_not_waited_for_long() -> None:
    """Connections that it should have are accepted by another one, each after the moment that it is given."""
    async with workers(2, accepting=1) as (_, address):
        began = time.monotonic()
        connections = await greeted(address, 10)
        took = time.monotonic() - began
        assert {number for number, _ in connections} == {0}
        assert 9 * acceptor_module.PATIENCE_SECONDS <= took < 5
        await closed(connections)


async def test_the_dead_get_nothing() -> None:
    """A seat in which nobody sits is not waited for at all."""
    async with workers(2, accepting=1) as (board, address):
        board.seats[1].leave()
        began = time.monotonic()
        connections = await greeted(address, 5)
        assert {number for number, _ in connections} == {0}
        assert time.monotonic() - began < 5 * acceptor_module.PATIENCE_SECONDS + 1
        await closed(connections)


async def test_without_descriptors_it_tries_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the process may open no more files, connections wait and are accepted later; nothing spins meanwhile."""
    import resource

    monkeypatch.setattr(acceptor_module, "EXHAUSTED_SECONDS", 0.2)
    async with workers(1) as (_, address):
        waiting = socket.socket()
        waiting.setblocking(False)
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (waiting.fileno() + 1, hard))
        try:
            with pytest.raises(BlockingIOError):
                waiting.connect(address)
            before = time.process_time()
            await asyncio.sleep(0.5)
            assert time.process_time() - before < 0.2
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        assert await asyncio.wait_for(asyncio.get_running_loop().sock_recv(waiting, 8), 5) == b"0"
        waiting.close()
        await asyncio.sleep(0.05)
