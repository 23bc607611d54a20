"""The gateway's long-lived parts, built from settings: the only place where one knows the others' constructors."""

import asyncio
import logging
import sys
from collections.abc import Callable
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from s4_codecs import DeviceCall, DispatchRules, device_calls

from s4_gateway.auth.authenticate import Authenticator
from s4_gateway.backend.abc import Backend
from s4_gateway.client_keys import ClientKeys, client_keys
from s4_gateway.compression import Machine, check_codecs, default_options, encoding_on, look_at_machine, read_rules, small_batching
from s4_gateway.errors import SettingsError
from s4_gateway.objects.encoding import Encoding
from s4_gateway.objects.options import StoreOptions
from s4_gateway.objects.store import ObjectStore
from s4_gateway.observe import AccessLog, Metrics
from s4_gateway.observe.backend import ObservedBackend
from s4_gateway.observe.board import Place
from s4_gateway.observe.census import Census
from s4_gateway.observe.lines import ByteSink
from s4_gateway.observe.switchboard import Switchboard
from s4_gateway.settings import Settings
from s4_gateway.state.cache import AttributeCache
from s4_gateway.state.journal import Journal

if TYPE_CHECKING:
    from s4_gateway.backend.local import DirectoryLock
    from s4_gateway.backend.s3.credentials import Credentials

logger = logging.getLogger(__name__)

SPARE_CONNECTIONS = 64
"""Connections to the backend beside one for each client connection."""
CACHE_BYTES, LEAST_CACHE_BYTES = 32 << 20, 8 << 20
"""Attributes in memory, of all workers together, and of one at least; a small object's are about 400 bytes."""
STRAGGLER_SECONDS = 5.0
"""Requests cancelled at the end of the drain get so long to abort what they opened, before the backend is closed under them."""


@dataclass(slots=True)
class Services:
    """Everything a request may need. `start` before the first one, `close` after the last."""

    settings: Settings
    backend: Backend
    store: ObjectStore
    keys: ClientKeys
    authenticator: Authenticator
    metrics: Metrics
    access_log: AccessLog
    switchboard: Switchboard | None = None
    """To the other workers; None = this process is alone."""
    census: Census | None = None
    """Sums the metrics of all workers."""
    machine: Machine = field(default_factory=lambda: Machine(None))
    """What there is to encode with."""
    failure: BaseException | None = None
    """Why `start` failed; web servers only tell that it did."""
    _open: ExitStack = field(default_factory=ExitStack)
    _requests: int = 0
    _idle: asyncio.Event = field(default_factory=asyncio.Event)

    async def start(self) -> None:
        """Open backend, then state.

        Raises:
            BackendError, SettingsError, OSError: whatever makes serving impossible; kept in `failure` too.
        """
        try:
            await self.backend.start()
            try:
                await self.store.start()
                if self.switchboard is not None and self.census is not None:
                    self.switchboard.start()
                    await self.census.start()
                self._open.enter_context(device_calls.observed(_in_loop(self.metrics.device_called)))
            except BaseException:
                await self.backend.close()
                raise
        except BaseException as error:
            self.failure = error
            raise

    async def close(self) -> None:
        """Wait a little for cancelled requests, then close everything, in the reverse order, whatever fails."""
        if self._requests:
            self._idle.clear()
            try:
                async with asyncio.timeout(STRAGGLER_SECONDS):
                    await self._idle.wait()
            except TimeoutError:
                logger.warning("%d requests did not end when told to", self._requests)
        for closing in (self.store.close, self.backend.close, self.access_log.close):
            try:
                await closing()
            except Exception:
                logger.exception("closing failed")
        self._open.close()
        if self.switchboard is not None and self.census is not None:
            self.switchboard.close()
            await self.census.close()

    def reload(self) -> None:
        """Read the dispatch rules again, where there are some. Rules that cannot be used change nothing, and are told in the log."""
        if self.settings.compression.dispatch_rules is None:
            return
        try:
            rules = read_rules(self.settings)
            check_codecs(self.machine, rules, self.settings.gpu)
        except SettingsError as error:
            logger.error("the rules stay as they were: %s", error)
            self.metrics.rules_read("error")
            return
        self.store.core.encoding.follow(rules)
        logger.info("the rules were read again: %d of them", len(rules.rules))
        self.metrics.rules_read("ok")

    async def metrics_text(self) -> bytes:
        """What /metrics answers: the figures of all workers."""
        return self.metrics.render() if self.census is None else await self.census.render()

    def request_began(self) -> None:
        """Count a request until `request_ended`."""
        self._requests += 1
        self.metrics.in_flight = self._requests

    def request_ended(self) -> None:
        """One that was counted is over."""
        self._requests -= 1
        self.metrics.in_flight = self._requests
        if not self._requests:
            self._idle.set()


