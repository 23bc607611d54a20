"""The whole gateway behind real sockets, in this process and as the command that users start."""

import asyncio
import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.parse
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import ParamSpec, TypeVar

import botocore.session
import pytest
from botocore.config import Config
from click.testing import CliRunner, Result

from s4_gateway._version import __version__
from s4_gateway.app import build_app
from s4_gateway.auth.credentials import KeyStore
from s4_gateway.backend.abc import Condition, Payload, Written
from s4_gateway.backend.memory import MemoryBackend
from s4_gateway.cli import main
from s4_gateway.client_keys import PAIR_FILE, ClientKeys
from s4_gateway.observe import Metrics
from s4_gateway.serve.limits import Limits
from s4_gateway.services import Services, assemble
from s4_gateway.settings import BackendSettings, Settings, options
from s4_gateway.testing.client import ACCESS_KEY, SECRET_KEY
from s4_gateway.testing.server import GatewayProcess, RunningServer, clean_environment, running_gateway, running_server

from .helpers import Client, eventually

P = ParamSpec("P")
T = TypeVar("T")

MIB = 2**20
PAIR = {"S4_ACCESS_KEY_ID": ACCESS_KEY, "S4_SECRET_ACCESS_KEY": SECRET_KEY}


class Slow(MemoryBackend):
    """A store that can be told to take its time, and knows what was left in it."""

    def __init__(self) -> None:
        super().__init__()
        self.hold = threading.Event()
        self.entered = threading.Event()

    async def put_object(
        self,
        bucket: str,
        key: str,
        payload: Payload,
        *,
        headers: Mapping[str, str],
        metadata: Mapping[str, str],
        condition: Condition | None = None,
    ) -> Written:
        self.entered.set()
        while self.hold.is_set():  # noqa: ASYNC110 - it is set in another thread
            await asyncio.sleep(0.005)
        return await super().put_object(bucket, key, payload, headers=headers, metadata=metadata, condition=condition)


@contextmanager
def gateway(
    backend: MemoryBackend, *, limits: Limits | None = None, drain_seconds: float = 5.0
) -> Iterator[tuple[RunningServer, Services]]:
    """A gateway over `backend` in a thread of this process."""
    metrics = Metrics()
    with tempfile.TemporaryFile() as log:
        services = assemble(
            Settings(backend=BackendSettings(data_dir=Path())),
            backend,
            ClientKeys(KeyStore({ACCESS_KEY: SECRET_KEY})),
            metrics=metrics,
            state_dir=None,
            log_stream=log,  # type: ignore[arg-type]
        )
        with running_server(build_app(services), limits=limits, metrics=metrics, drain_seconds=drain_seconds) as server:
            yield server, services


def presigned(endpoint: str, operation: str, *, access_key: str = ACCESS_KEY, secret_key: str = SECRET_KEY, **arguments: object) -> str:
    """Target of a request that needs no headers."""
    client = botocore.session.get_session().create_client(
        "s3",
        region_name="us-east-1",
        endpoint_url=endpoint,
        aws_access_key_id=access_key,
        aws_secret_access_key=secret_key,
        config=Config(s3={"addressing_style": "path"}, signature_version="s3v4", request_checksum_calculation="when_required"),
    )
    try:
        url = urllib.parse.urlsplit(client.generate_presigned_url(operation, Params=arguments))
    finally:
        client.close()
    return f"{url.path}?{url.query}"


def head(server: RunningServer | GatewayProcess, method: str, target: str, *headers: str) -> bytes:
    """A request head for a presigned target."""
    return "\r\n".join((f"{method} {target} HTTP/1.1", f"Host: 127.0.0.1:{server.port}", *headers, "", "")).encode()


def ask(server: RunningServer | GatewayProcess, method: str, target: str, body: bytes = b"") -> tuple[int, bytes]:
    """One request on a connection of its own."""
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=20)
    try:
        connection.request(method, target, body=body or None)
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


