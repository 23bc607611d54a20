"""Calls to the device are counted and told."""

import threading

import pytest
from s4_format import CodecId

from s4_codecs import DeviceCall, DeviceMemoryError, device_calls
from s4_codecs.device_calls import DeviceCalls
from s4_codecs.testing.batch import HostBatchCodec

CODEC = CodecId.NVCOMP_ZSTD


def test_calls_are_told() -> None:
    """Observers learn codec, direction, bytes, time and outcome of each call, and nothing after they left."""
    told: list[DeviceCall] = []
    codec = HostBatchCodec(failures=1)
    with device_calls.observed(told.append):
        with pytest.raises(DeviceMemoryError):
            codec.compress(bytes(100))
        payload = codec.compress(bytes(70_000))
        assert codec.decompress(payload, 70_000) == bytes(70_000)
        with pytest.raises(ValueError, match="promised"):
            codec.decompress(payload, 5)
    codec.compress(b"unseen")
    assert [(call.operation, call.plaintext_bytes, call.outcome) for call in told] == [
        ("encode", 100, "out-of-memory"),
        ("encode", 70_000, "done"),
        ("decode", 70_000, "done"),
        ("decode", 5, "failed"),
    ]
    assert all(call.codec is CODEC and call.seconds > 0 for call in told)


def test_calls_in_flight() -> None:
    """What has begun and not ended is counted, over all threads, whatever it ends in."""
    calls = DeviceCalls()
    gate, inside = threading.Event(), threading.Barrier(4)

    def work() -> None:
        with calls.call(CODEC, "encode", 1):
            inside.wait(10)
            gate.wait(10)

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    inside.wait(10)
    assert calls.in_flight == 3
    gate.set()
    for thread in threads:
        thread.join()
    with pytest.raises(RuntimeError), calls.call(CODEC, "encode", 1):
        raise RuntimeError
    assert calls.in_flight == 0
