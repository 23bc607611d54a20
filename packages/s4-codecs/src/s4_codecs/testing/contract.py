"""The suite that every codec passes, ours and those of other packages.

    class TestMyCodec(CodecContract):
        def codec(self) -> Codec:
            return MyCodec()

It checks through `decode_frame` what readers rely on: damaged bytes never come back as wrong bytes, and no payload costs more than it may.
"""

import random
import threading
import tracemalloc
from abc import ABC, abstractmethod
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from time import perf_counter
from typing import TypeVar

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from s4_format import Buffer, FrameHeader, crc32c

from s4_codecs.abc import Codec, StreamingCodec
from s4_codecs.errors import CodecError, SizeMismatchError
from s4_codecs.payload import decode_frame
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


class CodecContract(ABC):
    """Subclass it as `Test...` and implement `codec`; override `dictionary` where reading needs one."""

    dictionary: bytes | None = None
    """Handed to `decode_frame`."""

    @abstractmethod
    def codec(self) -> Codec:
        """A codec to test."""

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
    def test_round_trip(self, name: str) -> None:
        """Every sample comes back."""
        codec, data = self.codec(), SAMPLES[name]
        payload = codec.compress(data)
        assert codec.decompress(payload, len(data)) == data
        assert self.decode(payload, data) == data

    @_SHARED
    @given(st.binary(max_size=5000), st.integers(1, 300))
    def test_round_trip_of_anything(self, data: bytes, times: int) -> None:
        """Arbitrary bytes, repeated, come back."""
        data *= times
        codec = self.codec()
        assert codec.decompress(codec.compress(data), len(data)) == data

    def test_takes_any_buffer(self) -> None:
        """bytes, bytearray, slices and views of wider items give the same payload, and any of them can be decoded."""
        codec, data = self.codec(), SAMPLES["log"][:4096]
        payload = codec.compress(data)
        views = (bytearray(data), memoryview(b"--" + data)[2:], memoryview(bytearray(data)).cast("I"))
        assert [codec.compress(view) for view in views] == [payload] * 3
        assert codec.decompress(memoryview(bytearray(b"-" + payload))[1:], len(data)) == data

    def test_is_deterministic(self) -> None:
        """Equal input gives equal output, whatever was compressed in between."""
        codec = self.codec()
        first = codec.compress(SAMPLES["records"])
        codec.compress(SAMPLES["log"])
        assert codec.compress(SAMPLES["records"]) == first

    @pytest.mark.parametrize("difference", [-1000, -1, 1, 1000])
    def test_another_size_is_an_error(self, difference: int) -> None:
        """A payload that holds fewer or more bytes than promised is refused as such."""
        codec, data = self.codec(), SAMPLES["log"]
        with pytest.raises(SizeMismatchError):
            codec.decompress(codec.compress(data), len(data) + difference)

    def test_something_where_nothing_is_promised(self) -> None:
        """A payload promised to be empty may not hold anything."""
        codec = self.codec()
        with pytest.raises(SizeMismatchError):
            codec.decompress(codec.compress(b"x"), 0)

    def test_truncated_at_every_offset(self) -> None:
        """No proper prefix of a payload decodes."""
        codec, data = self.codec(), SAMPLES["log"][:700]
        payload = codec.compress(data)
        for end in range(len(payload)):
            with pytest.raises(CodecError):
                self.decode(payload[:end], data)

    def test_damaged_bytes_never_give_wrong_bytes(self) -> None:
        """Whatever byte is changed, a reader gets an error or the right bytes."""
        codec, data = self.codec(), SAMPLES["log"][:3000]
        payload = codec.compress(data)
        chance = random.Random(5)
        for position in range(0, len(payload), max(1, len(payload) // 400)):
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
        codec, data = self.codec(), SAMPLES["log"][:2000]
        for junk in (b"\0", b"junk", bytes(64)):
            try:
                assert codec.decompress(codec.compress(data) + junk, len(data)) == data
            except CodecError:
                pass

    @pytest.mark.parametrize("promised", [0, 10, 70_000])
    def test_a_bomb_stops_at_the_size_promised(self, promised: int) -> None:
        """A payload of 64 MiB that promises little is refused without being decoded."""
        codec = self.codec()
        payload = codec.compress(bytes(64 * _MIB))
        with pytest.raises(SizeMismatchError):
            _measured(lambda: codec.decompress(payload, promised), limit=4 * _MIB)

    def test_a_huge_promise_costs_nothing(self) -> None:
        """A tiny payload that promises a tebibyte is refused without the memory for one."""
        codec = self.codec()
        payload = codec.compress(b"tiny")
        with pytest.raises(CodecError):
            _measured(lambda: codec.decompress(payload, 1 << 40), limit=4 * _MIB)

    def test_threads_share_one_codec(self) -> None:
        """Four threads at once get their own results."""
        codec = self.codec()
        inputs = [log(20_000 + 997 * n) for n in range(16)]
        with ThreadPoolExecutor(4) as pool:
            payloads = list(pool.map(codec.compress, inputs * 4))
            outputs = list(pool.map(codec.decompress, payloads, [len(data) for data in inputs] * 4))
        assert outputs == inputs * 4

    def test_the_gil_is_released(self) -> None:
        """Another thread runs while a large payload is compressed."""
        codec, data = self.codec(), log(8 * _MIB)
        call: list[float] = []

        def work() -> None:
            call.append(perf_counter())
            codec.compress(data)
            call.append(perf_counter())

        worker, ticks = threading.Thread(target=work), list[float]()
        worker.start()
        while worker.is_alive():
            ticks.append(perf_counter())
        worker.join()
        too_short_to_tell = call[1] - call[0] < 0.005
        assert too_short_to_tell or sum(call[0] < tick < call[1] for tick in ticks) > 10

    @pytest.mark.parametrize("step", [1, 7, 4096, _MIB])
    def test_piecewise(self, step: int) -> None:
        """A payload fed in pieces decodes to the same bytes, and knows its end."""
        codec, data = self.codec(), SAMPLES["log"][:50_000] if step < 4096 else bytes(3 * _MIB) + log(2 * _MIB)
        if not isinstance(codec, StreamingCodec):
            pytest.skip("decodes whole payloads only")
        payload = codec.compress(data)
        inflater = codec.inflater()
        pieces = [bytes(piece) for at in range(0, len(payload), step) for piece in inflater.feed(payload[at : at + step])]
        inflater.close()
        assert b"".join(pieces) == data
        assert max(map(len, pieces)) <= max(_STEP_LIMIT, step)

    def test_piecewise_bomb(self) -> None:
        """A small piece that holds much is decoded in small steps."""
        codec = self.codec()
        if not isinstance(codec, StreamingCodec):
            pytest.skip("decodes whole payloads only")
        payload = codec.compress(bytes(64 * _MIB))
        steps = codec.inflater().feed(payload)
        assert len(_measured(lambda: next(steps), limit=4 * _MIB)) <= max(_STEP_LIMIT, len(payload))


def _measured(work: Callable[[], _R], *, limit: int) -> _R:
    """Run `work`; what it allocates may not exceed `limit` bytes at any time."""
    tracemalloc.start()
    try:
        return work()
    finally:
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < limit, f"{peak} bytes allocated"
