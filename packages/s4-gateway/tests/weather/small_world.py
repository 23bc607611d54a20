"""Two gateways in front of one store, small enough that a schedule takes milliseconds: the same code with limits of kilobytes."""

import asyncio
import contextlib
import hashlib
import math
import time
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import Any
from unittest.mock import patch
from urllib.parse import urlencode

from s4_codecs import policy
from s4_format import CodecId

from s4_gateway.backend.abc import Capabilities
from s4_gateway.backend.s3 import S3Backend, S3Options, StaticCredentials
from s4_gateway.objects import body, put, reader
from s4_gateway.objects.options import StoreOptions
from s4_gateway.objects.uploads import manifest
from s4_gateway.sigv4 import Signer
from s4_gateway.testing.client import ACCESS_KEY, HOST, SECRET_KEY, Answer, GatewayClient, make_gateway
from s4_gateway.testing.exchange import KEYS, Received, Reply
from s4_gateway.testing.mini_s3 import MiniS3, Quirks
from s4_gateway.testing.weather.content import KILOBYTES
from s4_gateway.testing.weather.oracle import Violation
from s4_gateway.testing.weather.play import Tally, play
from s4_gateway.testing.weather.schedule import CLIENTS, Schedule
from s4_gateway.testing.weather.sky import Sky

from .line import Network
from .still import Clock, StillLoop, run_still

KIB = 1024
DAY = 86400.0
SETTLED_DAYS = 3
"""After so long nothing of an ended upload may be left."""
BUCKET = "bucket"

# Limits of the sizes that clients really send, brought down to what a schedule sends. What is left alone has no limit of its own.
SCALE: Sequence[tuple[Any, str, object]] = (
    (put, "BUFFERED_LIMIT", 16 * KIB),
    (put, "AT_ONCE_BYTES", KIB),
    (body, "AT_ONCE_BYTES", KIB),
    (reader, "SUFFIX_BYTES", 2 * KIB),
    (manifest, "MIN_LOGICAL_PART", KILOBYTES.smallest_part),
    (policy, "DEFAULT_FRAME_BYTES", 4 * KIB),
    (policy, "_CODEC_FRAME_BYTES", {CodecId.PASSTHROUGH: 4 * KIB}),
)
OPTIONS = StoreOptions(sidecar_above=8 * KIB, part_size=8 * KIB, inline_below=2**40, sweep_seconds=10**9)


@dataclass(frozen=True, slots=True)
class Kind:
    """What a store is like."""

    min_part_size: int
    opaque_etags: bool = False
    """ETags are no digests, as where the store encrypts."""
    quirks: Quirks = Quirks()

    def store(self, clock: Clock) -> MiniS3:
        """An empty one."""
        return MiniS3(Capabilities(min_part_size=self.min_part_size), self.quirks, clock=clock.time, opaque_etags=self.opaque_etags)


STORES = (
    Kind(min_part_size=4 * KIB),
    Kind(min_part_size=4 * KIB, opaque_etags=True),
    Kind(min_part_size=0),
    Kind(min_part_size=4 * KIB, quirks=Quirks(confirms_again=True)),
)
"""Schedules take one after the other."""


class SmallBackend(S3Backend):
    """The real client, told how small parts may be: finding out takes more requests than a schedule."""

    min_part_size = 0

    @property
    def capabilities(self) -> Capabilities:
        return replace(super().capabilities, min_part_size=self.min_part_size)


class SmallClient:
    """Signed requests to a gateway in this process."""

    def __init__(self, gateway: GatewayClient) -> None:
        self._gateway = gateway
        self._signer = Signer(ACCESS_KEY, SECRET_KEY)

    async def send(self, method: str, key: str, *, query: Mapping[str, str], headers: Mapping[str, str], body: bytes) -> Answer:
        path = f"/{BUCKET}/{key}" if key else f"/{BUCKET}"
        raw_query = urlencode(query)
        sent = {"host": HOST, "content-length": str(len(body)), **headers}
        hashed = hashlib.sha256(body).hexdigest()
        signed = self._signer.sign(method, path, raw_query, headers=sent, payload_hash=hashed, when=time.time())
        return await self._gateway.request(method, path=path, query=query, headers=signed, body=body, signed=False)