class TestOverSockets:
    """Where web layer and S3 meet."""

    def test_refusals_of_the_web_layer_are_s3_documents(self) -> None:
        """A head that is too large, a broken one and one that never ends get error documents with ids, and are logged and counted."""
        with gateway(MemoryBackend(), limits=Limits(header_bytes=16_384, head_seconds=0.3)) as (server, services):
            requests = [b"GET / HTTP/1.1\r\nX: " + b"x" * 20_000, b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", b"GET /"]
            answers = []
            for request in requests:
                with Client(server.address) as client:
                    answers.append(client.send(request).answer())
            counted = dict(services.metrics.tallies["s4_gateway_requests"])

        assert [answer.code for answer in answers] == ["RequestHeaderSectionTooLarge", "InvalidRequest", "RequestTimeout"]
        assert all(answer.headers["x-amz-request-id"] in answer.body.decode() for answer in answers)
        assert {answer.headers["server"] for answer in answers} == {"s4-gateway"}
        assert counted == {("Unknown", "400"): 3}

    def test_a_client_that_leaves_in_the_middle_of_a_put(self) -> None:
        """Within a second the request is over and the store's upload aborted: no object, no upload, no record is left."""
        backend = MemoryBackend()
        with gateway(backend) as (server, services):
            assert ask(server, "PUT", presigned(server.endpoint, "create_bucket", Bucket="bucket"))[0] == 200
            target = presigned(server.endpoint, "put_object", Bucket="bucket", Key="key")
            with Client(server.address) as client:
                client.send(head(server, "PUT", target, f"Content-Length: {64 * MIB}"))
                client.send(os.urandom(32 * MIB))
                eventually(lambda: services.metrics.tallies["s4_gateway_requests"]["PutObject", "200"] == 0 and has_uploads(backend))
            began = time.monotonic()
            eventually(lambda: services.metrics.in_flight == 0 and not has_uploads(backend))
            took = time.monotonic() - began
            left = stored_keys(backend)

        assert took < 1
        assert left == []

    def test_a_client_that_leaves_while_the_store_works(self) -> None:
        """A handler that waits for its backend is cancelled within a second."""
        backend = Slow()
        with gateway(backend) as (server, services):
            assert ask(server, "PUT", presigned(server.endpoint, "create_bucket", Bucket="bucket"))[0] == 200
            target = presigned(server.endpoint, "put_object", Bucket="bucket", Key="key")
            backend.hold.set()
            with Client(server.address) as client:
                client.send(head(server, "PUT", target, "Content-Length: 3") + b"abc")
                assert backend.entered.wait(5)
            began = time.monotonic()
            eventually(lambda: services.metrics.in_flight == 0)
            took = time.monotonic() - began
            backend.hold.clear()

        assert took < 1
        assert services.metrics.tallies["s4_gateway_requests"]["PutObject", "499"] == 1

    def test_a_client_that_leaves_in_the_middle_of_a_get(self) -> None:
        """The rest of the object is not decoded for nobody."""
        with gateway(MemoryBackend()) as (server, services):
            ask(server, "PUT", presigned(server.endpoint, "create_bucket", Bucket="bucket"))
            put = presigned(server.endpoint, "put_object", Bucket="bucket", Key="key")
            assert ask(server, "PUT", put, b"a line of text\n" * (4 * MIB))[0] == 200
            get = presigned(server.endpoint, "get_object", Bucket="bucket", Key="key")
            with Client(server.address, receive_buffer=65536) as client:
                client.send(head(server, "GET", get))
                client.socket.recv(1000)
            began = time.monotonic()
            eventually(lambda: services.metrics.in_flight == 0)
            took = time.monotonic() - began
            sent = services.metrics.tallies["s4_gateway_client_sent_bytes"]["GetObject",]

        assert took < 1
        assert sent < 40 * MIB

    def test_an_early_end_of_a_body(self) -> None:
        """A client that ends its side before its Content-Length is told IncompleteBody, and nothing is stored."""
        backend = MemoryBackend()
        with gateway(backend) as (server, _):
            ask(server, "PUT", presigned(server.endpoint, "create_bucket", Bucket="bucket"))
            target = presigned(server.endpoint, "put_object", Bucket="bucket", Key="key")
            with Client(server.address) as client:
                client.send(head(server, "PUT", target, "Content-Length: 1000") + b"abc")
                client.socket.shutdown(socket.SHUT_WR)
                answer = client.answer()

        assert (answer.status, answer.code) == (400, "IncompleteBody")
        assert stored_keys(backend) == []

    def test_a_body_that_is_too_large_is_refused_unread(self) -> None:
        """Content-Length alone is enough, before 100 Continue."""
        with gateway(MemoryBackend()) as (server, _):
            target = presigned(server.endpoint, "put_object", Bucket="bucket", Key="key")
            with Client(server.address) as client:
                client.send(head(server, "PUT", target, f"Content-Length: {6 * 2**30}", "Expect: 100-continue"))
                answer = client.answer()

        assert (answer.status, answer.code) == (400, "EntityTooLarge")

    def test_a_slow_body(self) -> None:
        """A body that stops is told RequestTimeout; nothing is stored."""
        backend = MemoryBackend()
        with gateway(backend, limits=Limits(idle_seconds=0.3)) as (server, _):
            ask(server, "PUT", presigned(server.endpoint, "create_bucket", Bucket="bucket"))
            target = presigned(server.endpoint, "put_object", Bucket="bucket", Key="key")
            with Client(server.address) as client:
                client.send(head(server, "PUT", target, "Content-Length: 1000") + b"abc")
                answer = client.answer()

        assert (answer.status, answer.code) == (400, "RequestTimeout")
        assert stored_keys(backend) == []

    def test_a_request_in_the_drain(self) -> None:
        """A request that the store still works on when the gateway is told to stop is finished; the next connection is refused."""
        backend = Slow()
        with gateway(backend, drain_seconds=10) as (server, _), ExitStack() as stack:
            ask(server, "PUT", presigned(server.endpoint, "create_bucket", Bucket="bucket"))
            target = presigned(server.endpoint, "put_object", Bucket="bucket", Key="key")
            backend.hold.set()
            client = stack.enter_context(Client(server.address))
            client.send(head(server, "PUT", target, "Content-Length: 3") + b"abc")
            assert backend.entered.wait(5)
            server.stop()
            time.sleep(0.3)
            with pytest.raises(ConnectionRefusedError):
                socket.create_connection(server.address, timeout=5)
            backend.hold.clear()
            assert client.answer().status == 200
            server.join()

        assert stored_keys(backend) == ["key"]


def has_uploads(backend: MemoryBackend) -> bool:
    """Whether the store has an open upload. (Reads what the server's thread writes; good enough to wait for.)"""
    return bool(elsewhere(asyncio.run, backend.list_multipart("bucket")))


def stored_keys(backend: MemoryBackend) -> Sequence[str]:
    """All keys that are stored, reserved ones too."""
    return [entry.key for entry in elsewhere(asyncio.run, backend.list_objects("bucket")).entries]


def elsewhere(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Call in a thread of its own: asyncio.run would take this thread's event loop away from the tests that follow."""
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(function, *args, **kwargs).result()


class TestProcess:
    """The command."""

    def test_a_first_start_and_a_second(self, tmp_path: Path) -> None:
        """The first start shows the pair that it made; the second uses the same pair, silently; what was stored is there."""
        with running_gateway("--data-dir", str(tmp_path)) as first:
            keys = {"access_key": first.access_key, "secret_key": first.secret_key}
            made = ask(first, "PUT", presigned(first.endpoint, "create_bucket", Bucket="bucket", **keys))
            put = ask(first, "PUT", presigned(first.endpoint, "put_object", Bucket="bucket", Key="k", **keys), b"body")
        with running_gateway("--data-dir", str(tmp_path)) as second:
            got = ask(second, "GET", presigned(second.endpoint, "get_object", Bucket="bucket", Key="k", **keys))

        assert (made[0], put[0], got) == (200, 200, (200, b"body"))
        assert f"access key  {first.access_key}\nsecret key  {first.secret_key}\n" in first.announced
        assert "secret key" not in second.announced
        assert second.secret_key == first.secret_key

    @pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT])
    def test_signals_end_it_in_order(self, tmp_path: Path, how: signal.Signals) -> None:
        """A request in progress is finished, its line is in the log, and the status is 0; SIGHUP before that changes nothing."""
        with running_gateway("--data-dir", str(tmp_path), environ=PAIR, access_key=ACCESS_KEY, secret_key=SECRET_KEY) as running:
            ask(running, "PUT", presigned(running.endpoint, "create_bucket", Bucket="bucket"))
            target = presigned(running.endpoint, "put_object", Bucket="bucket", Key="key")
            running.process.send_signal(signal.SIGHUP)
            with Client(("127.0.0.1", running.port)) as client:
                client.send(head(running, "PUT", target, "Content-Length: 6") + b"abc")
                time.sleep(0.2)
                running.process.send_signal(how)
                time.sleep(0.5)
                client.send(b"def")
                answer = client.answer()
            status = running.process.wait(10)
            log = running.log()

        assert (answer.status, status) == (200, 0)
        assert " operation=PutObject " in log
        assert log.rstrip().endswith("stopped")
        assert "Traceback" not in log

    def test_json_logs(self, tmp_path: Path) -> None:
        """With --log-format json every line of standard error is a JSON object."""
        with running_gateway("--data-dir", str(tmp_path), "--log-format", "json", environ=PAIR) as running:
            ask(running, "GET", "/")
            running.stop()
            lines = [json.loads(line) for line in running.log().splitlines()]

        assert [line.get("operation") for line in lines if "operation" in line] == ["ListBuckets"]
        assert any(line.get("message") == "stopped" for line in lines)

    def run(self, *arguments: str, environ: Mapping[str, str] | None = None) -> subprocess.CompletedProcess[str]:
        """A command that is expected to end by itself."""
        command = [sys.executable, "-c", "from s4_gateway.cli import main; main()", *arguments]
        return subprocess.run(command, env=clean_environment(environ), capture_output=True, text=True, timeout=30, check=False)

    def test_temporary_backend_keys(self) -> None:
        """A session token cannot be a client's key: refused before anything is asked of the backend."""
        environ = {"AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b", "AWS_SESSION_TOKEN": "c"}
        ended = self.run("--endpoint-url", "http://127.0.0.1:1", "--port", "0", environ=environ)

        assert ended.returncode == 2
        assert "--credentials" in ended.stderr

    def test_a_port_in_use(self, tmp_path: Path) -> None:
        """The refusal names the address and comes before a key pair is made."""
        with socket.create_server(("127.0.0.1", 0)) as taken:
            ended = self.run("--data-dir", str(tmp_path), "--port", str(taken.getsockname()[1]))

        assert ended.returncode == 2
        assert "--port" in ended.stderr
        assert not (tmp_path / PAIR_FILE).exists()

    def test_a_store_in_use(self, tmp_path: Path) -> None:
        """A second gateway on the same directory ends with one line and status 1; the first is not disturbed."""
        with running_gateway("--data-dir", str(tmp_path), environ=PAIR) as running:
            ended = self.run("--data-dir", str(tmp_path), "--port", "0", environ=PAIR)
            assert ask(running, "GET", "/ready") == (200, b"ready\n")

        assert ended.returncode == 1
        assert len(ended.stderr.splitlines()) == 1
        assert "Traceback" not in ended.stderr

    def test_a_gateway_in_front_of_a_gateway(self, tmp_path: Path) -> None:
        """The inner one would drop the outer one's metadata: refused, with the reason."""
        with running_gateway("--data-dir", str(tmp_path / "inner"), environ=PAIR) as inner:
            environ = {"AWS_ACCESS_KEY_ID": ACCESS_KEY, "AWS_SECRET_ACCESS_KEY": SECRET_KEY}
            ended = self.run("--endpoint-url", inner.endpoint, "--state-dir", str(tmp_path / "state"), "--port", "0", environ=environ)

        assert ended.returncode == 2
        assert "is an S4 gateway" in ended.stderr


