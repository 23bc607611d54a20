"""Objects of codecs that work on a device, tried codecs, and frames of several requests that are compressed together."""

import asyncio
import re
from collections.abc import Callable

import pytest
from s4_codecs import EncodeOptions, GpuPreference
from s4_codecs.testing.batch import HostBatchCodec, provided
from s4_codecs.testing.workloads import jitter
from s4_format import CodecId, iter_frames

from s4_gateway.objects.options import SmallBatching

from .helpers import BUCKET, MIB, Rig, noise, rig, text

KIB = 1 << 10
ON_GPU = EncodeOptions(gpu=GpuPreference(min_bytes=MIB))
SMALL_ON_GPU = {"encode": EncodeOptions(gpu=GpuPreference(min_bytes=4 * KIB)), "small_batching": SmallBatching(32, 0.05, below_bytes=MIB)}


async def codecs_of(gateway: Rig, key: str) -> set[CodecId]:
    """The codecs of the frames of a stored object."""
    return {frame.header.codec for frame in iter_frames((await gateway.stored(key))[1])}


def metric(gateway: Rig, name: str) -> float:
    """The sum of all samples of a metric."""
    text_of_all = gateway.client.services.metrics.render().decode()
    return sum(float(value) for value in re.findall(rf"^{name}(?:{{.*}})? (\S+)$", text_of_all, re.MULTILINE))


async def test_large_objects_go_to_the_device() -> None:
    """An object of known size that is large enough is compressed there, in batches, and read back whole and in ranges; parts too."""
    codec, body = HostBatchCodec(), text(9 * MIB)
    with provided(codec):
        async with rig(encode=ON_GPU) as gateway:
            await gateway.put("large", body)
            await gateway.put("small", body[: MIB - 1])
            await gateway.upload("parts", [body[: 6 * MIB], body[6 * MIB :]])
            assert await codecs_of(gateway, "large") == await codecs_of(gateway, "parts") == {CodecId.NVCOMP_ZSTD}
            assert await codecs_of(gateway, "small") == {CodecId.CPU_ZSTD}
            for key in ("large", "parts"):
                assert (await gateway.get(key)).body == body
                assert (await gateway.get(key, range=f"bytes={MIB - 5}-{2 * MIB}")).body == body[MIB - 5 : 2 * MIB + 1]
            await asyncio.sleep(0)
            assert metric(gateway, "s4_gpu_compress_seconds_count") == len(codec.batches)
            assert metric(gateway, 's4_gpu_bytes_total{codec="nvcomp-zstd",op="compress"}') == 2 * len(body)
            assert metric(gateway, "s4_gpu_throughput_bytes_per_sec") > 0
            assert metric(gateway, "s4_gpu_fallback_total") == 0
    assert max(codec.batches) == 16


async def test_a_device_without_memory() -> None:
    """What it has no memory for is compressed by zstd; that is counted, and the object is what it should be."""
    codec, body = HostBatchCodec(failures=1), text(9 * MIB)
    with provided(codec):
        async with rig(encode=ON_GPU) as gateway:
            await gateway.put("key", body)
            assert await codecs_of(gateway, "key") == {CodecId.CPU_ZSTD, CodecId.NVCOMP_ZSTD}
            assert (await gateway.get("key")).body == body
            await asyncio.sleep(0)
            assert metric(gateway, "s4_gpu_oom_total") == 1
            assert metric(gateway, 's4_gpu_fallback_total{reason="device-refused"}') == 1


@pytest.mark.parametrize("size", [5 * KIB, 300 * KIB, 900 * KIB], ids=["at-once", "one-frame", "two-frames"])
async def test_small_objects_are_compressed_together(size: int) -> None:
    """Frames of objects that are written at a time share batches, and each object is its own."""
    codec = HostBatchCodec()
    bodies = {f"key-{number}": text(size + number, seed=number % 3) for number in range(12)}
    with provided(codec):
        async with rig(**SMALL_ON_GPU) as gateway:
            await asyncio.gather(*(gateway.put(key, body) for key, body in bodies.items()))
            for key, body in bodies.items():
                assert await codecs_of(gateway, key) == {CodecId.NVCOMP_ZSTD}
                assert (await gateway.get(key)).body == body
            assert max(codec.batches) > 1
            assert metric(gateway, 's4_gpu_batch_total{result="batched"}') == sum(codec.batches)


async def test_what_is_not_batched() -> None:
    """Objects below the floor, incompressible ones and those that fill batches by themselves are not collected."""
    codec = HostBatchCodec()
    with provided(codec):
        async with rig(**SMALL_ON_GPU) as gateway:
            await gateway.put("tiny", text(4 * KIB - 1))
            await gateway.put("noise", noise(200 * KIB))
            assert codec.batches == []
            await gateway.put("large", text(4 * MIB))
            assert codec.batches == [8]
            assert metric(gateway, "s4_gpu_batch_total") == 0


async def test_a_small_batch_that_fails() -> None:
    """Where the device cannot do a batch, its objects are stored by zstd all the same, and counted."""
    with provided(HostBatchCodec(failures=1)):
        async with rig(**SMALL_ON_GPU) as gateway:
            await gateway.put("key", text(50 * KIB))
            assert await codecs_of(gateway, "key") == {CodecId.CPU_ZSTD}
            assert metric(gateway, 's4_gpu_batch_total{result="fallback"}') == 1
            assert metric(gateway, 's4_gpu_fallback_total{reason="device-refused"}') == 1


@pytest.mark.parametrize("make", [jitter, text], ids=["numbers", "text"])
@pytest.mark.parametrize("size", [20 * KIB, 200 * KIB, 3 * MIB], ids=["at-once", "buffered", "frames"])
@pytest.mark.parametrize("batching", [True, False])
async def test_tried_codecs(make: Callable[[int], bytes], size: int, batching: bool) -> None:
    """The trial chooses by content, for objects of any size and for parts, and what it chose is read back."""
    small = SMALL_ON_GPU["small_batching"] if batching else None
    absent = frozenset({"nvcomp-bitcomp", "nvcomp-gdeflate", "nvcomp-ans", "nvcomp-cascaded", "nvcomp-zstd"})
    options = EncodeOptions(dispatcher="trial", exclude=absent)
    body = make(size)
    expected = CodecId.CPU_COLUMNAR if make is jitter else CodecId.CPU_ZSTD
    async with rig(encode=options, small_batching=small) as gateway:
        await gateway.put("key", body)
        await gateway.upload("parts", [body])
        for key in ("key", "parts"):
            assert await codecs_of(gateway, key) == {expected}
            assert (await gateway.get(key)).body == body
            assert (await gateway.get(key, range="bytes=1000-1999")).body == body[1000:2000]
        answer = await gateway.client.request("GET", BUCKET, query={"list-type": "2"})
        assert answer.texts("Contents/Size") == [str(size)] * 2
