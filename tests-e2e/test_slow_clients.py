"""Many slow clients at once: they cost no more memory than they may, and whoever is not slow is served."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import pytest
from clients.multipart import MIB
from clients.slow import SlowClient, SlowClients
from clients.wire import UNSIGNED, Answer, Wire, path_of
from conftest import StartGateway
from s4_codecs.testing.workloads import WORKLOADS
from servers.gateways import Gateway
from servers.stores import Store

LIMIT = 256 * MIB
SLOW_BODY = 64 * MIB
LARGE = WORKLOADS["noise"](48 * MIB)
WATCHED_SECONDS = 12.0
PATIENCE_SECONDS = 10.0
"""A small request takes milliseconds; the rest is for a busy machine."""
TRANSFER_SECONDS = 50.0
"""A large one has to wait until slow clients were found to be slow, and may be told to come again after 20 seconds."""


@pytest.fixture
def own(store: Store, fresh_store: Store, start_gateway: StartGateway) -> Gateway:
    """A gateway of the test's own, so that its peak is this test's: over the shared server, or over an embedded store of its own."""
    return start_gateway(store if store.shared else fresh_store)


def slow_clients(wire: Wire, bucket: str, count: int) -> list[SlowClient]:
    """So many, each kind as often."""
    put = {"content-length": str(SLOW_BODY)}
    get = wire.head_of("GET", path_of(bucket, "large"))
    small = wire.head_of("GET", path_of(bucket, "small"))
    kinds: list[Callable[[int], SlowClient]] = [
        lambda number: SlowClient("head", b"GET /slow HTTP/1.1\r\nHost: h\r\n", trickle=[b"X: y\r\n"]),
        lambda number: SlowClient("body", wire.head_of("PUT", path_of(bucket, f"slow {number}"), put), trickle=[b"x" * 1024]),
        lambda number: SlowClient("burst", wire.head_of("PUT", path_of(bucket, f"burst {number}"), put) + b"x" * 300_000, trickle=[b"x"]),
        lambda number: SlowClient("reader", get, reads=4096),
        lambda number: SlowClient("idle", small, reads=65536),
    ]
    return [kinds[number % len(kinds)](number) for number in range(count)]


@dataclass(slots=True)
class Healthy:
    """A client that is not slow, and how long it waited."""

    wire: Wire
    bucket: str
    worst: dict[str, float] = field(default_factory=dict)
    served: int = 0

    @contextmanager
    def timed(self, what: str) -> Iterator[None]:
        began = time.monotonic()
        yield
        took = time.monotonic() - began
        self.worst[what] = max(took, self.worst.get(what, 0.0))
        self.served += 1

    def round(self) -> None:
        """One request of each kind; each must succeed."""
        wire, bucket = self.wire, self.bucket
        with self.timed("GET 4 KiB"):
            assert wire.request("GET", path_of(bucket, "small")).body == LARGE[:4096]
        with self.timed("PUT 64 KiB"):
            assert wire.request("PUT", path_of(bucket, "healthy"), LARGE[:65536], payload_hash=UNSIGNED).status == 200
        with self.timed("range 64 KiB"):
            answer = wire.request("GET", path_of(bucket, "large"), headers={"range": f"bytes={MIB}-{MIB + 65535}"})
            assert answer.body == LARGE[MIB : MIB + 65536], answer.status
        with self.timed("List"):
            assert wire.request("GET", path_of(bucket, query="list-type=2")).status == 200

    def transfer(self) -> None:
        """A large upload and a large download."""
        wire, bucket = self.wire, self.bucket
        with self.timed("PUT 48 MiB"):
            answer = self.tried(lambda: wire.request("PUT", path_of(bucket, "healthy large"), LARGE, payload_hash=UNSIGNED))
            assert answer.status == 200, answer
        with self.timed("GET 48 MiB"):
            answer = self.tried(lambda: wire.request("GET", path_of(bucket, "large")))
            assert answer.body == LARGE

    @staticmethod
    def tried(request: Callable[[], Answer]) -> Answer:
        """The answer, of the last attempt of three where it is SlowDown: SDKs try as often at their defaults, and more."""
        for _ in range(2):
            answer = request()
            if answer.status != 503:
                return answer
        return request()


@pytest.mark.servers("embedded", "minio")
def test_healthy_clients_are_served(own: Gateway, bucket_name: str, full: bool) -> None:
    """Hundreds of half-sent heads, trickling bodies, unread answers and idle connections: memory is bounded, and others do not wait."""
    slow_count = 1000 if full else 300
    wire = Wire(own.endpoint, own.access_key, own.secret_key)
    own.client().create_bucket(Bucket=bucket_name)
    for key, body in (("large", LARGE), ("small", LARGE[:4096])):
        assert wire.request("PUT", path_of(bucket_name, key), body, payload_hash=UNSIGNED).status == 200
    host, _, port = wire.host.partition(":")
    slow = SlowClients((host, int(port)), slow_clients(wire, bucket_name, slow_count))
    healthy = Healthy(wire, bucket_name)
    with slow.running():
        deadline = time.monotonic() + WATCHED_SECONDS
        while time.monotonic() < deadline:
            healthy.round()
        healthy.transfer()
        alive = slow.alive()
    print(f"{healthy.served} healthy requests, worst {healthy.worst}, {alive=}, peak {own.peak_memory() >> 20} MiB")
    assert alive["head"] == alive["idle"] == slow_count // 5
    for what, seconds in healthy.worst.items():
        assert seconds < (TRANSFER_SECONDS if "48 MiB" in what else PATIENCE_SECONDS), what
    assert own.peak_memory() < LIMIT
    own.behind.remove_bucket(bucket_name)
