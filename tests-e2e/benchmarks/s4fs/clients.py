"""The clients: which file system reads whose objects, in which environment."""

import json
import subprocess
import sys
import sysconfig
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from programs import program
from servers.stores import ACCESS_KEY, SECRET_KEY

PROGRAM = Path(__file__).with_name("client.py")
BUCKET = "bench"
PLAIN, REFERENCE, OURS, GATEWAYS = "s3fs", "reference", "s4fs", "s4fs, gateway's objects"


@dataclass(frozen=True, slots=True)
class Client:
    """A file system and the objects that it works on."""

    file_system: str
    """`s3` or `s4`."""
    folder: str
    """Of its objects in the bucket."""
    ours: bool
    """Whether this interpreter has it; else the reference's has."""

    def command(self) -> list[str]:
        """The interpreter that has its file system, and the program."""
        return [sys.executable if self.ours else str(program("reference")), str(PROGRAM)]


CLIENTS: Mapping[str, Client] = {
    PLAIN: Client("s3", "plain", ours=True),
    REFERENCE: Client("s4", "reference", ours=False),
    OURS: Client("s4", "ours", ours=True),
    GATEWAYS: Client("s4", "gateway", ours=True),
}


@dataclass(slots=True)
class Started:
    """A client that is ready to work."""

    process: subprocess.Popen[bytes]

    def work(self) -> dict[str, Any]:
        """Let it work; what it tells.

        Raises:
            RuntimeError: it failed.
        """
        self._stdin.write(b"\n")
        self._stdin.flush()
        line = self._stdout.readline()
        if not line:
            raise RuntimeError(f"{self.process.args!r} ended")
        told: dict[str, Any] = json.loads(line)
        return told

    @property
    def _stdin(self) -> IO[bytes]:
        assert self.process.stdin is not None
        return self.process.stdin

    @property
    def _stdout(self) -> IO[bytes]:
        assert self.process.stdout is not None
        return self.process.stdout

    def prepare(self, asked: Mapping[str, Any]) -> None:
        """Say what is asked, and wait until it is ready.

        Raises:
            RuntimeError: it never is.
        """
        self._stdin.write(json.dumps(asked).encode() + b"\n")
        self._stdin.flush()
        if self._stdout.readline() != b"ready\n":
            raise RuntimeError(f"{self.process.args!r} does not start")


@contextmanager
def started(client: Client, endpoint: str, work: str, path: str, arguments: Mapping[str, Any]) -> Iterator[Started]:
    """A client with one piece of work before it; its process ends with the block."""
    asked = {
        "file_system": client.file_system,
        "endpoint": endpoint,
        "access_key": ACCESS_KEY,
        "secret_key": SECRET_KEY,
        "bucket": BUCKET,
        "work": work,
        "path": path,
        "arguments": dict(arguments),
        "extra_path": [] if client.ours else [sysconfig.get_path("purelib")],
    }
    with subprocess.Popen(client.command(), stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        try:
            running = Started(process)
            running.prepare(asked)
            yield running
        finally:
            process.kill()
