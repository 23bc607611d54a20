"""Two gateways over one store, each with a cache of its own; either can be restarted, and others write to the store behind their backs."""

import asyncio
import shutil
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field, replace
from hashlib import sha1
from pathlib import Path
from random import Random
from typing import Any, Protocol

from s4_codecs import EncodeOptions

from s4_gateway.backend.abc import Backend, Capabilities
from s4_gateway.backend.local import LocalBackend
from s4_gateway.backend.memory import MemoryBackend
from s4_gateway.backend.memory_store import MemoryStore
from s4_gateway.backend.s3 import S3Backend, StaticCredentials
from s4_gateway.objects.options import StoreOptions
from s4_gateway.testing.client import GatewayClient, make_gateway
from s4_gateway.testing.mini_s3 import MiniS3

from ..backend.s3.server import KEYS, Server, options  # noqa: TID252 - tests are no package that could be named


class Clock:
    """The store's: it stands still unless it is moved, so that things happen within one second. Long past, so that every record is old
    enough to be swept.
    """

    def __init__(self, now: float) -> None:
        self.now = int(now)

    def __call__(self) -> float:
        return float(self.now)


class Store(Protocol):
    """One kind of store, whose state outlives its clients."""

    grain: int
    """Seconds by which the answer to a write may miss its time."""

    async def open(self) -> None: ...

    async def close(self) -> None: ...

    async def client(self) -> Backend:
        """A backend for one gateway, which starts and closes it."""
        ...

    @property
    def behind(self) -> Backend:
        """A started backend of nobody's."""
        ...


class _Lasting:
    """A backend that a gateway does not close."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend

    def __getattr__(self, name: str) -> Any:
        return getattr(self._backend, name)

    async def start(self) -> None:
        pass

    async def close(self) -> None:
        pass


class _Hashing(MemoryStore):
    """Its ETags are digests of the stored bytes, but no MD5s, as those of some stores."""

    def _etag(self, plain: str) -> str:
        return sha1(plain.encode()).hexdigest()


class _Unsteady(MemoryBackend):
    """One that takes its time, now more and now less, so that requests overtake each other."""

    def __init__(self, store: MemoryStore, random: Random) -> None:
        super().__init__(store=store)
        self._random = random

    @asynccontextmanager
    async def _request(self, operation: str) -> AsyncIterator[None]:
        await self._wait()
        async with super()._request(operation):
            yield
        await self._wait()

    async def _wait(self) -> None:
        for _ in range(self._random.choice((0, 0, 1, 2, 5, 20))):
            await asyncio.sleep(0)


class InMemory:
    """The memory store, whose answers are those of S3.

    Args:
        has_md5s: whether ETags are MD5s.
        random: how long requests take; None = all alike.
    """

    grain = 0

    def __init__(self, clock: Clock, capabilities: Capabilities, *, has_md5s: bool, random: Random | None = None) -> None:
        self._random = random
        self._store = (MemoryStore if has_md5s else _Hashing)(capabilities, clock=clock, opaque_etags=False)
        self.behind: Backend = MemoryBackend(store=self._store)

    async def open(self) -> None:
        pass

    async def close(self) -> None:
        pass

    async def client(self) -> Backend:
        return MemoryBackend(store=self._store) if self._random is None else _Unsteady(self._store, self._random)


class Local:
    """The embedded store; one process has it open, so the gateways share it as workers' requests do."""

    grain = 0

    def __init__(self, clock: Clock, folder: Path) -> None:
        self._backend = LocalBackend(folder, clock=clock)

    @property
    def behind(self) -> Backend:
        return self._backend

    async def open(self) -> None:
        await self._backend.start()

    async def close(self) -> None:
        await self._backend.close()

    async def client(self) -> Backend:
        return _Lasting(self._backend)  # type: ignore[return-value]


class _Scaled(S3Backend):
    """The client of a store with a smaller least part size than every S3 has."""

    min_part_size: int

    @property
    def capabilities(self) -> Capabilities:
        return replace(super().capabilities, min_part_size=self.min_part_size)


class OverHttp:
    """A small S3 behind a socket, and the client that the gateway has for it: signatures, XML and headers both ways."""

    grain = 2

    def __init__(self, clock: Clock, capabilities: Capabilities) -> None:
        self._mini = MiniS3(capabilities, clock=clock)
        self._capabilities = capabilities
        self._server = Server(self._mini)
        self.behind: Backend = MemoryBackend(store=self._mini.store)

    async def open(self) -> None:
        self._server = Server(self._mini)
        await self._server.start()

    async def close(self) -> None:
        await self._server.close()

    async def client(self) -> Backend:
        backend = _Scaled(options(self._server.url), StaticCredentials(KEYS))
        backend.min_part_size = self._capabilities.min_part_size
        return backend


@dataclass(slots=True)
class World:
    """All that a history plays in."""

    store: Store
    clock: Clock
    folder: Path
    options: StoreOptions
    keeps_state: bool
    """Whether the gateways have state files."""
    buckets: Sequence[str]
    """What is there before they start."""
    gateways: list[GatewayClient] = field(default_factory=list)
    _closing: list[AsyncExitStack] = field(default_factory=list)

    async def open(self) -> None:
        """Start the store, then both gateways."""
        await self.store.open()
        for bucket in self.buckets:
            await self.store.behind.create_bucket(bucket)
        for number in range(2):
            self.gateways.append(None)  # type: ignore[arg-type]
            self._closing.append(AsyncExitStack())
            await self._start(number)

    async def close(self) -> None:
        """The reverse."""
        for stack in self._closing:
            await stack.aclose()
        await self.store.close()

    async def restart(self, number: int, *, lose: bool) -> None:
        """Stop a gateway and start it again, with its state files or without."""
        await self._closing[number].aclose()
        if lose:
            shutil.rmtree(self._state(number), ignore_errors=True)
        await self._start(number)

    async def reopen(self) -> None:
        """Stop everything, the store too, and start it again."""
        await self.close()
        await self.store.open()
        for number in range(2):
            await self._start(number)

    def _state(self, number: int) -> Path:
        return self.folder / f"state-{number}"

    async def _start(self, number: int) -> None:
        stack = self._closing[number] = AsyncExitStack()
        state = self._state(number) if self.keeps_state else None
        gateway = make_gateway(await self.store.client(), options=self.options, state_dir=state)
        self.gateways[number] = await stack.enter_async_context(gateway)


def store_options(*, part_size: int, frame_size: int) -> StoreOptions:
    """Options of a gateway whose limits are as small as its test's bodies; records are looked up every time."""
    return StoreOptions(
        encode=EncodeOptions(),
        sidecar_above=part_size // 2,
        part_size=part_size,
        inline_below=2 * frame_size,
        spool_memory=2 * part_size,
        upload_record_ttl=0.0,
    )


@asynccontextmanager
async def opened(world: World) -> AsyncIterator[World]:
    """A started world, closed at the end."""
    await world.open()
    try:
        yield world
    finally:
        await world.close()
