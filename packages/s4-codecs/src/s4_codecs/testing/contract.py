"""The suite that every codec passes, ours and those of other packages.

    class TestMyCodec(CodecContract):
        def codec(self) -> Codec:
            return MyCodec()

Where only reading can be tested, `DecodingContract` is the part of it that needs no compressor: payloads are the subclass's.
It checks through `decode_frame` what readers rely on: damaged bytes never come back as wrong bytes, and no payload costs more than it may.
"""

import random
import threading
import tracemalloc
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from time import perf_counter, thread_time
from typing import TypeVar

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from s4_format import Buffer, FrameHeader, PayloadManifest, crc32c

from s4_codecs.abc import Codec, StreamingCodec
from s4_codecs.errors import CodecError, SizeMismatchError
from s4_codecs.payload import PayloadDecoder, decode_frame
from s4_codecs.testing.workloads import log, noise, records

SAMPLES: dict[str, bytes] = {
    "empty": b"",
    "one byte": b"x",
    "short text": b"the quick brown fox jumps over the lazy dog",
    "zeros": bytes(300_000),
    "log": log(300_000),
    "noise": noise(40_000),
    "records": records(36 * 5_000),
}
"""Plaintexts that each codec must bring back."""

_R = TypeVar("_R")

_SHARED = settings(database=None, suppress_health_check=[HealthCheck.differing_executors])
"""One test runs for many codecs; without a database their examples cannot mix."""

_MIB = 1 << 20
_STEP_LIMIT = _MIB + 128 * 1024


