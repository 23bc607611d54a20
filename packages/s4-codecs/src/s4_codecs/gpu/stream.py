"""Streams and events by their addresses; none is destroyed before the process ends, so none can be while something still uses it."""

from typing import Any, Final

import cupy

_BLOCKING_SYNC: Final = 1
_NO_TIMING: Final = 2

_streams: Final[dict[int, Any]] = {}


def new_stream() -> int:
    """A stream that does not wait for the default one."""
    stream = cupy.cuda.Stream(non_blocking=True)
    _streams[stream.ptr] = stream
    return int(stream.ptr)


def current(stream: int) -> Any:
    """A context in which cupy launches kernels on this stream."""
    return _streams[stream]


def new_event() -> int:
    """An event; waiting for it lets the core go, where waiting for a stream would spin on one that others copy with."""
    return int(cupy.cuda.runtime.eventCreateWithFlags(_BLOCKING_SYNC | _NO_TIMING))


def record(event: int, stream: int) -> None:
    """The event stands for what is queued so far."""
    cupy.cuda.runtime.eventRecord(event, stream)


def wait(event: int) -> None:
    """Until the device has done what the event stands for."""
    cupy.cuda.runtime.eventSynchronize(event)
