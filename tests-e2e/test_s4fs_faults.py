"""s4fs over a store that fails: every read is right or an error, every write is there or is not, and retries end."""

import asyncio
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from clients.filesystems import filesystem
from clients.multipart import MIB
from s4_codecs.testing.workloads import WORKLOADS
from s4_gateway.testing.weather.faults import TABLE
from s4_gateway.testing.weather.sky import Sky, Strike
from s4fs import FileChangedError, S4FileSystem
from servers.stores import Store
from servers.weather import PLAYED, Weather

pytestmark = pytest.mark.servers("versitygw")

LOG, NOISE = WORKLOADS["log"](8 * MIB), WORKLOADS["noise"](10 * MIB)
SMALL = LOG[: 300 * 1024]
DOSES = (3, 60)
"""How much of an answer comes through where one is cut."""
SEEN_THROUGH = [name for name in PLAYED if TABLE[name].lie is None]
READING = [name for name in SEEN_THROUGH if TABLE[name].hits & {"get", "range", "head"}]
WRITING = [name for name in SEEN_THROUGH if TABLE[name].hits & {"put", "part", "create", "complete"} and not TABLE[name].rival]
ONE_READ_SECONDS = 60.0


class Trouble:
    """The weather over a store, and the file system that is in it."""

    def __init__(self, weather: Weather, fs: S4FileSystem, loop: asyncio.AbstractEventLoop) -> None:
        self._weather = weather
        self._loop = loop
        self.fs = fs

    def strike(self, *strikes: Strike) -> None:
        """What goes wrong from now on."""
        self._loop.call_soon_threadsafe(self._weather.sky.begin, 0, strikes)

    def rival(self, action: Any) -> None:
        """What another client does in the midst of a read."""

        async def act() -> None:
            await asyncio.to_thread(action)

        self._weather.sky.rival = act

    @property
    def requests(self) -> int:
        return self._weather.sky.requests


@contextmanager
def troubled(store: Store, **options: Any) -> Iterator[Trouble]:
    """A proxy in front of the store, on a loop of its own."""
    assert store.process is not None
    weather, ready, done = Weather(store.process.port, Sky()), threading.Event(), threading.Event()
    loops: list[asyncio.AbstractEventLoop] = []

    async def serve() -> None:
        loops.append(asyncio.get_running_loop())
        async with weather.over():
            ready.set()
            await asyncio.to_thread(done.wait)

    thread = threading.Thread(target=lambda: asyncio.run(serve()))
    thread.start()
    ready.wait(10)
    try:
        yield Trouble(weather, filesystem(store, port=weather.port, **options), loops[0])
    finally:
        done.set()
        thread.join(10)


@pytest.fixture
def root(store: Store, bucket_name: str) -> Iterator[str]:
    """A bucket of the store's own."""
    store.behind.client.create_bucket(Bucket=bucket_name)
    yield bucket_name
    store.behind.remove_bucket(bucket_name)


@pytest.mark.parametrize("fault", READING)
def test_reads_are_right_or_errors(store: Store, root: str, fault: str) -> None:
    """Whatever happens to one request of a read, its bytes are the object's or there are none, and it ends in time."""
    direct = filesystem(store)
    direct.pipe_file(f"{root}/object", LOG)
    right, doses = 0, DOSES if "cut" in fault else DOSES[-1:]
    with troubled(store) as trouble:
        trouble.rival(lambda: direct.pipe_file(f"{root}/object", LOG))
        fs = trouble.fs
        for nth in (0, 1):
            for dose in doses:
                for start, stop in ((None, None), (5 * MIB, 6 * MIB)):
                    fs.invalidate_cache()
                    trouble.strike(Strike(fault, nth=nth, dose=dose))
                    started = time.monotonic()
                    try:
                        found = fs.cat_file(f"{root}/object", start, stop)
                    except OSError:
                        pass
                    else:
                        assert found == LOG[start:stop], (fault, nth, dose, start)
                        right += 1
                    assert time.monotonic() - started < ONE_READ_SECONDS
        trouble.strike()
        assert fs.cat_file(f"{root}/object") == LOG
    # One bad answer is seldom the end.
    assert right > 0 or TABLE[fault].say is not None


@pytest.mark.parametrize("fault", WRITING)
def test_writes_happen_or_do_not(store: Store, root: str, fault: str) -> None:
    """Whatever happens to one request of a write: if it says so, the object is there; whole, or as it was before."""
    direct = filesystem(store)
    with troubled(store) as trouble:
        for nth in (0, 1):
            for data in (SMALL, NOISE):
                direct.pipe_file(f"{root}/object", b"before")
                trouble.strike(Strike(fault, nth=nth))
                told = True
                try:
                    trouble.fs.pipe_file(f"{root}/object", data)
                except OSError:
                    told = False
                trouble.strike()
                found = direct.cat_file(f"{root}/object")
                assert found in ((data,) if told else (data, b"before")), (fault, nth, told)
        assert direct.find(root) == [f"{root}/object"]


def test_swapped_between_two_ranges(store: Store, root: str) -> None:
    """An object that another client replaces between two ranges of one file is FileChangedError, and never a mixture."""
    direct = filesystem(store)
    direct.pipe_file(f"{root}/object", LOG)
    with troubled(store) as trouble, trouble.fs.open(f"{root}/object") as file:
        assert file.read(1000) == LOG[:1000]
        direct.pipe_file(f"{root}/object", LOG[::-1])
        file.seek(4 * MIB)
        with pytest.raises(FileChangedError):
            file.read(1000)


def test_store_that_never_answers_well(store: Store, root: str) -> None:
    """Retries are bounded: a store that refuses everything is an error after some requests, in seconds."""
    direct = filesystem(store)
    direct.pipe_file(f"{root}/object", LOG)
    refusing = next(name for name in PLAYED if "503" in name or "slow" in name.lower())
    with troubled(store) as trouble:
        trouble.strike(Strike(refusing, times=10_000))
        with pytest.raises(OSError, match=r"."):
            trouble.fs.cat_file(f"{root}/object", 10, 20)
        assert trouble.requests < 60
