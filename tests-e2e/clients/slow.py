"""Many clients that take their time, on one thread: half-sent heads, bodies that trickle, answers that nobody hurries to read."""

import contextlib
import socket
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

RECEIVE_BUFFER = 16 * 1024
"""Small, so that an unread answer waits in the gateway and not in this machine's socket buffers."""


@dataclass(slots=True)
class SlowClient:
    """One connection, and how it behaves.

    Attributes:
        kind: for the count.
        opening: sent at once.
        trickle: sent a piece each turn, round and round; empty = nothing more is sent.
        reads: bytes read each turn; 0 = answers are left where they are.
    """

    kind: str
    opening: bytes
    trickle: Sequence[bytes] = ()
    reads: int = 0
    received: int = 0
    head: bytes = field(default=b"", repr=False)
    """The first bytes of the answer."""
    ended: bool = False
    """The gateway closed the connection."""


class SlowClients:
    """Keeps all of them going, each one step a turn, until it is stopped.

    Args:
        address: host and port.
        clients: all connect within the first turn.
        turn_seconds: how often each of them does its step.
    """

    def __init__(self, address: tuple[str, int], clients: Sequence[SlowClient], *, turn_seconds: float = 1.0) -> None:
        self.clients = clients
        self._address = address
        self._turn_seconds = turn_seconds
        self._sockets: list[socket.socket] = []
        self._stopped = threading.Event()
        self.turns = 0

    @contextlib.contextmanager
    def running(self) -> Iterator["SlowClients"]:
        """All are connected and have said their opening; they are gone at the end."""
        thread = threading.Thread(target=self._run, name="slow clients", daemon=True)
        try:
            for client in self.clients:
                self._connect(client)
            thread.start()
            yield self
        finally:
            self._stopped.set()
            if thread.ident is not None:
                thread.join()
            for connection in self._sockets:
                connection.close()

    def alive(self) -> Counter[str]:
        """Connections that the gateway has not closed, by kind."""
        return Counter(client.kind for client in self.clients if not client.ended)

    def _connect(self, client: SlowClient) -> None:
        connection = socket.socket()
        self._sockets.append(connection)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER)
        connection.settimeout(30)
        connection.connect(self._address)
        connection.sendall(client.opening)
        connection.setblocking(False)

    def _run(self) -> None:
        while not self._stopped.is_set():
            began = time.monotonic()
            for client, connection in zip(self.clients, self._sockets, strict=True):
                if not client.ended:
                    self._step(client, connection)
            self.turns += 1
            self._stopped.wait(max(0.0, began + self._turn_seconds - time.monotonic()))

    def _step(self, client: SlowClient, connection: socket.socket) -> None:
        try:
            if client.trickle:
                connection.send(client.trickle[self.turns % len(client.trickle)])
            if client.reads:
                piece = connection.recv(client.reads)
                client.received += len(piece)
                client.head = (client.head + piece)[:256]
                client.ended = not piece
        except BlockingIOError:
            pass
        except OSError:
            client.ended = True
