"""The credentials file and the key store."""

import logging
from pathlib import Path

import pytest

from s4_gateway.auth import KeyStore
from s4_gateway.errors import SettingsError

TWO_USERS = """
[[user]]
access_key = "AKIDONE"
secret_key = "secret/one+"

[[user]]
access_key = "two"
secret_key = "secret-two"
"""


def write(folder: Path, text: str | bytes, *, mode: int = 0o600) -> Path:
    """A credentials file with this content."""
    path = folder / "credentials.toml"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    path.chmod(mode)
    return path


def test_users_are_read(tmp_path: Path) -> None:
    """Each user's secret is found by its key, and no other."""
    keys = KeyStore.load(write(tmp_path, TWO_USERS))

    assert len(keys) == 2
    assert keys.secret("AKIDONE") == "secret/one+"
    assert keys.secret("two") == "secret-two"
    assert keys.secret("three") is None


@pytest.mark.parametrize(
    "text",
    [
        "", "# nothing\n", "user = []", "user = 1", "user = [1]", "[user]\naccess_key='a'\nsecret_key='hidden'",
        "[[users]]\naccess_key='a'",        "[[user]]\naccess_key='a'", "[[user]]\nsecret_key='hidden'",
        "[[user]]\naccess_key='a'\nsecret_key=1",
        "[[user]]\naccess_key='a'\nsecret_key='hidden'\nrole='admin'", "[[user]]\naccess_key=''\nsecret_key='hidden'",
        "[[user]]\naccess_key='a'\nsecret_key=''", "[[user]]\naccess_key='a/b'\nsecret_key='hidden'",
        "[[user]]\naccess_key='a,b'\nsecret_key='hidden'", "[[user]]\naccess_key='a'\nsecret_key='hid den'",
        "[[user]]\naccess_key='ü'\nsecret_key='hidden'", "[[user]]\naccess_key='a'\nsecret_key='hidden\n", "\xff", TWO_USERS + "x = 1\n",
        TWO_USERS + "[[user]]\naccess_key='two'\nsecret_key='hidden'", TWO_USERS.replace("two", "x" * 300),
    ],
)  # fmt: skip
def test_other_files_are_refused(tmp_path: Path, text: str) -> None:
    """Empty, malformed, duplicate and unknown content is refused with the file's name, and no secret is told."""
    with pytest.raises(SettingsError, match="credentials") as error:
        KeyStore.load(write(tmp_path, text.encode("latin-1")))
    assert "hidden" not in str(error.value)
    assert "secret-" not in str(error.value)


def test_files_that_cannot_be_read_are_refused(tmp_path: Path) -> None:
    """A missing file is an error, not an empty list of users."""
    for path in (tmp_path / "missing", tmp_path):
        with pytest.raises(SettingsError, match="cannot be read"):
            KeyStore.load(path)


def test_a_huge_file_is_refused(tmp_path: Path) -> None:
    """The size is bounded before anything is parsed."""
    with pytest.raises(SettingsError, match="larger"):
        KeyStore.load(write(tmp_path, b"#" * (4 * 2**20 + 1)))


@pytest.mark.parametrize("mode", [0o620, 0o602, 0o666])
def test_files_that_others_may_write_are_refused(tmp_path: Path, mode: int) -> None:
    """Whoever may write the file may make himself a user."""
    with pytest.raises(SettingsError, match=f"{mode:04o}"):
        KeyStore.load(write(tmp_path, TWO_USERS, mode=mode))


@pytest.mark.parametrize(("mode", "warned"), [(0o600, False), (0o640, False), (0o644, True), (0o444, True)])
def test_files_that_everybody_may_read_are_warned_of(tmp_path: Path, caplog: pytest.LogCaptureFixture, mode: int, warned: bool) -> None:
    """Mounted secrets often are world-readable: used, with a warning."""
    with caplog.at_level(logging.WARNING):
        KeyStore.load(write(tmp_path, TWO_USERS, mode=mode))

    assert bool(caplog.records) is warned
    assert "secret-" not in caplog.text


def test_key_stores_do_not_show_secrets() -> None:
    """Nor keys."""
    assert repr(KeyStore({"AKID": "hidden"})) == "KeyStore(1 keys)"


def test_a_store_without_keys_is_refused() -> None:
    """A gateway that nobody can use is a mistake."""
    with pytest.raises(SettingsError, match="no user"):
        KeyStore({})