class SmallWorld:
    """A store, the weather over it, and two gateways."""

    bucket = BUCKET
    scale = KILOBYTES

    def __init__(self, clock: Clock, loop: StillLoop, kind: Kind) -> None:
        self.sky = Sky()
        self.clients: Sequence[SmallClient] = ()
        self.gateways: list[GatewayClient] = []
        self.store = kind.store(clock)
        self._kind = kind
        self._clock = clock
        self._network = Network(loop, self.sky, self._answer)

    async def _answer(self, request: Received) -> Reply:
        return await self.store(request)

    async def wait(self, seconds: float) -> None:
        await asyncio.sleep(seconds)

    async def settle(self) -> None:
        await self._network.deliver_late()
        for gateway in self.gateways:
            await gateway.services.store.core.settle()

    async def clear_away(self) -> None:
        """End what is open as a tidy client would, and some days later look at what is left.

        Raises:
            Violation: records, or uploads of the store whose ids were told to a gateway.
        """
        client = self.clients[0]
        listed = await client.send("GET", "", query={"uploads": ""}, headers={}, body=b"")
        for upload in listed.xml.iter("Upload"):
            key, upload_id = upload.findtext("Key") or "", upload.findtext("UploadId") or ""
            answer = await client.send("DELETE", key, query={"uploadId": upload_id}, headers={}, body=b"")
            if answer.status != 204 and answer.code != "NoSuchUpload":
                raise Violation(f"an upload cannot be aborted: {answer.status} {answer.code}")
        await asyncio.sleep(SETTLED_DAYS * DAY)
        for gateway in self.gateways:
            await gateway.services.store.sweep()
        if self.sky.totals["ignored-condition"]:
            # Two gateways may have been told that each has published the store's upload; only one of them is recorded.
            self._network.opened.clear()
        page = self.store.store.page(BUCKET, prefix=".s4mpu/", delimiter="", start_after="", token=None, limit=1000)
        open_ones = [upload.upload_id for upload in self.store.store.uploads(BUCKET, "") if upload.upload_id in self._network.opened]
        if page.entries or open_ones:
            raise Violation(f"left behind: {[entry.key for entry in page.entries]}, uploads {open_ones}")

    @contextlib.asynccontextmanager
    async def started(self) -> AsyncIterator[None]:
        """With both gateways up and the bucket made."""
        self.store.store.create_bucket(BUCKET, None)
        options = S3Options("http://store:1", read_timeout=20.0, commit_timeout=60.0)
        async with contextlib.AsyncExitStack() as stack:
            for _ in range(CLIENTS):
                # Without a right to list buckets there is nothing to try out, now or later.
                self.store.quirks = replace(self.store.quirks, hides_buckets=True)
                backend = SmallBackend(options, StaticCredentials(KEYS))
                backend.min_part_size = self._kind.min_part_size
                gateway = await stack.enter_async_context(make_gateway(backend, options=OPTIONS))
                services = gateway.services
                backend._learn_again = math.inf
                # Bound before the clocks were stopped.
                services.authenticator._clock = self._clock.time
                services.store.core.journal._clock = self._clock.time
                self.gateways.append(gateway)
            self.store.quirks = replace(self.store.quirks, hides_buckets=False)
            self.clients = [SmallClient(gateway) for gateway in self.gateways]
            yield


@contextlib.contextmanager
def scaled() -> Iterator[None]:
    """Limits at the scale of schedules."""
    with ExitStack() as stack:
        for place, name, value in SCALE:
            stack.enter_context(patch.object(place, name, value))
        yield


def play_small(schedule: Schedule, tally: Tally | None = None) -> None:
    """Play a schedule in a world of its own.

    Raises:
        Violation: as `play.play`.
    """

    async def main(clock: Clock, loop: StillLoop) -> None:
        world = SmallWorld(clock, loop, STORES[schedule.seed % len(STORES)])
        async with world.started():
            await play(schedule, world, tally)
            await world.clear_away()

    with scaled():
        run_still(schedule.seed, main)
