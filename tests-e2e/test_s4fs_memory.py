"""s4fs in bounded memory: what an object takes does not grow with it."""

import json
import subprocess
import sys

import pytest
from clients.filesystems import storage_options
from servers.stores import Store

pytestmark = pytest.mark.servers("versitygw")

MIB = 1 << 20
LIMIT = 256 * MIB
WORK = """
import json, sys
import fsspec
from s4_codecs.testing.workloads import WORKLOADS

asked = json.load(sys.stdin)
piece, done = WORKLOADS["log"](1 << 20), 0
with fsspec.open(asked["url"], asked["mode"], **asked["options"]) as file:
    if asked["mode"] == "wb":
        while done < asked["size"]:
            done += file.write(piece)
    else:
        while data := file.read(1 << 20):
            done += len(data)
status = dict(line.split(":", 1) for line in open("/proc/self/status"))
json.dump({"bytes": done, "peak": int(status["VmHWM"].split()[0]) * 1024}, sys.stdout)
"""


def test_large_objects_in_order(store: Store, bucket_name: str, *, full: bool) -> None:
    """A large file written and read in order keeps the whole process below 256 MiB: 384 MiB of it each day, 1 GiB on request."""
    size = (1024 if full else 384) * MIB
    store.behind.client.create_bucket(Bucket=bucket_name)
    try:
        for mode in ("wb", "rb"):
            order = {"url": f"s4://{bucket_name}/object", "mode": mode, "options": storage_options(store), "size": size}
            done = subprocess.run(
                [sys.executable, "-c", WORK], input=json.dumps(order).encode(), capture_output=True, timeout=200, check=False
            )
            assert done.returncode == 0, done.stderr.decode()
            told = json.loads(done.stdout)
            assert (mode, told["bytes"]) == (mode, size)
            assert told["peak"] < LIMIT, (mode, told["peak"] // MIB)
    finally:
        store.behind.remove_bucket(bucket_name)
