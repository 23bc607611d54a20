"""What every end-to-end test stands on: no ambient settings, the chosen stores, a gateway in front of each, random names."""

import os
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from clients.wire import Wire
from servers.behind import Behind
from servers.gateways import Gateway, running_gateway_over
from servers.stores import Store, running_store

SERVERS = ("embedded", "versitygw", "minio")
# Settings of the developer's own machine that clients, servers and the gateway would pick up.
AMBIENT_PREFIXES = ("AWS_", "BOTO_", "MINIO_", "RCLONE_", "S4_", "VGW_")
AMBIENT_NAMES = ("all_proxy", "ftp_proxy", "http_proxy", "https_proxy")
OURS = "S4_TEST_"
LOG_BYTES = 6000
NOWHERE = "none of its servers"

StartGateway = Callable[..., Gateway]

_processes: dict[str, Callable[[], str]] = {}
"""Logs of what runs, shown with a failure."""


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add `--servers`, the servers that stand behind the gateway, `--kills` and `--full`."""
    parser.addoption("--servers", default="embedded", help=f"names with commas between, of {', '.join(SERVERS)}; the default is embedded")
    parser.addoption("--kills", type=int, default=21, help="how often processes of the embedded store are killed; the default is 21")
    parser.addoption("--full", action="store_true", help="large bodies of 2 GiB and 1,000 slow clients, which take a quarter of an hour")


def pytest_configure(config: pytest.Config) -> None:
    """Make the markers known."""
    config.addinivalue_line("markers", "servers(*names): the test runs over these only; it is left out where none of them is chosen")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run a test that asks for `server_name`, itself or through a fixture, once for each chosen server that it can run over."""
    if "server_name" in metafunc.fixturenames:
        names = [name for name in chosen_servers(metafunc.config) if name in _possible(metafunc.definition)]
        metafunc.parametrize("server_name", names or [NOWHERE], scope="session")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what runs over none of the chosen servers: that is a choice, not a skip."""
    left_out = [item for item in items if _runs_nowhere(item, config)]
    if left_out:
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if item not in left_out]


def chosen_servers(config: pytest.Config) -> list[str]:
    """The names given with `--servers`; UsageError for a name that does not exist."""
    names = str(config.getoption("--servers")).split(",")
    unknown = [name for name in names if name not in SERVERS]
    if unknown:
        raise pytest.UsageError(f"--servers: unknown {', '.join(unknown)}; choose from {', '.join(SERVERS)}")
    return names


def _possible(item: pytest.Item) -> tuple[str, ...]:
    marker = item.get_closest_marker("servers")
    return marker.args if marker else SERVERS


def _runs_nowhere(item: pytest.Item, config: pytest.Config) -> bool:
    parameters = item.callspec.params if isinstance(item, pytest.Function) and hasattr(item, "callspec") else {}
    return parameters.get("server_name") == NOWHERE or not set(_possible(item)) & set(chosen_servers(config))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Any:
    """Show the last lines of every running server with a failure."""
    report = yield
    if report.failed:
        for name, read in _processes.items():
            report.sections.append((f"log of {name}", read()[-LOG_BYTES:]))
    return report


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


@pytest.fixture(scope="session")
def store(server_name: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    """The store of this run, empty at its beginning."""
    with running_store(server_name, tmp_path_factory.mktemp(server_name)) as running:
        if running.process is not None:
            _processes[server_name] = running.process.log
        yield running
        _processes.pop(server_name, None)


@pytest.fixture(scope="session")
def gateway(store: Store, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """The gateway that most tests share."""
    with running_gateway_over(store, tmp_path_factory.mktemp("gateway") / "state") as running:
        _processes["gateway"] = running.process.log
        yield running
        _processes.pop("gateway")


@pytest.fixture(scope="session")
def second_gateway(store: Store, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """Another process in front of the same store, with state of its own; not possible for the embedded store."""
    with running_gateway_over(store, tmp_path_factory.mktemp("second") / "state") as running:
        _processes["second gateway"] = running.process.log
        yield running
        _processes.pop("second gateway")


@pytest.fixture
def start_gateway(tmp_path: Path) -> Iterator[StartGateway]:
    """Starts gateways for one test: `start_gateway(store, *options, state=folder)`."""
    with ExitStack() as stack:
        count = 0

        def start(store: Store, *options: str, state: Path | None = None) -> Gateway:
            nonlocal count
            count += 1
            running = stack.enter_context(running_gateway_over(store, state or tmp_path / f"gateway-{count}", *options))
            _processes[f"gateway {count}"] = running.process.log
            return running

        yield start
        for number in range(1, count + 1):
            _processes.pop(f"gateway {number}", None)


@pytest.fixture
def fresh_store(server_name: str, tmp_path: Path) -> Iterator[Store]:
    """A store of the test's own, for what a shared one must not suffer."""
    folder = tmp_path / "store"
    folder.mkdir()
    with running_store(server_name, folder) as running:
        yield running


@pytest.fixture(scope="session")
def full(pytestconfig: pytest.Config) -> bool:
    """Whether sizes are those that are promised, and not the smaller ones of every day."""
    return bool(pytestconfig.getoption("--full"))


@pytest.fixture(scope="session")
def s3(gateway: Gateway) -> Any:
    """boto3 at its default settings, of the shared gateway."""
    return gateway.client()


@pytest.fixture(scope="session")
def behind(gateway: Gateway) -> Behind:
    """What lies in the store."""
    return gateway.behind


@pytest.fixture(scope="session")
def wire(gateway: Gateway) -> Wire:
    """Requests to the shared gateway over bare sockets."""
    return Wire(gateway.endpoint, gateway.access_key, gateway.secret_key)


@pytest.fixture
def bucket_name() -> str:
    """A bucket name that no other test uses."""
    return f"s4-{uuid.uuid4().hex}"


@pytest.fixture
def bucket(s3: Any, behind: Behind, bucket_name: str) -> Iterator[str]:
    """A bucket of its own, gone with all that is in it after the test."""
    s3.create_bucket(Bucket=bucket_name)
    yield bucket_name
    behind.remove_bucket(bucket_name)
