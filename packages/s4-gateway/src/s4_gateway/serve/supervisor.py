"""Several worker processes behind one port: started together, started again one by one, ended together.

The supervisor binds what can be bound once and forks. It has no event loop and no threads, serves nobody, and sleeps until a signal, a
worker's word or a due start wakes it. When it is killed, a pipe tells the workers, which then end in order.
"""

import contextlib
import gc
import logging
import os
import select
import signal
import socket
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import NoReturn

from s4_gateway.errors import GatewayError, SettingsError
from s4_gateway.observe.board import Bell, Board, Place
from s4_gateway.serve.worker import SIGNALS, Job, Report, Station, leave, work

logger = logging.getLogger(__name__)

SETTLED_SECONDS = 10.0
"""A worker that served for so long did not fail at start."""
FIRST_PAUSE, LONGEST_PAUSE = 0.1, 30.0
"""Seconds before a worker that failed is started again; doubles with each failure in a row."""
GIVE_UP = 5
"""Failed starts in a row after which a gateway that does not serve ends."""
GRACE_SECONDS = 30.0
"""Beyond the drain, for workers to end what outlives requests; then they are killed."""


class WorkersFailed(GatewayError):
    """Workers could not be started, or did not end in order."""


@dataclass(slots=True)
class _Worker:
    """A running process."""

    pid: int
    reports: int
    since: float
    ready: bool = False
    report: Report | None = None
    """The last one."""
    heard: bytearray = field(default_factory=bytearray)


@dataclass(slots=True)
class _Slot:
    """A seat and who sits there."""

    place: Place
    worker: _Worker | None = None
    due: float | None = None
    """When one is to be started; None = not before something happens."""
    failures: int = 0
    """In a row."""


