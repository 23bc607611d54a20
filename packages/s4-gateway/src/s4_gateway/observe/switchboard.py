"""Short messages between the workers of one gateway: datagrams that arrive at once or, where a worker stands still, perhaps not at all."""

import asyncio
import struct
from collections.abc import Callable

from s4_gateway.observe.board import Place

MAX_PAYLOAD = 256
_HEAD = struct.Struct("=cI")
"""Kind and the sender's number."""

Listener = Callable[[int, bytes], None]
"""Told the sender's number and the payload."""


class Switchboard:
    """One worker's connections to all others. All methods are called on the event loop."""

    def __init__(self, place: Place) -> None:
        self.place = place
        self._listeners: dict[bytes, Listener] = {}

    def start(self) -> None:
        """Listen."""
        asyncio.get_running_loop().add_reader(self.place.bell.inside, self._heard)

    def close(self) -> None:
        """Hear nothing any more; repeatable."""
        asyncio.get_running_loop().remove_reader(self.place.bell.inside)

    def listen(self, kind: bytes, listener: Listener) -> None:
        """Hear messages of a kind, which is one byte; before `start`."""
        if kind in self._listeners:
            raise ValueError(f"messages {kind!r} are heard already")
        self._listeners[kind] = listener

    def tell(self, number: int, kind: bytes, payload: bytes = b"") -> bool:
        """Send a message to one worker. Returns whether it was taken: False where nobody has listened for long."""
        try:
            self.place.bells[number].outside.send(_HEAD.pack(kind, self.place.number) + payload)
        except OSError:
            return False
        return True

    def tell_all(self, kind: bytes, payload: bytes) -> None:
        """Send a message to all other workers that serve."""
        for number in self.place.others():
            if self.place.board.seats[number].serving:
                self.tell(number, kind, payload)

    def _heard(self) -> None:
        try:
            message = self.place.bell.inside.recv(_HEAD.size + MAX_PAYLOAD)
        except BlockingIOError:
            return
        kind, sender = _HEAD.unpack_from(message)
        self._listeners[kind](sender, message[_HEAD.size :])
