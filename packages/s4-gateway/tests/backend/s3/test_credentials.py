"""Keys: static ones, ones that end, and botocore's chain."""

import asyncio
import time
from pathlib import Path

import pytest

from s4_gateway.backend.s3 import KeyPair, StaticCredentials, find_credentials
from s4_gateway.backend.s3.credentials import CHECK_SECONDS, RefreshableCredentials
from s4_gateway.errors import SettingsError

PAIR = KeyPair("AKID", "very secret")


@pytest.fixture(autouse=True)
def nothing_ambient(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No keys of the machine: neither environment, files, nor instance metadata."""
    import os

    for name in list(os.environ):
        if name.startswith("AWS_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
    monkeypatch.setenv("HOME", str(tmp_path))


def test_secrets_do_not_show() -> None:
    """A key pair can be logged."""
    assert "very secret" not in repr(KeyPair("AKID", "very secret", "very secret token"))
    assert "very secret" not in repr(StaticCredentials(PAIR))


async def test_static_pair() -> None:
    """A pair without a token may serve clients too; one with a token ends."""
    assert await StaticCredentials(PAIR).current() == StaticCredentials(PAIR).static == PAIR
    assert StaticCredentials(KeyPair("a", "b", "c")).static is None


class Source:
    """Keys by number, each due when told."""

    def __init__(self) -> None:
        self.loads = 0
        self.due = False
        self.now = 0.0
        self.credentials = RefreshableCredentials(self.load, lambda: self.due, clock=lambda: self.now)

    def load(self) -> KeyPair:
        time.sleep(0.05)
        self.loads += 1
        self.due = False
        return KeyPair(str(self.loads), "secret")


async def test_keys_are_loaded_once_and_again_when_due() -> None:
    """Requests at the same time wait for one load; after that nothing is asked until keys are due."""
    source = Source()
    first = await asyncio.gather(*(source.credentials.current() for _ in range(5)))
    assert {keys.access_key for keys in first} == {"1"}

    source.due = True
    assert (await source.credentials.current()).access_key == "1"
    source.now += CHECK_SECONDS
    again = await asyncio.gather(*(source.credentials.current() for _ in range(5)))
    assert {keys.access_key for keys in again} == {"2"}
    source.now += CHECK_SECONDS
    assert (await source.credentials.current()).access_key == "2"
    assert source.loads == 2
    assert source.credentials.static is None


async def test_loading_does_not_block_others() -> None:
    """The network of a key source is waited for in a thread."""
    source = Source()
    loading = asyncio.create_task(source.credentials.current())
    await asyncio.sleep(0.01)

    assert not loading.done()
    await loading


async def test_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """The usual variables, with and without a token."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKID")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "very secret")
    assert find_credentials().static == PAIR

    monkeypatch.setenv("AWS_SESSION_TOKEN", "token")
    assert find_credentials().static is None
    assert await find_credentials().current() == KeyPair("AKID", "very secret", "token")


def test_profile(tmp_path: Path) -> None:
    """A named profile of the credentials file; a name that is not there is refused."""
    (tmp_path / "credentials").write_text("[store]\naws_access_key_id = AKID\naws_secret_access_key = very secret\n")

    assert find_credentials("store").static == PAIR
    with pytest.raises(SettingsError, match="another"):
        find_credentials("another")


async def test_keys_from_a_program(tmp_path: Path) -> None:
    """Keys that end are refreshable ones."""
    program = tmp_path / "keys.py"
    program.write_text(
        "import datetime, json\n"
        "end = datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(hours=1)\n"
        "keys = {'AccessKeyId': 'AKID', 'SecretAccessKey': 's', 'SessionToken': 't'}\n"
        "print(json.dumps({'Version': 1, **keys, 'Expiration': end.isoformat()}))\n"
    )
    import sys

    (tmp_path / "config").write_text(f"[default]\ncredential_process = {sys.executable} {program}\n")
    found = find_credentials()

    assert isinstance(found, RefreshableCredentials)
    assert await found.current() == KeyPair("AKID", "s", "t")


async def test_program_that_fails(tmp_path: Path) -> None:
    """A broken source names itself as a setting, not as an error of the store."""
    (tmp_path / "config").write_text("[default]\ncredential_process = false\n")

    with pytest.raises(SettingsError, match="credentials"):
        await find_credentials().current()


def test_no_keys_at_all() -> None:
    """The message says what to set."""
    with pytest.raises(SettingsError, match="AWS_ACCESS_KEY_ID"):
        find_credentials()
