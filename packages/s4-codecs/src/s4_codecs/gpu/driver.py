"""The few calls of the CUDA driver that the copying threads make: short ones, made with the GIL held.

Letting go of it for some microseconds costs more than the call, because threads then queue up to get it back.
"""

import ctypes
from collections.abc import Callable
from typing import Final

import cupy

_NOT_READY: Final = 600
"""CUDA_ERROR_NOT_READY."""
_SIZE = ctypes.c_size_t
_POINTER = ctypes.c_void_p

_driver = ctypes.PyDLL("libcuda.so.1")


def _function(name: str, *argument_types: type) -> Callable[..., int]:
    function = getattr(_driver, name)
    function.argtypes = argument_types
    function.restype = ctypes.c_int
    return function  # type: ignore[no-any-return]


_copy_to_device = _function("cuMemcpyHtoDAsync_v2", _POINTER, _POINTER, _SIZE, _POINTER)
_copy_to_host = _function("cuMemcpyDtoHAsync_v2", _POINTER, _POINTER, _SIZE, _POINTER)
_record = _function("cuEventRecord", _POINTER, _POINTER)
_query = _function("cuEventQuery", _POINTER)


def copy_to_device(device: int, host: int, size: int, stream: int) -> None:
    """Queue a copy from pinned memory.

    Raises:
        cupy's CUDADriverError: the driver refuses; so do the others.
    """
    _check(_copy_to_device(device, host, size, stream))


def copy_to_host(host: int, device: int, size: int, stream: int) -> None:
    """Queue a copy to pinned memory."""
    _check(_copy_to_host(host, device, size, stream))


def record(event: int, stream: int) -> None:
    """The event stands for what is queued so far."""
    _check(_record(event, stream))


def happened(event: int) -> bool:
    """Whether the device is done with what the event stands for."""
    status = _query(event)
    if status == _NOT_READY:
        return False
    _check(status)
    return True


def _check(status: int) -> None:
    if status:
        raise cupy.cuda.driver.CUDADriverError(status)
