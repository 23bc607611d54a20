"""The process that the supervisor forked: it does its job, says when it serves, and never returns."""

import contextlib
import json
import logging
import os
import signal
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import NoReturn, Self

from s4_gateway.errors import SettingsError
from s4_gateway.observe.board import Place

SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGCHLD)
"""What the supervisor has handlers for; blocked from the fork until the worker has its own."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Report:
    """What a worker tells the supervisor: that it serves, or why it cannot."""

    failure: str | None = None
    """None = it serves."""
    is_refusal: bool = False
    """Whether a setting is what it cannot serve with."""

    def pack(self) -> bytes:
        """One line."""
        return json.dumps([self.failure, self.is_refusal]).encode() + b"\n"

    @classmethod
    def unpack(cls, line: bytes) -> Self:
        """The inverse."""
        return cls(*json.loads(line))


@dataclass(frozen=True, slots=True)
class Station:
    """What a worker is given."""

    place: Place
    lifeline: int
    """File descriptor that can be read (it is at its end) when the supervisor is gone."""
    reports: int
    """File descriptor of the pipe to the supervisor."""

    def ready(self) -> None:
        """Tell that connections are accepted."""
        self.tell(Report())

    def tell(self, report: Report) -> None:
        """Send a report; the lifeline says where nobody is there to read it."""
        with contextlib.suppress(BrokenPipeError):
            os.write(self.reports, report.pack())


Job = Callable[[Station], None]
"""Serves until it is told to stop; raises what prevents it."""


def work(job: Job, station: Station) -> int:
    """Do the job; the exit status."""
    try:
        job(station)
    except Exception as error:  # noqa: BLE001 - the end of the process: the supervisor tells it
        station.tell(Report(str(error) or type(error).__name__, isinstance(error, SettingsError)))
        return 1
    return 0


def leave(status: int) -> NoReturn:
    """End this process without what its parent registered for its own end."""
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):
            stream.flush()
    os._exit(status)
