"""The C library's heap keeps what large bodies freed."""

import platform
import subprocess
import sys

import pytest

FAULTS = """
import resource
from s4_gateway.serve.heap import keep_freed_blocks
assert keep_freed_blocks()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(200):
    blocks = [b"x" * 524288 for _ in range(4)]
    del blocks
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="other C libraries have no such setting")
def test_frames_are_not_mapped_anew() -> None:
    """Two hundred rounds over four frames touch the pages of the first round only, not 100,000."""
    done = subprocess.run([sys.executable, "-c", FAULTS], capture_output=True, text=True, check=True)

    assert int(done.stdout) < 5_000