class TestCommandLine:
    """The command, in this process: what ends before anything is served."""

    @pytest.fixture(name="run")
    def fixture_run(self, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
        """Calls the command in an environment without anything of AWS's or the gateway's."""
        for name in {*os.environ, *clean_environment()}:
            monkeypatch.delenv(name, raising=False)
        for name, value in clean_environment().items():
            monkeypatch.setenv(name, value)

        def run(*arguments: str, environ: Mapping[str, str] | None = None) -> Result:
            return elsewhere(CliRunner().invoke, main, arguments, env=environ)

        return run

    def test_refused_settings(self, run: Callable[..., Result], tmp_path: Path) -> None:
        """A refusal is one line that names the setting, on standard error, and status 2."""
        for arguments, named in (
            ((), "--data-dir"),
            (("--data-dir", str(tmp_path), "--port", "x"), "--port"),
            (("--data-dir", str(tmp_path), "--endpoint-url", "http://a"), "--endpoint-url"),
            (("--endpoint-url", "http://127.0.0.1:1", "doctor"), "AWS_ACCESS_KEY_ID"),
            (("doctor", "--data-dir", str(tmp_path), "--codec", "zip"), "--codec"),
        ):
            ended = run(*arguments)
            assert (ended.exit_code, ended.stdout) == (2, "")
            assert named in ended.stderr
            assert len(ended.stderr.splitlines()) == 1

    def test_doctor(self, run: Callable[..., Result], tmp_path: Path) -> None:
        """It reports on the store that the options name, before or after its name, and serves nothing."""
        before = run("--data-dir", str(tmp_path / "a"), "doctor")
        after = run("doctor", "--data-dir", str(tmp_path / "a"))
        neither = run("doctor")
        both = run("--port", "1", "doctor", environ={"S4_DATA_DIR": str(tmp_path / "a")})

        assert (before.exit_code, after.exit_code, neither.exit_code, both.exit_code) == (0, 0, 2, 0)
        assert before.stdout == after.stdout == both.stdout
        assert "conditional PUT" in before.stdout
        assert not (tmp_path / "a" / PAIR_FILE).exists()

    def test_help_and_version(self, run: Callable[..., Result]) -> None:
        """Every setting with an option is in the help of both commands, with its variable."""
        texts = [run(*arguments).stdout for arguments in (("--help",), ("doctor", "--help"))]

        assert [about.name for about in options() for text in texts if not about.secret and about.flag not in text] == []
        assert [about.name for about in options() for text in texts if not about.secret and f"[{about.variable};" not in text] == []
        assert run("--version").stdout == f"s4-gateway, version {__version__}\n"
