"""A network link between a store and who uses it: a TCP proxy, in a process of its own, that delays or paces what passes.

A delay holds every piece back for half the round trip in each direction, in order and without a bound on what is under way, as
distance does. A pace lets each direction pass so many bytes a second, all connections together; the bytes are moved by the kernel
(splice), so that the proxy takes next to nothing of the machine that it shares with what is measured.
"""

import argparse
import contextlib
import fcntl
import os
import queue
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace

from servers.process import HOST
from servers.stores import Store

PIECE = 256 * 1024
_PIPE_BYTES = 1 << 20
_QUEUE_SECONDS = 0.02
"""What a link carries at once after it stood still: without it, every moment in which the proxy does not run would be bandwidth lost."""
_STOP_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class Link:
    """How far the store is."""

    words: str
    round_trip_ms: float = 0.0
    mb_per_second: float = 0.0
    """10^6 bytes in each direction; 0 = as fast as it goes."""


@dataclass(slots=True)
class Pace:
    """One direction of a link with a bandwidth."""

    bytes_per_second: float
    _free: float = 0.0
    """When the link has carried all that it was given."""
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def carry(self, count: int) -> None:
        """Wait as long as these bytes, and those before them, take."""
        with self._lock:
            self._free = max(self._free, time.monotonic() - _QUEUE_SECONDS) + count / self.bytes_per_second
            until = self._free
        time.sleep(max(0.0, until - time.monotonic()))


@contextlib.contextmanager
def linked(store: Store, link: Link) -> Iterator[Store]:
    """The store at the far end of a link, for whoever uses it from now on; the way behind it stays short.

    Raises:
        RuntimeError: the proxy did not start.
    """
    assert store.process is not None, "a link needs a store that is a server"
    shape = ("--round-trip-ms", str(link.round_trip_ms), "--mb-per-second", str(link.mb_per_second))
    command = [sys.executable, "-m", "benchmarks.link", str(store.process.port), *shape]
    environ = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    with subprocess.Popen(command, stdout=subprocess.PIPE, env=environ) as process:
        try:
            assert process.stdout is not None
            told = process.stdout.readline()
            if not told:
                raise RuntimeError("the link did not start")
            endpoint = f"http://{HOST}:{int(told)}"
            yield replace(store, arguments=("--endpoint-url", endpoint), endpoint=endpoint)
        finally:
            process.terminate()
            process.wait(_STOP_SECONDS)


def _serve(client: socket.socket, port: int, delay: float, paces: tuple[Pace, Pace] | None) -> None:
    store = socket.create_connection((HOST, port))
    for one in (client, store):
        one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    for source, sink, direction in ((client, store, 0), (store, client, 1)):
        if paces is None:
            pieces: queue.SimpleQueue[tuple[float, bytes]] = queue.SimpleQueue()
            threading.Thread(target=_collect, args=(source, pieces, delay), daemon=True).start()
            threading.Thread(target=_deliver, args=(pieces, sink), daemon=True).start()
        else:
            threading.Thread(target=_move, args=(source, sink, paces[direction]), daemon=True).start()


def _collect(source: socket.socket, pieces: "queue.SimpleQueue[tuple[float, bytes]]", delay: float) -> None:
    data = b"begin"
    while data:
        try:
            data = source.recv(PIECE)
        except OSError:
            data = b""
        pieces.put((time.monotonic() + delay, data))


def _deliver(pieces: "queue.SimpleQueue[tuple[float, bytes]]", sink: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while True:
            due, data = pieces.get()
            time.sleep(max(0.0, due - time.monotonic()))
            if not data:
                sink.shutdown(socket.SHUT_WR)
                return
            sink.sendall(data)


def _move(source: socket.socket, sink: socket.socket, pace: Pace) -> None:
    outlet, inlet = os.pipe()
    fcntl.fcntl(inlet, fcntl.F_SETPIPE_SZ, _PIPE_BYTES)
    with contextlib.suppress(OSError), os.fdopen(outlet), os.fdopen(inlet, "wb"):
        while count := os.splice(source.fileno(), inlet, PIECE):
            pace.carry(count)
            while count:
                count -= os.splice(outlet, sink.fileno(), count)
        sink.shutdown(socket.SHUT_WR)


def main() -> None:
    """Say the port, then carry until killed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("port", type=int, help="of the store, on this machine")
    parser.add_argument("--round-trip-ms", type=float, default=0.0)
    parser.add_argument("--mb-per-second", type=float, default=0.0)
    options = parser.parse_args()
    rate = options.mb_per_second * 1e6
    paces = (Pace(rate), Pace(rate)) if rate else None
    with socket.create_server((HOST, 0), backlog=256) as listening:
        print(listening.getsockname()[1], flush=True)
        while True:
            client, _ = listening.accept()
            _serve(client, options.port, options.round_trip_ms / 2000, paces)


if __name__ == "__main__":
    main()
