"""What a real device does: payloads that others can read and theirs, numbers, memory that runs out, and an orderly end."""

import asyncio
import hashlib
import subprocess
import sys
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from s4_format import Algorithm, CodecId, ElementType, crc32c, iter_frames, parse_container

from s4_codecs import (
    BatchCodec,
    EncodeOptions,
    ObjectEncoder,
    codec_for,
    decode_object,
    encode_async,
    encode_object,
)
from s4_codecs.gpu import engine, probe
from s4_codecs.nvcomp.chunks import METHODS
from s4_codecs.testing.workloads import WORKLOADS, log

from ..golden import GoldenPayload, golden_payloads  # noqa: TID252 -- the fixtures are those of the whole suite

MIB = 1 << 20
CODECS = [CodecId.NVCOMP_ZSTD, CodecId.NVCOMP_BITCOMP, CodecId.NVCOMP_GDEFLATE, CodecId.NVCOMP_ANS, CodecId.NVCOMP_CASCADED]
SOUND = [entry for entry in golden_payloads() if entry.error is None]


def batch_codec(codec: CodecId) -> BatchCodec:
    """The codec of this id."""
    found = codec_for(codec)
    assert isinstance(found, BatchCodec)
    return found


@pytest.fixture(scope="module")
def frames() -> list[bytes]:
    """Every workload, and sizes around those of chunks and of batches."""
    made = [make(3 * MIB + 8) for make in WORKLOADS.values()]
    sizes = (0, 1, 7, 4096, 65_535, 65_536, 65_537, 70 * MIB + 5)
    text = log(MIB)
    return made + [(text * 71)[:size] for size in sizes]


def test_the_probe_describes_the_device() -> None:
    """Name, memory and versions are there."""
    device = probe.require()
    assert device.name
    assert device.memory_bytes > 0
    assert device.nvcomp.split(".")[0] in {"5", "6"}


@pytest.mark.parametrize("codec", CODECS)
def test_frames_come_back(codec: CodecId, frames: list[bytes]) -> None:
    """Many frames at once come back, also those larger than a batch, and their checksums are those of the plaintext."""
    pipeline = engine.pipeline()
    assert pipeline is not None
    encoded = pipeline.encode(METHODS[codec].algorithm, frames)
    assert encoded.checksums == [crc32c(frame) for frame in frames]
    decoded = pipeline.decode([parse_container(payload) for payload in encoded.payloads], encoded.payloads)
    assert decoded.checksums == encoded.checksums
    assert [bytes(plain) for plain in decoded.plain] == frames


@pytest.mark.parametrize("codec", [CodecId.NVCOMP_ZSTD, CodecId.NVCOMP_BITCOMP, CodecId.NVCOMP_GDEFLATE])
def test_the_processor_reads_what_the_device_wrote(codec: CodecId, frames: list[bytes]) -> None:
    """Payloads decode without the device, by libzstd, by our own GDeflate, or by nvCOMP's decoder for the processor."""
    few = [frame[: MIB + 8] for frame in frames]
    payloads = batch_codec(codec).encode_many(few)
    decode = METHODS[codec].host_decoder()
    for frame, payload in zip(few, payloads, strict=True):
        assert b"".join(decode(list(parse_container(payload).chunks(payload)))) == frame


@pytest.mark.parametrize("entry", SOUND, ids=lambda entry: entry.id)
def test_the_device_reads_what_others_wrote(entry: GoldenPayload) -> None:
    """Payloads of another version of nvCOMP, with other options, decode on the device."""
    pipeline = engine.pipeline()
    assert pipeline is not None
    decoded = pipeline.decode([parse_container(entry.body)], [entry.body])
    assert (len(decoded.plain[0]), hashlib.sha256(decoded.plain[0]).hexdigest()) == (entry.size, entry.sha256)


@pytest.mark.parametrize(
    ("codec", "workload", "ratio", "element"),
    [
        (CodecId.NVCOMP_BITCOMP, "postings", 11.9, ElementType.U32),
        (CodecId.NVCOMP_BITCOMP, "timestamps", 2.9, ElementType.U64),
        (CodecId.NVCOMP_CASCADED, "gaps", 14.7, ElementType.U32),
        (CodecId.NVCOMP_CASCADED, "timestamps", 30, ElementType.U64),
        (CodecId.NVCOMP_ZSTD, "nginx", 90, ElementType.CHAR),
        (CodecId.NVCOMP_GDEFLATE, "nginx", 30, ElementType.CHAR),
        (CodecId.NVCOMP_ANS, "log", 1.4, ElementType.CHAR),
    ],
)
def test_ratios(codec: CodecId, workload: str, ratio: float, element: ElementType) -> None:
    """Each codec is good at what it is for, with the element type that suits."""
    data = WORKLOADS[workload](4 * MIB)
    (payload,) = batch_codec(codec).encode_many([data])
    assert len(data) / len(payload) > ratio
    assert parse_container(payload).element_type is element


@pytest.mark.parametrize("codec", CODECS)
def test_objects(codec: CodecId) -> None:
    """Whole objects go through encoder and decoder, and their frames are the codec's."""
    data = np.cumsum(np.arange(3 * MIB, dtype="<u4") % 7).astype("<u4").tobytes()
    stored = encode_object(data, EncodeOptions(codec=codec.label, dispatcher="always"))
    assert decode_object(stored.body, stored.manifest) == data
    assert {frame.header.codec for frame in iter_frames(stored.body)} <= {codec, CodecId.PASSTHROUGH}


