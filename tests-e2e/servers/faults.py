"""A network that loses answers: a TCP proxy in front of a store that cuts the connection where a store would have answered."""

import contextlib
import selectors
import socket
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field

from servers.process import HOST

PIECE = 65536


@dataclass(slots=True)
class Faults:
    """What goes wrong. Requests reach the store in any case."""

    port: int = 0
    losing: bytes | None = None
    """Beginning of request lines (b"PUT /bucket/key") whose answers are lost."""
    left: int = 0
    """How many of them still."""
    lost: list[bytes] = field(default_factory=list)
    """Request lines whose answer was lost."""
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def lose(self, beginning: str, times: int = 1) -> None:
        """Lose the next answers to requests that begin like this."""
        with self._lock:
            self.losing, self.left = beginning.encode(), times

    def takes(self, line: bytes) -> bool:
        """Whether the answer to this request is to be lost."""
        with self._lock:
            if self.losing is None or self.left <= 0 or not line.startswith(self.losing):
                return False
            self.left -= 1
            self.lost.append(line)
            return True


@contextlib.contextmanager
def lossy(port: int) -> Iterator[Faults]:
    """A proxy to `port` of this machine, on a port of its own."""
    faults = Faults()
    stopping = threading.Event()
    with socket.create_server((HOST, 0)) as listening:
        faults.port = listening.getsockname()[1]
        listening.settimeout(0.2)
        accepting = threading.Thread(target=_accept, args=(listening, port, faults, stopping), daemon=True)
        accepting.start()
        try:
            yield faults
        finally:
            stopping.set()
            accepting.join(5)


def _accept(listening: socket.socket, port: int, faults: Faults, stopping: threading.Event) -> None:
    while not stopping.is_set():
        try:
            client, _ = listening.accept()
        except TimeoutError:
            continue
        threading.Thread(target=_serve, args=(client, port, faults, stopping), daemon=True).start()


def _serve(client: socket.socket, port: int, faults: Faults, stopping: threading.Event) -> None:
    """One connection; the gateway sends one request at a time, so a piece that begins like a request line is one."""
    with contextlib.suppress(OSError), client, socket.create_connection((HOST, port)) as store, selectors.DefaultSelector() as selector:
        selector.register(client, selectors.EVENT_READ)
        selector.register(store, selectors.EVENT_READ)
        losing = False
        while not stopping.is_set():
            for key, _ in selector.select(0.2):
                data = (client if key.fileobj is client else store).recv(PIECE)
                if not data:
                    return
                if key.fileobj is client:
                    losing = losing or faults.takes(data.split(b"\r\n", 1)[0])
                    store.sendall(data)
                elif losing:
                    return
                else:
                    client.sendall(data)