class DecodingContract(ABC):
    """What readers rely on, of a codec whose payloads are made elsewhere: by a device that is not here, or by a writer of the tests.

    Subclass it as `Test...` and implement `codec` and `payload`; the attributes are there to be overridden.
    """

    dictionary: bytes | None = None
    """Handed to `decode_frame`, where reading needs one."""
    most_repeats = 300
    """How often arbitrary bytes are repeated at most; fewer where making payloads is slow."""
    most_damages = 400
    """Payloads with one byte changed that are tried."""
    large = bytes(3 * _MIB) + log(2 * _MIB)
    """A plaintext of several steps."""
    step_memory = 4 * _MIB
    """What a step of piecewise decoding may allocate; more where payloads consist of larger blocks."""

    @abstractmethod
    def codec(self) -> Codec:
        """A codec to test."""

    @abstractmethod
    def payload(self, data: bytes) -> bytes:
        """A payload that holds `data`."""

    def decode(self, payload: Buffer, plaintext: bytes, *, original_size: int | None = None) -> bytes:
        """What a reader gets for `payload` under a header that promises `plaintext`."""
        size = len(plaintext) if original_size is None else original_size
        header = FrameHeader(self.codec().codec_id, size, len(payload), crc32c(plaintext))
        return bytes(decode_frame(header, payload, dictionary=self.dictionary))

    def test_is_a_codec(self) -> None:
        """It has the face of a codec, and its name is its id's label."""
        codec = self.codec()
        assert isinstance(codec, Codec)
        assert codec.name == codec.codec_id.label

    @pytest.mark.parametrize("name", SAMPLES)
    def test_payloads_decode(self, name: str) -> None:
        """Every sample comes back."""
        data = SAMPLES[name]
        payload = self.payload(data)
        assert self.codec().decompress(payload, len(data)) == data
        assert self.decode(payload, data) == data

    @_SHARED
    @given(st.binary(max_size=5000), st.integers(1, 2**16))
    def test_payloads_of_anything_decode(self, data: bytes, times: int) -> None:
        """Arbitrary bytes, repeated, come back."""
        data *= 1 + times % self.most_repeats
        assert self.codec().decompress(self.payload(data), len(data)) == data

    def test_decodes_any_buffer(self) -> None:
        """bytes, bytearray, slices and views of wider items can be decoded."""
        data = SAMPLES["log"][:4096]
        payload = self.payload(data)
        views: list[Buffer] = [bytearray(payload), memoryview(bytearray(b"-" + payload))[1:]]
        if len(payload) % 4 == 0:
            views.append(memoryview(bytearray(payload)).cast("B", (len(payload) // 4, 4)))
        for view in views:
            assert self.codec().decompress(view, len(data)) == data

    @pytest.mark.parametrize("difference", [-1000, -1, 1, 1000])
    def test_another_size_is_an_error(self, difference: int) -> None:
        """A payload that holds fewer or more bytes than promised is refused as such."""
        data = SAMPLES["log"]
        payload = self.payload(data)
        with pytest.raises(SizeMismatchError):
            self.codec().decompress(payload, len(data) + difference)

    def test_something_where_nothing_is_promised(self) -> None:
        """A payload promised to be empty may not hold anything."""
        payload = self.payload(b"x")
        with pytest.raises(SizeMismatchError):
            self.codec().decompress(payload, 0)

    def test_truncated_at_every_offset(self) -> None:
        """No proper prefix of a payload decodes."""
        data = SAMPLES["log"][:700]
        payload = self.payload(data)
        for end in range(len(payload)):
            with pytest.raises(CodecError):
                self.decode(payload[:end], data)

    def test_damaged_bytes_never_give_wrong_bytes(self) -> None:
        """Whatever byte is changed, a reader gets an error or the right bytes."""
        data = SAMPLES["log"][:3000]
        payload = self.payload(data)
        chance = random.Random(5)
        for position in range(0, len(payload), max(1, len(payload) // self.most_damages)):
            damaged = bytearray(payload)
            damaged[position] ^= chance.randrange(1, 256)
            try:
                assert self.decode(damaged, data) == data
            except CodecError:
                pass

    @_SHARED
    @given(st.binary(max_size=300), st.integers(0, 2000))
    def test_garbage_is_an_error_of_ours(self, payload: bytes, size: int) -> None:
        """Random payloads raise a CodecError, or decode to the size promised."""
        try:
            assert len(self.codec().decompress(payload, size)) == size
        except CodecError:
            pass

    def test_trailing_junk(self) -> None:
        """Bytes behind the payload are refused or ignored, never decoded into the result."""
        data = SAMPLES["log"][:2000]
        payload = self.payload(data)
        for junk in (b"\0", b"junk", bytes(64)):
            try:
                assert self.codec().decompress(payload + junk, len(data)) == data
            except CodecError:
                pass

    @pytest.mark.parametrize("promised", [0, 10, 70_000])
    def test_a_bomb_stops_at_the_size_promised(self, promised: int) -> None:
        """A payload of 64 MiB that promises little is refused without being decoded."""
        codec = self.codec()
        payload = self.payload(bytes(64 * _MIB))
        with pytest.raises(SizeMismatchError):
            _measured(lambda: codec.decompress(payload, promised), limit=4 * _MIB)

    def test_a_huge_promise_costs_nothing(self) -> None:
        """A tiny payload that promises a tebibyte is refused without the memory for one."""
        codec = self.codec()
        payload = self.payload(b"tiny")
        with pytest.raises(CodecError):
            _measured(lambda: codec.decompress(payload, 1 << 40), limit=4 * _MIB)

    def test_threads_decode_at_once(self) -> None:
        """Four threads that share one codec get their own plaintexts."""
        codec = self.codec()
        inputs = [log(20_000 + 997 * n) for n in range(8)]
        payloads = [self.payload(data) for data in inputs]
        with ThreadPoolExecutor(4) as pool:
            outputs = list(pool.map(codec.decompress, payloads * 4, [len(data) for data in inputs] * 4))
        assert outputs == inputs * 4

    def test_others_run_while_it_decodes(self) -> None:
        """Another thread runs while a large payload is decoded."""
        codec, payload = self.codec(), self.payload(self.large)
        _others_run(lambda: codec.decompress(payload, len(self.large)), least=0.05)

    @pytest.mark.parametrize("step", [1, 7, 4096, _MIB])
    def test_piecewise(self, step: int) -> None:
        """A payload fed in pieces decodes to the same bytes, and knows its end."""
        codec, data = self.codec(), SAMPLES["log"][:50_000] if step < 4096 else self.large
        if not isinstance(codec, StreamingCodec):
            pytest.skip("decodes whole payloads only")
        payload = self.payload(data)
        inflater = codec.inflater()
        pieces = [bytes(piece) for at in range(0, len(payload), step) for piece in inflater.feed(payload[at : at + step])]
        inflater.close()
        assert b"".join(pieces) == data
        assert max(map(len, pieces)) <= max(_STEP_LIMIT, step)

    def test_piecewise_and_cut_short(self) -> None:
        """A body that is a payload which ends too early is an error, wherever it ends."""
        codec, data = self.codec(), SAMPLES["log"][:700]
        if not isinstance(codec, StreamingCodec):
            pytest.skip("decodes whole payloads only")
        payload = self.payload(data)
        for end in range(len(payload)):
            decoder = PayloadDecoder(PayloadManifest(codec.codec_id, len(data), end, crc32c(data)), dictionary=self.dictionary)
            with pytest.raises(CodecError):
                deque((buffer for work in (*decoder.feed(payload[:end]), *decoder.close()) for buffer in work), 0)

    def test_piecewise_bomb(self) -> None:
        """A small piece that holds much is decoded in small steps."""
        codec = self.codec()
        if not isinstance(codec, StreamingCodec):
            pytest.skip("decodes whole payloads only")
        payload = self.payload(bytes(64 * _MIB))
        steps = codec.inflater().feed(payload)
        assert len(_measured(lambda: next(steps), limit=self.step_memory)) <= max(_STEP_LIMIT, len(payload))


class CodecContract(DecodingContract):
    """Subclass it as `Test...` and implement `codec`; override `dictionary` where reading needs one."""

    def payload(self, data: bytes) -> bytes:
        """What the codec makes of `data`."""
        return self.codec().compress(data)

    def test_compresses_any_buffer(self) -> None:
        """bytes, bytearray, slices and views of wider items give the same payload."""
        codec, data = self.codec(), SAMPLES["log"][:4096]
        payload = codec.compress(data)
        views = (bytearray(data), memoryview(b"--" + data)[2:], memoryview(bytearray(data)).cast("I"))
        assert [codec.compress(view) for view in views] == [payload] * 3

    def test_is_deterministic(self) -> None:
        """Equal input gives equal output, whatever was compressed in between."""
        codec = self.codec()
        first = codec.compress(SAMPLES["records"])
        codec.compress(SAMPLES["log"])
        assert codec.compress(SAMPLES["records"]) == first

    def test_threads_compress_at_once(self) -> None:
        """Four threads that share one codec get their own payloads."""
        codec = self.codec()
        inputs = [log(20_000 + 997 * n) for n in range(16)]
        with ThreadPoolExecutor(4) as pool:
            payloads = list(pool.map(codec.compress, inputs * 4))
        assert [codec.decompress(payload, len(data)) for payload, data in zip(payloads, inputs * 4, strict=True)] == inputs * 4

    def test_the_gil_is_released(self) -> None:
        """Another thread runs while a large payload is compressed."""
        codec, data = self.codec(), log(8 * _MIB)
        _others_run(lambda: codec.compress(data), least=0.005)


def _others_run(work: Callable[[], object], *, least: float) -> None:
    """Do `work` in a thread; this one must get to run meanwhile, unless it takes less CPU time than `least` seconds."""
    call: list[float] = []

    def timed() -> None:
        call.extend((perf_counter(), thread_time()))
        work()
        call.extend((perf_counter(), thread_time()))

    worker, ticks = threading.Thread(target=timed), list[float]()
    worker.start()
    while worker.is_alive():
        ticks.append(perf_counter())
    worker.join()
    began, cpu_before, ended, cpu_after = call
    too_short_to_tell = cpu_after - cpu_before < least
    assert too_short_to_tell or sum(began < tick < ended for tick in ticks) > 10


def _measured(work: Callable[[], _R], *, limit: int) -> _R:
    """Run `work`; what it allocates may not exceed `limit` bytes at any time."""
    tracemalloc.start()
    try:
        return work()
    finally:
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < limit, f"{peak} bytes allocated"
