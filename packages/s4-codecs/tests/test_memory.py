"""Memory is bounded, whatever the size of the object."""

import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="peak memory of a process is read from /proc")

LIMIT_MIB = 48
"""What a 512 MiB object may add to the process: a few frames in and out, and the codecs' contexts."""

COMMON = """
    import asyncio, sys
    from pathlib import Path
    from concurrent.futures import ThreadPoolExecutor
    from s4_codecs import *
    from s4_codecs.testing.workloads import nginx, noise

    MIB = 1 << 20
    block = {"nginx": nginx, "noise": noise}[sys.argv[1]](8 * MIB)
    total = 512 * MIB

    def rss():
        lines = Path("/proc/self/status").read_text().splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) // 1024

    def plaintext():
        for _ in range(total // len(block)):
            for at in range(0, len(block), 65536):
                yield bytes(memoryview(block)[at : at + 65536])

    async def beside(chunks):
        for chunk in chunks:
            yield chunk

    before = rss()
"""

THREADED = """
    def round_trip(encoder, decoder):
        stored = encode_threaded(encoder, plaintext(), workers=2)
        return sum(map(len, decode_threaded(decoder, stored, workers=2)))
"""

ASYNCIO = """
    def round_trip(encoder, decoder):
        async def main():
            with ThreadPoolExecutor(2) as pool:
                stored = encode_async(encoder, beside(plaintext()), pool=pool)
                return sum([len(piece) async for piece in decode_async(decoder, stored, pool=pool)])
        return asyncio.run(main())
"""

END = """
    encoder = ObjectEncoder(EncodeOptions(), size=total)
    assert round_trip(encoder, ObjectDecoder(expected_size=total)) == total
    print(rss() - before)
"""

WIDE = """
    # One frame of 512 MiB, as the reference writes for a part of that size.
    import zlib
    from s4_format import FrameHeader, CodecId
    crc, stream, pieces = 0, zlib.compressobj(1, zlib.DEFLATED, 31), []
    digests = Digests(["crc32c"])
    for chunk in plaintext():
        pieces.append(stream.compress(chunk))
        digests.update(chunk)
    pieces.append(stream.flush())
    payload = b"".join(pieces)
    header = FrameHeader(CodecId.CPU_GZIP, total, len(payload), int.from_bytes(digests.raw("crc32c"), "big"))
    body = header.pack() + payload
    before = rss()
    assert sum(map(len, decode_threaded(ObjectDecoder(expected_size=total), [body], workers=2))) == total
    print(rss() - before)
"""


def grown(script: str, workload: str) -> int:
    """MiB by which a fresh process grew."""
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script), workload], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    return int(done.stdout)


@pytest.mark.parametrize("workload", ["nginx", "noise"])
@pytest.mark.parametrize("driver", [THREADED, ASYNCIO], ids=["threads", "asyncio"])
def test_half_a_gibibyte_there_and_back(driver: str, workload: str) -> None:
    """512 MiB encoded and decoded as a stream never need more than some frames."""
    assert grown(COMMON + driver + END, workload) < LIMIT_MIB


def test_one_frame_of_half_a_gibibyte() -> None:
    """A frame as large as a part of an upload is decoded as it comes."""
    assert grown(COMMON + WIDE, "nginx") < LIMIT_MIB
