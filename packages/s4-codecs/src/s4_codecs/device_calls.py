"""What goes on at the device, for whoever counts it: codecs report each call, and observers are told when it ended."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from time import perf_counter
from typing import Literal, TypeAlias

from s4_format import CodecId

from s4_codecs.errors import DeviceMemoryError

DeviceOperation: TypeAlias = Literal["encode", "decode"]


@dataclass(frozen=True, slots=True)
class DeviceCall:
    """One call to the device that has ended."""

    codec: CodecId
    operation: DeviceOperation
    plaintext_bytes: int
    """Of all frames of the call."""
    seconds: float
    """Wall time, copies to and from the device included."""
    outcome: Literal["done", "out-of-memory", "failed"]


Observer: TypeAlias = Callable[[DeviceCall], None]


class DeviceCalls:
    """The calls of one process. Safe for threads; observers are called on the thread that made the call, and should be quick."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._observers: tuple[Observer, ...] = ()
        self._in_flight = 0

    @property
    def in_flight(self) -> int:
        """Calls that have begun and not ended."""
        return self._in_flight

    @contextmanager
    def observed(self, observer: Observer) -> Iterator[None]:
        """Tell `observer` of each call that ends while this is entered."""
        with self._lock:
            self._observers = (*self._observers, observer)
        try:
            yield
        finally:
            with self._lock:
                self._observers = tuple(one for one in self._observers if one is not observer)

    @contextmanager
    def call(self, codec: CodecId, operation: DeviceOperation, plaintext_bytes: int) -> Iterator[None]:
        """What a codec enters around a call to the device; errors pass through."""
        with self._lock:
            self._in_flight += 1
        began = perf_counter()
        outcome: Literal["done", "out-of-memory", "failed"] = "failed"
        try:
            yield
            outcome = "done"
        except DeviceMemoryError:
            outcome = "out-of-memory"
            raise
        finally:
            with self._lock:
                self._in_flight -= 1
            ended = DeviceCall(codec, operation, plaintext_bytes, perf_counter() - began, outcome)
            for observer in self._observers:
                observer(ended)


device_calls = DeviceCalls()
"""Of this process."""
