"""The stores that can stand behind a gateway: the embedded one, versitygw and MinIO."""

import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from clients.wire import Wire
from programs import program

from servers.behind import Behind, EmbeddedBehind, S3Behind
from servers.process import HOST, PORT_ATTEMPTS, ServerProcess, free_port, running

ACCESS_KEY = "store-access-key"
SECRET_KEY = "store-secret-key"
EMBEDDED = "embedded"


@dataclass(frozen=True, slots=True)
class Store:
    """A store, running where it is a server of its own."""

    name: str
    arguments: tuple[str, ...]
    """Options of a gateway that stands in front of it."""
    behind: Behind = field(repr=False)
    """The same store past the gateway."""
    environ: Mapping[str, str] = field(default_factory=dict, repr=False)
    """The gateway's keys for it."""
    endpoint: str | None = None
    """None = no server: a gateway opens the directory."""
    process: ServerProcess | None = field(default=None, repr=False)

    @property
    def shared(self) -> bool:
        """Several gateways can stand in front of it."""
        return self.endpoint is not None

    def wire(self) -> Wire:
        """Requests to the server itself, past any gateway."""
        assert self.endpoint is not None, "the embedded store is no server"
        return Wire(self.endpoint, ACCESS_KEY, SECRET_KEY)


@contextmanager
def running_store(name: str, folder: Path, *options: str) -> Iterator[Store]:
    """The store of this name, empty, in a folder that is gone afterwards but for logs.

    Args:
        name: `embedded`, or a server; the test is skipped where its program is missing.
        folder: exists; data lies below it.
        options: of the server, on top of those that it needs.
    """
    data = folder / "data"
    data.mkdir()
    try:
        if name == EMBEDDED:
            yield Store(name, ("--data-dir", str(data)), EmbeddedBehind(data))
            return
        with _server(name, folder, data, options) as server:
            endpoint = f"http://{HOST}:{server.port}"
            keys = {"AWS_ACCESS_KEY_ID": ACCESS_KEY, "AWS_SECRET_ACCESS_KEY": SECRET_KEY}
            behind = S3Behind(endpoint, ACCESS_KEY, SECRET_KEY)
            yield Store(name, ("--endpoint-url", endpoint), behind, keys, endpoint, server)
    finally:
        shutil.rmtree(data, ignore_errors=True)


@contextmanager
def _server(name: str, folder: Path, data: Path, options: Sequence[str]) -> Iterator[ServerProcess]:
    with ExitStack() as stack:
        yield _started(stack, name, folder, data, options)


def _started(stack: ExitStack, name: str, folder: Path, data: Path, options: Sequence[str]) -> ServerProcess:
    start = {"versitygw": _versitygw, "minio": _minio}[name]
    for _ in range(PORT_ATTEMPTS - 1):
        with suppress(RuntimeError):
            return stack.enter_context(start(folder, data, free_port(), options))
    return stack.enter_context(start(folder, data, free_port(), options))


def _versitygw(folder: Path, data: Path, port: int, options: Sequence[str]) -> AbstractContextManager[ServerProcess]:
    keys = ("--access", ACCESS_KEY, "--secret", SECRET_KEY)
    command = [str(program("versitygw")), *keys, "--port", f"{HOST}:{port}", *options, "posix", str(data)]
    return running(command, port=port, log_file=folder / f"versitygw-{port}.log", environ=os.environ)


def _minio(folder: Path, data: Path, port: int, options: Sequence[str]) -> AbstractContextManager[ServerProcess]:
    addresses = ("--address", f"{HOST}:{port}", "--console-address", f"{HOST}:0")
    command = [str(program("minio")), "server", str(data), *addresses, "--quiet", *options]
    environ = {
        **os.environ,
        "MINIO_ROOT_USER": ACCESS_KEY,
        "MINIO_ROOT_PASSWORD": SECRET_KEY,
        "MINIO_UPDATE": "off",
        "MINIO_BROWSER": "off",
    }
    return running(command, port=port, log_file=folder / f"minio-{port}.log", environ=environ)
