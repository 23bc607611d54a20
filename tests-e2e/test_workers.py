"""Several workers behind one port: they share connections, cache, metrics and uploads, and none of them is missed for long."""

import hashlib
import http.client
import os
import re
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from clients.multipart import MIB, Upload, left_behind
from clients.wire import Wire, path_of
from conftest import StartGateway
from golden import of
from s4_codecs.testing.workloads import WORKLOADS
from servers.gateways import Gateway, running_gateway_over
from servers.stores import Store, running_store

pytestmark = pytest.mark.servers("embedded", "versitygw")
# What is the same over every store is tried over one.
embedded = pytest.mark.servers("embedded")

LOG = WORKLOADS["log"](2 * MIB)
NOISE = WORKLOADS["noise"](24 * MIB)
SOON = 15.0


def eventually(holds: Callable[[], bool], seconds: float = SOON) -> None:
    """Wait for something that must come true."""
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, "it did not come true"
        time.sleep(0.05)


def runs(pid: int) -> bool:
    """Whether there is such a process; one that is dead and not yet reaped does not count."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def children_of(pid: int) -> list[int]:
    """Processes that any thread of it started and that run."""
    found = [int(child) for task in Path(f"/proc/{pid}/task").iterdir() for child in (task / "children").read_text().split()]
    return [child for child in found if runs(child)]


def descriptors_of(pid: int) -> int:
    """Files that a process has open."""
    return len(list(Path(f"/proc/{pid}/fd").iterdir()))


class Line:
    """One connection that is kept, and signed requests over it."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway
        self._wire = Wire(gateway.endpoint, gateway.access_key, gateway.secret_key)
        self.http = http.client.HTTPConnection("127.0.0.1", gateway.process.port, timeout=60)
        self.http.connect()

    def ask(self, method: str, path: str, body: bytes = b"") -> tuple[int, bytes]:
        """Status and body of the answer."""
        self.send(method, path, len(body), body)
        return self.answer()

    def send(self, method: str, path: str, length: int, body: bytes) -> None:
        """A request head and the first bytes of a body of this length."""
        self.http.sock.sendall(self._wire.head_of(method, path, {"content-length": str(length)}) + body)

    def answer(self) -> tuple[int, bytes]:
        """Of the request that was sent."""
        response = http.client.HTTPResponse(self.http.sock)
        response.begin()
        return response.status, response.read()

    def worker(self) -> int:
        """Process id of the worker that has the other end."""
        ours = self.http.sock.getsockname()[1]
        table = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
        (inode,) = (row[9] for row in table if row[1].endswith(f":{self._gateway.process.port:04X}") and row[2].endswith(f":{ours:04X}"))
        for pid in self._gateway.workers():
            for descriptor in Path(f"/proc/{pid}/fd").iterdir():
                with suppress(OSError):
                    if str(descriptor.readlink()) == f"socket:[{inode}]":
                        return pid
        raise AssertionError("no worker has the connection")

    def close(self) -> None:
        self.http.close()


@contextmanager
def lines(gateway: Gateway, count: int) -> Iterator[list[Line]]:
    """Kept connections, opened one after the other."""
    opened: list[Line] = []
    try:
        for _ in range(count):
            opened.append(Line(gateway))
            assert opened[-1].ask("GET", "/")[0] == 200
        yield opened
    finally:
        for line in opened:
            line.close()


@contextmanager
def two_sides(gateway: Gateway) -> Iterator[tuple[Line, Line]]:
    """Two kept connections to different workers, whoever else is connected."""
    with lines(gateway, 6) as opened:
        first, owner = opened[0], opened[0].worker()
        yield first, next(line for line in opened[1:] if line.worker() != owner)


