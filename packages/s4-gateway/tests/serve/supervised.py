"""Run by test_supervisor.py: a supervisor over jobs that do not serve but say what happens to them, one line each on standard output."""

import os
import select
import signal
import socket
import sys
import time
from pathlib import Path

from s4_gateway.errors import GatewayError, SettingsError
from s4_gateway.serve import Station, Supervisor


def say(text: str) -> None:
    """In one piece, whichever process it is."""
    os.write(1, f"{text} {os.getpid()}\n".encode())


def until_told(station: Station) -> None:
    """Serves until SIGTERM comes or the supervisor is gone."""
    told: list[int] = []
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    signal.set_wakeup_fd(writer)
    signal.signal(signal.SIGTERM, lambda number, _: told.append(number))
    signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGTERM])
    station.ready()
    say("serves")
    select.select([reader, station.lifeline], [], [])
    say("told" if told else "orphaned")


def refuses(_station: Station) -> None:
    """Cannot start with its settings."""
    raise SettingsError("--this: is refused")


def breaks(_station: Station) -> None:
    """Ends before it serves, without a word."""
    os.kill(os.getpid(), signal.SIGKILL)


def later_ones_break(station: Station) -> None:
    """Only the first worker ever starts."""
    until_told(station) if station.place.number == 0 else breaks(station)


def breaks_once(station: Station) -> None:
    """The second worker's first start fails."""
    mark = Path(sys.argv[2])
    if station.place.number == 1 and not mark.exists():
        mark.touch()
        raise GatewayError("not yet")
    until_told(station)


def never_ends(station: Station) -> None:
    """Does not hear that it is to stop."""
    station.ready()
    say("serves")
    time.sleep(1000)


def lists_descriptors(station: Station) -> None:
    """Says how many files it has open, then serves."""
    say(f"descriptors {len(list(Path('/proc/self/fd').iterdir()))}")
    until_told(station)


JOBS = {job.__name__: job for job in (until_told, refuses, breaks, later_ones_break, breaks_once, never_ends, lists_descriptors)}


def main() -> None:
    """Arguments: job, a file that may be made."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        supervisor = Supervisor(JOBS[sys.argv[1]], (listening,), count=2, drain_seconds=0.0, ready=lambda: say("ready"))
        try:
            supervisor.run()
        except GatewayError as error:
            say(f"{type(error).__name__}: {error} |")
            sys.exit(1)
    say("ended")


if __name__ == "__main__":
    main()
