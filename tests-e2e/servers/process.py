"""One server process: started on a port of the system's choice, waited for, its output kept, gone at the end."""

import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

HOST = "127.0.0.1"
START_SECONDS = 30.0
STOP_SECONDS = 20.0
PORT_ATTEMPTS = 3
"""Between our choice of a free port and the server's bind somebody else may take it."""


@dataclass(frozen=True, slots=True)
class ServerProcess:
    """A running server."""

    process: subprocess.Popen[bytes]
    port: int
    log_file: Path

    def log(self) -> str:
        """All it wrote so far."""
        return self.log_file.read_text("utf-8", "replace")


@contextmanager
def running(command: Sequence[str], *, port: int, log_file: Path, environ: Mapping[str, str]) -> Iterator[ServerProcess]:
    """A server that accepts connections on `port`; it and all its children are gone afterwards.

    Raises:
        RuntimeError: it ended or does not accept connections; the message holds its output.
    """
    with log_file.open("wb") as log:
        process = subprocess.Popen(
            command,
            env=dict(environ),
            cwd=log_file.parent,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    server = ServerProcess(process, port, log_file)
    try:
        _wait_until_accepting(server)
        yield server
    finally:
        _end(process)


def free_port() -> int:
    """A port that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        port: int = probe.getsockname()[1]
        return port


def _wait_until_accepting(server: ServerProcess) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        if server.process.poll() is not None:
            break
        try:
            socket.create_connection((HOST, server.port), timeout=1).close()
        except OSError:
            time.sleep(0.05)
        else:
            return
    raise RuntimeError(f"{server.process.args!r} does not serve:\n{server.log()[-4000:]}")


def _end(process: subprocess.Popen[bytes]) -> None:
    for how, patience in ((signal.SIGTERM, STOP_SECONDS), (signal.SIGKILL, STOP_SECONDS)):
        try:
            os.killpg(process.pid, how)
        except ProcessLookupError:
            break
        try:
            process.wait(patience)
        except subprocess.TimeoutExpired:
            continue
    process.wait(STOP_SECONDS)
