"""Which keys clients sign with."""

import stat
import tomllib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from s4_gateway.backend.s3.credentials import KeyPair, RefreshableCredentials, StaticCredentials
from s4_gateway.client_keys import PAIR_FILE, client_keys
from s4_gateway.errors import SettingsError
from s4_gateway.settings import Settings

PAIR = {"S4_ACCESS_KEY_ID": "client", "S4_SECRET_ACCESS_KEY": "of-the-client"}
BACKEND = StaticCredentials(KeyPair("backend", "of-the-backend"))
REMOTE: dict[str, str | None] = {"endpoint_url": "http://s3.test"}


def users(path: Path) -> Path:
    """A credentials file."""
    path.write_text('[[user]]\naccess_key = "one"\nsecret_key = "first"\n\n[[user]]\naccess_key = "two"\nsecret_key = "second"\n')
    path.chmod(0o600)
    return path


def test_a_file_of_users(tmp_path: Path) -> None:
    """--credentials gives its users and nobody else, whatever the backend's keys are."""
    settings = Settings.load({**REMOTE, "credentials": str(users(tmp_path / "users.toml"))}, {})
    keys = client_keys(settings, BACKEND).keys

    assert [keys.secret(name) for name in ("one", "two", "backend")] == ["first", "second", None]


def test_a_pair_in_the_environment() -> None:
    """S4_ACCESS_KEY_ID and S4_SECRET_ACCESS_KEY replace the backend's own pair."""
    keys = client_keys(Settings.load(REMOTE, PAIR), BACKEND).keys

    assert [keys.secret(name) for name in ("client", "backend")] == ["of-the-client", None]


def test_the_backends_own_pair() -> None:
    """Without anything else clients sign with the backend's static pair."""
    assert client_keys(Settings.load(REMOTE, {}), BACKEND).keys.secret("backend") == "of-the-backend"


@pytest.mark.parametrize(
    "temporary",
    [
        StaticCredentials(KeyPair("backend", "secret", "token")),
        RefreshableCredentials(lambda: KeyPair("backend", "secret"), lambda: False),
    ],
    ids=["session token", "role"],
)
def test_temporary_keys_are_no_client_keys(temporary: StaticCredentials | RefreshableCredentials) -> None:
    """A session token, role or SSO ends, so the start is refused, naming what to give instead; with that it works."""
    with pytest.raises(SettingsError, match=r"--credentials.*S4_ACCESS_KEY_ID and S4_SECRET_ACCESS_KEY"):
        client_keys(Settings.load(REMOTE, {}), temporary)

    assert client_keys(Settings.load(REMOTE, PAIR), temporary).keys.secret("client") == "of-the-client"


class TestDataDirectory:
    """The pair of an embedded store."""

    def test_it_is_made_once(self, tmp_path: Path) -> None:
        """The first start makes a pair, keeps it readable by its owner alone and tells it; later ones find it and tell nothing."""
        settings = Settings.load({"data_dir": str(tmp_path / "deep" / "store")}, {})
        first, second = client_keys(settings, None), client_keys(settings, None)
        path = tmp_path / "deep" / "store" / PAIR_FILE
        user = tomllib.loads(path.read_text())["user"][0]

        assert first.made == (user["access_key"], user["secret_key"])
        assert (second.made, second.kept_in) == (None, path)
        assert second.keys.secret(user["access_key"]) == user["secret_key"]
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert [len(part) for part in first.made] == [20, 40]
        assert user["secret_key"] not in repr(first)

    def test_many_starts_at_once(self, tmp_path: Path) -> None:
        """Of starts in the same moment one makes the pair, and all use it."""
        settings = Settings.load({"data_dir": str(tmp_path)}, {})
        with ThreadPoolExecutor(8) as pool:
            found = list(pool.map(lambda _: client_keys(settings, None), range(8)))
        made = [keys.made for keys in found if keys.made is not None]

        assert len(made) == 1
        assert all(keys.keys.secret(made[0][0]) == made[0][1] for keys in found)
        assert [path.name for path in tmp_path.iterdir()] == [PAIR_FILE]

    def test_other_pairs_leave_it_alone(self, tmp_path: Path) -> None:
        """Where keys are given none are made."""
        assert client_keys(Settings.load({"data_dir": str(tmp_path)}, PAIR), None).made is None
        assert list(tmp_path.iterdir()) == []

    def test_a_damaged_file_is_not_replaced(self, tmp_path: Path) -> None:
        """A file that holds no pair is an error, not a reason to lock every client out with a new one."""
        (tmp_path / PAIR_FILE).write_text("")
        with pytest.raises(SettingsError, match=PAIR_FILE):
            client_keys(Settings.load({"data_dir": str(tmp_path)}, {}), None)

        assert (tmp_path / PAIR_FILE).read_text() == ""

    def test_a_directory_that_cannot_be_written(self, tmp_path: Path) -> None:
        """The refusal names the setting."""
        (tmp_path / "file").write_text("")
        with pytest.raises(SettingsError, match="--data-dir"):
            client_keys(Settings.load({"data_dir": str(tmp_path / "file" / "store")}, {}), None)
