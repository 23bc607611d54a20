"""The command as users install and start it: keys, options, doctor, and what is refused."""

import re
import stat
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from clients.command import CommandError, run
from clients.multipart import MIB
from clients.s3 import client
from clients.wire import Wire, path_of
from conftest import StartGateway
from s4_codecs.testing.workloads import WORKLOADS
from servers.stores import EMBEDDED, Store

COMMAND = str(Path(sys.executable).with_name("s4-gateway"))
LOG = WORKLOADS["log"](9 * MIB)


def test_it_is_installed() -> None:
    """`s4-gateway` stands beside the interpreter and tells its version."""
    assert re.fullmatch(r"s4-gateway, version 2\.\S+\n", run([COMMAND, "--version"]))
    assert "--data-dir" in run([COMMAND, "--help"])


@pytest.mark.servers("embedded")
def test_first_start(tmp_path: Path) -> None:
    """The installed command makes a data directory and a pair of keys for it, serves, and ends in order on SIGTERM."""
    process = subprocess.Popen(
        [COMMAND, "--data-dir", str(tmp_path / "data"), "--port", "0"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    try:
        assert process.stdout is not None
        told = {}
        for line in process.stdout:
            name, _, value = line.strip().partition("  ")
            told[name.strip()] = value.strip()
            if line.startswith("keys are in"):
                break
        kept = tmp_path / "data" / "client-keys.toml"
        assert stat.S_IMODE(kept.stat().st_mode) == 0o600
        user = tomllib.loads(kept.read_text())["user"][0]
        assert (user["access_key"], user["secret_key"]) == (told["access key"], told["secret key"])
        s3 = client(told["endpoint"], told["access key"], told["secret key"])
        s3.create_bucket(Bucket="bucket")
        s3.put_object(Bucket="bucket", Key="key", Body=b"body")
        assert s3.get_object(Bucket="bucket", Key="key")["Body"].read() == b"body"
        process.terminate()
        assert process.wait(20) == 0
    finally:
        process.kill()
        process.wait()
        if process.stdout is not None:
            process.stdout.close()


def test_doctor(store: Store, tmp_path: Path) -> None:
    """`s4-gateway doctor` tells what the store can do, conditional writes and the smallest part at least."""
    if store.name == EMBEDDED:
        told = run([COMMAND, "doctor", "--data-dir", str(tmp_path / "data")])
    else:
        told = run([COMMAND, "doctor", *store.arguments, "--state-dir", str(tmp_path)], environ=store.environ)
    assert re.search(r"conditional", told, re.IGNORECASE)
    assert re.search(r"part", told, re.IGNORECASE)


@pytest.mark.servers("versitygw", "minio")
def test_a_gateway_in_front_of_a_gateway(store: Store, start_gateway: StartGateway, tmp_path: Path) -> None:
    """It is refused at start: the inner one would take the outer one's metadata off."""
    inner = start_gateway(store)
    with pytest.raises(CommandError, match="gateway"):
        run([COMMAND, "--endpoint-url", inner.endpoint, "--port", "0", "--state-dir", str(tmp_path)], environ=store.environ, seconds=30)


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ([], "--data-dir"),
        (["--data-dir", "x", "--endpoint-url", "http://127.0.0.1:1"], "--endpoint-url"),
        (["--data-dir", "x", "--port", "70000"], "--port"),
        (["--data-dir", "x", "--codec", "lzma"], "--codec"),
        (["--data-dir", "x", "--codec", "cpu-gzip", "--zstd-level", "5"], "--zstd-level"),
        (["--data-dir", "x", "--dispatch-rules", "no-such-file"], "--dispatch-rules"),
        (["--data-dir", "x", "--gpu-batch-max-items", "0"], "--gpu-batch-max-items"),
        (["--data-dir", "x", "--gpu-batch-small-puts", "--gpu-min-bytes", "4096"], "--gpu-batch-floor-bytes"),
        (["--endpoint-url", "ftp://nowhere"], "--endpoint-url"),
        (["--data-dir", "x", "--credentials", "no-such-file"], "no-such-file"),
    ],
)
def test_refused_settings(arguments: list[str], named: str, tmp_path: Path) -> None:
    """What cannot be is refused at start, by the setting's name."""
    with pytest.raises(CommandError, match=re.escape(named)):
        run([COMMAND, *arguments], folder=tmp_path, seconds=30)


