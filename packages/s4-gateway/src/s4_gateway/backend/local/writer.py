"""The thread that writes: what waits while one commit reaches the disk shares the next one (group commit)."""

import asyncio
import logging
import sqlite3
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from typing import Any, TypeVar

from s4_gateway.backend.abc import BackendError, Outcome
from s4_gateway.backend.local.blobs import BlobFiles
from s4_gateway.backend.local.bodies import Content
from s4_gateway.backend.local.faults import database_error, disk_error, primary_code, unavailable
from s4_gateway.backend.local.janitor import Janitor
from s4_gateway.backend.local.peers import Peers
from s4_gateway.backend.local.pins import Pins
from s4_gateway.backend.local.transaction import Transaction

T = TypeVar("T")

MAX_BATCH = 256
"""Most writes in one transaction: bounds how long one write can wait for its neighbours."""
CHECKPOINT_PAGES = 4096
"""Pages in the write-ahead log (16 MiB) that start a checkpoint."""

_RETRY_SECONDS = 0.5
"""How often lists that another process reads are looked at again."""
_PAGE = 4096
_PAGES_A_JOB = 3
"""Pages that a write without inline bytes changes, about."""

_log = logging.getLogger(__name__)


@dataclass(slots=True, eq=False)
class _Job:
    work: Callable[[Transaction], Any]
    future: asyncio.Future[Any] | None
    """None = nobody waits."""
    content: Content | None
    """A new body; its file is removed unless the work is committed."""
    abandoned: bool = False
    """Nobody wants it any more: dropped if its turn has not come."""


class _HalfDoneError(Exception):
    """A write was refused after its first change."""


class _CommitError(Exception):
    """COMMIT itself failed: what it said may still come back from the log after a crash."""


_Answers = list[tuple[_Job, object, Exception | None]]


