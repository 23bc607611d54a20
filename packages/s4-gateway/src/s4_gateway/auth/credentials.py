"""Client keys: who may sign, and the file that says so."""

import logging
import re
import stat
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Self

from s4_gateway.errors import SettingsError

MAX_FILE_BYTES = 4 * 2**20
"""Room for some 30,000 users; anything larger is not a credentials file."""

_ACCESS_KEY = re.compile(r"[!-+.\-0-~]{1,128}")
"""Printable, without the `/` and `,` that separate parts of an Authorization header."""
_SECRET_KEY = re.compile(r"[!-~]{1,256}")

_log = logging.getLogger(__name__)


class KeyStore:
    """Access keys and their secrets; never changes, and never shows a secret in text.

    Args:
        secrets: access key -> secret key; at least one.

    Raises:
        SettingsError: there is no key, or one has characters that cannot be sent.
    """

    __slots__ = ("_secrets",)

    def __init__(self, secrets: Mapping[str, str]) -> None:
        if not secrets:
            raise SettingsError("client keys: there is no user")
        for access_key, secret_key in secrets.items():
            _check_pair(access_key, secret_key)
        self._secrets = dict(secrets)

    def secret(self, access_key: str) -> str | None:
        """The secret of a key; None for a key that is not known."""
        return self._secrets.get(access_key)

    def __len__(self) -> int:
        return len(self._secrets)

    def __repr__(self) -> str:
        return f"KeyStore({len(self._secrets)} keys)"

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read a `--credentials` file: TOML, one `[[user]]` table with `access_key` and `secret_key` for each user.

        A file that others may write is refused. One that others may read gives a warning only, because secrets mounted into containers
        often are.

        Raises:
            SettingsError: the file cannot be read or is not of this form; the message names what, never a secret.
        """
        try:
            mode = path.stat().st_mode
            with path.open("rb") as file:
                content = file.read(MAX_FILE_BYTES + 1)
        except OSError as error:
            raise SettingsError(f"credentials: {path} cannot be read: {error.strerror}") from error
        if len(content) > MAX_FILE_BYTES:
            raise SettingsError(f"credentials: {path} is larger than {MAX_FILE_BYTES} bytes")
        if mode & (stat.S_IWGRP | stat.S_IWOTH):
            raise SettingsError(f"credentials: {path} may be written by others (mode {stat.S_IMODE(mode):04o}); accepted: 0600, 0640, 0644")
        if mode & stat.S_IROTH:
            _log.warning("credentials: %s may be read by every user of this machine (mode %04o)", path, stat.S_IMODE(mode))
        try:
            return cls(_parse(content))
        except SettingsError as error:
            raise SettingsError(f"credentials: {path}: {error}") from None


def _parse(content: bytes) -> dict[str, str]:
    try:
        document = tomllib.loads(content.decode("utf-8"))
    except UnicodeDecodeError:
        raise SettingsError("not UTF-8") from None
    except tomllib.TOMLDecodeError as error:
        # The parser's message tells line and column and may quote one character; it never quotes a value.
        raise SettingsError(f"not TOML: {error}") from None
    users = document.pop("user", [])
    if document:
        raise SettingsError(f"unknown setting {next(iter(document))!r}; accepted: [[user]] tables")
    if not isinstance(users, list) or not all(isinstance(user, dict) for user in users):
        raise SettingsError("user is not a list of [[user]] tables")
    secrets: dict[str, str] = {}
    for number, user in enumerate(users, 1):
        if user.keys() != {"access_key", "secret_key"} or not all(isinstance(value, str) for value in user.values()):
            raise SettingsError(f"user {number}: must have access_key and secret_key, both text, and nothing else")
        if user["access_key"] in secrets:
            raise SettingsError(f"user {number}: access key {user['access_key']!r} occurs twice")
        secrets[user["access_key"]] = user["secret_key"]
    return secrets


def _check_pair(access_key: str, secret_key: str) -> None:
    if not _ACCESS_KEY.fullmatch(access_key):
        raise SettingsError(f"client keys: access key {access_key[:128]!r} must be 1 to 128 printable ASCII characters without '/' and ','")
    if not _SECRET_KEY.fullmatch(secret_key):
        raise SettingsError(f"client keys: the secret of {access_key!r} must be 1 to 256 printable ASCII characters without spaces")