@pytest.mark.servers("embedded")
def test_a_directory_is_used_once(fresh_store: Store, start_gateway: StartGateway) -> None:
    """A second gateway on the same directory is refused while the first one runs."""
    start_gateway(fresh_store)
    with pytest.raises(RuntimeError, match="in use"):
        start_gateway(fresh_store)


@pytest.mark.servers("embedded")
def test_several_clients(fresh_store: Store, start_gateway: StartGateway, tmp_path: Path) -> None:
    """--credentials names everybody who may sign."""
    users = tmp_path / "users.toml"
    users.write_text('[[user]]\naccess_key = "alice"\nsecret_key = "one"\n[[user]]\naccess_key = "bob"\nsecret_key = "two"\n')
    users.chmod(0o600)
    gateway = start_gateway(fresh_store, "--credentials", str(users))
    alice, bob = client(gateway.endpoint, "alice", "one"), client(gateway.endpoint, "bob", "two")
    alice.create_bucket(Bucket="bucket")
    alice.put_object(Bucket="bucket", Key="key", Body=b"body")
    assert bob.get_object(Bucket="bucket", Key="key")["Body"].read() == b"body"
    mallory = client(gateway.endpoint, "alice", "two")
    with pytest.raises(mallory.exceptions.ClientError, match="SignatureDoesNotMatch"):
        mallory.list_buckets()


def test_virtual_hosts(fresh_store: Store, start_gateway: StartGateway, bucket_name: str) -> None:
    """With --domain buckets are addressed by host names, and paths still work."""
    gateway = start_gateway(fresh_store, "--domain", "s3.example.test")
    wire = Wire(gateway.endpoint, gateway.access_key, gateway.secret_key)
    assert wire.request("PUT", "/", headers={"host": f"{bucket_name}.s3.example.test"}).status == 200
    assert wire.request("PUT", "/a/b", b"body", {"host": f"{bucket_name}.s3.example.test"}).status == 200
    assert wire.request("GET", "/a/b", headers={"host": f"{bucket_name}.s3.example.test"}).body == b"body"
    assert wire.request("GET", f"/{bucket_name}/a/b").body == b"body"


@pytest.mark.parametrize(
    "options",
    [
        ("--codec", "passthrough"),
        ("--codec", "cpu-gzip"),
        ("--zstd-level", "9"),
        ("--dispatcher", "always"),
        ("--sidecars", "off"),
    ],
    ids=" ".join,
)
def test_ways_to_store(fresh_store: Store, start_gateway: StartGateway, options: tuple[str, str]) -> None:
    """Whatever the options say, an object comes back as it was, and a gateway without them reads it too."""
    s3 = start_gateway(fresh_store, *options).client()
    s3.create_bucket(Bucket="bucket")
    bodies = {"small": LOG[:3000], "large": LOG, "noise": WORKLOADS["noise"](9 * MIB)}
    for key, body in bodies.items():
        s3.put_object(Bucket="bucket", Key=key, Body=body)
        assert s3.get_object(Bucket="bucket", Key=key)["Body"].read() == body
        assert s3.get_object(Bucket="bucket", Key=key, Range="bytes=1000-1999")["Body"].read() == body[1000:2000]
    sidecars = [key for key in fresh_store.behind.keys("bucket") if key.endswith(".s4index")]
    assert bool(sidecars) == (options != ("--sidecars", "off"))
    stored = fresh_store.behind.size("bucket", "large")
    assert (stored > len(LOG)) == (options == ("--codec", "passthrough"))
    if fresh_store.shared:
        plain = start_gateway(fresh_store).client()
        for key, body in bodies.items():
            assert plain.get_object(Bucket="bucket", Key=key)["Body"].read() == body


def test_limits(fresh_store: Store, start_gateway: StartGateway) -> None:
    """Bodies and heads beyond the limits are refused by S3's codes, and the connection is not used again."""
    gateway = start_gateway(fresh_store, "--max-body-bytes", "1MiB", "--max-header-bytes", "16384")
    wire = Wire(gateway.endpoint, gateway.access_key, gateway.secret_key)
    assert wire.request("PUT", "/bucket").status == 200
    answer = wire.request("PUT", path_of("bucket", "key"), b"x" * (MIB + 1))
    assert (answer.status, answer.code) == (400, "EntityTooLarge")
    answer = wire.request("GET", path_of("bucket", "key"), headers={"x-filler": "x" * 20_000})
    assert (answer.status, answer.code) == (400, "RequestHeaderSectionTooLarge")
    assert wire.request("PUT", path_of("bucket", "key"), b"x" * MIB).status == 200
