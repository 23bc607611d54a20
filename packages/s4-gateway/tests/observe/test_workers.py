"""What workers of one gateway share: the board, the sums of their metrics, and the stream that they log to."""

import asyncio
import mmap
import os
import signal
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest
from prometheus_client.parser import text_string_to_metric_families

from s4_gateway.observe import Metrics
from s4_gateway.observe.board import SNAPSHOT_BYTES, Bell, Board, Place
from s4_gateway.observe.census import ANSWER_SECONDS, Census
from s4_gateway.observe.shared_stream import SharedStream, SharedText
from s4_gateway.observe.snapshot import CPU, PROCESS_START, Snapshot, summed
from s4_gateway.observe.switchboard import Switchboard

from .test_metrics import RECORD, RECORD_OF_AN_ERROR

REQUESTS = ("s4_gateway_requests_total", (("operation", "GetObject"), ("status", "200")))


def in_child(work: Callable[[], None]) -> int:
    """Do it in a forked process; its wait status."""
    pid = os.fork()
    if pid == 0:
        try:
            work()
        finally:
            os._exit(0)
    return os.waitpid(pid, 0)[1]


def parsed(text: bytes) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    """All samples, by name and labels."""
    families = text_string_to_metric_families(text.decode())
    return {(sample.name, tuple(sorted(sample.labels.items()))): sample.value for family in families for sample in family.samples}


def counted(gets: int) -> Metrics:
    """Metrics after so many reads and one refused write."""
    metrics = Metrics()
    for _ in range(gets):
        metrics.request_ended(RECORD, writes=False)
    metrics.request_ended(RECORD_OF_AN_ERROR, writes=True)
    metrics.connections, metrics.in_flight = gets, 1
    return metrics


