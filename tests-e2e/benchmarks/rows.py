"""The rows of the benchmark: each does one kind of work on one target and says what it took."""

import os
import random
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

from clients.command import run as run_command
from programs import program

from benchmarks import load, transfer
from benchmarks.ground import MIB, Ground, Meter, workload

KEYS = 512
"""Objects that small reads and writes go round through."""
CONNECTIONS = 32
FEW_CONNECTIONS = 8
"""For requests of which a slow target answers a few dozen a second: what is in flight when the clock stops is not counted."""
LISTED = 500
RANGE = 64 * 1024
LARGE = 256 * MIB
PARTED = 64 * MIB

Measured = tuple[Mapping[str, float], Mapping[str, float]]
"""Metrics, and backend requests per client request."""


@dataclass(frozen=True, slots=True)
class Row:
    """One kind of work."""

    title: str
    measure: Callable[[Ground, int], Measured]
    """Prepares what it needs on first use; the number is that of the round, from 0."""
    setting: str = "near"
    """How far the store is: `near`, or the name of a link."""
    embedded: bool = True
    """Whether it says something about the embedded store."""


def _small(ground: Ground, number: int, *, method: str, size: int) -> Measured:
    text = workload("log", MIB).read_bytes()
    prefix = f"{method.lower()}-{size}"
    keys = [f"{prefix}/{key:04d}" for key in range(KEYS)]
    if method == "GET":
        bodies = [(key, text[start : start + size]) for i, key in enumerate(keys) for start in [i * 977 % (MIB - size)]]
        ground.once(prefix, lambda: ground.write(bodies))
    paths = [ground.target.presigned(method, ground.bucket, key) for key in keys]
    return _loaded(ground, method, paths, warm=prefix, body=text[:size] if method == "PUT" else b"")


def _listing(ground: Ground, number: int) -> Measured:
    bucket = f"{ground.bucket}-listed"
    ground.once("listed bucket", lambda: ground.target.client().create_bucket(Bucket=bucket))
    objects = [(f"list/{key:04d}", b"x" * (key + 1)) for key in range(LISTED)]
    ground.once("listed", lambda: ground.write(objects, bucket=bucket))
    paths = [ground.target.presigned("GET", bucket, query={"list-type": "2"})]
    return _loaded(ground, "GET", paths, warm="list", connections=FEW_CONNECTIONS)


def _ranges(ground: Ground, number: int) -> Measured:
    key = _large_object(ground, "log")
    seed = random.Random(7)
    path = ground.target.presigned("GET", ground.bucket, key)
    starts = [seed.randrange(0, LARGE - RANGE) for _ in range(4096)]
    paths = [f"{path}\tbytes={start}-{start + RANGE - 1}" for start in starts]
    return _loaded(ground, "GET", paths, warm="ranges", connections=FEW_CONNECTIONS)


def _loaded(ground: Ground, method: str, paths: list[str], *, warm: str, body: bytes = b"", connections: int = CONNECTIONS) -> Measured:
    send = partial(load.run, ground.target.endpoint, method, paths, connections=connections, body=body)
    ground.once(f"warm {warm}", lambda: send(seconds=1))
    with ground.metered() as meter:
        done = send(seconds=ground.seconds)
    requests = max(1, done.requests)
    metrics = {
        "rate": done.rate,
        "p50_ms": done.p50 * 1000,
        "p99_ms": done.p99 * 1000,
        **({} if ground.target.is_direct else {"cpu_us": meter.cpu / requests * 1e6}),
        "all_cpu_us": meter.all_cpu / requests * 1e6,
        "peak_mib": meter.peak / MIB,
        "load_share": done.share,
        "failures": float(done.failures),
    }
    return metrics, meter.per(requests)


def _large_object(ground: Ground, name: str) -> str:
    key = f"large/{name}"
    ground.once(key, lambda: transfer.put(ground.target, ground.bucket, key, workload(name, LARGE)))
    return key


def _large_put(ground: Ground, number: int, *, name: str) -> Measured:
    key, body, bucket = f"large/put-{name}", workload(name, LARGE), ground.bucket
    with ground.metered() as meter:
        seconds = transfer.put(ground.target, bucket, key, body)
    return _moved(ground, seconds, meter, LARGE, stored=ground.target.store.behind.size(bucket, key))


def _large_get(ground: Ground, number: int, *, name: str) -> Measured:
    key = _large_object(ground, name)
    with ground.metered() as meter:
        seconds = transfer.get(ground.target, ground.bucket, key, LARGE)
    return _moved(ground, seconds, meter, LARGE)


def _upload_file(ground: Ground, number: int) -> Measured:
    """64 MiB by boto3's upload_file at its defaults: 8 MiB parts."""
    path, s3, bucket = workload("log", PARTED), ground.target.client(), ground.bucket
    with ground.metered() as meter:
        seconds = _timed(lambda: s3.upload_file(str(path), bucket, "large/parts"))
    return _moved(ground, seconds, meter, PARTED, stored=ground.target.store.behind.size(bucket, "large/parts"))


def _aws_cli(ground: Ground, number: int) -> Measured:
    """The same by `aws s3 cp`, the time that the command takes to start included."""
    path, target, bucket = workload("log", PARTED), ground.target, ground.bucket
    keys = {"AWS_ACCESS_KEY_ID": target.access_key, "AWS_SECRET_ACCESS_KEY": target.secret_key, "AWS_DEFAULT_REGION": "us-east-1"}
    command = [str(program("awscli")), "--endpoint-url", target.endpoint, "s3", "cp", str(path), f"s3://{bucket}/large/copied", "--quiet"]
    with ground.metered() as meter:
        seconds = _timed(lambda: run_command(command, environ={**os.environ, **keys}))
    return _moved(ground, seconds, meter, PARTED, stored=target.store.behind.size(bucket, "large/copied"))


def _timed(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def _moved(ground: Ground, seconds: float, meter: Meter, size: int, *, stored: int | None = None) -> Measured:
    metrics = {
        "mb_per_second": size / seconds / 1e6,
        **({} if ground.target.is_direct else {"cpu_s_per_gb": meter.cpu / size * 1e9}),
        "all_cpu_s_per_gb": meter.all_cpu / size * 1e9,
        "peak_mib": meter.peak / MIB,
        **({} if stored is None else {"stored_bytes": float(stored)}),
    }
    return metrics, meter.per(1)


def _near() -> dict[str, Row]:
    return {
        "get4k": Row("GET 4 KiB", partial(_small, method="GET", size=4096)),
        "get64k": Row("GET 64 KiB", partial(_small, method="GET", size=65536)),
        "put4k": Row("PUT 4 KiB", partial(_small, method="PUT", size=4096)),
        "put64k": Row("PUT 64 KiB", partial(_small, method="PUT", size=65536)),
        "list500": Row(f"List {LISTED} keys", _listing),
        "range64k": Row("Range 64 KiB of 256 MiB", _ranges),
        "putlog": Row("PUT 256 MiB log", partial(_large_put, name="log")),
        "getlog": Row("GET 256 MiB log", partial(_large_get, name="log")),
        "putnoise": Row("PUT 256 MiB noise", partial(_large_put, name="noise")),
        "getnoise": Row("GET 256 MiB noise", partial(_large_get, name="noise")),
        "upload": Row("upload_file 64 MiB log", _upload_file),
        "awscli": Row("aws s3 cp 64 MiB log", _aws_cli),
    }


ROWS: Mapping[str, Row] = _near()
