"""The gateway's long-lived parts, built from settings: the only place where one knows the others' constructors."""

import asyncio
import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from s4_codecs import EncodeOptions

from s4_gateway.auth.authenticate import Authenticator
from s4_gateway.backend.abc import Backend
from s4_gateway.client_keys import ClientKeys, client_keys
from s4_gateway.objects.options import StoreOptions
from s4_gateway.objects.store import ObjectStore
from s4_gateway.observe import AccessLog, Metrics
from s4_gateway.observe.backend import ObservedBackend
from s4_gateway.settings import Settings
from s4_gateway.state.cache import AttributeCache
from s4_gateway.state.journal import Journal

if TYPE_CHECKING:
    from s4_gateway.backend.s3.credentials import Credentials

logger = logging.getLogger(__name__)

SPARE_CONNECTIONS = 64
"""Connections to the backend beside one for each client connection."""
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
    failure: BaseException | None = None
    """Why `start` failed; web servers only tell that it did."""
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

    @contextmanager
    def in_flight(self) -> Iterator[None]:
        """Around one request."""
        self._requests += 1
        self.metrics.in_flight = self._requests
        try:
            yield
        finally:
            self._requests -= 1
            self.metrics.in_flight = self._requests
            if not self._requests:
                self._idle.set()


def build_services(settings: Settings, *, log_stream: BinaryIO | None = None) -> Services:
    """The parts of a gateway with these settings. Nothing is opened yet, but credentials are looked up, which may ask the network.

    Args:
        settings: checked.
        log_stream: takes the access log; None = standard error.

    Raises:
        SettingsError: a setting cannot be used; the message names it.
    """
    metrics = Metrics()
    backend, credentials = build_backend(settings, metrics)
    keys = client_keys(settings, credentials)
    return assemble(settings, backend, keys, metrics=metrics, state_dir=settings.state_dir, log_stream=log_stream)


def build_backend(settings: Settings, metrics: Metrics) -> "tuple[Backend, Credentials | None]":
    """The store that the settings name, and the keys that it is asked with; None for the embedded one.

    Raises:
        SettingsError: no keys are found.
    """
    if settings.backend.data_dir is not None:
        from s4_gateway.backend.local import LocalBackend  # noqa: PLC0415 - each start needs one of the two

        return ObservedBackend(LocalBackend(settings.backend.data_dir), metrics.backend_called), None
    # botocore takes longer to load than an embedded store takes to start.
    from s4_gateway.backend.s3.client import S3Backend  # noqa: PLC0415
    from s4_gateway.backend.s3.credentials import find_credentials  # noqa: PLC0415
    from s4_gateway.backend.s3.options import S3Options  # noqa: PLC0415

    assert settings.backend.endpoint_url is not None
    credentials = find_credentials()
    options = S3Options(
        endpoint_url=settings.backend.endpoint_url,
        region=settings.backend.region,
        # Each client may wait for one download, and a write needs one beside it.
        connections=settings.listen.max_concurrent_connections + SPARE_CONNECTIONS,
    )
    return S3Backend(options, credentials, observe=metrics.backend_called), credentials


def assemble(
    settings: Settings,
    backend: Backend,
    keys: ClientKeys,
    *,
    metrics: Metrics,
    state_dir: Path | None,
    log_stream: BinaryIO | None = None,
    options: StoreOptions | None = None,
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
    """
    if state_dir is not None:
        state_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        settings.spool_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    return Services(
        settings=settings,
        backend=backend,
        store=ObjectStore(
            backend,
            options=options or store_options(settings),
            cache=AttributeCache(state_dir and state_dir / "attributes.sqlite"),
            journal=Journal(state_dir and state_dir / "journal.sqlite"),
        ),
        keys=keys,
        authenticator=Authenticator(keys.keys),
        metrics=metrics,
        access_log=AccessLog(log_stream or sys.stderr.buffer, settings.log.log_format, dropped=metrics.lines_dropped),
    )


def store_options(settings: Settings) -> StoreOptions:
    """Settings as the object layer wants them."""
    compression, resources = settings.compression, settings.resources
    return StoreOptions(
        encode=EncodeOptions(codec=compression.codec, zstd_level=compression.zstd_level, dispatcher=compression.dispatcher),
        sidecars=compression.sidecars,
        memory_bytes=resources.memory_bytes,
        spool_bytes=resources.spool_bytes,
        spool_dir=str(settings.spool_dir),
        staging_bucket=settings.backend.staging_bucket,
    )
