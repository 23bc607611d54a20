"""Mixed load at a steady rate: every kind of request, errors and clients that leave among them; all that is read is compared."""

import hashlib
import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from botocore.exceptions import ClientError
from clients.multipart import MIB, Upload
from clients.wire import Wire, path_of
from s4_codecs.testing.workloads import WORKLOADS
from servers.gateways import Gateway

BUCKET = "soak"
KEYS = 40
"""Of each worker: what is stored stays bounded."""
WORKERS = 4
TEXT, NOISE = WORKLOADS["log"](24 * MIB), WORKLOADS["noise"](24 * MIB)


class Wrong(AssertionError):
    """An answer that must not be."""


@dataclass(slots=True)
class Worker:
    """One client with keys of its own, so that it knows what must be there."""

    gateway: Gateway
    number: int
    random: random.Random
    s3: Any = field(init=False)
    wire: Wire = field(init=False)
    stored: dict[str, tuple[int, str]] = field(default_factory=dict)
    """Key -> size and MD5."""
    done: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        self.s3 = self.gateway.client(retries={"total_max_attempts": 1}, max_pool_connections=2)
        self.wire = Wire(self.gateway.endpoint, self.gateway.access_key, self.gateway.secret_key)

    def step(self) -> None:
        """One random action.

        Raises:
            Wrong: the gateway did not do what it must.
        """
        action = self.random.choices(list(ACTIONS), weights=list(ACTIONS.values()))[0]
        action(self)
        self.done[action.__name__] += 1

    def key(self) -> str:
        return f"{self.number}/{self.random.randrange(KEYS):03d}"

    def known(self) -> str | None:
        return self.random.choice(sorted(self.stored)) if self.stored else None

    def body(self, least: int, most: int) -> bytes:
        size = self.random.randint(least, most)
        source = self.random.choice((TEXT, TEXT, NOISE))
        start = self.random.randrange(len(source) - size)
        return self.random.randbytes(8) + source[start : start + size]

    def keep(self, key: str, body: bytes) -> None:
        self.stored[key] = (len(body), hashlib.md5(body).hexdigest())

    def same(self, key: str) -> None:
        """Read a key and compare."""
        body = self.s3.get_object(Bucket=BUCKET, Key=key)["Body"].read()
        _require((len(body), hashlib.md5(body).hexdigest()) == self.stored[key], f"{key} is what was stored")

    def refused(self, status: int, request: Callable[..., Any], **arguments: Any) -> None:
        """A request that must be refused."""
        try:
            request(Bucket=BUCKET, **arguments)
        except ClientError as error:
            _require(error.response["ResponseMetadata"]["HTTPStatusCode"] == status, f"{status} and not {error}")
        else:
            raise Wrong(f"{arguments} was not refused")


def put_small(worker: Worker) -> None:
    """A small object."""
    key, body = worker.key(), worker.body(0, 64 * 1024)
    worker.s3.put_object(Bucket=BUCKET, Key=key, Body=body, Metadata={"number": str(worker.number)})
    worker.keep(key, body)


def put_large(worker: Worker) -> None:
    """An object that is streamed to the store."""
    key, body = worker.key(), worker.body(2 * MIB, 20 * MIB)
    worker.s3.put_object(Bucket=BUCKET, Key=key, Body=body)
    worker.keep(key, body)


def get(worker: Worker) -> None:
    """A whole object, compared."""
    if (key := worker.known()) is not None:
        worker.same(key)


def get_range(worker: Worker) -> None:
    """A part of an object."""
    key = worker.known()
    if key is None:
        return
    size = worker.stored[key][0]
    start = worker.random.randrange(size)
    stop = min(size, start + worker.random.randint(1, 128 * 1024))
    answer = worker.s3.get_object(Bucket=BUCKET, Key=key, Range=f"bytes={start}-{stop - 1}")
    _require(len(answer["Body"].read()) == stop - start, "a range has its length")


def head(worker: Worker) -> None:
    """The size of an object."""
    if (key := worker.known()) is not None:
        answer = worker.s3.head_object(Bucket=BUCKET, Key=key)
        _require(answer["ContentLength"] == worker.stored[key][0], "a size is that of the client's bytes")


def listing(worker: Worker) -> None:
    """All keys of this worker, with their sizes."""
    found = worker.s3.list_objects_v2(Bucket=BUCKET, Prefix=f"{worker.number}/").get("Contents", ())
    _require({item["Key"]: item["Size"] for item in found} == {key: size for key, (size, _) in worker.stored.items()}, "a list is complete")


def delete(worker: Worker) -> None:
    """An object is gone."""
    if (key := worker.known()) is not None:
        worker.s3.delete_object(Bucket=BUCKET, Key=key)
        del worker.stored[key]


