"""What the processes of one server tell each other: locks on single bytes of one file, which the system drops when their process dies.

| bytes | locked by | means |
|---|---|---|
| the number of an epoch | the process of that run, as long as it runs | its files may be in flight |
| the id of a list | every process that reads the list | its segments have to stay |
| `_WRITING`, `_NEXT` | one process | it writes to the database; it is the next one to write |
| `_OPENING` | one process | it opens the store, and may make its tables |

Ids of bodies are above 2^40 and epochs below 2^23, so that nothing meets. The locks are those of POSIX: a process never blocks itself,
and all its locks go when it closes the file anywhere. So a process opens one store on a directory, once, and never forks while it is open.
"""

import errno
import fcntl
import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from s4_gateway.backend.local.faults import unavailable

FILE_NAME = "peers"

_WRITING, _NEXT, _OPENING = range(1 << 30, (1 << 30) + 3)
_WAIT_SECONDS = 10.0
"""A process that writes for so long is stuck: writes of the others are refused, as SQLite would."""
_POLL_SECONDS = 0.0005
"""A commit takes a few milliseconds; waiting in the system instead could not be ended after a time."""
_BUSY = (errno.EACCES, errno.EAGAIN)

_open_here: set[tuple[int, int]] = set()
_open_here_lock = threading.Lock()


class Peers:
    """This process among those of its server, on one store. Methods may be called from any thread and raise OSError."""

    def __init__(self, directory: Path) -> None:
        """Join.

        Raises:
            BackendError: this process has a store open there already.
        """
        self._descriptor = os.open(directory / FILE_NAME, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        about = os.fstat(self._descriptor)
        self._identity = (about.st_dev, about.st_ino)
        with _open_here_lock:
            if self._identity in _open_here:
                # Not closed: that would drop the locks of the other one.
                raise unavailable(f"the store in {directory} is open in this process already")
            _open_here.add(self._identity)

    def leave(self) -> None:
        """Drop every lock; repeatable."""
        with _open_here_lock:
            descriptor, self._descriptor = self._descriptor, -1
            if descriptor >= 0:
                _open_here.remove(self._identity)
                os.close(descriptor)

    @contextmanager
    def opening(self) -> Iterator[None]:
        """Alone in making the database or bringing it up to date."""
        with self._alone(_OPENING):
            yield

    @contextmanager
    def turn(self) -> Iterator[None]:
        """Alone in writing to the database.

        Whoever waits has `_NEXT`, and who has just written needs that first to write again: processes take turns, however busy one is.

        Raises:
            BackendError: another process is stuck in its turn.
        """
        self._take(_NEXT)
        try:
            self._take(_WRITING)
        finally:
            self._drop(_NEXT)
        try:
            yield
        finally:
            self._drop(_WRITING)

    def begin_run(self, epoch: int) -> bool:
        """Hold an epoch, one's own or that of a run that has ended; False where its process lives."""
        return self._try(epoch, fcntl.LOCK_EX)

    def end_run(self, epoch: int) -> None:
        """Let go of an epoch."""
        self._drop(epoch)

    def hold(self, body: int) -> None:
        """This process reads the list. It may just have been dropped: look for it again afterwards, and only then read."""
        # Blocks no longer than another process takes to ask `is_held`.
        self._check_open()
        fcntl.lockf(self._descriptor, fcntl.LOCK_SH, 1, body)

    def let_go(self, body: int) -> None:
        """This process reads it no more."""
        self._drop(body)

    def is_held(self, body: int) -> bool:
        """Whether another process reads the list. Not to be asked while this one does: it would drop the hold."""
        try:
            if not self._try(body, fcntl.LOCK_EX):
                return True
        except OSError:
            return True  # Nobody knows, and a list that stays too long does no harm.
        self._drop(body)
        return False

    @contextmanager
    def _alone(self, byte: int) -> Iterator[None]:
        self._take(byte)
        try:
            yield
        finally:
            self._drop(byte)

    def _take(self, byte: int) -> None:
        deadline = time.monotonic() + _WAIT_SECONDS
        while not self._try(byte, fcntl.LOCK_EX):
            if time.monotonic() > deadline:
                raise unavailable("the database is locked by another process of this server")
            time.sleep(_POLL_SECONDS)

    def _check_open(self) -> None:
        if self._descriptor < 0:
            raise unavailable("the store is closed")

    def _try(self, byte: int, kind: int) -> bool:
        self._check_open()
        try:
            fcntl.lockf(self._descriptor, kind | fcntl.LOCK_NB, 1, byte)
        except OSError as error:
            if error.errno in _BUSY:
                return False
            raise
        return True

    def _drop(self, byte: int) -> None:
        if self._descriptor >= 0:  # Closing the file has dropped all of them.
            with suppress(OSError):
                fcntl.lockf(self._descriptor, fcntl.LOCK_UN, 1, byte)
