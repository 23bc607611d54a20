"""kill -9 of the embedded store under load: what was acknowledged is there, whole, and what was not is whole or absent."""

import hashlib
import os
import random
import signal
import subprocess
import sysconfig
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import BotoCoreError, ClientError
from clients.multipart import put_parts
from conftest import StartGateway
from s4_gateway.testing.crash import run_rounds
from servers.gateways import Gateway
from servers.stores import Store

pytestmark = pytest.mark.servers("embedded")
PROCESSES, KILLS_A_ROUND = 3, 3
COMMAND = Path(sysconfig.get_path("scripts")) / "s4-gateway"
IN_USE = 1


@pytest.mark.timeout(3600)
def test_killed_writers(tmp_path: Path, pytestconfig: pytest.Config) -> None:
    """Kills at random moments, of processes and of whole servers, lose nothing that was acknowledged, tear nothing, and leave no file."""
    rounds = -(-pytestconfig.getoption("--kills") // KILLS_A_ROUND)
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    report = run_rounds(tmp_path / "store", rounds=rounds, seed=seed, processes=PROCESSES, kills=KILLS_A_ROUND - 1, longest_seconds=0.7)
    print(f"{report.kills} kills, {report.acknowledged} acknowledged writes, {report.in_flight} interrupted")
    assert report.faults == []
    assert report.kills == rounds * KILLS_A_ROUND
    assert report.acknowledged > report.kills


class Writer(threading.Thread):
    """Writes objects of all kinds through a gateway until it is gone, and remembers what was acknowledged."""

    def __init__(self, s3: Any, number: int, seed: int, acknowledged: dict[str, set[bytes]]) -> None:
        super().__init__(name=f"writer-{number}", daemon=True)
        self._s3 = s3
        self._number = number
        self._random = random.Random(f"{seed} {number}")
        self._acknowledged = acknowledged
        self.writes = 0
        self.over = threading.Event()
        """The gateway is about to go."""

    def run(self) -> None:
        for turn in range(1_000_000):
            key = f"{self._number} {turn % 5}"
            body = self._random.randbytes(100) * self._random.choice((1, 50, 5_000, 100_000))
            digest = hashlib.md5(body).digest()
            before = self._acknowledged.get(key, {b""})
            # Until the answer comes either may be there.
            self._acknowledged[key] = before | {digest}
            try:
                if self._random.random() < 0.3:
                    put_parts(self._s3, "bucket", key, [body])
                else:
                    self._s3.put_object(Bucket="bucket", Key=key, Body=body)
            except (BotoCoreError, ClientError):
                if self.over.is_set():
                    return
                continue  # Its worker was killed; another one answers the next request.
            self._acknowledged[key] = {digest}
            self.writes += 1


@pytest.mark.timeout(3600)
def test_killed_gateways(fresh_store: Store, start_gateway: StartGateway, tmp_path: Path, pytestconfig: pytest.Config) -> None:
    """The same through gateways of two workers: each object reads back as one of the bodies that it may have, and no check finds damage."""
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    choice = random.Random(seed)
    acknowledged: dict[str, set[bytes]] = {}
    rounds = max(3, pytestconfig.getoption("--kills") // 10)
    kills = 0
    gateway = start_gateway(fresh_store, "--workers", "2", state=tmp_path / "state")
    gateway.client().create_bucket(Bucket="bucket")
    for turn in range(rounds):
        s3 = gateway.client(retries={"total_max_attempts": 1}, max_pool_connections=8, read_timeout=10)
        writers = [Writer(s3, number, seed + turn, acknowledged) for number in range(4)]
        for writer in writers:
            writer.start()
        for _ in range(pytestconfig.getoption("--kills") // rounds - 1):
            time.sleep(choice.uniform(0.2, 0.8))
            os.kill(choice.choice(wait_for_workers(gateway)), signal.SIGKILL)
            kills += 1
        time.sleep(choice.uniform(0.2, 0.8))
        workers = gateway.workers()
        for writer in writers:
            writer.over.set()
        gateway.process.stop(signal.SIGKILL)
        kills += 1
        for worker in workers:
            with suppress(ProcessLookupError):
                os.kill(worker, signal.SIGKILL)
        for writer in writers:
            writer.join(30)
        assert sum(writer.writes for writer in writers) > 0
        assert check_when_free(fresh_store) in {0, 3}, "damage"
        gateway = start_gateway(fresh_store, "--workers", "2", state=tmp_path / "state")
        s3 = gateway.client()
        found = {entry["Key"]: entry for entry in s3.list_objects_v2(Bucket="bucket").get("Contents", ())}
        for key, allowed in acknowledged.items():
            if key not in found:
                assert b"" in allowed, f"{key} was acknowledged and is not there"
                continue
            answer = s3.get_object(Bucket="bucket", Key=key)
            body = answer["Body"].read()
            digest = hashlib.md5(body).digest()
            assert digest in allowed, f"{key} holds what nobody wrote, or what was overwritten"
            assert (found[key]["Size"], answer["ETag"]) == (len(body), found[key]["ETag"])
            acknowledged[key] = {digest}
    print(f"{kills} kills")
    assert check(fresh_store)[0] == IN_USE
    gateway.process.stop()
    assert check(fresh_store, "--repair")[0] == 0
    status, output = check(fresh_store)
    assert (status, output.splitlines()[-1]) == (0, "nothing is wrong")


def wait_for_workers(gateway: Gateway) -> list[int]:
    """The workers, once there are two: a killed one is replaced."""
    deadline = time.monotonic() + 30
    while len(workers := gateway.workers()) < 2:
        assert time.monotonic() < deadline, "a killed worker was not replaced"
        time.sleep(0.02)
    return workers


def check(store: Store, *options: str) -> tuple[int, str]:
    """Exit status and output of `s4-gateway check`."""
    done = subprocess.run([COMMAND, "check", *store.arguments, *options], capture_output=True, text=True, timeout=120, check=False)
    return done.returncode, done.stdout


def check_when_free(store: Store) -> int:
    """The same, once the killed processes have let go of the store; the exit status."""
    deadline = time.monotonic() + 10
    while (status := check(store, "--quick")[0]) == IN_USE and time.monotonic() < deadline:
        time.sleep(0.1)
    return status