def copy(worker: Worker) -> None:
    """An object under another name."""
    source, key = worker.known(), worker.key()
    if source is not None and source != key:
        worker.s3.copy_object(Bucket=BUCKET, Key=key, CopySource={"Bucket": BUCKET, "Key": source})
        worker.stored[key] = worker.stored[source]


def multipart(worker: Worker) -> None:
    """An object in two parts."""
    key, bodies = worker.key(), [worker.body(5 * MIB, 6 * MIB), worker.body(0, MIB)]
    upload = Upload(worker.s3, BUCKET, key)
    for number, body in enumerate(bodies, 1):
        upload.part(number, body)
    upload.complete()
    worker.keep(key, b"".join(bodies))


def abort(worker: Worker) -> None:
    """An upload that comes to nothing."""
    upload = Upload(worker.s3, BUCKET, worker.key())
    upload.part(1, worker.body(MIB, 6 * MIB))
    upload.abort()


def errors(worker: Worker) -> None:
    """Requests that must be refused."""
    s3 = worker.s3
    worker.refused(404, s3.get_object, Key="nowhere")
    worker.refused(400, s3.put_object, Key=f"{worker.number}/refused", Body=b"x", ContentMD5="1B2M2Y8AsgTpgAmY7PhCfg==")
    if (key := worker.known()) is not None:
        worker.refused(416, s3.get_object, Key=key, Range=f"bytes={2**40}-")
        worker.refused(412, s3.get_object, Key=key, IfMatch="0" * 32)
    answer = worker.wire.request("GET", path_of(BUCKET, "nowhere"), headers={"authorization": "AWS4-HMAC-SHA256 nonsense"}, signed=False)
    _require(answer.status == 400, "a broken signature is refused")


def leave_upload(worker: Worker) -> None:
    """Announce 8 MiB, send one, and go."""
    with worker.wire.connection() as connection:
        connection.sendall(worker.wire.head_of("PUT", path_of(BUCKET, f"{worker.number}/left"), {"content-length": str(8 * MIB)}))
        connection.sendall(NOISE[:MIB])


def leave_download(worker: Worker) -> None:
    """Ask for an object, read a little of it, and go."""
    if (key := worker.known()) is not None:
        with worker.wire.connection() as connection:
            connection.sendall(worker.wire.head_of("GET", path_of(BUCKET, key)))
            connection.recv(4096)


ACTIONS: dict[Callable[[Worker], None], int] = {
    put_small: 26,
    get: 26,
    get_range: 14,
    head: 6,
    listing: 6,
    delete: 6,
    copy: 5,
    put_large: 2,
    multipart: 2,
    abort: 2,
    errors: 3,
    leave_upload: 2,
    leave_download: 3,
}
"""What a worker does, and how often."""


class Load:
    """Workers on threads of their own.

    Args:
        gateway: takes it all.
        rate: actions a second, of all workers together.
        seed: of their choices.
    """

    def __init__(self, gateway: Gateway, *, rate: float, seed: int) -> None:
        self.workers = [Worker(gateway, number, random.Random(f"{seed} {number}")) for number in range(WORKERS)]
        self.failures: list[str] = []
        self._pause = WORKERS / rate
        self._stopped = threading.Event()

    @contextmanager
    def running(self) -> Iterator[None]:
        """Load inside the block; all workers have ended behind it."""
        threads = [threading.Thread(target=self._run, args=(worker,), daemon=True) for worker in self.workers]
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            self._stopped.set()
            for thread in threads:
                thread.join(60)

    def done(self) -> Counter[str]:
        """Actions so far, by name."""
        total: Counter[str] = Counter()
        for worker in self.workers:
            total += worker.done
        return total

    def live_bytes(self) -> int:
        """Bytes of all objects that must be there."""
        return sum(size for worker in self.workers for size, _ in worker.stored.values())

    def check(self) -> int:
        """Read everything that must be there; the number of objects."""
        for worker in self.workers:
            for key in worker.stored:
                worker.same(key)
        return sum(len(worker.stored) for worker in self.workers)

    def _run(self, worker: Worker) -> None:
        due = time.monotonic()
        while not self._stopped.is_set() and not self.failures:
            try:
                worker.step()
            except Exception as error:  # noqa: BLE001 - whatever it is, the run has failed
                self.failures.append(f"worker {worker.number}: {type(error).__name__}: {error}")
            due = max(due + self._pause, time.monotonic() - self._pause)
            self._stopped.wait(max(0.0, due - time.monotonic()))


def _require(holds: bool, promise: str) -> None:
    if not holds:
        raise Wrong(promise)
