"""Which keys clients sign with: from a file, the environment, the backend's own pair, or a pair made for an embedded store."""

import os
import secrets
import string
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from s4_gateway.auth.credentials import KeyStore
from s4_gateway.errors import SettingsError
from s4_gateway.settings import Settings

if TYPE_CHECKING:
    from s4_gateway.backend.s3.credentials import Credentials

PAIR_FILE = "client-keys.toml"
"""In the data directory, in the form of a --credentials file."""

_LETTERS = string.ascii_uppercase + string.digits
_SECRET_LETTERS = string.ascii_letters + string.digits


@dataclass(frozen=True, slots=True)
class ClientKeys:
    """Who may sign."""

    keys: KeyStore
    made: tuple[str, str] | None = field(default=None, repr=False)
    """Access and secret key made by this very start: to be shown once."""
    kept_in: Path | None = None
    """File of the pair that belongs to the data directory."""


def client_keys(settings: Settings, backend: "Credentials | None") -> ClientKeys:
    """The first of: --credentials, S4_ACCESS_KEY_ID with S4_SECRET_ACCESS_KEY, the backend's static pair, the data directory's pair.

    Args:
        settings: checked.
        backend: the backend's own keys; None for the embedded store.

    Raises:
        SettingsError: the file is unusable, or the backend's keys cannot serve as client keys because they change.
    """
    chosen = settings.keys
    if chosen.credentials is not None:
        return ClientKeys(KeyStore.load(chosen.credentials))
    if chosen.access_key_id is not None and chosen.secret_access_key is not None:
        return ClientKeys(KeyStore({chosen.access_key_id: chosen.secret_access_key}))
    if settings.backend.data_dir is not None:
        return _kept_pair(settings.backend.data_dir)
    pair = backend.static if backend is not None else None
    if pair is None:
        raise SettingsError(
            "--credentials: the backend's keys are temporary (session token, role or SSO), so clients cannot sign with them; "
            "give --credentials FILE, or S4_ACCESS_KEY_ID and S4_SECRET_ACCESS_KEY"
        )
    return ClientKeys(KeyStore({pair.access_key: pair.secret_key}))


def _kept_pair(directory: Path) -> ClientKeys:
    path = directory / PAIR_FILE
    if path.exists():
        return ClientKeys(KeyStore.load(path), kept_in=path)
    access_key = "S4" + "".join(secrets.choice(_LETTERS) for _ in range(18))
    secret_key = "".join(secrets.choice(_SECRET_LETTERS) for _ in range(40))
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        made = _write_once(path, f'[[user]]\naccess_key = "{access_key}"\nsecret_key = "{secret_key}"\n')
    except OSError as error:
        raise SettingsError(f"--data-dir: {directory} cannot be written: {error.strerror}") from error
    return ClientKeys(KeyStore.load(path), made=(access_key, secret_key) if made else None, kept_in=path)


def _write_once(path: Path, content: str) -> bool:
    """Make the file with all of its content or not at all. Returns False where another process made it first."""
    descriptor, name = tempfile.mkstemp(prefix=f"{path.name}.", dir=path.parent)  # readable by its owner alone
    partial = Path(name)
    try:
        with os.fdopen(descriptor, "w") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        path.hardlink_to(partial)
    except FileExistsError:
        return False
    finally:
        partial.unlink()
    return True