class Supervisor:
    """Runs the workers of one gateway; use it once.

    Args:
        job: done by each worker, in its own process.
        listening: sockets that workers accept from; closed here.
        count: workers.
        drain_seconds: how long requests in progress may go on after the signal to stop.
        ready: called once, when all workers serve.
    """

    def __init__(
        self, job: Job, listening: tuple[socket.socket, ...], *, count: int, drain_seconds: float, ready: Callable[[], None]
    ) -> None:
        self._job = job
        self._listening = listening
        self._patience = drain_seconds + GRACE_SECONDS
        self._ready: Callable[[], None] | None = ready
        self._board = Board(count)
        self._bells = tuple(Bell.hang() for _ in range(count))
        self._slots = [_Slot(Place(number, self._board, self._bells)) for number in range(count)]
        self._lifeline, self._life = os.pipe()
        self._awake, self._wake = os.pipe()
        os.set_blocking(self._awake, False)
        os.set_blocking(self._wake, False)
        self._served = False
        self._told = 0
        """Signals to stop that came."""
        self._deadline: float | None = None
        """When workers that should end are killed; None = they should not end."""
        self._failure: GatewayError | None = None

    def run(self) -> None:
        """Serve until SIGTERM or SIGINT, then drain and return. A second SIGINT kills what still runs.

        Raises:
            SettingsError: a worker refused a setting at start.
            WorkersFailed: workers do not start, or were killed at the end.
        """
        gc.collect()
        # What exists now is never looked at by the collectors of the workers, so that its pages stay shared.
        gc.freeze()
        try:
            with self._signals():
                # The first one alone: whatever prevents a start is told once, by one worker.
                self._slots[0].due = time.monotonic()
                while self._deadline is None or self._working():
                    self._start_due()
                    self._sleep()
                    self._take_signals()
                    self._hear_and_reap()
                    self._kill_late()
        finally:
            self._close()
        if self._failure is not None:
            raise self._failure

    # Start

    def _start_due(self) -> None:
        now = time.monotonic()
        for slot in self._slots:
            if slot.due is not None and slot.due <= now and self._deadline is None:
                slot.due = None
                try:
                    slot.worker = self._fork(slot.place)
                except OSError as error:
                    self._failed(slot, Report(f"the system starts no process: {error.strerror}"))

    def _fork(self, place: Place) -> _Worker:
        reader, writer = os.pipe()
        os.set_blocking(reader, False)
        try:
            signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
            pid = os.fork()
            if pid == 0:
                self._be_worker(Station(place, self._lifeline, writer), reader)
        except OSError:
            os.close(reader)
            raise
        finally:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
            os.close(writer)
        return _Worker(pid, reader, time.monotonic())

    def _be_worker(self, station: Station, reader: int) -> NoReturn:
        """In the new process. Signals stay blocked until the job has handlers for them, and do nothing when it has ended: the whole
        process group may be told to stop, and this one be told by us once more.
        """
        status = 1
        try:
            signal.set_wakeup_fd(-1)
            for descriptor in (reader, self._life, self._awake, self._wake, *(worker.reports for worker in self._working())):
                os.close(descriptor)
            status = work(self._job, station)
        except BaseException:  # noqa: BLE001 - nothing may go up into the supervisor's frames, which are here too
            traceback.print_exc()
        finally:
            leave(status)

    # Watch

    def _working(self) -> list[_Worker]:
        return [slot.worker for slot in self._slots if slot.worker is not None]

    def _sleep(self) -> None:
        moments = [slot.due for slot in self._slots if slot.due is not None]
        if self._deadline is not None:
            moments.append(self._deadline)
        poll = select.poll()
        poll.register(self._awake, select.POLLIN)
        for worker in self._working():
            # Not at its end: that would wake us until the process is reaped, of which SIGCHLD tells.
            if worker.report is None:
                poll.register(worker.reports, select.POLLIN)
        poll.poll(max(0.0, min(moments) - time.monotonic()) * 1000 if moments else None)

    def _take_signals(self) -> None:
        with contextlib.suppress(BlockingIOError):
            for number in os.read(self._awake, 4096):
                if number == signal.SIGHUP:
                    for worker in self._working():
                        os.kill(worker.pid, signal.SIGHUP)
                elif number in (signal.SIGTERM, signal.SIGINT):
                    self._told += 1
                    if self._deadline is None:
                        self._stop()
                    elif number == signal.SIGINT and self._told > 1:
                        self._deadline = time.monotonic()

    def _hear_and_reap(self) -> None:
        for slot in self._slots:
            worker = slot.worker
            if worker is None:
                continue
            pid, status = os.waitpid(worker.pid, os.WNOHANG)
            self._hear(slot, worker)
            if pid:
                self._ended(slot, worker, status)

    def _hear(self, slot: _Slot, worker: _Worker) -> None:
        with contextlib.suppress(BlockingIOError):
            while piece := os.read(worker.reports, 65536):
                worker.heard += piece
        while b"\n" in worker.heard:
            line, _, worker.heard = worker.heard.partition(b"\n")
            worker.report = Report.unpack(bytes(line))
            if worker.report.failure is None:
                worker.ready = True
                slot.place.seat.take()
                self._serves()

    def _serves(self) -> None:
        """One more worker does."""
        if not self._served:
            self._served = True
            for slot in self._slots[1:]:
                slot.due = time.monotonic()
        if self._ready is not None and all(slot.worker is not None and slot.worker.ready for slot in self._slots):
            ready, self._ready = self._ready, None
            ready()

    def _ended(self, slot: _Slot, worker: _Worker, status: int) -> None:
        os.close(worker.reports)
        slot.worker = None
        slot.place.seat.leave()
        if self._deadline is not None:
            if status and self._failure is None:
                self._failure = WorkersFailed(f"a worker {_described(status)} instead of ending in order")
            return
        if worker.ready and time.monotonic() - worker.since >= SETTLED_SECONDS:
            slot.failures = 0
        how = _described(status)
        report = worker.report
        if report is not None and report.failure is not None:
            self._failed(slot, report, served=worker.ready)
        else:
            self._failed(slot, Report(f"it {how}" if worker.ready else f"it {how} before it served"), served=worker.ready)

    def _failed(self, slot: _Slot, report: Report, *, served: bool = False) -> None:
        """A worker is gone that should not be: another one takes its place, unless that is hopeless."""
        serving = self._ready is None and any(worker.ready for worker in self._working())
        slot.failures += 1
        if not served and (not self._served or (slot.failures >= GIVE_UP and not serving)):
            kind = SettingsError if report.is_refusal else WorkersFailed
            self._failure = kind(f"the workers cannot start: {report.failure}" if self._served else str(report.failure))
            self._stop()
            return
        pause = 0.0 if served and slot.failures == 1 else min(FIRST_PAUSE * 2 ** (slot.failures - 1), LONGEST_PAUSE)
        logger.warning("worker %d is gone: %s; the next one starts in %.1f s", slot.place.number, report.failure, pause)
        slot.due = time.monotonic() + pause
        self._board.restarts += 1

    # End

    def _stop(self) -> None:
        """Accept nobody, tell the workers to drain."""
        self._deadline = time.monotonic() + self._patience
        for listening in self._listening:
            listening.close()
        for slot in self._slots:
            slot.due = None
        for worker in self._working():
            os.kill(worker.pid, signal.SIGTERM)

    def _kill_late(self) -> None:
        if self._deadline is not None and time.monotonic() >= self._deadline:
            for worker in self._working():
                os.kill(worker.pid, signal.SIGKILL)
            self._deadline = time.monotonic() + self._patience

    def _close(self) -> None:
        """Leave nothing behind, whatever happened."""
        for slot in self._slots:
            if slot.worker is not None:
                os.kill(slot.worker.pid, signal.SIGKILL)
                os.waitpid(slot.worker.pid, 0)
                os.close(slot.worker.reports)
                slot.worker = None
        for listening in self._listening:
            listening.close()
        for bell in self._bells:
            bell.close()
        for descriptor in (self._lifeline, self._life, self._awake, self._wake):
            os.close(descriptor)

    @contextlib.contextmanager
    def _signals(self) -> Iterator[None]:
        """Each signal becomes a byte to read."""
        before = signal.set_wakeup_fd(self._wake, warn_on_full_buffer=False)
        handlers = {number: signal.signal(number, _noticed) for number in SIGNALS}
        try:
            yield
        finally:
            for number, handler in handlers.items():
                signal.signal(number, handler)
            signal.set_wakeup_fd(before)


def _noticed(_number: int, _frame: object) -> None:
    """The byte is what counts."""


def _described(status: int) -> str:
    """How a process ended, from its wait status."""
    code = os.waitstatus_to_exitcode(status)
    if code >= 0:
        return f"ended with status {code}"
    try:
        return f"was ended by {signal.Signals(-code).name}"
    except ValueError:
        return f"was ended by signal {-code}"