@dataclass(frozen=True, slots=True)
class Plan:
    """What is found out once, before any worker is forked: who may sign, and with what the backend is asked."""

    settings: Settings
    keys: ClientKeys
    credentials: "Credentials | None"
    rules: DispatchRules
    lock: "DirectoryLock | None" = None
    """Of an embedded store, held by the supervisor and all its workers."""

    def locked(self) -> "Plan":
        """The same with everything taken that a gateway takes once, whatever the number of its workers. Call it before they are forked.

        Raises:
            BackendError: another gateway serves the embedded store.
        """
        directory = self.settings.backend.data_dir
        if directory is None:
            return self
        from s4_gateway.backend.local import DirectoryLock  # noqa: PLC0415

        lock = DirectoryLock(directory)
        lock.acquire()
        return replace(self, lock=lock)

    def services(self, place: Place | None = None, *, log_stream: ByteSink | None = None) -> Services:
        """The parts of one process. Nothing is opened yet.

        Args:
            place: of this worker; None = it is alone.
            log_stream: takes the access log; None = standard error.

        Raises:
            SettingsError: a codec is not available here.
            OSError: the state directory cannot be made.
        """
        settings = self.settings.of_one_worker()
        metrics = Metrics()
        rules = self._rules_now() if place is not None else self.rules
        machine = look_at_machine(rules, settings.gpu)
        encoding = encoding_on(machine, rules, settings.gpu)
        if machine.gpu is not None and (place is None or place.number == 0):
            logger.info("GPU: %s", machine.gpu)
        backend = build_backend(settings, metrics, self.credentials, lock=self.lock)
        services = assemble(
            settings,
            backend,
            self.keys,
            metrics=metrics,
            state_dir=settings.state_dir,
            log_stream=log_stream,
            place=place,
            encoding=encoding,
        )
        services.machine = machine
        return services

    def _rules_now(self) -> DispatchRules:
        """The rules as a worker finds them: one that is started later must not go back to what they were."""
        try:
            return read_rules(self.settings)
        except SettingsError as error:
            logger.warning("%s; a new worker takes the rules of the start", error)
            return self.rules


def plan_services(settings: Settings) -> Plan:
    """Look up credentials, which may ask the network, and client keys; load the code of the backend.

    Raises:
        SettingsError: a setting cannot be used; the message names it.
    """
    rules = read_rules(settings)
    credentials = find_backend_credentials(settings)
    # Loaded before workers are forked, the code is in memory once.
    if settings.backend.data_dir is not None:
        import s4_gateway.backend.local  # noqa: PLC0415
    else:
        import s4_gateway.backend.s3.client  # noqa: F401, PLC0415
    return Plan(settings, client_keys(settings, credentials), credentials, rules)


def find_backend_credentials(settings: Settings) -> "Credentials | None":
    """The keys that the backend is asked with; None for the embedded one.

    Raises:
        SettingsError: no keys are found.
    """
    if settings.backend.data_dir is not None:
        return None
    from s4_gateway.backend.s3.credentials import find_credentials  # noqa: PLC0415 - botocore takes long to load

    return find_credentials()