class Writer:
    """Owns the connection that writes.

    Args:
        connection: used by the writer's thread only, from `start` to `close`.
        blobs: the files that transactions name and drop.
        peers: the processes that write to the same database.
        epoch: of this run.
        clock: seconds since the epoch, for Last-Modified.
        sync_database: syncs the database's file; raises OSError.
    """

    def __init__(
        self,
        connection: sqlite3.Connection,
        blobs: BlobFiles,
        peers: Peers,
        *,
        epoch: int,
        clock: Callable[[], float],
        sync_database: Callable[[], None],
    ) -> None:
        self._connection = connection
        self._sync_database = sync_database
        self._blobs = blobs
        self._peers = peers
        self._epoch = epoch
        self._clock = clock
        self._jobs: SimpleQueue[_Job | None] = SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="s4-store-writer", daemon=True)
        self.janitor = Janitor(blobs, lambda bodies: self.post(lambda transaction: transaction.forget_removals(bodies)))
        self._closing = False
        self._weight = 0
        """About how many pages the log has grown since the last checkpoint."""
        self.pins = Pins(self._purge, peers)

    def start(self) -> None:
        """Begin to work; lists in the trash that nobody reads are purged first."""
        trash = [body for (body,) in self._connection.execute("SELECT id FROM trash")]
        self._thread.start()
        self.pins.drop(trash)

    @property
    def is_closing(self) -> bool:
        return self._closing

    def refuse_more(self) -> None:
        """Take no more writes; called in the loop's thread, as `run` is."""
        self._closing = True

    def close(self) -> None:
        """Finish what waits, note the clean stop and empty the log. Blocks; `refuse_more` comes first."""
        self._jobs.put(None)
        self._thread.join()
        removed = self.janitor.close()
        self._blobs.discard_unsettled()
        self._blobs.sync_discarded()
        with suppress(sqlite3.Error, BackendError, OSError), self._peers.turn():  # The next start does what is left undone here.
            transaction = Transaction(self._connection, self._clock, epoch=self._epoch)
            self._connection.execute("BEGIN IMMEDIATE")
            transaction.forget_removals(removed)
            if not self._blobs.leftovers:
                self._connection.execute("DELETE FROM epochs WHERE id = ?", (self._epoch,))
            self._connection.execute("COMMIT")
            self._connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()
        self._connection.close()

    def check(self) -> None:
        """Raise BackendError if no writes are taken any more."""
        if self._closing:
            raise unavailable("the store is closed")

    async def run(self, work: Callable[[Transaction], T], *, content: Content | None = None) -> T:
        """Do `work` in a transaction and return when it is on the disk.

        A cancelled write is dropped if its turn has not come; either way nothing changes any more once CancelledError is raised.

        Args:
            work: runs in the writer's thread; may run more than once, when its neighbours fail.
            content: the new body that `work` adds.
        """
        if self._closing:
            if content is not None and content.inline is None:
                self._blobs.discard([content.body])
            self.check()
        loop = asyncio.get_running_loop()
        future: asyncio.Future[T] = loop.create_future()
        job = _Job(work, future, content)
        self._jobs.put(job)
        try:
            return await future
        except asyncio.CancelledError:
            job.abandoned = True
            if job.future is not None:
                job.future = settled = loop.create_future()
                await wait_for(settled)
            raise

    def post(self, work: Callable[[Transaction], object]) -> None:
        """Do `work` in some later transaction; nobody waits. From any thread."""
        self._jobs.put(_Job(work, None, None))

    def forget_run(self, epoch: int) -> None:
        """Take a run that has ended and left nothing out of the database; nobody waits. From any thread."""
        self.post(lambda transaction: transaction.forget_run(epoch))

    def _purge(self, dropped: int) -> None:
        def purge(transaction: Transaction) -> None:
            if transaction.purge(dropped):
                self._purge(dropped)

        self.post(purge)

    # The writer's thread

    def _run(self) -> None:
        while (jobs := self._next_batch()) is not None:
            answers: _Answers = []
            try:
                self._commit(jobs, answers)
            finally:
                self._deliver(answers)
            self._checkpoint()

    def _next_batch(self) -> list[_Job] | None:
        """What waits, at least one job; None at the end."""
        first = self._first()
        if first is None:
            return None
        batch = [first]
        while len(batch) < MAX_BATCH:
            try:
                job = self._jobs.get_nowait()
            except Empty:
                break
            if job is None:
                self._jobs.put(None)
                break
            batch.append(job)
        return batch

    def _first(self) -> _Job | None:
        while True:
            try:
                return self._jobs.get(timeout=_RETRY_SECONDS if self.pins.must_retry else None)
            except Empty:
                self.pins.retry()

    def _commit(self, jobs: Sequence[_Job], answers: _Answers) -> None:
        wanted = [job for job in jobs if not job.abandoned]
        for job in jobs:
            if job.abandoned:
                self._answer(answers, job, None, unavailable("abandoned"))
        wanted = self._sync_names(wanted, answers)
        if not wanted:
            return
        try:
            with self._peers.turn():
                self._commit_named(wanted, answers)
        except (BackendError, OSError) as error:  # No turn: another process is stuck in its own.
            for job in wanted:
                self._answer(answers, job, None, error)

    def _sync_names(self, jobs: Sequence[_Job], answers: _Answers) -> list[_Job]:
        """Sync the names of new blobs, once a directory; the jobs that can go on. The others are refused, and not tried again."""
        directories = {
            job: self._blobs.directory_of(job.content.body) for job in jobs if job.content is not None and job.content.inline is None
        }
        failures: dict[str, BackendError] = {}
        for directory in set(directories.values()):
            try:
                self._blobs.sync_names(directory)
            except OSError as error:
                failures[directory] = disk_error(error, "storing the name of a body")
        for job, directory in directories.items():
            if directory in failures:
                self._answer(answers, job, None, failures[directory])
        return [job for job in jobs if directories.get(job) not in failures]

    def _commit_named(self, wanted: Sequence[_Job], answers: _Answers) -> None:
        try:
            with self._failures():
                results = self._attempt(wanted)
        except Exception as error:  # noqa: BLE001 - the writer answers for every job and goes on, whatever one of them does.
            if len(wanted) == 1:
                self._answer(answers, wanted[0], None, error)
            else:
                # One of them is to blame; alone, it fails alone.
                for job in wanted:
                    self._commit_named([job], answers)
        else:
            for job, (result, refusal) in zip(wanted, results, strict=True):
                self._answer(answers, job, result, refusal)

    @contextmanager
    def _failures(self) -> Iterator[None]:
        try:
            yield
        except _HalfDoneError as error:
            raise error.args[0] from error
        except _CommitError as error:
            cause = error.args[0]
            # A full disk cuts the commit record off; after any other failure it may be whole.
            lost = primary_code(cause) != sqlite3.SQLITE_FULL
            raise database_error(cause, "committing", outcome=Outcome.UNKNOWN if lost else Outcome.REFUSED) from cause
        except sqlite3.Error as error:
            raise database_error(error, "writing") from error

    def _attempt(self, jobs: Sequence[_Job]) -> list[tuple[object, BackendError | None]]:
        """All jobs in one transaction; their results and refusals."""
        contents = [job.content for job in jobs if job.content is not None]
        transaction = Transaction(self._connection, self._clock, epoch=self._epoch)
        self._connection.execute("BEGIN IMMEDIATE")
        try:
            results = [self._apply(transaction, job) for job in jobs]
            try:
                self._connection.execute("COMMIT")
            except sqlite3.Error as error:
                raise _CommitError(error) from error
        except BaseException:
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
            raise
        self._blobs.settle(content.body for content in contents)
        self._weight += sum(content.size // _PAGE for content in contents if content.inline) + _PAGES_A_JOB * len(jobs)
        if transaction.dropped_files:
            self.janitor.remove(transaction.dropped_files)
        self.pins.drop(transaction.dropped_lists)
        return results

    def _apply(self, transaction: Transaction, job: _Job) -> tuple[object, BackendError | None]:
        before = self._connection.total_changes
        try:
            return job.work(transaction), None
        except BackendError as refusal:
            if self._connection.total_changes != before:
                raise _HalfDoneError(refusal) from refusal
            return None, refusal

    def _answer(self, answers: _Answers, job: _Job, result: object, error: Exception | None) -> None:
        """Note the outcome; the file of a body that was not committed goes, unless its commit may come back."""
        if error is not None:
            lost = isinstance(error, BackendError) and error.outcome is Outcome.UNKNOWN
            if lost and job.content is not None:
                self._blobs.settle([job.content.body])
                self._blobs.leftovers = True
            elif job.content is not None and job.content.inline is None:
                self.janitor.discard(job.content.body)
            if job.future is None:
                _log.error("housekeeping of the store failed and is left to the next start: %s", error)
        answers.append((job, result, error))

    def _deliver(self, answers: _Answers) -> None:
        waiting = [answer for answer in answers if answer[0].future is not None]
        if not waiting:
            return
        future = waiting[0][0].future
        assert future is not None
        with suppress(RuntimeError):  # The loop is closed: nobody waits any more.
            future.get_loop().call_soon_threadsafe(_resolve, waiting)

    def _checkpoint(self) -> None:
        """Copy the log into the database when it is long.

        A failure loses nothing: the log stays, and the next attempt writes every page of it again before it syncs, so that a sync that
        only succeeds because the system forgot its dirty pages cannot hide them.
        """
        if self._weight < CHECKPOINT_PAGES:
            return
        self._weight = 0
        try:
            # In one's turn: beside writers, a checkpoint never reaches the end of the log, and only a log that is copied whole begins anew.
            with self._peers.turn():
                _, pages, copied = self._connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
                if copied < pages:
                    # A reader held it up. SQLite counts the pages as copied and syncs none: were a later sync to fail, the attempt after
                    # it would not write them again.
                    self._sync_database()
        except (sqlite3.Error, BackendError, OSError) as error:
            _log.error("the store's log could not be copied into its database and goes on growing: %s", error)


def _resolve(answers: _Answers) -> None:
    """Answer in the loop's thread."""
    for job, result, error in answers:
        future, job.future = job.future, None
        if future is None or future.done():
            continue
        if error is None:
            future.set_result(result)
        else:
            future.set_exception(error)


async def wait_for(future: "asyncio.Future[T]") -> None:
    """Wait until it is done, however often the waiting task is cancelled, and whatever comes out of it."""
    while not future.done():
        with suppress(asyncio.CancelledError):
            await asyncio.wait([future])
    if not future.cancelled():
        future.exception()