@pytest.fixture(scope="module")
def duo(server_name: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """A gateway of two workers that tests share which leave it as it was. Its store is its own: the embedded one has one server."""
    folder = tmp_path_factory.mktemp("duo")
    with running_store(server_name, folder) as store, running_gateway_over(store, folder / "state", "--workers", "2") as running:
        yield running


@pytest.fixture
def own_bucket(duo: Gateway, bucket_name: str) -> Iterator[str]:
    """A bucket of the test's own, made through the two workers."""
    duo.client().create_bucket(Bucket=bucket_name)
    yield bucket_name
    duo.behind.remove_bucket(bucket_name)


@embedded
def test_connections_are_shared_out(duo: Gateway) -> None:
    """Of eight connections each of two workers has four, although both may take any of them."""
    with lines(duo, 8) as opened:
        owners = [line.worker() for line in opened]

    assert sorted(owners.count(pid) for pid in duo.workers()) == [4, 4]


@embedded
def test_metrics_are_sums(duo: Gateway, own_bucket: str) -> None:
    """Whichever worker is asked, /metrics counts what all of them did."""
    before = duo.metric("s4_gateway_request_seconds_count")
    with two_sides(duo) as (one, other):
        for turn in range(5):
            assert one.ask("PUT", path_of(own_bucket, f"{turn}"), b"body")[0] == 200
        for turn in range(7):
            assert other.ask("GET", path_of(own_bucket, f"{turn % 5}")) == (200, b"body")
        # Six connections were opened by a request each.
        assert {duo.metric("s4_gateway_request_seconds_count") - before for _ in range(6)} == {18}
        assert duo.metric("s4_gateway_connections") >= 3
    assert duo.metric("s4_gateway_workers") == 2


@embedded
def test_workers_have_helpers_of_their_own(duo: Gateway, own_bucket: str) -> None:
    """Each worker decodes what a GPU wrote with a process of its own, which it starts when it has to, and again when that was killed."""
    golden = of("refcode/unframed_nvcomp-bitcomp")
    duo.behind.put(own_bucket, "key", golden.stored)
    with two_sides(duo) as opened:
        for _ in range(2):
            for line in opened:
                status, body = line.ask("GET", path_of(own_bucket, "key"))
                assert (status, hashlib.sha256(body).hexdigest()) == (200, golden.sha256)
            helpers = [pid for worker in duo.workers() for pid in children_of(worker)]
            assert len(helpers) == 2
            for pid in helpers:
                os.kill(pid, signal.SIGKILL)


@pytest.mark.servers("versitygw")
def test_what_one_worker_knows_the_other_knows(duo: Gateway, own_bucket: str) -> None:
    """A List through one worker asks the store for nothing but the page, although the objects were written through the other."""
    with two_sides(duo) as (one, other):
        for number in range(20):
            assert one.ask("PUT", path_of(own_bucket, f"{number:02d}"), LOG[: 1000 + number])[0] == 200
        time.sleep(1.5)
        before = duo.backend_requests()
        status, page = other.ask("GET", f"{path_of(own_bucket)}?list-type=2")
        asked = duo.backend_requests() - before

    assert status == 200
    assert [int(size) for size in re.findall(rb"<Size>(\d+)</Size>", page)] == [1000 + number for number in range(20)]
    assert dict(asked) == {"list_objects": 1}


@embedded
@pytest.mark.parametrize("end", ["abort", "complete"])
def test_an_upload_that_ended_has_ended_for_all(duo: Gateway, own_bucket: str, end: str) -> None:
    """After Abort or Complete through one worker, a part through another one, which had seen the upload open, is NoSuchUpload."""
    upload = Upload(duo.client(), own_bucket)
    path = f"{path_of(own_bucket, 'key')}?partNumber={{}}&uploadId={upload.id}"
    upload.part(1, b"part")
    with two_sides(duo) as opened:
        assert [line.ask("PUT", path.format(2), b"part")[0] for line in opened] == [200, 200]
        upload.abort() if end == "abort" else upload.complete()
        answers = [line.ask("PUT", path.format(3), b"part") for line in opened]

    assert [status for status, _ in answers] == [404, 404]
    assert all(b"<Code>NoSuchUpload</Code>" in document for _, document in answers)


def test_a_sibling_that_starts_leaves_open_uploads_alone(fresh_store: Store, start_gateway: StartGateway) -> None:
    """A streamed PUT goes on while the other worker is killed and started again; that one aborts only what the dead one had open."""
    gateway = start_gateway(fresh_store, "--workers", "2")
    gateway.client().create_bucket(Bucket="bucket")
    with two_sides(gateway) as (living, dying):
        for line, key in ((living, "living"), (dying, "dying")):
            line.send("PUT", path_of("bucket", key), len(NOISE), NOISE[: 18 * MIB])
        eventually(lambda: len(fresh_store.behind.uploads("bucket")) == 2)
        os.kill(dying.worker(), signal.SIGKILL)
        eventually(lambda: len(gateway.workers()) == 2 and len(fresh_store.behind.uploads("bucket")) == 1)
        living.http.sock.sendall(NOISE[18 * MIB :])
        assert living.answer()[0] == 200
        assert living.ask("GET", path_of("bucket", "living")) == (200, NOISE)
    assert fresh_store.behind.uploads("bucket") == []
    assert left_behind(fresh_store.behind.keys("bucket")) == []


class Load(threading.Thread):
    """Writes and reads objects over kept connections until told to stop; a broken connection is opened again."""

    def __init__(self, gateway: Gateway, number: int) -> None:
        super().__init__(name=f"load-{number}")
        self._gateway = gateway
        self._number = number
        self.done = 0
        self.broken = 0
        self.wrong: list[Any] = []
        self.ends = threading.Event()

    def run(self) -> None:
        line = Line(self._gateway)
        turn = 0
        while not self.ends.is_set():
            turn += 1
            body = LOG[turn : turn + 3000 * (1 + turn % 7)]
            path = path_of("bucket", f"{self._number} {turn % 10}")
            try:
                put, got = line.ask("PUT", path, body), line.ask("GET", path)
            except (OSError, http.client.HTTPException):
                self.broken += 1
                line.close()
                line = Line(self._gateway)
                continue
            if (put[0], *got) != (200, 200, body):
                self.wrong.append((put, got[0]))
            self.done += 1
        line.close()


@embedded
def test_a_killed_worker_is_replaced(fresh_store: Store, start_gateway: StartGateway) -> None:
    """Under load its connections break, nothing else: no wrong answer, no sum that goes back, nothing left open by the supervisor."""
    gateway = start_gateway(fresh_store, "--workers", "2")
    gateway.client().create_bucket(Bucket="bucket")
    supervisor = gateway.process.process.pid
    load = [Load(gateway, number) for number in range(4)]
    for client in load:
        client.start()
    try:
        time.sleep(1)
        before = descriptors_of(supervisor)
        seen = [0.0]
        for _ in range(3):
            victim = gateway.workers()[0]
            os.kill(victim, signal.SIGKILL)
            for _ in range(10):
                with suppress(OSError):
                    seen.append(gateway.metric("s4_gateway_requests_total"))
                time.sleep(0.1)
            eventually(lambda: len(gateway.workers()) == 2)
            assert not runs(victim)
        eventually(lambda: gateway.metric("s4_gateway_workers") == 2)
    finally:
        for client in load:
            client.ends.set()
        for client in load:
            client.join()

    assert [client.wrong for client in load] == [[]] * 4
    assert sum(client.done for client in load) > 100
    assert 0 < sum(client.broken for client in load) <= 3 * 4
    assert seen == sorted(seen)
    assert gateway.metric("s4_gateway_worker_restarts_total") == 3
    assert descriptors_of(supervisor) == before
    assert gateway.process.log().count("was ended by SIGKILL") == 3


@embedded
def test_one_gateway_a_directory(fresh_store: Store, start_gateway: StartGateway) -> None:
    """Workers share the embedded store; another gateway is refused, even after the supervisor was killed, until the last worker is gone."""
    gateway = start_gateway(fresh_store, "--workers", "2")
    gateway.client().create_bucket(Bucket="bucket")
    with two_sides(gateway) as (one, other):
        for turn in range(20):
            assert one.ask("PUT", path_of("bucket", "key"), b"%d" % turn)[0] == 200
            assert other.ask("GET", path_of("bucket", "key")) == (200, b"%d" % turn)
        with pytest.raises(RuntimeError, match="in use by another server"):
            start_gateway(fresh_store, "--workers", "2")
        one.send("PUT", path_of("bucket", "key"), 6, b"abc")
        time.sleep(0.3)
        gateway.process.process.kill()
        gateway.process.process.wait()
        with pytest.raises(RuntimeError, match="in use by another server"):
            start_gateway(fresh_store)
        one.http.sock.sendall(b"def")
        assert one.answer()[0] == 200
    eventually(lambda: can_start(start_gateway, fresh_store))


def can_start(start_gateway: StartGateway, store: Store) -> bool:
    """Whether a gateway takes the store."""
    try:
        start_gateway(store)
    except RuntimeError:
        return False
    return True


@embedded
def test_without_a_supervisor_workers_end(fresh_store: Store, start_gateway: StartGateway) -> None:
    """kill -9 of the supervisor frees the port at once; requests in progress are finished, then the workers are gone."""
    gateway = start_gateway(fresh_store, "--workers", "2")
    gateway.client().create_bucket(Bucket="bucket")
    workers = gateway.workers()
    with two_sides(gateway) as opened:
        for line in opened:
            line.send("PUT", path_of("bucket", "key"), 6, b"abc")
        time.sleep(0.3)
        gateway.process.process.kill()
        gateway.process.process.wait()
        eventually(lambda: port_is_free(gateway.process.port))
        for line in opened:
            line.http.sock.sendall(b"def")
            assert line.answer()[0] == 200
    eventually(lambda: not any(runs(pid) for pid in workers))


def port_is_free(port: int) -> bool:
    """Whether a new server could listen there."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
            probe.listen()
        except OSError:
            return False
        return True


@embedded
@pytest.mark.parametrize("whole_group", [False, True], ids=["supervisor", "everybody"])
def test_a_signal_drains_all_workers(fresh_store: Store, start_gateway: StartGateway, whole_group: bool) -> None:
    """After SIGTERM, or Ctrl-C, which a terminal sends to all processes, requests in progress are finished, and the status is 0."""
    gateway = start_gateway(fresh_store, "--workers", "2")
    gateway.client().create_bucket(Bucket="bucket")
    workers = gateway.workers()
    with two_sides(gateway) as opened:
        for line in opened:
            line.send("PUT", path_of("bucket", "key"), 6, b"abc")
        time.sleep(0.3)
        if whole_group:
            for pid in (*workers, gateway.process.process.pid):
                os.kill(pid, signal.SIGINT)
        else:
            gateway.process.process.terminate()
        eventually(lambda: port_is_free(gateway.process.port))
        for line in opened:
            line.http.sock.sendall(b"def")
            assert line.answer()[0] == 200
        assert gateway.process.process.wait(SOON) == 0

    log = gateway.process.log()
    assert log.count(" operation=PutObject ") == 2
    assert log.rstrip().endswith("stopped")
    assert "Traceback" not in log
    assert not any(runs(pid) for pid in workers)
