"""The real server for tests over real sockets: in a thread, around any ASGI application, or as the process that users start."""

import os
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
import tomllib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from s4_gateway.observe import Metrics
from s4_gateway.serve.limits import Limits
from s4_gateway.serve.server import GatewayServer, bind
from s4_gateway.testing.asgi import ASGIApp

START_SECONDS = 30.0
STOP_SECONDS = 30.0
HOST = "127.0.0.1"

_ENDPOINT = re.compile(r"^endpoint +http://(\S+):(\d+)$", re.MULTILINE)
_KEYS_FILE = re.compile(r"^keys are in (.+)$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class RunningServer:
    """A server in a thread of this process."""

    port: int
    server: GatewayServer
    metrics: Metrics
    thread: threading.Thread

    @property
    def address(self) -> tuple[str, int]:
        return HOST, self.port

    @property
    def endpoint(self) -> str:
        return f"http://{HOST}:{self.port}"

    def stop(self) -> None:
        """Tell it to drain, without waiting."""
        self.server.stop()

    def join(self, timeout: float = STOP_SECONDS) -> None:
        """Wait until it ended.

        Raises:
            TimeoutError: it did not.
        """
        self.thread.join(timeout)
        if self.thread.is_alive():
            raise TimeoutError("the server did not end")


@contextmanager
def running_server(
    app: ASGIApp,
    *,
    limits: Limits | None = None,
    metrics: Metrics | None = None,
    drain_seconds: float = 5.0,
    ready: Callable[[], None] | None = None,
) -> Iterator[RunningServer]:
    """An application behind the gateway's web server on a port of the system's choice; drained at the end.

    Args:
        app: with lifespan.
        limits: of connections.
        metrics: told of connections.
        drain_seconds: patience at the end.
        ready: called when connections are accepted, in the server's thread.

    Raises:
        TimeoutError: it does not start or does not end.
    """
    metrics = metrics or Metrics()
    started = threading.Event()

    def announce() -> None:
        if ready is not None:
            ready()
        started.set()

    server = GatewayServer(app, limits or Limits(), metrics=metrics, drain_seconds=drain_seconds, ready=announce)
    listening = bind(HOST, 0)
    port: int = listening.getsockname()[1]
    thread = threading.Thread(target=server.run, args=([listening],), name="gateway-server", daemon=True)
    thread.start()
    try:
        if not started.wait(START_SECONDS):
            raise TimeoutError("the server did not start")
        running = RunningServer(port, server, metrics, thread)
        yield running
        running.stop()
        running.join()
    finally:
        server.stop()
        listening.close()


@dataclass(frozen=True, slots=True)
class GatewayProcess:
    """A gateway that was started by its command."""

    process: subprocess.Popen[bytes]
    endpoint: str
    access_key: str
    secret_key: str = field(repr=False)
    announced: str
    """What it wrote to standard output."""
    errors: IO[bytes] = field(repr=False)

    @property
    def port(self) -> int:
        return int(self.endpoint.rpartition(":")[2])

    def log(self) -> str:
        """What it has written to standard error so far."""
        self.errors.seek(0)
        return self.errors.read().decode("utf-8", "replace")

    def stop(self, how: signal.Signals = signal.SIGTERM) -> int:
        """Send a signal and wait for the end; the exit status."""
        if self.process.poll() is None:
            self.process.send_signal(how)
        return self.process.wait(STOP_SECONDS)


@contextmanager
def running_gateway(
    *arguments: str, environ: Mapping[str, str] | None = None, access_key: str = "", secret_key: str = ""
) -> Iterator[GatewayProcess]:
    """The command `s4-gateway` in a process of its own, on a port of the system's choice; ended by SIGTERM.

    Args:
        arguments: options, without --host and --port.
        environ: on top of this process's environment, from which everything of AWS's and of the gateway's is taken out.
        access_key: of a client; empty = the pair that the gateway keeps in its data directory.
        secret_key: its secret.

    Raises:
        RuntimeError: it ended instead of serving; the message is what it wrote.
        TimeoutError: it did neither.
    """
    command = [sys.executable, "-c", "from s4_gateway.cli import main; main()", "--host", HOST, "--port", "0", *arguments]
    with tempfile.TemporaryFile() as output, tempfile.TemporaryFile() as errors:
        process = subprocess.Popen(  # noqa: S603 - our own command
            command, env=clean_environment(environ), stdin=subprocess.DEVNULL, stdout=output, stderr=errors
        )
        try:
            yield _announced(process, output, errors, access_key, secret_key)
        finally:
            if process.poll() is None:
                process.terminate()
            try:
                process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def clean_environment(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """This process's environment without anything that could steer a gateway, and with no profile or instance to ask for keys."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "S4_"))}
    isolated = {"AWS_CONFIG_FILE": os.devnull, "AWS_SHARED_CREDENTIALS_FILE": os.devnull, "AWS_EC2_METADATA_DISABLED": "true"}
    return {**kept, **isolated, **(extra or {})}


def _announced(process: subprocess.Popen[bytes], output: IO[bytes], errors: IO[bytes], access_key: str, secret_key: str) -> GatewayProcess:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        output.seek(0)
        text = output.read().decode()
        endpoint = _ENDPOINT.search(text)
        if endpoint is not None and text.endswith("\n"):
            kept = _KEYS_FILE.search(text)
            if not access_key and kept is not None:
                user = tomllib.loads(Path(kept[1]).read_text())["user"][0]
                access_key, secret_key = user["access_key"], user["secret_key"]
            return GatewayProcess(process, f"http://{endpoint[1]}:{endpoint[2]}", access_key, secret_key, text, errors)
        if process.poll() is not None:
            errors.seek(0)
            raise RuntimeError(errors.read().decode("utf-8", "replace"))
        time.sleep(0.02)
    raise TimeoutError("the gateway did not say that it serves")
