"""What every end-to-end test stands on: no ambient settings, the chosen servers, random names."""

import os
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

SERVERS = ("embedded", "versitygw", "minio")
# Settings of the developer's own machine that clients, servers and the gateway would pick up.
AMBIENT_PREFIXES = ("AWS_", "BOTO_", "MINIO_", "RCLONE_", "S4_", "VGW_")
AMBIENT_NAMES = ("all_proxy", "ftp_proxy", "http_proxy", "https_proxy")
OURS = "S4_TEST_"


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add `--servers`, the servers that stand behind the gateway."""
    parser.addoption("--servers", default="embedded", help=f"names with commas between, of {', '.join(SERVERS)}; the default is embedded")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run a test that asks for `server_name`, itself or through a fixture, once for each chosen server."""
    if "server_name" in metafunc.fixturenames:
        metafunc.parametrize("server_name", chosen_servers(metafunc.config), scope="session")


def chosen_servers(config: pytest.Config) -> list[str]:
    """The names given with `--servers`; UsageError for a name that does not exist."""
    names = str(config.getoption("--servers")).split(",")
    unknown = [name for name in names if name not in SERVERS]
    if unknown:
        raise pytest.UsageError(f"--servers: unknown {', '.join(unknown)}; choose from {', '.join(SERVERS)}")
    return names


@pytest.fixture(scope="session", autouse=True)
def hermetic(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """An environment without the developer's settings, inherited by every process that a test starts; yields its home folder."""
    home = tmp_path_factory.mktemp("home")
    empty = home / "empty"
    empty.touch()
    with pytest.MonkeyPatch.context() as patch:
        for name in list(os.environ):
            if (name.startswith(AMBIENT_PREFIXES) and not name.startswith(OURS)) or name.lower() in AMBIENT_NAMES:
                patch.delenv(name)
        for name in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE", "BOTO_CONFIG", "RCLONE_CONFIG"):
            patch.setenv(name, str(empty))
        for name, folder in (("HOME", ""), ("XDG_CACHE_HOME", "cache"), ("XDG_CONFIG_HOME", "config"), ("XDG_STATE_HOME", "state")):
            patch.setenv(name, str(home / folder))
        patch.setenv("AWS_EC2_METADATA_DISABLED", "true")
        patch.setenv("NO_PROXY", "*")
        yield home


@pytest.fixture
def bucket_name() -> str:
    """A bucket name that no other test uses."""
    return f"s4-{uuid.uuid4().hex}"