def build_backend(
    settings: Settings, metrics: Metrics, credentials: "Credentials | None", *, lock: "DirectoryLock | None" = None
) -> Backend:
    """The store that the settings name.

    Args:
        settings: checked.
        metrics: told of each request to it.
        credentials: what an S3 endpoint is asked with.
        lock: of an embedded store's directory, where others of our processes use it too.
    """
    if settings.backend.data_dir is not None:
        from s4_gateway.backend.local import LocalBackend  # noqa: PLC0415 - each start needs one of the two

        return ObservedBackend(LocalBackend(settings.backend.data_dir, lock=lock), metrics.backend_called)
    from s4_gateway.backend.s3.client import S3Backend  # noqa: PLC0415
    from s4_gateway.backend.s3.options import S3Options  # noqa: PLC0415

    assert settings.backend.endpoint_url is not None
    assert credentials is not None
    options = S3Options(
        endpoint_url=settings.backend.endpoint_url,
        region=settings.backend.region,
        # Each client may wait for one download, and a write needs one beside it.
        connections=settings.listen.max_concurrent_connections + SPARE_CONNECTIONS,
    )
    return S3Backend(options, credentials, observe=metrics.backend_called)


def assemble(
    settings: Settings,
    backend: Backend,
    keys: ClientKeys,
    *,
    metrics: Metrics,
    state_dir: Path | None,
    log_stream: ByteSink | None = None,
    options: StoreOptions | None = None,
    place: Place | None = None,
    encoding: Encoding | None = None,
) -> Services:
    """Services over a backend that is there already.

    Args:
        settings: checked; `backend` and `keys` count where they differ.
        backend: started and closed by the services.
        keys: who may sign.
        metrics: shared with the backend.
        state_dir: made if it is missing; None = all state in memory.
        log_stream: takes the access log; None = standard error.
        options: of the object layer; None = as the settings say.
        place: of this worker; None = it is alone.
        encoding: how each object is encoded; None = as the options say.
    """
    if state_dir is not None:
        state_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        settings.spool_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    switchboard = Switchboard(place) if place is not None else None
    return Services(
        settings=settings,
        backend=backend,
        store=ObjectStore(
            backend,
            options=options or store_options(settings),
            cache=AttributeCache(state_dir and state_dir / "attributes.sqlite", memory_bytes=_cache_bytes(place)),
            journal=Journal(state_dir and state_dir / "journal.sqlite"),
            switchboard=switchboard,
            encoding=encoding,
            tell_batches=metrics.small_batched,
        ),
        keys=keys,
        authenticator=Authenticator(keys.keys),
        metrics=metrics,
        access_log=AccessLog(log_stream or sys.stderr.buffer, settings.log.log_format, dropped=metrics.lines_dropped),
        switchboard=switchboard,
        census=Census(metrics, switchboard) if switchboard is not None else None,
    )


def _in_loop(tell: Callable[[DeviceCall], None]) -> Callable[[DeviceCall], None]:
    """`tell`, called on this event loop's thread whatever thread it is called on; not at all once the loop is closed."""
    loop = asyncio.get_running_loop()

    def told(call: DeviceCall) -> None:
        with suppress(RuntimeError):
            loop.call_soon_threadsafe(tell, call)

    return told


def _cache_bytes(place: Place | None) -> int:
    """Of attributes in this process's memory."""
    return CACHE_BYTES if place is None else max(LEAST_CACHE_BYTES, CACHE_BYTES // place.board.count)


def store_options(settings: Settings) -> StoreOptions:
    """Settings as the object layer wants them."""
    compression, resources = settings.compression, settings.resources
    return StoreOptions(
        encode=default_options(compression),
        small_batching=small_batching(settings.gpu),
        sidecars=compression.sidecars,
        memory_bytes=resources.memory_bytes,
        spool_bytes=resources.spool_bytes,
        spool_dir=str(settings.spool_dir),
        staging_bucket=settings.backend.staging_bucket,
    )