def test_beside_an_event_loop() -> None:
    """Several objects at once, as a server encodes them."""
    data = log(9 * MIB)

    async def one(pool: ThreadPoolExecutor) -> bytes:
        async def pieces() -> AsyncIterator[bytes]:
            for at in range(0, len(data), 64 << 10):
                yield data[at : at + (64 << 10)]

        encoder = ObjectEncoder(EncodeOptions(codec="nvcomp-zstd", dispatcher="always"), size=len(data))
        return b"".join([bytes(part) async for part in encode_async(encoder, pieces(), pool=pool)])

    async def main() -> list[bytes]:
        with ThreadPoolExecutor(4) as pool:
            return await asyncio.gather(*(one(pool) for _ in range(4)))

    bodies = asyncio.run(main())
    assert len(set(bodies)) == 1
    decoded = [codec_for(frame.header.codec).decompress(frame.payload, frame.header.original_size) for frame in iter_frames(bodies[0])]
    assert b"".join(decoded) == data


def test_frames_in_staging_buffers() -> None:
    """What is received into pinned memory is compressed from there."""
    pipeline = engine.pipeline()
    assert pipeline is not None
    data = log(3 * MIB)
    with pipeline.staging.lease() as staged:
        staged.view[: len(data)] = data
        encoded = pipeline.encode(Algorithm.ZSTD, [staged.view[: len(data)], data, staged.view[100:200_000]])
    assert encoded.payloads[0] == encoded.payloads[1]
    assert encoded.checksums[2] == crc32c(data[100:200_000])


FULL = """
import cupy
from s4_format import Algorithm, CodecId, iter_frames
from s4_codecs import DeviceMemoryError, EncodeOptions, codec_for, decode_object, encode_object
from s4_codecs.gpu import engine
from s4_codecs.testing.workloads import log
data = log(40 << 20)
pipeline = engine.pipeline()
free, _ = cupy.cuda.runtime.memGetInfo()
hoard = cupy.cuda.runtime.malloc(free - (48 << 20))
try:
    pipeline.encode(Algorithm.ZSTD, [data])
except DeviceMemoryError:
    print("full", pipeline.out_of_memory[Algorithm.ZSTD] > 0)
stored = encode_object(data, EncodeOptions(codec="nvcomp-zstd", dispatcher="always"))
print({frame.header.codec.label for frame in iter_frames(stored.body)}, decode_object(stored.body, stored.manifest) == data)
cupy.cuda.runtime.free(hoard)
(payload,) = codec_for("nvcomp-zstd").encode_many([data])
print(codec_for("nvcomp-zstd").decompress(payload, len(data)) == data)
"""


def test_the_device_is_full() -> None:
    """A call that finds no memory says so and is counted, objects are encoded by the CPU, and the device works again once there is some."""
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", FULL], capture_output=True, text=True, timeout=120, check=False)
    assert done.stdout == "full True\n{'cpu-zstd'} True\nTrue\n", done.stderr
    assert "cpu-zstd takes the place of nvcomp-zstd" in done.stderr


HOSTILE = """
import random, sys
from s4_codecs import CodecError, codec_for
from s4_codecs.testing.workloads import gaps
codec, data, chance = codec_for(sys.argv[1]), gaps(300_000), random.Random(7)
payload = codec.compress(data)
outcomes = {}
for _ in range(int(sys.argv[2])):
    damaged = bytearray(payload)
    for _ in range(chance.choice((1, 1, 3, 50))):
        damaged[chance.randrange(24, len(damaged))] = chance.randrange(256)
    try:
        outcome = "same" if codec.decompress(damaged, len(data)) == data else "other bytes of that size"
    except CodecError as error:
        outcome = type(error).__name__
    outcomes[outcome] = outcomes.get(outcome, 0) + 1
print(codec.name, outcomes)
if "--writes-still" in sys.argv:
    assert codec.decompress(codec.compress(data), len(data)) == data
"""


@pytest.mark.parametrize("codec", [CodecId.NVCOMP_ZSTD, CodecId.NVCOMP_BITCOMP, CodecId.NVCOMP_GDEFLATE])
def test_hostile_payloads(codec: CodecId) -> None:
    """Damage gives an error, or as many bytes as were promised, which the checksum then refuses, and the device goes on."""
    command = [sys.executable, "-c", HOSTILE, codec.label, "300", "--writes-still"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    sys.stdout.write(done.stdout)


@pytest.mark.parametrize("codec", [CodecId.NVCOMP_ANS, CodecId.NVCOMP_CASCADED])
def test_hostile_payloads_that_only_the_device_decodes(codec: CodecId) -> None:
    """Damage can take the device from the process: every later call is a clear error then, and the process lives."""
    done = subprocess.run([sys.executable, "-c", HOSTILE, codec.label, "300"], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    sys.stdout.write(done.stdout)


ORDERLY = """
from s4_codecs import codec_for
from s4_codecs.testing.workloads import log
codec = codec_for("nvcomp-zstd")
payloads = codec.encode_many([log(1 << 20)] * 40)
assert codec.decode_many(payloads, [1 << 20] * 40)[0] == log(1 << 20)
print("done")
"""


def test_the_end_is_orderly() -> None:
    """A process that used the device ends without a word and with 0."""
    done = subprocess.run([sys.executable, "-c", ORDERLY], capture_output=True, text=True, timeout=120, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "done\n", "")


def test_a_forked_child_says_that_it_cannot() -> None:
    """A child of a process that used the device has none, and says why."""
    code = """
import os
from s4_codecs import codec_for
from s4_codecs.gpu import probe
codec_for("nvcomp-zstd").compress(b"x" * 1000)
if os.fork() == 0:
    print(probe.device(), probe.missing(), flush=True)
    os._exit(0)
os.wait()
"""
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("None CUDA says"), done.stdout
