"""The rows of the benchmark: each does one kind of work on one target and says what it took."""

import os
import random
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from statistics import median
from types import MappingProxyType

from clients.command import run as run_command
from programs import program

from benchmarks import latency, load, transfer
from benchmarks.ground import MIB, Ground, Meter, workload
from benchmarks.link import Link

KEYS = 512
"""Objects that small reads and writes go round through."""
CONNECTIONS = 32
FEW_CONNECTIONS = 8
"""For requests of which a slow target answers a few dozen a second: what is in flight when the clock stops is not counted."""
LISTED = 500
RANGE = 64 * 1024
LARGE = 256 * MIB
PARTED = 64 * MIB

SMALL = 4096
SPREAD = 8 * MIB
"""Objects of which cold ranges are read: each of many frames."""
SPREAD_OBJECTS = 12
REPEATED = 50
"""Requests, one after the other, of a round of a delayed row."""

NEAR = "near"
DELAYED = "delayed"
SLOW = "slow"
COUNTED = "counted"
LINKS: Mapping[str, Link] = {
    DELAYED: Link("20 ms of round trip to the store", round_trip_ms=20.0),
    COUNTED: Link("requests to the store are counted"),
    SLOW: Link("100 MB/s to the store", mb_per_second=100.0),
}

Measured = tuple[Mapping[str, float], Mapping[str, float]]
"""Metrics, and backend requests per client request."""


@dataclass(frozen=True, slots=True)
class Row:
    """One kind of work."""

    title: str
    measure: Callable[[Ground, int], Measured]
    """Prepares what it needs on first use; the number is that of the round, from 0."""
    setting: str = NEAR
    """How far the store is: `NEAR`, or the name of a link; only stores that are servers can be far."""


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
    paths = [ground.target.presigned("GET", _listed_bucket(ground), query={"list-type": "2"})]
    return _loaded(ground, "GET", paths, warm="list", connections=FEW_CONNECTIONS)


def _listed_bucket(ground: Ground) -> str:
    """A bucket of 500 small objects, made on first use."""
    bucket = f"{ground.bucket}-listed"
    ground.once("listed bucket", lambda: ground.target.client().create_bucket(Bucket=bucket))
    objects = [(f"list/{key:04d}", b"x" * (key + 1)) for key in range(LISTED)]
    ground.once("listed", lambda: ground.write(objects, bucket=bucket))
    return bucket


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


def _counted(ground: Ground, number: int, *, work: Callable[[Ground], object]) -> Measured:
    """Requests to the store that one operation takes when it is done again."""
    ground.once(f"counted {id(work)}", lambda: work(ground))
    with ground.metered() as meter:
        work(ground)
    return {}, meter.per(1)


def _one_get(ground: Ground) -> None:
    ground.once("one object", lambda: ground.write([("one", workload("log", MIB).read_bytes()[:SMALL])]))
    latency.measure(ground.target.endpoint, [_get(ground, "one")])


def _one_put(ground: Ground) -> None:
    path = ground.target.presigned("PUT", ground.bucket, "one")
    body = workload("log", MIB).read_bytes()[:SMALL]
    latency.measure(ground.target.endpoint, [latency.request(ground.target.endpoint, "PUT", path, body=body)])


def _one_list(ground: Ground) -> None:
    bucket = _listed_bucket(ground)
    ground.target.client().list_objects_v2(Bucket=bucket)


def _one_range(ground: Ground) -> None:
    latency.measure(ground.target.endpoint, [_get(ground, _large_object(ground, "log"), start=100 * MIB)])


def _one_large_put(ground: Ground) -> None:
    transfer.put(ground.target, ground.bucket, "large/put-log", workload("log", LARGE))


def _one_large_get(ground: Ground) -> None:
    transfer.get(ground.target, ground.bucket, _large_object(ground, "log"), LARGE)


def _one_upload(ground: Ground) -> None:
    ground.target.client().upload_file(str(workload("log", PARTED)), ground.bucket, "large/parts")


def _cold_gets(ground: Ground, number: int) -> Measured:
    """Each key for the first time: the target has no facts about it."""
    keys = _elsewhere(ground, "get", REPEATED, SMALL)
    return _in_turn(ground, [_get(ground, key) for key in keys[number]])


def _warm_gets(ground: Ground, number: int) -> Measured:
    keys = _elsewhere(ground, "get", REPEATED, SMALL)
    requests = [_get(ground, key) for key in keys[number]]
    ground.once(f"warm gets {number}", lambda: latency.measure(ground.target.endpoint, requests))
    return _in_turn(ground, requests)


