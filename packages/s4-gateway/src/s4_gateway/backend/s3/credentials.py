"""The store's key pair: given, or found and refreshed by botocore's chain (environment, profile, SSO, role, container, instance)."""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

from s4_gateway.errors import SettingsError

CHECK_SECONDS = 5.0
"""How long refreshable keys are used before asking again whether they are due; botocore refreshes 10 minutes and more before the end."""


@dataclass(frozen=True, slots=True)
class KeyPair:
    """Keys to sign with. The secrets never show in `repr`."""

    access_key: str
    secret_key: str = field(repr=False)
    session_token: str | None = field(default=None, repr=False)


class Credentials(Protocol):
    """Where the client gets its keys from."""

    @property
    def static(self) -> KeyPair | None:
        """The pair if it never changes and has no session token, so that it may also serve as a client's key pair."""
        ...

    async def current(self) -> KeyPair:
        """Keys that are valid now.

        Raises:
            SettingsError: they ended and could not be refreshed.
        """
        ...


@dataclass(frozen=True, slots=True)
class StaticCredentials:
    """One pair for ever."""

    keys: KeyPair

    @property
    def static(self) -> KeyPair | None:
        return None if self.keys.session_token is not None else self.keys

    async def current(self) -> KeyPair:
        return self.keys


class RefreshableCredentials:
    """Keys that end.

    Args:
        load: gives the keys valid now; may block on the network. Called in a thread.
        due: whether `load` would go to the network; must not block.
        clock: monotonic seconds.
    """

    def __init__(self, load: Callable[[], KeyPair], due: Callable[[], bool], *, clock: Callable[[], float] = time.monotonic) -> None:
        self._load = load
        self._due = due
        self._clock = clock
        self._keys: KeyPair | None = None
        self._check_at = 0.0
        self._lock = asyncio.Lock()

    @property
    def static(self) -> KeyPair | None:
        return None

    async def current(self) -> KeyPair:
        if self._keys is not None and self._clock() < self._check_at:
            return self._keys
        async with self._lock:
            if self._keys is None or self._due():
                self._keys = await asyncio.to_thread(self._load)
            self._check_at = self._clock() + CHECK_SECONDS
            return self._keys


def find_credentials(profile: str | None = None) -> Credentials:
    """Keys from botocore's chain. Blocks, perhaps on the network: call it before the event loop runs, or in a thread.

    Raises:
        SettingsError: no source has any, or a source is broken.
    """
    import botocore.credentials  # noqa: PLC0415 - takes 0.2 s to import; embedded stores never need it
    import botocore.exceptions  # noqa: PLC0415
    import botocore.session  # noqa: PLC0415

    try:
        found = botocore.session.Session(profile=profile).get_credentials()
    except botocore.exceptions.BotoCoreError as error:
        raise SettingsError(f"credentials of the storage backend: {error}") from error
    if found is None:
        raise SettingsError("no credentials for the storage backend: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE")

    def load() -> KeyPair:
        try:
            frozen = found.get_frozen_credentials()
        except botocore.exceptions.BotoCoreError as error:
            raise SettingsError(f"credentials of the storage backend: {error}") from error
        return KeyPair(frozen.access_key, frozen.secret_key, frozen.token or None)

    if isinstance(found, botocore.credentials.RefreshableCredentials):
        return RefreshableCredentials(load, found.refresh_needed)
    return StaticCredentials(load())
