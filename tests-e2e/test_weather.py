"""Seeded schedules of faults over real stores and sockets: each outcome is right or an error, as in the unit tests' thousands."""

import asyncio
import http.client
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from urllib.parse import urlencode

import pytest
from clients.wire import Wire, path_of
from conftest import StartGateway
from s4_gateway.testing.client import Answer, BrokenOff
from s4_gateway.testing.weather.content import MEGABYTES
from s4_gateway.testing.weather.oracle import Violation
from s4_gateway.testing.weather.play import Tally, play
from s4_gateway.testing.weather.schedule import CLIENTS, Schedule
from s4_gateway.testing.weather.sky import Sky
from servers.process import HOST
from servers.stores import Store
from servers.weather import PLAYED, Weather

pytestmark = pytest.mark.servers("versitygw", "minio")

SECONDS = 16.0
"""How long schedules are begun; at least `LEAST` are, and at most `MOST`."""
LEAST, MOST = 4, 24
PAUSE = 1.1
"""Longest pause: only the second of an object's date has to change."""


class SocketClient:
    """Signed requests over a new connection each, from a thread."""

    def __init__(self, wire: Wire, bucket: str) -> None:
        self._wire = wire
        self._bucket = bucket

    async def send(self, method: str, key: str, *, query: Mapping[str, str], headers: Mapping[str, str], body: bytes) -> Answer:
        path = path_of(self._bucket, key, urlencode(query))
        try:
            answer = await asyncio.to_thread(self._wire.request, method, path, body, headers)
        except (http.client.HTTPException, ConnectionError) as error:
            raise BrokenOff(None) from error
        return Answer(answer.status, tuple(answer.headers.items()), answer.body)


class RealWorld:
    """A store, the weather in front of it, and two gateways that see it through the weather."""

    scale = MEGABYTES

    def __init__(self, weather: Weather, wires: Sequence[Wire], bucket: str) -> None:
        self.bucket = bucket
        self.sky = weather.sky
        self.clients = [SocketClient(wire, bucket) for wire in wires]
        self._weather = weather

    async def wait(self, seconds: float) -> None:
        await asyncio.sleep(min(seconds, PAUSE))

    async def settle(self) -> None:
        await self._weather.deliver_late()
        await asyncio.sleep(0.2)


async def test_schedules(store: Store, start_gateway: StartGateway) -> None:
    """What was acknowledged is there byte for byte, nothing that nobody wrote is seen, and under a clear sky everything can be read."""
    assert store.process is not None
    weather, tally, began = Weather(store.process.port, Sky()), Tally(), time.monotonic()
    async with weather.over():
        behind = replace(store, arguments=("--endpoint-url", f"http://{HOST}:{weather.port}"))
        gateways = [await asyncio.to_thread(start_gateway, behind) for _ in range(CLIENTS)]
        wires = [Wire(gateway.endpoint, gateway.access_key, gateway.secret_key) for gateway in gateways]
        for seed in range(MOST):
            if seed >= LEAST and time.monotonic() - began > SECONDS:
                break
            bucket = f"weather-{seed}-{int(time.time())}"
            await asyncio.to_thread(wires[0].request, "PUT", path_of(bucket))
            schedule = Schedule.of(seed, PLAYED)
            weather.sky = Sky()
            try:
                await play(schedule, RealWorld(weather, wires, bucket), tally)
            except Violation as violation:
                pytest.fail(f"{violation}\n{chr(10).join(violation.__notes__)}\nseed {seed}\n{schedule.story()}")
            finally:
                await asyncio.to_thread(store.behind.remove_bucket, bucket)
    print(f"\n{tally.table()}\n{time.monotonic() - began:.0f} s")