def _cold_ranges(ground: Ground, number: int) -> Measured:
    """64 KiB from the middle of each object, for the first time."""
    keys = _elsewhere(ground, "range", SPREAD_OBJECTS, SPREAD)
    return _in_turn(ground, [_get(ground, key, start=SPREAD // 2) for key in keys[number]])


def _warm_ranges(ground: Ground, number: int) -> Measured:
    """Ranges, none of them twice, of objects that were read before."""
    keys = _elsewhere(ground, "range", SPREAD_OBJECTS, SPREAD)[number]
    ground.once(f"warm ranges {number}", lambda: latency.measure(ground.target.endpoint, [_get(ground, key, start=0) for key in keys]))
    return _in_turn(ground, [_get(ground, key, start=start) for start in range(MIB, SPREAD, 2 * MIB) for key in keys])


def _puts_in_turn(ground: Ground, number: int) -> Measured:
    body = workload("log", MIB).read_bytes()[:SMALL]
    paths = [ground.target.presigned("PUT", ground.bucket, f"turn-{number}/{key:04d}") for key in range(REPEATED)]
    return _in_turn(ground, [latency.request(ground.target.endpoint, "PUT", path, body=body) for path in paths])


def _elsewhere(ground: Ground, kind: str, count: int, size: int) -> list[list[str]]:
    """Keys for each round, of objects that the target was not told of."""
    keys = [[f"{kind}-{number}/{key:04d}" for key in range(count)] for number in range(ground.rounds)]
    text = workload("log", 2 * SPREAD).read_bytes()
    bodies = [(key, text[i * 4099 : i * 4099 + size]) for i, key in enumerate(key for some in keys for key in some)]
    ground.once(f"elsewhere {kind}", lambda: ground.write_elsewhere(bodies))
    return keys


def _get(ground: Ground, key: str, *, start: int | None = None) -> bytes:
    path = ground.target.presigned("GET", ground.bucket, key)
    return latency.request(ground.target.endpoint, "GET", path, byte_range=None if start is None else (start, start + RANGE - 1))


def _in_turn(ground: Ground, requests: list[bytes]) -> Measured:
    hello = latency.request(
        ground.target.endpoint, "GET", ground.target.presigned("GET", ground.bucket, query={"list-type": "2", "max-keys": "1"})
    )
    # Connections to the store are open before the clock starts.
    ground.once("hello", lambda: latency.measure(ground.target.endpoint, [hello]))
    with ground.metered() as meter:
        taken = sorted(latency.measure(ground.target.endpoint, requests))
    metrics = {
        "p50_ms": median(taken) * 1000,
        "p99_ms": taken[min(len(taken) - 1, len(taken) * 99 // 100)] * 1000,
        "peak_mib": meter.peak / MIB,
    }
    return metrics, meter.per(len(requests))


ROWS: Mapping[str, Row] = MappingProxyType(
    {
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
        "oneget": Row("GET 4 KiB", partial(_counted, work=_one_get), COUNTED),
        "oneput": Row("PUT 4 KiB", partial(_counted, work=_one_put), COUNTED),
        "onelist": Row(f"List {LISTED} keys", partial(_counted, work=_one_list), COUNTED),
        "onerange": Row("Range 64 KiB of 256 MiB", partial(_counted, work=_one_range), COUNTED),
        "oneputlog": Row("PUT 256 MiB log", partial(_counted, work=_one_large_put), COUNTED),
        "onegetlog": Row("GET 256 MiB log", partial(_counted, work=_one_large_get), COUNTED),
        "oneupload": Row("upload_file 64 MiB log", partial(_counted, work=_one_upload), COUNTED),
        "coldget": Row("first GET 4 KiB", _cold_gets, DELAYED),
        "warmget": Row("GET 4 KiB", _warm_gets, DELAYED),
        "coldrange": Row("first range 64 KiB of 8 MiB", _cold_ranges, DELAYED),
        "warmrange": Row("range 64 KiB of 8 MiB", _warm_ranges, DELAYED),
        "turnput": Row("PUT 4 KiB", _puts_in_turn, DELAYED),
        "slowput": Row("PUT 256 MiB log", partial(_large_put, name="log"), SLOW),
        "slowget": Row("GET 256 MiB log", partial(_large_get, name="log"), SLOW),
    }
)