class TestBoard:
    """Memory that outlives the process that wrote it."""

    def test_what_a_dead_process_published_is_there(self) -> None:
        """Also when it is killed; what it held is given up, what it counted is not."""
        board = Board(2)
        seat = board.seats[1]

        def work() -> None:
            seat.take()
            seat.connections, seat.spooled = 7, 1000
            seat.publish(b"first")
            seat.publish(b"second")
            os.kill(os.getpid(), signal.SIGKILL)

        assert in_child(work) == signal.SIGKILL
        assert (seat.serving, seat.connections, seat.spooled) == (True, 7, 1000)
        seat.leave()
        assert (seat.serving, seat.connections, seat.spooled, seat.published()) == (False, 0, 0, b"second")
        assert board.seats[0].published() is None

    def test_it_is_read_whole_while_it_is_written(self) -> None:
        """A reader never sees half of one and half of another, and never an older one than before."""
        seat = Board(1).seats[0]
        stop = mmap.mmap(-1, 1)
        seat.publish(b"%08d" % 0 * 4000)

        def work() -> None:
            number = 0
            while not stop[0]:
                number += 1
                seat.publish(b"%08d" % number * (1 + number % 4000))

        pid = os.fork()
        if pid == 0:
            work()
            os._exit(0)
        try:
            newest = 0
            for _ in range(3000):
                packed = seat.published()
                if packed is not None:
                    assert packed == packed[:8] * (len(packed) // 8)
                    assert int(packed[:8]) >= newest
                    newest = int(packed[:8])
            assert newest > 0
        finally:
            stop[0] = 1
            os.waitpid(pid, 0)

    def test_what_does_not_fit_is_not_published(self) -> None:
        """The last one that did stays."""
        seat = Board(1).seats[0]
        assert seat.publish(bytes(SNAPSHOT_BYTES))
        assert not seat.publish(bytes(SNAPSHOT_BYTES + 1))
        assert seat.published() == bytes(SNAPSHOT_BYTES)


class TestSums:
    """Figures of several processes as if they were one."""

    def test_of_the_living_and_the_gone(self) -> None:
        """Counters and histograms of all are added, gauges of those that live; times of start are the earliest."""
        one, other, gone = (counted(gets).snapshot() for gets in (1, 2, 4))
        for at, snapshot in enumerate((one, other, gone)):
            snapshot.process = {CPU: 1.5, PROCESS_START: 100.0 + at, "process_open_fds": 10.0}
            snapshot.started = 200.0 - at
        total = summed([one, other], [gone])

        assert total.counters["s4_gateway_requests"] == {("GetObject", "200"): 7, ("PutObject", "403"): 3}
        assert sum(total.histograms["s4_gateway_request_seconds"]["GetObject"][:-1]) == 7
        assert total.histograms["s4_gateway_request_seconds"]["GetObject"][-1] == pytest.approx(7 * RECORD.seconds)
        assert (total.gauges["s4_gateway_connections"], total.gauges["s4_gateway_workers"]) == (3, 2)
        assert total.process == {CPU: 4.5, PROCESS_START: 100.0, "process_open_fds": 20.0}
        assert total.started == 198.0
        assert one.counters["s4_gateway_requests"]["GetObject", "200"] == 1

    def test_a_successor_counts_on(self) -> None:
        """Packed, unpacked and carried on, every counter is where it was, and open things are not."""
        before = Snapshot.unpack(counted(5).snapshot().pack())
        successor = Metrics()
        successor.carry_on(before)
        successor.request_ended(RECORD._replace(status=200), writes=False)
        after = successor.snapshot()

        assert after.counters["s4_gateway_requests"]["GetObject", "200"] == 6
        assert sum(after.histograms["s4_gateway_request_seconds"]["GetObject"][:-1]) == 6
        assert after.gauges["s4_gateway_connections"] == 0
        assert after.started == before.started
        assert after.process[CPU] >= before.process[CPU]


@asynccontextmanager
async def crew(*all_metrics: Metrics) -> AsyncIterator[tuple[Board, list[Census]]]:
    """A census for each, all in this process, all serving."""
    board = Board(len(all_metrics))
    bells = tuple(Bell.hang() for _ in all_metrics)
    switchboards = [Switchboard(Place(number, board, bells)) for number in range(len(all_metrics))]
    members = [Census(metrics, switchboard) for metrics, switchboard in zip(all_metrics, switchboards, strict=True)]
    for seat, switchboard, member in zip(board.seats, switchboards, members, strict=True):
        switchboard.start()
        await member.start()
        seat.take()
    try:
        yield board, members
    finally:
        for switchboard, member in zip(switchboards, members, strict=True):
            switchboard.close()
            await member.close()
        for bell in bells:
            bell.close()


class TestCensus:
    """Whoever is asked answers for all."""

    async def test_everybody_is_counted_to_the_last_request(self) -> None:
        """What another worker counted a moment ago is in the sum, whoever is asked, and however many ask."""
        one, other = counted(2), counted(3)
        async with crew(one, other) as (board, members):
            board.restarts = 4
            other.request_ended(RECORD, writes=False)
            texts = await asyncio.gather(*(member.render() for member in members * 3))

        assert {parsed(text)[REQUESTS] for text in texts} == {6}
        assert {parsed(text)["s4_gateway_worker_restarts_total", ()] for text in texts} == {4}
        assert {parsed(text)["s4_gateway_workers", ()] for text in texts} == {2}

    async def test_who_does_not_answer_counts_with_what_it_told_before(self) -> None:
        """A worker that stands still delays the answer by a bounded time only."""
        async with crew(counted(2), counted(3)) as (_, members):
            await members[0].render()
            members[1]._switchboard.close()
            began = asyncio.get_running_loop().time()
            found = parsed(await members[0].render())
            took = asyncio.get_running_loop().time() - began

        assert found[REQUESTS] == 5
        assert ANSWER_SECONDS <= took + 0.05 < ANSWER_SECONDS + 2

    async def test_sums_never_go_backwards(self) -> None:
        """After a worker is gone, and after its successor came, what was shown once is still in the sum."""
        async with crew(counted(2), counted(3)) as (board, members):
            first = parsed(await members[0].render())[REQUESTS]
            await members[1].close()
            members[1]._switchboard.close()
            board.seats[1].leave()
            without = parsed(await members[0].render())
            successor = Metrics()
            switchboard = Switchboard(members[1]._switchboard.place)
            joined = Census(successor, switchboard)
            switchboard.start()
            await joined.start()
            board.seats[1].take()
            successor.request_ended(RECORD, writes=False)
            last = parsed(await members[0].render())[REQUESTS]
            await joined.close()
            switchboard.close()

        assert (first, without[REQUESTS], last) == (5, 5, 6)
        assert without["s4_gateway_workers", ()] == 1
        assert without["s4_gateway_connections", ()] == 2


class TestSwitchboard:
    """Messages between workers."""

    async def test_all_who_serve_are_told(self) -> None:
        """Each message arrives whole, in order, with its sender; nobody tells itself, and an empty seat is told nothing."""
        board = Board(3)
        bells = tuple(Bell.hang() for _ in range(3))
        heard: list[tuple[int, int, bytes]] = []
        switchboards = [Switchboard(Place(number, board, bells)) for number in range(3)]
        for number, switchboard in enumerate(switchboards):
            switchboard.listen(b"x", lambda sender, payload, number=number: heard.append((number, sender, payload)))  # type: ignore[misc]
            switchboard.start()
        for seat in board.seats[:2]:
            seat.take()
        for count in range(3):
            switchboards[0].tell_all(b"x", b"%d" % count)
        await asyncio.sleep(0.05)
        for switchboard, bell in zip(switchboards, bells, strict=True):
            switchboard.close()
            bell.close()

        assert heard == [(1, 0, b"0"), (1, 0, b"1"), (1, 0, b"2")]

    async def test_nobody_waits_for_who_does_not_listen(self) -> None:
        """Where a worker stands still, messages are lost instead of holding up who sends them."""
        board = Board(2)
        bells = (Bell.hang(), Bell.hang())
        switchboard = Switchboard(Place(0, board, bells))
        taken = [switchboard.tell(1, b"x", b"payload") for _ in range(100_000)]
        for bell in bells:
            bell.close()

        assert taken[0]
        assert not taken[-1]


def test_pieces_of_several_processes_stay_whole() -> None:
    """Pieces far above what a pipe takes at once, from two processes and two threads of each, are never mixed."""
    reader, writer = os.pipe()
    stream = SharedStream(writer)
    pids = []
    for name in "ab":
        pid = os.fork()
        if pid == 0:
            text = SharedText(stream)
            threads = [
                threading.Thread(target=lambda to, c: [to(c) for _ in range(20)], args=args)
                for args in (
                    (stream.write, name.encode() * 50_000 + b"\n"),
                    (text.write, name.upper() * 9_000 + "\n"),
                )
            ]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            os._exit(0)
        pids.append(pid)
    os.close(writer)
    with os.fdopen(reader, "rb") as read:
        found = read.read().splitlines()
    for pid in pids:
        os.waitpid(pid, 0)

    stream.close()
    assert sorted(set(found)) == [b"A" * 9_000, b"B" * 9_000, b"a" * 50_000, b"b" * 50_000]
    assert len(found) == 80
