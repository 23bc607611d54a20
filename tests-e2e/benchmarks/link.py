"""A network link between a store and who uses it: a TCP proxy, in a process of its own, that delays or paces what passes.

A delay holds every piece back for half the round trip in each direction, in order and without a bound on what is under way, as
distance does. A pace lets each direction pass so many bytes a second, all connections together. Where there is a pace and no delay, the
bytes are moved by the kernel (splice), so that the proxy takes next to nothing of the machine that it shares with what is measured; any
other link sees what passes, and counts requests and bytes.
"""

import argparse
import contextlib
import fcntl
import json
import os
import queue
import re
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace

from servers.process import HOST
from servers.stores import Store

PIECE = 256 * 1024
_REQUEST_LINE = re.compile(rb"^(GET|HEAD|PUT|POST|DELETE) (\S+) HTTP/1\.1\r\n")
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


@dataclass(frozen=True, slots=True)
class Passed:
    """What a link has carried."""

    requests: Counter[str]
    sent: int
    """Bytes to the store, heads included."""
    received: int
    """Bytes from it that were delivered."""

    def since(self, earlier: "Passed") -> "Passed":
        """What was carried after `earlier`."""
        return Passed(self.requests - earlier.requests, self.sent - earlier.sent, self.received - earlier.received)


@dataclass(frozen=True, slots=True)
class Far:
    """A store at the far end of a link, for whoever uses it from now on; the way behind it stays short."""

    store: Store
    port: int
    """Of the near end, on this machine."""
    control: int
    """Port that tells the counts."""

    def requests(self) -> Counter[str]:
        """Requests that passed so far: by HTTP method, those that name no key but read as LIST."""
        return self.passed().requests

    def passed(self) -> "Passed":
        """All that passed so far."""
        with socket.create_connection((HOST, self.control), timeout=_STOP_SECONDS) as asking:
            told = json.loads(asking.makefile("rb").read())
        return Passed(Counter(told["requests"]), told["sent"], told["received"])


@contextlib.contextmanager
def linked(store: Store, link: Link) -> Iterator[Far]:
    """The store behind a link.

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
            port, control = map(int, told.split())
            endpoint = f"http://{HOST}:{port}"
            yield Far(replace(store, arguments=("--endpoint-url", endpoint), endpoint=endpoint), port, control)
        finally:
            process.terminate()
            process.wait(_STOP_SECONDS)


def kind(piece: bytes) -> str | None:
    """The kind of request that a piece begins, for a piece that begins one."""
    found = _REQUEST_LINE.match(piece)
    if found is None:
        return None
    method, path = found[1].decode(), found[2].partition(b"?")[0]
    return "LIST" if method == "GET" and b"/" not in path.strip(b"/") else method


@dataclass(slots=True)
class Proxy:
    """All connections of a link."""

    port: int
    """Of the store."""
    delay: float
    """Seconds in each direction."""
    paces: tuple[Pace, Pace] | None
    """To the store and from it."""
    counts: Counter[str] = field(default_factory=Counter)
    carried: list[int] = field(default_factory=lambda: [0, 0])
    """Bytes to the store and from it."""
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def serve(self, client: socket.socket) -> None:
        """Carry one connection, in threads of its own."""
        store = socket.create_connection((HOST, self.port))
        for one in (client, store):
            one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for source, sink, direction in ((client, store, 0), (store, client, 1)):
            if self.paces is not None and not self.delay:
                _begin(_move, source, sink, self.paces[direction])
                continue
            pieces: Pieces = queue.SimpleQueue()
            _begin(self._collect, source, pieces, self.counts if source is client else Counter())
            _begin(self._deliver, pieces, sink, direction)

    def tell(self, control: socket.socket) -> None:
        """Answer every connection with the counts."""
        while True:
            asking, _ = control.accept()
            with asking:
                told = {"requests": self.counts, "sent": self.carried[0], "received": self.carried[1]}
                asking.sendall(json.dumps(told).encode())

    def _collect(self, source: socket.socket, pieces: "Pieces", counts: Counter[str]) -> None:
        data = b"begin"
        while data:
            try:
                data = source.recv(PIECE)
            except OSError:
                data = b""
            if found := kind(data):
                counts[found] += 1
            pieces.put((time.monotonic() + self.delay, data))

    def _deliver(self, pieces: "Pieces", sink: socket.socket, direction: int) -> None:
        with contextlib.suppress(OSError):
            while True:
                due, data = pieces.get()
                time.sleep(max(0.0, due - time.monotonic()))
                if not data:
                    sink.shutdown(socket.SHUT_WR)
                    return
                if self.paces is not None:
                    self.paces[direction].carry(len(data))
                with self._lock:
                    self.carried[direction] += len(data)
                sink.sendall(data)


Pieces = queue.SimpleQueue[tuple[float, bytes]]
"""When to deliver it, and what; empty at the end."""


def _begin(work: Callable[..., None], *arguments: object) -> None:
    threading.Thread(target=work, args=arguments, daemon=True).start()


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
    proxy = Proxy(options.port, options.round_trip_ms / 2000, (Pace(rate), Pace(rate)) if rate else None)
    with socket.create_server((HOST, 0), backlog=256) as listening, socket.create_server((HOST, 0)) as control:
        _begin(proxy.tell, control)
        print(listening.getsockname()[1], control.getsockname()[1], flush=True)
        while True:
            client, _ = listening.accept()
            proxy.serve(client)


if __name__ == "__main__":
    main()
