"""Streams and events by their addresses, without objects that would free them when nobody looks."""

from typing import Final

import cupy

_NON_BLOCKING: Final = 1
_BLOCKING_SYNC: Final = 1
_NO_TIMING: Final = 2


def new_stream() -> int:
    """A stream that does not wait for the default one."""
    return int(cupy.cuda.runtime.streamCreateWithFlags(_NON_BLOCKING))


def new_event() -> int:
    """An event; waiting for it lets the core go, where waiting for a stream would spin on one that others copy with."""
    return int(cupy.cuda.runtime.eventCreateWithFlags(_BLOCKING_SYNC | _NO_TIMING))


def record(event: int, stream: int) -> None:
    """The event stands for what is queued so far."""
    cupy.cuda.runtime.eventRecord(event, stream)


def wait(event: int) -> None:
    """Until the device has done what the event stands for."""
    cupy.cuda.runtime.eventSynchronize(event)
